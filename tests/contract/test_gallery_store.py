"""What every gallery store must do: one suite over all adapters, then the fast ones against the oracle.

Shapes: B probes, G templates, D dimension.
"""

import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.space import Space
from service.entities import Answer, Candidate, Density, FloatArray, Metadata, NewTemplates, Once, Side, Template
from service.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    EngineError,
    FacebridgeError,
    GenerationChangedError,
    InvalidInputError,
    InvalidNameError,
    NonFiniteVectorError,
    NotFoundError,
    SpaceMismatchError,
    ZeroNormVectorError,
)
from service.galleries.codes import CodedBlock
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.oracle import OracleGalleryStore
from service.galleries.port import Condition, GalleryStore, Project, Where
from service.galleries.segments import Segment

PLANE = Space("plane", 2, "external:plane")
OTHER_PLANE = Space("other-plane", 2, "external:other")
SOLID = Space("solid", 3, "external:solid")

OPERATIONS = int(os.environ.get("FACEBRIDGE_OPERATIONS", "250"))
HERE = Side(PLANE.fingerprint)
"""Of native templates."""
THERE = Side(SOLID.fingerprint, ("solid-to-plane",))

EAST, NORTH, NORTH_EAST = (1.0, 0.0), (0.0, 1.0), (0.6, 0.8)
UP = (0.0, 0.0, 1.0)
_NO_ROWS = np.empty((0, 2), dtype=np.float32)
NOTHING = NewTemplates([], _NO_ROWS, PLANE, _NO_ROWS, PLANE)


@pytest.fixture(params=["oracle", "embedded"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GalleryStore]:
    opened: GalleryStore = OracleGalleryStore() if request.param == "oracle" else EmbeddedGalleryStore(tmp_path)
    yield opened
    opened.close()


def vector(*numbers: float) -> FloatArray:
    return np.array(numbers, dtype=np.float32)


@dataclass(frozen=True)
class One:
    """A template to enrol."""

    subject: str
    original: FloatArray
    original_space: Space
    feature: FloatArray
    space: Space
    route: tuple[str, ...] = ()
    key: str | None = None
    metadata: Metadata | None = None


def native(
    subject: str,
    feature: tuple[float, ...] | FloatArray,
    space: Space = PLANE,
    *,
    key: str | None = None,
    metadata: Metadata | None = None,
) -> One:
    feature_D = np.asarray(feature, dtype=np.float32)
    return One(subject, feature_D, space, feature_D, space, key=key, metadata=metadata)


def translated(subject: str, original: tuple[float, ...], feature: tuple[float, ...]) -> One:
    return One(subject, vector(*original), SOLID, vector(*feature), PLANE, ("solid-to-plane",))


def batch(ones: Sequence[One]) -> NewTemplates:
    """Those of one origin in columns."""
    first = ones[0]
    return NewTemplates(
        [one.subject for one in ones],
        np.stack([one.original for one in ones]),
        first.original_space,
        np.stack([one.feature for one in ones]),
        first.space,
        first.route,
        keys=[one.key for one in ones],
        metadata=[one.metadata for one in ones],
    )


def enrolled(store: GalleryStore, name: str, ones: Sequence[One], *, replaces: bool = False) -> list[str]:
    """Enrol templates in the order given, as many at once as came the same way."""
    groups = groupby(ones, key=lambda one: (one.original_space, one.space, one.route))
    return [
        template_id
        for _, group in groups
        for template_id in store.enrol(name, batch(list(group)), replaces=replaces).template_ids
    ]


def found(store: GalleryStore, name: str, probe: tuple[float, ...], top_k: int = 10) -> list[tuple[str, float]]:
    (candidates,) = store.search(name, vector(*probe)[None], store.get(name).space, top_k).candidates
    return [(candidate.subject, candidate.score) for candidate in candidates]


def all_templates(store: GalleryStore, name: str, limit: int = 3, subject: str | None = None) -> list[Template]:
    templates: list[Template] = []
    after: int | None = 0
    while after is not None:
        page = store.templates(name, after=after, limit=limit, subject=subject)
        templates += page.templates
        after = page.next_after
    return templates


def test_a_new_gallery_is_empty_and_in_generation_one(store: GalleryStore) -> None:
    gallery = store.create("staff", PLANE)
    assert (gallery.name, gallery.space, gallery.generation) == ("staff", PLANE, 1)
    assert (gallery.num_templates, gallery.num_subjects) == (0, 0)
    assert gallery == store.get("staff")
    assert found(store, "staff", EAST) == []
    assert store.templates("staff").templates == ()


def test_a_name_can_be_taken_once(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    with pytest.raises(AlreadyExistsError):
        store.create("staff", SOLID)
    assert store.get("staff").space == PLANE


def test_galleries_are_listed_by_name(store: GalleryStore) -> None:
    for name in ("visitors", "staff", "2024"):
        store.create(name, PLANE)
    assert [gallery.name for gallery in store.list_galleries()] == ["2024", "staff", "visitors"]


def test_a_gallery_keeps_its_own_name_of_a_space_that_has_two(store: GalleryStore) -> None:
    same_by_another_name = Space("renamed", 2, PLANE.encoder)
    store.create("staff", PLANE)
    store.create("visitors", same_by_another_name)
    enrolled(store, "visitors", [native("ann", EAST)])
    assert store.get("visitors").space.name == "renamed"
    assert store.templates("visitors").templates[0].space == same_by_another_name.fingerprint == PLANE.fingerprint


def test_probes_made_for_the_space_that_the_gallery_had_before_are_refused(store: GalleryStore) -> None:
    store.create("staff", OTHER_PLANE)
    enrolled(store, "staff", [native("ann", EAST, OTHER_PLANE)])
    with pytest.raises(SpaceMismatchError):
        store.search("staff", vector(*EAST)[None], PLANE, 1)


def test_a_translated_template_made_for_another_space_is_refused(store: GalleryStore) -> None:
    store.create("staff", OTHER_PLANE)
    with pytest.raises(SpaceMismatchError):
        enrolled(store, "staff", [translated("ann", (0.0, 0.0, 1.0), EAST)])


def test_every_call_on_a_missing_gallery_says_not_found(store: GalleryStore) -> None:
    with pytest.raises(NotFoundError):
        store.get("staff")
    with pytest.raises(NotFoundError):
        store.drop("staff")
    with pytest.raises(NotFoundError):
        store.enrol("staff", NOTHING)
    with pytest.raises(NotFoundError):
        store.templates("staff")
    with pytest.raises(NotFoundError):
        store.remove_template("staff", "0" * 32)
    with pytest.raises(NotFoundError):
        store.remove_subject("staff", "ann")
    with pytest.raises(NotFoundError):
        store.search("staff", vector(*EAST)[None], PLANE, 1)


def test_a_dropped_gallery_leaves_nothing_to_one_of_the_same_name(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    (template_id,) = enrolled(store, "staff", [native("ann", EAST)])
    enrolled(store, "visitors", [native("bob", EAST)])
    store.drop("staff")
    with pytest.raises(NotFoundError):
        store.get("staff")
    gallery = store.create("staff", SOLID)
    assert (gallery.space, gallery.num_templates, gallery.num_subjects) == (SOLID, 0, 0)
    assert found(store, "staff", (1.0, 0.0, 0.0)) == []
    with pytest.raises(NotFoundError):
        store.remove_template("staff", template_id)
    assert found(store, "visitors", EAST) == [("bob", 1.0)]


def test_enrolling_counts_templates_and_subjects(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    ids = enrolled(store, "staff", [native("ann", EAST), native("bob", NORTH), native("ann", NORTH_EAST)])
    gallery = store.get("staff")
    assert (gallery.num_templates, gallery.num_subjects) == (3, 2)
    assert len(set(ids)) == 3
    assert all(len(template_id) == 32 and int(template_id, 16) >= 0 for template_id in ids)


def test_enrolling_nothing_is_allowed(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    assert store.enrol("staff", NOTHING).template_ids == ()


def test_templates_are_told_without_vectors_in_order_of_enrolment(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    ids = enrolled(store, "staff", [native("bob", EAST), translated("ann", (0.0, 0.0, 1.0), NORTH)])
    bob, ann = store.templates("staff").templates
    assert (bob.template_id, bob.subject, bob.space, bob.route) == (ids[0], "bob", PLANE.fingerprint, ())
    assert (ann.template_id, ann.subject, ann.space, ann.route) == (
        ids[1],
        "ann",
        SOLID.fingerprint,
        ("solid-to-plane",),
    )
    assert bob.enrolled_at <= ann.enrolled_at


def test_pages_join_without_gap_or_overlap_and_the_last_says_so(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    ids = enrolled(store, "staff", [native(f"subject-{number % 2}", EAST) for number in range(6)])
    for limit in (1, 2, 5, 6, 7):
        assert [template.template_id for template in all_templates(store, "staff", limit)] == ids
    assert store.templates("staff", limit=6).next_after is None
    assert store.templates("staff", limit=5).next_after is not None
    of_one = all_templates(store, "staff", limit=2, subject="subject-1")
    assert [template.template_id for template in of_one] == ids[1::2]
    assert store.templates("staff", subject="nobody").templates == ()


def test_a_page_goes_on_after_the_template_it_ended_with_was_removed(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    ids = enrolled(store, "staff", [native("ann", EAST) for _ in range(4)])
    page = store.templates("staff", limit=2)
    assert page.next_after is not None
    store.remove_template("staff", ids[1])
    rest = store.templates("staff", after=page.next_after, limit=2)
    assert [template.template_id for template in rest.templates] == ids[2:]


def refused(templates: Sequence[One], error: type[FacebridgeError], store: GalleryStore) -> None:
    store.create("staff", PLANE)
    with pytest.raises(error):
        store.enrol("staff", batch(templates))
    assert store.get("staff").num_templates == 0
    assert store.templates("staff").templates == ()
    assert found(store, "staff", EAST) == []


def test_enrol_refuses_a_native_template_of_another_space_and_keeps_none(store: GalleryStore) -> None:
    refused([native("bob", EAST, OTHER_PLANE)], SpaceMismatchError, store)


def test_enrol_refuses_a_feature_of_another_dimension_and_keeps_none(store: GalleryStore) -> None:
    refused([translated("bob", UP, UP)], DimensionMismatchError, store)


def test_enrol_refuses_an_original_of_another_dimension_than_its_space(store: GalleryStore) -> None:
    refused([translated("bob", EAST, EAST)], DimensionMismatchError, store)


def test_enrol_refuses_a_native_feature_of_another_dimension(store: GalleryStore) -> None:
    refused([native("bob", UP)], DimensionMismatchError, store)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_enrol_refuses_a_vector_that_is_not_finite(store: GalleryStore, number: float) -> None:
    refused([translated("ann", UP, EAST), translated("bob", (number, 0.0, 0.0), EAST)], NonFiniteVectorError, store)


def test_enrol_refuses_a_vector_that_is_not_of_length_one(store: GalleryStore) -> None:
    refused([native("ann", EAST), native("bob", (2.0, 0.0))], InvalidInputError, store)


def test_removing_a_template_leaves_the_others(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    first, second = enrolled(store, "staff", [native("ann", EAST), native("ann", NORTH)])
    store.remove_template("staff", first)
    assert found(store, "staff", EAST) == [("ann", 0.0)]
    assert [template.template_id for template in store.templates("staff").templates] == [second]
    with pytest.raises(NotFoundError):
        store.remove_template("staff", first)
    store.remove_template("staff", second)
    assert (store.get("staff").num_templates, store.get("staff").num_subjects) == (0, 0)
    assert found(store, "staff", EAST) == []


def test_a_template_is_not_removed_through_another_gallery(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    (template_id,) = enrolled(store, "staff", [native("ann", EAST)])
    with pytest.raises(NotFoundError):
        store.remove_template("visitors", template_id)
    assert found(store, "staff", EAST) == [("ann", 1.0)]


def test_removing_a_subject_says_how_many_templates_it_had(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST), native("bob", NORTH), native("ann", NORTH_EAST)])
    assert store.remove_subject("staff", "ann") == 2
    assert found(store, "staff", EAST) == [("bob", 0.0)]
    assert (store.get("staff").num_templates, store.get("staff").num_subjects) == (1, 1)
    with pytest.raises(NotFoundError):
        store.remove_subject("staff", "ann")


def test_search_ranks_subjects_by_their_best_template(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    ids = enrolled(store, "staff", [native("ann", (-1.0, 0.0)), native("bob", (0.8, 0.6)), native("ann", EAST)])
    result = store.search("staff", np.stack([vector(*EAST), vector(*NORTH)]), PLANE, 2)
    eight_tenths, six_tenths = float(np.float32(0.8)), float(np.float32(0.6))
    assert result.generation == 1
    assert result.candidates[0] == (Candidate("ann", 1.0, ids[2], HERE), Candidate("bob", eight_tenths, ids[1], HERE))
    assert result.candidates[1] == (Candidate("bob", six_tenths, ids[1], HERE), Candidate("ann", 0.0, ids[0], HERE))


def test_search_compares_with_the_translated_feature_and_not_the_original(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [translated("ann", (1.0, 0.0, 0.0), NORTH)])
    assert found(store, "staff", NORTH) == [("ann", 1.0)]


def test_each_origin_of_templates_may_be_searched_by_itself(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    came = (1.0, 0.0, 0.0)
    enrolled(store, "staff", [native("ann", EAST), translated("ann", came, NORTH), translated("bob", came, NORTH_EAST)])
    enrolled(store, "staff", [native("zoe", EAST)])
    together = store.search("staff", vector(*NORTH)[None], PLANE, 2)
    apart = store.search("staff", vector(*NORTH)[None], PLANE, 2, by_origin=True)
    assert (together.num_templates, apart.num_templates) == (4, 4)
    eight_tenths = float(np.float32(0.8))
    assert [(c.subject, c.score, c.origin) for c in together.candidates[0]] == [
        ("ann", 1.0, THERE),
        ("bob", eight_tenths, THERE),
    ]
    assert {(c.subject, c.score, c.origin) for c in apart.candidates[0]} == {
        ("ann", 1.0, THERE),
        ("bob", eight_tenths, THERE),
        ("ann", 0.0, HERE),
        ("zoe", 0.0, HERE),
    }


def test_equal_scores_are_ordered_by_subject_and_name_the_first_enrolled_template(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    ids = enrolled(store, "staff", [native(subject, EAST) for subject in ("zoe", "bob", "ann", "bob", "ann")])
    (candidates,) = store.search("staff", vector(*EAST)[None], PLANE, 2).candidates
    assert candidates == (Candidate("ann", 1.0, ids[2], HERE), Candidate("bob", 1.0, ids[1], HERE))


def test_search_gives_as_many_candidates_as_there_are_subjects_at_most(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST), native("bob", NORTH)])
    assert len(found(store, "staff", EAST, top_k=1)) == 1
    assert len(found(store, "staff", EAST, top_k=1000)) == 2


def test_a_subject_with_a_crowd_of_templates_does_not_hide_the_next(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST) for _ in range(300)] + [native("bob", NORTH)])
    assert found(store, "staff", EAST, top_k=2) == [("ann", 1.0), ("bob", 0.0)]


def test_a_search_without_probes_has_no_answers(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST)])
    assert store.search("staff", np.empty((0, 2), dtype=np.float32), PLANE, 1).candidates == ()


def test_search_refuses_probes_of_another_dimension(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    with pytest.raises(DimensionMismatchError):
        store.search("staff", vector(1.0, 0.0, 0.0)[None], PLANE, 1)
    with pytest.raises(DimensionMismatchError):
        store.search("staff", vector(*EAST), PLANE, 1)


def test_search_refuses_probes_that_are_not_finite(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST)])
    with pytest.raises(NonFiniteVectorError):
        store.search("staff", vector(np.nan, 0.0)[None], PLANE, 1)


def random_units(rng: np.random.Generator, num_rows: int, dimension: int) -> FloatArray:
    raw_GD = rng.standard_normal((num_rows, dimension))
    unit_GD: npt.NDArray[np.float32] = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return unit_GD


class Twins:
    """The embedded store and the oracle, put through the same; `same_id` maps the oracle's template ids to the other's."""

    def __init__(self, folder: Path, rng: np.random.Generator, dimension: int) -> None:
        self.folder, self.rng = folder, rng
        self.embedded, self.oracle = EmbeddedGalleryStore(folder), OracleGalleryStore()
        self.same_id: dict[str, str] = {}
        self.snapshots: list[tuple[str, str, str]] = []
        """Of which gallery, and what the oracle and the other call it."""
        self.space = Space("random", dimension, "external:random")
        # Few directions, so that exact duplicates and ties are many.
        self.directions = random_units(rng, 12, dimension)

    def some_unit(self) -> FloatArray:
        near: FloatArray = self.directions[self.rng.integers(len(self.directions))]
        if self.rng.random() < 0.6:
            return near
        # A neighbour so close that float32 products cannot order the two.
        moved = near.astype(np.float64) + 1e-7 * self.rng.standard_normal(len(near))
        unit: FloatArray = (moved / np.linalg.norm(moved)).astype(np.float32)
        return unit

    def some_template(self) -> One:
        subject = f"subject-{self.rng.integers(9)}"
        metadata: Metadata = {"site": ("north", "south")[self.rng.integers(2)], "year": int(self.rng.integers(5))}
        if self.rng.random() < 0.7:
            return native(subject, self.some_unit(), self.space, metadata=metadata if self.rng.random() < 0.6 else None)
        return One(subject, vector(0.0, 1.0, 0.0), SOLID, self.some_unit(), self.space, ("bridge",), metadata=metadata)

    def enrol(self, name: str) -> None:
        self.enrol_these(name, [self.some_template() for _ in range(self.rng.integers(1, 9))])

    def put(self, name: str) -> None:
        keys = [f"key-{number}" for number in self.rng.choice(8, size=self.rng.integers(1, 4), replace=False)]
        self.enrol_these(name, [replace(self.some_template(), key=key) for key in keys], replaces=True)

    def enrol_these(self, name: str, templates: list[One], *, replaces: bool = False) -> None:
        ours, truth = (enrolled(store, name, templates, replaces=replaces) for store in (self.embedded, self.oracle))
        self.same_id.update(zip(truth, ours, strict=True))

    def erase(self, name: str) -> None:
        subjects = [f"subject-{number}" for number in self.rng.choice(10, size=self.rng.integers(1, 3), replace=False)]
        ours, truth = (
            [(one.subject, one.num_templates, one.num_snapshots) for one in store.erase(name, subjects)]
            for store in (self.embedded, self.oracle)
        )
        assert ours == truth

    def snapshot(self, name: str) -> None:
        truth, ours = self.oracle.take_snapshot(name), self.embedded.take_snapshot(name)
        assert (ours.num_templates, ours.num_subjects) == (truth.num_templates, truth.num_subjects)
        self.snapshots.append((name, truth.snapshot_id, ours.snapshot_id))
        if len(self.snapshots) > 4:
            other, first, second = self.snapshots.pop(0)
            self.oracle.remove_snapshot(other, first)
            self.embedded.remove_snapshot(other, second)

    def restore(self, name: str) -> None:
        of_this = [(first, second) for other, first, second in self.snapshots if other == name]
        if of_this:
            first, second = of_this[self.rng.integers(len(of_this))]
            self.oracle.restore(name, first)
            self.embedded.restore(name, second)

    def remove_template(self, name: str) -> None:
        templates = all_templates(self.oracle, name)
        if templates:
            template_id = templates[self.rng.integers(len(templates))].template_id
            self.oracle.remove_template(name, template_id)
            self.embedded.remove_template(name, self.same_id[template_id])

    def remove_subject(self, name: str) -> None:
        templates = all_templates(self.oracle, name)
        if templates:
            subject = templates[self.rng.integers(len(templates))].subject
            assert self.oracle.remove_subject(name, subject) == self.embedded.remove_subject(name, subject)

    def replace(self, name: str) -> None:
        for store in (self.oracle, self.embedded):
            store.drop(name)
            store.create(name, self.space)

    def reopen(self) -> None:
        self.embedded.close()
        self.embedded = EmbeddedGalleryStore(self.folder)

    def assert_alike(self, name: str) -> None:
        ours, truth = self.embedded.get(name), self.oracle.get(name)
        assert (ours.num_templates, ours.num_subjects) == (truth.num_templates, truth.num_subjects)
        size = int(self.rng.integers(1, 100))
        listed, expected = (
            [(t.template_id, t.subject, t.space, t.route, t.key, t.metadata) for t in all_templates(store, name, size)]
            for store in (self.embedded, self.oracle)
        )
        assert listed == [(self.same_id[template_id], *others) for template_id, *others in expected]
        probes_BD = np.stack([self.some_unit() for _ in range(3)])
        top_k = int(self.rng.integers(1, 12))
        self.assert_same_candidates(name, probes_BD, top_k)

    def some_density(self) -> Density | None:
        """By which three features are one probe, or three."""
        sigma = float(self.rng.choice([1e-3, 0.1, 0.4, 5.0, 1e3]))
        return (None, Density(1, sigma), Density(3, sigma))[self.rng.integers(3)]

    def assert_same_candidates(self, name: str, probes_BD: FloatArray, top_k: int) -> None:
        wheres: list[Where | None] = [None, {"site": Condition(any_of=("north",)), "year": Condition(at_least=2)}]
        wheres.append({"year": Condition(at_most=2, or_missing=True)})
        keys = [f"key-{number}" for number in self.rng.choice(8, size=3)]
        ways = list(product((False, True), wheres, ([], keys)))
        for by_origin, where, without in [ways[number] for number in self.rng.integers(len(ways), size=2)]:
            asked: Any = {"by_origin": by_origin, "where": where, "without": without, "density": self.some_density()}
            truth = self.oracle.search(name, probes_BD, self.space, top_k, **asked)
            expected = tuple(
                tuple(replace(c, template_id=self.same_id[c.template_id]) for c in candidates)
                for candidates in truth.candidates
            )
            found = self.embedded.search(name, probes_BD, self.space, top_k, **asked)
            assert found == replace(truth, candidates=expected)


@pytest.mark.parametrize("dimension", [4, 64])
def test_after_any_operations_the_embedded_store_answers_as_the_oracle(tmp_path: Path, dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    twins = Twins(tmp_path, rng, dimension)
    names = ("staff", "visitors")
    for store in (twins.oracle, twins.embedded):
        for name in names:
            store.create(name, twins.space)
    shares = {
        twins.enrol: 0.44,
        twins.put: 0.12,
        twins.remove_template: 0.22,
        twins.remove_subject: 0.1,
        twins.replace: 0.03,
        twins.erase: 0.03,
        twins.snapshot: 0.03,
        twins.restore: 0.03,
    }
    operations, largest = list(shares), 0
    for _ in range(OPERATIONS):
        name = names[rng.integers(2)]
        operations[rng.choice(len(operations), p=list(shares.values()))](name)
        if rng.random() < 0.04:
            twins.reopen()
        twins.assert_alike(name)
        largest = max(largest, twins.oracle.get(name).num_templates)
    assert largest > 40
    twins.embedded.close()
    sys.stdout.write(f"{OPERATIONS} operations on features of {dimension} numbers: no difference\n")


def test_over_ten_thousand_templates_the_embedded_store_finds_the_oracles_candidates(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    twins = Twins(tmp_path, rng, 128)
    centres_GD = random_units(rng, 4000, 128)
    features_GD = random_units(rng, 10_000, 128) * 0.7 + centres_GD[rng.integers(4000, size=10_000)]
    features_GD /= np.linalg.norm(features_GD, axis=1, keepdims=True)
    features_GD[-500:] = features_GD[:500]
    templates = [native(f"subject-{rng.integers(4000)}", feature_D, twins.space) for feature_D in features_GD]
    for store in (twins.oracle, twins.embedded):
        store.create("staff", twins.space)
    twins.same_id.update(
        zip(enrolled(twins.oracle, "staff", templates), enrolled(twins.embedded, "staff", templates), strict=True)
    )
    probes_BD = np.concatenate([features_GD[:50], centres_GD[:100], random_units(rng, 50, 128)])
    truth = twins.oracle.search("staff", probes_BD, twins.space, 50).candidates
    for top_k in (1, 5, 50):
        expected = tuple(
            tuple(replace(c, template_id=twins.same_id[c.template_id]) for c in candidates[:top_k])
            for candidates in truth
        )
        assert twins.embedded.search("staff", probes_BD, twins.space, top_k).candidates == expected
    twins.embedded.close()


def density_of(probe: Sequence[FloatArray], template: FloatArray, sigma: float) -> float:
    """On the scale of cosines, number by number."""
    cosines = [math.fsum(float(a) * float(b) for a, b in zip(one, template, strict=True)) for one in probe]
    return 1 + sigma**2 * math.log(math.fsum(math.exp((one - 1) / sigma**2) for one in cosines) / len(cosines))


@pytest.mark.parametrize("sigma", [0.15, 0.4, 2.0])
def test_a_probe_of_several_features_ranks_subjects_by_density(store: GalleryStore, sigma: float) -> None:
    rng = np.random.default_rng(1)
    space = Space("random", 8, "external:random")
    features_GD, probes_BD = random_units(rng, 60, 8), random_units(rng, 12, 8)
    subjects = [f"subject-{number}" for number in rng.integers(20, size=60)]
    store.create("staff", space)
    ids = enrolled(store, "staff", [native(*one, space) for one in zip(subjects, features_GD, strict=True)])
    result = store.search("staff", probes_BD, space, 6, density=Density(4, sigma))
    assert (result.num_templates, len(result.candidates)) == (60, 3)
    for place, candidates in enumerate(result.candidates):
        probe = list(probes_BD[4 * place : 4 * place + 4])
        scores = [density_of(probe, feature_D, sigma) for feature_D in features_GD]
        best: dict[str, tuple[float, str]] = {}
        for subject, score, template_id in zip(subjects, scores, ids, strict=True):
            best[subject] = max(best.get(subject, (-2.0, "")), (score, template_id))
        ranked = sorted(((score, subject, template_id) for subject, (score, template_id) in best.items()), reverse=True)
        assert [(c.subject, c.template_id) for c in candidates] == [one[1:] for one in ranked[:6]]
        assert [c.score for c in candidates] == pytest.approx([one[0] for one in ranked[:6]], abs=1e-6)


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 1e3])
def test_by_density_of_one_feature_is_by_cosine(store: GalleryStore, sigma: float) -> None:
    rng = np.random.default_rng(2)
    space = Space("random", 8, "external:random")
    store.create("staff", space)
    enrolled(store, "staff", [native(f"s{row % 9}", one, space) for row, one in enumerate(random_units(rng, 40, 8))])
    probes_BD = random_units(rng, 5, 8)
    plain = store.search("staff", probes_BD, space, 7)
    assert store.search("staff", probes_BD, space, 7, density=Density(1, sigma)) == plain


def test_who_is_near_to_all_features_is_found_though_nearest_to_none(store: GalleryStore) -> None:
    space = Space("random", 16, "external:random")
    axes = np.eye(16, dtype=np.float32)
    # Of each feature fifty are at a cosine of 0.8, who have nothing of the others.
    beside = [
        native(f"{axis}-{row}", 0.8 * axes[axis] + 0.6 * axes[4 + row % 12], space)
        for axis in range(3)
        for row in range(50)
    ]
    store.create("staff", space)
    enrolled(store, "staff", [*beside, native("between", axes[:3].sum(axis=0) / np.float32(3**0.5), space)])
    (near_all, *_) = store.search("staff", axes[:3], space, 1, density=Density(3, 1.0)).candidates[0]
    assert near_all.subject == "between"
    assert near_all.score == pytest.approx(3**-0.5)
    for candidates in store.search("staff", axes[:3], space, 50).candidates:
        assert "between" not in {candidate.subject for candidate in candidates}
    # One feature decides alone where kernels are narrow.
    assert store.search("staff", axes[:3], space, 1, density=Density(3, 0.05)).candidates[0][0].subject == "0-0"


def test_by_density_templates_are_meant_and_left_out_as_by_cosine(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    north: Metadata = {"site": "north"}
    ann, bob = native("ann", EAST, key="a"), native("bob", NORTH_EAST, key="b", metadata=north)
    ids = enrolled(store, "staff", [ann, bob, replace(translated("eve", UP, NORTH_EAST), metadata=north)])
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned})
    probe = np.stack([vector(*EAST), vector(*NORTH_EAST)])

    def subjects(space: Space = PLANE, features_BD: FloatArray = probe, **asked: Any) -> list[str]:
        (candidates,) = store.search("staff", features_BD, space, 2, density=Density(2, 1.0), **asked).candidates
        return [candidate.subject for candidate in candidates]

    waited: list[bool] = []
    assert subjects() == ["ann", "bob"]
    assert subjects(generation=1, between=lambda: waited.append(True)) == ["ann", "bob"]
    assert waited
    assert sorted(subjects(by_origin=True)) == ["ann", "bob", "eve"]
    assert subjects(where={"site": Condition(any_of=("north",))}) == ["bob", "eve"]
    assert subjects(without=["a"]) == ["bob", "eve"]
    assert subjects(without_ids=ids[1:2]) == ["ann", "eve"]
    assert subjects(OTHER_PLANE, turned(probe)) == ["ann", "bob"]
    store.remove_subject("staff", "ann")
    assert subjects() == ["bob", "eve"]
    assert store.search("staff", probe[:0], PLANE, 2, density=Density(2, 1.0)).candidates == ()


@pytest.mark.parametrize("density", [Density(3, 0.3), Density(0, 0.3), Density(-2, 0.3)])
def test_search_refuses_features_that_make_no_whole_probes(store: GalleryStore, density: Density) -> None:
    store.create("staff", PLANE)
    with pytest.raises(InvalidInputError, match="4 features are no probes"):
        store.search("staff", random_units(np.random.default_rng(0), 4, 2), PLANE, 1, density=density)


@pytest.mark.parametrize("sigma", [0.0, -0.3, math.nan, math.inf, 1e-4, 1e4])
def test_search_refuses_what_is_no_width_of_a_kernel(store: GalleryStore, sigma: float) -> None:
    store.create("staff", PLANE)
    with pytest.raises(InvalidInputError, match="sigma"):
        store.search("staff", np.stack([vector(*EAST)] * 2), PLANE, 1, density=Density(2, sigma))


def test_scores_that_are_cut_at_minus_one_are_equal_whatever_their_float32_products(store: GalleryStore) -> None:
    """All are of length one but for less than what is let through."""
    store.create("staff", PLANE)
    lengths = [1.0004, *np.linspace(1.0001, 1.0003, 40)]
    enrolled(store, "staff", [native(f"s{row:02}", (-length, 0.0)) for row, length in enumerate(lengths)])
    for density in (None, Density(2, 0.3)):
        probe = np.stack([vector(*EAST)] * (density.num_samples if density else 1))
        (candidates,) = store.search("staff", probe, PLANE, 2, density=density).candidates
        assert [(c.subject, c.score) for c in candidates] == [("s00", -1.0), ("s01", -1.0)]


@pytest.mark.parametrize("num_samples", [2, 5, 30])
def test_over_several_segments_densities_are_those_of_the_oracle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_samples: int
) -> None:
    monkeypatch.setattr("service.galleries.segments.SEGMENT_BYTES", 4 * 32 * 150)
    monkeypatch.setattr("service.galleries.densest._SCORES_AT_ONCE", 400)
    monkeypatch.setattr("service.galleries.codes._BLOCK_BYTES", 32 * 64)
    looked_at: list[int] = []
    of_block = Segment.coded

    def coded(self: Segment, block: int) -> CodedBlock:
        looked_at.append(block)
        return of_block(self, block)

    monkeypatch.setattr(Segment, "coded", coded)
    rng = np.random.default_rng(num_samples)
    twins = Twins(tmp_path, rng, 32)
    for store in (twins.oracle, twins.embedded):
        store.create("staff", twins.space)
    features_GD = random_units(rng, 900, 32)
    features_GD[700:] = features_GD[:200]
    sites: list[Metadata] = [{"site": "north", "year": year} for year in range(5)]
    twins.enrol_these(
        "staff",
        [
            native(f"s{rng.integers(300)}", one, twins.space, metadata=sites[row % 5])
            for row, one in enumerate(features_GD)
        ],
    )
    twins.enrol_these("staff", [replace(twins.some_template(), key=f"key-{number}") for number in range(8)])
    # Known as bytes before some of them are removed.
    monkeypatch.setattr(twins, "some_density", lambda: Density(num_samples, 0.2))
    twins.assert_same_candidates("staff", np.repeat(features_GD[:3], num_samples, axis=0), 5)
    assert set(looked_at) == {0, 1}
    for number in rng.choice(300, size=60, replace=False):
        if any(template.subject == f"s{number}" for template in all_templates(twins.oracle, "staff", 1000)):
            assert twins.oracle.remove_subject("staff", f"s{number}") == twins.embedded.remove_subject(
                "staff", f"s{number}"
            )
    for spread, sigma in product((0.3, 1.0, 3.0), (0.01, 0.2, 1.0, 100.0)):
        centres_PD = features_GD[rng.integers(900, size=3)]
        raw_PMD = centres_PD[:, None] + spread * random_units(rng, 3 * num_samples, 32).reshape(3, num_samples, 32)
        probes_BD = (raw_PMD / np.linalg.norm(raw_PMD, axis=2, keepdims=True)).reshape(-1, 32).astype(np.float32)
        monkeypatch.setattr(twins, "some_density", lambda sigma=sigma: Density(num_samples, sigma))
        twins.assert_same_candidates("staff", probes_BD, int(rng.integers(1, 30)))
    twins.embedded.close()


def turned(rows_GD: FloatArray) -> FloatArray:
    """A quarter turn: east becomes north."""
    return np.stack([-rows_GD[:, 1], rows_GD[:, 0]], axis=1)


def found_in(store: GalleryStore, space: Space, probe: tuple[float, ...]) -> list[tuple[str, float]]:
    (candidates,) = store.search("staff", vector(*probe)[None], space, 10).candidates
    return [(candidate.subject, candidate.score) for candidate in candidates]


def test_a_gallery_is_searchable_in_another_space_before_and_after_enrolment(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST)])
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned})
    assert found_in(store, OTHER_PLANE, NORTH) == [("ann", 1.0)]
    enrolled(store, "staff", [native("bob", NORTH)])
    assert found_in(store, OTHER_PLANE, (-1.0, 0.0)) == [("bob", 1.0), ("ann", 0.0)]
    # In its own space nothing has changed.
    assert found(store, "staff", EAST) == [("ann", 1.0), ("bob", 0.0)]
    assert store.get("staff").space == PLANE


def test_candidates_name_the_same_templates_in_either_space(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    (first,) = enrolled(store, "staff", [native("ann", EAST)])
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned})
    (second,) = enrolled(store, "staff", [native("bob", NORTH)])
    (candidates,) = store.search("staff", vector(*NORTH)[None], OTHER_PLANE, 10).candidates
    assert [candidate.template_id for candidate in candidates] == [first, second]


def test_what_is_removed_is_removed_from_every_index(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    ids = enrolled(store, "staff", [native("ann", EAST), native("ann", NORTH), native("bob", NORTH_EAST)])
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned})
    store.remove_template("staff", ids[0])
    assert found_in(store, OTHER_PLANE, NORTH)[-1] == ("ann", 0.0)
    store.remove_subject("staff", "ann")
    assert [subject for subject, _ in found_in(store, OTHER_PLANE, NORTH)] == ["bob"]
    store.remove_subject("staff", "bob")
    assert found_in(store, OTHER_PLANE, NORTH) == []


def test_an_index_is_of_its_gallery_alone_and_goes_with_it(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned})
    with pytest.raises(SpaceMismatchError):
        store.search("visitors", vector(*EAST)[None], OTHER_PLANE, 1)
    store.drop("staff")
    store.create("staff", PLANE)
    with pytest.raises(SpaceMismatchError):
        store.search("staff", vector(*EAST)[None], OTHER_PLANE, 1)


def test_an_index_that_is_there_stays_as_it_is(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST)])
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned})
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: lambda rows: rows})
    assert found_in(store, OTHER_PLANE, NORTH) == [("ann", 1.0)]


def test_an_index_may_have_another_dimension(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST)])
    store.ensure_index("staff", SOLID, {PLANE.fingerprint: lambda rows: np.insert(rows, 2, 0.0, axis=1)})
    assert found_in(store, SOLID, (1.0, 0.0, 0.0)) == [("ann", 1.0)]
    with pytest.raises(DimensionMismatchError):
        store.search("staff", vector(*EAST)[None], SOLID, 1)


def test_an_index_from_another_space_is_refused(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    with pytest.raises(SpaceMismatchError):
        store.ensure_index("staff", SOLID, {OTHER_PLANE.fingerprint: turned})
    with pytest.raises(NotFoundError):
        store.ensure_index("nobody", OTHER_PLANE, {PLANE.fingerprint: turned})


BROKEN = [lambda rows: rows * 2, lambda rows: rows * np.nan, lambda rows: rows[:, :1], lambda rows: rows[1:]]


@pytest.mark.parametrize("project", BROKEN, ids=["long", "nan", "narrow", "short"])
def test_a_broken_projection_leaves_everything_as_it_was(store: GalleryStore, project: Project) -> None:
    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST)])
    with pytest.raises(EngineError):
        store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: project})
    with pytest.raises(SpaceMismatchError):
        store.search("staff", vector(*EAST)[None], OTHER_PLANE, 1)
    assert found(store, "staff", EAST) == [("ann", 1.0)]


def test_a_template_that_cannot_be_projected_is_named_and_removed_lets_the_index_be_made(store: GalleryStore) -> None:
    def project(rows_GD: FloatArray) -> FloatArray:
        if (rows_GD[:, 0] < 0).any():
            raise ZeroNormVectorError("no direction")
        return turned(rows_GD)

    store.create("staff", PLANE)
    enrolled(store, "staff", [native("ann", EAST)])
    (sick,) = enrolled(store, "staff", [native("bob", (-1.0, 0.0))])
    for _ in range(2):
        with pytest.raises(EngineError, match=f"template {sick} has no direction there; remove it"):
            store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: project})
    store.remove_template("staff", sick)
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: project})
    assert found_in(store, OTHER_PLANE, NORTH) == [("ann", 1.0)]


def test_what_cannot_be_projected_is_not_enrolled(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: lambda rows: np.where(rows[:, :1] > 0, rows, np.nan)})
    enrolled(store, "staff", [native("ann", EAST)])
    with pytest.raises(EngineError):
        enrolled(store, "staff", [native("bob", EAST), native("eve", (-1.0, 0.0))])
    assert store.get("staff").num_templates == 1
    assert found_in(store, OTHER_PLANE, EAST) == found(store, "staff", EAST) == [("ann", 1.0)]


def test_a_translated_template_is_projected_as_translated_where_its_own_space_has_no_projection(
    store: GalleryStore,
) -> None:
    store.create("staff", PLANE)
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned})
    enrolled(store, "staff", [translated("ann", (0.0, 0.0, 1.0), EAST)])
    assert found_in(store, OTHER_PLANE, NORTH) == [("ann", 1.0)]


def flattened(rows_GD: FloatArray) -> FloatArray:
    """Up becomes west."""
    return np.stack([rows_GD[:, 0] - rows_GD[:, 2], rows_GD[:, 1]], axis=1)


@pytest.mark.parametrize("enrolled_before", [True, False])
def test_a_translated_template_is_projected_from_its_original_where_its_own_space_has_a_projection(
    store: GalleryStore, enrolled_before: bool
) -> None:
    """Else translations pile up: what its encoder saw would come there by way of the gallery's space."""
    templates = [native("bob", EAST), translated("ann", (0.0, 0.0, 1.0), EAST), native("eve", NORTH)]
    store.create("staff", PLANE)
    if enrolled_before:
        enrolled(store, "staff", templates)
    store.ensure_index("staff", OTHER_PLANE, {PLANE.fingerprint: turned, SOLID.fingerprint: flattened})
    if not enrolled_before:
        enrolled(store, "staff", templates)
    assert found_in(store, OTHER_PLANE, NORTH) == [("bob", 1.0), ("ann", 0.0), ("eve", 0.0)]
    assert found_in(store, OTHER_PLANE, (-1.0, 0.0)) == [("ann", 1.0), ("eve", 1.0), ("bob", 0.0)]


def test_a_key_is_taken_once_in_its_gallery(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    store.enrol("staff", batch([native("ann", EAST, key="1.jpg"), native("ann", NORTH), native("bob", NORTH)]))
    with pytest.raises(AlreadyExistsError):
        store.enrol("staff", batch([native("eve", EAST, key="2.jpg"), native("eve", EAST, key="1.jpg")]))
    assert (store.get("staff").num_templates, store.get("staff").num_subjects) == (3, 2)
    store.enrol("visitors", batch([native("ann", EAST, key="1.jpg")]))
    assert [template.key for template in store.templates("staff").templates] == ["1.jpg", None, None]


def test_a_template_replaces_the_one_of_its_key_and_no_other(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    first = store.enrol("staff", batch([native("ann", EAST, key="1.jpg"), native("ann", NORTH, key="2.jpg")]))
    again = store.enrol(
        "staff", batch([native("bob", NORTH_EAST, key="1.jpg"), native("eve", EAST, key="3.jpg")]), replaces=True
    )
    assert (first.num_replaced, again.num_replaced) == (0, 1)
    assert found(store, "staff", EAST) == [("eve", 1.0), ("bob", float(np.float32(0.6))), ("ann", 0.0)]
    assert [(t.subject, t.key) for t in store.templates("staff").templates] == [
        ("ann", "2.jpg"),
        ("bob", "1.jpg"),
        ("eve", "3.jpg"),
    ]
    assert (store.get("staff").num_templates, store.get("staff").num_subjects) == (3, 3)
    with pytest.raises(NotFoundError):
        store.template("staff", first.template_ids[0])


def test_two_templates_of_one_key_are_refused_together(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    for replaces in (False, True):
        with pytest.raises(InvalidInputError) as refusal:
            store.enrol("staff", batch([native("ann", EAST, key="k"), native("bob", EAST, key="k")]), replaces=replaces)
        assert [row for row, _ in refusal.value.rows] == [1]
    assert store.get("staff").num_templates == 0


def test_a_key_is_free_again_after_its_template_was_removed(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    (template_id,) = store.enrol("staff", batch([native("ann", EAST, key="k")])).template_ids
    store.remove_template("staff", template_id)
    assert store.enrol("staff", batch([native("bob", EAST, key="k")])).num_replaced == 0
    store.remove_subject("staff", "bob")
    store.enrol("staff", batch([native("eve", EAST, key="k")]))


def test_what_is_wrong_with_single_rows_is_told_by_row(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    bad = [native("ann", EAST), native("bob", (2.0, 0.0)), native("eve", NORTH), native("joe", (0.0, 3.0))]
    with pytest.raises(InvalidInputError) as refusal:
        store.enrol("staff", batch(bad))
    assert refusal.value.rows == ((1, "not of length one"), (3, "not of length one"))


def test_all_that_is_known_of_a_template_is_told(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    one = translated("ann", UP, EAST)
    templates = replace(
        batch([one, replace(one, subject="bob")]),
        confidence=vector(0.5, np.nan),
        norm=vector(np.nan, 21.5),
        metadata=[{"site": "north", "year": 2024, "quality": 0.25, "is_staff": True}, None],
        provenance=[{"sent_as": "picture"}, {"sent_as": "feature"}],
    )
    first, second = (store.template("staff", one) for one in store.enrol("staff", templates).template_ids)
    assert (first.subject, first.space, first.route) == ("ann", SOLID.fingerprint, ("solid-to-plane",))
    assert (first.confidence, first.norm, second.confidence, second.norm) == (0.5, None, None, 21.5)
    assert first.metadata == {"site": "north", "year": 2024, "quality": 0.25, "is_staff": True}
    assert first.metadata["is_staff"] is True
    assert (second.metadata, first.provenance, second.provenance) == (
        {},
        {"sent_as": "picture"},
        {"sent_as": "feature"},
    )
    assert store.templates("staff").templates == (first, second)
    for other in ("", "0" * 32, "x" * 32, first.template_id[:-1], first.template_id.upper() + "0"):
        with pytest.raises(NotFoundError):
            store.template("staff", other)


@pytest.mark.parametrize(
    "metadata",
    [
        {"a b": 1},
        {"": 1},
        {"a": "x" * 257},
        {"a": [1]},
        {"a": None},
        {"a": float("nan")},
        {"a": 2**53},
        {f"f{n}": n for n in range(129)},
    ],
    ids=["name", "empty-name", "long", "list", "null", "nan", "large", "many"],
)
def test_metadata_that_may_not_be_is_refused(store: GalleryStore, metadata: Any) -> None:
    store.create("staff", PLANE)
    with pytest.raises(InvalidInputError) as refusal:
        store.enrol("staff", batch([native("ann", EAST), native("bob", EAST, metadata=metadata)]))
    assert [row for row, _ in refusal.value.rows] == [1]
    assert store.get("staff").num_templates == 0


WHERE = [
    ({"site": Condition(any_of=("north",))}, "ad"),
    ({"site": Condition(any_of=("north", "south"))}, "abd"),
    ({"site": Condition(any_of=("north",)), "year": Condition(at_least=2021)}, "d"),
    ({"year": Condition(at_least=2019, at_most=2020)}, "ab"),
    ({"year": Condition(at_most=2019.5)}, "b"),
    ({"year": Condition(any_of=(2020.0,))}, "a"),
    ({"year": Condition(any_of=("2020",))}, ""),
    ({"staff": Condition(any_of=(True,))}, "a"),
    ({"staff": Condition(any_of=(1,))}, "c"),
    ({"staff": Condition(any_of=("true",))}, "d"),
    ({"staff": Condition(at_least=0)}, "c"),
    ({"nothing": Condition(any_of=(1,))}, ""),
    ({"nothing": Condition(any_of=(1,), or_missing=True)}, "abcde"),
    ({"year": Condition(at_least=2020, or_missing=True)}, "acde"),
    ({"year": Condition(at_most=2020, or_missing=True), "site": Condition(any_of=("south",))}, "b"),
    ({"staff": Condition(at_most=0, or_missing=True)}, "be"),
    ({"site": Condition(any_of=("south",), or_missing=True), "staff": Condition(any_of=(1,), or_missing=True)}, "bce"),
]


@pytest.mark.parametrize(("where", "expected"), WHERE, ids=[str(place) for place in range(len(WHERE))])
def test_a_search_may_be_among_the_templates_of_some_metadata(store: GalleryStore, where: Where, expected: str) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    of_all: dict[str, Metadata | None] = {
        "a": {"site": "north", "year": 2020, "staff": True},
        "b": {"site": "south", "year": 2019},
        "c": {"staff": 1},
        "d": {"site": "north", "year": 2024, "staff": "true"},
        "e": None,
    }
    store.enrol("staff", batch([native(name, EAST, metadata=fields) for name, fields in of_all.items()]))
    store.enrol("visitors", batch([native("z", EAST, metadata=fields) for fields in of_all.values()]))
    result = store.search("staff", vector(*EAST)[None], PLANE, 10, where=where)
    assert ("".join(c.subject for c in result.candidates[0]), result.num_templates) == (expected, len(expected))


def test_templates_with_a_field_of_metadata_are_counted(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    ones: list[Metadata | None] = [{"site": "north", "year": 1}, {"site": 2}, {"year": True}, None]
    store.enrol("staff", batch([native(f"s{row}", EAST, metadata=fields) for row, fields in enumerate(ones)]))
    store.enrol("visitors", batch([native("z", EAST, metadata={"site": "north"})]))
    assert store.count_with("staff", ["site", "year", "none"]) == {"site": 2, "year": 2, "none": 0}
    store.remove_subject("staff", "s0")
    assert store.count_with("staff", ["site"]) == {"site": 1}
    with pytest.raises(NotFoundError):
        store.count_with("nobody", ["site"])


def test_templates_that_are_gone_are_meant_by_no_condition(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    fields: Metadata = {"site": "north"}
    ones = [native("ann", EAST, key="k", metadata=fields), native("bob", EAST, metadata=fields)]
    store.enrol("staff", batch(ones))
    store.remove_subject("staff", "bob")
    store.enrol("staff", batch([native("eve", NORTH, key="k", metadata={"site": "south"})]), replaces=True)
    where = {"site": Condition(any_of=("north",))}
    assert store.search("staff", vector(*EAST)[None], PLANE, 5, where=where).candidates == ((),)


def test_a_search_among_some_is_by_origin_too(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    fields: Metadata = {"site": "north"}
    store.enrol("staff", batch([native("ann", EAST, metadata=fields), native("bob", EAST)]))
    store.enrol("staff", batch([replace(translated("eve", UP, EAST), metadata=fields), translated("joe", UP, EAST)]))
    result = store.search(
        "staff", vector(*EAST)[None], PLANE, 5, by_origin=True, where={"site": Condition(any_of=("north",))}
    )
    assert {(c.subject, c.origin) for c in result.candidates[0]} == {("ann", HERE), ("eve", THERE)}


def once(name: bytes, digest: bytes = b"d") -> Once:
    return Once(name, digest, lambda outcome: Answer(201, repr(outcome).encode()))


def test_the_answer_to_a_request_with_a_name_is_kept_with_what_it_did(store: GalleryStore) -> None:
    assert store.answered(b"a") is None
    gallery = store.create("staff", PLANE, once=once(b"a"))
    enrolment = store.enrol("staff", batch([native("ann", EAST), native("ann", NORTH)]), once=once(b"b", b"e"))
    store.remove_template("staff", enrolment.template_ids[0], once=once(b"c"))
    store.remove_subject("staff", "ann", once=once(b"d"))
    store.drop("staff", once=once(b"e"))
    for name, digest, outcome in (
        (b"a", b"d", gallery),
        (b"b", b"e", enrolment),
        (b"c", b"d", None),
        (b"d", b"d", 1),
        (b"e", b"d", None),
    ):
        assert store.answered(name) == (digest, Answer(201, repr(outcome).encode()))


def test_what_was_refused_leaves_no_answer(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    with pytest.raises(AlreadyExistsError):
        store.create("staff", PLANE, once=once(b"a"))
    with pytest.raises(NotFoundError):
        store.remove_subject("staff", "ann", once=once(b"b"))
    with pytest.raises(InvalidInputError):
        store.enrol("staff", batch([native("ann", (2.0, 0.0))]), once=once(b"c"))
    assert [store.answered(name) for name in (b"a", b"b", b"c")] == [None] * 3


def subjects_of(store: GalleryStore, name: str = "staff") -> list[str]:
    return [template.subject for template in all_templates(store, name)]


def test_an_erased_subject_is_in_no_answer_and_comes_back_from_no_snapshot(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.enrol("staff", batch([native("ann", EAST), native("bob", NORTH), native("ann", NORTH_EAST)]))
    snapshot = store.take_snapshot("staff")
    store.enrol("staff", batch([native("eve", EAST)]))
    (erased,) = store.erase("staff", ["ann"])
    assert (erased.subject, erased.num_templates, erased.num_snapshots) == ("ann", 2, 1)
    assert found(store, "staff", EAST) == [("eve", 1.0), ("bob", 0.0)]
    assert subjects_of(store) == ["bob", "eve"]
    assert (store.get("staff").num_templates, store.get("staff").num_subjects) == (2, 2)
    (kept,) = store.snapshots("staff")
    assert (kept.snapshot_id, kept.num_templates, kept.num_subjects) == (snapshot.snapshot_id, 1, 1)
    assert store.verify_snapshot("staff", snapshot.snapshot_id) == kept
    store.restore("staff", snapshot.snapshot_id)
    assert subjects_of(store) == ["bob"]


def test_several_are_erased_at_once_and_who_is_not_there_is_erased_from_snapshots(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    store.enrol("visitors", batch([native("ann", EAST)]))
    store.enrol("staff", batch([native("ann", EAST), native("bob", NORTH), native("eve", NORTH)]))
    store.take_snapshot("staff")
    store.remove_subject("staff", "ann")
    erased = store.erase("staff", ["ann", "bob", "nobody"])
    assert [(one.subject, one.num_templates) for one in erased] == [("ann", 0), ("bob", 1), ("nobody", 0)]
    (kept,) = store.snapshots("staff")
    assert (kept.num_templates, subjects_of(store), subjects_of(store, "visitors")) == (1, ["eve"], ["ann"])


def test_who_was_erased_may_be_enrolled_again_and_is_in_later_snapshots(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.enrol("staff", batch([native("ann", EAST)]))
    store.erase("staff", ["ann"])
    store.enrol("staff", batch([native("ann", NORTH)]))
    snapshot = store.take_snapshot("staff")
    store.remove_subject("staff", "ann")
    store.restore("staff", snapshot.snapshot_id)
    assert found(store, "staff", NORTH) == [("ann", 1.0)]


def test_a_gallery_becomes_again_what_it_was_when_a_snapshot_was_taken(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    fields: Metadata = {"site": "north"}
    store.enrol(
        "staff", batch([native("ann", EAST, key="k", metadata=fields), native("bob", NORTH), native("ann", NORTH)])
    )
    store.enrol("staff", batch([translated("eve", UP, NORTH_EAST)]))
    before, templates = store.get("staff"), all_templates(store, "staff")
    answers = store.search("staff", random_units(np.random.default_rng(0), 6, 2), PLANE, 10)
    snapshot = store.take_snapshot("staff")
    assert (snapshot.gallery, snapshot.num_templates, snapshot.num_subjects) == ("staff", 4, 3)
    store.remove_subject("staff", "ann")
    store.remove_subject("staff", "eve")
    store.enrol("staff", batch([native("ann", EAST), native("joe", EAST, key="k")]))
    assert store.restore("staff", snapshot.snapshot_id) == before == store.get("staff")
    assert all_templates(store, "staff") == templates
    assert store.search("staff", random_units(np.random.default_rng(0), 6, 2), PLANE, 10) == answers
    where = {"site": Condition(any_of=("north",))}
    assert [c.subject for c in store.search("staff", vector(*EAST)[None], PLANE, 5, where=where).candidates[0]] == [
        "ann"
    ]
    with pytest.raises(AlreadyExistsError):
        store.enrol("staff", batch([native("joe", EAST, key="k")]))
    store.enrol("staff", batch([native("zoe", EAST)]))
    assert [candidate[0] for candidate in found(store, "staff", EAST)][:2] == ["ann", "zoe"]
    assert store.check("staff")
    assert all(check.is_sound for check in store.check("staff"))


def test_a_gallery_that_was_dropped_comes_back_from_a_snapshot(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.enrol("staff", batch([native("ann", EAST), native("bob", NORTH)]))
    snapshot = store.take_snapshot("staff")
    before, templates = store.get("staff"), all_templates(store, "staff")
    store.drop("staff")
    assert store.snapshots("staff") == [snapshot]
    assert store.restore("staff", snapshot.snapshot_id) == before
    assert all_templates(store, "staff") == templates
    assert found(store, "staff", EAST) == [("ann", 1.0), ("bob", 0.0)]


def test_who_is_erased_from_a_gallery_that_was_dropped_comes_back_from_none_of_its_snapshots(
    store: GalleryStore,
) -> None:
    store.create("staff", PLANE)
    store.enrol("staff", batch([native("ann", EAST), native("bob", NORTH)]))
    snapshot = store.take_snapshot("staff")
    store.drop("staff")
    (erased,) = store.erase("staff", ["ann"])
    assert (erased.num_templates, erased.num_generations, erased.num_snapshots) == (0, 0, 1)
    assert store.restore("staff", snapshot.snapshot_id).num_subjects == 1
    assert found(store, "staff", EAST) == [("bob", 0.0)]


@pytest.mark.parametrize("num", [1, 31, 32, 33, 63, 64, 65])
def test_any_number_is_enrolled_at_once_with_all_that_is_known_of_each(store: GalleryStore, num: int) -> None:
    store.create("staff", PLANE)
    ones = [native(f"s{row}", EAST, key=f"k{row}", metadata={"row": row, "site": "north"}) for row in range(num)]
    enrolled(store, "staff", [*ones, *(translated(f"t{row}", UP, NORTH) for row in range(num))])
    templates = all_templates(store, "staff", 100)
    assert [(one.subject, one.key, one.metadata) for one in templates] == [
        *((f"s{row}", f"k{row}", {"row": row, "site": "north"}) for row in range(num)),
        *((f"t{row}", None, {}) for row in range(num)),
    ]
    assert (store.get("staff").num_templates, store.get("staff").num_subjects) == (2 * num, 2 * num)
    for row in (0, num // 2, num - 1):
        where = {"row": Condition(any_of=(row,)), "site": Condition(any_of=("north",))}
        ((candidate,),) = store.search("staff", vector(*EAST)[None], PLANE, 5, where=where).candidates
        assert candidate.subject == f"s{row}"
    assert {c.subject for c in store.search("staff", vector(*NORTH)[None], PLANE, num).candidates[0]} == {
        f"t{row}" for row in range(num)
    }


def test_templates_of_some_keys_can_be_left_out_of_a_search(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.create("visitors", PLANE)
    store.enrol(
        "staff", batch([native("ann", EAST, key="a"), native("ann", NORTH, key="b"), native("bob", NORTH_EAST)])
    )
    store.enrol("visitors", batch([native("eve", EAST, key="c")]))
    probe = vector(*EAST)[None]
    result = store.search("staff", probe, PLANE, 2, without=["a", "c", "x"])
    assert [(c.subject, c.score) for c in result.candidates[0]] == [("bob", pytest.approx(0.6)), ("ann", 0.0)]
    result = store.search("staff", probe, PLANE, 2, without=["a", "b"])
    assert [c.subject for c in result.candidates[0]] == ["bob"]


def test_a_snapshot_of_another_space_is_not_put_back(store: GalleryStore) -> None:
    store.create("staff", PLANE)
    store.enrol("staff", batch([native("ann", EAST)]))
    snapshot = store.take_snapshot("staff")
    store.drop("staff")
    store.create("staff", OTHER_PLANE)
    with pytest.raises(GenerationChangedError):
        store.restore("staff", snapshot.snapshot_id)
    assert (store.get("staff").space, store.get("staff").num_templates) == (OTHER_PLANE, 0)


def test_snapshots_are_listed_from_the_oldest_and_removed_one_by_one(store: GalleryStore) -> None:
    with pytest.raises(NotFoundError):
        store.snapshots("staff")
    store.create("staff", PLANE)
    assert store.snapshots("staff") == []
    one, other = store.take_snapshot("staff"), store.take_snapshot("staff")
    assert {snapshot.snapshot_id for snapshot in store.snapshots("staff")} == {one.snapshot_id, other.snapshot_id}
    store.remove_snapshot("staff", one.snapshot_id)
    assert store.snapshots("staff") == [other]
    for snapshot_id in (one.snapshot_id, "", "..", "x"):
        for call in (store.remove_snapshot, store.verify_snapshot, store.restore):
            with pytest.raises(NotFoundError):
                call("staff", snapshot_id)


def test_every_call_for_a_whole_gallery_says_where_there_is_none(store: GalleryStore) -> None:
    with pytest.raises(NotFoundError):
        store.erase("staff", ["ann"])
    with pytest.raises(NotFoundError):
        store.take_snapshot("staff")
    with pytest.raises(NotFoundError):
        store.check("staff")


@pytest.mark.parametrize("subject", ["", "x" * 129, "line\n", "a\nb", "\n", "..", "a/../b", ".", "a\x7f"])
def test_a_subject_that_is_no_name_is_refused_by_row(store: GalleryStore, subject: str) -> None:
    store.create("staff", PLANE)
    with pytest.raises(InvalidNameError) as refusal:
        store.enrol("staff", batch([native("ann", EAST), native(subject, EAST)]))
    assert [row for row, _ in refusal.value.rows] == [1]
    assert store.get("staff").num_templates == 0


@pytest.mark.parametrize("key", ["", "x" * 257, "bell\a"])
def test_a_key_that_is_none_is_refused_by_row(store: GalleryStore, key: str) -> None:
    store.create("staff", PLANE)
    with pytest.raises(InvalidNameError) as refusal:
        store.enrol("staff", batch([native("ann", EAST, key="k"), native("bob", EAST, key=key)]))
    assert [row for row, _ in refusal.value.rows] == [1]
