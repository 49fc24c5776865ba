import functools
import threading
from dataclasses import replace

import numpy as np
import pytest

from models.bundle import MEASURED_ANEW, Bundle
from models.features import FloatArray, unit_features
from models.reference import SpaceReference
from models.space import Space
from service.inference.watch import FEWEST_OUTLIERS, RECENT, Seen, SpaceWatch, Watch
from tests.by_hand import confidence_model, reference
from tests.unit.service.inference.test_catalog import A, B, bundle
from training.evaluation.references import fit_reference

DIMENSION = 32
SPACE = Space("a", DIMENSION, "external:a")
RANDOM = np.random.default_rng(0)
WIDTH = np.geomspace(1.0, 0.05, DIMENSION)
"""Of the directions in which faces differ."""


def faces(num: int, seed: int = 1) -> FloatArray:
    return unit_features(np.random.default_rng(seed).normal(size=(num, DIMENSION)) * WIDTH)


@functools.cache
def known() -> SpaceReference:
    """Of many other faces."""
    found = fit_reference(faces(3000, 0), np.arange(3000), 0)
    assert found is not None
    return found


def watch(heard: list[tuple[str, Seen]] | None = None) -> SpaceWatch:
    told = [] if heard is None else heard
    return SpaceWatch(SPACE, known(), lambda space, seen: told.append((space.name, seen)))


def feed(of: SpaceWatch, stream: FloatArray, at_once: int = 10) -> Seen:
    seen = Seen()
    for start in range(0, len(stream), at_once):
        seen = of.observe(stream[start : start + at_once])
    return seen


@pytest.mark.parametrize("at_once", [1, 10, 400])
def test_features_of_the_space_are_usual(at_once: int) -> None:
    heard: list[tuple[str, Seen]] = []
    seen = feed(watch(heard), faces(400), at_once)
    assert (seen.state, seen.reason, seen.num_seen, heard) == ("usual", "", 400, [])
    assert seen.num_faces >= 100
    assert seen.stream_score is not None
    assert seen.stream_score < 1


def test_little_has_been_seen_at_first() -> None:
    assert feed(watch(), faces(15)).state == "unknown"
    assert feed(watch(), faces(15)).stream_score is None


def test_another_models_features_are_found_after_a_handful() -> None:
    heard: list[tuple[str, Seen]] = []
    other = unit_features(RANDOM.normal(size=(20, DIMENSION)))
    one = watch(heard)
    seen = feed(one, other[:FEWEST_OUTLIERS], 1)
    assert seen.state == "suspected"
    assert "are like hardly any of this space" in seen.reason
    assert [(name, said.state) for name, said in heard] == [("a", "suspected")]


def test_a_shift_that_no_single_feature_shows_is_found_in_the_stream() -> None:
    one = watch()
    shifted = unit_features(faces(200) + 0.25 * WIDTH / np.linalg.norm(WIDTH))
    assert known().is_outlier(known().whitened(shifted)).mean() < 0.05
    seen = feed(one, shifted)
    assert seen.state == "suspected"
    assert "faces together are" in seen.reason


def test_people_who_come_again_count_as_they_come_now() -> None:
    one = watch()
    people = faces(150)
    assert feed(one, people).state == "usual"
    again = unit_features(people + 0.25 * WIDTH / np.linalg.norm(WIDTH))
    assert feed(one, again).state == "suspected"
    for _ in range(2):
        seen = feed(one, people)
    assert (seen.state, one.seen.num_seen) == ("usual", 600)


def test_many_pictures_of_one_person_are_one_face() -> None:
    person = faces(1, 5)
    pictures = unit_features(person + 0.1 * faces(300, 6))
    seen = feed(watch(), pictures)
    assert seen.num_faces < 20
    assert seen.state == "usual"
    assert seen.stream_score is None


def test_an_alarm_ends_when_the_features_are_right_again() -> None:
    heard: list[tuple[str, Seen]] = []
    one = watch(heard)
    feed(one, unit_features(RANDOM.normal(size=(100, DIMENSION))))
    assert feed(one, faces(600), 20).state == "usual"
    assert [said.state for _, said in heard] == ["suspected", "usual"]


def test_of_a_large_request_some_are_looked_at_and_all_are_counted() -> None:
    seen = watch().observe(faces(10_000))
    assert (seen.num_seen, seen.state) == (10_000, "usual")


def test_near_the_limit_an_alarm_does_not_come_and_go() -> None:
    heard: list[tuple[str, Seen]] = []
    one = SpaceWatch(
        SPACE, replace(reference(DIMENSION), stream_limit=1e9), lambda space, seen: heard.append((space.name, seen))
    )
    odd = np.zeros((1, DIMENSION), dtype=np.float32)
    odd[0, -1] = 1.0
    flat = unit_features(np.ones((1, DIMENSION), dtype=np.float32))
    for place in range(2 * RECENT):
        # 11 % and 9 % of the last 200 are odd, turn by turn.
        is_odd = place % (9 if place // 100 % 2 else 11) == 0
        one.observe(odd if is_odd else flat)
    assert [said.state for _, said in heard] == ["suspected"]


def test_several_threads_may_tell_it() -> None:
    one = watch()
    streams = [faces(200, seed) for seed in range(10, 14)]
    threads = [threading.Thread(target=feed, args=(one, stream)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.seen.num_seen == 800
    assert one.seen.state == "usual"


def test_of_several_references_that_which_was_measured_anew_holds() -> None:
    """An operator's remedy would have no effect behind a bundle whose name comes first."""

    def telling(name: str, limit: float, *, is_anew: bool = False, method: str = "ridge") -> Bundle:
        made = bundle(name, A, B)
        digests = {MEASURED_ANEW: "0" * 64} if is_anew else {"calibration source": "0" * 64}
        provenance = replace(made.manifest.provenance, data_digests=digests)
        manifest = replace(made.manifest, provenance=provenance, method=method)
        return replace(
            made, manifest=manifest, confidence=confidence_model(A.dimension, B.dimension, stream_limit=limit)
        )

    def limits(*bundles: Bundle) -> dict[str, float]:
        return {name: one._reference.stream_limit for name, one in Watch(bundles)._by_space.items()}

    first, ours = telling("ab", 5.0), telling("ours", 50.0, is_anew=True)
    assert limits(first, telling("later", 50.0)) == {A.fingerprint: 5.0, B.fingerprint: 5.0}
    assert limits(first, ours) == limits(ours, first) == {A.fingerprint: 50.0, B.fingerprint: 50.0}
    # In a common space lie features of several encoders.
    assert limits(telling("ac", 5.0, method="cca")) == {A.fingerprint: 5.0}
