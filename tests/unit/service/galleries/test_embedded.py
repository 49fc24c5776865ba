"""The embedded store: what outlives the process, what damage it sees, and many threads at once."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, Metadata, NewTemplates
from service.errors import NotFoundError, SpaceMismatchError, StartupError
from service.galleries import rows
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import LOCK, PROJECTIONS, RECORD
from service.galleries.port import Condition
from service.galleries.schema import SCHEMA_VERSION, row_crc

SPACE = Space("here", 8, "external:here")
ELSEWHERE = Space("elsewhere", 16, "external:elsewhere")


def units(num_rows: int, dimension: int, seed: int = 0) -> FloatArray:
    raw_GD = np.random.default_rng(seed).standard_normal((num_rows, dimension))
    features_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return features_GD


def native(subjects: Sequence[str], features_GD: FloatArray) -> NewTemplates:
    return NewTemplates(subjects, features_GD, SPACE, features_GD, SPACE)


def translated(subjects: Sequence[str], originals_GD: FloatArray, features_GD: FloatArray) -> NewTemplates:
    return NewTemplates(subjects, originals_GD, ELSEWHERE, features_GD, SPACE, ("a", "b"))


def test_reopening_keeps_everything(tmp_path: Path) -> None:
    features_GD, originals_GD, probes_BD = units(5000, 8), units(3, 16), units(7, 8, seed=1)
    store = EmbeddedGalleryStore(tmp_path / "new" / "data")
    store.create("staff", SPACE)
    store.create("empty", ELSEWHERE)
    store.enrol("staff", native([f"subject-{row % 900}" for row in range(5000)], features_GD))
    store.enrol("staff", translated(["guest"] * 3, originals_GD, features_GD[:3]))
    store.remove_subject("staff", "subject-5")
    galleries, page = store.list_galleries(), store.templates("staff", after=4990)
    result = store.search("staff", probes_BD, SPACE, 20)
    store.close()

    reopened = EmbeddedGalleryStore(tmp_path / "new" / "data")
    assert reopened.list_galleries() == galleries
    assert reopened.get("staff").num_templates == 5003 - 6
    assert reopened.get("staff").num_subjects == 900
    assert reopened.templates("staff", after=4990) == page
    assert page.templates[-1].route == ("a", "b")
    assert reopened.search("staff", probes_BD, SPACE, 20) == result
    reopened.close()


def test_what_was_dropped_or_removed_stays_away_after_reopening(tmp_path: Path) -> None:
    feature_1D = units(1, 8)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann"], feature_1D))
    store.enrol("staff", translated(["bob"], units(1, 16), feature_1D))
    store.drop("staff")
    store.create("staff", SPACE)
    (template_id,) = store.enrol("staff", native(["cid"], feature_1D)).template_ids
    store.remove_template("staff", template_id)
    store.close()

    reopened = EmbeddedGalleryStore(tmp_path)
    assert reopened.get("staff").num_templates == 0
    assert reopened.search("staff", feature_1D, SPACE, 5).candidates == ((),)
    reopened.close()
    with sqlite3.connect(tmp_path / RECORD) as db:
        assert db.execute("SELECT COUNT(*) FROM template").fetchone() == (0,)
        assert db.execute("SELECT COUNT(*) FROM translated").fetchone() == (0,)
    db.close()


def test_a_refused_enrolment_leaves_nothing_in_the_record(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    with pytest.raises(SpaceMismatchError):
        store.enrol("staff", NewTemplates(["bob"], units(1, 16), ELSEWHERE, units(1, 8), SPACE))
    store.close()
    reopened = EmbeddedGalleryStore(tmp_path)
    assert reopened.get("staff").num_templates == 0
    reopened.close()


def test_an_enrolment_that_fails_half_way_is_rolled_back_and_the_store_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features_GD = units(2, 8)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann"], features_GD[:1]))

    def fail_at_the_second(seq: int, subject: bytes, vector: bytes) -> int:
        if subject == b"cid":
            raise RuntimeError("half way")
        return row_crc(seq, subject, vector)

    monkeypatch.setattr(rows, "row_crc", fail_at_the_second)
    with pytest.raises(RuntimeError, match="half way"):
        store.enrol("staff", native(["bob", "cid"], features_GD))
    monkeypatch.undo()
    assert [template.subject for template in store.templates("staff").templates] == ["ann"]
    store.remove_subject("staff", "ann")
    store.enrol("staff", native(["bob"], features_GD[:1]))
    store.close()
    reopened = EmbeddedGalleryStore(tmp_path)
    assert [template.subject for template in reopened.templates("staff").templates] == ["bob"]
    reopened.close()


def flip_a_byte(path: Path, vector_D: FloatArray) -> None:
    data, stored = path.read_bytes(), vector_D.astype("<f4").tobytes()
    assert data.count(stored) == 1
    place = data.index(stored) + 5
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


@pytest.mark.parametrize("place", ["native", "translation"])
def test_a_flipped_byte_in_a_stored_feature_is_reported_with_gallery_and_template(tmp_path: Path, place: str) -> None:
    features_GD, originals_GD = units(2, 8), units(1, 16)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    ids = store.enrol("staff", native(["ann"], features_GD[:1])).template_ids
    ids += store.enrol("staff", translated(["bob"], originals_GD, features_GD[1:])).template_ids
    store.close()
    stored = {"native": features_GD[0], "translation": features_GD[1]}
    flip_a_byte(tmp_path / RECORD, stored[place])
    shutil.rmtree(tmp_path / PROJECTIONS)
    with pytest.raises(StartupError, match=f"template {ids[place != 'native']} of gallery staff is damaged"):
        EmbeddedGalleryStore(tmp_path)


def test_a_translated_template_without_its_translation_is_never_taken_for_native(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    # Of the same dimension, so that only the fingerprint tells.
    other = Space("other", 8, "external:other")
    store.enrol("staff", NewTemplates(["ann"], units(1, 8), other, units(1, 8, seed=1), SPACE, ("a",)))
    store.close()
    with sqlite3.connect(tmp_path / RECORD) as db:
        db.execute("DELETE FROM translated")
    db.close()
    shutil.rmtree(tmp_path / PROJECTIONS)
    with pytest.raises(StartupError, match="gallery staff is damaged"):
        EmbeddedGalleryStore(tmp_path)


def test_a_record_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    EmbeddedGalleryStore(tmp_path).close()
    with sqlite3.connect(tmp_path / RECORD) as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StartupError, match="newer Facebridge"):
        EmbeddedGalleryStore(tmp_path)


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_bytes(b"not a database, " * 300)
    with pytest.raises(StartupError, match="cannot be read") as refusal:
        EmbeddedGalleryStore(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_data_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    first = EmbeddedGalleryStore(tmp_path)
    with pytest.raises(StartupError, match="another process uses this data folder"):
        EmbeddedGalleryStore(tmp_path)
    first.create("staff", SPACE)
    first.close()
    second = EmbeddedGalleryStore(tmp_path)
    assert second.get("staff").space == SPACE
    second.close()


def test_a_data_folder_whose_path_sqlite_cannot_be_told_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"d\\udce9ta': the path of a data folder must be UTF-8"):
        EmbeddedGalleryStore(tmp_path / os.fsdecode(b"d\xe9ta"))
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_failed_lets_go_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_bytes(b"not a database, " * 300)
    with pytest.raises(StartupError):
        EmbeddedGalleryStore(tmp_path)
    (tmp_path / RECORD).unlink()
    EmbeddedGalleryStore(tmp_path).close()


def test_a_data_folder_that_cannot_be_made_is_a_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="cannot be used as data folder"):
        EmbeddedGalleryStore(tmp_path / "file")
    (tmp_path / LOCK).mkdir()
    with pytest.raises(StartupError, match="cannot be used as data folder"):
        EmbeddedGalleryStore(tmp_path)


def test_the_record_is_durable_in_write_ahead_mode(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    assert (tmp_path / f"{RECORD}-wal").stat().st_size > 0
    store.close()


def test_threads_that_enrol_remove_and_search_at_once_never_fail_and_end_consistent(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    features_GD = units(160, 8)
    done = threading.Event()

    def enrol(rows: range) -> None:
        for row in rows:
            ids = store.enrol("staff", native([f"subject-{row}"] * 3, features_GD[[row] * 3])).template_ids
            (best,) = store.search("staff", features_GD[[row]], SPACE, 1).candidates
            assert (best[0].subject, best[0].template_id) == (f"subject-{row}", ids[0])
            if row % 4 == 0:
                store.remove_template("staff", ids[1])
            if row % 4 == 1:
                assert store.remove_subject("staff", f"subject-{row}") == 3
                (left,) = store.search("staff", features_GD[[row]], SPACE, 500).candidates
                assert f"subject-{row}" not in {candidate.subject for candidate in left}

    def search() -> int:
        num_searches = 0
        while not done.is_set():
            candidates = store.search("staff", features_GD[:20], SPACE, 5).candidates
            assert len(candidates) == 20
            store.templates("staff", limit=5)
            num_searches += 1
        return num_searches

    def come_and_go() -> None:
        for _ in range(15):
            store.create("visitors", SPACE)
            store.enrol("visitors", native(["guest"], features_GD[:1]))
            assert [gallery.name for gallery in store.list_galleries()] == ["staff", "visitors"]
            store.drop("visitors")
            with pytest.raises(NotFoundError):
                store.get("visitors")

    with ThreadPoolExecutor(5) as pool:
        searches = [pool.submit(search) for _ in range(2)]
        writes = [pool.submit(enrol, range(80)), pool.submit(enrol, range(80, 160)), pool.submit(come_and_go)]
        try:
            for write in writes:
                write.result()
        finally:
            done.set()
        assert all(one.result() > 0 for one in searches)

    # Of every four subjects one lost a template and one all three: 2 + 0 + 3 + 3.
    gallery, result = store.get("staff"), store.search("staff", features_GD, SPACE, 200)
    assert (gallery.num_templates, gallery.num_subjects) == (40 * 8, 120)
    store.close()
    reopened = EmbeddedGalleryStore(tmp_path)
    assert reopened.list_galleries() == [gallery]
    assert reopened.search("staff", features_GD, SPACE, 200) == result
    reopened.close()


def test_what_is_stored_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path / "data")
    store.create("staff", SPACE)
    store.enrol("staff", native(["ann"], units(1, 8)))
    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "data").iterdir()}
    store.close()
    assert len(modes) >= 2
    assert set(modes.values()) == {0}
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_removed_vector_is_not_left_in_the_file(tmp_path: Path) -> None:
    features_GD = units(50, 8)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native([f"subject-{row}" for row in range(50)], features_GD))
    for row in range(0, 50, 2):
        store.remove_subject("staff", f"subject-{row}")
    store.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    left = [row for row, feature_D in enumerate(features_GD) if feature_D.astype("<f4").tobytes() in stored]
    assert left == list(range(1, 50, 2))


def test_beside_others_who_write_all_who_are_meant_are_found_and_nobody_else(tmp_path: Path) -> None:
    """Ann is replaced by herself, again and again; Bob changes sites, and is always at one; Eve comes and goes elsewhere."""
    features_GD = units(300, 8)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native([f"p{row}" for row in range(300)], features_GD))
    is_over = threading.Event()

    def one(name: str, row: int, site: str) -> NewTemplates:
        feature = features_GD[row : row + 1]
        return NewTemplates(
            [name], feature, SPACE, feature, SPACE, keys=[name], metadata=[{"site": site, "year": 2020}]
        )

    def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            store.enrol("staff", one("ann", 0, "north"), replaces=True)
            store.enrol("staff", one("bob", 1, ("north", "south")[number % 2]), replaces=True)
            store.enrol("staff", one("eve", 0, "south"), replaces=True)
            store.remove_subject("staff", "eve")

    store.enrol("staff", one("ann", 0, "north"), replaces=True)
    store.enrol("staff", one("bob", 1, "north"), replaces=True)
    north = {"site": Condition(any_of=("north",)), "year": Condition(at_least=2000)}
    somewhere = {"year": Condition(at_least=2000)}
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        ended = time.monotonic() + 2
        num = 0
        while time.monotonic() < ended:
            num += 1
            (found,) = store.search("staff", features_GD[:1], SPACE, 5, where=north).candidates
            assert {candidate.subject for candidate in found} in ({"ann"}, {"ann", "bob"})
            (found,) = store.search("staff", features_GD[1:2], SPACE, 5, where=somewhere).candidates
            assert {"ann", "bob"} <= {candidate.subject for candidate in found} <= {"ann", "bob", "eve"}
            (found,) = store.search("staff", features_GD[:1], SPACE, 3).candidates
            assert "ann" in {candidate.subject for candidate in found}
        is_over.set()
        written.result()
    assert num > 20
    assert not store._gallery("staff").projection._replaced
    store.close()


def test_a_restore_beside_a_search_among_some_hides_nobody(tmp_path: Path) -> None:
    features_GD = units(50, 8)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    metadata: list[Metadata | None] = [{"site": "north"}] * 50
    names = [f"p{row}" for row in range(50)]
    store.enrol("staff", replace(native(names, features_GD), metadata=metadata))
    first = store.take_snapshot("staff").snapshot_id
    store.remove_subject("staff", "p9")
    second = store.take_snapshot("staff").snapshot_id
    is_over = threading.Event()

    def restore() -> None:
        while not is_over.is_set():
            store.restore("staff", first)
            store.restore("staff", second)

    where = {"site": Condition(any_of=("north",))}
    with ThreadPoolExecutor(1) as pool:
        restored = pool.submit(restore)
        ended = time.monotonic() + 2
        while time.monotonic() < ended:
            (found,) = store.search("staff", features_GD[:1], SPACE, 50, where=where).candidates
            assert {candidate.subject for candidate in found} | {"p9"} == set(names)
        is_over.set()
        restored.result()
    store.close()
