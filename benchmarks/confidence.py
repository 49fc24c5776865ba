"""Whether confidence finds the translations that fail."""

from dataclasses import dataclass
from itertools import permutations
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks.cores import on_all_cores
from benchmarks.document import table
from benchmarks.faces import ENCODERS, Faces
from benchmarks.translation import SIDES, TEST, VALIDATION
from models.features import FloatArray
from models.operating_point import point_at
from models.split import SplitRule
from training.data.pairs import join_by_image
from training.evaluation.calibration import HeldOut, calibrate
from training.evaluation.cross_space import comparisons, gallery_and_probes, mates
from training.evaluation.identification import genuine_ranks
from training.recipes.confidence import fit_confidence
from training.recipes.cross_fitting import cross_fitted
from training.recipes.translators import SplitPairs, fit_methods

SEEDS = (3, 4, 5, 6)
"""What confidence is made of was chosen while looking at six pairs with seeds 0 and 1."""
METHODS = ("ridge", "residual-mlp")
TRAINED = (
    ("mobilefacenet-128", "edgeface-xxs-512"),
    ("mobileface-v2-256", "edgeface-xxs-512"),
    ("mobilefacenet-128", "mobileface-v2-256"),
    ("edgeface-xxs-512", "mobilefacenet-128"),
    ("reid-retail-0095-256", "mobilefacenet-128"),
    ("mobileface-v2-256", "reid-retail-0095-256"),
)
"""Pairs that are measured with the second method too, of which each takes minutes."""
LEAST_CONFIDENT = 0.1
WANTED = 0.3
FMR = 1e-3
HALVES = 4
"""Groups of probes by confidence, to compare it with what came of them."""


@dataclass(frozen=True, slots=True)
class _Found:
    error: dict[str, float]
    """Rank-1 errors, by side."""
    held: dict[str, float]
    """The share of them that the least confident hold."""
    possible: dict[str, float]
    """The share that they hold where the true cosine with the native feature is known in advance."""
    told: list[float]
    """Mean confidence of each group of probes, and the share of them that were found at FMR."""
    came: list[float]


def measure(faces: Faces) -> str:
    """All ordered pairs with ridge, every seed; some with `residual-mlp`, the first."""
    for name in ENCODERS:
        faces.features(name)
    work = [(faces, pair, METHODS[0], seed) for pair in permutations(ENCODERS, 2) for seed in SEEDS]
    work += [(faces, pair, METHODS[1], SEEDS[0]) for pair in TRAINED]
    found = on_all_cores(_one, work)
    closed, trained = found[: -len(TRAINED)], dict(zip(TRAINED, found[-len(TRAINED) :], strict=True))
    rows = []
    for place, pair in enumerate(permutations(ENCODERS, 2)):
        of_pair = closed[place * len(SEEDS) : (place + 1) * len(SEEDS)]
        rows.append([*pair, *_cells(of_pair), *(_cells([trained[pair]]) if pair in trained else ["", ""])])
    header = ["source", "target", *(f"{method}, {what}" for method in METHODS for what in ("errors", "hold"))]
    off = [abs(told - came) for one in found for told, came in zip(one.told, one.came, strict=True)]
    return (
        f"Rank-1 errors of translated probes / of a translated gallery on test subjects, and which share of them the least "
        f"confident {LEAST_CONFIDENT:.0%} of translations hold (of a gallery: the templates of those who are asked for); "
        f"`{METHODS[0]}` the mean of seeds {', '.join(map(str, SEEDS))}, `{METHODS[1]}` seed {SEEDS[0]}. In brackets what they "
        f"would hold if the "
        f"true cosine with the native feature were known. Where one in three is an error, a tenth cannot hold more than "
        f"{LEAST_CONFIDENT * 3:.0%}. {_summary('all pairs', found)} "
        f"{_summary('pairs with at most a tenth of errors', found, 0.1)}\n\n"
        f"What confidence says: probes in {HALVES} groups by it, the share told to be found at a false-match rate of {FMR:g} "
        f"against the share that was: off by **{median(off):.3f}** in the median, {max(off):.3f} at "
        f"most.\n\n{table(header, rows)}"
    )


def _cells(found: list[_Found]) -> list[str]:
    error, held, possible = (
        [float(np.mean([getattr(one, what)[side] for one in found])) for side in SIDES]
        for what in ("error", "held", "possible")
    )
    shares = (f"{share:.0%} ({best:.0%})" for share, best in zip(held, possible, strict=True))
    return [" / ".join(f"{rate:.3f}" for rate in error), " / ".join(shares)]


def _summary(words: str, found: list[_Found], most: float = 1.0) -> str:
    parts = []
    for side in SIDES:
        held = [one.held[side] for one in found if one.error[side] <= most]
        reached = sum(share >= WANTED for share in held)
        parts.append(f"{side} median **{median(held):.0%}**, {reached} of {len(held)} at least {WANTED:.0%}")
    return f"Over {words}: {'; '.join(parts)}."


def _one(faces: Faces, pair: tuple[str, str], method: str, seed: int) -> _Found:
    pairs = join_by_image(*(faces.features(name) for name in pair))
    parts = SplitPairs.of(pairs, SplitRule("subject", seed, VALIDATION, TEST))
    (fitted,) = fit_methods(parts, method, seed)
    unseen = HeldOut(parts.validation, fitted.translate(parts.validation.source.feature))
    crossed = cross_fitted(parts, method, seed)
    calibration = calibrate(unseen.pairs, unseen.translated_NT, crossed)
    model = fit_confidence(parts, [unseen, *crossed], calibration, seed)
    test = parts.test
    assert model is not None
    assert test is not None
    translated_NT, subject = fitted.translate(test.source.feature), test.source.subject
    confidence_N = model(test.source.feature, translated_NT)
    cosine_N = np.sum(translated_NT * test.target.feature, axis=1)
    gallery, probes = gallery_and_probes(subject)
    own = mates(subject, gallery, probes)
    error, held, possible = {}, {}, {}
    for side, asked in zip(SIDES, (probes, own), strict=True):
        probe, stored = comparisons(test, translated_NT)[side]
        failed = genuine_ranks(probe[probes], subject[probes], stored[gallery], subject[gallery]) > 1
        error[side] = float(failed.mean())
        held[side], possible[side] = (_held(failed, by[asked]) for by in (confidence_N, cosine_N))
    point = point_at(calibration.points["translated"], FMR)
    assert point is not None
    is_found = np.sum(translated_NT[probes] * test.target.feature[own], axis=1) >= point.threshold
    groups = np.array_split(np.argsort(confidence_N[probes], kind="stable"), HALVES)
    told = [float(confidence_N[probes][group].mean()) for group in groups]
    return _Found(error, held, possible, told, [float(is_found[group].mean()) for group in groups])


def _held(failed: npt.NDArray[np.bool_], by: FloatArray) -> float:
    least = np.argsort(by, kind="stable")[: int(LEAST_CONFIDENT * len(by))]
    return float(failed[least].sum() / max(1, failed.sum()))
