from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic.attributes import WORN
from training.data.synthetic.conditions import Conditions, draw_conditions
from training.data.synthetic.drawing import (
    CARICATURE_STYLES,
    SKETCH_STYLES,
    Drawing,
    caricatured_latent,
    draw_caricature,
    draw_sketch,
    sketched_latent,
)
from training.data.synthetic.person import Person, draw_person
from training.data.synthetic.traits import IS_SHAPE, NUM_TRAITS, draw_latent, traits_of

Draw = Callable[..., Drawing]

SIDE = 48
STYLES: list[tuple[Draw, str]] = [(draw_sketch, style) for style in SKETCH_STYLES] + [
    (draw_caricature, style) for style in CARICATURE_STYLES
]


def seeded() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def person() -> Person:
    return draw_person(0, 3, WORN)


@pytest.fixture
def conditions(person: Person) -> Conditions:
    drawn = draw_conditions(person, ("happiness",), seeded())
    return replace(drawn, yaw=0.4, pitch=-0.2, worn=dict.fromkeys(WORN, False))


def with_latent(person: Person, latent: np.ndarray) -> Person:
    return replace(person, latent=latent, traits=traits_of(latent))


def test_a_sketch_remembers_shape_by_six_tenths_and_colour_by_three() -> None:
    random = np.random.default_rng(0)
    people = np.array([random.standard_normal(NUM_TRAITS) for _ in range(4000)])
    sketched = np.array([sketched_latent(latent, random) for latent in people])
    correlation = np.array([np.corrcoef(people[:, k], sketched[:, k])[0, 1] for k in range(NUM_TRAITS)])
    np.testing.assert_allclose(correlation, np.where(IS_SHAPE, 0.6, 0.3), atol=0.06)


def test_sketches_of_all_people_spread_as_the_people_do() -> None:
    random = np.random.default_rng(0)
    sketched = np.array([sketched_latent(random.standard_normal(NUM_TRAITS), random) for _ in range(4000)])
    np.testing.assert_allclose(sketched.mean(axis=0), 0.0, atol=0.07)
    np.testing.assert_allclose(sketched.std(axis=0), 1.0, atol=0.05)


def test_two_sketches_of_one_person_differ() -> None:
    latent, random = draw_latent(seeded()), seeded()
    assert not np.allclose(sketched_latent(latent, random), sketched_latent(latent, random))


def test_a_caricature_leaves_colour_as_it_is() -> None:
    latent = draw_latent(seeded())
    np.testing.assert_array_equal(caricatured_latent(latent, seeded())[~IS_SHAPE], latent[~IS_SHAPE])


def test_the_mean_face_has_nothing_to_exaggerate() -> None:
    assert not caricatured_latent(np.zeros(NUM_TRAITS), seeded()).any()


@pytest.mark.parametrize(("draw", "style"), STYLES)
def test_a_drawing_is_a_picture_of_bytes_with_five_points(
    person: Person, conditions: Conditions, draw: Draw, style: str
) -> None:
    drawing = draw(person, conditions, style, SIDE, seeded())
    assert drawing.pixels.shape == (SIDE, SIDE, 3)
    assert drawing.pixels.dtype == np.uint8
    assert len(drawing.points) == 5
    assert drawing.pixels.std() > 10.0


@pytest.mark.parametrize(("draw", "style"), STYLES)
def test_the_same_hand_draws_the_same_picture(person: Person, conditions: Conditions, draw: Draw, style: str) -> None:
    one, other = (draw(person, conditions, style, SIDE, seeded()) for _ in range(2))
    np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("style", SKETCH_STYLES)
def test_a_sketch_has_no_colours(person: Person, conditions: Conditions, style: str) -> None:
    pixels = draw_sketch(person, conditions, style, SIDE, seeded()).pixels
    np.testing.assert_array_equal(pixels, pixels[:, :, :1].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("style", "is_coloured"), [("flat", True), ("painted", True), ("crayon", True), ("ink", False)]
)
def test_caricatures_other_than_ink_are_coloured(
    person: Person,
    conditions: Conditions,
    style: str,
    is_coloured: bool,
) -> None:
    pixels = draw_caricature(person, conditions, style, SIDE, seeded()).pixels.astype(int)
    assert bool(np.ptp(pixels, axis=2).max() > 20) is is_coloured


@pytest.mark.parametrize(("draw", "style", "kept"), [(draw_sketch, "pencil", 0.35), (draw_caricature, "flat", 0.6)])
def test_a_drawing_is_turned_less_and_hides_nothing(
    person: Person, conditions: Conditions, draw: Draw, style: str, kept: float
) -> None:
    hidden = replace(conditions, worn={**conditions.worn, "occluded": True, "hat": True})
    drawn = draw(person, hidden, style, SIDE, seeded()).conditions
    assert (drawn.yaw, drawn.pitch) == pytest.approx((0.4 * kept, -0.2 * kept))
    assert {name for name, is_worn in drawn.worn.items() if is_worn} == {"hat"}


@pytest.mark.parametrize(("draw", "style"), [(draw_sketch, "contour"), (draw_caricature, "ink")])
def test_people_of_other_shape_are_drawn_otherwise(
    person: Person, conditions: Conditions, draw: Draw, style: str
) -> None:
    other = with_latent(person, np.where(IS_SHAPE, -person.latent, person.latent))
    one, two = (draw(who, conditions, style, SIDE, seeded()).pixels for who in (person, other))
    assert (one != two).any(axis=2).mean() > 0.1


def test_what_an_artist_exaggerates_shows_in_the_points(person: Person, conditions: Conditions) -> None:
    frontal = replace(conditions, yaw=0.0, pitch=0.0, units={}, aligned_error_52=np.zeros((5, 2)))
    wide = with_latent(person, np.where(np.arange(NUM_TRAITS) == 12, 2.0, 0.0))

    def eyes_to_mouth(points: list[tuple[float, float]]) -> float:
        left_eye, right_eye, _, left_corner, right_corner = np.array(points)
        return float(np.linalg.norm(right_eye - left_eye) / np.linalg.norm(right_corner - left_corner))

    drawn = draw_caricature(wide, frontal, "flat", SIDE, seeded()).points
    # The 13th trait is the spacing of the eyes: 0.44, deviation 0.028; the mouth is 0.385 wide to each side. The least
    # that an artist multiplies by is 1.5, and wider apart than 0.6 no eyes are drawn.
    assert (0.44 + 1.5 * 2 * 0.028) / 0.385 <= eyes_to_mouth(drawn) <= 0.6 / 0.385
