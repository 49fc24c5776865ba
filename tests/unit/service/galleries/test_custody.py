"""What is done to whole galleries, on disk: nothing is left of who was erased; what is damaged is seen."""

import gc
import hashlib
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.space import Space
from service.entities import Answer, FloatArray, IndexKind, NewTemplates, Once
from service.errors import (
    DamagedError,
    InsufficientStorageError,
    NotFoundError,
    ReadOnlyError,
    SnapshotCorruptError,
    StorageError,
)
from service.galleries import background, erasure, indexes, restore
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import PROJECTIONS, RECORD, SNAPSHOTS, vacuum
from service.galleries.indexes import IndexPolicy
from service.galleries.manifests import MANIFEST
from service.galleries.part import Part
from service.galleries.port import Condition, Where
from service.galleries.segments import Columns
from service.galleries.traces import Traces, find_traces, held_in, pieces_of

DIMENSION = 64
SPACE = Space("here", DIMENSION, "external:here")
ELSEWHERE = Space("elsewhere", 32, "external:elsewhere")


def units(num_rows: int, dimension: int = DIMENSION, seed: int = 0) -> FloatArray:
    raw_GD = np.random.default_rng(seed).standard_normal((num_rows, dimension))
    features_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return features_GD


def native(names: list[str], features_GD: FloatArray) -> NewTemplates:
    fields = [{"badge": f"badge-of-{name}"} for name in names]
    return NewTemplates(names, features_GD, SPACE, features_GD, SPACE, metadata=fields)


def translated(names: list[str], originals_GD: FloatArray, features_GD: FloatArray) -> NewTemplates:
    return NewTemplates(names, originals_GD, ELSEWHERE, features_GD, SPACE, ("bridge",))


def wait_for_index(store: EmbeddedGalleryStore) -> None:
    deadline = time.monotonic() + 60
    while not store.get("staff").index.num_indexed:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def places_of(folder: Path, needles: list[bytes]) -> list[str]:
    return [name for name, content in bytes_below(folder).items() if any(needle in content for needle in needles)]


def test_no_byte_is_left_of_who_was_erased_after_much_else_came_and_went(tmp_path: Path) -> None:
    """Deletions make SQLite move what lies beside them, and a moved vector may leave a copy where it was."""
    rng = np.random.default_rng(1)
    features_GD, originals_GD = units(3000), units(3000, 32)
    names = [f"subject number {row:05d}" for row in range(3000)]
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    half = 1500
    store.enrol("staff", native(names[:half], features_GD[:half]))
    store.enrol("staff", translated(names[half:], originals_GD[half:], features_GD[half:]))
    store.take_snapshot("staff")
    for row in rng.permutation(3000)[:1400].tolist():
        store.remove_subject("staff", names[row])
    store.take_snapshot("staff")
    left = [row for row in range(3000) if row % 2 and rng.random() < 0.2]
    for start in range(0, len(left), 20):
        rows = left[start : start + 20]
        store.erase("staff", [names[row] for row in rows])
        vectors = [array[row] for row in rows for array in (features_GD, originals_GD)]
        needles = [vector.astype("<f4").tobytes()[at : at + 20] for vector in vectors for at in (0, 60, 100)]
        assert places_of(tmp_path, needles) == []
        assert places_of(tmp_path, [names[row].encode() for row in rows]) == []
    assert all(check.is_sound for check in store.check("staff"))
    store.close()
    assert places_of(tmp_path, [names[row].encode() for row in left]) == []


@pytest.mark.parametrize("kind", ["flat", "sq8", "ivf", "hnsw"])
def test_an_index_keeps_nothing_of_who_was_erased(
    tmp_path: Path, kind: IndexKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 100)
    monkeypatch.setattr(background, "_INDEX_SECONDS", 0.01)
    features_GD = units(400)
    store = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))
    store.create("staff", SPACE, index=kind)
    store.enrol("staff", native([f"p{row}" for row in range(400)], features_GD))
    if kind != "flat":
        wait_for_index(store)
    store.close()
    store = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))
    assert kind == "flat" or list((tmp_path / PROJECTIONS).rglob("*.index"))
    (erased,) = store.erase("staff", ["p7"])
    assert (erased.num_templates, erased.num_files > 2, erased.num_bytes > 400 * 4 * DIMENSION) == (1, True, True)
    assert places_of(tmp_path, [features_GD[7].astype("<f4").tobytes()[:20]]) == []
    (candidates,) = store.search("staff", features_GD[7:8], SPACE, 400).candidates
    assert "p7" not in {candidate.subject for candidate in candidates}
    store.close()


@pytest.mark.parametrize("how", ["replaced", "removed"])
@pytest.mark.parametrize("kind", ["sq8", "ivf"])
def test_an_index_keeps_nothing_of_what_the_erased_had_before(
    tmp_path: Path, kind: IndexKind, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds what was removed until it is built again, and no piece of that is looked for."""
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 100)
    monkeypatch.setattr(background, "_INDEX_SECONDS", 0.01)
    features_GD, later = units(400), units(1, seed=5)
    keys = [f"key-{row}" for row in range(400)]
    store = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))
    store.create("staff", SPACE, index=kind)
    store.enrol("staff", replace(native([f"p{row}" for row in range(400)], features_GD), keys=keys))
    wait_for_index(store)
    if how == "replaced":
        store.enrol("staff", replace(native(["p7"], later), keys=["key-7"]), replaces=True)
    else:
        store.remove_subject("staff", "p7")
    before = store._gallery("staff").projection.indexes
    store.erase("staff", ["p7"])
    after = store._gallery("staff").projection.indexes
    assert [8 in index.seqs for index in before.values()] == [True]
    assert not [index for index in after.values() if 8 in index.seqs]
    assert places_of(tmp_path, [features_GD[7].tobytes()[:20], later[0].tobytes()[:20]]) == []
    store.close()


def test_what_a_search_is_without_while_somebody_is_erased_is_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features_GD = units(3)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", replace(native(["ann", "bob", "eve"], features_GD), keys=["a", "b", "e"]))
    found: list[str] = []

    def search(name: str) -> None:
        if name == "erase-after-commit":
            (candidates,) = store.search("staff", features_GD[:1], SPACE, 3, without=["a"]).candidates
            found.extend(candidate.subject for candidate in candidates)

    monkeypatch.setattr(erasure, "reached", search)
    store.erase("staff", ["ann"])
    assert sorted(found) == ["bob", "eve"]
    store.close()


def test_a_segment_that_is_mapped_is_mapped_anew_where_somebody_was_taken_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is gone and still mapped would hold them on the disk, where nobody can look for them."""
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 100)
    monkeypatch.setattr(background, "_INDEX_SECONDS", 0.01)
    store = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))
    store.create("staff", SPACE, index="sq8")
    store.enrol("staff", native([f"p{row}" for row in range(400)], units(400)))
    wait_for_index(store)
    for subject in ("p1", "p2"):
        store._saver.save_all()
        files = [
            segment.file for view in store._gallery("staff").projection.views().values() for segment in view.segments
        ]
        assert all(files)
        assert {path.name for path in (tmp_path / PROJECTIONS).rglob("*.segment")} == set(files)
        store.remove_subject("staff", subject)
    store.erase("staff", ["p7"])
    files = [segment.file for view in store._gallery("staff").projection.views().values() for segment in view.segments]
    assert {path.name for path in (tmp_path / PROJECTIONS).rglob("*.segment")} == set(files)
    gc.collect()
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert mapped
    assert not [line for line in mapped if line.endswith("(deleted)")]
    store.close()


def failure_of(code: str) -> sqlite3.Error:
    failure = sqlite3.DatabaseError("what SQLite says")
    failure.sqlite_errorname = code
    return failure


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("SQLITE_IOERR_FSYNC", ReadOnlyError),
        ("SQLITE_CORRUPT", ReadOnlyError),
        ("SQLITE_FULL", InsufficientStorageError),
        ("SQLITE_BUSY", StorageError),
        ("SQLITE_CONSTRAINT_NOTNULL", SnapshotCorruptError),
    ],
)
def test_what_keeps_a_restore_from_being_written_is_told_as_what_it_is(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    told: type[Exception],
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise failure_of(code)

    store, snapshot_id, _ = snapshotted
    store.remove_subject("staff", "eve")
    monkeypatch.setattr("service.galleries.restore._put_back", fails)
    with pytest.raises(told) as caught:
        store.restore("staff", snapshot_id)
    assert type(caught.value) is told
    assert (store._record.writer.failure is None) == (told is not ReadOnlyError)
    assert store.verify_snapshot("staff", snapshot_id).num_templates == 4
    assert subjects_of(store) == ["ann", "bob", "joe"]
    store.close()


@pytest.mark.parametrize("is_damaged", [True, False])
def test_of_two_files_the_one_that_is_damaged_is_blamed(tmp_path: Path, is_damaged: bool) -> None:
    with closing(sqlite3.connect(tmp_path / "copy")) as db, db:
        db.execute("CREATE TABLE word (text TEXT)")
        db.executemany("INSERT INTO word VALUES (?)", [("x" * 500,)] * 100)
    content = bytearray((tmp_path / "copy").read_bytes())
    if is_damaged:
        content[5000:9000] = bytes(range(250)) * 16
    (tmp_path / "copy").write_bytes(content)
    with closing(sqlite3.connect(tmp_path / "record", isolation_level=None)) as db:
        db.execute("ATTACH ? AS copy", (str(tmp_path / "copy"),))
        assert restore._is_of_snapshot(db, failure_of("SQLITE_CORRUPT")) == is_damaged


def test_a_restore_whose_gallery_could_not_be_searched_leaves_all_as_it_was(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise StorageError("no memory")

    store, snapshot_id, folder = snapshotted
    store.remove_subject("staff", "eve")
    with monkeypatch.context() as patch:
        patch.setattr("service.galleries.custody.read_gallery", fails)
        with pytest.raises(StorageError, match="no memory"):
            store.restore("staff", snapshot_id)
    assert subjects_of(store) == ["ann", "bob", "joe"]
    assert all(check.is_sound for check in store.check("staff"))
    store.enrol("staff", native(["kim"], units(1, seed=8)))
    assert store.restore("staff", snapshot_id).num_templates == 4
    store.close()
    assert list((folder.parents[2] / PROJECTIONS).rglob("*.segment"))


def test_a_restore_keeps_no_search_of_another_gallery_waiting(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, snapshot_id, _ = snapshotted
    store.create("other", SPACE)
    store.enrol("other", native(["zoe"], units(1)))
    found: list[str] = []

    def search(name: str) -> None:
        if name == "restore-before-commit":
            with ThreadPoolExecutor(1) as pool:
                where: Where = {"badge": Condition(any_of=("badge-of-zoe",))}
                asked = pool.submit(store.search, "other", units(1), SPACE, 1, where=where)
                found.extend(candidate.subject for row in asked.result(20).candidates for candidate in row)

    monkeypatch.setattr("service.galleries.restore.reached", search)
    store.restore("staff", snapshot_id)
    assert found == ["zoe"]
    store.close()


def test_a_check_beside_a_restore_looks_at_one_of_both(snapshotted: tuple[EmbeddedGalleryStore, str, Path]) -> None:
    store, snapshot_id, _ = snapshotted
    store.remove_subject("staff", "eve")
    is_begun, may_end = threading.Event(), threading.Event()

    def waits(_: sqlite3.Connection) -> None:
        is_begun.set()
        may_end.wait(20)

    with ThreadPoolExecutor(3) as pool:
        before = pool.submit(store._record.writer.alone, waits)
        is_begun.wait(20)
        restored = pool.submit(store.restore, "staff", snapshot_id)
        time.sleep(0.3)
        checked = pool.submit(store.check, "staff")
        time.sleep(0.3)
        may_end.set()
        before.result(20)
        restored.result(20)
        assert all(check.is_sound for check in checked.result(20))
    store.close()


def test_a_large_restore_takes_time_in_proportion(tmp_path: Path) -> None:
    names = [f"p{row}" for row in range(20_000)]
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    features_GD = units(20_000)
    store.enrol("staff", NewTemplates(names, features_GD, SPACE, features_GD, SPACE))
    snapshot_id = store.take_snapshot("staff").snapshot_id
    store.drop("staff")
    began = time.monotonic()
    assert store.restore("staff", snapshot_id).num_subjects == 20_000
    # A second here; it took more than half a minute where each name was looked for among all.
    assert time.monotonic() - began < 15
    store.close()


def test_an_erasure_that_meets_a_full_disk_at_a_start_does_not_keep_the_service_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "bob"], units(2)))
    (tmp_path / "left").write_bytes(units(2)[0].tobytes())
    with pytest.raises(StorageError):
        store.erase("staff", ["ann"])
    store.close()

    def full(*_: object) -> None:
        failure = sqlite3.OperationalError("database or disk is full")
        failure.sqlite_errorname = "SQLITE_FULL"
        raise failure

    monkeypatch.setattr(erasure, "vacuum", full)
    store = EmbeddedGalleryStore(tmp_path)
    assert "an erasure from gallery staff is not complete: SQLITE_FULL" in caplog.text
    assert subjects_of(store) == ["bob"]
    store.close()


@pytest.mark.parametrize("what", ["unlink", "rmtree"])
def test_an_erasure_that_failed_in_a_snapshot_is_complete_only_when_nothing_is_left_of_the_rows(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    store, snapshot_id, folder = snapshotted
    with monkeypatch.context() as patch:
        if what == "unlink":
            patch.setattr("service.galleries.snapshots.Path.unlink", fails)
        else:
            patch.setattr("service.galleries.snapshots.shutil.rmtree", fails)
            with pytest.raises(StorageError, match="Input/output"):
                store.remove_snapshot("staff", snapshot_id)
        for _ in range(2):
            with pytest.raises(StorageError, match="not complete"):
                store.erase("staff", ["ann"])
    if what == "rmtree":
        # Asked again it is taken up where it was left.
        store.remove_snapshot("staff", snapshot_id)
    store.erase("staff", ["ann"])
    assert places_of(folder.parents[2], [units(3)[0].tobytes()[:20]]) == []
    assert num_unfinished(store) == 0
    store.close()


def test_an_erasure_that_cannot_be_hidden_in_memory_is_the_end_of_writing(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    store, _, folder = snapshotted
    monkeypatch.setattr("service.galleries.opened.OpenGallery.remove", fails)
    with pytest.raises(ReadOnlyError, match="could not be made searchable"):
        store.erase("staff", ["ann"])
    with pytest.raises(ReadOnlyError, match="could not be made searchable"):
        store.erase("staff", ["ann"])
    store.close()
    monkeypatch.undo()
    store = EmbeddedGalleryStore(folder.parents[2])
    assert num_unfinished(store) == 0
    assert subjects_of(store) == ["bob", "eve", "joe"]
    store.close()


def test_a_search_that_goes_on_sees_nobody_whose_place_another_took_and_who_was_erased_then(tmp_path: Path) -> None:
    features_GD = units(3)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", replace(native(["ann", "bob"], features_GD[:2]), keys=["a", "b"]))
    with store._gallery("staff").projection.reading() as reader:
        store.enrol("staff", replace(native(["kim"], features_GD[2:]), keys=["a"]), replaces=True)
        ((*found,),) = reader.search(features_GD[:1], 3)
        assert [candidate.subject for candidate in found] == ["ann", "bob"]
        store.erase("staff", ["ann"])
        ((*found,),) = reader.search(features_GD[:1], 3)
        assert [candidate.subject for candidate in found] == ["bob"]
    store.close()


@pytest.mark.parametrize("how", ["restored", "dropped"])
def test_a_search_that_goes_on_in_what_a_gallery_was_sees_nobody_who_is_erased(tmp_path: Path, how: str) -> None:
    features_GD = units(2)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "bob"], features_GD))
    snapshot_id = store.take_snapshot("staff").snapshot_id
    with store._gallery("staff").projection.reading() as reader:
        if how == "restored":
            store.restore("staff", snapshot_id)
        else:
            store.drop("staff")
        assert reader.search(features_GD[:1], 1)[0][0].subject == "ann"
        store.erase("staff", ["ann"])
        ((*found,),) = reader.search(features_GD[:1], 3)
        assert [candidate.subject for candidate in found] == ["bob"]
    store.close()


def test_a_segment_of_which_nobody_is_left_is_not_saved(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann"], units(1)))
    gallery = store._gallery("staff")
    views = gallery.projection.views()
    store.remove_subject("staff", "ann")
    gallery.folder.save(views, {}, SPACE.fingerprint, DIMENSION, store._record.now())
    assert list((tmp_path / PROJECTIONS).rglob("*.segment")) == []
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert store.get("staff").num_templates == 0
    store.close()


def test_many_are_replaced_in_proportion(tmp_path: Path) -> None:
    names = [f"p{row}" for row in range(40_000)]
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    features_GD = units(40_000)
    templates = NewTemplates(names, features_GD, SPACE, features_GD, SPACE, keys=names)
    store.enrol("staff", templates)
    began = time.monotonic()
    assert store.enrol("staff", templates, replaces=True).num_replaced == 40_000
    once = time.monotonic() - began
    began = time.monotonic()
    few = NewTemplates(names[:10_000], features_GD[:10_000], SPACE, features_GD[:10_000], SPACE, keys=names[:10_000])
    store.enrol("staff", few, replaces=True)
    assert once < 10 * (time.monotonic() - began)
    store.close()


def test_a_snapshot_without_its_rows_is_not_made_into_an_empty_one(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path],
) -> None:
    store, snapshot_id, folder = snapshotted
    (rows,) = folder.glob("*.sqlite3")
    rows.unlink()
    for call in (store.verify_snapshot, store.restore):
        with pytest.raises(SnapshotCorruptError, match="cannot be read"):
            call("staff", snapshot_id)
    with pytest.raises(StorageError, match="remove the snapshot"):
        store.erase("staff", ["ann"])
    assert [path.name for path in folder.iterdir()] == [MANIFEST]
    store.remove_snapshot("staff", snapshot_id)
    store.erase("staff", ["ann"])
    store.close()


@pytest.mark.parametrize("num", [3, 40])
def test_pieces_of_others_are_found_wherever_they_lie_in_their_vectors_and_not_between_two(num: int) -> None:
    vectors = [vector.tobytes() for vector in units(5000)]
    here = [
        vectors[row][at : at + 16] for row, at in zip(range(0, 5000, 5000 // num), range(0, 4 * num, 4), strict=False)
    ]
    between = vectors[3][-8:] + vectors[4][:8]
    assert held_in(frozenset([*here, between, units(1, seed=9).tobytes()[:16]]), vectors) == set(here)
    assert held_in(frozenset(), vectors) == set()


def test_what_is_being_dropped_is_in_no_erasures_way_and_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features_GD = units(50)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native([f"p{row}" for row in range(50)], features_GD))
    store.take_snapshot("staff")
    with monkeypatch.context() as patched:
        patched.setattr(store._record.writer, "call", stopping_after(store._record.writer.call, 1))
        with pytest.raises(InsufficientStorageError, match="the gallery is dropped, and what it held cannot"):
            store.drop("staff")
    assert store._record.half_dropped()
    before = store._record.now().op
    (erased,) = store.erase("staff", ["p7"])
    assert (erased.num_templates, erased.num_snapshots) == (0, 1)
    assert store._record.now().op == before + 1
    assert places_of(tmp_path, [features_GD[7].astype("<f4").tobytes()[:20]]) == []
    assert not store._record.half_dropped()
    store.close()


def stopping_after(call: Callable[..., Any], num: int) -> Callable[..., Any]:
    calls = count()

    def stopping(*given: Any) -> Any:
        if next(calls) >= num:
            raise InsufficientStorageError("the disk is full; nothing of this was kept")
        return call(*given)

    return stopping


def test_a_check_reads_indexes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 100)
    monkeypatch.setattr(background, "_INDEX_SECONDS", 0.01)
    store = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))
    store.create("staff", SPACE, index="ivf")
    store.enrol("staff", native([f"p{row}" for row in range(400)], units(400)))
    wait_for_index(store)
    store._saver.save_all()
    (path,) = (tmp_path / PROJECTIONS).rglob("*.index")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (saved,) = [check for check in store.check("staff") if check.what == "saved projection"]
    assert (saved.is_sound, saved.detail) == (False, f"{path.name} is not what was written")
    store.close()


def test_what_is_written_anew_lies_in_the_folder_meanwhile_and_nowhere_else(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "rows.sqlite3", isolation_level=None)
    db.execute("CREATE TABLE vector (one BLOB)")
    db.execute("BEGIN")
    db.executemany("INSERT INTO vector VALUES (?)", ((row.tobytes(),) for row in units(30_000)))
    db.execute("COMMIT")
    seen = set()

    def look() -> None:
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                seen.add(link.readlink().as_posix())

    db.set_progress_handler(look, 20_000)
    (tmp_path / "it's here").mkdir()
    vacuum(db, tmp_path / "it's here")
    db.close()
    temporary = [name for name in seen if "etilqs" in name]
    assert temporary
    assert all(name.startswith(str(tmp_path / "it's here")) for name in temporary)


def test_an_erasure_keeps_the_locks_that_others_see_on_the_record(tmp_path: Path) -> None:
    """A program that opens the file beside a service must not take it for one that nobody uses: it would cut the log."""
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "bob"], units(2)))
    store.erase("staff", ["ann"])
    store.enrol("staff", native(["eve"], units(1, seed=3)))
    other = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        " print(db.execute('SELECT COUNT(*) FROM template').fetchone()[0]); db.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", other, str(tmp_path / RECORD)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\n"
    assert (tmp_path / f"{RECORD}-wal").stat().st_size > 0
    assert (tmp_path / f"{RECORD}-shm").stat().st_size > 0
    store.enrol("staff", native(["kim"], units(1, seed=4)))
    assert subjects_of(store) == ["bob", "eve", "kim"]
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert subjects_of(store) == ["bob", "eve", "kim"]
    store.close()


def test_where_a_piece_is_left_the_file_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features_GD = units(50)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native([f"p{row}" for row in range(50)], features_GD))
    ran: list[str] = []
    looked = iter([(tmp_path / RECORD,), (tmp_path / RECORD,), ()])

    def first_finds(pieces: frozenset[bytes], *_: object) -> object:
        return Traces(1, 1, next(looked), pieces)

    monkeypatch.setattr(erasure, "find_traces", first_finds)
    store._record.writer._db.set_trace_callback(ran.append)
    store.erase("staff", ["p3"])
    assert ran.count("VACUUM") == 1
    assert store.get("staff").num_templates == 49
    store.close()


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_what_was_saved_of_somebody_who_was_removed_elsewhere_is_in_no_erasures_way(
    tmp_path: Path, kind: IndexKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 100)
    monkeypatch.setattr(background, "_INDEX_SECONDS", 0.01)
    features_GD = units(400)
    store = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.5))
    for name in ("staff", "visitors"):
        store.create(name, SPACE, index=kind)
    store.enrol("staff", native([f"p{row}" for row in range(400)], features_GD))
    store.enrol("visitors", native(["zoe", "joe"], features_GD[7:9]))
    if kind != "flat":
        wait_for_index(store)
    store._saver.save_all()
    store.remove_subject("staff", "p7")
    needles = [features_GD[7].astype("<f4").tobytes()[:20]]
    assert {Path(name).suffix for name in places_of(tmp_path, needles)} >= {".segment" if kind == "flat" else ".index"}
    (erased,) = store.erase("visitors", ["zoe"])
    assert erased.num_templates == 1
    assert places_of(tmp_path, needles) == []
    assert all(check.is_sound for name in ("staff", "visitors") for check in store.check(name))
    assert store.search("staff", features_GD[8:9], SPACE, 1).candidates[0][0].subject == "p8"
    store.close()


def test_the_same_feature_under_another_name_stays_and_is_in_no_ones_way(tmp_path: Path) -> None:
    features_GD = units(4)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.create("visitors", SPACE)
    store.enrol("staff", native(["ann", "bob", "ann", "eve"], features_GD[[0, 0, 1, 2]]))
    store.enrol("visitors", native(["zoe"], features_GD[1:2]))
    store.take_snapshot("visitors")
    store.drop("visitors")
    (erased,) = store.erase("staff", ["ann"])
    assert erased.num_templates == 2
    (candidates,) = store.search("staff", features_GD[:1], SPACE, 1).candidates
    assert (candidates[0].subject, candidates[0].score) == ("bob", 1.0)
    assert places_of(tmp_path, [features_GD[1].tobytes()[:20]]) == [
        name for name in bytes_below(tmp_path) if name.startswith("snapshots/visitors") and name.endswith(".sqlite3")
    ]
    store.close()


def test_an_erasure_that_is_not_complete_is_not_called_so_and_ends_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features_GD = units(3)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "bob", "eve"], features_GD))
    left = tmp_path / "left-by-somebody"
    left.write_bytes(b"x" * 101 + features_GD[0].tobytes())
    with pytest.raises(StorageError, match=r"still in left-by-somebody; the erasure is not complete"):
        store.erase("staff", ["ann"])
    (candidates,) = store.search("staff", features_GD[:1], SPACE, 5).candidates
    assert {candidate.subject for candidate in candidates} == {"bob", "eve"}
    # Her templates are gone, and what is looked for is known all the same: now, after a start, and for whomever is erased next.
    for _ in range(2):
        with pytest.raises(StorageError, match="still in left-by-somebody"):
            store.erase("staff", ["ann"])
        store.close()
        store = EmbeddedGalleryStore(tmp_path)
        assert num_unfinished(store) >= 1
    with pytest.raises(StorageError, match="still in left-by-somebody"):
        store.erase("staff", ["bob"])
    store.create("other", SPACE)
    store.erase("other", ["zoe"])
    assert num_unfinished(store) >= 1
    left.unlink()
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert num_unfinished(store) == 0
    assert store.get("staff").num_templates == 1
    store.close()


def num_unfinished(store: EmbeddedGalleryStore) -> int:
    """Erasures that are to be taken up."""

    def count(db: sqlite3.Connection) -> int:
        num: int = db.execute("SELECT COUNT(*) FROM erasing").fetchone()[0]
        return num

    return store._record.writer.alone(count)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (failure_of("SQLITE_FULL"), "nobody finds them any more, but the erasure is not complete (SQLITE_FULL)"),
        (OSError(5, "Input/output error"), "but the erasure is not complete (Input/output error)"),
        (failure_of("SQLITE_IOERR_FSYNC"), "a write to the record failed (SQLITE_IOERR_FSYNC)"),
    ],
)
def test_an_erasure_that_fails_after_it_was_recorded_does_not_say_that_nothing_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, told: str
) -> None:
    def fails() -> None:
        raise failure

    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "eve"], units(2)))
    with monkeypatch.context() as patch:
        patch.setattr(store._record.writer, "empty_log", fails)
        with pytest.raises(StorageError, match=re.escape(told)) as caught:
            store.erase("staff", ["eve"])
    assert not isinstance(caught.value, InsufficientStorageError)
    assert subjects_of(store) == ["ann"]
    if not isinstance(caught.value, ReadOnlyError):
        assert [one.subject for one in store.erase("staff", ["eve"])] == ["eve"]
        assert places_of(tmp_path, [units(2)[1].tobytes()]) == []
    store.close()


def test_what_is_done_is_not_told_to_have_failed_where_its_answer_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise failure_of("SQLITE_FULL")

    def once(key: bytes) -> Once:
        return Once(key, b"digest", lambda outcome: Answer(200, b"{}"))

    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "eve"], units(2)))
    with monkeypatch.context() as patch:
        patch.setattr("service.galleries.operations.remember", fails)
        snapshot = store.take_snapshot("staff", once=once(b"1"))
        assert [one.num_templates for one in store.erase("staff", ["eve"], once=once(b"2"))] == [1]
        store.remove_snapshot("staff", snapshot.snapshot_id, once=once(b"3"))
    assert caplog.text.count("should its request come again it is done again: the disk is full") == 3
    assert [store.answered(key) for key in (b"1", b"2", b"3")] == [None] * 3
    assert (subjects_of(store), store.snapshots("staff")) == (["ann"], [])
    store.take_snapshot("staff", once=once(b"4"))
    assert store.answered(b"4") == (b"digest", Answer(200, b"{}"))
    store.close()


def test_an_unfinished_erasure_leaves_later_snapshots_of_who_came_again_as_they_are(tmp_path: Path) -> None:
    features_GD = units(3)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "bob"], features_GD[:2]))
    before = store.take_snapshot("staff").snapshot_id
    (tmp_path / "left").write_bytes(features_GD[0].tobytes())
    with pytest.raises(StorageError):
        store.erase("staff", ["ann"])
    store.enrol("staff", native(["ann"], features_GD[2:]))
    after = store.take_snapshot("staff").snapshot_id
    (tmp_path / "left").unlink()
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert num_unfinished(store) == 0
    sizes = {snapshot.snapshot_id: snapshot.num_templates for snapshot in store.snapshots("staff")}
    assert sizes == {before: 1, after: 2}
    store.close()


def test_a_snapshot_that_cannot_be_read_does_not_keep_the_service_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann"], units(1)))
    snapshot_id = store.take_snapshot("staff").snapshot_id
    (tmp_path / SNAPSHOTS / "staff" / snapshot_id / MANIFEST).write_bytes(b"{}")
    with pytest.raises(StorageError, match="cannot be rewritten"):
        store.erase("staff", ["ann"])
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert "an erasure from gallery staff is not complete" in caplog.text
    assert num_unfinished(store) == 1
    store.remove_snapshot("staff", snapshot_id)
    store.erase("staff", ["ann"])
    assert num_unfinished(store) == 0
    store.close()


def test_an_index_that_was_being_built_during_an_erasure_is_not_taken() -> None:
    part = Part(DIMENSION)
    features_GD = units(50)
    seqs = np.arange(1, 51)
    part.append(Columns(seqs, seqs, [f"p{seq}" for seq in seqs], features_GD))
    part.publish()
    policy = IndexPolicy(recall=0.1)
    num_forgotten = part.num_forgotten
    built = indexes.build("fp16", part.view, policy, lambda probes_BD, num: [{1} for _ in probes_BD])
    part.forget_index()
    # Of somebody else: all that it holds is there.
    assert part.install(built, num_forgotten)
    part.bury(np.array([7]))
    part.forget_index(if_stale=True)
    assert part.index is None
    assert not part.install(built, num_forgotten)
    assert part.install(built, part.num_forgotten)


def put_back_by_hand(folder: Path, copy: Path) -> None:
    """What an operator does after a damage: the record from a backup, all else as it is."""
    for path in folder.glob(f"{RECORD}*"):
        path.unlink()
    shutil.copyfile(copy, folder / RECORD)


def subjects_of(store: EmbeddedGalleryStore) -> list[str]:
    return [template.subject for template in store.templates("staff").templates]


def test_a_record_from_a_backup_takes_a_later_snapshot_and_goes_on(tmp_path: Path) -> None:
    """Its numbers are given out again: they must not be taken for those of the snapshot."""
    features_GD, folder = units(12), tmp_path / "data"
    store = EmbeddedGalleryStore(folder)
    store.create("staff", SPACE)
    store.enrol("staff", native(["first"], features_GD[:1]))
    store.close()
    shutil.copyfile(folder / RECORD, tmp_path / "backup")
    store = EmbeddedGalleryStore(folder)
    ids = store.enrol("staff", native(["ann", "bob", "eve"], features_GD[1:4])).template_ids
    snapshot_id = store.take_snapshot("staff").snapshot_id
    shutil.copytree(folder / SNAPSHOTS / "staff" / snapshot_id, tmp_path / "kept")
    store.erase("staff", ["eve"])
    store.close()
    put_back_by_hand(folder, tmp_path / "backup")
    shutil.rmtree(folder / SNAPSHOTS / "staff" / snapshot_id)
    shutil.copytree(tmp_path / "kept", folder / SNAPSHOTS / "staff" / snapshot_id)

    store = EmbeddedGalleryStore(folder)
    store.enrol("staff", native(["zoe"], features_GD[4:5]))
    for template_id in ids:
        with pytest.raises(NotFoundError):
            store.remove_template("staff", template_id)
    store.erase("staff", ["bob"])
    shutil.rmtree(folder / SNAPSHOTS / "staff" / snapshot_id)
    shutil.copytree(tmp_path / "kept", folder / SNAPSHOTS / "staff" / snapshot_id)
    store.restore("staff", snapshot_id)
    # Eve's erasure is in the record that was lost; bob's is in this one.
    assert subjects_of(store) == ["first", "ann", "eve"]
    for row, name in ((0, "first"), (1, "ann"), (3, "eve")):
        (candidates,) = store.search("staff", features_GD[row : row + 1], SPACE, 10).candidates
        assert (candidates[0].subject, candidates[0].score > 0.999, len(candidates)) == (name, True, 3)
    for number in range(3):
        store.enrol("staff", native([f"new{number}"], features_GD[5 + number : 6 + number]))
    assert store.remove_subject("staff", "new1") == 1
    (candidates,) = store.search("staff", features_GD[6:7], SPACE, 10).candidates
    assert {candidate.subject for candidate in candidates} == {"first", "ann", "eve", "new0", "new2"}
    assert all(check.is_sound for check in store.check("staff"))
    store.close()


def test_a_drop_that_cannot_be_written_leaves_a_gallery_that_is_saved_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> None:
        failure = sqlite3.OperationalError("database or disk is full")
        failure.sqlite_errorname = "SQLITE_FULL"
        raise failure

    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann"], units(1)))
    with monkeypatch.context() as patch:
        patch.setattr("service.galleries.writer.reached", full)
        with pytest.raises(InsufficientStorageError):
            store.drop("staff")
    assert subjects_of(store) == ["ann"]
    store.close()
    assert list((tmp_path / PROJECTIONS).rglob("*.segment"))
    store = EmbeddedGalleryStore(tmp_path)
    store.drop("staff")
    store.close()
    assert list((tmp_path / PROJECTIONS).rglob("*.segment")) == []


def test_a_drop_that_waits_for_a_save_keeps_no_search_waiting(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    for name in ("staff", "other"):
        store.create(name, SPACE)
        store.enrol(name, native(["zoe"], units(1)))
    where: Where = {"badge": Condition(any_of=("badge-of-zoe",))}
    with ThreadPoolExecutor(2) as pool:
        with store._saver.quiet():
            dropped = pool.submit(store.drop, "staff")
            time.sleep(0.3)
            asked = pool.submit(store.search, "other", units(1), SPACE, 1, where=where)
            assert asked.result(20).candidates[0][0].subject == "zoe"
            assert not dropped.done()
        dropped.result(20)
    assert [gallery.name for gallery in store.list_galleries()] == ["other"]
    store.close()


def test_while_one_gallery_is_being_saved_or_checked_others_are_written(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    for name in ("staff", "other", "third"):
        store.create(name, SPACE)
        store.enrol(name, native(["zoe"], units(1)))
    with ThreadPoolExecutor(1) as pool, store._gallery("staff").folder.lock:
        pool.submit(store.drop, "other").result(20)
        pool.submit(store.enrol, "third", native(["ann"], units(1, seed=1))).result(20)
        pool.submit(store._saver.save_within_write, store._gallery("third")).result(20)
    assert [(gallery.name, gallery.num_templates) for gallery in store.list_galleries()] == [("staff", 1), ("third", 2)]
    store.close()


def test_what_is_saved_anew_during_a_check_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.galleries.segments.SEGMENT_BYTES", 64 * 4 * DIMENSION)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native([f"p{row}" for row in range(200)], units(200)))
    store._saver.save_all()
    folder, moments = store._gallery("staff").folder, count(1)
    read: list[str] = []
    digest = hashlib.file_digest

    def noted(file: Any, algorithm: str) -> Any:
        read.append(Path(file.name).name)
        return digest(file, algorithm)

    def changes() -> bool:
        if next(moments) == 2:
            # Every segment has another file then, and none of those that were there.
            for row in (10, 70, 140, 195):
                store.remove_subject("staff", f"p{row}")
            store._saver.save_all()
        return False

    before = {path.name for path in folder._path.glob("*.segment")}
    monkeypatch.setattr(hashlib, "file_digest", noted)
    folder.verify(SPACE.fingerprint, SPACE.dimension, changes)
    after = {path.name for path in folder._path.glob("*.segment")}
    assert len(before) == len(after) == 4
    assert not before & after
    assert set(read[1:]) == after
    next(folder._path.glob("*.segment")).write_bytes(b"")
    with pytest.raises(DamagedError):
        folder.verify(SPACE.fingerprint, SPACE.dimension)
    folder.verify(SPACE.fingerprint, SPACE.dimension, lambda: True)
    store.close()


def test_a_gallery_that_is_dropped_before_its_snapshot_is_taken_has_none(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    entry = store._gallery("staff").entry
    store.drop("staff")
    with pytest.raises(NotFoundError):
        store._custody._snapshots.take(store._record, entry)
    assert list((tmp_path / SNAPSHOTS / "staff").iterdir()) == []
    store.close()


@pytest.mark.parametrize("offset", range(5))
def test_pieces_are_found_wherever_they_lie(tmp_path: Path, offset: int) -> None:
    vectors = [vector.astype("<f4").tobytes() for vector in units(30)]
    sound, holding = tmp_path / "sound", tmp_path / "holding"
    sound.write_bytes(np.random.default_rng(0).bytes(200_000))
    for num in (1, 30):
        for piece in (vectors[0][:16], vectors[0][-16:], vectors[0]):
            holding.write_bytes(bytes(16 * 1024 + offset) + piece + bytes(7))
            found = find_traces(pieces_of(vectors[:num]), [sound, holding])
            assert (found.num_files, found.found_in) == (2, (holding,))
        holding.write_bytes(bytes(1000 + offset) + vectors[0][:15] + bytes(100))
        assert find_traces(pieces_of(vectors[:num]), [sound, holding]).found_in == ()


def test_pieces_are_found_across_the_blocks_in_which_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.galleries.traces._BLOCK", 64)
    vector = units(1)[0].astype("<f4").tobytes()
    for at in range(130):
        (tmp_path / "file").write_bytes(bytes(at) + vector[:16] + bytes(200 - at))
        assert find_traces(pieces_of([vector]), [tmp_path / "file"]).found_in
        assert find_traces(
            pieces_of([vector] + [one.tobytes() for one in units(20, seed=3)]), [tmp_path / "file"]
        ).found_in


@pytest.fixture
def snapshotted(tmp_path: Path) -> tuple[EmbeddedGalleryStore, str, Path]:
    store = EmbeddedGalleryStore(tmp_path / "data")
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann", "bob", "eve"], units(3)))
    store.enrol("staff", translated(["joe"], units(1, 32), units(1, seed=4)))
    snapshot_id = store.take_snapshot("staff").snapshot_id
    return store, snapshot_id, tmp_path / "data" / SNAPSHOTS / "staff" / snapshot_id


def test_a_turned_bit_or_a_cut_of_a_snapshot_is_seen(snapshotted: tuple[EmbeddedGalleryStore, str, Path]) -> None:
    store, snapshot_id, folder = snapshotted
    rng, num = np.random.default_rng(0), 0
    before = store.get("staff"), store.templates("staff")
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        places = range(len(content)) if path.name == MANIFEST else rng.integers(len(content), size=300).tolist()
        changed = [content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :] for at in places]
        for other in (*changed, *(content[: len(content) * part // 20] for part in range(20)), content + b"\0"):
            path.write_bytes(other)
            num += 1
            for call in (store.verify_snapshot, store.restore):
                with pytest.raises(SnapshotCorruptError):
                    call("staff", snapshot_id)
        path.write_bytes(content)
    assert (store.get("staff"), store.templates("staff")) == before
    assert store.verify_snapshot("staff", snapshot_id).num_templates == 4
    store.close()
    sys.stdout.write(f"{num} turned bits and cuts of a snapshot: every one seen\n")


def test_a_snapshot_is_put_back_in_another_record_with_new_ids(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path], tmp_path: Path
) -> None:
    store, snapshot_id, folder = snapshotted
    probes_BD = units(4, seed=7)
    expected = store.search("staff", probes_BD, SPACE, 10).candidates
    old_ids = {template.template_id for template in store.templates("staff").templates}
    other = EmbeddedGalleryStore(tmp_path / "other")
    other.create("visitors", SPACE)
    other.enrol("visitors", native(["zoe", "zed"], units(2, seed=9)))
    shutil.copytree(folder, tmp_path / "other" / SNAPSHOTS / "staff" / snapshot_id)
    assert other.restore("staff", snapshot_id).num_templates == 4
    found = other.search("staff", probes_BD, SPACE, 10).candidates
    told = [[(c.subject, c.score, c.origin) for c in candidates] for candidates in found]
    assert told == [[(c.subject, c.score, c.origin) for c in candidates] for candidates in expected]
    assert old_ids.isdisjoint(template.template_id for template in other.templates("staff").templates)
    assert other.get("visitors").num_templates == 2
    for name in ("staff", "visitors"):
        assert all(check.is_sound for check in other.check(name))
    other.close()
    again = EmbeddedGalleryStore(tmp_path / "other")
    assert again.search("staff", probes_BD, SPACE, 10).candidates == found
    again.close()
    store.close()


def test_a_snapshot_from_before_an_erasure_that_was_kept_elsewhere_brings_nobody_back(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path], tmp_path: Path
) -> None:
    store, snapshot_id, folder = snapshotted
    shutil.copytree(folder, tmp_path / "kept")
    store.erase("staff", ["ann"])
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "kept", folder)
    store.restore("staff", snapshot_id)
    assert [template.subject for template in store.templates("staff").templates] == ["bob", "eve", "joe"]
    store.close()


def test_what_a_kill_left_of_a_snapshot_is_taken_away(snapshotted: tuple[EmbeddedGalleryStore, str, Path]) -> None:
    store, snapshot_id, folder = snapshotted
    store.close()
    (folder.parent / ".x.draft").mkdir()
    (folder / "old.sqlite3").write_bytes(b"who was erased")
    store = EmbeddedGalleryStore(folder.parents[2])
    assert not (folder.parent / ".x.draft").exists()
    assert len(list(folder.iterdir())) == 2
    assert store.verify_snapshot("staff", snapshot_id).num_templates == 4
    store.close()


def test_what_is_left_of_a_snapshot_that_was_being_removed_is_none_and_goes_with_the_next_erasure(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    store, snapshot_id, folder = snapshotted
    with monkeypatch.context() as patch:
        patch.setattr("service.galleries.snapshots.shutil.rmtree", fails)
        with pytest.raises(StorageError, match="Input/output"):
            store.remove_snapshot("staff", snapshot_id)
    assert store.snapshots("staff") == []
    assert all(check.is_sound for check in store.check("staff"))
    (left,) = folder.parent.iterdir()
    assert len(list(left.iterdir())) == 2
    (erased,) = store.erase("staff", ["ann"])
    assert erased.num_snapshots == 0
    assert list(folder.parent.iterdir()) == []
    store.close()


@pytest.mark.parametrize("step", ["write_manifest", "sync_folder"])
def test_a_snapshot_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Nor one that has its name already and is not surely on the disk."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    monkeypatch.setattr(f"service.galleries.snapshots.{step}", full)
    with pytest.raises(StorageError, match=r"No space left on device\); nothing of it was kept"):
        store.take_snapshot("staff")
    assert store.snapshots("staff") == []
    assert list((tmp_path / SNAPSHOTS / "staff").iterdir()) == []
    store.close()


def test_a_check_sees_what_is_wrong(snapshotted: tuple[EmbeddedGalleryStore, str, Path]) -> None:
    store, snapshot_id, folder = snapshotted
    store._saver.save_all()
    checks = {check.what: check for check in store.check("staff")}
    assert all(check.is_sound for check in checks.values())
    assert checks["vectors of the record"].detail == "4 match their CRC32C"
    assert set(checks) == {
        "structure of the record",
        "vectors of the record",
        "searched vectors",
        "counts",
        "saved projection",
        f"snapshot {snapshot_id}",
    }

    def wrong() -> set[str]:
        return {check.what for check in store.check("staff") if not check.is_sound}

    def run(statement: str) -> None:
        store._record.writer.alone(lambda db: db.execute(statement))

    (view, _) = store._gallery("staff").projection.views().values()
    right = view.segments[0].vectors[1, 3]
    view.segments[0].vectors[1, 3] += 0.5
    assert wrong() == {"searched vectors"}
    view.segments[0].vectors[1, 3] = right
    run("UPDATE gallery SET num_subjects = num_subjects + 1")
    assert wrong() == {"counts"}
    run("UPDATE gallery SET num_subjects = num_subjects - 1")
    (segment, *_) = sorted((folder.parents[2] / PROJECTIONS).rglob("*.segment"))
    content = segment.read_bytes()
    segment.write_bytes(content[:-1])
    assert wrong() == {"saved projection"}
    segment.write_bytes(content)
    (folder / MANIFEST).write_bytes(b"{}")
    assert wrong() == {f"snapshot {snapshot_id}"}
    shutil.rmtree(folder)
    assert wrong() == set()
    run("UPDATE template SET original = zeroblob(length(original)) WHERE seq = 2")
    assert wrong() == {"vectors of the record"}
    store.close()


def test_an_original_that_is_damaged_is_seen_by_a_check(snapshotted: tuple[EmbeddedGalleryStore, str, Path]) -> None:
    store, *_ = snapshotted
    store._record.writer.alone(
        lambda db: db.execute("UPDATE template SET original = zeroblob(length(original)) WHERE seq = 4")
    )
    (check,) = [check for check in store.check("staff") if not check.is_sound and "snapshot" not in check.what]
    assert "its original feature does not match its CRC32C" in check.detail
    store.close()


def test_nothing_can_be_asked_of_a_gallery_by_the_name_of_a_folder(
    snapshotted: tuple[EmbeddedGalleryStore, str, Path],
) -> None:
    store, snapshot_id, _ = snapshotted
    for name in ("..", "../snapshots/staff", "."):
        with pytest.raises(NotFoundError):
            store.verify_snapshot(name, snapshot_id + "/../x")
    store.close()
