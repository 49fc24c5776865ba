"""Scores of many probes with many templates, a block at a time: 100,000 x 1,000,000 of them are never held.

Shapes: P probes, G gallery rows (templates), D dimension, U subjects of the gallery, B probes of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from training.evaluation.curves import ErrorCurve

FloatArray = npt.NDArray[np.float32]
StrArray = npt.NDArray[np.str_]
IntArray = npt.NDArray[np.int64]
Fusion = Literal["max", "mean"]
CountT = TypeVar("CountT", np.int64, np.float64)

HELD = 1 << 24
"""Most scores held at once: 64 MB of them."""
FINENESS = 1 << 19
"""Bins in a score of one. A power of two, so that where a bin starts is exact in float32."""
NUM_BINS = 2 * FINENESS + 2
"""Of scores in [-1, 1]; one for 1 itself, and one above, where nobody is."""


def score_blocks(probe_PD: FloatArray, gallery_GD: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """The rows of each block, and their scores with the whole gallery (B, G); at most HELD scores, at least a row."""
    size = max(1, HELD // max(1, len(gallery_GD)))
    for start in range(0, len(probe_PD), size):
        rows = slice(start, min(start + size, len(probe_PD)))
        yield rows, probe_PD[rows] @ gallery_GD.T


class Subjects:
    """Whose templates those of a gallery are, and how several of one subject become one score."""

    def __init__(self, gallery_subject: StrArray, fusion: Fusion = "max") -> None:
        """`max` asks for the most similar template of a subject, `mean` for what all of them say."""
        self.names, code_G = np.unique(gallery_subject, return_inverse=True)
        self._order_G = np.argsort(code_G, kind="stable")
        self._starts_U = np.searchsorted(code_G[self._order_G], np.arange(len(self.names)))
        self._num_U = np.bincount(code_G, minlength=len(self.names))
        self._fusion = fusion

    def fuse(self, score_BG: FloatArray) -> FloatArray:
        """Scores with subjects (B, U), in the order of `names`.

        >>> Subjects(np.array(["b", "a", "b"])).fuse(np.array([[0.5, 0.25, 0.75]], dtype=np.float32)).tolist()
        [[0.25, 0.75]]
        """
        sorted_BG = score_BG[:, self._order_G]
        if self._fusion == "max":
            highest_BU: FloatArray = np.maximum.reduceat(sorted_BG, self._starts_U, axis=1)
            return highest_BU
        sum_BU = np.add.reduceat(sorted_BG, self._starts_U, axis=1, dtype=np.float64)
        return (sum_BU / self._num_U).astype(np.float32)

    def places_of(self, subject: StrArray) -> IntArray:
        """The column of each subject, -1 for those who are not in the gallery."""
        place = np.searchsorted(self.names, subject)
        place = np.minimum(place, len(self.names) - 1)
        return np.where(self.names[place] == subject, place, -1)


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """How many genuine and impostor scores lie in each of NUM_BINS bins; what is stated at the start of a bin is exact."""

    genuine: IntArray
    impostor: IntArray

    def threshold_at(self, rate: float) -> float | None:
        """The lowest start of a bin that at most a share `rate` of impostors reaches; None where n < 1 / rate.

        >>> counts = count_scores(np.eye(2, dtype=np.float32), np.array(["a", "b"]),
        ...                       np.eye(2, dtype=np.float32), np.array(["a", "c"]))
        >>> counts.threshold_at(0.5) > 0.0, counts.tar_at_far(0.5)
        (True, 1.0)
        """
        place = self._bin_at(rate)
        return None if place is None else start_of(place)

    def tar_at_far(self, far: float) -> float | None:
        """The share of genuine scores at or above that threshold.

        It may be more than `verification.tar_at_far`, whose threshold is as high as the last impostor let through, where this
        one is as low as the first that is not.
        """
        place = self._bin_at(far)
        if place is None or not self.genuine.any():
            return None
        return float(self.genuine[place:].sum() / self.genuine.sum())

    def curve(self) -> ErrorCurve:
        """Errors at the start of every bin that has a score. Raises `ValueError` where one side has no scores."""
        if not (self.genuine.any() and self.impostor.any()):
            raise ValueError("a curve needs genuine and impostor scores")
        filled_K = np.flatnonzero(self.genuine + self.impostor)[::-1]
        threshold_K = np.concatenate([[np.inf], (filled_K - FINENESS) / FINENESS])
        fmr_K, tar_K = (
            np.concatenate([[0.0], reaching(counts)[filled_K] / counts.sum()])
            for counts in (self.impostor, self.genuine)
        )
        return ErrorCurve(threshold_K, fmr_K, 1.0 - tar_K)

    def _bin_at(self, rate: float) -> int | None:
        allowed = int(rate * self.impostor.sum() + 1e-9)
        return int(np.argmax(reaching(self.impostor) <= allowed)) if allowed else None


def count_scores(
    probe_PD: FloatArray, probe_subject: StrArray, gallery_GD: FloatArray, gallery_subject: StrArray
) -> ScoreCounts:
    """Every probe with every gallery row, genuine where both are of one subject. Cosines of unit features."""
    _, code = np.unique(np.concatenate([probe_subject, gallery_subject]), return_inverse=True)
    probe_code_P, gallery_code_G = np.split(code.astype(np.int32), [len(probe_PD)])
    genuine, impostor = np.zeros(NUM_BINS, dtype=np.int64), np.zeros(NUM_BINS, dtype=np.int64)
    for rows, score_BG in score_blocks(probe_PD, gallery_GD):
        same_BG = probe_code_P[rows, None] == gallery_code_G
        genuine += np.bincount(bins_of(score_BG[same_BG]), minlength=NUM_BINS)
        impostor += np.bincount(bins_of(score_BG), minlength=NUM_BINS)
    return ScoreCounts(genuine, impostor - genuine)


def bins_of(score: FloatArray) -> IntArray:
    """The bin of each score, flat; beyond -1 and 1, where only rounding leads, that at the edge."""
    place = np.floor(score.reshape(-1).astype(np.float64) * FINENESS).astype(np.int64)
    return np.clip(place, -FINENESS, FINENESS) + FINENESS


def start_of(place: int) -> float:
    """The lowest score of a bin."""
    return (place - FINENESS) / FINENESS


def reaching(counts: npt.NDArray[CountT]) -> npt.NDArray[CountT]:
    """How many scores, or how much of them, lie in each bin or above."""
    return np.cumsum(counts[::-1], dtype=counts.dtype)[::-1]
