"""The audit log: whole, in order, on disk, and broken where anything of it is not as it was written."""

import errno
import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.documents import canonical_json, sha256_hex
from service.access import audit
from service.access.audit import START, AuditLog, check_audit, read_audit
from service.errors import DamagedError, StartupError, StorageError

NUM = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of some entries."""
    log = AuditLog(tmp_path / "audit")
    for number in range(NUM):
        log.record({"what": f"thing {number}"}).result(10)
    log.close()
    return tmp_path / "audit"


def file_of(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_entries_follow_each_other(folder: Path) -> None:
    entries = list(read_audit(folder))
    assert [entry["what"] for entry in entries] == [f"thing {number}" for number in range(NUM)]
    assert [entry["number"] for entry in entries] == list(range(1, NUM + 1))
    assert [entry["before"] for entry in entries] == [START, *(entry["digest"] for entry in entries[:-1])]
    for entry in entries:
        own = {name: value for name, value in entry.items() if name != "digest"}
        assert entry["digest"] == sha256_hex(canonical_json(own))
    checked = check_audit(folder)
    assert (checked.num_entries, checked.first, checked.last, checked.head) == (NUM, 1, NUM, entries[-1]["digest"])


def _forge(line: str) -> str:
    """With a digest that fits."""
    entry = json.loads(line)
    del entry["digest"]
    entry["what"] = "nothing"
    return json.dumps(entry | {"digest": sha256_hex(canonical_json(entry))}, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:3], lines[3].replace("thing 3", "thing 4"), *lines[4:]],
        lambda lines: [*lines[:3], *lines[4:]],
        lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]],
        lambda lines: [*lines[:3], lines[2], *lines[3:]],
        lambda lines: lines[1:],
        lambda lines: [*lines[:3], _forge(lines[3]), *lines[4:]],
        lambda lines: [*lines[:3], "{}", *lines[4:]],
        lambda lines: [*lines[:3], "[" * 5000, *lines[4:]],
        lambda lines: [*lines[:3], lines[3].replace(",", ", ", 1), *lines[4:]],
        lambda lines: [*lines[:3], "", *lines[3:]],
    ],
)
def test_whatever_is_changed_is_found(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = file_of(folder)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(DamagedError):
        check_audit(folder)


def test_every_changed_byte_is_found(folder: Path) -> None:
    path = file_of(folder)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedError):
            check_audit(folder)


def test_who_kept_a_digest_finds_what_was_written_anew_or_cut_off(folder: Path) -> None:
    kept = check_audit(folder).head
    assert check_audit(folder, kept).head == kept
    path = file_of(folder)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert check_audit(folder).last == NUM - 1
    with pytest.raises(DamagedError, match="no entry has that digest"):
        check_audit(folder, kept)


def test_it_goes_on_where_it_ended(folder: Path) -> None:
    log = AuditLog(folder)
    log.add({"what": "later"})
    log.close()
    checked = check_audit(folder)
    assert (checked.num_entries, checked.last) == (NUM + 1, NUM + 1)
    assert [entry["what"] for entry in read_audit(folder, NUM)] == ["later"]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_what_a_kill_left_half_written_goes(folder: Path, cut: int) -> None:
    path = file_of(folder)
    path.write_bytes(path.read_bytes()[:-cut])
    log = AuditLog(folder)
    log.record({"what": "later"}).result(10)
    log.close()
    checked = check_audit(folder)
    assert (checked.num_entries, checked.last) == (NUM, NUM)


def test_a_broken_end_is_not_written_after(folder: Path) -> None:
    path = file_of(folder)
    path.write_text(path.read_text().replace("thing 11", "thing 12"))
    with pytest.raises(StartupError, match="not as it was written"):
        AuditLog(folder)


def test_files_are_of_some_size_and_old_ones_may_be_put_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_LARGEST_BYTES", 600)
    log = AuditLog(tmp_path / "audit")
    for number in range(NUM):
        log.record({"what": f"thing {number}"}).result(10)
    log.close()
    paths = sorted((tmp_path / "audit").iterdir())
    assert len(paths) > 2
    assert check_audit(tmp_path / "audit").num_entries == NUM
    second = int(paths[1].stem)
    assert [entry["number"] for entry in read_audit(tmp_path / "audit", second)] == list(range(second + 1, NUM + 1))
    paths[0].unlink()
    checked = check_audit(tmp_path / "audit")
    assert (checked.first, checked.last) == (second, NUM)
    paths[1].rename(paths[1].with_name(f"{second + 1:012d}.jsonl"))
    with pytest.raises(DamagedError, match="named by"):
        check_audit(tmp_path / "audit")


def test_many_write_at_once(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")

    def write(who: int) -> None:
        for number in range(50):
            log.record({"who": who, "what": number}).result(10)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert check_audit(tmp_path / "audit").num_entries == 400
    entries = list(read_audit(tmp_path / "audit"))
    for who in range(8):
        assert [entry["what"] for entry in entries if entry["who"] == who] == list(range(50))


def test_a_disk_that_fails_is_told_and_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, fsync, write = AuditLog(folder), os.fsync, os.write
    for name, fails in (("fsync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error"))), ("write", _short_write)):
        monkeypatch.setattr(f"service.access.audit.os.{name}", fails)
        with pytest.raises(StorageError, match="audit log cannot be written"):
            log.record({"what": "lost"}).result(10)
        monkeypatch.setattr("service.access.audit.os.fsync", fsync)
        monkeypatch.setattr("service.access.audit.os.write", write)
        assert check_audit(folder).num_entries == NUM
    log.record({"what": "kept"}).result(10)
    log.close()
    assert check_audit(folder).last == NUM + 1


def _short_write(descriptor: int, data: Any, write: Callable[[int, Any], int] = os.write) -> int:
    write(descriptor, bytes(data)[:10])
    raise OSError(28, "No space left on device")


def test_no_log_is_no_sound_log(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=re.escape(f"{tmp_path}: there is no audit log")):
        check_audit(tmp_path)


def test_whoever_does_not_wait_any_more_stops_nobody(folder: Path) -> None:
    log = AuditLog(folder)
    for _ in range(20):
        log.record({"what": "not waited for"}).cancel()
    log.record({"what": "waited for"}).result(10)
    log.close()
    assert check_audit(folder).last == NUM + 21


def test_what_cannot_be_written_as_json_is_lost_alone(folder: Path) -> None:
    log = AuditLog(folder)
    with pytest.raises(StorageError):
        log.record({"what": object()}).result(10)
    log.record({"what": "later"}).result(10)
    log.close()
    assert check_audit(folder).last == NUM + 1


def test_a_folder_that_cannot_be_synced_breaks_no_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "audit")
    monkeypatch.setattr(audit, "sync_folder", lambda _: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    with pytest.raises(StorageError):
        log.record({"what": "lost"}).result(10)
    monkeypatch.undo()
    for number in range(3):
        log.record({"what": f"kept {number}"}).result(10)
    log.close()
    assert [entry["what"] for entry in read_audit(tmp_path / "audit")] == ["kept 0", "kept 1", "kept 2"]


def test_what_nobody_waits_for_is_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[int]()
    monkeypatch.setattr("service.access.audit.os.fsync", synced.append)
    log = AuditLog(tmp_path)
    for number in range(200):
        log.add({"what": number})
    log.flush().result(10)
    assert [entry["what"] for entry in read_audit(tmp_path)] == list(range(200))
    # The file, and the folder that it is new in.
    assert len(synced) <= 4
    log.close()


def test_nobody_waits_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.access.audit._LINGER_SECONDS", 60.0)
    log = AuditLog(tmp_path)
    log.add({"what": "is read"})
    log.record({"what": "is changed"}).result(10)
    log.add({"what": "is read"})
    log.flush().result(10)
    log.add({"what": "is read at the end"})
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < 10
    assert [entry["what"] for entry in read_audit(tmp_path)] == [
        "is read",
        "is changed",
        "is read",
        "is read at the end",
    ]


def test_many_that_nobody_waits_for_wait_for_no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.access.audit._LINGER_SECONDS", 60.0)
    monkeypatch.setattr("service.access.audit._AT_ONCE", 8)
    log = AuditLog(tmp_path)
    log.add({"what": 0})
    # It waits for others by now.
    time.sleep(0.3)
    for number in range(1, 8):
        log.add({"what": number})
    end = time.monotonic() + 10
    while log.head[0] < 8 and time.monotonic() < end:
        time.sleep(0.01)
    assert log.head[0] == 8
    log.close()


def test_to_wait_for_what_was_added_fails_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(tmp_path)
    monkeypatch.setattr("service.access.audit._write_all", _no_space)
    log.add({"what": "is lost"})
    log.flush().result(10)
    assert "the audit log cannot be written" in caplog.text
    log.close()


def _no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("text", ["plain", "\u00e9\u4e2d\U0001f600", "\x00\x1f\x7f\u2028", '"\\/', "\ud7ff\ue000"])
def test_entries_are_canonical_json(text: str) -> None:
    entry = {"b": text, "a": [1, 2**63 - 1, None, True, {"z": text, text: 0}], "\u00e9": -1, "z": 0.05}
    assert audit._canonical(entry) == canonical_json(entry)


def test_whoever_waits_behind_many_waits_for_no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.access.audit._LINGER_SECONDS", 60.0)
    monkeypatch.setattr("service.access.audit._AT_ONCE", 8)
    log = AuditLog(tmp_path)
    with log._changed:
        for number in range(10):
            log.add({"what": number})
        last = log.record({"what": "is changed"})
    last.result(10)
    log.close()


def test_what_nobody_waits_for_is_written_soon(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.add({"what": "is read"})
    end = time.monotonic() + 3
    while not log.head[0] and time.monotonic() < end:
        time.sleep(0.01)
    assert log.head[0] == 1
    log.close()


def test_what_is_no_json_spoils_nothing_else(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    with log._changed:
        log.add({"what": "is read"})
        with pytest.raises(StorageError, match="no JSON"):
            log.add({"what": 2**64})
        change = log.record({"what": "is changed"})
    change.result(10)
    assert (log.head[0], log.num_lost) == (2, 0)
    log.close()


def test_after_the_end_nobody_waits(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.close()
    with pytest.raises(StorageError, match="closed"):
        log.record({"what": "is changed"}).result(10)
    for late in (log.flush, lambda: log.add({"what": "is read"})):
        with pytest.raises(StorageError, match="closed"):
            late()
