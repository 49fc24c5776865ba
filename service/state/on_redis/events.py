"""A stream that tells every replica of jobs that changed: that there is work, and that a gallery is in another generation."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import RedisError

from service.entities import Job
from service.state.on_redis.connection import PREFIX

STREAM = f"{PREFIX}:events"
BLOCK_SECONDS = 1.0
_FIELDS = (b"tenant", b"job_id", b"gallery", b"state")
_KEPT = 1000
_AGAIN_SECONDS = 1.0
log = logging.getLogger("facebridge.state")


@dataclass(frozen=True, slots=True)
class Event:
    """A job is in another state."""

    tenant: str
    job_id: str
    gallery: str
    state: str


class Events:
    """Tells others, and hears of what they tell."""

    def __init__(self, client: "redis.Redis", patient: "redis.Redis") -> None:
        """`patient` is a connection that may wait for `BLOCK_SECONDS`."""
        self._client, self._patient = client, patient
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_event: Callable[[Event], None]) -> None:
        """Listen, from now on; `on_event` is called on a thread of its own, also of what was told here."""
        self._thread = threading.Thread(target=self._listen, args=(on_event,), name="events", daemon=True)
        self._thread.start()

    def tell(self, tenant: str, job: Job) -> None:
        """Best effort: whoever hears nothing looks for work all the same, a second later."""
        fields = {"tenant": tenant, "job_id": job.job_id, "gallery": job.gallery, "state": job.state}
        with suppress(RedisError, OSError):
            self._client.xadd(STREAM, fields, maxlen=_KEPT, approximate=True)  # type: ignore[arg-type]

    def close(self) -> None:
        """Listen no more."""
        self._closing.set()
        if self._thread is not None:
            # It is waiting for news, a moment longer; its connection is not to be closed under it.
            self._thread.join()
        self._patient.close()
        self._client.close()

    def _listen(self, on_event: Callable[[Event], None]) -> None:
        last = "$"
        while not self._closing.is_set():
            try:
                found: Any = self._patient.xread({STREAM: last}, block=int(BLOCK_SECONDS * 1000))
            except (RedisError, OSError):
                # A stream that begins anew has other numbers.
                last = "$"
                self._closing.wait(_AGAIN_SECONDS)
                continue
            for _, entries in found or ():
                for number, fields in entries:
                    last = number.decode()
                    with suppress(KeyError, UnicodeDecodeError):
                        on_event(Event(*(fields[name].decode() for name in _FIELDS)))
