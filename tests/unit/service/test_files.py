"""Files that are there wholly or not at all, and on disk."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from service.files import write_whole


def test_a_file_is_synced_before_it_takes_its_place_and_its_folder_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(b"before")
    done: list[tuple[str, int, bytes]] = []

    def synced(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
        status = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(status.st_mode)
        done.append(("folder" if is_folder else "file", status.st_ino, path.read_bytes()))
        # All of it is with the operating system by then.
        assert is_folder or status.st_size == len(b"after it")
        fsync(descriptor)

    monkeypatch.setattr("service.files.os.fsync", synced)
    write_whole(path, b"after", b" it")
    assert path.read_bytes() == b"after it"
    assert done == [("file", path.stat().st_ino, b"before"), ("folder", tmp_path.stat().st_ino, b"after it")]


def test_where_it_cannot_be_synced_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(5, "I/O error")

    path = tmp_path / "keys.json"
    path.write_bytes(b"before")
    monkeypatch.setattr("service.files.os.fsync", fails)
    with pytest.raises(OSError, match="I/O error"):
        write_whole(path, b"after")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("keys.json", b"before")]
