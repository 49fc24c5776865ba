"""What scores mean, from pictures with known subjects that the translator was not fitted to: each pair of people counts once.

Somebody with five hundred pictures would otherwise decide alone which scores strangers reach. So an impostor comparison is of
two people drawn at random, with a picture of each, and a genuine one of a person drawn at random, with two of their pictures.
Where modalities are known, a comparison is of two photos, or of one photo and one picture of another modality.

Shapes: N pictures, A and B rows of either side of a comparison, S source and T target dimension. A picture is never compared
with itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.calibration import PHOTO, Calibration, Comparison, ScoreScale, comparison_of
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.operating_point import RULE_OF, STATED_RATES
from training.data.pairs import Pairs
from training.evaluation.isotonic import pool_adjacent_violators
from training.evaluation.scoring import NUM_BINS, bins_of, reaching, score_blocks, start_of

MAX_PICTURES = 8192
"""Of more, pictures of those go who have many, down to two each, and then people; 8,192 give 67 million scores."""
FEWEST_GENUINE = 20
"""People with two pictures to compare."""
STEPS_A_DECADE = 20
"""Of a scale: a threshold keeps the rate asked for, and may be as strict as one for a rate lower by 11 %."""

_ROUNDING = 1e-12
_ROWS_AT_ONCE = 256
_WeightArray = npt.NDArray[np.float64]
_RowArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Pictures of people whom the translator of `translated_NT` has not seen, in any role."""

    pairs: Pairs
    translated_NT: FloatArray


def calibrate(pairs: Pairs, translated_NT: FloatArray, crossed: Sequence[HeldOut] = ()) -> Calibration:
    """Scales and operating points of native and translated comparisons; none where subjects are not known.

    `crossed` are people of other parts, each part translated by a translator of its own: they are compared within
    their part, and only for the comparisons that translate. What is native is measured on `pairs` alone: their encoder
    may have been trained on the others.
    """
    if not pairs.source.has_subjects:
        return Calibration()
    held = [_thinned(one) for one in (HeldOut(pairs, translated_NT), *crossed)]
    first = held[0].pairs
    sources, targets = [(first.source, first.source.feature)], [(first.target, first.target.feature)]
    translated = [(one.pairs.source, one.translated_NT) for one in held]
    into = [(one.pairs.target, one.pairs.target.feature) for one in held]
    sides = {
        "native-source": (sources, sources),
        "native-target": (targets, targets),
        "translated": (translated, into),
        "both-translated": (translated, translated),
    }
    return _calibration(sides)


def calibrate_native(feature_set: FeatureSet) -> Calibration:
    """Scales and operating points of an encoder's own space, from pictures of subjects it has not seen."""
    known = feature_set.take(_thinned_rows(*_names(feature_set)))
    side = [(known, known.feature)]
    return _calibration({"native-target": (side, side)})


def calibrate_scores(
    a: Sequence[str], b: Sequence[str], score_N: npt.NDArray[np.float32], comparison: Comparison
) -> Calibration:
    """Scale and operating points of one comparison, from scores (N,) of pictures of a and b, genuine where they are one."""
    _, code = np.unique(np.array([*a, *b]), return_inverse=True)
    one_N, other_N = np.sort(np.stack([code[: len(a)], code[len(a) :]]), axis=0)
    is_genuine_N = one_N == other_N
    _, pair_N, num = np.unique(one_N * (code.max() + 1) + other_N, return_inverse=True, return_counts=True)
    weight_N, bin_N = 1.0 / num[pair_N], bins_of(score_N)
    genuine, impostor = (
        np.bincount(bin_N[rows], weights=weight_N[rows], minlength=NUM_BINS).astype(np.float64)
        for rows in (is_genuine_N, ~is_genuine_N)
    )
    num_genuine, num_pairs = (len(np.unique(pair_N[rows])) for rows in (is_genuine_N, ~is_genuine_N))
    of_a, of_b = (len(np.unique(side[~is_genuine_N])) for side in (code[: len(a)], code[len(a) :]))
    apart = _matched(np.unique(np.stack([one_N, other_N], axis=1)[~is_genuine_N], axis=0))
    num_pairs = min(num_pairs, _pairs_among(min(of_a, of_b) + 1), _pairs_among(2 * apart + 1))
    scale = _scale(_Tally(genuine, impostor, num_genuine, num_pairs))
    return _with_points({comparison: scale} if scale else {})


def calibrate_across(
    scores: Sequence[FloatArray], probes: FeatureSet, photos: FeatureSet, modality: str
) -> Calibration:
    """Of P pictures of a weak modality against G photos, from rounds of scores (P, G) of all with all; people are counted once,
    however many rounds there are.
    """
    _, code_N = np.unique(np.concatenate([probes.subject, photos.subject]), return_inverse=True)
    rows, columns = np.arange(len(probes)), len(probes) + np.arange(len(photos))
    tallies = [_weighed(_blocks(score_PG), code_N, rows, columns) for score_PG in scores]
    summed = _Tally.sum(tallies)
    scale = _scale(replace(summed, num_genuine=tallies[0].num_genuine, num_pairs=tallies[0].num_pairs))
    return _with_points({comparison_of("translated", modality): scale} if scale else {})


def fewer_of(probes: FeatureSet, photos: FeatureSet) -> tuple[FeatureSet, FeatureSet]:
    """Of both modalities, each named, no more pictures than are compared with one another."""
    rows = _thinned_rows(
        *(np.concatenate([one, other]) for one, other in zip(*map(_names, (probes, photos)), strict=True))
    )
    return probes.take(rows[rows < len(probes)]), photos.take(rows[rows >= len(probes)] - len(probes))


_Side = Sequence[tuple[FeatureSet, FloatArray]]


def _calibration(sides: Mapping[str, tuple[_Side, _Side]]) -> Calibration:
    scales: dict[Comparison, ScoreScale] = {}
    for kind, (one, other) in sides.items():
        for modality in sorted({PHOTO}.union(*(_modalities(rows) for rows, _ in one))):
            tallies = [_tally(rows, a, b, modality) for (rows, a), (_, b) in zip(one, other, strict=True)]
            scale = _scale(_Tally.sum(tallies))
            if scale:
                scales[comparison_of(kind, modality)] = scale
    return _with_points(scales)


def _with_points(scales: dict[Comparison, ScoreScale]) -> Calibration:
    points = {
        name: tuple(point for rate in STATED_RATES if (point := scale.point_at(rate)) and point.fmr == rate)
        for name, scale in scales.items()
    }
    return Calibration(points, counted="people", scales=scales)


@dataclass(frozen=True, slots=True)
class _Tally:
    """How much genuine and impostor scores weigh in each bin, and of how many people and pairs of people they are."""

    genuine: _WeightArray
    impostor: _WeightArray
    num_genuine: int
    num_pairs: int

    @classmethod
    def sum(cls, tallies: Iterable["_Tally"]) -> "_Tally":
        genuine, impostor, num_genuine, num_pairs = np.zeros(NUM_BINS), np.zeros(NUM_BINS), 0, 0
        for one in tallies:
            genuine += one.genuine
            impostor += one.impostor
            num_genuine += one.num_genuine
            num_pairs += one.num_pairs
        return cls(genuine, impostor, num_genuine, num_pairs)


def _tally(rows: FeatureSet, a_ND: FloatArray, b_ND: FloatArray, modality: str) -> _Tally:
    """Photos with photos, or pictures of a modality with photos, whichever of the two is on side a."""
    _, code_N = np.unique(rows.subject, return_inverse=True)
    is_photo = np.ones(len(rows), dtype=bool) if rows.modality is None else rows.modality == PHOTO
    photos = np.flatnonzero(is_photo)
    if modality == PHOTO:
        return _weighed(score_blocks(a_ND[photos], b_ND[photos]), code_N, photos, photos)
    others = np.flatnonzero(~is_photo) if rows.modality is None else np.flatnonzero(rows.modality == modality)
    one, other = (
        _weighed(score_blocks(a_ND[of_a], b_ND[of_b]), code_N, of_a, of_b)
        for of_a, of_b in ((others, photos), (photos, others))
    )
    # The same people, and the same pairs of them, both times.
    return _Tally(one.genuine + other.genuine, one.impostor + other.impostor, one.num_genuine, one.num_pairs)


_Blocks = Iterable[tuple[slice, npt.NDArray[np.float32]]]


def _blocks(score_AB: npt.NDArray[np.float32]) -> _Blocks:
    starts = range(0, len(score_AB), _ROWS_AT_ONCE)
    return ((slice(start, start + _ROWS_AT_ONCE), score_AB[start : start + _ROWS_AT_ONCE]) for start in starts)


def _weighed(blocks: _Blocks, code_N: _RowArray, a_rows: _RowArray, b_rows: _RowArray) -> _Tally:
    """Scores of every a with every b, some rows of a at a time, but of a picture with itself: those of one person weigh one
    together, those of two people one each way.
    """
    num_people = int(code_N.max()) + 1
    num_a, num_b = (np.bincount(code_N[rows], minlength=num_people) for rows in (a_rows, b_rows))
    is_one_role = np.array_equal(a_rows, b_rows)
    num_own = num_a * (num_b - is_one_role)
    code_B = code_N[b_rows]
    genuine, impostor = np.zeros(NUM_BINS), np.zeros(NUM_BINS)
    for block, score_AB in blocks:
        bin_AB = bins_of(score_AB).reshape(score_AB.shape)
        rows_A = a_rows[block]
        same_AB = code_N[rows_A, None] == code_B
        one, other = np.nonzero(same_AB)
        is_other_picture = rows_A[one] != b_rows[other]
        one, other = one[is_other_picture], other[is_other_picture]
        genuine += np.bincount(bin_AB[one, other], weights=1.0 / num_own[code_B[other]], minlength=NUM_BINS)
        weight_AB = np.where(same_AB, 0.0, (1.0 / num_a[code_N[rows_A], None]) * (1.0 / num_b[code_B]))
        impostor += np.bincount(bin_AB.reshape(-1), weights=weight_AB.reshape(-1), minlength=NUM_BINS)
    in_a, in_b = num_a > 0, num_b > 0
    num_in_both = int((in_a & in_b).sum())
    num_pairs = int(in_a.sum()) * int(in_b.sum()) - num_in_both - num_in_both * (num_in_both - 1) // 2
    num_pairs = min(num_pairs, _pairs_among(min(int(in_a.sum()), int(in_b.sum()))))
    return _Tally(genuine, impostor, int((num_own > 0).sum()), num_pairs)


def _pairs_among(num_people: int) -> int:
    """Of two sides no more pairs count than the people of the smaller make among themselves: one person's scores with a thousand
    strangers are that person's.
    """
    return num_people * (num_people - 1) // 2


def _matched(pair_K2: _RowArray) -> int:
    """How many pairs of people there are of whom nobody is in two: one for the scores of one person with a thousand strangers,
    whichever of them is named first.
    """
    taken: set[int] = set()
    for one, other in pair_K2.tolist():
        if one not in taken and other not in taken:
            taken |= {one, other}
    return len(taken) // 2


def _scale(tally: _Tally) -> ScoreScale | None:
    """Thresholds from a rate of one down to the lowest that so many pairs of people show; None where that is no stated one, or
    there are too few genuine scores to say anything of them.
    """
    if tally.num_genuine < FEWEST_GENUINE or max(STATED_RATES) * tally.num_pairs < RULE_OF:
        return None
    rates = [_rate(step) for step in range(STEPS_A_DECADE * 10)]
    rate_K = np.array([rate for rate in rates if rate * tally.num_pairs >= RULE_OF])
    # The lowest start of a bin that no more than the rate reaches.
    place_K = np.searchsorted(-reaching(tally.impostor), -(rate_K + _ROUNDING) * tally.impostor.sum())
    impostor_K = reaching(tally.impostor)[place_K] / tally.impostor.sum()
    genuine_K = reaching(tally.genuine)[place_K] / tally.genuine.sum()
    return ScoreScale(
        tuple(start_of(int(place)) for place in place_K),
        tuple(rate_K.tolist()),
        tuple(np.clip(1.0 - genuine_K, 0.0, 1.0).tolist()),
        tuple(_log10_lr(genuine_K, impostor_K, tally).tolist()),
        tally.num_genuine,
        tally.num_pairs,
    )


def _log10_lr(genuine_K: _WeightArray, impostor_K: _WeightArray, tally: _Tally) -> _WeightArray:
    """The log likelihood ratio of each step, from the shares of genuine and impostor scores that reach it (K,).

    Steps are pooled until the ratio rises with the score. No step claims less than one genuine or one impostor score more
    than there was, so that no ratio is larger than the evidence.
    Source: Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates (KDD 2002), by
    pool adjacent violators; Brümmer and du Preez, Application-independent evaluation of speaker detection (CSL 2006).
    """
    in_genuine_K, in_impostor_K = (np.append(-np.diff(share_K), share_K[-1]) for share_K in (genuine_K, impostor_K))
    # What lies below the first step is the first step's too.
    in_genuine_K[0] += 1.0 - genuine_K[0]
    in_impostor_K[0] += 1.0 - impostor_K[0]
    weight_K = in_genuine_K + in_impostor_K
    ratio_K = np.divide(in_genuine_K, weight_K, out=np.zeros_like(weight_K), where=weight_K > 0)
    pooled = pool_adjacent_violators(ratio_K, weight_K)
    log10_lr_K = np.empty(len(genuine_K))
    for rows in pooled:
        genuine, impostor = in_genuine_K[rows].sum(), in_impostor_K[rows].sum()
        log10_lr_K[rows] = np.log10(max(genuine, 1 / tally.num_genuine)) - np.log10(max(impostor, 1 / tally.num_pairs))
    return np.maximum.accumulate(log10_lr_K)


def _rate(step: int) -> float:
    """The rate of a step; those of whole decades are the stated ones, to the last digit."""
    rate = float(f"{10 ** (-step / STEPS_A_DECADE):.4g}")
    return next((stated for stated in STATED_RATES if step == -round(STEPS_A_DECADE * np.log10(stated))), rate)


def _modalities(rows: FeatureSet) -> set[str]:
    return set() if rows.modality is None else set(rows.modality.tolist()) - {""}


def _thinned(held: HeldOut) -> HeldOut:
    rows = _thinned_rows(*_names(held.pairs.source))
    return HeldOut(held.pairs.take(rows), held.translated_NT[rows])


def _names(rows: FeatureSet) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Who is on each picture, and of what modality it is: of none that is known where that is ""."""
    if rows.modality is None or not (rows.modality != "").any():
        return rows.subject, np.full(len(rows), PHOTO)
    return rows.subject, rows.modality


def _thinned_rows(subject_N: npt.NDArray[np.str_], modality_N: npt.NDArray[np.str_]) -> _RowArray:
    """The rows of at most MAX_PICTURES pictures: of everybody the first few of each modality, two or more, or of as many people
    as fit, those who were drawn first. What is of no known modality goes.
    """
    known = np.flatnonzero(modality_N != "")
    _, code_N = np.unique(subject_N[known], return_inverse=True)
    names, kind_N = np.unique(modality_N[known], return_inverse=True)
    group, group_N, num = np.unique(code_N * len(names) + kind_N, return_inverse=True, return_counts=True)
    order = np.argsort(group_N, kind="stable")
    # Each picture's place among its person's of its modality.
    place_N = np.empty(len(known), dtype=np.int64)
    place_N[order] = np.arange(len(known)) - np.repeat(np.cumsum(num) - num, num)
    most = max((most for most in range(2, num.max() + 1) if np.minimum(num, most).sum() <= MAX_PICTURES), default=2)
    person_of_group = group // len(names)
    cost_P = np.bincount(person_of_group, weights=np.minimum(num, most)).astype(np.int64)
    is_drawn_P = np.zeros(len(cost_P), dtype=bool)
    is_drawn_P[person_of_group[names[group % len(names)] != PHOTO]] = True
    drawn, others = np.flatnonzero(is_drawn_P), np.flatnonzero(~is_drawn_P)
    drawn = _spread(drawn, cost_P, max(MAX_PICTURES // 2, MAX_PICTURES - int(cost_P[others].sum())))
    others = _spread(others, cost_P, MAX_PICTURES - int(cost_P[drawn].sum()))
    return known[(place_N < most) & np.isin(code_N, np.concatenate([drawn, others]))]


def _spread(people: _RowArray, cost_P: _RowArray, most: int) -> _RowArray:
    """All of them, or so many of them, evenly spread, that they cost no more than `most`."""
    chosen = people
    while len(chosen) and (cost := int(cost_P[chosen].sum())) > most:
        num = min(len(chosen) - 1, len(chosen) * most // cost)
        chosen = people[np.linspace(0, len(people) - 1, num).astype(np.int64)]
    return chosen
