"""Nothing stays behind of who is gone: in pages, in files without a name, in memory, in what a search has found already."""

import gc
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, NewTemplates
from service.errors import DamagedError, NotFoundError, ReadOnlyError, SnapshotCorruptError, StorageError
from service.galleries import background, erasure, indexes, pages, saved, scan
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import PROJECTIONS, RECORD, SNAPSHOTS
from service.galleries.indexes import IndexPolicy
from service.galleries.schema import PAGE_BYTES
from service.galleries.traces import pieces_of

SPACE = Space("here", 256, "external:here")
ELSEWHERE = Space("elsewhere", 16, "external:elsewhere")


@pytest.fixture(autouse=True)
def small_galleries_are_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 100)
    monkeypatch.setattr(background, "_INDEX_SECONDS", 0.01)
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.01)


def units(num_rows: int, dimension: int = 256, seed: int = 0) -> FloatArray:
    raw_GD = np.random.default_rng(seed).standard_normal((num_rows, dimension))
    features_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return features_GD


def native(names: list[str], features_GD: FloatArray) -> NewTemplates:
    return NewTemplates(names, features_GD, SPACE, features_GD, SPACE, keys=names)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedGalleryStore]:
    with closing(EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))) as opened:
        opened.create("staff", SPACE, index="sq8")
        yield opened


def leave_behind(store: EmbeddedGalleryStore, folder: Path, vector: bytes) -> None:
    """Put bytes where SQLite leaves copies of rows that it moved (test_pages.py has it do that)."""
    writer = store._record.writer
    writer.alone(lambda _: writer.empty_log())
    content = np.frombuffer((folder / RECORD).read_bytes(), dtype=np.uint8).reshape(-1, PAGE_BYTES)
    gaps = [
        (number, start)
        for number, page in enumerate(content)
        if number and page[0] == 13
        for start, end in pages._gaps(page, 0)[:1]
        if end - start > 2 * len(vector)
    ]
    number, start = gaps[-1]
    assert os.pwrite(store._record.descriptor, vector, number * PAGE_BYTES + start + 10) == len(vector)
    writer.alone(lambda db: db.execute("PRAGMA shrink_memory"))
    assert vector in (folder / RECORD).read_bytes()


@pytest.mark.parametrize("is_layout_known", [True, False])
def test_an_erasure_leaves_nothing_of_what_was_removed_before(
    store: EmbeddedGalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_layout_known: bool
) -> None:
    """Though nothing of her is recorded any more, so that nobody knows what to look for."""

    def unknown(_: int) -> int:
        raise DamagedError("not laid out as this version does it")

    features_GD = units(40)
    store.enrol("staff", native([f"p{row}" for row in range(40)], features_GD))
    for name in ("p7", "p8"):
        store.remove_subject("staff", name)
    leave_behind(store, tmp_path, features_GD[7].tobytes())
    if not is_layout_known:
        monkeypatch.setattr(erasure, "overwrite_unused", unknown)
    (erased,) = store.erase("staff", ["p7"])
    assert erased.num_templates == 0
    assert features_GD[7].tobytes()[:16] not in (tmp_path / RECORD).read_bytes()
    # Nor does it come back with what is written later.
    store.enrol("staff", native([f"q{row}" for row in range(40)], units(40, seed=5)))
    store.remove_subject("staff", "p9")
    store._record.writer.alone(lambda _: store._record.writer.empty_log())
    assert features_GD[7].tobytes()[:16] not in (tmp_path / RECORD).read_bytes()
    assert all(check.is_sound for check in store.check("staff"))
    store.close()
    with closing(EmbeddedGalleryStore(tmp_path)) as again:
        assert all(check.is_sound for check in again.check("staff"))


def nameless(folder: Path) -> list[bytes]:
    """Files of a folder that have no name any more and that this process has open."""
    contents = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            if str(link.readlink()).startswith(str(folder)) and str(link.readlink()).endswith("(deleted)"):
                contents.append(link.read_bytes())
        except OSError:
            continue
    return contents


@pytest.mark.parametrize("beside", ["search", "index", "search of a gallery that was dropped"])
def test_a_file_that_lost_its_name_holds_nothing_of_who_is_erased(
    store: EmbeddedGalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    features_GD = units(400)
    store.enrol("staff", native([f"p{row}" for row in range(400)], features_GD))
    wait_until(lambda: bool(store._gallery("staff").projection.indexes))
    store._saver.save_all()
    go, there, build = threading.Event(), threading.Event(), indexes.build_best

    def slow(*args: Any, **more: Any) -> Any:
        built = build(*args, **more)
        there.set()
        go.wait(20)
        return built

    store.take_snapshot("staff")
    if beside == "index":
        monkeypatch.setattr("service.galleries.projection.build_best", slow)
        store._gallery("staff").projection.forget_indexes()
        assert there.wait(20)
        store.remove_subject("staff", "p9")
        store._saver.save_all()
        store.erase("staff", ["p7"])
        found = nameless(tmp_path)
        go.set()
    else:
        with store._gallery("staff").projection.reading() as reading:
            if beside == "search":
                # The file that it reads loses its name before that, too.
                store.remove_subject("staff", "p9")
                store._saver.save_all()
            else:
                store.drop("staff")
            store.erase("staff", ["p7"])
            found = nameless(tmp_path)
            ((*candidates,),) = reading.search(features_GD[8:9], 3)
            assert candidates[0].subject == "p8"
    assert found
    assert not [one for one in found if features_GD[7].tobytes()[:16] in one]
    assert [one for one in found if features_GD[8].tobytes() in one]


def test_a_row_that_a_search_may_still_answer_stays_in_a_file_without_a_name(store: EmbeddedGalleryStore) -> None:
    features_GD = units(400)
    store.enrol("staff", native([f"p{row}" for row in range(400)], features_GD))
    wait_until(lambda: bool(store._gallery("staff").projection.indexes))
    store._saver.save_all()
    with store._gallery("staff").projection.reading() as reading:
        store.enrol("staff", native(["p7"], units(1, seed=9)), replaces=True)
        store._saver.save_all()
        ((found, *_),) = reading.search(features_GD[7:8], 3)
        assert (found.subject, found.score) == ("p7", 1.0)
        store.erase("staff", ["p7"])
        ((found, *_),) = reading.search(features_GD[7:8], 3)
        assert found.subject != "p7"


@pytest.mark.parametrize("kind", ["sq8", "flat"])
def test_a_gallery_that_was_dropped_is_kept_by_nobody(store: EmbeddedGalleryStore, kind: Any) -> None:
    store.create("other", SPACE, index=kind)
    store.enrol("other", native([f"p{row}" for row in range(200)], units(200)))
    store.drop("staff")
    wait_until(lambda: kind == "flat" or bool(store._gallery("other").projection.indexes))
    store._saver.save_all()
    kept = weakref.ref(store._gallery("other").projection)
    store.drop("other")
    # At once, and not when another gallery comes.
    wait_until(lambda: gc.collect() >= 0 and kept() is None)


def test_what_was_enrolled_last_is_kept_by_nobody(store: EmbeddedGalleryStore) -> None:
    features_GD = units(3)
    kept = weakref.ref(features_GD)
    store.enrol("staff", native(["a", "b", "c"], features_GD))
    del features_GD
    wait_until(lambda: kept() is None)


def test_an_index_that_was_done_without_is_kept_by_nobody(
    store: EmbeddedGalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol("staff", native([f"p{row}" for row in range(199)], units(199)))
    wait_until(lambda: bool(store._gallery("staff").projection.indexes))
    store._saver.save_all()
    assert store._gallery("staff").folder._indexes
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 10**9)
    store.erase("staff", ["p7"])
    assert store._gallery("staff").folder._indexes == {}


def test_nothing_is_kept_of_what_was_saved_and_cannot_be_used(
    store: EmbeddedGalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol("staff", native([f"p{row}" for row in range(199)], units(199)))
    wait_until(lambda: bool(store._gallery("staff").projection.indexes))
    store.close()
    (path,) = (tmp_path / PROJECTIONS).rglob("*.segment")
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 10**9)
    with closing(EmbeddedGalleryStore(tmp_path)) as again:
        assert again._gallery("staff").folder._indexes == {}
        assert again._gallery("staff").folder._files == {}


def test_an_index_of_another_faiss_is_built_again(
    store: EmbeddedGalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(*_: object) -> None:
        raise RuntimeError("Index type 0x12345678 not recognized")

    store.enrol("staff", native([f"p{row}" for row in range(199)], units(199)))
    wait_until(lambda: bool(store._gallery("staff").projection.indexes))
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr("service.galleries.saved.unpacked", unknown)
        again = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))
    assert "of a FAISS that this one does not understand" in caplog.text
    assert again.get("staff").num_templates == 199
    wait_until(lambda: bool(again._gallery("staff").projection.indexes))
    again.close()


def test_a_segment_of_which_all_go_while_it_is_written_is_left_out(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol("staff", native(["ann"], units(1)))
    features_GD = units(1, seed=3)
    store.enrol("staff", NewTemplates(["bob"], units(1, 16), ELSEWHERE, features_GD, SPACE, ("e-h",)))
    pack = saved._packed
    done: list[int] = []

    def packed(segment: Any, num: int) -> Any:
        if not done:
            done.append(store.remove_subject("staff", segment.subject(0)))
        return pack(segment, num)

    monkeypatch.setattr(saved, "_packed", packed)
    store._saver.save_all()
    kept = store._gallery("staff").folder.load(SPACE.fingerprint, SPACE.dimension)
    assert done == [1]
    assert kept is not None
    assert [segment.num for segments in kept.parts.values() for segment in segments] == [1]


def searching(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch, beside: Callable[[], object], probes_BD: FloatArray
) -> list[list[str]]:
    """What a search answers while which something else was done, before it looks at its last part."""
    nominate, parts = scan.nominate, []
    last = len(store._gallery("staff").projection.views())

    def nominated(*args: Any, **more: Any) -> Any:
        parts.append(1)
        if len(parts) == last:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(beside).result(20)
        return nominate(*args, **more)

    monkeypatch.setattr("service.galleries.reader.nominate", nominated)
    found = store.search("staff", probes_BD, SPACE, 2).candidates
    return [[candidate.subject for candidate in of_probe] for of_probe in found]


@pytest.mark.parametrize("how", ["erased", "removed", "replaced"])
def test_a_search_that_has_found_somebody_looks_again_before_it_answers(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    features_GD = units(3)
    store.enrol("staff", native(["ann"], features_GD[:1]))
    store.enrol("staff", NewTemplates(["bob"], units(1, 16), ELSEWHERE, features_GD[1:2], SPACE, ("e-h",)))
    (first, *_), _ = (
        [segment.subject(0) for segment in view.segments]
        for view in store._gallery("staff").projection.views().values()
    )
    other = "bob" if first == "ann" else "ann"

    def beside() -> None:
        if how == "erased":
            store.erase("staff", [first])
        elif how == "removed":
            store.remove_subject("staff", first)
        else:
            store.enrol("staff", replace(native(["ann"], features_GD[2:]), keys=["ann"]), replaces=True)

    answered = searching(store, monkeypatch, beside, features_GD[:2])
    if how == "replaced":
        assert answered == [["ann", "bob"], ["bob", "ann"]]
    else:
        assert answered == [[other], [other]]


def test_a_search_in_what_a_gallery_was_before_it_was_put_back_begins_again(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol("staff", native(["ann", "bob"], units(2)))
    snapshot = store.take_snapshot("staff")

    def beside() -> None:
        store.restore("staff", snapshot.snapshot_id)
        store.remove_subject("staff", "ann")

    assert searching(store, monkeypatch, beside, units(1)) == [["bob"]]


def test_a_search_of_a_gallery_that_is_dropped_meanwhile_finds_nobody(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol("staff", native(["ann", "bob"], units(2)))
    with pytest.raises(NotFoundError):
        searching(store, monkeypatch, lambda: store.drop("staff"), units(1))


def test_vectors_that_are_mostly_zero_are_looked_for_too() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        vector = np.where(rng.random(512) < 0.5, 0.0, rng.standard_normal(512)).astype("<f4").tobytes()
        pieces = pieces_of([vector])
        assert 0 < len(pieces) <= 3
        assert all(piece in vector for piece in pieces)
    sparse = np.zeros(512, dtype="<f4")
    sparse[[100, 101, 400]] = 0.6, 0.55, 0.58
    assert pieces_of([sparse.tobytes()])
    assert pieces_of([bytes(2048)]) == frozenset()


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """No manifest can be opened from then on, as there are too many files."""

    def begin() -> None:
        def fails(*_: object) -> bytes:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(Path, "read_bytes", fails)

    return begin


def test_a_snapshot_that_cannot_be_read_now_is_not_called_damaged(
    store: EmbeddedGalleryStore, unreadable: Callable[[], None], tmp_path: Path
) -> None:
    store.enrol("staff", native(["ann", "bob"], units(2)))
    snapshot_id = store.take_snapshot("staff").snapshot_id
    unreadable()
    for call in (store.verify_snapshot, store.restore):
        with pytest.raises(StorageError, match=r"cannot be read now \(Too many open files\)"):
            call("staff", snapshot_id)
    # Whoever is in it could not be looked for.
    with pytest.raises(StorageError, match="cannot be read now"):
        store.erase("staff", ["ann"])
    assert store.get("staff").num_templates == 2
    assert (tmp_path / SNAPSHOTS / "staff" / snapshot_id).is_dir()


def test_a_snapshot_whose_rows_are_gone_is_damaged(store: EmbeddedGalleryStore, tmp_path: Path) -> None:
    store.enrol("staff", native(["ann", "bob"], units(2)))
    snapshot_id = store.take_snapshot("staff").snapshot_id
    (rows,) = (tmp_path / SNAPSHOTS / "staff" / snapshot_id).glob("*.sqlite3")
    rows.unlink()
    with pytest.raises(SnapshotCorruptError):
        store.verify_snapshot("staff", snapshot_id)


@pytest.mark.parametrize("is_once", [True, False])
def test_nothing_is_overwritten_while_another_program_has_written(
    store: EmbeddedGalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_once: bool
) -> None:
    """It could move what it wrote into the file, over pages that were looked through before."""
    store.enrol("staff", native([f"p{row}" for row in range(40)], units(40)))
    writer, written = store._record.writer, list[int]()
    empty = writer.empty_log

    def beside() -> None:
        empty()
        if not (is_once and written):
            with closing(sqlite3.connect(tmp_path / RECORD)) as other, other:
                other.execute("PRAGMA wal_autocheckpoint=0")
                other.execute("CREATE TABLE IF NOT EXISTS others (text TEXT)")
                other.executemany("INSERT INTO others VALUES (?)", [("x" * 500,)] * 50)
                written.append(1)

    monkeypatch.setattr(writer, "empty_log", beside)
    if is_once:
        store.erase("staff", ["p7"])
    else:
        with pytest.raises(StorageError, match="another program writes to the record"):
            store.erase("staff", ["p7"])
        monkeypatch.undo()
        assert [one.subject for one in store.erase("staff", ["p7"])] == ["p7"]
    assert all(check.is_sound for check in store.check("staff"))
    store.close()
    with closing(sqlite3.connect(tmp_path / RECORD)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT COUNT(*) FROM others").fetchone() == (50 * len(written),)


def test_after_a_sync_of_what_was_overwritten_failed_nothing_is_written(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    store.enrol("staff", native(["ann", "bob"], units(2)))
    monkeypatch.setattr("service.galleries.writer.os.fdatasync", fails)
    with pytest.raises(ReadOnlyError, match=r"could not be synced \(Input/output error\)"):
        store.erase("staff", ["ann"])
    with pytest.raises(ReadOnlyError):
        store.remove_subject("staff", "bob")


@pytest.fixture
def no_mappings(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From then on so many files cannot be mapped to be written to."""

    def begin(num: int) -> None:
        mapped, left = saved._on_disk, [num]

        def fails(*args: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise OSError(24, "Too many open files")
            return mapped(*args)

        monkeypatch.setattr(saved, "_on_disk", fails)

    return begin


def mapped_staff(store: EmbeddedGalleryStore) -> FloatArray:
    """Of 400 people whose vectors are in a file alone."""
    features_GD = units(400)
    store.enrol("staff", native([f"p{row}" for row in range(400)], features_GD))
    wait_until(lambda: bool(store._gallery("staff").projection.indexes))
    store._saver.save_all()
    return features_GD


def test_a_file_that_could_not_be_mapped_to_be_overwritten_is_tried_again(
    store: EmbeddedGalleryStore, tmp_path: Path, no_mappings: Callable[[int], None]
) -> None:
    features_GD = mapped_staff(store)
    with store._gallery("staff").projection.reading():
        no_mappings(1)
        with pytest.raises(StorageError, match="not complete"):
            store.erase("staff", ["p7"])
        store.erase("staff", ["p7"])
        found = nameless(tmp_path)
    assert found
    assert not [one for one in found if features_GD[7].tobytes()[:16] in one]


def test_a_gallery_whose_files_could_not_be_overwritten_is_not_dropped(
    store: EmbeddedGalleryStore, no_mappings: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped_staff(store)
    snapshot_id = store.take_snapshot("staff").snapshot_id
    no_mappings(2)
    with pytest.raises(StorageError, match=r"cannot be taken away \(Too many open files\)"):
        store.drop("staff")
    with pytest.raises(StorageError, match=r"cannot be taken away \(Too many open files\)"):
        store.restore("staff", snapshot_id)
    assert store.get("staff").num_templates == 400
    store.remove_subject("staff", "p9")
    store._saver.save_all()
    assert all(check.is_sound for check in store.check("staff"))
    assert store._gallery("staff").saved_version == store._gallery("staff").projection.version
    store.drop("staff")


def test_memory_that_runs_out_in_an_erasure_is_told_as_that_and_is_not_the_end_of_writing(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_: int) -> int:
        raise MemoryError

    store.enrol("staff", native(["ann", "bob"], units(2)))
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "overwrite_unused", exhausted)
        with pytest.raises(
            StorageError, match=r"nobody finds them any more, but the erasure is not complete \(MemoryError\)"
        ):
            store.erase("staff", ["ann"])
    assert [one.subject for one in store.erase("staff", ["ann"])] == ["ann"]
    assert store.get("staff").num_templates == 1
