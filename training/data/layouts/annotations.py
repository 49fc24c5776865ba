"""Lists that come with a data set's pictures and say what they show: whatever is odd is refused with its file and line.

A list is found by its name, wherever its archive was unpacked. Lists are UTF-8 text, with nothing empty before their last
line.
"""

import csv
import filecmp
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from models.attributes import is_name
from models.feature_set import TRANSLATED_BY
from models.picture import Landmarks
from training.data.layouts.folder import Folder
from training.data.layouts.points import Point, are_near
from training.errors import SourceError

_RESERVED = frozenset({"image", "subject", "modality", "landmarks", TRANSLATED_BY})
"""Columns of every list of pictures."""
_MARGIN = 0.1
"""How far outside a picture, by its side, one of the five points may be."""
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a list, in fields."""

    path: Path
    number: int
    fields: list[str]

    @property
    def where(self) -> str:
        """The file and the line, as errors begin."""
        return f"{self.path}, line {self.number}"

    def refuse(self, problem: str) -> NoReturn:
        """Raises `SourceError`."""
        raise SourceError(f"{self.where}: {problem}")

    def need(self, count: int, expected: str) -> list[str]:
        """The fields. Raises `SourceError` where there are not `count` of them."""
        if len(self.fields) != count:
            text = " ".join(self.fields)
            self.refuse(f"expected {expected}, not {text[:_LONGEST_SHOWN] + '...' * (len(text) > _LONGEST_SHOWN)!r}")
        return self.fields

    def inner_path(self, text: str) -> PurePosixPath:
        """A path below the folder. Raises `SourceError` for one that leads out of it."""
        path = PurePosixPath(text.replace("\\", "/"))
        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            self.refuse(f"{text!r} is no path below the folder")
        return path

    def bare_name(self, text: str) -> str:
        """A file's name. Raises `SourceError` for one with folders."""
        if len(self.inner_path(text).parts) > 1:
            self.refuse(f"expected a picture's name, not the path {text!r}")
        return text

    def new_name(self, name: str, taken: Container[str]) -> str:
        """What a class or a column may be called. Raises `SourceError` where it may not, or something else is."""
        if not is_name(name):
            self.refuse(f"{name!r} cannot be a name: up to 48 letters, digits, '_' and '-'")
        if name in taken or name in _RESERVED:
            self.refuse(f"{name!r} is the name of something else already")
        return name


def lines_of(path: Path, separator: str | None = None) -> Iterator[Line]:
    """All lines up to the last that is not empty. Raises `SourceError`, also for an empty one before it."""
    empty = 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, text in enumerate(stream, start=1):
                if not text.strip():
                    empty = empty or number
                elif empty:
                    raise SourceError(f"{path}, line {empty}: is empty")
                else:
                    yield Line(path, number, [field.strip() for field in text.strip().split(separator)])
    except OSError as failure:
        raise SourceError(f"{path}: cannot be read ({failure.strerror})") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: cannot be read as UTF-8 text") from None


def rows_of(path: Path) -> Iterator[Line]:
    """All rows of a CSV file but those of empty fields. Raises `SourceError`."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for row in reader:
                number = reader.line_num
                fields = [field.strip() for field in row]
                if any(fields):
                    yield Line(path, number, fields)
    except OSError as failure:
        raise SourceError(f"{path}: cannot be read ({failure.strerror})") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: cannot be read as UTF-8 text") from None
    except csv.Error as failure:
        raise SourceError(f"{path}, line {number + 1}: not a CSV file ({failure})") from None


def by_first(lines: Iterable[Line], count: int, expected: str) -> dict[str, Line]:
    """Lines of `count` fields by the first, which no other has. Raises `SourceError`."""
    found: dict[str, Line] = {}
    for line in lines:
        name = line.need(count, expected)[0]
        if name in found:
            line.refuse(f"{name!r} is listed a second time, after line {found[name].number}")
        found[name] = line
    return found


def meaning(where: str, text: str, meanings: Mapping[str, str], what: str) -> str:
    """What `text` stands for. Raises `SourceError` for what stands for nothing.

    >>> meaning("a.txt, line 3", "-1", {"-1": "0", "1": "1"}, "an attribute")
    '0'
    """
    if text not in meanings:
        raise SourceError(f"{where}: {what} must be one of {', '.join(meanings)}, not {text[:_LONGEST_SHOWN]!r}")
    return meanings[text]


def fitting_name(text: str) -> str:
    """A name in the letters that classes and attributes may have: others become underscores, one for several in a row, and none
    is first or last.

    >>> fitting_name("has_bill_shape::curved_(up_or_down)"), fitting_name("001.Black_footed_Albatross")
    ('has_bill_shape_curved_up_or_down', '001_Black_footed_Albatross')
    """
    return re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_")


def find_list(folder: Folder, *names: str) -> Path | None:
    """The file of one of these names; None where there is none. Raises `SourceError` for several that differ."""
    wanted = {name.casefold() for name in names}
    found = [place for place in folder.others if PurePosixPath(place).name.casefold() in wanted]
    for other in found[1:]:
        if not filecmp.cmp(folder.path / found[0], folder.path / other, shallow=False):
            raise SourceError(f"{folder.path}: holds two such lists, {found[0]!r} and {other!r}; leave one")
    return folder.path / found[0] if found else None


def need_list(folder: Folder, expected: str, *names: str) -> Path:
    """That file. Raises `SourceError` where there is none, too."""
    return find_list(folder, *names) or refuse(folder, expected)


def refuse(folder: Folder, expected: str) -> NoReturn:
    """Raises `SourceError`: what was expected, and what is there instead."""
    raise SourceError(f"{folder.path}: is not laid out like this data set: expected {expected}; it {folder.holds}")


def keep_file(folder: Folder, found: dict[str, str], name: str, place: str) -> None:
    """Enter `place` under `name`. Raises `SourceError` where another file has it."""
    before = found.setdefault(name, place)
    if before != place:
        raise SourceError(f"{folder.path}: holds two files of {name}, {before!r} and {place!r}; leave one")


def tell_absent(folder: Folder, line: Line) -> None:
    """Count a line about a picture that is not there."""
    place = line.path.relative_to(folder.path).as_posix()
    folder.leave_out("lines about pictures that are not there", f"{place}, line {line.number}")


def tell_unlisted(folder: Folder, places: Iterable[str]) -> None:
    """Count pictures that no list names."""
    for place in sorted(places):
        folder.leave_out("pictures that no list names", place)


def fitting_points(folder: Folder, place: str, five: Sequence[Point]) -> Landmarks | None:
    """The five points as they are; None, and counted, where they are not of an upright face in this picture."""
    size = folder.size(place)
    if size is None:
        return None
    if five[0][0] >= five[1][0] or not are_near(five, size, _MARGIN):
        folder.leave_out("sets of points that do not fit their pictures", place)
        return None
    return list(five)
