"""What every gallery store must do with generations: one suite over all adapters, then the fast one against the oracle.

Shapes: G templates, D dimension of a space.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from models.space import Space
from service.entities import Answer, FloatArray, NewTemplates, Once, Side, Translation
from service.errors import (
    EngineError,
    GenerationChangedError,
    JobStateError,
    MigrationInProgressError,
    NotFoundError,
    RollbackExpiredError,
    SpaceMismatchError,
)
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.oracle import OracleGalleryStore
from service.galleries.port import Chunk, Filled, GalleryStore

OLD, NEW, THIRD = Space("old", 4, "external:old"), Space("new", 3, "external:new"), Space("third", 5, "external:third")
SPACES = {space.fingerprint: space for space in (OLD, NEW, THIRD)}
KEEP = 3600.0
OPERATIONS = int(os.environ.get("FACEBRIDGE_OPERATIONS", "250"))


@pytest.fixture(params=["oracle", "embedded"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GalleryStore]:
    opened: GalleryStore = OracleGalleryStore() if request.param == "oracle" else EmbeddedGalleryStore(tmp_path)
    opened.create("staff", OLD)
    yield opened
    opened.close()


def _map(source: Space, target: Space) -> FloatArray:
    seed = source.dimension * 10 + target.dimension
    weight: FloatArray = (
        np.random.default_rng(seed).standard_normal((source.dimension, target.dimension)).astype(np.float32)
    )
    return weight


def unit(rows: FloatArray) -> FloatArray:
    found: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def features(num: int, space: Space = OLD, seed: int = 0) -> FloatArray:
    return unit(np.random.default_rng(seed).standard_normal((num, space.dimension)).astype(np.float32))


def mapped(rows: FloatArray, source: Space, target: Space) -> FloatArray:
    """Row by row: what a row becomes does not depend on which are beside it, as a BLAS product's does."""
    products = rows.astype(np.float64)[:, :, None] * _map(source, target).astype(np.float64)[None]
    return unit(products.sum(axis=1).astype(np.float32))


def name_of(source: Space, target: Space) -> str:
    return f"{source.name}-to-{target.name}"


AWAY = {(NEW, OLD)}
"""From and to which spaces no translator leads: out of the new space none, but in tests of one that comes."""


def translate(rows: FloatArray, source: Space, target: Space) -> Translation | None:
    """As a translator of these tests does."""
    if (source, target) in AWAY:
        return None
    confidence = np.abs(rows[:, 0])
    return Translation(mapped(rows, source, target), (name_of(source, target),), confidence)


def new_templates(
    subjects: Sequence[str],
    rows: FloatArray,
    source: Space,
    active: Space,
    beside: Sequence[Space],
    keys: Sequence[str] | None = None,
) -> NewTemplates:
    """Templates of `source` for a gallery in `active` that has generations in the spaces `beside`."""
    made = {space.fingerprint: translate(rows, source, space) for space in beside if space != source}
    own = Translation(rows) if source == active else translate(rows, source, active)
    assert own is not None
    return NewTemplates(
        subjects, rows, source, own.features, active, own.route, own.confidence, keys=keys, elsewhere=made
    )


def enrol(
    store: GalleryStore,
    subjects: Sequence[str],
    rows: FloatArray,
    source: Space = OLD,
    keys: Sequence[str] | None = None,
    *,
    replaces: bool = False,
) -> tuple[str, ...]:
    gallery = store.get("staff")
    beside = [one.space for one in gallery.beside]
    templates = new_templates(subjects, rows, source, gallery.space, beside, keys)
    return store.enrol("staff", templates, replaces=replaces).template_ids


def begin(store: GalleryStore, job: str = "job", space: Space = NEW, *, retires: bool = True) -> int:
    return store.generations.begin("staff", space, job=job, routes={}, retires=retires).number


def fill_one(store: GalleryStore, number: int, limit: int = 3) -> tuple[Chunk, Filled]:
    gallery = store.get("staff")
    space = next(one.space for one in gallery.beside if one.number == number)
    chunk = store.generations.chunk("staff", number, limit=limit)
    made = [translate(part.features, part.space, space) for part in chunk.parts]
    return chunk, store.generations.fill("staff", number, chunk, made)


def fill(store: GalleryStore, number: int, limit: int = 3) -> int:
    """Fill a generation to its end; in how many chunks."""
    num_chunks = 0
    while True:
        _, filled = fill_one(store, number, limit)
        num_chunks += 1
        if filled.is_complete:
            return num_chunks


def activate(store: GalleryStore, number: int) -> None:
    store.generations.activate("staff", number, expected=store.get("staff").generation, keep_seconds=KEEP)


def found(
    store: GalleryStore, probe_D: FloatArray, space: Space, generation: int | None = None
) -> list[tuple[str, float]]:
    (candidates,) = store.search("staff", probe_D[None], space, 50, generation=generation).candidates
    return [(one.subject, one.score) for one in candidates]


def probe(source: Space, seed: int = 99) -> FloatArray:
    (row,) = features(1, source, seed)
    return np.asarray(row)


def test_a_generation_is_filled_in_chunks_beside_the_active_one_and_takes_its_place_at_once(
    store: GalleryStore,
) -> None:
    rows = features(7)
    enrol(store, list("abcdefg"), rows)
    before = found(store, probe(OLD), OLD)
    number = begin(store)
    (building,) = store.get("staff").beside
    assert (building.number, building.space, building.state, building.is_complete) == (2, NEW, "building", False)

    assert fill(store, number) == 3

    (building,) = store.get("staff").beside
    assert building.is_complete
    assert store.get("staff").generation == 1
    assert found(store, probe(OLD), OLD) == before
    there = found(store, probe(NEW), NEW, number)
    assert sorted(name for name, _ in there) == list("abcdefg")

    activated = store.generations.activate("staff", number, expected=1, keep_seconds=KEEP)

    assert (activated.generation, activated.space) == (2, NEW)
    assert activated == store.get("staff")
    (kept,) = activated.beside
    assert (kept.number, kept.space, kept.state, kept.is_complete) == (1, OLD, "kept", True)
    assert kept.kept_until is not None
    assert found(store, probe(NEW), NEW) == there
    with pytest.raises(SpaceMismatchError):
        found(store, probe(OLD), OLD)
    template = store.templates("staff").templates[0]
    assert (template.space, template.route) == (OLD.fingerprint, ("old-to-new",))
    assert template.confidence == pytest.approx(abs(rows[0, 0]))


def test_candidates_name_the_generation_and_how_their_templates_came_into_it(store: GalleryStore) -> None:
    enrol(store, ["ann"], features(1))
    number = begin(store)
    fill(store, number)
    result = store.search("staff", probe(NEW)[None], NEW, 5, generation=number)
    assert result.generation == number
    assert result.candidates[0][0].origin == Side(OLD.fingerprint, ("old-to-new",))
    assert store.search("staff", probe(OLD)[None], OLD, 5).generation == 1


def test_it_goes_back_and_forth(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob"], features(2))
    old = found(store, probe(OLD), OLD)
    number = begin(store)
    fill(store, number)
    new = found(store, probe(NEW), NEW, number)
    for _ in range(3):
        activate(store, number)
        assert found(store, probe(NEW), NEW) == new
        activate(store, 1)
        assert found(store, probe(OLD), OLD) == old


def test_what_is_enrolled_and_removed_meanwhile_reaches_both(store: GalleryStore) -> None:
    rows = features(6)
    enrol(store, list("abcdef"), rows)
    number = begin(store)
    fill_one(store, number, 2)
    enrol(store, ["new"], features(1, seed=5))
    store.remove_subject("staff", "a")
    store.remove_subject("staff", "d")
    enrol(store, ["native"], features(1, THIRD, seed=6), THIRD)
    fill(store, number, 2)
    enrol(store, ["late"], features(1, seed=7))
    store.remove_subject("staff", "e")
    everybody = ["b", "c", "f", "late", "native", "new"]
    for space, generation in ((OLD, 1), (NEW, number)):
        assert sorted(name for name, _ in found(store, probe(space), space, generation)) == everybody
    activate(store, number)
    enrol(store, ["later"], features(1, seed=8))
    store.remove_subject("staff", "b")
    activate(store, 1)
    assert sorted(name for name, _ in found(store, probe(OLD), OLD)) == ["c", "f", "late", "later", "native", "new"]
    assert all(check.is_sound for check in store.check("staff"))


def test_a_template_that_was_replaced_while_its_chunk_was_under_way_stays_away(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob"], features(2), keys=["k1", "k2"])
    number = begin(store)
    chunk = store.generations.chunk("staff", number)
    enrol(store, ["ann"], features(1, seed=3), keys=["k1"], replaces=True)
    store.remove_subject("staff", "bob")
    filled = store.generations.fill("staff", number, chunk, [translate(chunk.parts[0].features, OLD, NEW)])
    # What took its place is taken with it.
    assert filled == Filled(1, 0, is_complete=True)
    expected = translate(features(1, seed=3), OLD, NEW)
    assert expected is not None
    ((name, score),) = found(store, expected.features[0], NEW, number)
    assert name == "ann"
    assert score == pytest.approx(1.0)


def test_a_chunk_is_filled_once_and_in_its_turn(store: GalleryStore) -> None:
    enrol(store, list("abcd"), features(4))
    number = begin(store)
    first, _ = fill_one(store, number, 2)
    second = store.generations.chunk("staff", number, after=first.next_after, limit=2)
    made = [translate(part.features, OLD, NEW) for part in first.parts]
    with pytest.raises(GenerationChangedError):
        store.generations.fill("staff", number, first, made)
    made = [translate(part.features, OLD, NEW) for part in second.parts]
    assert store.generations.fill("staff", number, second, made) == Filled(2, 0, is_complete=True, num_translated=2)
    assert store.generations.fill("staff", number, second, made) == Filled(0, 0, is_complete=True)
    assert len(found(store, probe(NEW), NEW, number)) == 4


def test_an_empty_gallery_is_migrated_too(store: GalleryStore) -> None:
    number = begin(store)
    assert fill(store, number) == 1
    activate(store, number)
    enrol(store, ["ann"], features(1))
    assert [name for name, _ in found(store, probe(NEW), NEW)] == ["ann"]


def test_templates_of_several_spaces_come_each_from_its_own(store: GalleryStore) -> None:
    old, third, native = features(2), features(2, THIRD, seed=1), features(1, NEW, seed=2)
    number = begin(store, "elsewhere", THIRD)
    store.generations.drop("staff", number)
    enrol(store, ["o1", "o2"], old)
    enrol(store, ["t1", "t2"], third, THIRD)
    origins = store.generations.origins("staff")
    assert sorted((space.name, num) for space, num in origins) == [("old", 2), ("third", 2)]
    number = begin(store)
    chunk, _ = fill_one(store, number, 10)
    assert sorted(part.space.name for part in chunk.parts) == ["old", "third"]
    activate(store, number)
    enrol(store, ["n1"], native, NEW)
    for rows, source, name in ((old, OLD, "o1"), (third, THIRD, "t1"), (native, NEW, "n1")):
        expected = rows if source == NEW else unit(rows @ _map(source, NEW))
        nearest, score = found(store, expected[0], NEW)[0]
        assert nearest == name
        assert score == pytest.approx(1.0)


def test_where_no_route_leads_a_template_is_left_out_and_counted(store: GalleryStore) -> None:
    enrol(store, ["ann"], features(1))
    number = begin(store)
    fill(store, number)
    activate(store, number)
    assert store.generations.num_missing("staff", 1) == 0
    enrol(store, ["bob"], features(1, NEW), NEW)
    assert store.generations.num_missing("staff", 1) == 1
    assert store.generations.num_missing("staff", 2) == 0
    activate(store, 1)
    assert [name for name, _ in found(store, probe(OLD), OLD)] == ["ann"]
    gallery = store.get("staff")
    assert (gallery.num_templates, gallery.num_subjects) == (2, 2)
    told = {one.subject: one.is_searchable for one in store.templates("staff").templates}
    assert told == {"ann": True, "bob": False}
    assert {space.name: num for space, num in store.generations.origins("staff")} == {"old": 1, "new": 1}
    assert all(check.is_sound for check in store.check("staff"))
    activate(store, number)
    assert sorted(name for name, _ in found(store, probe(NEW), NEW)) == ["ann", "bob"]


def test_what_could_not_be_translated_when_it_came_is_looked_at_again(
    store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(store, ["ann", "cy"], features(2))
    number = begin(store)
    fill(store, number)
    activate(store, number)
    enrol(store, ["bob", "cy"], features(2, NEW), NEW)
    assert store.generations.look_again("staff", number, [OLD, NEW]) == 0
    assert store.generations.look_again("staff", 1, [OLD, THIRD]) == 0
    assert store.generations.look_again("staff", 1, [NEW]) == 2
    assert store.generations.num_missing("staff", 1) == 0
    # Behind, so that it is not to be made active, and again without a way.
    with pytest.raises(JobStateError):
        activate(store, 1)
    fill(store, 1)
    assert store.generations.num_missing("staff", 1) == 2
    assert store.generations.look_again("staff", 1, [NEW]) == 2
    monkeypatch.setattr(f"{__name__}.AWAY", set())
    fill(store, 1)
    assert store.generations.num_missing("staff", 1) == 0
    activate(store, 1)
    (first, *_) = found(store, mapped(features(1, NEW), NEW, OLD)[0], OLD)
    assert first[0] == "bob"
    assert sorted(name for name, _ in found(store, probe(OLD), OLD)) == ["ann", "bob", "cy"]
    assert all(check.is_sound for check in store.check("staff"))


def test_what_has_no_direction_or_was_retired_is_not_looked_at_again(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob"], features(2))
    number = begin(store)
    fill(store, number)
    activate(store, number)
    # A native template retires ann's translated one.
    enrol(store, ["ann"], features(1, NEW), NEW)
    activate(store, 1)
    assert store.generations.look_again("staff", number, [OLD, NEW]) == 0
    with pytest.raises(NotFoundError):
        store.generations.look_again("nobody", number, [OLD])
    with pytest.raises(RollbackExpiredError):
        store.generations.look_again("staff", 7, [OLD])


def test_a_template_that_has_no_direction_there_is_left_out(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob"], features(2))
    number = begin(store)
    chunk = store.generations.chunk("staff", number)
    made = translate(chunk.parts[0].features, OLD, NEW)
    assert made is not None
    made.features[0] = np.nan
    assert store.generations.fill("staff", number, chunk, [made]) == Filled(1, 1, is_complete=True, num_translated=2)
    assert [name for name, _ in found(store, probe(NEW), NEW, number)] == ["bob"]
    assert store.generations.num_missing("staff", number) == 1
    assert np.isnan(store.generations.features("staff", number, chunk_ids(store))[0]).all()


def chunk_ids(store: GalleryStore) -> list[str]:
    return [one.template_id for one in store.templates("staff").templates]


@pytest.mark.parametrize(
    "broken", [np.zeros((2, 3), np.float32), np.full((2, 3), np.inf, np.float32), np.ones((1, 3), np.float32)]
)
def test_what_a_translator_gives_is_looked_at(store: GalleryStore, broken: FloatArray) -> None:
    enrol(store, ["ann", "bob"], features(2))
    number = begin(store)
    chunk = store.generations.chunk("staff", number)
    with pytest.raises(EngineError):
        store.generations.fill("staff", number, chunk, [Translation(broken, ("old-to-new",))])
    assert fill(store, number) == 1


def test_what_is_enrolled_must_say_what_it_is_in_every_generation(store: GalleryStore) -> None:
    before = new_templates(["ann"], features(1), OLD, OLD, [])
    number = begin(store)
    with pytest.raises(GenerationChangedError):
        store.enrol("staff", before)
    both = new_templates(["ann"], features(1), OLD, OLD, [NEW])
    store.enrol("staff", both)
    fill(store, number)
    activate(store, number)
    # What was translated for both is taken by either, whichever is the active one.
    store.enrol("staff", new_templates(["bob"], features(1, seed=1), OLD, OLD, [NEW]))
    assert sorted(name for name, _ in found(store, probe(NEW), NEW)) == ["ann", "bob"]
    assert sorted(name for name, _ in found(store, probe(OLD), OLD, 1)) == ["ann", "bob"]


def test_only_one_is_built_at_a_time_and_that_of_a_job_is_begun_once(store: GalleryStore) -> None:
    number = begin(store, "one")
    assert begin(store, "one") == number
    with pytest.raises(MigrationInProgressError):
        begin(store, "two", THIRD)
    store.generations.drop("staff", number)
    assert begin(store, "two", THIRD) == number + 1
    store.generations.drop("staff", number)
    store.generations.drop("staff", number + 1)
    assert store.get("staff").beside == ()
    with pytest.raises(SpaceMismatchError):
        begin(store, "three", OLD)
    for call in (
        lambda: store.generations.begin("nobody", NEW, job="x", routes={}),
        lambda: store.generations.chunk("nobody", 1),
        lambda: store.generations.activate("nobody", 2, expected=1, keep_seconds=KEEP),
        lambda: store.generations.drop("nobody", 2),
        lambda: store.generations.origins("nobody"),
    ):
        with pytest.raises(NotFoundError):
            call()


def test_cutting_over_is_one_compare_and_swap(store: GalleryStore) -> None:
    enrol(store, list("abcd"), features(4))
    number = begin(store)
    fill_one(store, number, 2)
    with pytest.raises(JobStateError):
        activate(store, number)
    fill(store, number)
    with pytest.raises(GenerationChangedError):
        store.generations.activate("staff", number, expected=7, keep_seconds=KEEP)
    with pytest.raises(RollbackExpiredError):
        store.generations.activate("staff", 9, expected=1, keep_seconds=KEEP)
    with pytest.raises(GenerationChangedError):
        store.generations.activate("staff", number, expected=1, keep_seconds=KEEP, job="another")
    once = Once(b"k" * 32, b"d" * 32, lambda gallery: Answer(200, str(gallery.generation).encode()))
    store.generations.activate("staff", number, expected=1, keep_seconds=KEEP, once=once)
    assert store.answered(once.key) == (once.digest, Answer(200, b"2"))
    with pytest.raises(GenerationChangedError):
        store.generations.activate("staff", number, expected=1, keep_seconds=KEEP)
    with pytest.raises(GenerationChangedError):
        store.generations.activate("staff", number, expected=2, keep_seconds=KEEP)
    store.generations.drop("staff", number)
    assert store.get("staff").generation == number
    store.generations.drop("staff", 1)
    with pytest.raises(RollbackExpiredError):
        activate(store, 1)


def test_a_native_template_takes_the_place_of_translated_ones_of_its_subject(store: GalleryStore) -> None:
    enrol(store, ["ann", "ann", "bob", "cy"], features(4))
    number = begin(store)
    fill(store, number)
    activate(store, number)
    backlog = store.generations.backlog("staff")
    assert (backlog.num_native, backlog.num_translated, backlog.num_retired) == (0, 4, 0)
    assert sorted(one.subject for one in backlog.templates) == ["ann", "ann", "bob", "cy"]
    gallery = store.get("staff")
    templates = new_templates(
        ["ann"], features(1, NEW, seed=4), NEW, gallery.space, [one.space for one in gallery.beside]
    )
    done = store.enrol("staff", templates)
    assert (done.num_replaced, done.num_retired) == (0, 2)
    backlog = store.generations.backlog("staff")
    assert (backlog.num_native, backlog.num_translated, backlog.num_retired) == (1, 2, 2)
    assert sorted(one.subject for one in backlog.templates) == ["bob", "cy"]
    assert [one.confidence for one in backlog.templates] == sorted(one.confidence or 0 for one in backlog.templates)
    ((_, score), *_) = [one for one in found(store, features(1, NEW, seed=4)[0], NEW) if one[0] == "ann"]
    assert score == pytest.approx(1.0)
    # Nothing of the kind in the generation before: there they are native.
    activate(store, 1)
    assert store.get("staff").num_templates == 5
    assert len(store.search("staff", probe(OLD)[None], OLD, 9).candidates[0]) == 3
    assert all(check.is_sound for check in store.check("staff"))


def test_natives_that_came_while_it_was_built_retire_others_when_it_becomes_active(store: GalleryStore) -> None:
    number = begin(store, "first", THIRD)
    fill(store, number)
    activate(store, number)
    enrol(store, ["ann", "bob"], features(2))
    store.generations.drop("staff", 1)
    number = begin(store)
    fill(store, number)
    gallery = store.get("staff")
    own = NewTemplates(
        ["ann"],
        features(1, NEW, seed=4),
        NEW,
        unit(features(1, NEW, seed=4) @ _map(NEW, THIRD)),
        THIRD,
        ("new-to-third",),
    )
    assert store.enrol("staff", own).num_retired == 0
    assert gallery.generation == 2
    activate(store, number)
    backlog = store.generations.backlog("staff")
    assert (backlog.num_native, backlog.num_translated, backlog.num_retired) == (1, 1, 1)
    assert [one.subject for one in backlog.templates] == ["bob"]


def test_with_retires_off_natives_stand_beside_translated_ones(store: GalleryStore) -> None:
    enrol(store, ["ann"], features(1))
    number = begin(store, retires=False)
    fill(store, number)
    activate(store, number)
    enrol(store, ["ann"], features(1, NEW, seed=4), NEW)
    backlog = store.generations.backlog("staff")
    assert (backlog.num_native, backlog.num_translated, backlog.num_retired) == (1, 1, 0)


def test_the_backlog_comes_in_pages_the_least_confident_first(store: GalleryStore) -> None:
    enrol(store, [f"s{row}" for row in range(7)], features(7))
    number = begin(store)
    chunk = store.generations.chunk("staff", number)
    confidence = np.array([0.7, np.nan, 0.1, 0.9, 0.3, np.nan, 0.1], dtype=np.float32)
    made = translate(chunk.parts[0].features, OLD, NEW)
    assert made is not None
    store.generations.fill("staff", number, chunk, [Translation(made.features, made.route, confidence)])
    assert sorted(store.generations.confidences("staff", number).tolist()) == sorted(
        confidence[~np.isnan(confidence)].tolist()
    )
    activate(store, number)
    pages, after = [], 0
    while True:
        page = store.generations.backlog("staff", after=after, limit=3)
        pages.append([one.subject for one in page.templates])
        if page.next_after is None:
            break
        after = page.next_after
    assert pages == [["s2", "s6", "s4"], ["s0", "s3", "s1"], ["s5"]]


def test_later_templates_have_higher_numbers(store: GalleryStore) -> None:
    assert store.generations.last_number("staff") == 0
    ids = enrol(store, ["a", "a", "b"], features(3))
    last = store.generations.last_number("staff")
    assert (last > 0, store.generations.num_after("staff", 0), store.generations.num_after("staff", last)) == (
        True,
        3,
        0,
    )
    store.remove_template("staff", ids[2])
    assert store.generations.last_number("staff") < last
    enrol(store, ["c", "d"], features(2, seed=1))
    assert store.generations.num_after("staff", last) == 2
    store.remove_subject("staff", "d")
    assert store.generations.num_after("staff", last) == 1


def test_samples_are_of_subjects_who_have_several_first(store: GalleryStore) -> None:
    enrol(store, ["a", "a", "b", "b", "b", "c", "d", "e"], features(8))
    sample = store.generations.sample("staff", 7, seed=1)
    # Another one of each before another one yet; then of those who have one.
    assert (sample.num_mated, len(set(sample.template_ids))) == (5, 7)
    assert set(sample.subjects[:2]) == set(sample.subjects[2:4]) == {"a", "b"}
    assert sample.subjects[4] == "b"
    assert len(set(sample.subjects[5:]) & {"c", "d", "e"}) == 2
    assert store.generations.sample("staff", 7, seed=1) == sample
    of_few = store.generations.sample("staff", 3, seed=1)
    assert (of_few.num_mated, len(set(of_few.subjects))) == (3, 2)
    subjects = [store.template("staff", one).subject for one in sample.template_ids]
    assert tuple(subjects) == sample.subjects
    everybody = store.generations.sample("staff", 100, seed=1)
    assert sorted(everybody.subjects) == list("aabbbcde")
    own = store.generations.features("staff", 1, sample.template_ids)
    for row, feature in enumerate(own):
        (best, *_) = store.search("staff", feature[None], OLD, 1).candidates[0]
        assert best.subject == sample.subjects[row]
        assert best.score == pytest.approx(1.0)
        (left,) = store.search("staff", feature[None], OLD, 9, without_ids=sample.template_ids).candidates
        assert {one.subject for one in left} == {"a", "b", "c", "d", "e"} - set(sample.subjects[2:])


@pytest.mark.parametrize("num_left_out", [1, 40, 120, 299, 300])
def test_whom_a_search_leaves_out_makes_room_for_others(
    store: GalleryStore, num_left_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several segments, of which some are left out wholly, and some not at all."""
    monkeypatch.setattr("service.galleries.segments.SEGMENT_BYTES", 64 * 4 * OLD.dimension)
    rows = features(300)
    ids = enrol(store, [f"s{row:03}" for row in range(300)], rows)
    out = np.random.default_rng(num_left_out).permutation(max(num_left_out, 200))[:num_left_out]
    probes = features(20, seed=9)
    result = store.search("staff", probes, OLD, 5, without_ids=[ids[row] for row in out])
    scores = probes.astype(np.float64) @ rows.astype(np.float64).T
    scores[:, out] = -np.inf
    for ranked, own in zip(result.candidates, scores, strict=True):
        best = [row for row in np.argsort(-own)[:5] if own[row] > -np.inf]
        assert [one.subject for one in ranked] == [f"s{row:03}" for row in best]
        assert [one.score for one in ranked] == pytest.approx(own[best].tolist())


def test_a_search_that_can_wait_finds_the_same(store: GalleryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.galleries.segments.SEGMENT_BYTES", 64 * 4 * OLD.dimension)
    enrol(store, [f"s{row % 150}" for row in range(300)], features(300))
    probes = features(20, seed=9)
    waited: list[bool] = []
    patient = store.search("staff", probes, OLD, 5, between=lambda: waited.append(True))
    assert patient == store.search("staff", probes, OLD, 5)
    assert waited


def test_a_search_that_can_wait_ends_where_it_is_told_to(store: GalleryStore) -> None:
    enrol(store, list("abc"), features(3))

    def end() -> None:
        raise JobStateError("not any more")

    with pytest.raises(JobStateError, match="not any more"):
        store.search("staff", features(1), OLD, 5, between=end)
    assert len(store.search("staff", features(1), OLD, 5).candidates[0]) == 3


def test_of_one_subject_three_are_drawn_at_most(store: GalleryStore) -> None:
    enrol(store, [*"aaaaaaaa", *"bb", *"cde"], features(13))
    sample = store.generations.sample("staff", 100, seed=1)
    assert sorted(sample.subjects) == sorted("aaabbcde")
    assert sample.num_mated == 5


def test_whose_templates_are_retired_has_only_those_that_are_left(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob", "bob"], features(3))
    number = begin(store)
    fill(store, number)
    activate(store, number)
    # A native template retires ann's translated one.
    (native,) = enrol(store, ["ann"], features(1, NEW), NEW)
    sample = store.generations.sample("staff", 100, seed=1)
    assert (sample.subjects, sample.num_mated) == (("bob", "bob", "ann"), 2)
    assert sample.template_ids[2] == native


def test_whoever_is_not_in_the_active_generation_is_not_drawn(
    store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(store, ["ann", "bob", "cy"], features(3))
    number = begin(store)
    fill(store, number)
    activate(store, number)
    monkeypatch.setattr(f"{__name__}.AWAY", {(NEW, OLD)})
    enrol(store, [f"away{row}" for row in range(30)], features(30, NEW), NEW)
    activate(store, 1)
    assert sorted(store.generations.sample("staff", 8, seed=1).subjects) == ["ann", "bob", "cy"]


def test_keys_and_ids_are_left_out_of_a_search_alike(store: GalleryStore) -> None:
    ids = enrol(store, list("abc"), features(3), keys=["1", "2", "3"])
    (left,) = store.search("staff", features(1), OLD, 9, without=["1"], without_ids=[ids[1]]).candidates
    assert [one.subject for one in left] == ["c"]


def test_nobody_is_mated_where_everybody_is_enrolled_once(store: GalleryStore) -> None:
    enrol(store, list("abc"), features(3))
    assert store.generations.sample("staff", 2, seed=1).num_mated == 0


def test_a_snapshot_brings_back_whom_native_templates_have_retired_since(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob"], features(2))
    number = begin(store)
    fill(store, number)
    activate(store, number)
    snapshot = store.take_snapshot("staff")
    before = found(store, probe(NEW), NEW)
    enrol(store, ["ann"], features(1, NEW, seed=4), NEW)
    assert store.generations.backlog("staff").num_retired == 1
    store.restore("staff", snapshot.snapshot_id)
    assert found(store, probe(NEW), NEW) == before
    assert store.generations.backlog("staff").num_retired == 0
    assert all(check.is_sound for check in store.check("staff"))


def test_a_generation_catches_up_however_steadily_others_are_enrolled(store: GalleryStore) -> None:
    enrol(store, list("abcdef"), features(6))
    number = begin(store)
    for round_number in range(4):
        chunk = store.generations.chunk("staff", number, limit=4)
        made = [translate(part.features, part.space, NEW) for part in chunk.parts]
        enrol(store, [f"new{round_number}"], features(1, seed=20 + round_number))
        if store.generations.fill("staff", number, chunk, made).is_complete:
            break
    assert round_number <= 2
    assert len(found(store, probe(NEW), NEW, number)) == 6 + round_number + 1


def test_a_chunk_of_a_gallery_that_was_put_back_is_not_filled(store: GalleryStore) -> None:
    enrol(store, list("abc"), features(3))
    snapshot = store.take_snapshot("staff")
    number = begin(store)
    fill(store, number)
    activate(store, number)
    activate(store, 1)
    enrol(store, ["late"], features(1, seed=9))
    later = begin(store, "other", THIRD)
    store.generations.drop("staff", later)
    store.restore("staff", snapshot.snapshot_id)
    chunk = store.generations.chunk("staff", number, limit=2)
    store.restore("staff", snapshot.snapshot_id)
    with pytest.raises(GenerationChangedError):
        store.generations.fill("staff", number, chunk, [None for _ in chunk.parts])
    fill(store, number)
    assert sorted(name for name, _ in found(store, probe(NEW), NEW, number)) == list("abc")


def test_a_generation_is_searchable_in_common_spaces_as_it_is_filled(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob"], features(2))
    common = Space("common", 2, "external:common")
    number = begin(store)
    weight_NEW = np.random.default_rng(5).standard_normal((3, 2)).astype(np.float32)
    weight_OLD = np.random.default_rng(6).standard_normal((4, 2)).astype(np.float32)
    projections = {
        NEW.fingerprint: lambda rows: unit(rows @ weight_NEW),
        OLD.fingerprint: lambda rows: unit(rows @ weight_OLD),
    }
    store.ensure_index("staff", common, projections, generation=number)
    fill(store, number, 1)
    enrol(store, ["cy"], features(1, seed=3))
    probe_2 = unit(features(1, seed=3) @ weight_OLD)
    result = store.search("staff", probe_2, common, 5, generation=number)
    assert result.candidates[0][0].subject == "cy"
    assert {one.subject for one in result.candidates[0]} == {"ann", "bob", "cy"}
    activate(store, number)
    assert store.search("staff", probe_2, common, 5).candidates == result.candidates


def test_erasures_reach_every_generation_and_snapshots_are_put_back_within_one(store: GalleryStore) -> None:
    enrol(store, ["ann", "bob", "cy"], features(3))
    number = begin(store)
    fill_one(store, number, 2)
    snapshot = store.take_snapshot("staff")
    with pytest.raises(MigrationInProgressError):
        store.restore("staff", snapshot.snapshot_id)
    (erased,) = store.erase("staff", ["ann"])
    assert (erased.num_templates, erased.num_generations) == (1, 2)
    fill(store, number)
    activate(store, number)
    assert sorted(name for name, _ in found(store, probe(NEW), NEW)) == ["bob", "cy"]
    with pytest.raises(GenerationChangedError):
        store.restore("staff", snapshot.snapshot_id)
    later = store.take_snapshot("staff")
    store.remove_subject("staff", "bob")
    store.erase("staff", ["cy"])
    store.restore("staff", later.snapshot_id)
    assert sorted(name for name, _ in found(store, probe(NEW), NEW)) == ["bob"]
    fill(store, 1)
    activate(store, 1)
    assert sorted(name for name, _ in found(store, probe(OLD), OLD)) == ["bob"]
    store.drop("staff")
    store.create("staff", OLD)
    assert store.get("staff").beside == ()


class Pair:
    """Any operation, on both stores at once."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.rng = np.random.default_rng(int(os.environ.get("FACEBRIDGE_SEED", "7")))
        self.oracle: GalleryStore = OracleGalleryStore()
        self.embedded: GalleryStore = EmbeddedGalleryStore(tmp_path)
        self.num_jobs = 0
        self.counts: dict[str, int] = {}
        for one in self.stores:
            one.create("staff", OLD)

    @property
    def stores(self) -> tuple[GalleryStore, GalleryStore]:
        return self.oracle, self.embedded

    def both(self, call: object) -> object:
        """What a call gives, of both the same; also what it raises."""
        outcomes = []
        for one in self.stores:
            try:
                outcomes.append(call(one))  # type: ignore[operator]
            except Exception as failure:  # noqa: BLE001
                outcomes.append(type(failure))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    def step(self) -> None:
        kinds = (
            ["enrol"] * 6
            + ["fill"] * 5
            + ["remove"] * 2
            + "begin activate activate drop erase reopen replace again".split()
        )
        kind = str(self.rng.choice(kinds))
        outcome = getattr(self, "_" + kind)()
        if not isinstance(outcome, type):
            self.counts[kind] = self.counts.get(kind, 0) + 1
        self._look()

    def _enrol(self, *, replaces: bool = False) -> object:
        num = int(self.rng.integers(1, 5))
        source = [OLD, NEW, THIRD][int(self.rng.integers(3))]
        if source == NEW and self.oracle.get("staff").space == OLD:
            source = THIRD
        rows = features(num, source, int(self.rng.integers(1 << 30)))
        subjects = [f"s{number}" for number in self.rng.integers(0, 12, num)]
        keys = [f"k{number}" for number in self.rng.choice(30, num, replace=False)] if replaces else None
        return self.both(lambda store: len(enrol(store, subjects, rows, source, keys, replaces=replaces)))

    def _replace(self) -> object:
        return self._enrol(replaces=True)

    def _remove(self) -> object:
        subject = f"s{self.rng.integers(0, 12)}"
        return self.both(lambda store: store.remove_subject("staff", subject))

    def _erase(self) -> object:
        subject = f"s{self.rng.integers(0, 12)}"
        return self.both(lambda store: store.erase("staff", [subject])[0].num_templates)

    def _begin(self) -> object:
        self.num_jobs += 1
        space = [OLD, NEW, THIRD][int(self.rng.integers(3))]
        retires = bool(self.rng.integers(2))
        return self.both(lambda store: begin(store, f"job{self.num_jobs}", space, retires=retires))

    def _numbers(self) -> list[int]:
        return [one.number for one in self.oracle.get("staff").beside]

    def _fill(self) -> object:
        if not self._numbers():
            return self._begin()
        number, limit = int(self.rng.choice(self._numbers())), int(self.rng.integers(1, 9))
        return self.both(lambda store: fill_one(store, number, limit)[1])

    def _activate(self) -> object:
        if not self._numbers():
            return int
        number = int(self.rng.choice(self._numbers()))
        return self.both(lambda store: activate(store, number))

    def _drop(self) -> object:
        numbers = self._numbers()
        if len(numbers) < 2 and self.rng.random() < 0.7:
            return int
        number = int(self.rng.choice([*numbers, 1]))
        return self.both(lambda store: store.generations.drop("staff", number))

    def _again(self) -> object:
        """A translator comes, or goes."""
        AWAY.symmetric_difference_update({(NEW, OLD)})
        number = int(self.rng.choice([*self._numbers(), self.oracle.get("staff").generation]))
        spaces = [space for space in (OLD, NEW, THIRD) if self.rng.random() < 0.8]
        num = self.both(lambda store: store.generations.look_again("staff", number, spaces))
        self._fill_all()
        return num

    def _reopen(self) -> None:
        self.embedded.close()
        self.embedded = EmbeddedGalleryStore(self.path)
        # What was not the active one is behind from now on, and filled again from what is recorded.
        shelf = self.oracle._shelf("staff")  # type: ignore[attr-defined]
        for version in shelf.beside:
            version.is_behind, version.filled_to = True, 0
        self._fill_all()

    def _fill_all(self) -> None:
        """How far a store comes with what was saved is its own affair."""
        for store in self.stores:
            for number in self._numbers():
                fill(store, number)

    def _look(self) -> None:
        def gallery(store: GalleryStore) -> object:
            found = store.get("staff")
            beside = [(one.number, one.space, one.state, one.job) for one in found.beside]
            return found.generation, found.space, found.num_templates, found.num_subjects, beside

        self.both(gallery)
        templates = "subject space route confidence key is_searchable".split()
        self.both(
            lambda store: [
                tuple(getattr(one, name) for name in templates)
                for one in store.templates("staff", limit=1000).templates
            ]
        )
        now = self.oracle.get("staff")
        complete = [now.generation, *(one.number for one in now.beside if one.is_complete)]
        spaces = {now.generation: now.space} | {one.number: one.space for one in now.beside}
        seed = int(self.rng.integers(1 << 30))
        for number in complete:
            self.both(lambda store, number=number: found(store, probe(spaces[number], seed), spaces[number], number))
            self.both(lambda store, number=number: store.generations.num_missing("staff", number))
            self.both(lambda store, number=number: sorted(store.generations.confidences("staff", number).tolist()))
        self.both(lambda store: [one.subject for one in store.generations.backlog("staff").templates])
        self.both(lambda store: sorted((space.name, num) for space, num in store.generations.origins("staff")))


def test_any_operations_leave_both_stores_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.AWAY", set(AWAY))
    pair = Pair(tmp_path)
    for number in range(OPERATIONS):
        pair.step()
        if number % 50 == 49:
            assert all(check.is_sound for check in pair.embedded.check("staff"))
    assert {"enrol", "fill", "activate", "begin", "remove", "drop", "again"} <= pair.counts.keys()
    for store in pair.stores:
        store.close()
