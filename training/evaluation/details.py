"""What `evaluate` tells beyond the figures that every fit has: how sure they are, equal errors, and who is nobody.

Shapes: P probes, G gallery rows, D dimension.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.pairs import Pairs
from training.evaluation.bootstrap import Interval, mean_interval, tar_interval
from training.evaluation.cross_space import Translate, comparisons, gallery_and_probes
from training.evaluation.curves import equal_error_rate, error_curve
from training.evaluation.identification import cmc, genuine_ranks
from training.evaluation.open_set import open_set_layout, search
from training.evaluation.scoring import FloatArray, StrArray
from training.evaluation.verification import score_pairs, tar_at_far

FEWEST = 30
FPIRS = (0.003, 0.01, 0.1)
NUM_RANKS = 10
_FAR = 1e-3


@dataclass(frozen=True, slots=True)
class Detail:
    """Of one comparison; None where the data cannot say."""

    rank1: Interval | None
    """None with fewer than FEWEST people, whose drawings would be too much alike."""
    tar_far_1e3: Interval | None
    eer: float | None
    cmc: tuple[float, ...]
    """Rank-1 to rank-10."""
    fnir: dict[str, float | None]
    """At each FPIR of FPIRS: the share of people who are enrolled that does not reach the threshold, at any rank."""
    num_mated: int
    """People who are enrolled and asked about."""
    num_non_mated: int
    """People who are not enrolled."""

    def to_json(self) -> dict[str, Any]:
        """The detail as JSON values."""
        return asdict(self)


def detailed(pairs: Pairs, translate: Translate, seed: int = 0) -> dict[str, Detail]:
    """The details of every row that `evaluate_translation` has figures of; none without subjects who have two pictures.

    Open-set figures are of a gallery in which half of the people with several pictures, drawn by the seed, are not
    enrolled; all others are of the gallery and probes that `evaluate_translation` has.
    """
    subject = pairs.source.subject
    if not pairs.source.has_subjects or not len(gallery_and_probes(subject)[1]):
        return {}
    sides = comparisons(pairs, translate(pairs.source.feature))
    return {name: _detail(probe, stored, subject, seed) for name, (probe, stored) in sides.items()}


def details_in_common_space(details: Mapping[str, Detail]) -> dict[str, Detail]:
    """As `in_common_space` does with the figures: the target's features are projections there."""
    return {
        "projected target" if name == "native target" else name: one
        for name, one in details.items()
        if name != "untranslated"
    }


def _detail(probe_ND: FloatArray, stored_ND: FloatArray, subject: StrArray, seed: int) -> Detail:
    gallery, probes = gallery_and_probes(subject)
    ranks = genuine_ranks(probe_ND[probes], subject[probes], stored_ND[gallery], subject[gallery])
    genuine, impostor = score_pairs(probe_ND[probes], subject[probes], stored_ND[gallery], subject[gallery])
    # Numbers are repeated for every score far more cheaply than names.
    _, code_P = np.unique(subject[probes], return_inverse=True)
    has_many = len(np.unique(code_P)) >= FEWEST
    enrolled, mated, non_mated = open_set_layout(subject, seed)
    asked = [*mated, *non_mated]
    found = search(probe_ND[asked], subject[asked], stored_ND[enrolled], subject[enrolled])
    return Detail(
        rank1=mean_interval(code_P, ranks == 1) if has_many else None,
        tar_far_1e3=_tar_interval(genuine, impostor, code_P.astype(np.int32), len(gallery)) if has_many else None,
        eer=equal_error_rate(error_curve(genuine, impostor)) if impostor.size else None,
        cmc=tuple(cmc(ranks, NUM_RANKS).tolist()),
        fnir={f"{fpir:g}": found.fnir_at_fpir(fpir) for fpir in FPIRS},
        num_mated=len(np.unique(subject[mated])),
        num_non_mated=len(np.unique(subject[non_mated])),
    )


def _tar_interval(
    genuine: FloatArray, impostor: FloatArray, code_P: npt.NDArray[np.int32], num_gallery: int
) -> Interval | None:
    if tar_at_far(genuine, impostor, _FAR) is None:
        return None
    # In the order of `score_pairs`: a row of scores for each probe, of which one is genuine.
    return tar_interval(genuine, code_P, impostor, code_P.repeat(num_gallery - 1), _FAR)
