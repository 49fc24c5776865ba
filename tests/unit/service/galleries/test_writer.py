"""The writing thread: what shares a commit, what becomes of one that fails among others, when it stops."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidInputError, ReadOnlyError, StorageError
from service.galleries.writer import Writer

Connect = Callable[[], sqlite3.Connection]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    def opened() -> sqlite3.Connection:
        db = sqlite3.connect(tmp_path / "file", isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        return db

    with closing(opened()) as db:
        db.execute("CREATE TABLE word (text TEXT NOT NULL UNIQUE)")
    return opened


@pytest.fixture
def writer(connect: Connect, tmp_path: Path) -> Iterator[Writer]:
    opened = Writer(tmp_path / "file", connect, connect)
    yield opened
    opened.close()


def insert(*texts: str | None) -> Callable[[sqlite3.Connection], int]:
    def work(db: sqlite3.Connection) -> int:
        for text in texts:
            db.execute("INSERT INTO word VALUES (?)", (text,))
        return len(texts)

    return work


def words(connect: Connect) -> list[str]:
    with closing(connect()) as db:
        return [text for (text,) in db.execute("SELECT text FROM word ORDER BY rowid")]


def commits(writer: Writer) -> list[str]:
    """What is begun and committed from here on."""
    seen: list[str] = []
    writer._db.set_trace_callback(lambda text: seen.append(text) if text in ("BEGIN IMMEDIATE", "COMMIT") else None)
    return seen


class Held:
    """Keeps the writer busy until it is let go, so that what is submitted meanwhile waits together."""

    def __init__(self, writer: Writer) -> None:
        self._release = threading.Event()
        started = threading.Event()

        def work(db: sqlite3.Connection) -> None:
            started.set()
            assert self._release.wait(10)

        self._future: Future[Any] = writer.submit(work, bool)
        assert started.wait(10)

    def let_go(self) -> None:
        self._release.set()
        self._future.result()


def test_what_waits_shares_one_commit_and_is_answered_after_it(writer: Writer, connect: Connect) -> None:
    held = Held(writer)
    seen = commits(writer)
    committed: list[list[str]] = []
    futures = [writer.submit(insert(text), lambda num: committed.append(words(connect))) for text in "abc"]
    held.let_go()
    for future in futures:
        future.result()
    assert seen == ["COMMIT", "BEGIN IMMEDIATE", "COMMIT"]
    assert committed == [["a", "b", "c"]] * 3


def refuse(_: sqlite3.Connection) -> None:
    raise InvalidInputError("no")


def test_one_that_refuses_leaves_nothing_and_is_in_nobodys_way(writer: Writer, connect: Connect) -> None:
    def half(db: sqlite3.Connection) -> None:
        insert("half")(db)
        refuse(db)

    held = Held(writer)
    first, second, third = (writer.submit(work, bool) for work in (insert("a"), half, insert("b")))
    held.let_go()
    assert (first.result(), third.result()) == (True, True)
    with pytest.raises(InvalidInputError):
        second.result()
    assert words(connect) == ["a", "b"]


def test_one_that_fails_in_the_database_is_told_alone(writer: Writer, connect: Connect) -> None:
    held = Held(writer)
    first, second, third = (writer.submit(work, int) for work in (insert("a"), insert("b", None), insert("c")))
    held.let_go()
    assert (first.result(), third.result()) == (1, 1)
    with pytest.raises(StorageError, match=r"SQLITE_CONSTRAINT_NOTNULL.*nothing of this was kept") as failure:
        second.result()
    assert not isinstance(failure.value, ReadOnlyError)
    assert words(connect) == ["a", "c"]
    assert writer.failure is None


def together(writer: Writer, texts: str) -> list["Future[tuple[int, str]]"]:
    """One of many for each letter; `x` is refused."""

    def work(db: sqlite3.Connection, some: list[str]) -> list[tuple[int, str]]:
        if "x" in some:
            raise InvalidInputError("x")
        insert("".join(some))(db)
        return [(len(some), text) for text in some]

    return [writer.submit_one_of_many("letters", text, work, lambda results: results) for text in texts]


def test_those_of_one_kind_are_done_at_once(writer: Writer, connect: Connect) -> None:
    held = Held(writer)
    futures = together(writer, "ab")
    other = writer.submit(insert("-"), bool)
    futures += together(writer, "cde")
    held.let_go()
    assert [future.result() for future in futures] == [(2, "a"), (2, "b"), (3, "c"), (3, "d"), (3, "e")]
    assert other.result()
    assert words(connect) == ["ab", "-", "cde"]


def test_where_several_are_refused_each_is_tried_by_itself(writer: Writer, connect: Connect) -> None:
    held = Held(writer)
    first, second, third = together(writer, "axb")
    held.let_go()
    assert (first.result(), third.result()) == ((1, "a"), (1, "b"))
    with pytest.raises(InvalidInputError):
        second.result()
    assert words(connect) == ["a", "b"]


def test_what_is_alone_runs_outside_of_transactions_in_its_turn(writer: Writer, connect: Connect) -> None:
    held = Held(writer)
    before = writer.submit(insert("a"), bool)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(writer.alone(lambda db: (db.in_transaction, words(connect)))))
    thread.start()
    while writer._operations.qsize() < 2:
        threading.Event().wait(0.001)
    after = writer.submit(insert("b"), bool)
    held.let_go()
    thread.join()
    assert before.result()
    assert after.result()
    assert seen == [(False, ["a"])]


def test_what_is_recorded_and_cannot_be_made_searchable_is_the_end_of_writing(
    writer: Writer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: int) -> None:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        writer.call(insert("a"), broken)
    calls: list[Callable[[], object]] = [
        lambda: writer.call(insert("b"), bool),
        lambda: writer.alone(insert("c")),
    ]
    for call in calls:
        with pytest.raises(ReadOnlyError, match=r"could not be made searchable \(RuntimeError\)"):
            call()
    assert words(connect) == ["a"]
    assert "nothing is written until the service has been started again" in caplog.text


@pytest.mark.parametrize(
    ("code", "name", "stops"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC", True),
        (sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT", True),
        (sqlite3.SQLITE_FULL, "SQLITE_FULL", False),
        (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", False),
    ],
)
def test_a_fault_of_the_disk_stops_writing_and_a_full_one_does_not(
    writer: Writer, connect: Connect, code: int, name: str, stops: bool
) -> None:
    def fail(db: sqlite3.Connection) -> None:
        insert("half")(db)
        failure = sqlite3.OperationalError("what is stored may be quoted here")
        failure.sqlite_errorcode, failure.sqlite_errorname = code, name
        raise failure

    with pytest.raises(ReadOnlyError if stops else StorageError) as told:
        writer.call(fail, bool)
    assert "quoted" not in str(told.value)
    assert (writer.failure is not None) is stops
    assert words(connect) == []
    if not stops:
        assert writer.call(insert("a"), bool)


def test_whoever_comes_after_the_end_is_told_so(connect: Connect, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "file", connect, connect)
    held = Held(writer)
    closing_thread = threading.Thread(target=writer.close)
    closing_thread.start()
    while writer._operations.qsize() < 1:
        threading.Event().wait(0.001)
    late = writer.submit(insert("late"), bool)
    held.let_go()
    closing_thread.join()
    for future in (late, writer.submit(insert("later"), bool)):
        with pytest.raises(ReadOnlyError, match="the galleries are closed"):
            future.result(timeout=10)
    assert words(connect) == []


def test_the_log_is_cut_to_nothing_when_it_is_asked_for_and_at_the_end(connect: Connect, tmp_path: Path) -> None:
    log = tmp_path / "file-wal"
    writer = Writer(tmp_path / "file", connect, connect)
    writer.call(insert("a"), bool)
    assert log.stat().st_size > 0
    writer.alone(lambda db: writer.empty_log())
    assert log.stat().st_size == 0
    writer.call(insert("b"), bool)
    with closing(connect()) as other:
        assert other.execute("SELECT COUNT(*) FROM word").fetchone() == (2,)
        writer.close()
        assert log.stat().st_size == 0


class Forgetful(sqlite3.Connection):
    """Runs out of memory at statements that begin in some way, as SQLite does."""

    without = "-"

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql.startswith(self.without):
            raise MemoryError
        return super().execute(sql, *args)


@pytest.fixture
def forgetful(connect: Connect, tmp_path: Path) -> Iterator[tuple[Writer, Forgetful]]:
    dbs: list[Forgetful] = []

    def opened() -> sqlite3.Connection:
        dbs.append(sqlite3.connect(tmp_path / "file", isolation_level=None, check_same_thread=False, factory=Forgetful))
        return dbs[-1]

    writer = Writer(tmp_path / "file", opened, connect)
    yield writer, dbs[0]
    dbs[0].without = "-"
    writer.close()


@pytest.mark.parametrize("statement", ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT", "ROLLBACK TO"])
def test_memory_that_runs_out_in_sqlite_keeps_nobody_waiting(
    forgetful: tuple[Writer, Forgetful], connect: Connect, statement: str
) -> None:
    writer, db = forgetful
    db.without = statement
    asked = [writer.submit(refuse if statement == "ROLLBACK TO" else insert("a"), str) for _ in range(3)]
    for one in asked:
        with pytest.raises((ReadOnlyError, StorageError)):
            one.result(10)
    assert writer.failure is not None
    with pytest.raises(ReadOnlyError):
        writer.submit(insert("b"), str).result(10)
    assert words(connect) == []


def test_memory_that_runs_out_in_one_operation_is_told_to_it_alone(writer: Writer, connect: Connect) -> None:
    def exhausted(db: sqlite3.Connection) -> None:
        insert("a")(db)
        raise MemoryError

    asked = [writer.submit(insert("b"), str), writer.submit(exhausted, str), writer.submit(insert("c"), str)]
    assert [asked[0].result(10), asked[2].result(10)] == ["1", "1"]
    with pytest.raises(StorageError, match="no memory for this; nothing of it was kept"):
        asked[1].result(10)
    assert writer.failure is None
    assert words(connect) == ["b", "c"]


@pytest.mark.parametrize(
    ("failure", "told"), [(InvalidInputError("no"), InvalidInputError), (MemoryError(), StorageError)]
)
def test_what_is_alone_and_fails_leaves_no_transaction_open(
    writer: Writer, failure: Exception, told: type[Exception]
) -> None:
    def fails(db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        raise failure

    with pytest.raises(told):
        writer.alone(fails)
    assert writer.call(insert("a"), str) == "1"


def test_a_failure_that_nobody_thought_of_is_the_end_of_writing_and_of_waiting(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(writer, "_commit", fails)
    with pytest.raises(ReadOnlyError, match=r"the writing thread failed \(RuntimeError\)"):
        writer.submit(insert("a"), str).result(10)
    monkeypatch.undo()
    with pytest.raises(ReadOnlyError):
        writer.submit(insert("b"), str).result(10)
    assert "the writing thread failed (RuntimeError); nothing is written" in caplog.text
