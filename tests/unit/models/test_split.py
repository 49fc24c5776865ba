import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from models.documents import canonical_json, parse_document
from models.errors import ContractError
from models.feature_set import BLEND_MARK, FeatureSet, blended_with, picture_of
from models.space import Space
from models.split import SplitRule

NAMES = [f"subject-{i}" for i in range(10_000)]
RULE = SplitRule(by="subject", seed=3, validation=0.1, test=0.2)


def feature_set(subjects: list[str]) -> FeatureSet:
    num = len(subjects)
    columns = {
        "feature": np.random.default_rng(0).normal(size=(num, 4)).astype(np.float32),
        "image": np.array([f"{i}.png" for i in range(num)]),
        "subject": np.array(subjects),
    }
    return FeatureSet.build(Space("s", 4, "external:e"), columns)


def test_the_shares_are_close_to_what_was_asked() -> None:
    counts = Counter(RULE.part_of(name) for name in NAMES)
    # Five standard deviations of a binomial of 10,000: 200 for a share of 0.2, 150 for 0.1.
    assert abs(counts["test"] - 2000) < 200
    assert abs(counts["validation"] - 1000) < 150
    assert sum(counts.values()) == 10_000


def test_the_rule_is_the_documented_hash() -> None:
    for name in ("anybody", "Zoë", ""):
        place = int(hashlib.sha256(b"3\0" + name.encode()).hexdigest()[:16], 16) / 2**64
        expected = "test" if place < 0.2 else "validation" if place < 0.2 + 0.1 else "train"
        assert RULE.part_of(name) == expected


def test_the_same_name_always_lands_in_the_same_part() -> None:
    again = SplitRule(by="image", seed=3, validation=0.1, test=0.2)
    assert [RULE.part_of(name) for name in NAMES[:500]] == [again.part_of(name) for name in NAMES[:500]]


def test_different_seeds_give_nearly_independent_parts() -> None:
    other = SplitRule(by="subject", seed=4, validation=0.1, test=0.2)
    both = sum(RULE.part_of(name) == other.part_of(name) == "test" for name in NAMES)
    assert abs(both - 400) < 100  # 0.2 x 0.2 of 10,000, five standard deviations


def test_a_larger_test_share_keeps_whoever_was_in_test() -> None:
    larger = SplitRule(by="subject", seed=3, validation=0.1, test=0.4)
    assert all(larger.part_of(name) == "test" for name in NAMES if RULE.part_of(name) == "test")


def test_by_subject_never_splits_a_subject() -> None:
    subjects = [f"s{i % 50}" for i in range(400)]
    parts = RULE.parts(feature_set(subjects))
    assert parts.shape == (400,)
    seen: dict[str, set[str]] = {}
    for subject, part in zip(subjects, parts.tolist(), strict=True):
        seen.setdefault(subject, set()).add(part)
    assert all(len(found) == 1 for found in seen.values())
    assert set().union(*seen.values()) == {"train", "validation", "test"}


def test_by_image_splits_by_the_key_of_the_picture() -> None:
    rule = SplitRule(by="image", seed=0, validation=0.25, test=0.25)
    parts = rule.parts(feature_set(["one"] * 200))
    assert parts.tolist() == [rule.part_of(f"{i}.png") for i in range(200)]
    assert set(parts.tolist()) == {"train", "validation", "test"}


def test_the_part_does_not_depend_on_who_else_is_in_the_set() -> None:
    grown = RULE.parts(feature_set(["a", "b", "c", "d", "e"]))
    assert grown.tolist()[:2] == RULE.parts(feature_set(["a", "b"])).tolist()


def test_shares_of_zero_leave_everybody_in_training() -> None:
    rule = SplitRule(by="subject", seed=0, validation=0.0, test=0.0)
    assert {rule.part_of(name) for name in NAMES[:1000]} == {"train"}


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.6, 0.6), (0.0, 1.0)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation: float, test: float) -> None:
    with pytest.raises(ContractError, match="nothing to train on"):
        SplitRule(by="subject", seed=0, validation=validation, test=test)


@pytest.mark.parametrize(
    "change",
    [{"by": "name"}, {"seed": 1.5}, {"validation": -0.1}, {"test": 1.0}, {"validation": 0.6, "test": 0.6}, {"x": 1}],
)
def test_a_malformed_rule_is_refused_as_a_document(change: dict[str, Any]) -> None:
    good = {"by": "subject", "seed": 1, "validation": 0.1, "test": 0.1}
    adapter = TypeAdapter(SplitRule)
    read = parse_document(adapter, canonical_json(good), what="split", error=ContractError)
    assert read == SplitRule("subject", 1, 0.1, 0.1)
    with pytest.raises(ContractError, match=r"^split: "):
        parse_document(adapter, canonical_json(good | change), what="split", error=ContractError)


def test_a_view_is_of_its_pictures_part_whatever_subject_it_is_said_to_be_of() -> None:
    images = [f"{i}.png" for i in range(50)]
    keys = [*images, *(f"{image}#view-1" for image in images)]
    columns = {
        "feature": np.random.default_rng(0).normal(size=(len(keys), 4)).astype(np.float32),
        "image": np.array(keys),
        "subject": np.array([f"subject-{i}" for i in range(50)] + [f"other-{i}" for i in range(50)]),
    }
    parts = RULE.parts(FeatureSet.build(Space("s", 4, "external:e"), columns))
    assert set(parts.tolist()) == {"train", "validation", "test"}
    assert parts[:50].tolist() == parts[50:].tolist()


@pytest.mark.parametrize("by", ["subject", "image"])
def test_a_blend_is_for_training_where_both_its_faces_are_and_for_nothing_else(by: str) -> None:
    """Else a translator would have seen half of a test face."""
    rule = SplitRule(by=by, seed=1, validation=0.2, test=0.3)  # type: ignore[arg-type]
    images = [f"{i}.png" for i in range(60)]
    blends = [f"{a}{BLEND_MARK}{b}" for a in images for b in images if a != b]
    subjects = {image: image.removesuffix(".png") for image in images}
    alone = f"0.png{BLEND_MARK}not-there.png"
    keys = [*images, *blends, alone]
    columns = {
        "feature": np.random.default_rng(0).normal(size=(len(keys), 4)).astype(np.float32),
        "image": np.array(keys),
        "subject": np.array([subjects[picture_of(key)] for key in keys]),
    }
    part_of = dict(zip(keys, rule.parts(FeatureSet.build(Space("s", 4, "external:e"), columns)).tolist(), strict=True))
    assert {part_of[image] for image in images} == {"train", "validation", "test"}
    for key in blends:
        both = {part_of[picture_of(key)], part_of[blended_with(key)]}
        assert part_of[key] == ("train" if both == {"train"} else "")
    assert part_of[alone] == ""
