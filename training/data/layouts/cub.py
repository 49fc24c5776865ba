"""CUB-200-2011: 11,788 photos of birds of 200 species, and 312 attributes of each.

- `images.txt`: a number and a path, `1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg`, of
  `images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg`.
- `classes.txt`: `1 001.Black_footed_Albatross`; `image_class_labels.txt`: number of the picture and number of its species.
- `attributes.txt`, beside the data set's folder or in `attributes/`: `1 has_bill_shape::curved_(up_or_down)`.
- `attributes/image_attribute_labels.txt`: number of the picture, number of the attribute, 1 where it is there and 0 where it
  is not, how sure that is (1 not visible, 2 guessed, 3 probably, 4 definitely), and a time. Some lines of pictures 2275 and
  9364 have one or two zeros before the time. What is not visible is not known; everything else is taken as it was said.
- `train_test_split.txt`: number of the picture, 1 to train with, 0 to test with.

Names of species and attributes are made to fit: runs of anything but letters, digits and hyphens become an underscore, and
none stands first or last, as in `001_Black_footed_Albatross` and `has_bill_shape_curved_up_or_down`. Birds are not told
apart, and have no points: pictures are to be cropped to squares under the same names first; `bounding_boxes.txt` says where
the bird is.

Source: Wah et al., The Caltech-UCSD Birds-200-2011 dataset (CNS-TR-2011-001), and its Readme.
"""

from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from training.data.layouts.annotations import (
    Line,
    by_first,
    find_list,
    fitting_name,
    lines_of,
    meaning,
    need_list,
    refuse,
    tell_absent,
    tell_unlisted,
)
from training.data.layouts.folder import Folder
from training.data.layouts.listing import PHOTO, Listing
from training.data.sources import PictureItem
from training.errors import SourceError

EXPECTED = (
    "images.txt, classes.txt and image_class_labels.txt, and pictures as images/001.Black_footed_Albatross/NAME.jpg"
)
SPECIES, PART = "species", "part"
_PARTS = {"1": "train", "0": "test"}
_HAS = {"0": "0", "1": "1"}
_CERTAINTY = {"1": "not visible", "2": "guessed", "3": "probably", "4": "definitely"}
_NOT_VISIBLE, _UNTOLD = 2, 3
_TEXTS = ("0", "1", "", "")
"""What is written of an attribute that is not there (0), is there (1), is not visible (2), or is not told of (3)."""


def read_cub(folder: Folder) -> Listing:
    """All pictures whose species is listed. Raises `SourceError`."""
    images = by_first(lines_of(need_list(folder, EXPECTED, "images.txt")), 2, "a number and a path")
    keys = _keys(images)
    species = _names(need_list(folder, EXPECTED, "classes.txt"), frozenset())
    species_of = _told(need_list(folder, EXPECTED, "image_class_labels.txt"), images, species, "the species")
    split = find_list(folder, "train_test_split.txt")
    part_of = {} if split is None else _told(split, images, _PARTS, "the part")
    names, attributes_NM = _attributes(folder, images)
    pictures = _pictures(folder)
    items = []
    for row, (number, line) in enumerate(images.items()):
        place = pictures.pop(keys[number], None)
        if place is None:
            tell_absent(folder, line)
            continue
        texts = [_TEXTS[value] for value in attributes_NM[row].tolist()]
        labels = {SPECIES: species_of[number], **dict(zip(names.values(), texts, strict=True))}
        if part_of:
            labels[PART] = part_of[number]
        items.append(PictureItem(place, place, "", PHOTO, labels))
    tell_unlisted(folder, pictures.values())
    if not items:
        refuse(folder, EXPECTED)
    items.sort(key=lambda item: item.key)
    return Listing(items, {}, class_label=SPECIES, attributes=tuple(names.values()))


def _pictures(folder: Folder) -> dict[str, str]:
    """Those in a folder of the folder `images`, by that folder and their name."""
    found: dict[str, str] = {}
    for place in folder.pictures:
        *_, top, kind, name = ("", "", *PurePosixPath(place).parts)
        if top.casefold() == "images":
            folder.keep_one(found, f"{kind}/{name}".casefold(), place)
        else:
            folder.leave_out("pictures in other folders", place)
    return found


def _keys(images: dict[str, Line]) -> dict[str, str]:
    """What `_pictures` knows a picture by, by its number. Raises `SourceError`, also for a path that two numbers have."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for number, line in images.items():
        found[number] = line.inner_path(line.fields[1]).as_posix().casefold()
        if found[number] in seen:
            line.refuse(f"{line.fields[1]!r} is listed a second time")
        seen.add(found[number])
    return found


def _told(path: Path, images: dict[str, Line], meanings: dict[str, str], what: str) -> dict[str, str]:
    """What a list of two numbers a line says of each picture, by its number. Raises `SourceError` where it says nothing."""
    lines = by_first(lines_of(path), 2, "two numbers")
    for number, image in images.items():
        if number not in lines:
            image.refuse(f"picture {number} is not in {path}")
    return {number: meaning(lines[number].where, lines[number].fields[1], meanings, what) for number in images}


def _names(path: Path, taken: frozenset[str]) -> dict[str, str]:
    """Names that fit, by their numbers. Raises `SourceError`, also where two become one."""
    found: dict[str, str] = {}
    for number, line in by_first(lines_of(path), 2, "a number and a name").items():
        found[number] = line.new_name(fitting_name(line.fields[1]), {*taken, *found.values()})
    return found


def _attributes(folder: Folder, images: dict[str, Line]) -> tuple[dict[str, str], npt.NDArray[np.int8]]:
    """Names of the M attributes by their numbers, and (N, M) of the pictures what is told of them.

    Raises `SourceError`.
    """
    named, told = find_list(folder, "attributes.txt"), find_list(folder, "image_attribute_labels.txt")
    if named is None or told is None:
        for path in (named, told):
            if path is not None:
                raise SourceError(f"{path}: is of no use without attributes.txt and image_attribute_labels.txt")
        return {}, np.empty((len(images), 0), dtype=np.int8)
    names = _names(named, frozenset({SPECIES, PART}))
    row_of = {number: row for row, number in enumerate(images)}
    column_of = {number: column for column, number in enumerate(names)}
    attributes_NM = np.full((len(images), len(names)), _UNTOLD, dtype=np.int8)
    for line in lines_of(told):
        if not 5 <= len(line.fields) <= 7:
            line.need(5, "numbers of a picture and an attribute, 0 or 1, a certainty and a time")
        image, attribute, has, certainty = line.fields[:4]
        row, column = row_of.get(image), column_of.get(attribute)
        if row is None or column is None:
            line.refuse(f"there is no picture {image!r}" if row is None else f"there is no attribute {attribute!r}")
        if attributes_NM[row, column] != _UNTOLD:
            line.refuse(f"attribute {attribute} of picture {image} is told a second time")
        is_there = meaning(line.where, has, _HAS, "whether it is there")
        is_visible = meaning(line.where, certainty, _CERTAINTY, "the certainty") != _CERTAINTY["1"]
        attributes_NM[row, column] = int(is_there) if is_visible else _NOT_VISIBLE
    return names, attributes_NM
