"""Translations of the training people by translators that have not seen them, for thresholds at rates that validation people
are too few to show.

The people of each fold are translated by one of the same method, fitted to all other folds. Compared within their fold, nobody
has been seen in any role by the translator at work: compared with everybody, a translator's training targets among them,
the same thresholds let through a tenth to a quarter less.

Source: Wolpert, Stacked generalization (Neural Networks 1992), for judging by what was fitted without.
"""

from collections.abc import Callable

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
    if not can_cross_fit(method) or not train.source.has_subjects or num_folds < 2:
        return []
    fold_N, fold_of_second_N = _folds(train.source, seed, num_folds)
    is_original_N = train.source.picture == train.source.image
    held = []
    for fold in range(num_folds):
        is_seen_N = (fold_N != fold) & (fold_of_second_N != fold)
        is_measured_N = (fold_N == fold) & is_original_N
        if (is_seen_N & is_original_N).sum() < MIN_TRAINING_PAIRS or not is_measured_N.any():
            return []
        on_fold(fold)
        data = training_data(train.take(is_seen_N), parts.validation, seed)
        model = load(recipe.trainer)(data).model
        measured = train.take(is_measured_N)
        held.append(HeldOut(measured, model(measured.source.feature)))
    return held


def can_cross_fit(method: str) -> bool:
    """Whether it is fitted in a minute, and to features alone."""
    return translators.METHODS[method].paths is None


def _folds(train: FeatureSet, seed: int, num_folds: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The fold of who is on each row (N,), and of the second face of a blend; -1 where there is none."""
    names, code_N = np.unique(train.subject, return_inverse=True)
    fold_N = (np.random.default_rng(seed).permutation(len(names)) % num_folds)[code_N]
    fold_by_image = dict(zip(train.image.tolist(), fold_N.tolist(), strict=True))
    fold_by_picture = dict(zip(train.picture.tolist(), fold_N.tolist(), strict=True)) | fold_by_image
    second = [fold_by_picture.get(blended_with(key), -1) for key in train.image.tolist()]
    return fold_N, np.array(second, dtype=np.int64)
