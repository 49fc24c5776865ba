"""How well pictures of a weak modality find their people among photos, each compared as several features or as one.

Protocol: every weak picture that is kept apart is a probe, all strong pictures are the gallery, and a subject is found by the
most alike of theirs. Verification compares every probe with every picture of the gallery.

Source: Weak-Strong GAN (AAAI 2019), Evaluation and Table 4.

Shapes: P probes, M samples of each, G gallery pictures, S dimension.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.feature_set import FeatureSet
from models.features import FloatArray
from models.parzen import density_scores
from training.evaluation.identification import rank_k
from training.evaluation.scoring import StrArray, Subjects
from training.evaluation.verification import tar_at_far

SIGMAS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0)
"""Widths of kernels to choose from. Cosines of photos of two people differ by some tenths."""
_VARIED, _MAPPED = 512, 8

Sample = Callable[[FloatArray, int], FloatArray]
"""Weak features (P, W) and a seed to strong features (P, M, S)."""


@dataclass(frozen=True, slots=True)
class CrossModalFigures:
    """Of one way to compare; None where there are too few comparisons to tell. Recall is by subject."""

    rank1: float
    rank5: float
    rank10: float
    rank50: float
    tar_far_1e2: float | None
    tar_far_1e3: float | None

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Variance:
    """How alike features are on average, of one person and of two. Source: Weak-Strong GAN (AAAI 2019), Table 4."""

    intra_sim: float | None
    inter_sim: float | None


_MOST_PHOTOS = 8192
"""Of measured people, that are compared with one another."""


@dataclass(frozen=True, slots=True)
class AmongPhotos:
    """How well photos find their people among the first of each, by the encoder as it came and as it was trained; all of people
    whom it has not seen, as those whom it has it may tell from strangers by that alone.
    """

    num_probes: int
    """Photos beyond the first."""
    num_photos: int
    before: CrossModalFigures
    after: CrossModalFigures


def among_photos(before: FeatureSet, after: FeatureSet, is_measured_N: npt.NDArray[np.bool_]) -> AmongPhotos | None:
    """Of the same photos by either encoder (N, D), and who is measured (N,), of whom as many are looked at as fit; None where
    nobody has a second photo.
    """
    measured = np.flatnonzero(is_measured_N)
    subject = before.subject
    _, first, code = np.unique(subject[measured], return_index=True, return_inverse=True)
    is_first = np.isin(np.arange(len(measured)), first)
    is_looked_at = code < max(2, int(len(first) * _MOST_PHOTOS / max(1, len(measured))))
    probes, gallery = measured[is_looked_at & ~is_first], measured[is_looked_at & is_first]
    if not len(probes):
        return None
    of_both = (
        figures_of(one.feature[probes] @ one.feature[gallery].T, subject[probes], subject[gallery])
        for one in (before, after)
    )
    return AmongPhotos(len(probes), len(gallery), *of_both)


def score_samples(sample_PMS: FloatArray, gallery_GS: FloatArray, sigma: float) -> npt.NDArray[np.float32]:
    """Scores (P, G): densities of the samples' kernels, and of one sample its cosine."""
    if sample_PMS.shape[1] == 1:
        return sample_PMS[:, 0] @ gallery_GS.T
    return np.stack([density_scores(of_probe @ gallery_GS.T, sigma).astype(np.float32) for of_probe in sample_PMS])


def figures_of(
    score_PG: npt.NDArray[np.float32], probe_subject: StrArray, gallery_subject: StrArray
) -> CrossModalFigures:
    """Recall and true positive rates of scores. Raises `ValueError` for a probe of nobody in the gallery."""
    rank_P = ranks_of(score_PG, probe_subject, gallery_subject)
    _, code = np.unique(np.concatenate([probe_subject, gallery_subject]), return_inverse=True)
    same_PG = code[: len(probe_subject), None] == code[None, len(probe_subject) :]
    genuine, impostor = score_PG[same_PG], score_PG[~same_PG]
    rank1, rank5, rank10, rank50 = (rank_k(rank_P, k) for k in (1, 5, 10, 50))
    tars = (tar_at_far(genuine, impostor, far) for far in (1e-2, 1e-3))
    return CrossModalFigures(rank1, rank5, rank10, rank50, *tars)


def ranks_of(
    score_PG: npt.NDArray[np.float32], probe_subject: StrArray, gallery_subject: StrArray
) -> npt.NDArray[np.int64]:
    """The rank of each probe's subject (P,), 1 the best, by their best picture; a tie counts against the probe."""
    subjects = Subjects(gallery_subject)
    own_P = subjects.places_of(probe_subject)
    if (own_P < 0).any():
        raise ValueError("a probe's subject is not in the gallery")
    score_PU = subjects.fuse(score_PG)
    own_P1 = np.take_along_axis(score_PU, own_P[:, None], axis=1)
    rank_P: npt.NDArray[np.int64] = (score_PU >= own_P1).sum(axis=1)
    return rank_P


def mean_figures(several: Sequence[CrossModalFigures]) -> CrossModalFigures:
    """The mean of several rounds, each with noise of its own."""
    columns = [[getattr(one, name) for one in several] for name in CrossModalFigures.__slots__]
    return CrossModalFigures(*(None if None in column else float(np.mean(column)) for column in columns))  # type: ignore[arg-type]


def best_sigma(sample_PMS: FloatArray, probes: FeatureSet, gallery: FeatureSet) -> float:
    """The width with the highest mean reciprocal rank, of equals the largest, which asks all samples alike."""
    scores = {sigma: score_samples(sample_PMS, gallery.feature, sigma) for sigma in SIGMAS}
    merits = {sigma: mean_reciprocal_rank(score_PG, probes, gallery) for sigma, score_PG in scores.items()}
    return max(merits, key=lambda sigma: (merits[sigma], sigma))


def mean_reciprocal_rank(score_PG: npt.NDArray[np.float32], probes: FeatureSet, gallery: FeatureSet) -> float:
    """The mean of 1 / rank, which tells apart what finds as many first; in (0, 1]."""
    return float(np.mean(1 / ranks_of(score_PG, probes.subject, gallery.subject)))


def variance_of(sample_PMS: FloatArray, subject: StrArray) -> Variance:
    """Of generated features: pairs of samples of one probe, and of probes of two people."""
    some = np.random.default_rng(0).permutation(len(sample_PMS))[:_VARIED]
    sample_PMS, subject = sample_PMS[some].astype(np.float64), subject[some]
    num_samples = sample_PMS.shape[1]
    mean_PS = sample_PMS.mean(axis=1)
    # Of all pairs of M unit vectors, the square of their sum less the M with themselves.
    square_P = (mean_PS**2).sum(axis=1) * num_samples**2
    intra = float(np.mean((square_P - num_samples) / (num_samples * (num_samples - 1)))) if num_samples > 1 else None
    is_other = subject[:, None] != subject[None]
    return Variance(intra, float((mean_PS @ mean_PS.T)[is_other].mean()) if is_other.any() else None)


def real_variance(strong: FeatureSet) -> Variance:
    """Of real features: pairs of pictures of one person, and of two, every person alike."""
    names, code = np.unique(strong.subject, return_inverse=True)
    sums_US = np.zeros((len(names), strong.feature.shape[1]))
    np.add.at(sums_US, code, strong.feature)
    num_U = np.bincount(code)
    several = num_U > 1
    pairs_U = ((sums_US**2).sum(axis=1) - num_U)[several] / (num_U * (num_U - 1))[several]
    mean_US = sums_US / num_U[:, None]
    total, own = (mean_US.sum(axis=0) ** 2).sum(), (mean_US**2).sum()
    num = len(names)
    return Variance(
        float(pairs_U.mean()) if several.any() else None, float((total - own) / (num * (num - 1))) if num > 1 else None
    )


def recall_by_samples(
    sample: Sample,
    probes: FeatureSet,
    gallery: FeatureSet,
    sigma: float,
    *,
    nums: Iterable[int],
    seeds: Iterable[int],
) -> dict[int, CrossModalFigures]:
    """Figures by the number of samples, each the mean over seeds. Source: Weak-Strong GAN (AAAI 2019), Fig. 5."""
    drawn = [sample(probes.feature, seed) for seed in seeds]
    return {
        num: mean_figures(
            [
                figures_of(score_samples(one[:, :num], gallery.feature, sigma), probes.subject, gallery.subject)
                for one in drawn
            ]
        )
        for num in nums
    }


@dataclass(frozen=True, slots=True)
class CrossModalMap:
    """A few people's features in the plane in which their photos differ most. P probes, M samples, G photos."""

    person_G: npt.NDArray[np.int64]
    photo_G2: FloatArray
    person_P: npt.NDArray[np.int64]
    weak_P2: FloatArray | None
    """None where weak features are of another space."""
    sample_PM2: FloatArray


def map_of(sample_PMS: FloatArray, probes: FeatureSet, gallery: FeatureSet) -> CrossModalMap | None:
    """Of those with the most photos among whoever is asked about; None of fewer than two. Source: Weak-Strong GAN, Fig. 4."""
    names, num = np.unique(gallery.subject[np.isin(gallery.subject, probes.subject)], return_counts=True)
    chosen = names[np.lexsort((names, -num))][:_MAPPED]
    if len(chosen) < 2:
        return None
    in_gallery, in_probes = np.isin(gallery.subject, chosen), np.isin(probes.subject, chosen)
    by_name = np.sort(chosen)
    photo_GS = gallery.feature[in_gallery]
    plane_S2 = np.linalg.svd(photo_GS - photo_GS.mean(axis=0), full_matrices=False)[2][:2].T
    is_one_space = probes.space.fingerprint == gallery.space.fingerprint
    return CrossModalMap(
        np.searchsorted(by_name, gallery.subject[in_gallery]),
        photo_GS @ plane_S2,
        np.searchsorted(by_name, probes.subject[in_probes]),
        probes.feature[in_probes] @ plane_S2 if is_one_space else None,
        sample_PMS[in_probes] @ plane_S2,
    )
