"""How well two spaces work together: native on both sides, and across them with and without translation.

Protocol: of each subject the first picture (in order of keys) is in the gallery, all others are probes; subjects with
one picture stay in the gallery as distractors. Mean cosine is over all pictures, translated against native.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.feature_set import FeatureSet
from models.features import FloatArray
from training.data.pairs import Pairs
from training.evaluation.identification import genuine_ranks, rank_k
from training.evaluation.verification import score_pairs, tar_at_far

Translate = Callable[[FloatArray], FloatArray]


NATIVE_TARGET, PROJECTED_TARGET = "native target", "projected target"


@dataclass(frozen=True, slots=True)
class Figures:
    """One row of the table; None where the data cannot say."""

    rank1: float | None = None
    rank5: float | None = None
    tar_far_1e2: float | None = None
    tar_far_1e3: float | None = None
    tar_far_1e4: float | None = None
    mean_cosine: float | None = None


@dataclass(frozen=True, slots=True)
class CrossSpaceEvaluation:
    """Figures of each comparison, and what they were measured on."""

    num_pictures: int
    num_gallery_subjects: int
    num_probes: int
    rows: dict[str, Figures]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NativeEvaluation:
    """Figures of one encoder alone, and what they were measured on."""

    num_pictures: int
    num_gallery_subjects: int
    num_probes: int
    figures: Figures

    def to_json(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return asdict(self)


def evaluate_native(feature_set: FeatureSet) -> NativeEvaluation:
    """Measure an encoder on pictures with known subjects that it was not trained on."""
    gallery, probes = gallery_and_probes(feature_set.subject)
    feature, subject = feature_set.feature, feature_set.subject
    figures = _figures(feature[probes], subject[probes], feature[gallery], subject[gallery], None)
    return NativeEvaluation(len(feature_set), len(gallery), len(probes), figures)


def evaluate_translation(pairs: Pairs, translate: Translate) -> CrossSpaceEvaluation:
    """Measure a translator on pairs it was not fitted to.

    Rows: `native source`, `native target`, `untranslated` (only where the dimensions agree), `translated probes` (the
    gallery is native in the target space), `translated gallery` (the probes are).
    """
    source, target = pairs.source.feature, pairs.target.feature
    translated = translate(source)
    cosine = float(np.mean(np.sum(translated.astype(np.float64) * target, axis=1)))
    if not pairs.source.has_subjects:
        return CrossSpaceEvaluation(len(pairs), 0, 0, {"translated probes": Figures(mean_cosine=cosine)})
    subject = pairs.source.subject
    gallery, probes = gallery_and_probes(subject)
    cosines = {"translated probes": cosine, "translated gallery": cosine}
    if source.shape == target.shape:
        cosines["untranslated"] = float(np.mean(np.sum(source * target, axis=1)))
    rows = {
        name: _figures(probe[probes], subject[probes], stored[gallery], subject[gallery], cosines.get(name))
        for name, (probe, stored) in comparisons(pairs, translated).items()
    }
    return CrossSpaceEvaluation(len(pairs), len(gallery), len(probes), rows)


def comparisons(
    pairs: Pairs, translated_NT: FloatArray, *, is_projected: bool = False
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """By the names of the rows, the features of probes and those of the gallery, of every picture each. With `is_projected`
    targets are another encoder's projections into a common space.
    """
    source, target = pairs.source.feature, pairs.target.feature
    sides = {
        "native source": (source, source),
        PROJECTED_TARGET if is_projected else NATIVE_TARGET: (target, target),
        "translated probes": (translated_NT, target),
        "translated gallery": (target, translated_NT),
    }
    is_untranslated = source.shape == target.shape and not is_projected
    return sides | ({"untranslated": (source, target)} if is_untranslated else {})


def in_common_space(evaluation: CrossSpaceEvaluation) -> CrossSpaceEvaluation:
    """The figures of pairs whose targets are projections: these are not native there, and nothing is untranslated."""
    rows = {
        PROJECTED_TARGET if name == NATIVE_TARGET else name: row
        for name, row in evaluation.rows.items()
        if name != "untranslated"
    }
    return replace(evaluation, rows=rows)


def gallery_and_probes(subject: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers of the gallery (the first row of each subject) and of the probes (all others).

    >>> gallery_and_probes(np.array(["b", "a", "b"]))
    (array([0, 1]), array([2]))
    """
    _, first = np.unique(subject, return_index=True)
    is_gallery = np.zeros(len(subject), dtype=bool)
    is_gallery[first] = True
    return np.flatnonzero(is_gallery), np.flatnonzero(~is_gallery)


def mates(
    subject: npt.NDArray[np.str_], gallery: npt.NDArray[np.int64], probes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Row numbers of the gallery's pictures of the probes' subjects, as `gallery_and_probes` parts them.

    >>> mates(np.array(["b", "a", "b", "b"]), np.array([0, 1]), np.array([2, 3]))
    array([0, 0])
    """
    by_name = gallery[np.argsort(subject[gallery])]
    return by_name[np.searchsorted(subject[by_name], subject[probes])]


def _figures(
    probe: FloatArray,
    probe_subject: npt.NDArray[np.str_],
    gallery: FloatArray,
    gallery_subject: npt.NDArray[np.str_],
    mean_cosine: float | None,
) -> Figures:
    if len(probe) == 0:
        return Figures(mean_cosine=mean_cosine)
    ranks = genuine_ranks(probe, probe_subject, gallery, gallery_subject)
    genuine, impostor = score_pairs(probe, probe_subject, gallery, gallery_subject)
    return Figures(
        rank1=rank_k(ranks, 1),
        rank5=rank_k(ranks, 5),
        tar_far_1e2=tar_at_far(genuine, impostor, 1e-2),
        tar_far_1e3=tar_at_far(genuine, impostor, 1e-3),
        tar_far_1e4=tar_at_far(genuine, impostor, 1e-4),
        mean_cosine=mean_cosine,
    )
