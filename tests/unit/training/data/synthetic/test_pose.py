import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from models.picture import ARCFACE_5PT
from training.data.synthetic.action_units import Motion, motion_of
from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.pose import Pose, Shape
from training.data.synthetic.traits import NUM_TRAITS, draw_latent, traits_of

MEAN_FACE = traits_of(np.zeros(NUM_TRAITS))
SHAPE = Shape(MEAN_FACE.nose_height, MEAN_FACE.nose_length)
POINTS = Anatomy.of(MEAN_FACE, Motion()).points
SIDE = 112
AWAY_FROM_THE_NOSE = [(u, v) for u in (-0.8, -0.5, 0.5, 0.8) for v in (-0.5, 0.0, 0.5, 1.0, 1.3)]


def posed(yaw: float, pitch: float, template: npt.NDArray[np.float64] = ARCFACE_5PT) -> Pose:
    return Pose.aligned((yaw, pitch), SHAPE, POINTS, template)


def read(plane: npt.NDArray[np.float32], x: float, y: float) -> float:
    """A plane between four pixels, by bilinear interpolation."""
    j, i = int(x), int(y)
    a, b = x - j, y - i
    top = (1 - a) * float(plane[i, j]) + a * float(plane[i, j + 1])
    bottom = (1 - a) * float(plane[i + 1, j]) + a * float(plane[i + 1, j + 1])
    return (1 - b) * top + b * bottom


def pixels_off(pose: Pose, u: float, v: float) -> float:
    """How far the place that the canvas shows where (u, v) lies is from (u, v)."""
    canvas, _ = pose.canvas(SIDE)
    x, y = pose.project(u, v)
    return math.hypot(read(canvas.u_HW, x, y) - u, read(canvas.v_HW, x, y) - v) / canvas.pixel


def test_a_face_from_in_front_whose_points_are_like_the_template_lies_on_it() -> None:
    # Face units of 25 pixels, turned by a tenth of a radian: a similarity takes these points to the template.
    turn = np.array([[math.cos(0.1), -math.sin(0.1)], [math.sin(0.1), math.cos(0.1)]])
    points = [(float(x), float(y)) for x, y in (ARCFACE_5PT - 56.0) @ turn.T / 25.0]
    pose = Pose.aligned((0.0, 0.0), SHAPE, points, ARCFACE_5PT)
    np.testing.assert_allclose([pose.project(u, v) for u, v in points], ARCFACE_5PT, atol=1e-9)
    assert pose.pixel == pytest.approx(1 / 25.0)


@pytest.mark.parametrize("seed", range(5))
def test_anybodys_points_lie_near_the_template(seed: int) -> None:
    traits = traits_of(draw_latent(np.random.default_rng(seed)))
    points = Anatomy.of(traits, Motion()).points
    pose = Pose.aligned((0.15, -0.1), Shape(traits.nose_height, traits.nose_length), points, ARCFACE_5PT)
    np.testing.assert_allclose([pose.project(u, v) for u, v in points], ARCFACE_5PT, atol=6.0)
    np.testing.assert_allclose(np.mean([pose.project(u, v) for u, v in points], axis=0), ARCFACE_5PT.mean(axis=0))


def test_a_face_unit_of_the_mean_face_is_forty_pixels() -> None:
    assert posed(0.0, 0.0).pixel == pytest.approx(1 / 40, rel=0.01)


def test_an_error_of_the_aligner_that_shifts_all_points_shifts_the_picture() -> None:
    shift = np.array([3.0, -2.0])
    one, other = posed(0.2, 0.1), posed(0.2, 0.1, ARCFACE_5PT + shift)
    for u, v in POINTS:
        np.testing.assert_allclose(other.project(u, v), one.project(u, v) + shift)


@pytest.mark.parametrize(("yaw", "pitch", "axis", "sign"), [(0.3, 0, 0, 1), (-0.3, 0, 0, -1), (0, 0.3, 1, 1)])
def test_what_stands_out_moves_the_way_the_head_turns(yaw: float, pitch: float, axis: int, sign: int) -> None:
    def tip_from_eyes(pose: Pose) -> float:
        left, right, tip = (np.array(pose.project(u, v)) for u, v in POINTS[:3])
        return float((tip - 0.5 * (left + right))[axis])

    assert sign * (tip_from_eyes(posed(yaw, pitch)) - tip_from_eyes(posed(0, 0))) > 2.0


@pytest.mark.parametrize("turned", [(0.0, 0.0), (0.3, 0.0), (0.0, -0.3), (0.2, 0.2)])
def test_the_canvas_shows_a_part_of_the_face_where_it_projects_to(turned: tuple[float, float]) -> None:
    pose = posed(*turned)
    for u, v in [*POINTS, *AWAY_FROM_THE_NOSE]:
        assert pixels_off(pose, u, v) < 0.1, (u, v)


@pytest.mark.parametrize("turned", [(0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5), (0.5, 0.35), (-0.5, -0.35)])
def test_a_head_turned_by_half_a_radian_is_inverted_too(turned: tuple[float, float]) -> None:
    pose = posed(*turned)
    eyes_and_mouth = [POINTS[i] for i in (0, 1, 3, 4)]
    for u, v in [*eyes_and_mouth, *AWAY_FROM_THE_NOSE]:
        x, y = pose.project(u, v)
        if 0 <= x < SIDE - 1 and 0 <= y < SIDE - 1:
            assert pixels_off(pose, u, v) < 0.25, (u, v)


def test_a_canvas_is_empty_float32_of_its_side_with_the_depth_of_the_head() -> None:
    canvas, depth = posed(0.3, 0.1).canvas(48)
    assert canvas.colour_CHW.shape == (3, 48, 48)
    assert canvas.u_HW.shape == canvas.v_HW.shape == depth.shape == (48, 48)
    assert {str(plane.dtype) for plane in (canvas.colour_CHW, canvas.u_HW, canvas.v_HW, depth)} == {"float32"}


def test_the_head_stands_out_most_at_the_nose() -> None:
    canvas, depth = posed(0.0, 0.0).canvas(SIDE)
    i, j = np.unravel_index(int(depth.argmax()), depth.shape)
    assert canvas.u_HW[i, j] == pytest.approx(0.0, abs=canvas.pixel)
    assert canvas.v_HW[i, j] == pytest.approx(SHAPE.nose_length, abs=0.15)


def test_the_five_points_follow_the_moving_mouth() -> None:
    level = replace(MEAN_FACE, mouth_tilt=0.0)
    left_eye, right_eye, tip, left_corner, right_corner = Anatomy.of(level, motion_of({12: 1.0})).points
    assert (left_eye, right_eye, tip) == ((-0.44, 0.0), (0.44, 0.0), (0.0, 0.51))
    # Unit 12: corners 0.085 out and 0.095 up from a mouth 0.385 to each side at 1.0.
    assert left_corner == pytest.approx((-0.47, 0.905))
    assert right_corner == pytest.approx((0.47, 0.905))
