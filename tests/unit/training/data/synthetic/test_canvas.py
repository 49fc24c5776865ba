import numpy as np
import numpy.typing as npt
import pytest

from training.data.synthetic.canvas import Canvas, ellipse, mixed, table

FloatArray = npt.NDArray[np.float32]

PIXEL = 0.1


def floats(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float32)


@pytest.fixture
def canvas() -> Canvas:
    """Four by five pixels of middle gray, a tenth of a face unit each, with (0, 0) in the first."""
    v, u = (np.float32(PIXEL) * np.indices((4, 5), dtype=np.float32)).astype(np.float32)
    return Canvas(np.full((3, 4, 5), 0.5, dtype=np.float32), u, v, PIXEL)


def test_coverage_falls_from_one_to_zero_over_one_pixel(canvas: Canvas) -> None:
    covered = canvas.inside(floats(-1.0, -0.05, -0.025, 0.0, 0.025, 0.05, 1.0))
    np.testing.assert_allclose(covered, [1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0], atol=1e-6)


def test_softness_widens_the_edge(canvas: Canvas) -> None:
    covered = canvas.inside(floats(-0.2, -0.1, 0.0, 0.1, 0.2), softness=0.3)
    np.testing.assert_allclose(covered, [1.0, 0.75, 0.5, 0.25, 0.0], atol=1e-6)


def test_a_stroke_covers_its_width(canvas: Canvas) -> None:
    stroke = canvas.line(floats(-0.2, -0.1, 0.0, 0.075, 0.1, 0.15), width=0.2)
    np.testing.assert_allclose(stroke, [0.0, 0.5, 1.0, 0.75, 0.5, 0.0], atol=1e-6)


def test_a_stroke_thinner_than_a_pixel_is_a_pixel_wide_and_faint(canvas: Canvas) -> None:
    stroke = canvas.line(floats(0.0, 0.05, 0.1), width=0.04)
    np.testing.assert_allclose(stroke, [0.4, 0.2, 0.0], atol=1e-6)


def test_paint_covers_as_far_as_it_is_told(canvas: Canvas) -> None:
    coverage = np.zeros((4, 5), dtype=np.float32)
    coverage[1, 2], coverage[3, 4] = 0.5, 1.0
    canvas.paint(coverage, (1.0, 0.0, 0.6))
    np.testing.assert_allclose(canvas.colour_CHW[:, 1, 2], [0.75, 0.25, 0.55], atol=1e-6)
    np.testing.assert_allclose(canvas.colour_CHW[:, 3, 4], [1.0, 0.0, 0.6], atol=1e-6)
    assert (canvas.colour_CHW == 0.5).all(axis=0).sum() == 18


def test_planes_of_colours_are_laid_pixel_by_pixel(canvas: Canvas) -> None:
    planes = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    canvas.paint(np.full((4, 5), 0.25, dtype=np.float32), planes)
    np.testing.assert_allclose(canvas.colour_CHW, 0.75 * 0.5 + 0.25 * planes, atol=1e-6)


def test_shade_multiplies_all_three_planes(canvas: Canvas) -> None:
    factor = np.arange(20, dtype=np.float32).reshape(4, 5)
    canvas.shade(factor)
    for plane in canvas.colour_CHW:
        np.testing.assert_allclose(plane, 0.5 * factor)


def test_what_is_painted_in_a_window_is_painted_in_the_whole(canvas: Canvas) -> None:
    window = canvas.window(slice(1, 3), slice(2, None))
    np.testing.assert_allclose(window.u_HW, [[0.2, 0.3, 0.4]] * 2, atol=1e-6)
    np.testing.assert_allclose(window.v_HW, [[0.1] * 3, [0.2] * 3], atol=1e-6)
    window.paint(np.ones((2, 3), dtype=np.float32), (1.0, 1.0, 1.0))
    assert (canvas.colour_CHW[:, 1:3, 2:] == 1.0).all()
    assert (canvas.colour_CHW == 1.0).sum() == 3 * 6


def test_the_distance_from_a_circle_is_exact() -> None:
    u, v = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    np.testing.assert_allclose(ellipse(u, v, 0.7, 0.7), np.hypot(u, v) - 0.7, atol=1e-6)


def test_the_distance_from_an_ellipse_is_zero_on_its_outline_and_negative_inside() -> None:
    angle = np.linspace(0.0, 6.0, 30, dtype=np.float32)
    u, v = 0.5 * np.cos(angle), 0.2 * np.sin(angle)
    np.testing.assert_allclose(ellipse(u, v, 0.5, 0.2), 0.0, atol=1e-6)
    assert (ellipse(0.9 * u, 0.9 * v, 0.5, 0.2) < 0).all()
    assert (ellipse(1.1 * u, 1.1 * v, 0.5, 0.2) > 0).all()


def test_a_colour_a_quarter_of_the_way_is_a_quarter_of_each_channel() -> None:
    assert mixed((1.0, 0.0, 0.2), (0.0, 1.0, 0.6), 0.25) == pytest.approx((0.75, 0.25, 0.3))


def test_a_table_gives_the_nearest_value_and_the_last_one_beyond() -> None:
    values = floats(3.0, 1.0, 4.0, 1.5, 9.0)
    at = floats(-7.0, -1.0, -0.8, -0.7, 0.05, 0.3, 0.9, 7.0)
    found = table(values, -1.0, 1.0, at)
    nearest = [min(range(5), key=lambda i: abs(-1.0 + 0.5 * i - place)) for place in at.tolist()]
    assert found.tolist() == values[nearest].tolist()


def test_float32_stays_float32(canvas: Canvas) -> None:
    distance = floats(0.1, 0.2)
    made = [
        canvas.inside(distance, 0.1),
        canvas.line(distance, 0.2),
        ellipse(distance, distance, 0.5, 0.2),
        table(distance, 0.0, 1.0, distance),
    ]
    assert {str(array.dtype) for array in made} == {"float32"}
