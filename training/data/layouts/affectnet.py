"""AffectNet: photos from the internet with the expression that somebody saw on them, in either of two forms.

The older form is lists and whole pictures:

- `training.csv` and `validation.csv`, with a header line or without: `subDirectory_filePath`, `face_x`, `face_y`,
  `face_width`, `face_height`, `facial_landmarks` (`x;y;x;y...` of 68 points), `expression`, `valence`, `arousal`.
- `Manually_Annotated_Images/689/737db2....jpg`, which the list names as `689/737db2....jpg`. `automatically_annotated.csv` is
  what a network saw, and is not read.

The newer form is an array for each picture and fact:

- `train_set/images/0.jpg` and `val_set/images/0.jpg`: crops of 224 x 224 pixels;
- `train_set/annotations/0_exp.npy`, the expression as a number or as text, and `0_lnd.npy`, 136 numbers, the same 68 points.

Expressions are 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt. 8 (none) and 9
(uncertain) are not known; 10 is a picture without a face, and is left out. Of the 68 points an eye is the mean of six, the
nose tip is the 31st, and the corners of the mouth are the 49th and the 55th. Nobody is named.

Source: Mollahosseini, Hasani and Mahoor, AffectNet (IEEE Transactions on Affective Computing, 2017), Section 3.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from models.npy import NpyError, read_npy
from models.picture import Landmarks
from training.data.layouts.annotations import (
    Line,
    find_list,
    fitting_points,
    keep_file,
    meaning,
    refuse,
    rows_of,
    tell_absent,
    tell_unlisted,
)
from training.data.layouts.folder import Folder, stem
from training.data.layouts.listing import PHOTO, Listing
from training.data.sources import PictureItem
from training.errors import SourceError

EXPECTED = (
    "training.csv and Manually_Annotated_Images/FOLDER/NAME.jpg, or train_set/images/0.jpg and "
    "train_set/annotations/0_exp.npy"
)
_NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
_NO_FACE = "no face"
_EXPRESSIONS = {str(number): name for number, name in enumerate((*_NAMES, "", "", _NO_FACE))}
_LISTS = {"train": "training.csv", "validation": "validation.csv"}
_SETS = {"train_set": "train", "val_set": "validation"}
_PATH, _POINTS, _EXPRESSION = "subDirectory_filePath", "facial_landmarks", "expression"
_COLUMNS = (_PATH, "face_x", "face_y", "face_width", "face_height", _POINTS, _EXPRESSION, "valence", "arousal")
_NUM_POINTS = 68
_EYES, _NOSE_AND_MOUTH = ((36, 42), (42, 48)), (30, 48, 54)


def read_affectnet(folder: Folder) -> Listing:
    """All pictures of a face. Raises `SourceError`, also where both forms are there."""
    lists = {part: path for part, name in _LISTS.items() if (path := find_list(folder, name)) is not None}
    arrays = [place for place in folder.others if place.casefold().endswith(("_exp.npy", "_lnd.npy"))]
    if lists and arrays:
        raise SourceError(
            f"{folder.path}: holds both forms of this data set, {next(iter(lists.values())).name} and {arrays[0]!r}; "
            "give the folder of one"
        )
    items = _of_lists(folder, lists) if lists else _of_arrays(folder, arrays)
    if not items:
        refuse(folder, EXPECTED)
    return Listing(sorted(items, key=lambda item: item.key), {}, class_label=_EXPRESSION)


def _of_lists(folder: Folder, lists: dict[str, Path]) -> list[PictureItem]:
    pictures: dict[str, str] = {}
    for place in folder.pictures:
        folder.keep_one(pictures, _key(PurePosixPath(place)), place)
    items: list[PictureItem] = []
    seen: set[str] = set()
    for part, path in lists.items():
        columns = dict(zip(_COLUMNS, range(len(_COLUMNS)), strict=True))
        num_columns = len(_COLUMNS)
        for row, line in enumerate(rows_of(path)):
            if row == 0 and _PATH in line.fields:
                columns, num_columns = _columns(line), len(line.fields)
                continue
            line.need(num_columns, f"{num_columns} fields, as in {', '.join(_COLUMNS)}")
            key = _key(line.inner_path(line.fields[columns[_PATH]]))
            if key in seen:
                line.refuse(f"{line.fields[columns[_PATH]]!r} is listed a second time")
            seen.add(key)
            expression = meaning(line.where, line.fields[columns[_EXPRESSION]], _EXPRESSIONS, "the expression")
            place_of = pictures.pop(key, None)
            if place_of is None:
                tell_absent(folder, line)
            elif expression == _NO_FACE:
                folder.leave_out("pictures without a face", place_of)
            else:
                points = _listed_points(line, line.fields[columns[_POINTS]])
                items.append(_item(folder, place_of, expression, part, points))
    tell_unlisted(folder, pictures.values())
    return items


def _columns(header: Line) -> dict[str, int]:
    """Where the header has the columns that are needed. Raises `SourceError`."""
    for name in (_PATH, _POINTS, _EXPRESSION):
        if header.fields.count(name) != 1:
            header.refuse(f"the header must name the column {name!r} once")
    return {name: place for place, name in enumerate(header.fields)}


def _key(path: PurePosixPath) -> str:
    """By what a list and a picture agree: the last folder and the name."""
    return "/".join(path.parts[-2:]).casefold()


def _listed_points(line: Line, text: str) -> npt.NDArray[np.float64] | None:
    """None where there are none. Raises `SourceError`."""
    if not text:
        return None
    return _points(line.where, np.array(text.split(";")))


def _of_arrays(folder: Folder, arrays: list[str]) -> list[PictureItem]:
    pictures: dict[str, str] = {}
    files: dict[str, str] = {}
    for place in folder.pictures:
        part = _part(place, "images")
        if part is None:
            folder.leave_out("pictures in other folders", place)
        else:
            folder.keep_one(pictures, f"{part}/{stem(place)}", place)
    for place in arrays:
        part = _part(place, "annotations")
        if part is None:
            folder.leave_out("arrays in other folders", place)
        else:
            keep_file(folder, files, f"{part}/{stem(place)}", place)
    items = []
    for key, place in pictures.items():
        expression_file, points_file = files.pop(f"{key}_exp", None), files.pop(f"{key}_lnd", None)
        expression = _expression(folder.path / expression_file) if expression_file else None
        if expression is None:
            folder.leave_out("pictures without an expression", place)
        elif expression == _NO_FACE:
            folder.leave_out("pictures without a face", place)
        else:
            points = _saved_points(folder.path / points_file) if points_file else None
            items.append(_item(folder, place, expression, key.partition("/")[0], points))
    for place in sorted(files.values()):
        folder.leave_out("arrays of pictures that are not there", place)
    return items


def _part(place: str, kind: str) -> str | None:
    """Of a file in the folder `kind` of one of the two sets."""
    *_, which, inner, _ = ("", "", *PurePosixPath(place).parts)
    return _SETS.get(which.casefold()) if inner.casefold() == kind else None


def _array(path: Path) -> npt.NDArray[np.generic]:
    """Raises `SourceError`."""
    try:
        return read_npy(path.read_bytes())
    except OSError as failure:
        raise SourceError(f"{path}: cannot be read ({failure.strerror})") from None
    except NpyError as failure:
        raise SourceError(f"{path}: {failure}") from None


def _expression(path: Path) -> str:
    """Raises `SourceError`."""
    array = _array(path)
    if array.size != 1:
        raise SourceError(f"{path}: expected one number, not {array.size}")
    return meaning(str(path), str(array.item()).removesuffix(".0"), _EXPRESSIONS, "the expression")


def _saved_points(path: Path) -> npt.NDArray[np.float64]:
    return _points(str(path), _array(path))


def _points(where: str, numbers: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """68 points, x and y. Raises `SourceError` for anything else."""
    try:
        points = numbers.astype(np.float64).ravel()
    except ValueError:
        points = np.empty(0)
    if points.size != 2 * _NUM_POINTS or not np.isfinite(points).all():
        raise SourceError(f"{where}: expected x and y of {_NUM_POINTS} points")
    return points.reshape(_NUM_POINTS, 2)


def _item(
    folder: Folder, place: str, expression: str, part: str, points: npt.NDArray[np.float64] | None
) -> PictureItem:
    labels = {_EXPRESSION: expression, "part": part}
    landmarks: Landmarks | None = None if points is None else fitting_points(folder, place, _five(points))
    return PictureItem(place, place, "", PHOTO, labels, landmarks)


def _five(points: npt.NDArray[np.float64]) -> Sequence[tuple[float, float]]:
    """Left eye, right eye, nose tip, left and right corner of the mouth, as the viewer sees them."""
    eyes = [points[first:last].mean(axis=0) for first, last in _EYES]
    return [(float(x), float(y)) for x, y in (*eyes, *(points[place] for place in _NOSE_AND_MOUTH))]
