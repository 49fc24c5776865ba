from pathlib import Path

import numpy as np
import pytest

from models.picture import ARCFACE_5PT, similarity_transform
from training.data.layouts.points import five_points, read_points

TURN = np.array([[3.0, -0.4, 20.0], [0.4, 3.0, 5.0]])
"""A similarity: about three times as large, turned by 7.6 degrees, moved."""
SIZE = (500, 500)


def moved(points: np.ndarray) -> np.ndarray:
    return np.asarray(points @ TURN[:, :2].T + TURN[:, 2])


@pytest.mark.parametrize("num_known", [2, 3])
def test_of_a_face_like_the_template_all_five_points_are_found_from_two_or_three(num_known: int) -> None:
    three = np.stack([ARCFACE_5PT[0], ARCFACE_5PT[1], (ARCFACE_5PT[3] + ARCFACE_5PT[4]) / 2])
    known = [tuple(point) for point in moved(three)[:num_known].tolist()]
    np.testing.assert_allclose(np.array(five_points(known, SIZE)), moved(ARCFACE_5PT), atol=1e-9)


def test_aligning_by_the_five_is_aligning_by_the_three() -> None:
    random = np.random.default_rng(0)
    three = np.stack([ARCFACE_5PT[0], ARCFACE_5PT[1], (ARCFACE_5PT[3] + ARCFACE_5PT[4]) / 2])
    known = moved(three) + random.normal(size=(3, 2)) * 6
    five = five_points([tuple(point) for point in known.tolist()], SIZE)
    assert five is not None
    expected = similarity_transform(three, known)
    np.testing.assert_allclose(similarity_transform(ARCFACE_5PT, np.array(five)), expected, atol=1e-9)


@pytest.mark.parametrize(
    "known",
    [
        [(300.0, 100.0), (100.0, 100.0)],
        [(100.0, 100.0), (100.0, 300.0)],
        [(100.0, 100.0), (100.0, 100.0)],
        [(100.0, 300.0), (300.0, 300.0), (200.0, 100.0)],
        [(-1.0, 100.0), (300.0, 100.0)],
        [(100.0, 100.0), (500.0, 100.0)],
        [(100.0, 100.0), (300.0, 100.0), (200.0, 499.5)],
    ],
    ids=["swapped", "on top of each other", "one point", "upside down", "left of it", "right of it", "below it"],
)
def test_points_that_cannot_be_eyes_and_mouth_of_the_picture_give_nothing(known: list[tuple[float, float]]) -> None:
    assert five_points(known, SIZE) is None


def test_lines_of_two_numbers_are_points(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(b"35\r\n1 2\r\n 3.5\t4e1 \r\n\r\nx y\r\n5 6 7\r\nnan 1\r\n8 9")
    assert read_points(path) == [(1.0, 2.0), (3.5, 40.0), (8.0, 9.0)]
    path.write_bytes(b"\xff\xfe1 2")
    assert read_points(path) == []
    assert read_points(tmp_path / "none.dat") == []
