"""The regression path of R3AN, distilled into a small residual network: for galleries, where millions are translated."""

from dataclasses import replace

from models.features import FloatArray, unit_features
from training.trainers.fitted import Fitted, TrainingData, best_on_validation
from training.trainers.r3an import fit_r3an
from training.trainers.r3an_recipe import R3ANRecipe
from training.trainers.residual_mlp import fit_residual_mlp
from training.trainers.torch_translator import TorchTranslator

SHARES = (1.0, 0.5, 0.25, 0.0)
"""Of the teacher's answer in what the student is taught, against the target encoder's own feature. With 0 the teacher was of no
use, and the student is what `residual-mlp` is."""


def fit_r3an_student(data: TrainingData, recipe: R3ANRecipe) -> Fitted[TorchTranslator]:
    """Train R3AN, or take the `teacher` that is there, then a residual network towards its answers and the targets.

    How much the teacher's answers count is chosen on validation subjects.

    Source: Hinton et al., Distilling the knowledge in a neural network (2015), Sec. 2: soft answers of the teacher and
    true ones together. Deviation: features for class scores.

    Raises `TrainingError` as `fit_r3an` does.
    """
    teacher = fit_r3an(data, recipe) if data.teacher is None else Fitted(data.teacher)
    answer_NT: FloatArray = teacher.model(data.source_NS)
    best = best_on_validation(data, (_taught(data, answer_NT, share) for share in SHARES))
    return Fitted(best.model, best.hyperparameters | {"teacher": teacher.hyperparameters})


def _taught(data: TrainingData, answer_NT: FloatArray, share: float) -> Fitted[TorchTranslator]:
    fitted = fit_residual_mlp(replace(data, target_NT=unit_features((1 - share) * data.target_NT + share * answer_NT)))
    return Fitted(fitted.model, fitted.hyperparameters | {"teacher_share": share})
