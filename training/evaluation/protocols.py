"""Figures of protocols that compare given pairs, or search given galleries with given probes, fold by fold.

Shapes: N comparisons, F folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.identification import rank_k
from training.evaluation.open_set import search
from training.evaluation.scoring import Fusion, count_scores
from training.evaluation.verification import tar_at_far

Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class FoldFigure:
    """The mean over folds, and its standard error: their standard deviation by the root of their number."""

    mean: float
    standard_error: float
    num_folds: int


def accuracy_by_fold(
    score_N: Scores, is_same_N: npt.NDArray[np.bool_], fold_N: npt.NDArray[np.int64]
) -> FoldFigure | None:
    """The share of comparisons decided rightly, each fold at the threshold that is best on all others; None with one fold.

    Source: Huang et al., Labeled Faces in the Wild (2007), Sec. 4, view 2.

    >>> score, same = np.array([0.9, 0.1, 0.8, 0.3]), np.array([True, False, True, False])
    >>> accuracy_by_fold(score, same, np.array([0, 0, 1, 1]))
    FoldFigure(mean=1.0, standard_error=0.0, num_folds=2)
    """
    folds = np.unique(fold_N)
    if len(folds) < 2:
        return None
    shares = []
    for fold in folds:
        here_N = fold_N == fold
        threshold = _best_threshold(score_N[~here_N], is_same_N[~here_N])
        shares.append(float(np.mean((score_N[here_N] >= threshold) == is_same_N[here_N])))
    return _figure(shares)


def tar_by_fold(
    score_N: Scores, is_same_N: npt.NDArray[np.bool_], fold_N: npt.NDArray[np.int64], far: float
) -> FoldFigure | None:
    """TAR at FAR, found in each fold by itself; None where a fold has too few impostors (n < 1 / far) or no genuine pair.

    Source: Huo et al., WebCaricature (BMVC 2018), VAL at FAR.
    """
    found = [
        tar_at_far(score_N[here_N & is_same_N], score_N[here_N & ~is_same_N], far)
        for here_N in (fold_N == fold for fold in np.unique(fold_N))
    ]
    shares = [share for share in found if share is not None]
    return _figure(shares) if len(shares) == len(found) else None


@dataclass(frozen=True, slots=True)
class PairFigures:
    """One way to compare the pairs of a list."""

    accuracy: FoldFigure | None
    tar_far_1e2: FoldFigure | None
    tar_far_1e3: FoldFigure | None


def pair_figures(score_N: Scores, is_same_N: npt.NDArray[np.bool_], fold_N: npt.NDArray[np.int64]) -> PairFigures:
    """All figures of one way to compare."""
    return PairFigures(
        accuracy_by_fold(score_N, is_same_N, fold_N),
        tar_by_fold(score_N, is_same_N, fold_N, 1e-2),
        tar_by_fold(score_N, is_same_N, fold_N, 1e-3),
    )


@dataclass(frozen=True, slots=True)
class IdentificationFigures:
    """One way to compare the probes of a list with its gallery; None where no fold can say."""

    rank1: FoldFigure | None
    """Recall@1, over probes whose subject is in the gallery."""
    rank5: FoldFigure | None
    rank10: FoldFigure | None
    rank50: FoldFigure | None
    tar_far_1e2: FoldFigure | None
    """Over all comparisons of a probe with a template of the gallery."""
    tar_far_1e3: FoldFigure | None
    fnir: FoldFigure | None
    """The share of these people that is missed where `FPIR` of those who are not in the gallery find somebody."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows of a fold's probes and gallery."""

    probes: npt.NDArray[np.int64]
    gallery: npt.NDArray[np.int64]


FPIR = 0.01
RANKS = (1, 5, 10, 50)
RATES = (1e-2, 1e-3)


def identification_figures(
    probe_ND: npt.NDArray[np.float32],
    stored_ND: npt.NDArray[np.float32],
    subject: npt.NDArray[np.str_],
    folds: Sequence[Fold],
    fusion: Fusion = "max",
) -> IdentificationFigures:
    """Search each fold's gallery with its probes; several templates of a subject are fused, and verified one by one.

    Source: Weak-Strong GAN (AAAI 2019), Evaluation: Recall@K over identities, TPR@FPR over pairs of pictures.
    """
    ranked: list[list[float]] = [[] for _ in RANKS]
    verified: list[list[float]] = [[] for _ in RATES]
    fnir = []
    for fold in folds:
        asked = (probe_ND[fold.probes], subject[fold.probes])
        stored = (stored_ND[fold.gallery], subject[fold.gallery])
        found = search(*asked, *stored, fusion)
        if found.mate_rank_M.size:
            for shares, rank in zip(ranked, RANKS, strict=True):
                shares.append(rank_k(found.mate_rank_M, rank))
        counts = count_scores(*asked, *stored)
        for shares, rate in zip(verified, RATES, strict=True):
            shares += [share for share in [counts.tar_at_far(rate)] if share is not None]
        missed = found.fnir_at_fpir(FPIR)
        if missed is not None:
            fnir.append(missed)
    return IdentificationFigures(*(_figure(shares) if shares else None for shares in (*ranked, *verified, fnir)))


def _best_threshold(score_N: Scores, is_same_N: npt.NDArray[np.bool_]) -> float:
    """In the middle between the two scores where most comparisons are decided rightly; of equals the lowest; beyond
    all scores where all comparisons are of one kind."""
    order = np.argsort(score_N, kind="stable")
    sorted_N, same_N = score_N[order].astype(np.float64), is_same_N[order]
    # Right, where the first k are called different: those of two people among them, and those of one after them.
    right_K = np.concatenate([[0], np.cumsum(~same_N)]) + np.concatenate([np.cumsum(same_N[::-1])[::-1], [0]])
    edge_K = np.concatenate([[-np.inf], sorted_N, [np.inf]])
    is_between_K = edge_K[:-1] < edge_K[1:]
    best = int(np.argmax(np.where(is_between_K, right_K, -1)))
    return float((edge_K[best] + edge_K[best + 1]) / 2)


def _figure(shares: list[float]) -> FoldFigure:
    spread = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return FoldFigure(float(np.mean(shares)), spread / float(np.sqrt(len(shares))), len(shares))
