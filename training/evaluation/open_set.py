"""Open-set identification: are those found who are in the gallery, and nobody for those who are not?

Shapes: P probes, G gallery rows, D dimension; M mated probes, whose subject is in the gallery, N non-mated ones.

Source: ISO/IEC 19795-1 and NIST FRVT 1:N (IR 8271), FNIR(N, R, T) and FPIR(N, T).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.scoring import FloatArray, Fusion, IntArray, StrArray, Subjects, score_blocks

WeightArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Searches:
    """What matters of every probe's search. Each person counts once, however many probes are of them."""

    mate_score_M: FloatArray
    """The score with the probe's own subject."""
    mate_rank_M: IntArray
    """The rank of the probe's own subject, 1 the best; a tie counts against the probe."""
    mate_weight_M: WeightArray
    """One by the number of that person's probes."""
    best_score_N: FloatArray
    """The highest score of a probe of nobody in the gallery."""
    weight_N: WeightArray
    """One by the number of that person's probes."""

    def fpir(self, threshold: float) -> float:
        """False-positive identification rate: the share of non-mated probes for which anybody reaches the threshold."""
        return float(np.average(self.best_score_N >= threshold, weights=self.weight_N))

    def fnir(self, threshold: float, max_rank: int | None = None) -> float:
        """False-negative identification rate: the share of mated probes whose subject does not reach the threshold, or not
        among the first `max_rank`.
        """
        is_missed_M = self.mate_score_M < threshold
        if max_rank is not None:
            is_missed_M |= self.mate_rank_M > max_rank
        return float(np.average(is_missed_M, weights=self.mate_weight_M))

    def threshold_at(self, fpir: float) -> float | None:
        """The highest threshold that as much as may, by the rate, of the non-mated probes reaches; None where there are
        fewer people than 1 / fpir.
        """
        if self.weight_N.sum() < 1 / fpir - 1e-9:
            return None
        order = np.argsort(-self.best_score_N, kind="stable")
        passed = np.cumsum(self.weight_N[order])
        num = int(np.searchsorted(passed, fpir * passed[-1] + 1e-9, side="right"))
        if num == len(order):
            return float(self.best_score_N.min())
        below = self.best_score_N[order[num]]
        above = self.best_score_N[order[num - 1]] if num else below
        return float(above) if above > below else float(np.nextafter(below, np.float32(np.inf)))

    def fnir_at_fpir(self, fpir: float, max_rank: int | None = None) -> float | None:
        """FNIR at `threshold_at`; None with too few people who are not enrolled (fewer than 1 / fpir), or none who are.

        >>> one = np.ones(10)
        >>> found = Searches(np.array([0.9, 0.3], dtype=np.float32), np.array([1, 1]), one[:2],
        ...                  np.linspace(0, 0.5, 10, dtype=np.float32), one)
        >>> found.fnir_at_fpir(0.1), found.fnir_at_fpir(0.01)
        (0.5, None)
        """
        threshold = self.threshold_at(fpir)
        return None if threshold is None or not self.mate_score_M.size else self.fnir(threshold, max_rank)


def search(
    probe_PD: FloatArray,
    probe_subject: StrArray,
    gallery_GD: FloatArray,
    gallery_subject: StrArray,
    fusion: Fusion = "max",
) -> Searches:
    """Search the gallery with every probe; several templates of a subject are fused. Raises `ValueError` without any."""
    if not len(gallery_GD):
        raise ValueError("a search needs a gallery")
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
    _, code_P, num = np.unique(probe_subject, return_inverse=True, return_counts=True)
    weight_P = 1.0 / num[code_P]
    return Searches(
        np.concatenate(mate_score),
        np.concatenate(mate_rank),
        weight_P[place_P >= 0],
        np.concatenate(best_score),
        weight_P[place_P < 0],
    )


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
