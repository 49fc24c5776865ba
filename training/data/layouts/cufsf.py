"""CUHK Face Sketch FERET database (CUFSF): sketches of 1,194 people of FERET, whose photos come from FERET itself.

- `original_sketch/00001.jpg`, named by FERET's number of the person; pictures in folders of cropped ones are left out.
- Photos anywhere in the folder, as FERET names them: `00001fb010_930831` (grey) or `00001_930831_fb_a` (colour). FERET gives
  TIFF and PPM, which are converted to PNG first.
- `names_of_photos_used_for_drawing_sketches.txt` (any `.txt` whose lines are such names) says which of a person's photos was
  drawn from; without it everybody may have one frontal photo.
- `sketch_points/00001.3pts`: left eye, right eye and mouth, a line of x and y each, of the sketch.
- `photo_points/00001fb010_930831.3pts`: the same of the photo at 512 x 768 pixels with 100 more on its left and on its right.

Source: Zhang, Wang and Tang, Coupled information-theoretic encoding (CVPR 2011); Weak-Strong GAN (AAAI 2019), Table 2.
"""

import re
from pathlib import PurePosixPath

from models.picture import Landmarks
from training.data.layouts.folder import Folder, is_cropped, stem
from training.data.layouts.listing import Listing, listing_of_pairs
from training.data.layouts.points import Point, five_points, read_points
from training.errors import SourceError

EXPECTED = (
    "sketches as original_sketch/00001.jpg, and FERET's photos named as 00001fb010_930831.png or 00001_930831_fb_a.png"
)
_SKETCH = re.compile(r"\d{5}")
_GREY = re.compile(r"(?P<number>\d{5})(?P<pose>f[ab])\d{3}[a-z]?_(?P<date>\d{6})(?:\.tif)?")
_COLOUR = re.compile(r"(?P<number>\d{5})_(?P<date>\d{6})_(?P<pose>f[ab])(?:_[a-z])?(?:\.ppm)?")
_WIDTH, _HEIGHT, _BORDER = 512, 768, 100


def read_cufsf(folder: Folder) -> Listing:
    """Everybody with a sketch and the photo that it was drawn from. Raises `SourceError`."""
    sketches: dict[str, str] = {}
    shots: dict[str, str] = {}
    for place in folder.originals():
        shot = _shot(stem(place))
        if _SKETCH.fullmatch(stem(place)):
            folder.keep_one(sketches, stem(place), place)
        elif shot:
            folder.keep_one(shots, shot, place)
        else:
            folder.leave_out("pictures with other names", place)
    drawn = _drawn(folder)
    photos = _photos(folder, shots, drawn)
    if not photos.keys() & sketches.keys():
        folder.refuse(EXPECTED, len(photos), len(sketches))
    points = {
        stem(place): place for place in folder.others if place.casefold().endswith(".3pts") and not is_cropped(place)
    }
    of_shots = {shot: place for name, place in points.items() if (shot := _shot(name))}

    def landmarks(place: str) -> Landmarks | None:
        shot = _shot(stem(place))
        return _landmarks(folder, place, of_shots.get(shot) if shot else points.get(stem(place)), is_photo=bool(shot))

    return listing_of_pairs(folder, photos, sketches, landmarks)


def _shot(name: str) -> str | None:
    """Number of the person, pose and date of a photo of FERET; None for another name."""
    named = _GREY.fullmatch(name) or _COLOUR.fullmatch(name)
    return f"{named['number']} {named['pose']} {named['date']}" if named else None


def _drawn(folder: Folder) -> set[str]:
    """The photos that the lists in the folder name."""
    shots: set[str] = set()
    for place in folder.others:
        if PurePosixPath(place).suffix.casefold() != ".txt":
            continue
        try:
            lines = (folder.path / place).read_text(encoding="latin-1").splitlines()
        except OSError as failure:
            raise SourceError(f"{folder.path / place}: cannot be read ({failure.strerror})") from None
        shots |= {shot for line in lines if (shot := _shot(stem(line.strip().replace("\\", "/"))))}
    return shots


def _photos(folder: Folder, shots: dict[str, str], drawn: set[str]) -> dict[str, str]:
    """The photo of each person that was drawn from, by the person's number."""
    photos: dict[str, str] = {}
    for shot, place in sorted(shots.items()):
        number = shot.partition(" ")[0]
        if drawn and shot not in drawn:
            folder.leave_out("photos that no sketch was drawn from", place)
        elif number in photos:
            raise SourceError(
                f"{folder.path}: holds two photos of {number}, {photos[number]!r} and {place!r}; leave the one that was "
                "drawn from, or put the data set's list of photos (.txt) there"
            )
        else:
            photos[number] = place
    return photos


def _landmarks(folder: Folder, place: str, points: str | None, *, is_photo: bool) -> Landmarks | None:
    size = folder.size(place) if points else None
    if points is None or size is None:
        return None
    found = read_points(folder.path / points)
    if is_photo:
        found = _in_photo(found, size)
    five = five_points(found, size) if len(found) == 3 else None
    if five is None:
        folder.leave_out("files of points that do not fit their pictures", points)
    return five


def _in_photo(points: list[Point], size: tuple[int, int]) -> list[Point]:
    """Points of the enlarged and widened photo in one as FERET gives it; none where it has another shape."""
    width, height = size
    if width * _HEIGHT != height * _WIDTH:
        return []
    return [((x - _BORDER) * width / _WIDTH, y * height / _HEIGHT) for x, y in points]
