"""Whose pictures an encoder learns from; the training itself is seen by the tests of trainer and command."""

import subprocess
import sys
from dataclasses import replace

import pytest

from models.split import SplitRule
from training.data.sources import PictureItem
from training.errors import TrainingError
from training.evaluation.cross_space import Figures, NativeEvaluation
from training.recipes.encoders import PREPARATION, RECIPES, PictureParts, TrainedEncoder
from training.trainers.encoder_recipe import EncoderRecipe

RULE = SplitRule("subject", seed=0, validation=0.2, test=0.3)


class Listed:
    """A source that is its list."""

    def __init__(self, items: list[PictureItem]) -> None:
        self.items = items

    def read(self, item: PictureItem) -> bytes:
        raise NotImplementedError


def items(num_subjects: int, num_each: int = 2, *, modality: str = "photo") -> list[PictureItem]:
    return [
        PictureItem(f"{modality}/{subject}-{number}.png", "", f"s{subject}", modality)
        for subject in range(num_subjects)
        for number in range(num_each)
    ]


def names(found: list[PictureItem]) -> set[str]:
    return {item.subject for item in found}


def test_subjects_are_split_by_the_rule_and_nobody_is_in_two_parts() -> None:
    parts = PictureParts.of(Listed(items(60)), RULE, None)
    everyone = {f"s{subject}" for subject in range(60)}
    for name, found in (("train", parts.train), ("validation", parts.validation), ("test", parts.test)):
        assert names(found) == {subject for subject in everyone if RULE.part_of(subject) == name}
        assert len(found) == 2 * len(names(found))
    # Of 60 subjects 30, 12 and 18 are expected.
    assert 20 < len(names(parts.train)) < 40


def test_without_a_modality_all_pictures_count_and_with_one_only_those() -> None:
    source = Listed([*items(30), *items(30, 3, modality="sketch")])
    everything, sketches = (PictureParts.of(source, RULE, modality) for modality in (None, "sketch"))
    assert {item.modality for item in everything.train} == {"photo", "sketch"}
    assert {item.modality for item in (*sketches.train, *sketches.validation, *sketches.test)} == {"sketch"}
    assert names(sketches.train) == names(everything.train)


def test_no_test_share_keeps_nobody_for_the_test() -> None:
    assert PictureParts.of(Listed(items(30)), replace(RULE, test=0.0), None).test == []


def test_a_modality_that_no_picture_has_is_refused() -> None:
    with pytest.raises(TrainingError, match="none of the pictures is of the modality 'video'"):
        PictureParts.of(Listed(items(30)), RULE, "video")


def test_pictures_of_nobody_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"the pictures need a labels\.csv or a folder a subject"):
        PictureParts.of(Listed([replace(item, subject="") for item in items(30)]), RULE, None)


def subjects_of(part: str, num: int) -> list[PictureItem]:
    """One picture of each of the first so many subjects that fall into the part."""
    names = (f"s{number}" for number in range(10_000) if RULE.part_of(f"s{number}") == part)
    return [PictureItem(f"{name}.png", "", name) for name, _ in zip(names, range(num), strict=False)]


@pytest.mark.parametrize(("num_train", "num_validation"), [(1, 5), (0, 5), (5, 1), (5, 0)])
def test_too_few_subjects_are_refused(num_train: int, num_validation: int) -> None:
    few = [*subjects_of("train", num_train), *subjects_of("validation", num_validation)]
    with pytest.raises(TrainingError, match="too few subjects"):
        PictureParts.of(Listed(few), RULE, None)


def test_two_subjects_to_train_on_and_one_with_two_pictures_to_validate_on_are_enough() -> None:
    (known,) = subjects_of("validation", 1)
    enough = [*subjects_of("train", 2), known, replace(known, key="again.png")]
    parts = PictureParts.of(Listed(enough), RULE, None)
    assert (len(parts.train), len(parts.validation), parts.test) == (2, 2, [])


def test_pixels_are_prepared_to_lie_between_minus_and_plus_1_6_as_in_r3an() -> None:
    for mean, std in zip(PREPARATION.mean, PREPARATION.std, strict=True):
        assert (0 - mean) / std == pytest.approx(-1.6)
        assert (255 - mean) / std == pytest.approx(1.6)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("backbone", ["mobilenetv2-t16", "resnet-101"])
def test_a_recipe_is_of_the_backbone_asked_for(name: str, backbone: str) -> None:
    assert RECIPES[name](backbone).backbone == backbone


def test_the_paper_recipe_is_that_of_the_prior_models_of_r3an() -> None:
    """Sec. 5.1: SGD, batches of 512, 200,000 iterations, rate 0.1, momentum 0.9, decay 5e-4; 256 numbers a face."""
    paper = RECIPES["paper"]("resnet-50")
    assert paper == EncoderRecipe(
        "resnet-50", 1.0, 256, 0, 512, 0.1, "steps", paper.margin, paper.scale, 0.9, 5e-4, iterations=200_000
    )
    # 5.8 million pictures are 11,328 whole batches an epoch: 18 epochs are 203,904 iterations.
    assert paper.num_epochs(5_800_000 // 512) == 18


def test_metrics_say_that_nothing_was_tested_where_nobody_was_kept_for_it() -> None:
    measured = NativeEvaluation(4, 2, 2, Figures(rank1=0.5))
    trained = TrainedEncoder(None, "d", 8, 3, 1e-6, measured, None, None)  # type: ignore[arg-type]
    metrics = trained.metrics()
    assert metrics["test"] is None
    assert metrics["validation"] == measured.to_json()
    assert (metrics["num_training_pictures"], metrics["num_training_subjects"], metrics["parity"]) == (8, 3, 1e-6)


def test_the_recipes_are_known_without_torch() -> None:
    program = "import sys, training.recipes.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_two_subjects_with_one_picture_each_give_nothing_to_validate_on() -> None:
    people = [*subjects_of("train", 5), *subjects_of("validation", 2)]
    with pytest.raises(TrainingError, match="one with two pictures to validate on"):
        PictureParts.of(Listed(people), RULE, None)
