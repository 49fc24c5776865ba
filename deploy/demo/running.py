"""The demo's service: started in the background, left running, and stopped by `make demo-stop`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

_SECONDS = 30.0
_PID = "service.pid"
_LOG = "service.log"


class ServiceError(RuntimeError):
    """The service does not run; the message is one line."""


def start_service(bundles: Path, folder: Path, port: int) -> str:
    """Start it with its data and log in `folder`, and return its address once it is ready. Raises `ServiceError`."""
    program = Path(sys.executable).parent / "facebridge"
    typed = ["serve", "--bundles", str(bundles), "--data", str(folder / "data"), "--port", str(port)]
    print("$", "facebridge", *typed, "&", flush=True)
    with (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(
            [program, *typed], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    (folder / _PID).write_text(str(process.pid))
    address = f"http://127.0.0.1:{port}"
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            lines = (folder / _LOG).read_text(errors="replace").strip().splitlines()
            raise ServiceError(lines[-1] if lines else f"the service left with code {process.returncode}")
        try:
            if httpx.get(f"{address}/healthz/ready", timeout=1.0).is_success:
                return address
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    stop_service(folder)
    raise ServiceError(f"the service was not ready within {_SECONDS:.0f} seconds; see {folder / _LOG}")


def stop_service(folder: Path) -> bool:
    """Stop the service that an earlier demo left; False where none runs."""
    path = folder / _PID
    if not path.is_file():
        return False
    pid = int(path.read_text())
    path.unlink()
    if not _is_ours(pid):
        return False
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _SECONDS
    while _is_ours(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return True


def _is_ours(pid: int) -> bool:
    """Whether the process is a `facebridge serve`; numbers of processes are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return _answers(pid)
    return b"facebridge" in words and b"serve" in words


def _answers(pid: int) -> bool:
    """Where there is no /proc, whether the process is there at all."""
    if Path("/proc").is_dir():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
