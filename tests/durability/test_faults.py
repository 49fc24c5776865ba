"""Any fault of the disk is safe: nothing that was acknowledged is lost, and every fault is told.

The n-th system call of a kind fails, for many n, injected by strace; a short version of each runs with every change.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from service.entities import FloatArray, NewTemplates
from service.errors import InsufficientStorageError
from service.galleries.embedded import EmbeddedGalleryStore
from tests.durability.ledger import check, run
from tests.durability.writer_process import DIMENSION, SPACE

CRASHES = int(os.environ.get("FACEBRIDGE_CRASHES", "6"))
CLIENTS = 2
PASSED = 10
"""Runs, one after the other, that did not come to their call."""
STRACE = shutil.which("strace")

FAULTS = [("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("fsync", "EIO"), ("ftruncate", "EIO")]

needs_strace = pytest.mark.skipif(
    STRACE is None and "CI" not in os.environ, reason="strace, which makes system calls fail, is not here"
)


@needs_strace
@pytest.mark.parametrize(("call", "error"), FAULTS, ids=[f"{call}-{error}" for call, error in FAULTS])
def test_the_nth_call_that_fails_loses_nothing_and_is_told(tmp_path: Path, call: str, error: str) -> None:
    num_injected, num_passed = 0, 0
    # A run has fewer syncs than writes.
    operations = 25 if call == "pwrite64" or CRASHES < 20 else 80
    few = (2, 3) if call == "ftruncate" else (7, 31, 90)
    for nth in few if CRASHES < 20 else range(1, CRASHES):
        folder = tmp_path / str(nth)
        inject = f"inject={call}:error={error}:when={nth}"
        before = (str(STRACE), "-f", "-y", "-o", str(tmp_path / "trace"), "-e", f"trace={call}", "-e", inject)
        ended = run(folder, nth, clients=CLIENTS, operations=operations, before=before)
        # SQLite passes over a folder that it cannot sync, by design; the store syncs it itself, among the calls to fsync.
        lines = (tmp_path / "trace").read_text().splitlines()
        injected = [line for line in lines if "(INJECTED)" in line and f"<{folder}>" not in line]
        is_told = bool(ended.failures) or any("failed" in line for line in ended.lines) or bool(ended.log)
        if injected:
            num_injected, num_passed = num_injected + 1, 0
            assert is_told, f"the {nth}th {call} failed, and nobody heard of it"
        check(folder, {}, ended, CLIENTS)
        num_passed += not injected
        if num_passed == PASSED:
            # A run has no more of them.
            break
    assert num_injected > 0
    sys.stdout.write(f"{num_injected} times {error} from {call}: nothing lost, every one told\n")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        if "CI" in os.environ:
            pytest.fail("a small file system cannot be mounted here")
        pytest.skip("a small file system cannot be mounted by this user")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def units(num_rows: int, seed: int) -> FloatArray:
    raw_GD = np.random.default_rng(seed).standard_normal((num_rows, DIMENSION))
    unit_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return unit_GD


def native(seed: int, num_rows: int = 200) -> NewTemplates:
    features_GD = units(num_rows, seed)
    return NewTemplates([f"{seed}/{row}" for row in range(num_rows)], features_GD, SPACE, features_GD, SPACE)


def test_a_full_disk_stops_writes_and_nothing_else_and_is_left_behind_when_there_is_space(small_disk: Path) -> None:
    store = EmbeddedGalleryStore(small_disk / "data")
    store.create("staff", SPACE)
    acknowledged: list[int] = []
    refused = 0
    ballast = small_disk / "ballast"
    for seed in range(400):
        if seed == 20:
            # Others fill the disk while the gallery is at work.
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))
        try:
            store.enrol("staff", native(seed))
        except InsufficientStorageError:
            refused += 1
            with pytest.raises(InsufficientStorageError):
                store.take_snapshot("staff")
        else:
            acknowledged.append(seed)
        if refused == 5:
            break
    assert refused == 5
    for seed in (acknowledged[0], acknowledged[-1]):
        (candidates,) = store.search("staff", units(200, seed)[7:8], SPACE, 1).candidates
        assert candidates[0].subject == f"{seed}/7"
    assert store.get("staff").num_templates == 200 * len(acknowledged)
    assert len(store.templates("staff", limit=10).templates) == 10
    ballast.unlink()
    freed = time.monotonic()
    store.enrol("staff", native(1000))
    assert time.monotonic() - freed < 5
    acknowledged.append(1000)
    store.remove_subject("staff", "1000/3")
    store.close()
    store = EmbeddedGalleryStore(small_disk / "data")
    assert store.get("staff").num_templates == 200 * len(acknowledged) - 1
    assert all(check.is_sound for check in store.check("staff"))
    store.close()


@needs_strace
def test_after_a_sync_that_failed_nothing_is_written_and_reads_go_on(tmp_path: Path) -> None:
    """In a process of its own, as the fault is the process's."""
    before = (
        *(str(STRACE), "-f", "-o", str(tmp_path / "trace"), "-e", "trace=fdatasync"),
        *("-e", "inject=fdatasync:error=EIO:when=12+"),
    )
    ended = run(tmp_path / "data", 1, clients=CLIENTS, operations=60, before=before)
    outcomes = [ended.ended.get((client, number)) for client in range(CLIENTS) for number in range(60)]
    assert outcomes.count("ReadOnlyError") >= 1
    for client in range(CLIENTS):
        told = [outcome for number in range(60) if (outcome := ended.ended.get((client, number))) is not None]
        assert told[-1] == "ReadOnlyError"
    assert ended.is_closed
    check(tmp_path / "data", {}, ended, CLIENTS)
