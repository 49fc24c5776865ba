"""Operating points from pictures with known subjects that the translator was not fitted to: each pair of people counts once.

Somebody with five hundred pictures would otherwise decide alone which scores strangers reach. So an impostor comparison is of
two people drawn at random, with a picture of each, and a genuine one of a person drawn at random, with two of their pictures.

Shapes: N pictures, S source and T target dimension. A picture is never compared with itself.
"""

import numpy as np
import numpy.typing as npt

from models.feature_set import FeatureSet
from models.features import FloatArray
from models.operating_point import RULE_OF, STATED_RATES, Calibration, Comparison, OperatingPoint
from training.data.pairs import Pairs
from training.evaluation.scoring import NUM_BINS, StrArray, bins_of, reaching, score_blocks, start_of

MAX_PICTURES = 8192
"""Of more, pictures of those go who have many, down to two each, and then people; 8,192 give 67 million scores."""

_ROUNDING = 1e-12
_WeightArray = npt.NDArray[np.float64]


def calibrate(pairs: Pairs, translated_NT: FloatArray) -> Calibration:
    """Operating points of both native comparisons and the translated one; none where subjects are not known."""
    if not pairs.source.has_subjects:
        return Calibration()
    rows = _thinned(pairs.source.subject)
    subject = pairs.source.subject[rows]
    source, target, translated = pairs.source.feature[rows], pairs.target.feature[rows], translated_NT[rows]
    sides: dict[Comparison, tuple[FloatArray, FloatArray]] = {
        "native-source": (source, source),
        "native-target": (target, target),
        "translated": (translated, target),
    }
    points = {name: _points(a, b, subject) for name, (a, b) in sides.items()}
    return Calibration({name: found for name, found in points.items() if found}, counted="people")


def calibrate_native(feature_set: FeatureSet) -> Calibration:
    """Operating points of an encoder's own space, from pictures of subjects it has not seen."""
    rows = _thinned(feature_set.subject)
    feature = feature_set.feature[rows]
    points = _points(feature, feature, feature_set.subject[rows])
    return Calibration({"native-target": points} if points else {}, counted="people")


def _thinned(subject: StrArray) -> npt.NDArray[np.int64]:
    """The rows of at most MAX_PICTURES pictures: the first few of everybody, two or more, or of as many people as fit."""
    _, code_N, num = np.unique(subject, return_inverse=True, return_counts=True)
    order = np.argsort(code_N, kind="stable")
    # Each picture's place among its person's.
    place_N = np.empty(len(subject), dtype=np.int64)
    place_N[order] = np.arange(len(subject)) - np.repeat(np.cumsum(num) - num, num)
    most = max((most for most in range(2, num.max() + 1) if np.minimum(num, most).sum() <= MAX_PICTURES), default=2)
    num_people = len(num) if np.minimum(num, most).sum() <= MAX_PICTURES else MAX_PICTURES // 2
    people = np.linspace(0, len(num) - 1, num_people).astype(np.int64)
    return np.flatnonzero((place_N < most) & np.isin(code_N, people))


def _points(a_ND: FloatArray, b_ND: FloatArray, subject: StrArray) -> tuple[OperatingPoint, ...]:
    """Thresholds at each stated rate that so many pairs of people can show, by the rule of 30."""
    num_people, genuine, impostor = _weighed(a_ND, b_ND, subject)
    num_pairs, num_genuine = num_people * (num_people - 1) // 2, round(float(genuine.sum()))
    points = []
    for rate in STATED_RATES:
        if not num_genuine or rate * num_pairs < RULE_OF:
            break
        # The lowest start of a bin that no more than the rate reaches.
        place = int(np.argmax(reaching(impostor) <= (rate + _ROUNDING) * impostor.sum()))
        fnmr = float(genuine[:place].sum() / genuine.sum())
        points.append(OperatingPoint(rate, start_of(place), fnmr, num_genuine, num_pairs))
    return tuple(points)


def _weighed(a_ND: FloatArray, b_ND: FloatArray, subject: StrArray) -> tuple[int, _WeightArray, _WeightArray]:
    """The number of people, and how much genuine and impostor scores of every two rows weigh in each bin.

    Those of one person with several pictures weigh one together, those of two people, both ways, two.
    """
    _, code_N, num = np.unique(subject, return_inverse=True, return_counts=True)
    num_N = num[code_N]
    genuine, impostor = np.zeros(NUM_BINS), np.zeros(NUM_BINS)
    for rows, score_BN in score_blocks(a_ND, b_ND):
        bin_BN = bins_of(score_BN).reshape(score_BN.shape)
        same_BN = code_N[rows, None] == code_N
        one, other = np.nonzero(same_BN)
        is_other_picture = one + rows.start != other
        one, other = one[is_other_picture], other[is_other_picture]
        weight = 1.0 / (num_N[other] * (num_N[other] - 1))
        genuine += np.bincount(bin_BN[one, other], weights=weight, minlength=NUM_BINS)
        weight_BN = np.where(same_BN, 0.0, (1.0 / num_N[rows, None]) * (1.0 / num_N))
        impostor += np.bincount(bin_BN.reshape(-1), weights=weight_BN.reshape(-1), minlength=NUM_BINS)
    return len(num), genuine, impostor
