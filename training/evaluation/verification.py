"""Verification: how many genuine pairs are accepted when only so many impostors may be.

Shapes: P probes, G gallery rows, D dimension; m genuine and n impostor scores.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.operating_point import threshold_at

FloatArray = npt.NDArray[np.float32]
StrArray = npt.NDArray[np.str_]


def score_pairs(
    probe_PD: FloatArray, probe_subject: StrArray, gallery_GD: FloatArray, gallery_subject: StrArray
) -> tuple[FloatArray, FloatArray]:
    """Genuine (m,) and impostor (n,) scores of every probe with every gallery row. All P x G scores are held at once.

    >>> genuine, impostor = score_pairs(np.eye(2, dtype=np.float32), np.array(["a", "b"]),
    ...                                 np.eye(2, dtype=np.float32), np.array(["a", "c"]))
    >>> genuine.tolist(), impostor.tolist()
    ([1.0], [0.0, 0.0, 1.0])
    """
    score_PG = probe_PD @ gallery_GD.T
    # Numbers are compared far faster than text.
    _, code = np.unique(np.concatenate([probe_subject, gallery_subject]), return_inverse=True)
    same_PG = code[: len(probe_PD), None] == code[None, len(probe_PD) :]
    return score_PG[same_PG], score_PG[~same_PG]


def tar_at_far(
    genuine: npt.NDArray[np.floating[Any]], impostor: npt.NDArray[np.floating[Any]], far: float
) -> float | None:
    """The share of genuine scores at or above the score of the last impostor that a share `far` lets through.

    None where there are too few impostors to let even one pass (n < 1 / far), or no genuine scores.

    >>> tar_at_far(np.array([0.9, 0.4]), np.array([0.8, 0.3, 0.2, 0.1]), far=0.25)
    0.5
    """
    threshold = threshold_at(impostor, far)
    if threshold is None or genuine.size == 0:
        return None
    return float(np.mean(genuine >= threshold))
