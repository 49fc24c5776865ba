"""WebCaricature: photos and caricatures of 252 people, 17 points on each, and protocols of ten folds.

- `OriginalImages/NAME/C00001.jpg` are caricatures, `P00001.jpg` photos; NAME is the person, in large or small letters.
- `FacialPoints/NAME/C00001.txt`: 17 lines of x and y. A picture is aligned by the middle of the 9th and the 10th (corners of the
  left eye), of the 11th and the 12th (right eye), the 13th (nose tip), the 15th and the 17th (corners of the mouth).

Of the protocols, wherever their files lie, View 2 is listed; View 1 is for tuning, and is not:

- `RestrictedView2.txt`: of each fold the number of its matched and of its mismatched pairs, then the ones as
  `NAME C00001 P00001`, and then the others as `NAME C00039 OTHER P00006`.
- `UnRestrictedView2.txt`: of each fold the number of its people, then `NAME 35 25`, how many caricatures and photos each has.
  All their caricatures are compared with all their photos.
- `FR_Train1.txt` to `FR_Train10.txt`: `NAME 35 25`, the people that a fold may train with.
- `FR_Probe_C2P1.txt` and `FR_Gallery_C2P1.txt` to 10, and the same of P2C: the pictures that a fold asks about, and its gallery.

Fields are apart by tabs or spaces. How the last of these files name a picture is documented nowhere: `NAME C00001`, as one public
script reads them, `NAME/C00001.jpg` and `NAME\\C00001.jpg`, with a suffix or without, are taken, which is a guess, and anything
else is refused. Public scripts also show that a number alone may come first: in `FR_` files it is passed over, and before folds
it is how many there are.

Source: Huo et al., WebCaricature: a benchmark for caricature recognition (BMVC 2018), and its Readme.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from models.picture import Landmarks
from training.data.layouts.folder import Folder, stem
from training.data.layouts.listing import FurtherList, Listing, listing_of_people
from training.data.layouts.points import Point, are_near, read_points
from training.data.protocols import PairList, RoleList
from training.data.sources import PictureItem
from training.errors import SourceError

EXPECTED = "caricatures as OriginalImages/NAME/C00001.jpg, and photos as OriginalImages/NAME/P00001.jpg"
_NUM_FOLDS = 10
_NUM_POINTS = 17
_LEFT_EYE, _RIGHT_EYE, _NOSE_AND_MOUTH = (8, 9), (10, 11), (12, 14, 16)
_MARGIN = 0.1
"""How far outside a picture, by its side, one of the five points may be."""


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.ASCII)


_PICTURE = _pattern(r"[cp]\d{5}")
_NUMBER = _pattern(r"\d{1,9}")
_MATCHED = _pattern(r"(?P<name>.+) (?P<caricature>c\d{5}) (?P<photo>p\d{5})")
_MISMATCHED = _pattern(r"(?P<name>.+) (?P<caricature>c\d{5}) (?P<other>.+) (?P<photo>p\d{5})")
_PERSON = _pattern(r"(?P<name>.+) \d{1,9} \d{1,9}")
_NAMED = {
    kind: _pattern(rf"(?!.* [cp]\d{{5}} )(?P<name>[^/\\]+)[ /\\](?P<picture>{kind}\d{{5}})(?:\.[a-z]+)?")
    for kind in "cp"
}
_Line = tuple[int, str]


def read_webcaricature(folder: Folder) -> Listing:
    """All photos and caricatures, and the lists of those protocols that are there. Raises `SourceError`."""
    known = _pictures(folder)
    photos, caricatures = (
        {place: known.names[_person(key)] for key, place in known.places.items() if _kind(key) == kind} for kind in "pc"
    )
    if not photos or not caricatures:
        folder.refuse(EXPECTED, len(photos), len(caricatures))
    points = {_key_in(place, "facialpoints"): place for place in folder.others if place.casefold().endswith(".txt")}
    points_of = {place: points.get(key) for key, place in known.places.items()}
    listing = listing_of_people(photos, caricatures, lambda place: _landmarks(folder, place, points_of[place]))
    return replace(listing, lists=_lists(known, listing.items))


@dataclass(frozen=True, slots=True)
class _Known:
    """Who is there, and in which pictures."""

    folder: Folder
    names: dict[str, str]
    """Of people as they are written, by the same in small letters."""
    places: dict[str, str]
    """Of pictures, by `person/c00001` in small letters."""


def _pictures(folder: Folder) -> _Known:
    """The pictures of everybody, each once."""
    known = _Known(folder, {}, {})
    for place in folder.pictures:
        key = _key_in(place, "originalimages")
        if key is None:
            folder.leave_out("pictures in other folders", place)
        elif not _PICTURE.fullmatch(stem(place)):
            folder.leave_out("pictures with other names", place)
        else:
            known.names.setdefault(_person(key), " ".join(PurePosixPath(place).parts[-2].split()))
            folder.keep_one(known.places, key, place)
    return known


def _key_in(place: str, top: str) -> str | None:
    """The key of what lies in somebody's folder below `top`; None where a file is elsewhere."""
    parts = PurePosixPath(place).parts
    return _key(parts[-2], stem(place)) if len(parts) > 2 and parts[-3].casefold() == top else None


def _key(name: str, picture: str) -> str:
    return f"{_plain(name)}/{picture.casefold()}"


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _person(key: str) -> str:
    return key.partition("/")[0]


def _kind(key: str) -> str:
    """`c` of a caricature, `p` of a photo."""
    return key.partition("/")[2][0]


def _landmarks(folder: Folder, place: str, points: str | None) -> Landmarks | None:
    size = folder.size(place) if points else None
    if points is None or size is None:
        return None
    five = _five(read_points(folder.path / points))
    if not five or five[0][0] >= five[1][0] or not are_near(five, size, _MARGIN):
        folder.leave_out("files of points that do not fit their pictures", points)
        return None
    return five


def _five(points: list[Point]) -> list[Point]:
    """The five that a picture is aligned by; none of another number of points."""
    if len(points) != _NUM_POINTS:
        return []
    eyes = [
        ((points[one][0] + points[other][0]) / 2, (points[one][1] + points[other][1]) / 2)
        for one, other in (_LEFT_EYE, _RIGHT_EYE)
    ]
    return [*eyes, *(points[place] for place in _NOSE_AND_MOUTH)]


def _lists(known: _Known, items: list[PictureItem]) -> dict[str, FurtherList]:
    """What the protocols that are there ask for; none of which no picture is there."""
    texts = {stem(place): place for place in known.folder.others if place.casefold().endswith(".txt")}
    found: dict[str, FurtherList | None] = {f"roles-{way}.csv": _roles(known, texts, way) for way in ("c2p", "p2c")}
    if "restrictedview2" in texts:
        found["pairs.csv"] = _restricted(known, _read(known.folder, texts["restrictedview2"]))
    if "unrestrictedview2" in texts:
        found["roles-unrestricted.csv"] = _unrestricted(known, _read(known.folder, texts["unrestrictedview2"]))
    for number in range(1, _NUM_FOLDS + 1):
        place = texts.get(f"fr_train{number}")
        if place is not None:
            text = _read(known.folder, place)
            names = {known.names[person] for person in _people(known, text, text.below_number())}
            found[f"train-{number}.csv"] = [item for item in items if item.subject in names]
    return {name: one for name, one in found.items() if one}


@dataclass(frozen=True, slots=True)
class _Text:
    """A file of a protocol: its lines that hold anything, each with its number, fields apart by one space."""

    path: Path
    place: str
    lines: list[_Line]

    def fields(self, line: _Line, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        """What is in a line. Raises `SourceError` for one of another form."""
        number, text = line
        found = pattern.fullmatch(text)
        if found is None:
            raise SourceError(f"{self.path}, line {number}: expected {expected}, not {text[:80]!a}")
        return found

    def below_number(self) -> list[_Line]:
        """The lines, without a first one that is a number alone. Raises `SourceError` where there are none."""
        has_number = bool(self.lines) and _NUMBER.fullmatch(self.lines[0][1]) is not None
        if len(self.lines) == has_number:
            raise SourceError(f"{self.path}: has no lines")
        return self.lines[1:] if has_number else self.lines

    def folds(self, expected: str, num_kinds: int) -> list[list[_Line]]:
        """The lines of each fold, `num_kinds` times as many as the number before them. Raises `SourceError`."""
        below = self.below_number()
        is_counted = _NUMBER.fullmatch(below[0][1]) is not None
        lines, folds = below if is_counted else self.lines, []
        while lines:
            num_lines = num_kinds * int(self.fields(lines[0], _NUMBER, expected)[0])
            if len(lines) <= num_lines:
                raise SourceError(
                    f"{self.path}, line {lines[0][0]}: announces {num_lines} lines, and {len(lines) - 1} follow"
                )
            folds.append(lines[1 : num_lines + 1])
            lines = lines[num_lines + 1 :]
        if is_counted and int(self.lines[0][1]) != len(folds):
            raise SourceError(f"{self.path}: announces {self.lines[0][1]} folds, and holds {len(folds)}")
        return folds


def _read(folder: Folder, place: str) -> _Text:
    """Raises `SourceError`."""
    path = folder.path / place
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as failure:
        raise SourceError(f"{path}: cannot be read ({failure.strerror})") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: cannot be read as UTF-8 text") from None
    lines = [(number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), start=1)]
    return _Text(path, place, [line for line in lines if line[1]])


def _tell_absent(known: _Known, text: _Text, line: _Line, what: str = "pictures") -> None:
    known.folder.leave_out(f"lines of protocols about {what} that are not there", f"{text.place}, line {line[0]}")


def _people(known: _Known, text: _Text, lines: list[_Line]) -> set[str]:
    """Who is named and there, in small letters."""
    found = set()
    for line in lines:
        named = text.fields(line, _PERSON, "a person, a number of caricatures and one of photos")
        if _plain(named["name"]) in known.names:
            found.add(_plain(named["name"]))
        else:
            _tell_absent(known, text, line, "people")
    return found


def _roles(known: _Known, texts: dict[str, str], way: str) -> RoleList | None:
    """Of the folds of which both lists are there; the letters of `way`, c2p or p2c, are the kinds of probes and gallery."""
    image: list[str] = []
    is_probe: list[bool] = []
    folds: list[int] = []
    for fold in range(_NUM_FOLDS):
        files = [texts.get(f"fr_{role}_{way}{fold + 1}") for role in ("probe", "gallery")]
        there = [place for place in files if place is not None]
        if len(there) < len(files):
            for place in there:
                known.folder.leave_out("lists of probes or of a gallery without the other", place)
            continue
        for place, kind in zip(there, (way[0], way[-1]), strict=True):
            found = _named_pictures(known, _read(known.folder, place), kind)
            image += found
            is_probe += [kind == way[0]] * len(found)
            folds += [fold] * len(found)
    return RoleList(tuple(image), np.array(is_probe), np.array(folds, dtype=np.int64)) if image else None


def _named_pictures(known: _Known, text: _Text, kind: str) -> list[str]:
    """Those of a list that are there."""
    found = []
    for line in text.below_number():
        named = text.fields(line, _NAMED[kind], f"a person and a picture, as NAME {kind.upper()}00001")
        place = known.places.get(_key(named["name"], named["picture"]))
        if place is None:
            _tell_absent(known, text, line)
        else:
            found.append(place)
    return found


def _restricted(known: _Known, text: _Text) -> PairList | None:
    """The pairs of which both pictures are there."""
    a: list[str] = []
    b: list[str] = []
    same: list[bool] = []
    folds: list[int] = []
    for fold, lines in enumerate(text.folds("the number of matched and of mismatched pairs", 2)):
        for row, line in enumerate(lines):
            is_same = 2 * row < len(lines)
            if is_same:
                named = text.fields(line, _MATCHED, "a matched pair, as NAME C00001 P00001")
            else:
                named = text.fields(line, _MISMATCHED, "a mismatched pair, as NAME C00001 OTHER P00001")
            caricature = known.places.get(_key(named["name"], named["caricature"]))
            photo = known.places.get(_key(named["name" if is_same else "other"], named["photo"]))
            if caricature is None or photo is None:
                _tell_absent(known, text, line)
                continue
            a.append(caricature)
            b.append(photo)
            same.append(is_same)
            folds.append(fold)
    return _pair_list(a, b, same, folds)


def _unrestricted(known: _Known, text: _Text) -> RoleList | None:
    """In each fold every caricature of its people, asked about among all their photos."""
    image: list[str] = []
    is_probe: list[bool] = []
    folds: list[int] = []
    for fold, lines in enumerate(text.folds("the number of a fold's people", 1)):
        people = _people(known, text, lines)
        for key, place in known.places.items():
            if _person(key) in people:
                image.append(place)
                is_probe.append(_kind(key) == "c")
                folds.append(fold)
    return RoleList(tuple(image), np.array(is_probe), np.array(folds, dtype=np.int64)) if image else None


def _pair_list(a: list[str], b: list[str], same: list[bool], folds: list[int]) -> PairList | None:
    if not a:
        return None
    return PairList(tuple(a), tuple(b), np.array(same, dtype=bool), np.array(folds, dtype=np.int64))
