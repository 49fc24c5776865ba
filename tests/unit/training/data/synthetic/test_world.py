from collections.abc import Callable

import numpy as np
import pytest

from models.picture import ARCFACE_5PT
from training.data.expressions import ACTION_UNITS, EXPRESSIONS
from training.data.synthetic.attributes import SHOWN, WORN
from training.data.synthetic.canvas import Canvas, Colour, FloatArray
from training.data.synthetic.drawing import CARICATURE_STYLES, SKETCH_STYLES
from training.data.synthetic.world import LABELS, MAX_SEED, MODALITIES, Picture, World, WorldSettings, subject_name
from training.errors import SyntheticError

ASKED_FOR = {
    "neutral": set(),
    "happiness": {12, 25},
    "sadness": {4, 15},
    "fear": {1, 4, 20, 25},
    "anger": {4, 7, 24},
    "surprise": {1, 2, 25, 26},
    "disgust": {9, 10, 17},
}
ROUNDING = 0.003
"""Labels hold three digits of an intensity."""

MakeWorld = Callable[..., World]


@pytest.fixture
def world() -> MakeWorld:
    """Makes a world of small pictures: keywords of its settings."""

    def make(**settings: object) -> World:
        return World(WorldSettings(**{"side": 48, **settings}))  # type: ignore[arg-type]

    return make


def pictures(world: World, number: int = 40, modality: str = "photo") -> list[Picture]:
    return [world.picture(place // 2, modality, place % 2) for place in range(number)]


def units(labels: Picture) -> dict[int, float]:
    return {unit: float(labels.labels[f"au_{unit}"]) for unit in ACTION_UNITS}


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_picture_is_the_same_whatever_was_made_before(world: MakeWorld, modality: str) -> None:
    fresh = world().picture(3, modality, 1)
    busy = world()
    for person in range(70):  # More people than are kept.
        busy.picture(person, MODALITIES[person % 3], 0)
    again = busy.picture(3, modality, 1)
    np.testing.assert_array_equal(again.pixels, fresh.pixels)
    assert (again.labels, again.quality) == (fresh.labels, fresh.quality)


def test_pictures_differ_between_seeds_people_modalities_and_numbers(world: MakeWorld) -> None:
    one, other = world(seed=1), world(seed=2)
    made = [
        one.picture(0, "photo", 0),
        one.picture(0, "photo", 1),
        one.picture(0, "sketch", 0),
        one.picture(1, "photo", 0),
        other.picture(0, "photo", 0),
    ]
    assert len({picture.pixels.tobytes() for picture in made}) == 5


def test_occasions_differ_between_seeds(world: MakeWorld) -> None:
    turned = [[picture.labels["yaw"] for picture in pictures(world(seed=seed), 10)] for seed in (1, 2)]
    assert turned[0] != turned[1]


def test_people_differ_between_seeds_and_stay_the_same_within_one(world: MakeWorld) -> None:
    np.testing.assert_array_equal(world(seed=1).person(5).latent, world(seed=1, side=64).person(5).latent)
    assert not np.allclose(world(seed=1).person(5).latent, world(seed=2).person(5).latent)


def test_the_largest_seed_makes_a_world(world: MakeWorld) -> None:
    assert world(seed=MAX_SEED).picture(0, "photo", 0).pixels.any()
    assert subject_name(WorldSettings(seed=MAX_SEED), 1_234_567) == "w9223372036854775807-1234567"


@pytest.mark.parametrize("side", [48, 112, 200])
@pytest.mark.parametrize("modality", MODALITIES)
def test_every_picture_is_bytes_of_its_size(world: MakeWorld, modality: str, side: int) -> None:
    for picture in pictures(world(side=side), 6, modality):
        assert picture.pixels.shape == (side, side, 3)
        assert picture.pixels.dtype == np.uint8
        assert 55 <= picture.quality <= 95


@pytest.mark.parametrize("modality", MODALITIES)
def test_everything_is_painted_in_float32(world: MakeWorld, modality: str, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: set[str] = set()
    paint, shade = Canvas.paint, Canvas.shade

    def watched_paint(canvas: Canvas, coverage_HW: FloatArray, colour: Colour | FloatArray) -> None:
        arrays = [canvas.colour_CHW, canvas.u_HW, coverage_HW, *([] if isinstance(colour, tuple) else [colour])]
        painted.update(str(array.dtype) for array in arrays)
        paint(canvas, coverage_HW, colour)

    def watched_shade(canvas: Canvas, factor_HW: FloatArray) -> None:
        painted.add(str(factor_HW.dtype))
        shade(canvas, factor_HW)

    monkeypatch.setattr(Canvas, "paint", watched_paint)
    monkeypatch.setattr(Canvas, "shade", watched_shade)
    pictures(world(worn=dict.fromkeys(WORN, 1.0)), 10, modality)
    assert painted == {"float32"}


def test_labels_are_complete_and_in_order(world: MakeWorld) -> None:
    expected = ["style", "expression", *(f"au_{unit}" for unit in ACTION_UNITS), *WORN, *SHOWN]
    assert list(LABELS) == [*expected, "yaw", "pitch", "five_points"]
    for modality in MODALITIES:
        assert list(world().picture(0, modality, 0).labels) == list(LABELS)


@pytest.mark.parametrize(
    ("modality", "styles"), [("photo", {""}), ("sketch", set(SKETCH_STYLES)), ("caricature", set(CARICATURE_STYLES))]
)
def test_every_style_of_a_modality_is_met(world: MakeWorld, modality: str, styles: set[str]) -> None:
    assert {picture.labels["style"] for picture in pictures(world(), 40, modality)} == styles


def test_expressions_are_those_asked_for_and_show_their_units(world: MakeWorld) -> None:
    asked = ("fear", "happiness")
    assert {picture.labels["expression"] for picture in pictures(world(expressions=asked))} == set(asked)
    for picture in pictures(world(), 80):
        shown = {unit for unit, strength in units(picture).items() if strength > 0}
        assert ASKED_FOR[picture.labels["expression"]] <= shown


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_of_none_and_all_hold_exactly(world: MakeWorld, modality: str, share: float) -> None:
    # Nothing hides a face that is drawn, and a pencil draws no make-up.
    never = {"photo": set(), "caricature": {"occluded"}, "sketch": {"occluded", "lipstick"}}
    worn = [name for name in WORN if name not in never[modality]]
    for picture in pictures(world(worn=dict.fromkeys(WORN, share)), 20, modality):
        assert {picture.labels[name] for name in worn} == {str(int(share))}


def test_shares_between_hold_on_average(world: MakeWorld) -> None:
    made = world(worn={"eyeglasses": 0.5})
    worn = [
        picture.labels["eyeglasses"] == "1" for picture in (made.picture(person, "photo", 0) for person in range(400))
    ]
    assert np.mean(worn) == pytest.approx(0.5, abs=4 * 0.5 / 400**0.5)


def test_smile_and_open_mouth_agree_with_the_units(world: MakeWorld) -> None:
    seen = set()
    for picture in pictures(world(), 80):
        au = units(picture)
        corners = 0.095 * au[12] - 0.09 * au[15] - 0.02 * au[17] - 0.02 * au[20]
        opening = 0.02 * au[10] + 0.075 * au[25] + 0.16 * au[26]
        for name, moved, least in (("smile", corners, 0.02), ("mouth_open", opening, 0.015)):
            if abs(moved - least) > ROUNDING:
                assert picture.labels[name] == str(int(moved > least))
                seen.add((name, picture.labels[name]))
    assert len(seen) == 4


def test_a_frontal_face_is_turned_by_less_than_a_fifth_of_a_radian(world: MakeWorld) -> None:
    seen = set()
    for picture in pictures(world(), 80):
        turned = max(abs(float(picture.labels[name])) for name in ("yaw", "pitch"))
        if abs(turned - np.degrees(0.2)) > 0.1:
            assert picture.labels["frontal_face"] == str(int(turned < np.degrees(0.2)))
            seen.add(picture.labels["frontal_face"])
    assert seen == {"0", "1"}


def test_inborn_attributes_are_the_same_on_all_pictures_of_a_person(world: MakeWorld) -> None:
    inborn = [name for name in SHOWN if name not in ("smile", "mouth_open", "frontal_face", "long_hair")]
    for person in range(10):
        of_person = [world().picture(person, modality, number) for modality in MODALITIES for number in range(2)]
        assert len({tuple(picture.labels[name] for name in inborn) for picture in of_person}) == 1


def test_pictures_of_another_size_show_the_same_with_the_points_farther_apart(world: MakeWorld) -> None:
    for person in range(5):
        small, large = (world(side=side).picture(person, "photo", 0).labels for side in (56, 112))
        points = [np.array(labels["five_points"].split(), dtype=float) for labels in (small, large)]
        np.testing.assert_allclose(points[1], 2 * points[0], atol=0.02)
        assert {**small, "five_points": ""} == {**large, "five_points": ""}


@pytest.mark.parametrize("modality", MODALITIES)
def test_five_points_are_x_and_y_near_the_template(world: MakeWorld, modality: str) -> None:
    for picture in pictures(world(side=112), 10, modality):
        points = np.array(picture.labels["five_points"].split(), dtype=float).reshape(5, 2)
        np.testing.assert_allclose(points, ARCFACE_5PT, atol=14.0)
        # A similarity keeps the middle of the points, where an aligner's error of 0.9 pixels a point moves it.
        assert np.abs(points.mean(axis=0) - ARCFACE_5PT.mean(axis=0)).max() < 5 * 1.7 * 0.9 / 5**0.5


def test_the_darkest_around_a_labelled_eye_is_in_its_middle_on_average(world: MakeWorld) -> None:
    made = world(side=112, expressions=("neutral",), worn=dict.fromkeys(WORN, 0.0))
    patches = []
    for picture in pictures(made, 60):
        x, y = (round(float(value)) for value in picture.labels["five_points"].split()[:2])
        patches.append(picture.pixels[y - 4 : y + 5, x - 4 : x + 5].mean(axis=2))
    row, column = np.unravel_index(int(np.mean(patches, axis=0).argmin()), (9, 9))
    assert abs(int(column) - 4) <= 1
    assert abs(int(row) - 4) <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "the seed must lie between 0 and 9223372036854775807"),
        ({"seed": 2**63}, "the seed must lie between"),
        ({"side": 47}, "the size of a picture must lie between 48 and 512 pixels"),
        ({"side": 513}, "the size of a picture must lie between"),
        ({"expressions": ("joy",)}, f"there is no expression 'joy'; there are: {', '.join(EXPRESSIONS)}"),
        ({"expressions": ()}, "no expression is left"),
        ({"worn": {"smile": 0.5}}, "attribute 'smile' follows from face and expression"),
    ],
)
def test_a_world_that_cannot_be_is_refused(world: MakeWorld, settings: dict[str, object], message: str) -> None:
    with pytest.raises(SyntheticError, match=message):
        world(**settings)


def test_an_unknown_modality_is_refused(world: MakeWorld) -> None:
    with pytest.raises(SyntheticError, match="there is no modality 'x-ray'; there are: photo, sketch, caricature"):
        world().picture(0, "x-ray", 0)
