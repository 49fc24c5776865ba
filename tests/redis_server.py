"""A real Redis of the tests' own, which can be killed, frozen and emptied."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis
from redis.exceptions import RedisError

WAIT_SECONDS = 20

needs_redis = pytest.mark.needs("redis-server")


class RedisServer:
    """On a free port; nothing of it is kept on disk, so that a start finds it empty, unless it was told to save."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._client = redis.Redis(port=self.port, socket_timeout=1, socket_connect_timeout=1)
        self.start()

    def start(self) -> None:
        """And wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                if self._client.ping():
                    return
            except RedisError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def kill(self) -> None:
        """As if its machine were gone."""
        self._process.kill()
        self._process.wait(WAIT_SECONDS)

    def freeze(self) -> None:
        """It takes connections and says nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._process.send_signal(signal.SIGCONT)

    def save(self) -> None:
        """The next start finds it as it is now."""
        self._client.save()

    def flush(self) -> None:
        """Everything in it is gone."""
        self._client.flushall()

    def close(self) -> None:
        self._client.close()
        if self._process.poll() is None:
            self.thaw()
            self.kill()
