"""What the report shows: figures of one translator on people it has not seen.

Shapes: N pictures, P probes, G gallery rows, K thresholds or steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibration import PHOTO, Calibration
from models.confidence import ConfidenceModel
from models.features import FloatArray
from models.operating_point import point_at
from training.data.pairs import Pairs
from training.evaluation.cross_space import Translate, comparisons, gallery_and_probes, mates
from training.evaluation.curves import ErrorCurve
from training.evaluation.identification import cmc, genuine_ranks
from training.evaluation.scoring import FINENESS, StrArray, count_scores, score_blocks

NUM_RANKS = 20
NUM_BARS = 60
"""Of a histogram, from the lowest score there is to 1."""
MAPPED_PEOPLE = 8
MAPPED_PICTURES = 12
"""Of each of them, at most."""
FEWEST_MAPPED = 3
MOST_SLICES = 12
"""Different values of a label beyond which it is a number or a name, and no group."""
FEWEST_PEOPLE = 30
"""Of a group, below which its rates say little."""
NUM_GROUPS = 8
FMRS = (1e-3, 1e-2)
"""Groups are judged at the first of them that has a threshold."""

_IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of scores in bars of one width."""

    edge_K: npt.NDArray[np.float64]
    genuine_K: npt.NDArray[np.float64]
    impostor_K: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Compared:
    """One way to compare probes with a gallery."""

    curve: ErrorCurve
    cmc_K: npt.NDArray[np.float64]
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """Features of a few people in two dimensions, those in which their native features differ most."""

    person_N: _IntArray
    source_N2: FloatArray
    """In directions of the source space."""
    target_N2: FloatArray
    translated_N2: FloatArray
    """In the same directions of the target space as the native ones."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What confidence says, and what came of it."""

    told_K: npt.NDArray[np.float64]
    """Mean confidence of groups of pictures, from the least."""
    came_K: npt.NDArray[np.float64]
    """The share of their genuine comparisons that reached the threshold."""
    fmr: float
    refused_K: npt.NDArray[np.float64]
    """Shares of probes that are refused, those of the least confidence first."""
    error_K: npt.NDArray[np.float64]
    """Rank-1 errors among the others."""
    held: float
    """The share of rank-1 errors that the least confident tenth of probes hold."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Translated probes of one group of people, at the threshold that holds for all."""

    label: str
    value: str
    num_people: int
    num_probes: int
    rank1: float
    fnmr: float | None
    fmr: float | None
    """Of comparisons with others of the same group."""


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """All of it; what cannot be measured on these pictures is missing."""

    num_pictures: int
    num_gallery: int
    num_probes: int
    compared: Mapping[str, Compared]
    """By the names of `comparisons`."""
    feature_map: FeatureMap | None
    trust: Trust | None
    slices: Sequence[Slice]
    slice_fmr: float | None


def measure_report(
    pairs: Pairs,
    translate: Translate,
    calibration: Calibration,
    confidence: ConfidenceModel | None,
    *,
    is_projected: bool = False,
) -> ReportFigures | None:
    """Measure on pairs of people whom the translator has not seen; None without subjects who have two pictures. With
    `is_projected` targets are another encoder's projections into a common space.
    """
    if not pairs.source.has_subjects:
        return None
    subject = pairs.source.subject
    gallery, probes = gallery_and_probes(subject)
    if not len(probes) or len(gallery) < 2:
        return None
    translated_NT = translate(pairs.source.feature)
    compared = {
        name: _compared(probe[probes], subject[probes], stored[gallery], subject[gallery])
        for name, (probe, stored) in comparisons(pairs, translated_NT, is_projected=is_projected).items()
    }
    points = calibration.points.get("translated", ())
    fmr = next((rate for rate in FMRS if point_at(points, rate)), None)
    point = None if fmr is None else point_at(points, fmr)
    threshold = None if point is None else point.threshold
    # The threshold is of photos.
    is_photo = np.ones(len(pairs), bool) if pairs.source.modality is None else pairs.source.modality == PHOTO
    trust, slices = None, []
    if is_photo.any():
        photos, translated_photos = pairs.take(is_photo), translated_NT[is_photo]
        slices = _slices(photos, translated_photos, threshold)
        if confidence is not None and threshold is not None and fmr is not None:
            confidence_N = confidence(photos.source.feature, translated_photos, photos.source.norm)
            trust = _trust(photos, translated_photos, confidence_N, threshold, fmr)
    return ReportFigures(
        len(pairs),
        len(gallery),
        len(probes),
        compared,
        _feature_map(pairs, translated_NT),
        trust,
        slices,
        fmr,
    )


def _compared(probe: FloatArray, probe_subject: StrArray, stored: FloatArray, stored_subject: StrArray) -> Compared:
    counts = count_scores(probe, probe_subject, stored, stored_subject)
    lowest = int(np.flatnonzero(counts.genuine + counts.impostor)[0])
    edge_K = np.linspace((lowest - FINENESS) / FINENESS, 1.0 + 1e-6, NUM_BARS + 1)
    starts = (np.arange(len(counts.genuine)) - FINENESS) / FINENESS
    shares = (
        np.histogram(starts, edge_K, weights=side)[0] / max(1, side.sum()) for side in (counts.genuine, counts.impostor)
    )
    ranks = genuine_ranks(probe, probe_subject, stored, stored_subject)
    return Compared(counts.curve(), cmc(ranks, NUM_RANKS), Histogram(edge_K, *shares))


def _feature_map(pairs: Pairs, translated_NT: FloatArray) -> FeatureMap | None:
    names, num = np.unique(pairs.source.subject, return_counts=True)
    # Of equally many pictures the first by name.
    chosen = names[np.lexsort((names, -num))][:MAPPED_PEOPLE]
    rows = [np.flatnonzero(pairs.source.subject == name)[:MAPPED_PICTURES] for name in chosen]
    rows = [one for one in rows if len(one) >= FEWEST_MAPPED]
    if len(rows) < 2:
        return None
    person_N = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
    taken = np.concatenate(rows)
    source, target, translated = pairs.source.feature[taken], pairs.target.feature[taken], translated_NT[taken]
    of_source, of_target = _plane(source), _plane(target)
    return FeatureMap(person_N, source @ of_source, target @ of_target, translated @ of_target)


def _plane(feature_ND: FloatArray) -> FloatArray:
    """The two directions (D, 2) in which features vary most."""
    plane_2D: FloatArray = np.linalg.svd(feature_ND - feature_ND.mean(axis=0), full_matrices=False)[2][:2]
    return plane_2D.T


def _trust(
    pairs: Pairs, translated_NT: FloatArray, confidence_N: FloatArray, threshold: float, fmr: float
) -> Trust | None:
    subject = pairs.source.subject
    gallery, probes = gallery_and_probes(subject)
    if len(probes) < 2 * NUM_GROUPS:
        return None
    order = np.argsort(confidence_N[probes], kind="stable")
    own = mates(subject, gallery, probes)
    is_found = np.sum(translated_NT[probes] * pairs.target.feature[own], axis=1) >= threshold
    ranks = genuine_ranks(translated_NT[probes], subject[probes], pairs.target.feature[gallery], subject[gallery])
    failed = (ranks > 1)[order]
    groups = np.array_split(order, NUM_GROUPS)
    kept = np.cumsum(failed[::-1])[::-1] / np.arange(len(failed), 0, -1)
    num_shown = int(0.8 * len(failed))
    return Trust(
        np.array([confidence_N[probes][group].mean() for group in groups]),
        np.array([is_found[group].mean() for group in groups]),
        fmr,
        np.arange(num_shown) / len(failed),
        kept[:num_shown],
        float(failed[: len(failed) // 10].sum() / max(1, failed.sum())),
    )


def _slices(pairs: Pairs, translated_NT: FloatArray, threshold: float | None) -> list[Slice]:
    """Of every label with a few values, one a value."""
    subject, target_NT = pairs.source.subject, pairs.target.feature
    gallery, probes = gallery_and_probes(subject)
    if not len(probes):
        return []
    ranks = genuine_ranks(translated_NT[probes], subject[probes], target_NT[gallery], subject[gallery])
    own = mates(subject, gallery, probes)
    genuine_P = np.einsum("pt,pt->p", translated_NT[probes], target_NT[own])
    labels = dict(pairs.target.labels) | dict(pairs.source.labels)
    found = []
    for label, column in sorted(labels.items()):
        values = sorted(set(column.tolist()) - {""}) if column.dtype.kind == "U" else []
        if not 2 <= len(values) <= MOST_SLICES:
            continue
        for value in values:
            is_of_P = column[probes] == value
            if not is_of_P.any():
                continue
            stored = gallery[column[gallery] == value]
            fmr = None
            if threshold is not None:
                fmr = _fmr(translated_NT[probes[is_of_P]], own[is_of_P], target_NT[stored], stored, threshold)
            found.append(
                Slice(
                    label,
                    value,
                    len(np.unique(own[is_of_P])),
                    int(is_of_P.sum()),
                    float((ranks[is_of_P] == 1).mean()),
                    None if threshold is None else float((genuine_P[is_of_P] < threshold).mean()),
                    fmr,
                )
            )
    return found


def _fmr(
    probe_PT: FloatArray, own_P: _IntArray, stored_GT: FloatArray, stored_G: _IntArray, threshold: float
) -> float | None:
    """The share of impostor scores that reach the threshold; `own_P` and `stored_G` are rows of the gallery's pictures."""
    matched, num = 0, 0
    for rows, score_BG in score_blocks(probe_PT, stored_GT):
        is_other_BG = own_P[rows, None] != stored_G
        matched += int((is_other_BG & (score_BG >= threshold)).sum())
        num += int(is_other_BG.sum())
    return matched / num if num else None
