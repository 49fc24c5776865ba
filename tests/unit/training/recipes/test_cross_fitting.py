import numpy as np
import pytest

from models.feature_set import FeatureSet
from models.features import unit_features
from models.space import Space
from models.split import SplitRule
from training.data.pairs import Pairs
from training.recipes import cross_fitting
from training.recipes.cross_fitting import cross_fitted, folds
from training.recipes.translators import SplitPairs, training_data


def world(num_people: int = 60, *, keys: bool = True) -> Pairs:
    """Two views each of a person, one of them a view of the other picture; the target is a turned source."""
    random = np.random.default_rng(0)
    feature = unit_features(random.normal(size=(3 * num_people, 8)))
    turn = np.linalg.qr(random.normal(size=(8, 8)))[0].astype(np.float32)
    image = [f"{n:03d}{end}" for n in range(num_people) for end in ("/a", "/a#view-1", "/b")]
    subject = np.repeat([f"s{n}" if keys else "" for n in range(num_people)], 3)
    columns = {"image": np.array(image), "subject": subject}
    return Pairs(
        *(
            FeatureSet.build(Space(name, 8, f"external:{name}"), columns | {"feature": side})
            for name, side in (("a", feature), ("b", feature @ turn))
        )
    )


def split(pairs: Pairs) -> SplitPairs:
    return SplitPairs.of(pairs, SplitRule("subject" if pairs.source.has_subjects else "image", 0, 0.2, 0.1))


def test_everybody_is_translated_once_by_a_map_that_has_not_seen_them(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(world())
    seen: list[set[str]] = []

    def watched(train: Pairs, validation: Pairs, seed: int) -> object:
        seen.append(set(train.source.subject.tolist()))
        return training_data(train, validation, seed)

    monkeypatch.setattr(cross_fitting, "training_data", watched)
    held = cross_fitted(parts, "ridge", 0, 4)
    assert len(held) == len(seen) == 4
    people = [set(one.pairs.source.subject.tolist()) for one in held]
    everybody = set(parts.train.source.subject.tolist())
    assert set().union(*people) == everybody
    assert sum(map(len, people)) == len(everybody)
    for one, known, trained in zip(held, people, seen, strict=True):
        assert known | trained == everybody
        assert not known & trained
        # Views are trained on and not measured on; the map is a rotation that any of them finds.
        assert not any("#view" in key for key in one.pairs.source.image.tolist())
        np.testing.assert_allclose(one.translated_NT, one.pairs.target.feature, atol=0.02)


def test_a_blend_is_seen_only_where_both_its_faces_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = world()
    mixed = [
        key if place % 3 != 1 else f"{key[:5]}#blend-{(place // 3 + 7) % 60:03d}/b"
        for place, key in enumerate(pairs.source.image.tolist())
    ]
    blended = Pairs(
        *(FeatureSet.build(s.space, s.columns() | {"image": np.array(mixed)}) for s in (pairs.source, pairs.target))
    )
    parts = split(blended)
    of_image = dict(zip(pairs.source.image.tolist(), pairs.source.subject.tolist(), strict=True))
    seen: list[list[str]] = []

    def watched(train: Pairs, validation: Pairs, seed: int) -> object:
        seen.append(train.source.image.tolist())
        return training_data(train, validation, seed)

    monkeypatch.setattr(cross_fitting, "training_data", watched)
    held = cross_fitted(parts, "ridge", 0, 3)
    assert any("#blend" in key for key in seen[0])
    for one, keys in zip(held, seen, strict=True):
        measured = set(one.pairs.source.subject.tolist())
        faces = [face for key in keys for face in key.split("#blend-")]
        assert not measured & {of_image[face] for face in faces}


@pytest.mark.parametrize("case", ["nobody knows who they are", "too few", "no folds", "takes hours"])
def test_nothing_is_measured_on_training_people(case: str) -> None:
    parts = split(world(keys=case != "nobody knows who they are", num_people=30 if case == "too few" else 60))
    method = "fc" if case == "takes hours" else "ridge"
    assert cross_fitted(parts, method, 0, {"no folds": 0, "too few": 2}.get(case, 5)) == []


def test_a_view_is_of_who_is_on_its_picture_whoever_it_is_said_to_be() -> None:
    pairs = world()
    alias = [
        f"alias-{subject}" if "#view" in key else subject
        for key, subject in zip(pairs.source.image.tolist(), pairs.source.subject.tolist(), strict=True)
    ]
    named = FeatureSet.build(pairs.source.space, pairs.source.columns() | {"subject": np.array(alias)})
    found = folds(named, 0, 4)
    assert len(found) == 4
    for fold in found:
        measured = set(named.image[fold.is_measured_N].tolist())
        seen = named.image[fold.is_seen_N].tolist()
        assert any("#view" in key for key in seen)
        assert not measured & {key.partition("#")[0] for key in seen}
