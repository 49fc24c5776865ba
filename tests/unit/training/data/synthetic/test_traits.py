from dataclasses import asdict, replace
from statistics import NormalDist

import numpy as np
import pytest

from training.data.synthetic.traits import GROUPS, IS_SHAPE, NUM_TRAITS, TRAITS, Traits, draw_latent, traits_of

COLOURS = {
    "iris_light",
    "iris_hue",
    "brow_dark",
    "lip_red",
    "hair_dark",
    "hair_red",
    "melanin",
    "redness",
    "freckles",
    "age",
    "beard_growth",
}


def latent(**deviations: float) -> np.ndarray:
    """The mean face, but for some traits that lie so many deviations off."""
    return np.array([deviations.get(name, 0.0) for name in TRAITS])


def people(number: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.array([draw_latent(random) for _ in range(number)])


def test_the_latent_of_zeros_is_the_mean_face_without_freckles_and_beard() -> None:
    assert traits_of(latent()) == replace(Traits(), freckles=0.0, beard_growth=0.0)


@pytest.mark.parametrize(
    ("name", "deviations", "expected"),
    [
        ("face_width", 1.0, 1.0 + 0.055),
        ("eye_spacing", -2.0, 0.44 - 2 * 0.028),
        ("mouth_width", 1.5, 0.385 + 1.5 * 0.034),
        ("freckles", 1.0, -0.35 + 0.5),
    ],
)
def test_a_deviation_moves_its_own_trait_and_no_other(name: str, deviations: float, expected: float) -> None:
    found, mean = asdict(traits_of(latent(**{name: deviations}))), asdict(traits_of(latent()))
    assert found.pop(name) == pytest.approx(expected)
    mean.pop(name)
    assert found == mean


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [("face_width", 0.78, 1.3), ("hairline", -1.15, -0.55), ("melanin", 0.0, 1.0), ("nose_height", 0.14, 0.6)],
)
def test_no_trait_leaves_the_limits_in_which_it_can_be_drawn(name: str, lowest: float, highest: float) -> None:
    assert getattr(traits_of(latent(**{name: -50.0})), name) == lowest
    assert getattr(traits_of(latent(**{name: 50.0})), name) == highest


def test_latents_are_standard_normal_and_cut_off() -> None:
    drawn = people(3000)
    assert drawn.shape == (3000, NUM_TRAITS)
    assert np.abs(drawn).max() == 2.6
    # Both tails beyond 2.6 deviations lie at the cut.
    at_the_cut = 2 * (1 - NormalDist().cdf(2.6))
    assert (np.abs(drawn) == 2.6).mean() == pytest.approx(at_the_cut, abs=4 * (at_the_cut / drawn.size) ** 0.5)
    np.testing.assert_allclose(drawn.mean(axis=0), 0.0, atol=4.5 / 3000**0.5)
    np.testing.assert_allclose(drawn.std(axis=0), 1.0, atol=0.07)


def test_traits_of_people_are_independent() -> None:
    correlation = np.corrcoef(people(3000).T)
    np.testing.assert_allclose(correlation, np.eye(NUM_TRAITS), atol=5 / 3000**0.5)


def test_most_people_have_no_freckles() -> None:
    free = np.mean([traits_of(person).freckles == 0.0 for person in people(3000)])
    assert free == pytest.approx(NormalDist().cdf(0.35 / 0.5), abs=0.03)


def test_every_trait_belongs_to_one_group() -> None:
    assert sorted(member for members in GROUPS.values() for member in members) == list(range(NUM_TRAITS))
    assert [TRAITS[member] for member in GROUPS["nose"]] == [
        "nose_length",
        "nose_width",
        "nose_height",
        "bridge_width",
        "bridge_hump",
        "nose_tip",
        "nostrils",
    ]


def test_shape_is_what_is_left_when_colour_is_taken_away() -> None:
    assert {name for name, is_shape in zip(TRAITS, IS_SHAPE.tolist(), strict=True) if not is_shape} == COLOURS
