"""A linear map from a weak modality to a strong one, shrunken to what it started from: the simple method to beat.

Shapes: N weak pictures, U people, V validation pictures, W weak and S strong dimension.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from models.features import FloatArray, unit_features
from models.linear import LinearMap
from training.trainers.fitted import Fitted
from training.trainers.linear import RIDGE_STRENGTHS, Moments
from training.trainers.weak_strong import WeakStrong

SHARES = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1)
"""Of the way from the weak feature as it is to the ridge map's answer."""

Merit = Callable[[Callable[[FloatArray], FloatArray]], float]
"""How well a translator does on validation pictures; the higher the better."""


def fit_shrunken_ridge(data: WeakStrong, merit: Merit) -> Fitted[LinearMap]:
    """f + share (ridge(f) - f), with strength and share by their merit on validation pictures.

    Ridge regression of the mean strong feature of the person. Between different spaces there is nothing to shrink to: the
    share is 1. Source: Hoerl and Kennard, Ridge regression (Technometrics 1970), which shrinks to zero.
    """
    candidates = _candidates(data)
    best = max(((merit(one.model), -place, one) for place, one in enumerate(candidates)), key=lambda found: found[:2])
    return best[2]


def start_of(data: WeakStrong) -> FloatArray:
    """A linear map (W, S) to start from: none of its own between pictures of one encoder, else ridge's."""
    if data.is_one_space:
        return np.eye(data.weak_NW.shape[1], dtype=np.float32)
    weight_WS = _moments(data).ridge(0.1)
    # To answers of about length one, which are what the rest is added to.
    length = np.linalg.norm(data.weak_NW @ weight_WS, axis=1).mean()
    start_WS: FloatArray = (weight_WS / length).astype(np.float32)
    return start_WS


def person_means(data: WeakStrong) -> FloatArray:
    """The mean strong feature of whoever is on each weak picture, (N, S), of length one."""
    sum_CS = np.zeros((data.num_classes, data.strong_MS.shape[1]))
    np.add.at(sum_CS, data.strong_class_M, data.strong_MS)
    return unit_features(sum_CS[data.weak_class_N].astype(np.float32))


def _moments(data: WeakStrong) -> Moments:
    return Moments.between(data.weak_NW, person_means(data))


def _candidates(data: WeakStrong) -> Iterator[Fitted[LinearMap]]:
    moments = _moments(data)
    for strength in RIDGE_STRENGTHS:
        ridge = moments.map(moments.ridge(strength))
        for share in SHARES if data.is_one_space else (1.0,):
            identity: npt.NDArray[np.float32] = np.eye(*ridge.weight_ST.shape, dtype=np.float32)
            weight_WS = identity + np.float32(share) * (ridge.weight_ST - identity)
            shrunken = LinearMap(weight_WS, np.float32(share) * ridge.bias_T)
            yield Fitted(shrunken, {"strength": strength, "share": share})
