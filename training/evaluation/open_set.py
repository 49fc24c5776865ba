"""Open-set identification: are those found who are in the gallery, and nobody for those who are not?

Shapes: P probes, G gallery rows, D dimension; M mated probes, whose subject is in the gallery, N non-mated ones.

Source: ISO/IEC 19795-1 and NIST FRVT 1:N (IR 8271), FNIR(N, R, T) and FPIR(N, T).
"""

from dataclasses import dataclass

import numpy as np

from models.operating_point import threshold_at
from training.evaluation.scoring import FloatArray, Fusion, IntArray, StrArray, Subjects, score_blocks


@dataclass(frozen=True, slots=True)
class Searches:
    """What matters of every probe's search."""

    mate_score_M: FloatArray
    """The score with the probe's own subject."""
    mate_rank_M: IntArray
    """The rank of the probe's own subject, 1 the best; a tie counts against the probe."""
    best_score_N: FloatArray
    """The highest score of a probe of nobody in the gallery."""

    def fpir(self, threshold: float) -> float:
        """False-positive identification rate: the share of non-mated probes for which anybody reaches the threshold."""
        return float(np.mean(self.best_score_N >= threshold))

    def fnir(self, threshold: float, max_rank: int | None = None) -> float:
        """False-negative identification rate: the share of mated probes whose subject does not reach the threshold, or not
        among the first `max_rank`.
        """
        is_found_M = self.mate_score_M >= threshold
        if max_rank is not None:
            is_found_M &= self.mate_rank_M <= max_rank
        return float(1.0 - np.mean(is_found_M))

    def fnir_at_fpir(self, fpir: float, max_rank: int | None = None) -> float | None:
        """FNIR at the lowest threshold with at most that FPIR; None with too few non-mated probes (N < 1 / fpir) or no
        mated ones.

        >>> found = Searches(np.array([0.9, 0.3], dtype=np.float32), np.array([1, 1]), np.linspace(0, 0.5, 10, dtype=np.float32))
        >>> found.fnir_at_fpir(0.1), found.fnir_at_fpir(0.01)
        (0.5, None)
        """
        threshold = threshold_at(self.best_score_N, fpir)
        return None if threshold is None or not self.mate_score_M.size else self.fnir(threshold, max_rank)


def search(
    probe_PD: FloatArray,
    probe_subject: StrArray,
    gallery_GD: FloatArray,
    gallery_subject: StrArray,
    fusion: Fusion = "max",
) -> Searches:
    """Search the gallery with every probe; several templates of a subject are fused."""
    subjects = Subjects(gallery_subject, fusion)
    place_P = subjects.places_of(probe_subject)
    mate_score, best_score = [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.float32)]
    mate_rank = [np.zeros(0, dtype=np.int64)]
    for rows, score_BG in score_blocks(probe_PD, gallery_GD):
        score_BU, place_B = subjects.fuse(score_BG), place_P[rows]
        is_mated_B = place_B >= 0
        own_M = score_BU[is_mated_B, place_B[is_mated_B]]
        mate_score.append(own_M)
        mate_rank.append((score_BU[is_mated_B] >= own_M[:, None]).sum(axis=1))
        best_score.append(score_BU[~is_mated_B].max(axis=1))
    return Searches(np.concatenate(mate_score), np.concatenate(mate_rank), np.concatenate(best_score))


def open_set_layout(subject: StrArray, seed: int = 0, share: float = 0.5) -> tuple[IntArray, IntArray, IntArray]:
    """Row numbers of a gallery, of its mated probes, and of non-mated ones.

    Of the subjects with several rows, a share is drawn of whom nobody is enrolled: all their rows are non-mated probes.
    Of everybody else the first row is in the gallery, the others are mated probes.
    """
    _, first_U, code, num_U = np.unique(subject, return_index=True, return_inverse=True, return_counts=True)
    several = np.flatnonzero(num_U > 1)
    drawn = np.random.default_rng(seed).permutation(several)[: int(share * len(several))]
    is_left_out = np.isin(code, drawn)
    is_first = np.zeros(len(subject), dtype=bool)
    is_first[first_U] = True
    return (
        np.flatnonzero(is_first & ~is_left_out),
        np.flatnonzero(~is_first & ~is_left_out),
        np.flatnonzero(is_left_out),
    )
