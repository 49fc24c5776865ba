"""CUHK Face Sketch database (CUFS): 188 students of CUHK, 123 people of AR, 295 of XM2VTS.

A picture is known by its name, wherever its archive was unpacked:

- CUHK students: photos `f-039-01`, `m1-001-01`, sketches `f-039-01-sz1`, `M1-001-01-sz1`; of a sketch `F2-005-01-sz1` the
  photo is `f-005-01`, while `f1-005-01` is somebody else.
- AR: photos `m-002-1`, `w-001-1`, which come from AR itself, and sketches `Mp-002-1-sz1`, `Wp-001-1-sz1`.
- XM2VTS: photos `000_1_1`, which come from XM2VTS itself, and sketches `000_1_1_sz1`.

Fiducial points are `NAME.dat`, of XM2VTS photos `NAME_f02.dat`: 35 lines of x and y, of the whole picture. The pupils are the
17th and the 19th; which of the others are nose and mouth is not documented, so a picture is aligned by its eyes.

The protocol has CUHK and AR, which are the 311 pairs of Table 2; XM2VTS is listed and has no part in it.

Source: Wang and Tang, Face photo-sketch synthesis and recognition (PAMI 2009); Weak-Strong GAN (AAAI 2019), Table 2.
"""

import re

from models.picture import Landmarks
from training.data.layouts.folder import Folder, is_cropped, stem
from training.data.layouts.listing import Listing, listing_of_pairs
from training.data.layouts.points import five_points, read_points

EXPECTED = "photos and sketches named as f-005-01.jpg and F2-005-01-sz1.jpg, or m-002-1.png and Mp-002-1-sz1.jpg"
_NUM_POINTS, _PUPILS = 35, (16, 18)
_NAMES = {
    "cuhk": re.compile(r"(?P<who>[fm]1?)2?(?P<number>-\d{3})-01(?P<is_sketch>-sz1)?"),
    "ar": re.compile(r"(?P<who>[mw])p?(?P<number>-\d{3})-1(?P<is_sketch>-sz1)?"),
    "xm2vts": re.compile(r"(?P<who>)(?P<number>\d{3})_1_1(?P<is_sketch>[_-]sz1)?"),
}


def read_cufs(folder: Folder) -> Listing:
    """Everybody with a photo and a sketch. Raises `SourceError`."""
    photos: dict[str, str] = {}
    sketches: dict[str, str] = {}
    for place in folder.originals():
        known = _known(place)
        if known is None:
            folder.leave_out("pictures with other names", place)
        else:
            subject, is_sketch = known
            folder.keep_one(sketches if is_sketch else photos, subject, place)
    if not photos.keys() & sketches.keys():
        folder.refuse(EXPECTED, len(photos), len(sketches))
    points = {
        stem(place): place for place in folder.others if place.casefold().endswith(".dat") and not is_cropped(place)
    }

    def landmarks(place: str) -> Landmarks | None:
        name = stem(place)
        return _landmarks(folder, place, points.get(name) or points.get(f"{name}_f02"))

    return listing_of_pairs(
        folder, photos, sketches, landmarks, part=_part, in_protocol=lambda subject: _part(subject) != "xm2vts"
    )


def _known(place: str) -> tuple[str, bool] | None:
    """Who is on a picture, and whether it is a sketch; None for another name."""
    for part, pattern in _NAMES.items():
        named = pattern.fullmatch(stem(place))
        if named:
            return f"{part}-{named['who']}{named['number']}", bool(named["is_sketch"])
    return None


def _part(subject: str) -> str:
    return subject.partition("-")[0]


def _landmarks(folder: Folder, place: str, points: str | None) -> Landmarks | None:
    size = folder.size(place) if points else None
    if points is None or size is None:
        return None
    found = read_points(folder.path / points)
    five = five_points([found[pupil] for pupil in _PUPILS], size) if len(found) == _NUM_POINTS else None
    if five is None:
        folder.leave_out("files of points that do not fit their pictures", points)
    return five
