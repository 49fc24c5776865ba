"""The demo's service: started in the background, left running, and stopped by `make demo-stop`."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

from deploy.demo.processes import interrupts_wait

HOST = "127.0.0.1"
_SECONDS = 30.0
_PID = "service.pid"
LOG = "service.log"


class ServiceError(RuntimeError):
    """The service does not run; the message is one line."""


def check_port(port: int) -> None:
    """Raises `ServiceError` where something listens there already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as failure:
            raise ServiceError(
                f"cannot listen on {HOST}:{port} ({failure.strerror}); choose another port: make demo PORT={port % 65535 + 1}"
            ) from None


def start_service(bundles: Path, folder: Path, port: int) -> str:
    """Start it with its data and log in `folder`, and return its address once it is ready. Raises `ServiceError`."""
    program = Path(sys.executable).parent / "facebridge"
    typed = ["serve", "--bundles", str(bundles), "--data", str(folder / "data"), "--port", str(port)]
    print("$", "facebridge", *typed, "&", flush=True)
    # Settings of somebody's own service are not the demo's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACEBRIDGE_")}
    with interrupts_wait(), (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [program, *typed],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )
        (folder / _PID).write_text(f"{process.pid} {_started(process.pid)}")
    address = f"http://{HOST}:{port}"
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
            raise ServiceError(lines[-1] if lines else f"the service left with code {process.returncode}")
        if address in (folder / LOG).read_text(errors="replace") and _is_ready(address):
            return address
        time.sleep(0.1)
    stop_service(folder)
    raise ServiceError(f"the service was not ready within {_SECONDS:.0f} seconds; see {folder / LOG}")


def stop_service(folder: Path) -> bool:
    """Stop the service that an earlier demo left; False where none runs."""
    path = folder / _PID
    pid, started = _noted(path)
    if pid is None or _started(pid) != started:
        path.unlink(missing_ok=True)
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _started(pid) == started:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + _SECONDS / 2
        while _started(pid) == started and time.monotonic() < until:
            time.sleep(0.05)
    path.unlink(missing_ok=True)
    return True


def _is_ready(address: str) -> bool:
    try:
        # No proxy stands between a machine and itself.
        return httpx.get(f"{address}/healthz/ready", timeout=1.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _noted(path: Path) -> tuple[int | None, str]:
    """The process that was started, and when; None where there is no such note."""
    try:
        pid, _, started = path.read_text().partition(" ")
        return int(pid), started
    except (OSError, ValueError):
        return None, ""


def _started(pid: int) -> str:
    """When a process started, as the system puts it; empty where it is gone. Numbers of processes are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc").is_dir():
            return ""
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()
