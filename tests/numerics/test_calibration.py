import numpy as np
import numpy.typing as npt
import pytest

from models.feature_set import FeatureSet
from models.features import unit_features
from models.operating_point import OperatingPoint
from models.space import Space
from training.data.pairs import Pairs, join_by_image
from training.evaluation import calibration
from training.evaluation.calibration import calibrate, calibrate_native

FloatArray = npt.NDArray[np.float32]


def noisy_pairs(num_subjects: int = 30, pictures: int = 3, *, subjects: bool = True) -> tuple[Pairs, FloatArray]:
    """Pairs of two spaces of six dimensions, and a noisy translation of the first."""
    random = np.random.default_rng(0)
    identity = np.repeat(random.normal(size=(num_subjects, 6)), pictures, axis=0)
    sides = [identity + random.normal(scale=0.5, size=identity.shape) for _ in range(3)]
    image = np.array([f"{i:04d}.png" for i in range(len(identity))])
    subject = np.array([f"s{i // pictures}" if subjects else "" for i in range(len(identity))])
    sets = [
        FeatureSet.build(Space(name, 6, f"external:{name}"), {"feature": side, "image": image, "subject": subject})
        for name, side in zip("ab", sides[:2], strict=True)
    ]
    return join_by_image(*sets), unit_features(sides[2])


def naive_point(a: FloatArray, b: FloatArray, subject: list[str], *, both_ways: bool) -> tuple[float, float, int, int]:
    genuine: list[float] = []
    impostor: list[float] = []
    for i in range(len(a)):
        for j in range(len(b)):
            if i != j and (both_ways or i < j):
                (genuine if subject[i] == subject[j] else impostor).append(float((a[i : i + 1] @ b[j : j + 1].T)[0, 0]))
    threshold = sorted(impostor, reverse=True)[int(0.01 * len(impostor)) - 1]
    fnmr = sum(score < threshold - 1e-7 for score in genuine) / len(genuine)
    return threshold, fnmr, len(genuine), len(impostor)


@pytest.mark.parametrize(
    ("comparison", "both_ways"), [("native-source", False), ("native-target", False), ("translated", True)]
)
def test_operating_points_are_those_of_a_double_loop_over_pictures(comparison: str, both_ways: bool) -> None:
    pairs, translated = noisy_pairs()
    points = {str(name): found for name, found in calibrate(pairs, translated).points.items()}
    sides = {
        "native-source": (pairs.source.feature, pairs.source.feature),
        "native-target": (pairs.target.feature, pairs.target.feature),
        "translated": (translated, pairs.target.feature),
    }
    threshold, fnmr, num_genuine, num_impostors = naive_point(
        *sides[comparison], pairs.source.subject.tolist(), both_ways=both_ways
    )
    (point,) = points[comparison]
    assert isinstance(point, OperatingPoint)
    # 90 pictures: 90 x 89 / 2 pairs, 30 x 3 of them genuine; the rule of 30 leaves 1e-2 alone.
    assert (num_genuine, num_impostors) == ((180, 7830) if both_ways else (90, 3915))
    assert (point.fmr, point.num_genuine, point.num_impostors) == (1e-2, num_genuine, num_impostors)
    assert point.threshold == pytest.approx(threshold, abs=1e-6)
    assert point.fnmr == pytest.approx(fnmr)


def test_nothing_is_stated_where_subjects_are_not_known() -> None:
    pairs, translated = noisy_pairs(subjects=False)
    assert calibrate(pairs, translated).points == {}


def test_nothing_is_stated_on_too_few_impostors() -> None:
    pairs, translated = noisy_pairs(num_subjects=10)
    assert calibrate(pairs, translated).points == {}


def test_too_many_pictures_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, translated = noisy_pairs()
    monkeypatch.setattr(calibration, "MAX_PICTURES", 85)
    (point,) = calibrate(pairs, translated).points["native-target"]
    assert point.num_genuine + point.num_impostors == 85 * 84 // 2


def test_an_encoders_own_points_are_those_of_a_double_loop_over_its_pictures() -> None:
    encoded = noisy_pairs()[0].target
    threshold, fnmr, num_genuine, num_impostors = naive_point(
        encoded.feature, encoded.feature, encoded.subject.tolist(), both_ways=False
    )
    points = calibrate_native(encoded).points
    assert points.keys() == {"native-target"}
    (point,) = points["native-target"]
    assert (point.num_genuine, point.num_impostors) == (num_genuine, num_impostors) == (90, 3915)
    assert point.threshold == pytest.approx(threshold, abs=1e-6)
    assert point.fnmr == pytest.approx(fnmr)


def test_an_encoder_has_the_points_that_a_translator_into_its_space_measures_there() -> None:
    pairs, translated = noisy_pairs()
    points = calibrate(pairs, translated).points
    assert calibrate_native(pairs.target).points["native-target"] == points["native-target"]
    assert calibrate_native(pairs.source).points["native-target"] == points["native-source"]


def test_an_encoder_states_nothing_on_too_few_impostors_or_without_a_second_picture_of_anybody() -> None:
    assert calibrate_native(noisy_pairs(num_subjects=10)[0].target).points == {}
    assert calibrate_native(noisy_pairs(num_subjects=90, pictures=1)[0].target).points == {}


def test_too_many_pictures_of_an_encoder_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_PICTURES", 85)
    (point,) = calibrate_native(noisy_pairs()[0].target).points["native-target"]
    assert point.num_genuine + point.num_impostors == 85 * 84 // 2
