"""A student listens to its teacher as far as that helps."""

from dataclasses import replace

import numpy as np
import pytest

from models.features import FloatArray, unit_features
from training.recipes.r3an import ARCHITECTURES, small
from training.trainers.fitted import TrainingData, Translate
from training.trainers.residual_mlp import fit_residual_mlp
from training.trainers.student import fit_r3an_student

NUM, TRAINED = 400, 320


@pytest.fixture
def data() -> TrainingData:
    random = np.random.default_rng(0)
    source = unit_features(random.normal(size=(NUM, 12)).astype(np.float32))
    target = unit_features((source @ random.normal(size=(12, 8))).astype(np.float32))
    return TrainingData(source[:TRAINED], target[:TRAINED], source[TRAINED:], target[TRAINED:], seed=0)


@pytest.mark.usefixtures("short_training")
def test_of_a_stubborn_teacher_nothing_is_learned(data: TrainingData) -> None:
    direction = unit_features(np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32))

    def stubborn(source_NS: FloatArray) -> FloatArray:
        return np.repeat(direction, len(source_NS), axis=0)

    student = fit_r3an_student(replace(data, teacher=stubborn), small(ARCHITECTURES["r3an"]))
    alone = fit_residual_mlp(data)
    assert student.hyperparameters["teacher_share"] == 0.0
    np.testing.assert_allclose(
        student.model(data.validation_source_VS), alone.model(data.validation_source_VS), atol=1e-5
    )


@pytest.mark.usefixtures("short_training")
def test_a_teacher_that_knows_better_than_the_pairs_is_followed(data: TrainingData) -> None:
    random = np.random.default_rng(2)
    noisy = unit_features(data.target_NT + 0.6 * random.normal(size=data.target_NT.shape).astype(np.float32))
    true_map, *_ = np.linalg.lstsq(data.source_NS, data.target_NT, rcond=None)

    def knowing(source_NS: FloatArray) -> FloatArray:
        return unit_features(source_NS @ true_map)

    spoilt = replace(data, target_NT=noisy)
    student = fit_r3an_student(replace(spoilt, teacher=knowing), small(ARCHITECTURES["r3an"]))
    assert student.hyperparameters["teacher_share"] == 1.0
    assert mean_cosine_to_targets(data, student.model) > mean_cosine_to_targets(data, fit_residual_mlp(spoilt).model)


def mean_cosine_to_targets(data: TrainingData, model: Translate) -> float:
    return float((model(data.validation_source_VS) * data.validation_target_VT).sum(axis=1).mean())
