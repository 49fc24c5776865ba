"""Closed-set identification: at which rank is the right subject?

Shapes: P probes, G gallery rows, D dimension. Features are L2-normalised, scores are cosines.
"""

import numpy as np
import numpy.typing as npt

from training.evaluation.scoring import FloatArray, StrArray, score_blocks


def genuine_ranks(
    probe_PD: FloatArray, probe_subject: StrArray, gallery_GD: FloatArray, gallery_subject: StrArray
) -> npt.NDArray[np.int64]:
    """The rank of each probe's subject (P,), 1 the best, in a gallery of one template a subject.

    A tie counts against the probe: an impostor with the same score stands before the right subject. Raises `ValueError`
    for a probe whose subject is not in the gallery.

    >>> gallery = np.eye(3, dtype=np.float32)
    >>> probe = np.array([[0.9, 0.1, 0.0], [0.5, 0.4, 0.1]], dtype=np.float32)
    >>> genuine_ranks(probe, np.array(["a", "b"]), gallery, np.array(["a", "b", "c"]))
    array([1, 2])
    """
    row_by_subject = {subject: row for row, subject in enumerate(gallery_subject.tolist())}
    if len(row_by_subject) != len(gallery_subject):
        raise ValueError("the gallery must hold one template a subject")
    try:
        own_row_P = np.array([row_by_subject[subject] for subject in probe_subject.tolist()], dtype=np.int64)
    except KeyError:
        raise ValueError("a probe's subject is not in the gallery") from None
    ranks_P = np.empty(len(probe_PD), dtype=np.int64)
    for rows, score_BG in score_blocks(probe_PD, gallery_GD):
        genuine_B1 = np.take_along_axis(score_BG, own_row_P[rows, None], axis=1)
        ranks_P[rows] = (score_BG >= genuine_B1).sum(axis=1)
    return ranks_P


def rank_k(ranks_P: npt.NDArray[np.int64], k: int) -> float:
    """The share of probes whose subject is among the first k.

    >>> rank_k(np.array([1, 2, 6]), 1), rank_k(np.array([1, 2, 6]), 2)
    (0.3333333333333333, 0.6666666666666666)
    """
    return float(np.mean(ranks_P <= k))


def cmc(ranks_P: npt.NDArray[np.int64], num_ranks: int) -> npt.NDArray[np.float64]:
    """The cumulative match characteristic: `rank_k` for k = 1 to `num_ranks`, (num_ranks,).

    >>> cmc(np.array([1, 2, 6]), 3).round(3).tolist()
    [0.333, 0.667, 0.667]
    """
    count_K = np.bincount(np.minimum(ranks_P, num_ranks + 1), minlength=num_ranks + 2)[1:-1]
    share_K: npt.NDArray[np.float64] = np.cumsum(count_K) / len(ranks_P)
    return share_K
