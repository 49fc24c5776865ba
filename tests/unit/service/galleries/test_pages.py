"""What SQLite leaves in its pages is found and overwritten, and nothing else is touched."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from service.errors import DamagedError
from service.galleries.pages import overwrite_unused, unused

NUMBERS = 16


def vector(number: int) -> bytes:
    """Of one row, and of no other."""
    return np.random.default_rng(number).standard_normal(NUMBERS).astype("<f4").tobytes()


def connected(path: Path, *pragmas: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in (*pragmas, "journal_mode=WAL", "wal_autocheckpoint=0", "secure_delete=ON"):
        db.execute(f"PRAGMA {pragma}")
    return db


def churn(db: sqlite3.Connection, num: int, seed: int = 0) -> None:
    """Rows go one by one, and others come in their place, so that pages are split and merged."""
    rng = np.random.default_rng(seed)
    there = [number for (number,) in db.execute("SELECT id FROM face")]
    following = max(there, default=-1) + 1
    db.execute("BEGIN")
    for start in range(following, following + num, 20):
        rows = [(number, "x" * int(rng.integers(30)), vector(number)) for number in range(start, start + 20)]
        db.executemany("INSERT INTO face VALUES (?, ?, ?)", rows)
        there += range(start, start + 20)
        while len(there) > 300:
            db.execute("DELETE FROM face WHERE id = ?", (there.pop(int(rng.integers(len(there)))),))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def gone_and_left(db: sqlite3.Connection, content: bytes) -> set[int]:
    """Rows that are deleted, and of whose vectors there are bytes in the file."""
    there = {number for (number,) in db.execute("SELECT id FROM face")}
    gone = set(range(max(there))) - there
    return {number for number in gone if any(vector(number)[at : at + 16] in content for at in range(0, 49, 16))}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of a file in which SQLite has left something of deleted rows, which it does seldom."""
    for seed in range(100):
        path = tmp_path_factory.mktemp("made") / "file"
        with closing(connected(path, "page_size=8192", "synchronous=OFF")) as db:
            db.execute("CREATE TABLE face (id INTEGER PRIMARY KEY, name TEXT, vector BLOB)")
            db.execute("CREATE INDEX by_name ON face (name)")
            churn(db, 600, seed)
            if len(gone_and_left(db, path.read_bytes())) > 2:
                return path.read_bytes()
    pytest.fail("SQLite leaves nothing of deleted rows any more; these tests try nothing")


@pytest.fixture
def db(content: bytes, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    (tmp_path / "file").write_bytes(content)
    with closing(connected(tmp_path / "file")) as opened:
        yield opened


@pytest.fixture
def descriptor(db: sqlite3.Connection, tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR)
    yield opened
    db.close()
    os.close(opened)


def test_copies_of_deleted_rows_are_overwritten_and_no_row_is(
    db: sqlite3.Connection, descriptor: int, tmp_path: Path
) -> None:
    before = db.execute("SELECT * FROM face").fetchall()
    assert gone_and_left(db, (tmp_path / "file").read_bytes())
    num = overwrite_unused(descriptor)
    assert num > 1000
    db.execute("PRAGMA shrink_memory")
    assert gone_and_left(db, (tmp_path / "file").read_bytes()) == set()
    assert list(unused(descriptor)) == []
    for again in (db, sqlite3.connect(tmp_path / "file")):
        assert again.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert again.execute("SELECT * FROM face").fetchall() == before


def test_what_was_overwritten_does_not_come_back_with_later_writes(
    db: sqlite3.Connection, descriptor: int, tmp_path: Path
) -> None:
    left = gone_and_left(db, (tmp_path / "file").read_bytes())
    assert overwrite_unused(descriptor)
    db.execute("PRAGMA shrink_memory")
    db.execute("UPDATE face SET name = name || '!'")
    churn(db, 200, seed=99)
    assert left
    assert not left & gone_and_left(db, (tmp_path / "file").read_bytes())
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_pages_that_are_free_are_overwritten_whole(db: sqlite3.Connection, descriptor: int, tmp_path: Path) -> None:
    db.execute("PRAGMA secure_delete=OFF")
    rows = [(number, "x", vector(number)) for number in range(1000, 3000)]
    db.executemany("INSERT INTO face VALUES (?, ?, ?)", rows)
    gone = [number for (number,) in db.execute("SELECT id FROM face ORDER BY id")][:-20]
    db.execute("DELETE FROM face WHERE id <= ?", (gone[-1],))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert db.execute("PRAGMA freelist_count").fetchone()[0] > 2
    content = (tmp_path / "file").read_bytes()
    assert sum(vector(number) in content for number in gone) > 50
    overwrite_unused(descriptor)
    db.execute("PRAGMA shrink_memory")
    content = (tmp_path / "file").read_bytes()
    assert not any(vector(number) in content for number in gone)
    churn(db, 300)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def spoil_count(page: bytearray) -> None:
    page[3:5] = b"\xff\xff"


def spoil_pointer(page: bytearray) -> None:
    page[8:10] = b"\x00\x08"


def spoil_start(page: bytearray) -> None:
    page[5:7] = b"\x00\x01"


def spoil_free(page: bytearray) -> None:
    page[1:3] = b"\x1f\xfe"


@pytest.mark.parametrize("spoil", [spoil_count, spoil_pointer, spoil_start, spoil_free])
def test_a_page_that_is_not_built_as_it_should_be_is_left_to_sqlite_with_all_others(
    db: sqlite3.Connection, descriptor: int, tmp_path: Path, spoil: Callable[[bytearray], None]
) -> None:
    db.close()
    content = bytearray((tmp_path / "file").read_bytes())
    start = next(start for start in range(len(content) - 8192, 0, -8192) if content[start] == 13)
    page = content[start : start + 8192]
    spoil(page)
    content[start : start + 8192] = page
    os.pwrite(descriptor, bytes(content), 0)
    with pytest.raises(DamagedError):
        overwrite_unused(descriptor)
    assert (tmp_path / "file").read_bytes() == bytes(content)


@pytest.mark.parametrize("pragma", ["auto_vacuum=FULL", "reserve"])
def test_a_file_of_another_layout_is_left_to_sqlite(tmp_path: Path, pragma: str) -> None:
    path = tmp_path / "other"
    with closing(connected(path, *([pragma] if "=" in pragma else []))) as db:
        db.execute("CREATE TABLE face (id INTEGER PRIMARY KEY, name TEXT, vector BLOB)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    if pragma == "reserve":
        content[20] = 8
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDWR)
    with pytest.raises(DamagedError):
        overwrite_unused(descriptor)
    os.close(descriptor)


def test_a_list_of_free_pages_that_does_not_end_is_not_followed_for_ever(
    db: sqlite3.Connection, descriptor: int, tmp_path: Path
) -> None:
    db.execute("DELETE FROM face")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    trunk = int.from_bytes(os.pread(descriptor, 4, 32), "big")
    os.pwrite(descriptor, trunk.to_bytes(4, "big"), (trunk - 1) * 8192)
    with pytest.raises(DamagedError, match="does not end"):
        overwrite_unused(descriptor)


@pytest.mark.parametrize("page_bytes", [512, 4096, 8192])
def test_whatever_was_done_to_a_database_it_holds_the_same_afterwards(tmp_path: Path, page_bytes: int) -> None:
    """Rows of every size, some over many pages, tables with and without row ids, an index; again and again, beside a reader."""
    rng = np.random.default_rng(page_bytes)
    num_overwritten = 0
    for case in range(6):
        path = tmp_path / str(case)
        with closing(connected(path, f"page_size={page_bytes}", "synchronous=OFF")) as db:
            db.execute("CREATE TABLE face (id INTEGER PRIMARY KEY, name TEXT, vector BLOB)")
            db.execute("CREATE TABLE word (name TEXT PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            db.execute("CREATE INDEX by_name ON face (name)")
            descriptor = os.open(path, os.O_RDWR)
            with closing(sqlite3.connect(path)) as reader:
                for _ in range(5):
                    db.execute("BEGIN")
                    for _ in range(150):
                        key, size = int(rng.integers(400)), int(rng.choice([0, 3, 60, 900, 20_000]))
                        name = "x" * int(rng.integers(200)) + str(key)
                        db.execute("INSERT OR REPLACE INTO face VALUES (?, ?, ?)", (key, name, rng.bytes(size)))
                        db.execute("INSERT OR REPLACE INTO word VALUES (?, ?)", (str(key), rng.bytes(size // 9)))
                        db.execute("DELETE FROM face WHERE id = ?", (int(rng.integers(400)),))
                        db.execute("DELETE FROM word WHERE name = ?", (str(rng.integers(400)),))
                    db.execute("COMMIT")
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    before = [db.execute(f"SELECT * FROM {table}").fetchall() for table in ("face", "word")]
                    num_overwritten += overwrite_unused(descriptor) > 0
                    db.execute("PRAGMA shrink_memory")
                    assert list(unused(descriptor)) == []
                    for one in (db, reader):
                        assert one.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                        assert [
                            one.execute(f"SELECT * FROM {table}").fetchall() for table in ("face", "word")
                        ] == before
        os.close(descriptor)
    assert num_overwritten > 20
    sys.stdout.write(f"{num_overwritten} times what is unused of pages of {page_bytes} bytes: every row as before\n")
