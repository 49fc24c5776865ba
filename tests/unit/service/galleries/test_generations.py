"""Generations of the embedded store: what happens beside an exchange, after a start, and on disk."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, NewTemplates, Translation
from service.errors import DamagedError, GenerationChangedError, StorageError
from service.galleries import generation_rows
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import OF_OTHERS, PROJECTIONS
from service.state.embedded import FILE, EmbeddedJobStore
from service.state.limits import FILE as LIMITS
from service.state.on_redis.journal import FILE as JOURNAL

OLD, NEW = Space("old", 4, "external:old"), Space("new", 4, "external:new")


def turned(rows: FloatArray) -> FloatArray:
    """What a translator makes of features of the old space: the same numbers in another order."""
    return np.ascontiguousarray(rows[:, ::-1])


def templates(subjects: list[str], seed: int) -> NewTemplates:
    raw = np.random.default_rng(seed).standard_normal((len(subjects), 4))
    rows = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return NewTemplates(
        subjects, rows, OLD, rows, OLD, elsewhere={NEW.fingerprint: Translation(turned(rows), ("turn",))}
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedGalleryStore]:
    opened = EmbeddedGalleryStore(tmp_path)
    opened.create("staff", OLD)
    opened.enrol("staff", templates([f"s{row}" for row in range(10)], 1))
    yield opened
    opened.close()


def fill(store: EmbeddedGalleryStore, number: int) -> None:
    while True:
        chunk = store.generations.chunk("staff", number, limit=4)
        made = [Translation(turned(part.features), ("turn",)) for part in chunk.parts]
        if store.generations.fill("staff", number, chunk, made).is_complete:
            return


def built(store: EmbeddedGalleryStore) -> int:
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    fill(store, number)
    return number


def activate(store: EmbeddedGalleryStore, number: int, expected: int) -> None:
    store.generations.activate("staff", number, expected=expected, keep_seconds=3600)


def together(store: EmbeddedGalleryStore, *calls: Callable[[], Any]) -> list[Future[Any]]:
    """Made while the writing thread is busy, one after the other, so that they wait for it together."""
    is_free, writer = threading.Event(), store._record.writer
    with ThreadPoolExecutor(len(calls) + 1) as pool:
        pool.submit(writer.alone, lambda db: is_free.wait(10))
        while writer._operations.qsize():
            pass
        futures = []
        for place, call in enumerate(calls, start=1):
            futures.append(pool.submit(call))
            while writer._operations.qsize() < place:
                pass
        is_free.set()
    return futures


def found(store: EmbeddedGalleryStore, seed: int, space: Space = NEW) -> str:
    (row,) = templates(["x"], seed).originals
    probe = turned(row[None]) if space == NEW else row[None]
    (candidates,) = store.search("staff", probe, space, 1).candidates
    return candidates[0].subject if candidates[0].score > 0.9999 else ""


def test_what_waits_with_an_exchange_for_the_disk_reaches_the_generation_that_it_makes_active(
    store: EmbeddedGalleryStore,
) -> None:
    number = built(store)
    futures = together(
        store,
        lambda: store.enrol("staff", templates(["before"], 7)),
        lambda: activate(store, number, 1),
        lambda: store.enrol("staff", templates(["after"], 8)),
        lambda: store.remove_subject("staff", "s3"),
    )
    assert [one.exception() for one in futures] == [None] * 4
    assert (found(store, 7), found(store, 8)) == ("before", "after")
    (everybody,) = store.search("staff", turned(templates(["x"], 1).originals), NEW, 50).candidates
    assert "s3" not in {one.subject for one in everybody}
    assert all(check.is_sound for check in store.check("staff"))
    activate(store, 1, number)
    assert (found(store, 7, OLD), found(store, 8, OLD)) == ("before", "after")
    assert all(check.is_sound for check in store.check("staff"))


def test_what_waits_with_the_last_chunk_for_the_disk_is_in_the_generation(store: EmbeddedGalleryStore) -> None:
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    chunk = store.generations.chunk("staff", number)
    made = [Translation(turned(part.features), ("turn",)) for part in chunk.parts]
    futures = together(
        store,
        lambda: store.enrol("staff", templates(["before"], 7)),
        lambda: store.generations.fill("staff", number, chunk, made),
        lambda: store.enrol("staff", templates(["after"], 8)),
    )
    assert [one.exception() for one in futures] == [None] * 3
    fill(store, number)
    activate(store, number, 1)
    assert (found(store, 7), found(store, 8)) == ("before", "after")


def test_a_generation_that_was_saved_is_taken_up_where_it_was(tmp_path: Path, store: EmbeddedGalleryStore) -> None:
    number = built(store)
    store.remove_subject("staff", "s1")
    store._saver.save_all()
    store.enrol("staff", templates(["late"], 7))
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert store.get("staff").beside[0].num_done == 10
    store.remove_subject("staff", "s2")
    chunk = store.generations.chunk("staff", number)
    # All but the last were saved, or are gone; what is recorded is not translated again.
    assert (chunk.num, chunk.parts) == (0, ())
    assert store.get("staff").beside[0].num_done == 9
    fill(store, number)
    activate(store, number, 1)
    assert found(store, 7) == "late"
    assert all(check.is_sound for check in store.check("staff"))
    store.close()


def test_a_damaged_feature_is_named_and_not_migrated(tmp_path: Path, store: EmbeddedGalleryStore) -> None:
    store._record.writer.alone(lambda db: db.execute("UPDATE template SET original = zeroblob(16) WHERE seq = 3"))
    (template,) = store.templates("staff", subject="s2").templates
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    with pytest.raises(DamagedError, match=template.template_id):
        store.generations.chunk("staff", number)


def test_nothing_is_left_on_disk_of_a_generation_that_was_dropped(tmp_path: Path, store: EmbeddedGalleryStore) -> None:
    number = built(store)
    store._saver.save_all()
    assert len(list((tmp_path / PROJECTIONS).iterdir())) == 2
    store.generations.drop("staff", number)
    assert len(list((tmp_path / PROJECTIONS).iterdir())) == 1
    assert store._record.read("SELECT COUNT(*) FROM translated") == [(0,)]
    assert store._record.read("SELECT COUNT(*) FROM generation") == [(1,)]


def test_a_generation_that_was_being_dropped_is_gone_after_the_next_start(
    tmp_path: Path, store: EmbeddedGalleryStore
) -> None:
    built(store)
    store._record.writer.alone(lambda db: db.execute("UPDATE generation SET kept_until = 0 WHERE NOT active"))
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert store.get("staff").beside == ()
    assert store._record.read("SELECT COUNT(*) FROM translated") == [(0,)]
    store.close()


def test_searches_go_on_while_generations_are_exchanged(store: EmbeddedGalleryStore) -> None:
    number = built(store)
    with ThreadPoolExecutor(4) as pool:
        is_over = threading.Event()

        def ask() -> set[int]:
            seen = set()
            while not is_over.is_set():
                now = store.get("staff")
                probe = templates(["x"], 1).originals
                result = store.search(
                    "staff", probe if now.generation == 1 else turned(probe), now.space, 50, generation=now.generation
                )
                assert len(result.candidates[0]) == 10
                seen.add(result.generation)
            return seen

        askers = [pool.submit(ask) for _ in range(3)]
        for swap in range(40):
            activate(store, *((1, number) if swap % 2 else (number, 1)))
        is_over.set()
        assert set().union(*(asker.result() for asker in askers)) == {1, number}


COMMON = Space("meeting", 2, "external:meeting")


def halved(rows: FloatArray) -> FloatArray:
    """A projection into the common space."""
    half = rows[:, :2]
    return np.asarray(half / np.linalg.norm(half, axis=1, keepdims=True), dtype=np.float32)


PROJECTIONS_OF = {NEW.fingerprint: halved, OLD.fingerprint: lambda rows: halved(turned(rows))}


def in_common(store: EmbeddedGalleryStore, generation: int | None = None) -> set[str]:
    """Everybody whom a search in the common space finds."""
    store.ensure_index("staff", COMMON, PROJECTIONS_OF, generation=generation)
    probe = np.array([[1.0, 0.0]], dtype=np.float32)
    return {one.subject for one in store.search("staff", probe, COMMON, 99, generation=generation).candidates[0]}


def test_in_a_common_space_a_generation_has_everybody_after_a_start_half_way(
    tmp_path: Path, store: EmbeddedGalleryStore
) -> None:
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    store.ensure_index("staff", COMMON, PROJECTIONS_OF, generation=number)
    chunk = store.generations.chunk("staff", number, limit=6)
    made = [Translation(turned(part.features), ("turn",)) for part in chunk.parts]
    store.generations.fill("staff", number, chunk, made)
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    store.ensure_index("staff", COMMON, PROJECTIONS_OF, generation=number)
    fill(store, number)
    assert in_common(store, number) == {f"s{row}" for row in range(10)}
    activate(store, number, 1)
    assert in_common(store) == {f"s{row}" for row in range(10)}
    store.close()


def test_in_a_common_space_what_waits_with_the_last_chunk_is_found_too(store: EmbeddedGalleryStore) -> None:
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    store.ensure_index("staff", COMMON, PROJECTIONS_OF, generation=number)
    chunk = store.generations.chunk("staff", number)
    made = [Translation(turned(part.features), ("turn",)) for part in chunk.parts]
    futures = together(
        store,
        lambda: store.generations.fill("staff", number, chunk, made),
        lambda: store.enrol("staff", templates(["after"], 8)),
    )
    assert [one.exception() for one in futures] == [None, None]
    assert in_common(store, number) == {"after", *(f"s{row}" for row in range(10))}
    store.enrol("staff", templates(["later"], 9))


def test_a_chunk_that_two_fill_at_once_is_filled_once(tmp_path: Path, store: EmbeddedGalleryStore) -> None:
    number = built(store)
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    # Nothing of it is to be recorded, so nothing in the record is in the way of doing it twice.
    chunk = store.generations.chunk("staff", number, after=0, limit=4)
    futures = together(store, *[lambda: store.generations.fill("staff", number, chunk, [])] * 2)
    assert sorted(type(one.exception()).__name__ for one in futures) == ["GenerationChangedError", "NoneType"]
    fill(store, number)
    (other,) = store._gallery("staff").beside
    assert len(np.unique(other.projection.seqs())) == len(other.projection.seqs()) == 10
    store.close()


def test_what_is_retired_while_its_chunk_is_under_way_is_not_searched(
    tmp_path: Path, store: EmbeddedGalleryStore
) -> None:
    number = built(store)
    activate(store, number, 1)
    activate(store, 1, number)
    store.close()
    store = EmbeddedGalleryStore(tmp_path)
    chunk = store.generations.chunk("staff", number, after=0)
    (own,) = templates(["x"], 40).originals
    native = NewTemplates(["s4"], own[None], NEW, own[None], OLD, ("back",))
    store.enrol("staff", native)
    with pytest.raises(GenerationChangedError):
        # What was saved was taken up by then, or not.
        store.generations.fill("staff", number, store.generations.chunk("staff", number, after=99), [])
    store.generations.fill("staff", number, chunk, [])
    fill(store, number)
    activate(store, number, 1)
    ((best, *_),) = store.search("staff", own[None], NEW, 20).candidates
    assert best.subject == "s4"
    assert store.generations.backlog("staff").num_retired == 1
    assert all(check.is_sound for check in store.check("staff"))
    store.close()


def test_an_erasure_leaves_the_lock_on_jobs_alone(tmp_path: Path, store: EmbeddedGalleryStore) -> None:
    jobs = EmbeddedJobStore(tmp_path)
    jobs.create("staff", {})
    store.erase("staff", ["s1"])
    text = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM job').fetchall()"
    ran = subprocess.run(
        [sys.executable, "-c", text, str(tmp_path / FILE)], capture_output=True, text=True, check=False
    )
    assert "database is locked" in ran.stderr
    assert (FILE, LIMITS, JOURNAL) == OF_OTHERS
    jobs.close()


def test_a_drop_that_fails_is_as_if_it_had_not_been_asked_for(
    store: EmbeddedGalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = built(store)
    with monkeypatch.context() as patched:
        patched.setattr(generation_rows, "forget", lambda db, entry: db.execute("SELECT * FROM nothing"))
        with pytest.raises(StorageError):
            store.generations.drop("staff", number)
    if store._record.writer.failure is None:
        store.erase("staff", ["s1"])
        store.generations.drop("staff", number)
    assert [one.is_dropped for one in store._gallery("staff").beside] in ([], [False])


def test_what_was_saved_of_a_kept_generation_outlives_a_start_that_does_not_need_it(
    tmp_path: Path, store: EmbeddedGalleryStore
) -> None:
    number = built(store)
    activate(store, number, 1)
    store.close()
    for _ in range(2):
        store = EmbeddedGalleryStore(tmp_path)
        store.close()
    store = EmbeddedGalleryStore(tmp_path)
    assert store.generations.chunk("staff", 1).num == 0
    assert store.get("staff").beside[0].num_done == 10
    store.close()


def test_what_was_saved_without_those_who_are_looked_at_again_is_not_all_there_is(
    tmp_path: Path, store: EmbeddedGalleryStore
) -> None:
    number = built(store)
    store.enrol("staff", replace(templates(["away"], 2), elsewhere={NEW.fingerprint: None}))
    store.enrol("staff", templates(["late"], 3))
    store._saver.save_all()
    store.close()
    again = EmbeddedGalleryStore(tmp_path)
    assert again.generations.look_again("staff", number, [OLD, NEW]) == 1
    fill(again, number)
    assert again.generations.num_missing("staff", number) == 0
    activate(again, number, 1)
    assert found(again, 2) == "away"
    assert all(check.is_sound for check in again.check("staff"))
    again.close()


def test_a_native_template_that_came_before_a_translated_one_does_not_retire_it(store: EmbeddedGalleryStore) -> None:
    number = built(store)
    activate(store, number, 1)
    (own,) = templates(["x"], 40).originals
    native = NewTemplates(["eve"], own[None], NEW, own[None], NEW, elsewhere={OLD.fingerprint: None})
    translated = templates(["eve"], 41)
    futures = together(store, lambda: store.enrol("staff", native), lambda: store.enrol("staff", translated))
    assert [one.exception() for one in futures] == [None, None]
    assert [one.is_searchable for one in store.templates("staff", subject="eve").templates] == [True, True]
