"""CelebA: 202,599 photos of 10,177 people, and 40 attributes of each.

- `list_attr_celeba.txt`: the number of pictures, the names of the attributes, then `000001.jpg -1 1 ...`: 1 is there, -1 is
  not.
- `img_align_celeba/000001.jpg` (or `img_align_celeba_png/000001.png`) are taken; without them `img_celeba/000001.jpg`, which
  are whole pictures.
- `list_landmarks_align_celeba.txt`, and of the whole pictures `list_landmarks_celeba.txt`: number, names, then five points
  each, eyes and corners of the mouth as the viewer sees them.
- `identity_CelebA.txt`: `000001.jpg 2880`, who it is. Where it is there it names everybody.
- `list_eval_partition.txt`: `000001.jpg 0`: 0 to train with, 1 for validation, 2 to test with. Nobody is in two parts.

Source: Liu et al., Deep learning face attributes in the wild (ICCV 2015), and its Readme.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from models.picture import Landmarks
from training.data.layouts.annotations import (
    Line,
    by_first,
    find_list,
    fitting_points,
    lines_of,
    meaning,
    need_list,
    refuse,
    tell_absent,
    tell_unlisted,
)
from training.data.layouts.folder import Folder, stem
from training.data.layouts.listing import PHOTO, Listing
from training.data.sources import PictureItem
from training.errors import SourceError

EXPECTED = "list_attr_celeba.txt, and pictures as img_align_celeba/000001.jpg or img_celeba/000001.jpg"
PART = "part"
_HAS = {"-1": "0", "1": "1"}
_PARTS = {"0": "train", "1": "validation", "2": "test"}
_POINTS = [
    f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in ("x", "y")
]


@dataclass(frozen=True, slots=True)
class _Words:
    """A list of a picture and a word a line."""

    path: Path
    lines: dict[str, Line]

    def of(self, name: str, listed: Path) -> Line:
        """The line of a picture, which the list `listed` names. Raises `SourceError` where this one does not."""
        if name not in self.lines:
            raise SourceError(f"{self.path}: does not name {name!r}, which {listed} does")
        return self.lines[name]


def read_celeba(folder: Folder) -> Listing:
    """All pictures whose attributes are listed. Raises `SourceError`."""
    listed = need_list(folder, EXPECTED, "list_attr_celeba.txt")
    first, lines = _table(listed)
    names: list[str] = []
    for name in first.fields:
        names.append(first.new_name(name, {PART, *names}))
    pictures, points = _pictures(folder)
    subjects, parts = _words(folder, "identity_CelebA.txt"), _words(folder, "list_eval_partition.txt")
    items = []
    seen: set[str] = set()
    for name, line in lines.items():
        key = stem(line.bare_name(name))
        if key in seen:
            line.refuse(f"{name!r} is a picture that is listed already, but for the suffix")
        seen.add(key)
        labels = {
            attribute: meaning(line.where, text, _HAS, attribute)
            for attribute, text in zip(names, line.fields[1:], strict=True)
        }
        place = pictures.pop(key, None)
        if place is None:
            tell_absent(folder, line)
            continue
        if parts is not None:
            part = parts.of(name, listed)
            labels[PART] = meaning(part.where, part.fields[1], _PARTS, "the part")
        subject = "" if subjects is None else subjects.of(name, listed).fields[1]
        five = points.get(name)
        landmarks = _landmarks(folder, place, five) if five else None
        items.append(PictureItem(place, place, subject, PHOTO, labels, landmarks))
    tell_unlisted(folder, pictures.values())
    if not items:
        refuse(folder, EXPECTED)
    return Listing(sorted(items, key=lambda item: item.key), {}, attributes=tuple(names))


def _table(path: Path) -> tuple[Line, dict[str, Line]]:
    """The line of names, and below it as many lines as the first line says, by their pictures. Raises `SourceError`."""
    lines = lines_of(path)
    number, names = next(lines, None), next(lines, None)
    if number is None or names is None:
        raise SourceError(f"{path}: expected the number of pictures, a line of names, and a line for each picture")
    told = number.need(1, "the number of pictures")[0]
    found = by_first(lines, 1 + len(names.fields), f"a picture and {len(names.fields)} numbers")
    if told != str(len(found)):
        number.refuse(f"announces {told[:20]!r} pictures, and {len(found)} follow")
    return names, found


def _pictures(folder: Folder) -> tuple[dict[str, str], dict[str, Line]]:
    """The aligned pictures, or the whole ones, by their names without suffix, and the lines of their points, by their names."""
    kinds: dict[str, dict[str, str]] = {"align": {}, "whole": {}}
    for place in folder.pictures:
        folders = [part.casefold() for part in PurePosixPath(place).parts[:-1]]
        if any(part.startswith("img_align_celeba") for part in folders):
            folder.keep_one(kinds["align"], stem(place), place)
        elif "img_celeba" in folders:
            folder.keep_one(kinds["whole"], stem(place), place)
        else:
            folder.leave_out("pictures in other folders", place)
    if not kinds["align"]:
        return kinds["whole"], _points(folder, "list_landmarks_celeba.txt")
    for place in kinds["whole"].values():
        folder.leave_out("whole pictures beside aligned ones", place)
    return kinds["align"], _points(folder, "list_landmarks_align_celeba.txt")


def _points(folder: Folder, name: str) -> dict[str, Line]:
    """Nothing where there is no such list."""
    path = find_list(folder, name)
    if path is None:
        return {}
    names, lines = _table(path)
    if names.fields != _POINTS:
        names.refuse(f"expected the names {' '.join(_POINTS)}")
    return lines


def _landmarks(folder: Folder, place: str, line: Line) -> Landmarks | None:
    try:
        numbers = [float(text) for text in line.fields[1:]]
    except ValueError:
        line.refuse("points must be numbers")
    return fitting_points(folder, place, list(pairwise(numbers))[::2])


def _words(folder: Folder, name: str) -> _Words | None:
    """None where there is no such list."""
    path = find_list(folder, name)
    if path is None:
        return None
    return _Words(path, by_first(lines_of(path), 2, "a picture and a number, as 000001.jpg 1"))
