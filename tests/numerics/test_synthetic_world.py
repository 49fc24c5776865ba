"""How well anybody could do on the world's drawings: what they keep of a person, by Bayes' rule and by hand.

N people, K traits. The observer reads every line of a sketch rightly and knows everybody; what it cannot know is what the
witness forgot.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from training.data.synthetic.attributes import WORN
from training.data.synthetic.conditions import draw_conditions
from training.data.synthetic.drawing import REMEMBERED, SKETCH_STYLES, caricatured_latent, draw_sketch, sketched_latent
from training.data.synthetic.person import Mark, Person, draw_person
from training.data.synthetic.traits import GROUPS, IS_SHAPE, NUM_TRAITS, TRAITS, draw_latent, traits_of

FloatArray = npt.NDArray[np.float64]

NUM_PEOPLE = 1000
NOT_DRAWN = ("melanin", "redness", "freckles", "lip_red")
"""Paper is white: of these a sketch keeps nothing, of other colours less than a third."""


@pytest.fixture(scope="module")
def people_NK() -> FloatArray:
    random = np.random.default_rng(0)
    return np.array([draw_latent(random) for _ in range(NUM_PEOPLE)])


def posterior(sketched_NK: FloatArray, people_NK: FloatArray, remembered_K: FloatArray) -> FloatArray:
    """Who was meant: row i holds the probability of each person given sketch i.

    A trait s = r z + sqrt(1 - r^2) e is normal around r z with variance 1 - r^2, and all people are as likely.
    """
    rows = []
    for sketched_K in sketched_NK:
        surprise_NK = np.square(sketched_K - remembered_K * people_NK) / (2.0 * (1.0 - np.square(remembered_K)))
        log_likelihood_N = -surprise_NK.sum(axis=1)
        weight_N = np.exp(log_likelihood_N - log_likelihood_N.max())
        rows.append(weight_N / weight_N.sum())
    return np.array(rows)


def perplexity(probability_NN: FloatArray) -> FloatArray:
    """Among how many people, as good as, each row is undecided."""
    safe_NN = np.where(probability_NN > 0, probability_NN, 1.0)
    undecided_N: FloatArray = np.exp(-(probability_NN * np.log(safe_NN)).sum(axis=1))
    return undecided_N


def sketches(people_NK: FloatArray, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    return np.array([sketched_latent(latent_K, random) for latent_K in people_NK])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("with_colour", [False, True], ids=["shape alone", "with what is kept of colour"])
def test_the_ideal_observer_of_sketches_is_good_and_often_in_doubt(
    people_NK: FloatArray, seed: int, *, with_colour: bool
) -> None:
    seen_K = np.ones(NUM_TRAITS, dtype=bool) if with_colour else IS_SHAPE
    remembered_K = np.where(IS_SHAPE, REMEMBERED, 0.3)[seen_K]
    probability = posterior(sketches(people_NK, seed)[:, seen_K], people_NK[:, seen_K], remembered_K)
    rank_1 = (probability.argmax(axis=1) == np.arange(NUM_PEOPLE)).mean()
    assert 0.75 < rank_1 < 0.97
    assert perplexity(probability).mean() > 1.2
    # An observer that knows the odds is right as often as it expects to be.
    expected = probability.max(axis=1)
    deviation = float(np.sqrt((expected * (1 - expected)).sum())) / NUM_PEOPLE
    assert rank_1 == pytest.approx(expected.mean(), abs=4 * deviation)


def test_one_trait_alone_says_next_to_nothing(people_NK: FloatArray) -> None:
    first_K = np.arange(NUM_TRAITS) == 0
    probability = posterior(sketches(people_NK, 1)[:, first_K], people_NK[:, first_K], np.array([REMEMBERED]))
    # Two normals of correlation 0.6 share -ln(1 - 0.36) / 2 nats: the choice narrows by a factor of 1.25.
    doubt = np.log(perplexity(probability)).mean()
    assert np.exp(doubt) == pytest.approx(NUM_PEOPLE / 1.25, rel=0.05)


def with_latent(person: Person, latent_K: FloatArray) -> Person:
    return replace(person, latent=latent_K, traits=traits_of(latent_K))


@pytest.mark.parametrize("style", SKETCH_STYLES)
@pytest.mark.parametrize("number", range(3))
def test_people_that_differ_in_skin_and_lips_alone_have_the_same_sketch(style: str, number: int) -> None:
    person = draw_person(0, number, WORN)
    conditions = draw_conditions(person, ("neutral",), np.random.default_rng(number))
    shifted_K = np.array([2.0 if name in NOT_DRAWN else 0.0 for name in TRAITS])
    other = with_latent(person, person.latent + shifted_K)
    marked = replace(other, marks=(Mark(0.4, 0.6, 0.03, 0.8),), texture=person.texture + 1)
    one, two = (draw_sketch(who, conditions, style, 64, np.random.default_rng(9)).pixels for who in (person, marked))
    np.testing.assert_array_equal(one, two)


def test_people_that_differ_in_how_dark_their_hair_is_have_different_sketches() -> None:
    person = draw_person(0, 0, WORN)
    conditions = draw_conditions(person, ("neutral",), np.random.default_rng(0))
    other = with_latent(person, np.where(np.array(TRAITS) == "hair_dark", person.latent - 3.0, person.latent))
    one, two = (
        draw_sketch(who, conditions, "charcoal", 64, np.random.default_rng(9)).pixels for who in (person, other)
    )
    assert (one != two).any()


def test_caricatured_latents_point_the_same_way_as_the_persons_and_are_longer(people_NK: FloatArray) -> None:
    random = np.random.default_rng(0)
    for latent_K in people_NK[:200]:
        drawn_K = caricatured_latent(latent_K, random)
        shape_K, drawn_shape_K = latent_K[IS_SHAPE], drawn_K[IS_SHAPE]
        cosine = shape_K @ drawn_shape_K / np.linalg.norm(shape_K) / np.linalg.norm(drawn_shape_K)
        # Factors a to b turn a vector by at most the angle of cosine 2 sqrt(ab) / (a + b) (Kantorovich).
        assert cosine >= 2 * (1.5 * 3.4) ** 0.5 / (1.5 + 3.4) - 1e-9
        assert 1.5 - 1e-9 <= np.linalg.norm(drawn_shape_K) / np.linalg.norm(shape_K) <= 3.4 + 1e-9


def test_each_group_of_shape_traits_is_exaggerated_by_one_factor(people_NK: FloatArray) -> None:
    random = np.random.default_rng(0)
    factors = []
    for latent_K in people_NK[:300]:
        drawn_K = caricatured_latent(latent_K, random)
        for members in GROUPS.values():
            shapes = [member for member in members if IS_SHAPE[member]]
            if shapes:
                ratio = drawn_K[shapes] / latent_K[shapes]
                np.testing.assert_allclose(ratio, ratio[0])
                factors.append(float(ratio[0]))
    # Uniform between 1.5 and 3.4.
    assert np.mean(factors) == pytest.approx(2.45, abs=4 * 1.9 / (12 * len(factors)) ** 0.5)
    assert 1.5 <= min(factors) < 1.52
    assert 3.38 < max(factors) <= 3.4
