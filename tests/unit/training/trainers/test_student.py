"""A student ends between its teacher's answers and the target encoder's own."""

from dataclasses import replace

import numpy as np
import pytest

from models.features import FloatArray, unit_features
from training.recipes.r3an import ARCHITECTURES, small
from training.trainers.fitted import TrainingData
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
def test_the_teacher_leaves_its_mark(data: TrainingData) -> None:
    direction = unit_features(np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32))

    def stubborn(source_NS: FloatArray) -> FloatArray:
        return np.repeat(direction, len(source_NS), axis=0)

    student = fit_r3an_student(replace(data, teacher=stubborn), small(ARCHITECTURES["r3an"]))
    alone = fit_residual_mlp(data)
    towards = [float((model(data.validation_source_VS) @ direction.T).mean()) for model in (student.model, alone.model)]
    true = [
        float((model(data.validation_source_VS) * data.validation_target_VT).sum(axis=1).mean())
        for model in (student.model, alone.model)
    ]
    assert towards[0] > towards[1] + 0.4
    assert 0.4 < true[0] < true[1]
    assert student.hyperparameters["teacher_share"] == 0.5
