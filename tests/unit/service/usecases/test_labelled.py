"""Rates of labelled probes, counted by hand: cosines are sides of triangles of three, four and five."""

import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, NewTemplates, Translation
from service.galleries.oracle import OracleGalleryStore
from service.usecases.labelled import Labelled, ProbesFigures, measure, threshold_at

OLD, NEW = Space("old", 4, "external:old"), Space("new", 4, "external:new")
Probes = list[tuple[str, list[float]]]
"""Whom they are of, and their features."""
NOTHING = [np.nan] * 4
MATED: Probes = [("ann", [0.8, 0.6, 0, 0]), ("bob", [0.8, 0.6, 0, 0]), ("cat", NOTHING), ("ann", [0.96, 0.28, 0, 0])]
"""The first is found at 0.8; the second finds ann first, and bob at 0.6; the last is found at 0.96."""
STRANGERS: Probes = [
    ("s1", [0.28, 0, 0.96, 0]),
    ("s2", [0.6, 0.8, 0, 0]),
    ("s3", [0.6, 0, 0, 0.8]),
    ("s4", [0, 0, 0, 1]),
]
"""They find somebody at 0.96, 0.8, 0.6 and 0."""


@pytest.fixture
def store() -> OracleGalleryStore:
    """Ann, bob and cat lie each on an axis of their own."""
    made = OracleGalleryStore()
    made.create("staff", OLD)
    rows = np.eye(4, dtype=np.float32)[:3]
    made.enrol("staff", NewTemplates(["ann", "bob", "cat"], rows, OLD, rows, OLD))
    return made


def measured(
    store: OracleGalleryStore,
    probes: Probes,
    fpir: float = 0.25,
    generation: tuple[int, Space] = (1, OLD),
) -> ProbesFigures:
    features: FloatArray = np.array([row for _, row in probes], dtype=np.float32).reshape(-1, 4)
    enrolled = {subject: not subject.startswith("s") for subject, _ in probes}
    labelled = Labelled([subject for subject, _ in probes], enrolled)
    return measure(store, "staff", generation, features, labelled=labelled, fpir=fpir)


@pytest.mark.parametrize(
    ("fpir", "threshold", "fnir"),
    [
        # One of four strangers is above 0.8; only the last of the mated is, the first is at it.
        (0.25, 0.8, 3 / 4),
        # Two are above 0.6; so are the first and the last.
        (0.5, 0.6, 2 / 4),
        # Three are above 0: all but the one that finds nobody.
        (0.75, 0.0, 1 / 4),
        (0.74, 0.6, 2 / 4),
        # A fifth of four is nobody.
        (0.2, None, None),
    ],
)
def test_misses_are_counted_above_the_threshold_that_strangers_give(
    store: OracleGalleryStore, fpir: float, threshold: float | None, fnir: float | None
) -> None:
    found = measured(store, [*MATED, *STRANGERS], fpir)
    assert (found.num_mated, found.num_non_mated, found.rank1, found.fpir) == (4, 4, 2 / 4, fpir)
    assert found.threshold == (None if threshold is None else pytest.approx(threshold))
    assert found.fnir == fnir


def test_the_order_of_probes_does_not_matter(store: OracleGalleryStore) -> None:
    everybody = [*MATED, *STRANGERS]
    assert measured(store, everybody[::-1]) == measured(store, everybody)


def test_of_many_probes_the_rates_are_the_same(store: OracleGalleryStore) -> None:
    found = measured(store, [*MATED, *STRANGERS] * 70)
    assert (found.num_mated, found.num_non_mated, found.rank1, found.fnir) == (280, 280, 0.5, 0.75)


def test_strangers_who_have_no_direction_find_nobody(store: OracleGalleryStore) -> None:
    # Of five, one is above 0.8 still.
    found = measured(store, [*MATED, *STRANGERS, ("s5", NOTHING)], 0.2)
    assert (found.num_non_mated, found.fnir) == (5, 0.75)
    assert found.threshold == pytest.approx(0.8)


def test_without_strangers_there_is_no_threshold_and_without_mated_probes_no_rank(store: OracleGalleryStore) -> None:
    assert measured(store, MATED) == ProbesFigures(4, 3, 0, 0.5, 0.25, None, None)
    found = measured(store, STRANGERS)
    assert (found.num_mated, found.num_non_mated, found.rank1, found.fnir) == (0, 4, None, None)
    assert found.threshold == pytest.approx(0.8)
    assert measured(store, []) == ProbesFigures(0, 0, 0, None, 0.25, None, None)


def test_who_is_not_among_ten_candidates_is_missed_however_high_the_score() -> None:
    store = OracleGalleryStore()
    store.create("staff", OLD)
    rows = np.tile(np.eye(4, dtype=np.float32)[:1], (11, 1))
    store.enrol("staff", NewTemplates(list("abcdefghijk"), rows, OLD, rows, OLD))
    found = measured(store, [("j", [1, 0, 0, 0]), ("k", [1, 0, 0, 0]), ("a", [1, 0, 0, 0]), *STRANGERS[-1:] * 4])
    assert (found.rank1, found.threshold, found.fnir) == (1 / 3, 0.0, 1 / 3)


def test_either_generation_is_asked_by_its_number(store: OracleGalleryStore) -> None:
    """In the new one ann and bob have changed places, and cat is not there."""
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    rows = np.array([[0, 1, 0, 0], [1, 0, 0, 0], NOTHING], dtype=np.float32)
    store.generations.fill("staff", number, store.generations.chunk("staff", number), [Translation(rows, ("a-b",))])
    probes: Probes = [*MATED, ("cat", [0, 0, 1, 0]), *STRANGERS]
    before, after = (measured(store, probes, 0.5, generation) for generation in ((1, OLD), (number, NEW)))
    assert (before.rank1, before.fnir) == (3 / 5, 2 / 5)
    # Strangers find somebody at 0.28, 0.8, 0.6 and 0: two above 0.28. Ann is found at 0.6 and 0.28, bob at 0.8.
    assert (after.rank1, after.fnir) == (1 / 5, 3 / 5)
    assert after.threshold == pytest.approx(0.28)


@pytest.mark.parametrize(
    ("scores", "fpir", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0.25, 0.3),
        # At 0.3 two would be above.
        ([0.4, 0.4, 0.3, 0.2], 0.25, 0.4),
        ([0.4, 0.3, 0.3, 0.3], 0.25, 0.3),
        ([0.4, 0.3, 0.3, 0.3], 0.5, 0.3),
        ([0.4] * 100, 0.01, 0.4),
        ([n / 100 for n in range(100)], 0.01, 0.98),
        # 100 times 0.29 is less than 29 in floating point.
        ([n / 100 for n in range(100)], 0.29, 0.7),
        ([n / 100 for n in range(99)], 0.01, None),
        ([0.5], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_the_threshold_is_the_lowest_score_above_which_few_enough_lie(
    scores: list[float], fpir: float, expected: float | None
) -> None:
    found = threshold_at(scores, fpir)
    assert found == (None if expected is None else pytest.approx(expected))
    if found is not None:
        share = {one: sum(score > one for score in scores) / len(scores) for one in scores}
        assert min(one for one in scores if share[one] <= fpir) == found
