import numpy as np
import pytest
from PIL import Image

from training.data.synthetic.contact_sheet import contact_sheet
from training.data.synthetic.world import World, WorldSettings

SIDE, HEADER, GAP = 48, 20, 6


@pytest.fixture
def world() -> World:
    return World(WorldSettings(side=SIDE, seed=4))


def tile(sheet: Image.Image, row: int, left: int) -> np.ndarray:
    top = HEADER + row * SIDE
    return np.asarray(sheet.crop((left, top, left + SIDE, top + SIDE)))


def test_a_row_is_a_person_with_the_modalities_side_by_side(world: World) -> None:
    sheet = contact_sheet(world, 2, {"sketch": 1, "photo": 2})
    assert sheet.size == (3 * SIDE + GAP, HEADER + 2 * SIDE)
    for person in range(2):
        places = [(0, "photo", 0), (SIDE, "photo", 1), (2 * SIDE + GAP, "sketch", 0)]
        for left, modality, number in places:
            np.testing.assert_array_equal(tile(sheet, person, left), world.picture(person, modality, number).pixels)


def test_modalities_are_set_apart_by_a_white_gap_and_named_above(world: World) -> None:
    pixels = np.asarray(contact_sheet(world, 1, {"photo": 1, "caricature": 1}))
    assert (pixels[:, SIDE : SIDE + GAP] == 255).all()
    assert (pixels[:HEADER, :SIDE] < 255).any()
    assert (pixels[:HEADER, SIDE + GAP :] < 255).any()


@pytest.mark.parametrize(
    ("num_pictures", "width"),
    [
        ({"photo": 100}, 12 * SIDE),
        ({"photo": 20, "sketch": 1}, 12 * SIDE + GAP),
        ({"photo": 20, "sketch": 20, "caricature": 20}, 12 * SIDE + 2 * GAP),
        ({"photo": 1, "sketch": 2, "caricature": 3}, 6 * SIDE + 2 * GAP),
    ],
)
def test_a_row_holds_twelve_pictures_at_most(world: World, num_pictures: dict[str, int], width: int) -> None:
    assert contact_sheet(world, 1, num_pictures).width == width


def test_modalities_share_a_full_row_evenly(world: World) -> None:
    sheet = contact_sheet(world, 1, {"photo": 20, "sketch": 20, "caricature": 20})
    np.testing.assert_array_equal(tile(sheet, 0, 4 * SIDE + GAP), world.picture(0, "sketch", 0).pixels)
    np.testing.assert_array_equal(tile(sheet, 0, 8 * SIDE + 2 * GAP), world.picture(0, "caricature", 0).pixels)


def test_eight_people_are_shown_at_most(world: World) -> None:
    assert contact_sheet(world, 500, {"photo": 1}).size == (SIDE, HEADER + 8 * SIDE)
