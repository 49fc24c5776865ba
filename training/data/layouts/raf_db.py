"""RAF-DB, its part of basic expressions: 15,339 photos.

- `EmoLabel/list_patition_label.txt` (the misspelling is theirs): `train_00001.jpg 5`; 1 surprise, 2 fear, 3 disgust, 4
  happiness, 5 sadness, 6 anger, 7 neutral.
- `Image/original/train_00001.jpg`, `test_0001.jpg`: whole pictures.
- `Image/aligned/train_00001_aligned.jpg`: crops of 100 x 100 pixels, roughly aligned by the eyes and the middle of the mouth.
- `Annotation/manual/train_00001_manu_attri.txt`: five points of the whole picture, a line of x and y each, eyes and corners
  of the mouth as the viewer sees them; then sex, race and age, which are not read.

A whole picture is taken where its points are known, else its crop without points. Nobody is named. Pictures of compound
expressions have the same names: give the folder `basic`.

Source: Li, Deng and Du, Reliable crowdsourcing and deep locality-preserving learning (CVPR 2017), and its Readme.
"""

import re

from models.picture import Landmarks
from training.data.layouts.annotations import (
    by_first,
    fitting_points,
    keep_file,
    lines_of,
    meaning,
    need_list,
    refuse,
    tell_absent,
    tell_unlisted,
)
from training.data.layouts.folder import Folder, stem
from training.data.layouts.listing import PHOTO, Listing
from training.data.layouts.points import read_points
from training.data.sources import PictureItem

EXPECTED = (
    "EmoLabel/list_patition_label.txt, and pictures as Image/original/train_00001.jpg or "
    "Image/aligned/train_00001_aligned.jpg"
)
_CROP, _POINTS = "_aligned", "_manu_attri"
_NAME = re.compile(r"(?P<part>train|test)_\d{1,9}\.jpg", re.ASCII)
_EXPRESSIONS = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}


def read_raf_db(folder: Folder) -> Listing:
    """All pictures whose expression is listed. Raises `SourceError`."""
    path = need_list(folder, EXPECTED, "list_patition_label.txt", "list_partition_label.txt")
    lines = by_first(lines_of(path), 2, "a picture and a number, as train_00001.jpg 5")
    pictures: dict[str, str] = {}
    points: dict[str, str] = {}
    for place in folder.pictures:
        folder.keep_one(pictures, stem(place), place)
    for place in folder.others:
        if stem(place).endswith(_POINTS) and place.casefold().endswith(".txt"):
            keep_file(folder, points, stem(place).removesuffix(_POINTS), place)
    items = []
    for name, line in lines.items():
        named = _NAME.fullmatch(name)
        if named is None:
            line.refuse(f"expected a picture as train_00001.jpg or test_0001.jpg, not {name!r}")
        expression = meaning(line.where, line.fields[1], _EXPRESSIONS, "the expression")
        whole, crop = pictures.pop(stem(name), None), pictures.pop(f"{stem(name)}{_CROP}", None)
        taken = _taken(folder, whole, crop, points.get(stem(name)))
        if taken is None:
            tell_absent(folder, line)
            continue
        place, five = taken
        labels = {"expression": expression, "part": named["part"]}
        items.append(PictureItem(place, place, "", PHOTO, labels, five))
    tell_unlisted(folder, pictures.values())
    if not items:
        refuse(folder, EXPECTED)
    return Listing(sorted(items, key=lambda item: item.key), {}, class_label="expression")


def _taken(
    folder: Folder, whole: str | None, crop: str | None, points: str | None
) -> tuple[str, Landmarks | None] | None:
    """Which of the two pictures, and its points; None where there is neither."""
    five = _landmarks(folder, whole, points) if whole and points else None
    if whole and (five or not crop):
        if crop:
            folder.leave_out("crops of pictures that are taken whole", crop)
        return whole, five
    if whole:
        folder.leave_out("whole pictures without points, whose crops are taken", whole)
    return (crop, None) if crop else None


def _landmarks(folder: Folder, place: str, points: str) -> Landmarks | None:
    found = read_points(folder.path / points)
    if len(found) != 5:
        folder.leave_out("files that do not hold five points", points)
        return None
    return fitting_points(folder, place, found)
