"""From the fiducial points of a data set to the five that a picture is aligned by.

Shapes: K points that are known, of the five in `models.picture`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.errors import PictureError
from models.picture import ARCFACE_5PT, Landmarks, similarity_transform

Point = tuple[float, float]
_TEMPLATE = np.stack([ARCFACE_5PT[0], ARCFACE_5PT[1], ARCFACE_5PT[3:].mean(axis=0)])
"""Left eye, right eye, and the middle of the mouth."""


def read_points(path: Path) -> list[Point]:
    """The lines of a text that hold two numbers, x and y; empty where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        try:
            numbers = [float(word) for word in line.split()]
        except ValueError:
            continue
        if len(numbers) == 2 and np.isfinite(numbers).all():
            found.append((numbers[0], numbers[1]))
    return found


def are_near(points: Sequence[Point], size: tuple[int, int], margin: float) -> bool:
    """Whether all points are in a picture of that size (width, height), or outside by at most `margin` of its side.

    >>> are_near([(0.0, 0.0), (119.0, -10.0)], (100, 100), 0.1), are_near([(110.0, 0.0)], (100, 200), 0.1)
    (False, False)
    >>> are_near([(-10.0, 109.0)], (100, 100), 0.1), are_near([(-10.0, 109.0)], (50, 100), 0.1)
    (True, False)
    """
    place, side = np.asarray(points, dtype=np.float64), np.array(size)
    return bool(((place >= -margin * side) & (place <= side - 1 + margin * side)).all())


def five_points(known_K2: Sequence[Point], size: tuple[int, int]) -> Landmarks | None:
    """Five points that align a picture as two eyes, or two eyes and the middle of the mouth, would.

    They are where the template's five come to lie when its own two or three are brought nearest to the known ones, so that
    `align_face` finds that very map again. Eyes are left and right as seen by the viewer. None for points that are not all
    in a picture of that size (width, height), or do not lie as eyes and mouth of an upright face.

    Source: Umeyama (PAMI 1991), Eq. 40 to 42, on fewer points.

    >>> five_points([(76.6, 103.4), (147.1, 103.0)], (112, 112)) is None
    True
    >>> [(round(x), round(y)) for x, y in five_points([(76.5892, 103.3926), (147.0636, 103.0028)], (224, 224))]
    [(77, 103), (147, 103), (112, 143), (83, 185), (141, 184)]
    """
    known = np.asarray(known_K2, dtype=np.float64)
    if (known < 0).any() or (known > np.array(size) - 1).any():
        return None
    across, down = known[1] - known[0]
    if across <= abs(down) or (len(known) > 2 and known[2, 1] <= known[:2, 1].max()):
        return None
    try:
        to_picture = similarity_transform(_TEMPLATE[: len(known)], known)
    except PictureError:
        return None
    five = ARCFACE_5PT @ to_picture[:, :2].T + to_picture[:, 2]
    return [(float(x), float(y)) for x, y in five]
