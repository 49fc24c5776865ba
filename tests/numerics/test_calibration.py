import numpy as np
import numpy.typing as npt
import pytest
from sklearn.isotonic import IsotonicRegression

from models.feature_set import FeatureSet
from models.features import unit_features
from models.operating_point import OperatingPoint
from models.space import Space
from training.data.pairs import Pairs, join_by_image
from training.evaluation import calibration, scoring
from training.evaluation.calibration import HeldOut, calibrate, calibrate_native, calibrate_scores

FloatArray = npt.NDArray[np.float32]


def noisy_pairs(
    num_subjects: int = 90, pictures: int = 3, *, subjects: bool = True, uneven: bool = False
) -> tuple[Pairs, FloatArray]:
    """Pairs of two spaces of six dimensions, and a noisy translation of the first; with `uneven`, some have more pictures."""
    random = np.random.default_rng(0)
    counts = [pictures + (number % 4 if uneven else 0) for number in range(num_subjects)]
    identity = np.repeat(random.normal(size=(num_subjects, 6)), counts, axis=0)
    sides = [identity + random.normal(scale=0.5, size=identity.shape) for _ in range(3)]
    image = np.array([f"{i:04d}.png" for i in range(len(identity))])
    subject = np.repeat([f"s{number}" if subjects else "" for number in range(num_subjects)], counts)
    sets = [
        FeatureSet.build(Space(name, 6, f"external:{name}"), {"feature": side, "image": image, "subject": subject})
        for name, side in zip("ab", sides[:2], strict=True)
    ]
    return join_by_image(*sets), unit_features(sides[2])


def naive_rates(a: FloatArray, b: FloatArray, subject: list[str], threshold: float) -> tuple[float, float]:
    """FMR and FNMR at a threshold, the mean over every two people, and over everybody with two pictures."""
    people = sorted(set(subject))
    rows = {name: [row for row, other in enumerate(subject) if other == name] for name in people}
    score = (a.astype(np.float64) @ b.T.astype(np.float64)).tolist()
    matched: list[float] = []
    missed: list[float] = []
    for one in people:
        for other in people:
            scores = [score[i][j] for i in rows[one] for j in rows[other] if i != j]
            if one != other:
                matched.append(sum(score >= threshold for score in scores) / len(scores))
            elif scores:
                missed.append(sum(score < threshold for score in scores) / len(scores))
    return sum(matched) / len(matched), sum(missed) / len(missed)


SIDES = ("native-source", "native-target", "translated", "both-translated")


@pytest.mark.parametrize("comparison", SIDES)
def test_operating_points_hold_for_two_people_drawn_at_random(comparison: str) -> None:
    pairs, translated = noisy_pairs(90, 3, uneven=True)
    points = {str(name): found for name, found in calibrate(pairs, translated).points.items()}
    sides = dict(
        zip(
            SIDES,
            (
                (pairs.source.feature, pairs.source.feature),
                (pairs.target.feature, pairs.target.feature),
                (translated, pairs.target.feature),
                (translated, translated),
            ),
            strict=True,
        )
    )
    subject = pairs.source.subject.tolist()
    (point,) = points[comparison]
    assert isinstance(point, OperatingPoint)
    # 90 people: 90 x 89 / 2 pairs of them; the rule of 30 leaves 1e-2 alone. Everybody has a second picture.
    assert (point.fmr, point.num_genuine, point.num_impostors) == (1e-2, 90, 4005)
    # Scores in float32 may lie on either side of a bin's start.
    (above, fnmr), (below, _) = (
        naive_rates(*sides[comparison], subject, point.threshold + step) for step in (1e-6, -3e-6)
    )
    assert above <= 1e-2 < below
    assert point.fnmr == pytest.approx(fnmr, abs=1e-9)


def test_somebody_with_many_pictures_does_not_move_a_threshold() -> None:
    pairs, translated = noisy_pairs(90, 1)
    twice = np.tile(np.arange(90), 2)
    again = np.concatenate([twice, np.zeros(200, dtype=np.int64)])
    columns = [side.columns() for side in (pairs.source, pairs.target)]
    image = np.array([f"{row:04d}.png" for row in range(len(again))])
    many = Pairs(
        *(
            FeatureSet.build(side.space, {key: array[again] for key, array in of.items()} | {"image": image})
            for side, of in zip((pairs.source, pairs.target), columns, strict=True)
        )
    )
    few = Pairs(*(side.take(np.arange(len(again)) < len(twice)) for side in (many.source, many.target)))
    point = calibrate(few, translated[twice]).points["translated"][0]
    assert calibrate(many, translated[again]).points["translated"][0].threshold == point.threshold


def test_nothing_is_stated_where_subjects_are_not_known() -> None:
    pairs, translated = noisy_pairs(subjects=False)
    assert calibrate(pairs, translated).points == {}


def test_nothing_is_stated_on_too_few_people() -> None:
    # 78 people are 3,003 pairs, 77 are 2,926: the rule of 30 asks for 3,000 at 1e-2.
    assert set(calibrate(*noisy_pairs(78, 2)).points) == set(SIDES)
    assert calibrate(*noisy_pairs(77, 2)).points == {}


def test_more_pictures_of_the_same_people_do_not_state_a_lower_rate() -> None:
    points = calibrate(*noisy_pairs(90, 12)).points["translated"]
    assert [point.fmr for point in points] == [1e-2]


@pytest.mark.parametrize(
    ("num_subjects", "most", "people", "genuine"),
    [(200, 10_000, 200, 200), (200, 500, 200, 200), (200, 400, 200, 200), (200, 300, 150, 150)],
)
def test_too_many_pictures_are_thinned_out_down_to_two_of_everybody_and_then_people(
    monkeypatch: pytest.MonkeyPatch, num_subjects: int, most: int, people: int, genuine: int
) -> None:
    pairs, translated = noisy_pairs(num_subjects, 3, uneven=True)
    monkeypatch.setattr(calibration, "MAX_PICTURES", most)
    (point,) = calibrate(pairs, translated).points["native-target"]
    assert (point.num_genuine, point.num_impostors) == (genuine, people * (people - 1) // 2)


def test_blocks_do_not_change_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, translated = noisy_pairs(uneven=True)
    whole = calibrate(pairs, translated)
    monkeypatch.setattr(scoring, "HELD", 5000)
    in_blocks = calibrate(pairs, translated)
    for name, (point,) in whole.points.items():
        (other,) = in_blocks.points[name]
        assert other.threshold == pytest.approx(point.threshold, abs=4e-6)
        assert other.fnmr == pytest.approx(point.fnmr, abs=1e-9)


def test_an_encoder_has_the_points_that_a_translator_into_its_space_measures_there() -> None:
    pairs, translated = noisy_pairs()
    points = calibrate(pairs, translated).points
    assert calibrate_native(pairs.target).points["native-target"] == points["native-target"]
    assert calibrate_native(pairs.source).points["native-target"] == points["native-source"]


def test_an_encoder_states_nothing_on_too_few_people_or_without_a_second_picture_of_anybody() -> None:
    assert calibrate_native(noisy_pairs(num_subjects=70)[0].target).points == {}
    assert calibrate_native(noisy_pairs(num_subjects=90, pictures=1)[0].target).points == {}


@pytest.mark.parametrize("comparison", SIDES)
def test_every_step_of_a_scale_says_what_reaches_it(comparison: str) -> None:
    pairs, translated = noisy_pairs(90, 3, uneven=True)
    scale = calibrate(pairs, translated).scales[comparison]
    source, target = pairs.source.feature, pairs.target.feature
    sides = ((source, source), (target, target), (translated, target), (translated, translated))
    a, b = dict(zip(SIDES, sides, strict=True))[comparison]
    # The rule of 30 over 4,005 pairs of people: down to 0.0075; twenty steps a decade.
    assert scale.lowest_fmr == pytest.approx(10 ** (-42 / 20), rel=1e-3)
    assert len(scale.threshold) == 43
    for place in (0, 7, 20, 33, 42):
        (above, fnmr), (below, _) = (
            naive_rates(a, b, pairs.source.subject.tolist(), scale.threshold[place] + step) for step in (1e-6, -3e-6)
        )
        assert above <= scale.fmr[place] * (1 + 1e-9) <= below + 1e-9
        assert scale.fnmr[place] == pytest.approx(fnmr, abs=1e-9)


def test_the_likelihood_ratio_is_that_of_isotonic_regression() -> None:
    pairs, translated = noisy_pairs(200, 4)
    scale = calibrate(pairs, translated).scales["translated"]
    # Shares of genuine and impostor scores in every step, and what lies below the first in that too.
    in_genuine = -np.diff(np.append(1 - np.array(scale.fnmr), 0.0))
    in_genuine[0] = 1 - in_genuine[1:].sum()
    score = translated.astype(np.float64) @ pairs.target.feature.T.astype(np.float64)
    code = np.unique(pairs.source.subject, return_inverse=True)[1]
    impostor = score[code[:, None] != code]
    in_impostor = np.histogram(impostor, [-2.0, *scale.threshold[1:], 2.0])[0] / impostor.size
    weight = in_genuine + in_impostor
    fitted = IsotonicRegression().fit_transform(np.arange(len(weight)), in_genuine / weight, sample_weight=weight)
    # Below, a step holds less than one of 200 people's genuine scores, and says no more than one would.
    is_inside = (fitted > 0.09) & (fitted < 0.999)
    assert is_inside.sum() > 20
    ratio = np.log10(fitted[is_inside] / (1 - fitted[is_inside]))
    np.testing.assert_allclose(np.array(scale.log10_lr)[is_inside], ratio, atol=2e-3)


def test_no_ratio_is_larger_than_the_evidence() -> None:
    identity = np.repeat(np.eye(90, dtype=np.float32), 3, axis=0)
    pairs, _ = noisy_pairs(90, 3)
    columns = [
        side.columns() | {"feature": identity, "image": np.sort(side.image)} for side in (pairs.source, pairs.target)
    ]
    perfect = Pairs(*(FeatureSet.build(Space(n, 90, f"external:{n}"), c) for n, c in zip("ab", columns, strict=True)))
    scale = calibrate(perfect, identity).scales["translated"]
    assert scale.log10_lr_of(1.0) == pytest.approx(np.log10(4005))
    assert scale.log10_lr_of(-1.0) == pytest.approx(-np.log10(90))
    assert (scale.fmr_of(1.0), scale.fmr_of(0.0)) == (scale.lowest_fmr, 1.0)


def test_people_of_other_parts_are_compared_within_their_part() -> None:
    pairs, translated = noisy_pairs(180, 3)
    is_first = np.isin(pairs.source.subject, np.unique(pairs.source.subject)[:90])
    first, second = (HeldOut(pairs.take(rows), translated[rows]) for rows in (is_first, ~is_first))
    found = calibrate(first.pairs, first.translated_NT, [second])
    (point,) = found.points["translated"]
    assert (point.num_genuine, point.num_impostors) == (180, 2 * 4005)
    assert found.points["native-target"][0].num_impostors == 4005
    rates = [
        naive_rates(one.translated_NT, one.pairs.target.feature, one.pairs.source.subject.tolist(), t)
        for t in (point.threshold + 1e-6, point.threshold - 3e-6)
        for one in (first, second)
    ]
    (above, below) = (np.mean([fmr for fmr, _ in rates[of : of + 2]]) for of in (0, 2))
    assert above <= 1e-2 < below
    assert point.fnmr == pytest.approx(np.mean([fnmr for _, fnmr in rates[:2]]), abs=1e-9)


def test_a_modality_is_compared_with_photos_and_photos_with_each_other() -> None:
    pairs, translated = noisy_pairs(90, 3)
    modality = np.tile(["photo", "photo", "sketch"], 90)
    drawn = Pairs(
        *(FeatureSet.build(s.space, s.columns() | {"modality": modality}) for s in (pairs.source, pairs.target))
    )
    found = calibrate(drawn, translated)
    is_photo = modality == "photo"
    photos = calibrate(pairs.take(is_photo), translated[is_photo])
    for name in SIDES:
        assert found.scales[name] == photos.scales[name]
    scale = found.scales["translated/sketch"]
    # Sketches are of the same 90 people as photos.
    assert (scale.num_genuine, scale.num_impostors) == (90, 4005)
    score = translated.astype(np.float64) @ pairs.target.feature.T.astype(np.float64)
    code = np.unique(pairs.source.subject, return_inverse=True)[1]
    is_mixed = is_photo[:, None] != is_photo
    impostor = score[is_mixed & (code[:, None] != code)]
    genuine = score[is_mixed & (code[:, None] == code)]
    for place in (5, 20, 40):
        assert scale.fmr[place] == pytest.approx(np.mean(impostor >= scale.threshold[place]), abs=2e-4)
        assert scale.fnmr[place] == pytest.approx(np.mean(genuine < scale.threshold[place]), abs=2e-3)


def with_modality(pairs: Pairs, modality: list[str]) -> Pairs:
    columns = {"modality": np.array(modality)}
    return Pairs(*(FeatureSet.build(s.space, s.columns() | columns) for s in (pairs.source, pairs.target)))


@pytest.mark.parametrize("kinds", [["caricature", "caricature", "photo"], ["photo", "photo", "sketch"]])
def test_of_many_pictures_every_modality_stays(monkeypatch: pytest.MonkeyPatch, kinds: list[str]) -> None:
    pairs, translated = noisy_pairs(200, 3)
    drawn = with_modality(pairs, kinds * 200)
    (other,) = {"caricature", "sketch"} & set(kinds)
    monkeypatch.setattr(calibration, "MAX_PICTURES", 360)
    found = calibrate(drawn, translated)
    scale = found.scales[f"translated/{other}"]
    # Room for three pictures each, two of one modality and one of another, of 120 people.
    assert (scale.num_genuine, scale.num_impostors) == (120, 7140)
    assert ("translated" in found.scales) == (kinds.count("photo") == 2)


def test_one_persons_drawing_states_no_rate_however_many_strangers_there_are() -> None:
    pairs, translated = noisy_pairs(120, 3)
    for num_drawn, states in ((1, False), (77, False), (78, True)):
        kinds = [
            kind for number in range(120) for kind in ("photo", "photo", "sketch" if number < num_drawn else "photo")
        ]
        found = calibrate(with_modality(pairs, kinds), translated)
        assert ("translated/sketch" in found.scales) == states, num_drawn
        assert "translated" in found.scales


@pytest.mark.parametrize("num_mated", [19, 20])
def test_of_few_genuine_scores_nothing_is_said(num_mated: int) -> None:
    pairs, translated = noisy_pairs(120, 2)
    rows = (np.arange(240) % 2 == 0) | (np.arange(240) < 2 * num_mated)
    assert bool(calibrate(pairs.take(rows), translated[rows]).scales) == (num_mated == 20)


def test_a_table_of_one_person_against_many_states_no_rate() -> None:
    random = np.random.default_rng(0)
    strangers = [f"s{number}" for number in range(4000)]
    mated = strangers[:30]
    a, b = ["ann"] * 4000 + mated, strangers + mated
    score = np.concatenate([random.normal(0.0, 0.1, 4000), random.normal(0.8, 0.1, 30)]).astype(np.float32).clip(-1, 1)
    assert not calibrate_scores(a, b, score, "translated").scales
    a[:4000] = [f"t{number % 78}" for number in range(4000)]
    assert calibrate_scores(a, b, score, "translated").scales["translated"].num_impostors == 3081


def test_one_drawing_among_many_photos_leaves_as_many_people(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = noisy_pairs(200, 3)
    monkeypatch.setattr(calibration, "MAX_PICTURES", 300)
    kinds = ["photo"] * 600
    plain = calibration._thinned_rows(*calibration._names(with_modality(pairs, kinds).source))
    kinds[2] = "sketch"
    drawn = calibration._thinned_rows(*calibration._names(with_modality(pairs, kinds).source))
    assert len(plain) == 300
    assert 298 <= len(drawn) <= 300
    assert 2 in drawn


def test_of_few_who_were_drawn_all_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = noisy_pairs(400, 2)
    monkeypatch.setattr(calibration, "MAX_PICTURES", 400)
    kinds = np.full(800, "photo", dtype="<U6")
    kinds[1::2][::8] = "sketch"
    rows = calibration._thinned_rows(*calibration._names(with_modality(pairs, kinds.tolist()).source))
    assert 398 <= len(rows) <= 400
    assert set(np.flatnonzero(kinds == "sketch")) <= set(rows.tolist())


def test_what_is_of_no_known_modality_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = noisy_pairs(100, 4)
    monkeypatch.setattr(calibration, "MAX_PICTURES", 100)
    rows = calibration._thinned_rows(*calibration._names(with_modality(pairs, ["photo", "photo", "", ""] * 100).source))
    assert len(rows) == 100
    assert (rows % 4 < 2).all()
    assert len(calibration._thinned_rows(*calibration._names(with_modality(pairs, [""] * 400).source))) == 100


@pytest.mark.parametrize("alternating", [False, True])
def test_one_persons_scores_state_no_rate_in_whichever_column_they_stand(alternating: bool) -> None:
    strangers = [f"s{number}" for number in range(4000)]
    rows = [("ann", name) if number % 2 or not alternating else (name, "ann") for number, name in enumerate(strangers)]
    rows += [(name, name) for name in strangers[:30]]
    score = np.linspace(-0.5, 0.9, len(rows)).astype(np.float32)
    a, b = ([row[side] for row in rows] for side in (0, 1))
    assert not calibrate_scores(a, b, score, "translated").scales


def test_a_table_of_everybody_with_everybody_counts_every_pair() -> None:
    pairs = [(f"s{i}", f"s{j}") for i in range(80) for j in range(i + 1)]
    score = np.linspace(-0.5, 0.9, len(pairs)).astype(np.float32)
    a, b = ([pair[side] for pair in pairs] for side in (0, 1))
    scale = calibrate_scores(a, b, score, "translated").scales["translated"]
    assert (scale.num_genuine, scale.num_impostors) == (80, 3160)


def test_scores_of_all_with_all_are_counted_as_their_list_is() -> None:
    random = np.random.default_rng(5)
    num = 150
    probes = np.array([f"p{number}" for number in range(num)])
    photos = np.array([f"p{number}" for number in range(num) for _ in range(1 + number % 3)])
    sides = [
        FeatureSet.build(
            Space("x", 4, "external:x"),
            {
                "feature": random.normal(size=(len(names), 4)),
                "image": np.arange(len(names)).astype(str),
                "subject": names,
            },
        )
        for names in (probes, photos)
    ]
    is_own = probes[:, None] == photos
    scores = [
        np.clip(0.5 * is_own + 0.2 * random.normal(size=is_own.shape), -1, 1).astype(np.float32) for _ in range(3)
    ]
    found = calibration.calibrate_across(scores, sides[0], sides[1], "sketch")
    names = [[side.repeat(len(photos)), np.tile(photos, len(probes))] for side in (probes,) * 3]
    a, b = (np.concatenate([one[place] for one in names]).tolist() for place in (0, 1))
    listed = calibration.calibrate_scores(
        a, b, np.concatenate([one.reshape(-1) for one in scores]), "translated/sketch"
    )
    scale, expected = found.scales["translated/sketch"], listed.scales["translated/sketch"]
    assert (
        (scale.num_genuine, scale.num_impostors)
        == (expected.num_genuine, expected.num_impostors)
        == (num, num * (num - 1) // 2)
    )
    # Strangers of either way weigh as one pair in the list, and one each way in the table: the shares differ by as little as
    # pairs with more photos on one side do.
    np.testing.assert_allclose(scale.fmr, expected.fmr)
    np.testing.assert_allclose(scale.threshold, expected.threshold, atol=5e-3)
    np.testing.assert_allclose(scale.fnmr, expected.fnmr, atol=0.02)


def test_many_sketches_are_calibrated_on_as_many_pictures_as_photos_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_PICTURES", 60)
    names = np.array([f"p{number}" for number in range(80)])
    sides = [
        FeatureSet.build(
            Space("x", 4, "external:x"),
            {
                "feature": np.random.default_rng(0).normal(size=(80, 4)),
                "image": np.array([f"{kind}-{name}" for name in names]),
                "subject": names,
                "modality": np.full(80, kind),
            },
        )
        for kind in ("sketch", "photo")
    ]
    probes, photos = calibration.fewer_of(*sides)
    assert probes.subject.tolist() == photos.subject.tolist()
    assert 28 <= len(probes) <= 30
    assert probes.modality is not None
    assert set(probes.modality) == {"sketch"}
