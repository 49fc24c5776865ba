"""Generations of the embedded store: what happens beside an exchange, after a start, and on disk."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, NewTemplates, Translation
from service.errors import DamagedError
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import PROJECTIONS

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
    assert store.get("staff").beside[0].num_done == 0
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
