import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from training.data.synthetic.attributes import WORN
from training.data.synthetic.conditions import Camera, Conditions, draw_conditions
from training.data.synthetic.person import Person, draw_person
from training.data.synthetic.photo import blurred, paint_scene, photograph, to_bytes

NOTHING_WORN = dict.fromkeys(WORN, False)


def somebody(number: int) -> tuple[Person, Conditions]:
    """A neutral face that looks straight ahead and wears nothing."""
    person = draw_person(0, number, WORN)
    conditions = draw_conditions(person, ("neutral",), np.random.default_rng(number))
    # The iris is drawn 0.012 above the line between the corners of the eye.
    return person, replace(conditions, worn=NOTHING_WORN, units={}, gaze=(0.0, 0.012))


def naive_blur(row: list[float], deviation: float) -> list[float]:
    result = []
    for i in range(len(row)):
        weights = [math.exp(-((i - j) ** 2) / (2 * deviation**2)) for j in range(len(row))]
        result.append(sum(weight * value for weight, value in zip(weights, row, strict=True)) / sum(weights))
    return result


def test_blur_is_a_weighted_mean_along_rows_and_columns() -> None:
    plane = np.random.default_rng(0).random((12, 12), dtype=np.float32)
    rows = np.array([naive_blur(row, 1.3) for row in plane.tolist()])
    both = np.array([naive_blur(column, 1.3) for column in rows.T.tolist()]).T
    np.testing.assert_allclose(blurred(plane, 1.3), both, atol=1e-5)


def test_blur_leaves_an_even_plane_as_it_is_up_to_the_edge() -> None:
    even = np.full((3, 20, 20), 0.7, dtype=np.float32)
    np.testing.assert_allclose(blurred(even, 2.0), even, rtol=1e-5)


def test_bytes_are_rounded_and_cut_off_at_black_and_white() -> None:
    planes = np.array([-0.5, 0.0, 0.5, 1.0, 1.5], dtype=np.float32).reshape(1, 1, 5).repeat(3, axis=0)
    pixels = to_bytes(planes)
    assert pixels.shape == (1, 5, 3)
    assert pixels[0, :, 1].tolist() == [0, 0, 128, 255, 255]


def test_a_camera_without_fault_shows_the_scene() -> None:
    person, conditions = somebody(1)
    scene = paint_scene(person, conditions, 48)
    perfect = replace(conditions, camera=Camera(blur=0.0, noise=0.0, contrast=1.0, quality=95))
    expected = np.clip(scene.colour_CHW, 0.0, 1.0).transpose(1, 2, 0) * 255.0
    np.testing.assert_allclose(photograph(scene.colour_CHW, perfect), expected, atol=1.0)


@pytest.mark.parametrize("contrast", [0.5, 1.5])
def test_contrast_turns_around_middle_gray(contrast: float) -> None:
    _, conditions = somebody(1)
    camera = replace(conditions, camera=Camera(blur=0.0, noise=0.0, contrast=contrast, quality=95))
    gray = np.full((3, 8, 8), 0.6, dtype=np.float32)
    assert photograph(gray, camera).mean() == pytest.approx(255 * (0.5 + 0.1 * contrast), abs=1.0)


def pupil(colour_CHW: npt.NDArray[np.floating], around: tuple[float, float], reach: int) -> tuple[float, float]:
    """The middle of what is nearly black around a place, in pixels."""
    x, y = round(around[0]), round(around[1])
    patch = colour_CHW[:, y - reach : y + reach + 1, x - reach : x + reach + 1].max(axis=0)
    rows, columns = np.nonzero(patch < patch.min() + 0.02)
    return float(columns.mean()) + x - reach, float(rows.mean()) + y - reach


@pytest.mark.parametrize("number", range(8))
def test_the_pupils_are_where_the_points_say_the_eyes_are(number: int) -> None:
    person, conditions = somebody(number)
    scene = paint_scene(person, conditions, 448)
    for point in scene.points[:2]:
        # A pixel of 112 is four of these.
        assert math.dist(pupil(scene.colour_CHW, point, 14), point) < 4.0
