"""Translations of the training people by translators that have not seen them, for thresholds at rates that validation people
are too few to show.

The people of each fold are translated by one of the same method, fitted to all other folds. Compared within their fold, nobody
has been seen in any role by the translator at work: compared with everybody, a translator's training targets among them,
the same thresholds let through a tenth to a quarter less.

Source: Wolpert, Stacked generalization (Neural Networks 1992), for judging by what was fitted without.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.feature_set import FeatureSet, blended_with
from training.evaluation.calibration import HeldOut
from training.recipes import translators
from training.recipes.translators import MIN_TRAINING_PAIRS, SplitPairs, load, training_data

NUM_FOLDS = 5


def cross_fitted(
    parts: SplitPairs,
    method: str,
    seed: int,
    num_folds: int = NUM_FOLDS,
    on_fold: Callable[[int], None] = lambda fold: None,
) -> list[HeldOut]:
    """The training people by fold; `on_fold` hears its number before each fit.

    Nothing where nobody knows who they are, where they are too few, or where a fit takes hours.
    """
    train, recipe = parts.train, translators.METHODS[method]
    held = []
    for number, fold in enumerate(folds(train.source, seed, num_folds) if can_cross_fit(method) else []):
        on_fold(number)
        data = training_data(train.take(fold.is_seen_N), parts.validation, seed)
        model = load(recipe.trainer)(data).model
        measured = train.take(fold.is_measured_N)
        held.append(HeldOut(measured, model(measured.source.feature)))
    return held


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows of the training part (N,)."""

    is_seen_N: npt.NDArray[np.bool_]
    """To fit to."""
    is_measured_N: npt.NDArray[np.bool_]
    """Of people of whom nothing is among those, in no blend either; without views and blends."""


def folds(train: FeatureSet, seed: int, num_folds: int) -> list[Fold]:
    """None where nobody knows who is on the pictures, or where they are too few."""
    if not train.has_subjects or num_folds < 2:
        return []
    fold_N, fold_of_second_N = _folds(train, seed, num_folds)
    is_original_N = train.picture == train.image
    found = [
        Fold((fold_N != fold) & (fold_of_second_N != fold), (fold_N == fold) & is_original_N)
        for fold in range(num_folds)
    ]
    is_enough = all(
        (one.is_seen_N & is_original_N).sum() >= MIN_TRAINING_PAIRS and one.is_measured_N.any() for one in found
    )
    return found if is_enough else []


def can_cross_fit(method: str) -> bool:
    """Whether it is fitted in a minute, and to features alone."""
    return translators.METHODS[method].paths is None


def _folds(train: FeatureSet, seed: int, num_folds: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The fold of who is on each row (N,), and of the second face of a blend; -1 where there is none."""
    # A view is of who is on its picture, whoever the view is said to be of.
    subject_of = dict(zip(train.image.tolist(), train.subject.tolist(), strict=True))
    own = [
        subject_of.get(picture, subject)
        for picture, subject in zip(train.picture.tolist(), train.subject.tolist(), strict=True)
    ]
    names, code_N = np.unique(own, return_inverse=True)
    fold_N = (np.random.default_rng(seed).permutation(len(names)) % num_folds)[code_N]
    fold_by_image = dict(zip(train.image.tolist(), fold_N.tolist(), strict=True))
    fold_by_picture = dict(zip(train.picture.tolist(), fold_N.tolist(), strict=True)) | fold_by_image
    second = [fold_by_picture.get(blended_with(key), -1) for key in train.image.tolist()]
    return fold_N, np.array(second, dtype=np.int64)
