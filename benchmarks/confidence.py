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
"""What confidence is made of was chosen while looking at six pairs with seeds 0 and 1; that norms tell was found with 3 and 4."""
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
COLUMNS = ("errors", "hold", "no norm", "missed")
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
    plain: dict[str, float]
    """The same where norms are not known."""
    possible: dict[str, float]
    """The share that they hold where the true cosine with the native feature is known in advance."""
    missed: float
    """The share of all genuine comparisons of translated pictures with native ones that do not reach the threshold at FMR."""
    missed_held: float
    """The share of these that the least confident hold."""
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
        blank = [""] * len(COLUMNS)
        rows.append([*pair, *_cells(of_pair), *(_cells([trained[pair]]) if pair in trained else blank)])
    header = ["source", "target", *(f"{method}, {what}" for method in METHODS for what in COLUMNS)]
    off = [abs(told - came) for one in found for told, came in zip(one.told, one.came, strict=True)]
    return (
        f"Rank-1 errors of translated probes / of a translated gallery on test subjects, and which share of them the least "
        f"confident {LEAST_CONFIDENT:.0%} of translations hold (of a gallery: the templates of those who are asked for); "
        f"`{METHODS[0]}` the mean of seeds {', '.join(map(str, SEEDS))}, `{METHODS[1]}` seed {SEEDS[0]}. In brackets what they "
        f"would hold if the "
        f"true cosine with the native feature were known; under *no norm* what they hold where features come without the norms "
        f"that their encoder gave them. *missed*: the same of all genuine comparisons of translated pictures with native ones "
        f"that do not reach the threshold at a false-match rate of {FMR:g}, each picture the mean of its own. Where one in three "
        f"is an error, a tenth cannot hold more than {LEAST_CONFIDENT * 3:.0%}.\n\n"
        f"{_summary('all pairs', found)}\n\n{_summary('pairs with at most a tenth of errors', found, 0.1)}\n\n"
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
    plain = (f"{np.mean([one.plain[side] for one in found]):.0%}" for side in SIDES)
    missed, missed_held = (float(np.mean([getattr(one, what) for one in found])) for what in ("missed", "missed_held"))
    errors = " / ".join(f"{rate:.3f}" for rate in error)
    return [errors, " / ".join(shares), " / ".join(plain), f"{missed:.3f}: {missed_held:.0%}"]


def _summary(words: str, found: list[_Found], most: float = 1.0) -> str:
    held = {side: [one.held[side] for one in found if one.error[side] <= most] for side in SIDES}
    held |= {f"{side} without norms": [one.plain[side] for one in found if one.error[side] <= most] for side in SIDES}
    held["missed comparisons"] = [one.missed_held for one in found if one.missed <= most]
    parts = [
        f"{what} median **{median(shares):.0%}**, {sum(share >= WANTED for share in shares)} of {len(shares)} at least "
        f"{WANTED:.0%}"
        for what, shares in held.items()
    ]
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
    confidence_N = model(test.source.feature, translated_NT, test.source.norms)
    plain_N = model(test.source.feature, translated_NT)
    cosine_N = np.sum(translated_NT * test.target.feature, axis=1)
    gallery, probes = gallery_and_probes(subject)
    own = mates(subject, gallery, probes)
    error, held, possible, plain = {}, {}, {}, {}
    for side, asked in zip(SIDES, (probes, own), strict=True):
        probe, stored = comparisons(test, translated_NT)[side]
        failed = genuine_ranks(probe[probes], subject[probes], stored[gallery], subject[gallery]) > 1
        error[side] = float(failed.mean())
        held[side], possible[side], plain[side] = (_held(failed, by[asked]) for by in (confidence_N, cosine_N, plain_N))
    point = point_at(calibration.points["translated"], FMR)
    assert point is not None
    is_found = np.sum(translated_NT[probes] * test.target.feature[own], axis=1) >= point.threshold
    missed_N = _missed(translated_NT, test.target.feature, subject, point.threshold)
    of_two = ~np.isnan(missed_N)
    groups = np.array_split(np.argsort(confidence_N[probes], kind="stable"), HALVES)
    told = [float(confidence_N[probes][group].mean()) for group in groups]
    came = [float(is_found[group].mean()) for group in groups]
    missed_held = _held(missed_N[of_two], confidence_N[of_two])
    return _Found(error, held, plain, possible, float(missed_N[of_two].mean()), missed_held, told, came)


def _missed(
    translated_NT: FloatArray, native_NT: FloatArray, subject_N: npt.NDArray[np.str_], threshold: float
) -> FloatArray:
    """Of each translated picture the share of the person's other native ones that does not reach the threshold, (N,); NaN where
    there is no other.
    """
    missed_N = np.full(len(subject_N), np.nan, dtype=np.float32)
    for name in np.unique(subject_N):
        own = np.flatnonzero(subject_N == name)
        if len(own) > 1:
            is_missed = translated_NT[own] @ native_NT[own].T < threshold
            missed_N[own] = is_missed[~np.eye(len(own), dtype=bool)].reshape(len(own), -1).mean(axis=1)
    return missed_N


def _held(failed: npt.NDArray[np.bool_ | np.float32], by: FloatArray) -> float:
    least = np.argsort(by, kind="stable")[: int(LEAST_CONFIDENT * len(by))]
    return float(failed[least].sum() / max(1, failed.sum()))
