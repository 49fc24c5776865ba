from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic.action_units import Motion, motion_of
from training.data.synthetic.attributes import ATTRIBUTES, SHOWN, WORN, draw_habits, shown_attributes, worn_shares
from training.data.synthetic.conditions import draw_conditions
from training.data.synthetic.photo import paint_scene
from training.data.synthetic.traits import NUM_TRAITS, Traits, traits_of
from training.data.synthetic.world import World, WorldSettings
from training.errors import SyntheticError

MEAN_FACE = traits_of(np.zeros(NUM_TRAITS))
NUM_PEOPLE = 4000


def shown(traits: Traits = MEAN_FACE, motion: Motion | None = None, turned: float = 0.0) -> set[str]:
    return {name for name, is_shown in shown_attributes(traits, motion or Motion(), turned).items() if is_shown}


def habits_of(name: str, share: float, number: int = NUM_PEOPLE) -> np.ndarray:
    random = np.random.default_rng(0)
    shares = worn_shares({name: share})
    return np.array([draw_habits(shares, random)[name] for _ in range(number)])


@pytest.mark.parametrize("name", WORN)
def test_a_share_that_is_set_changes_no_other_habit(name: str) -> None:
    for seed in range(100):
        before = draw_habits(worn_shares({}), np.random.default_rng(seed))
        after = draw_habits(worn_shares({name: 0.5}), np.random.default_rng(seed))
        assert {other: after[other] for other in WORN if other != name} == {
            other: before[other] for other in WORN if other != name
        }


def test_only_the_shares_that_are_asked_for_change() -> None:
    shares = worn_shares({"hat": 0.5, "occluded": 0})
    assert shares.pop("hat") == 0.5
    assert shares.pop("occluded") == 0
    assert shares.items() <= WORN.items()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"smile": 0.5}, r"attribute 'smile' follows from face and expression; these can be set: eyeglasses, hat,"),
        ({"hats": 0.5}, r"there is no attribute 'hats'; these can be set: eyeglasses, hat,"),
        ({"hat": 1.01}, r"attribute 'hat': its share of pictures must lie between 0 and 1"),
        ({"hat": -0.01}, r"attribute 'hat': its share"),
        ({"hat": float("nan")}, r"attribute 'hat': its share"),
    ],
)
def test_a_share_that_cannot_be_is_refused(asked: dict[str, float], message: str) -> None:
    with pytest.raises(SyntheticError, match=message):
        worn_shares(asked)


@pytest.mark.parametrize("share", [0.06, 0.17, 0.5, 0.9])
def test_the_mean_habit_of_people_is_the_share(share: float) -> None:
    # A beta distribution of total weight 0.35 has variance share (1 - share) / 1.35.
    deviation = (share * (1 - share) / 1.35) ** 0.5
    assert habits_of("hat", share).mean() == pytest.approx(share, abs=4 * deviation / NUM_PEOPLE**0.5)


def test_most_people_never_or_always_wear_something() -> None:
    habits = habits_of("hat", 0.5)
    assert ((habits < 0.05) | (habits > 0.95)).mean() > 0.5


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nobody_makes_an_exception_from_never_and_always(share: float) -> None:
    assert set(habits_of("hat", share, 100).tolist()) == {share}


def test_the_mean_face_at_rest_shows_nothing_but_itself_from_in_front() -> None:
    assert shown() == {"frontal_face"}


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("big_nose", replace(MEAN_FACE, nose_width=0.25, nose_height=0.28)),
        ("narrow_eyes", replace(MEAN_FACE, eye_open=0.07)),
        ("bushy_eyebrows", replace(MEAN_FACE, brow_thickness=0.061)),
        ("full_lips", replace(MEAN_FACE, upper_lip=0.09, lower_lip=0.11)),
        ("pale_skin", replace(MEAN_FACE, melanin=0.15)),
        ("black_hair", replace(MEAN_FACE, hair_dark=0.83)),
        ("blond_hair", replace(MEAN_FACE, hair_dark=0.34)),
        ("gray_hair", replace(MEAN_FACE, age=0.53)),
        ("curly_hair", replace(MEAN_FACE, hair_curl=0.56)),
        ("long_hair", replace(MEAN_FACE, hair_length=0.96)),
        ("receding_hairline", replace(MEAN_FACE, hair_recession=0.29)),
        ("freckles", replace(MEAN_FACE, freckles=0.25)),
        ("square_jaw", replace(MEAN_FACE, jaw_square=2.9)),
    ],
)
def test_a_trait_beyond_its_threshold_shows_and_changes_nothing_else(name: str, traits: Traits) -> None:
    assert shown(traits) == {"frontal_face", name}


@pytest.mark.parametrize("hair_dark", [0.1, 0.95])
def test_hair_that_has_turned_is_neither_black_nor_blond(hair_dark: float) -> None:
    assert shown(replace(MEAN_FACE, age=0.6, hair_dark=hair_dark)) == {"frontal_face", "gray_hair", "elderly"}


def test_smile_and_open_mouth_follow_from_the_units() -> None:
    assert shown(motion=motion_of({12: 0.5})) == {"frontal_face", "smile"}
    assert shown(motion=motion_of({25: 0.5})) == {"frontal_face", "mouth_open"}
    assert shown(motion=motion_of({15: 1.0, 17: 1.0})) == {"frontal_face"}
    assert shown(motion=motion_of({10: 0.7})) == {"frontal_face"}
    assert shown(motion=motion_of({10: 0.8})) == {"frontal_face", "mouth_open"}


def test_hair_is_as_long_as_it_is_in_the_picture() -> None:
    for length, change, is_long in ((0.9, 0.06, True), (0.9, 0.0, False), (1.0, -0.06, False)):
        attributes = shown_attributes(replace(MEAN_FACE, hair_length=length), Motion(), 0.0, change)
        assert attributes["long_hair"] is is_long


def test_freckles_that_dark_skin_hides_are_not_shown() -> None:
    assert "freckles" in shown(replace(MEAN_FACE, freckles=0.4, melanin=0.2))
    assert "freckles" not in shown(replace(MEAN_FACE, freckles=0.4, melanin=0.8))


def test_a_face_turned_by_a_fifth_of_a_radian_is_not_frontal() -> None:
    assert shown(turned=0.19) == {"frontal_face"}
    assert shown(turned=0.2) == set()


def test_every_attribute_is_named_once_in_one_order() -> None:
    assert len(set(ATTRIBUTES)) == len(ATTRIBUTES) == 25
    assert tuple(shown_attributes(MEAN_FACE, Motion(), 0.0)) == SHOWN


@pytest.mark.parametrize("intensity", [0.5, 0.74, 0.76, 1.0])
def test_a_mouth_is_labelled_open_where_its_dark_is_painted(intensity: float) -> None:
    """A raised upper lip (unit 10) alone opens the mouth or does not; the darkest pixel between the lips says which."""
    world = World(WorldSettings(seed=0))
    ratios = []
    for number in range(8):
        person = world.person(number)
        conditions = draw_conditions(person, world.settings.expressions, np.random.default_rng(number))
        raised = replace(
            conditions, units={10: intensity}, worn=dict.fromkeys(conditions.worn, False), yaw=0.0, pitch=0.0
        )
        darkest = []
        for seen in (raised, replace(raised, units={})):
            scene = paint_scene(person, seen, 112)
            (x0, y), (x1, _) = scene.points[3:]
            mouth = scene.colour_CHW[:, round(y) - 12 : round(y) + 12, round(x0) + 6 : round(x1) - 6]
            darkest.append(float(mouth.sum(axis=0).min()))
        ratios.append(darkest[0] / darkest[1])
    assert shown_attributes(MEAN_FACE, motion_of({10: intensity}), 0.0)["mouth_open"] == (intensity > 0.75)
    assert (np.mean(ratios) < 0.7) == (intensity > 0.75)
