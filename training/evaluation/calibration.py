"""Operating points from pictures with known subjects that the translator was not fitted to.

Shapes: N pictures, S source and T target dimension. A picture is never compared with itself.
"""

import numpy as np
import numpy.typing as npt

from models.feature_set import FeatureSet
from models.features import FloatArray
from models.operating_point import Calibration, Comparison, operating_points
from training.data.pairs import Pairs

MAX_PICTURES = 4096
"""More are thinned out evenly; 4,096 pictures give 8 million pairs."""


def calibrate(pairs: Pairs, translated_NT: FloatArray) -> Calibration:
    """Operating points of both native comparisons and the translated one; none where subjects are not known."""
    if not pairs.source.has_subjects:
        return Calibration()
    rows = _thinned(len(pairs))
    subject = pairs.source.subject[rows]
    source, target, translated = pairs.source.feature[rows], pairs.target.feature[rows], translated_NT[rows]
    sides: dict[Comparison, tuple[FloatArray, FloatArray]] = {
        "native-source": (source, source),
        "native-target": (target, target),
        "translated": (translated, target),
    }
    points = {name: operating_points(*_scores(a, b, subject)) for name, (a, b) in sides.items()}
    return Calibration({name: found for name, found in points.items() if found})


def calibrate_native(feature_set: FeatureSet) -> Calibration:
    """Operating points of an encoder's own space, from pictures of subjects it has not seen."""
    rows = _thinned(len(feature_set))
    feature = feature_set.feature[rows]
    points = operating_points(*_scores(feature, feature, feature_set.subject[rows]))
    return Calibration({"native-target": points} if points else {})


def _thinned(num: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, num - 1, min(num, MAX_PICTURES)).astype(np.int64)


def _scores(a_ND: FloatArray, b_ND: FloatArray, subject: npt.NDArray[np.str_]) -> tuple[FloatArray, FloatArray]:
    upper, lower = np.triu_indices(len(a_ND), k=1)
    same = subject[upper] == subject[lower]
    score_NN = a_ND @ b_ND.T
    both_ways = np.stack([score_NN[upper, lower], score_NN[lower, upper]])
    if a_ND is b_ND:
        both_ways = both_ways[:1]
    return both_ways[:, same].reshape(-1), both_ways[:, ~same].reshape(-1)
