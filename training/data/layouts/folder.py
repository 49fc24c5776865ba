"""What lies in the folder of a data set: pictures, other files, and what is left out for a reason.

Nothing outside the folder is looked at: links that lead out of it are left out, and folders that are links too.
"""

import filecmp
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NoReturn

from PIL import Image, UnidentifiedImageError

from training.data.sources import PICTURE_SUFFIXES, is_unicode
from training.errors import SourceError

_OTHER_PICTURES = frozenset({".bz2", ".gif", ".pgm", ".ppm", ".raw", ".tif", ".tiff"})
_LITTER = frozenset({"__macosx", "desktop.ini", "thumbs.db"})
"""What systems leave in folders, beside names that begin with a dot."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A data set's files, by their paths below it, in order."""

    path: Path
    pictures: list[str]
    others: list[str]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """By the reason, in words that follow a number."""

    def leave_out(self, reason: str, place: str) -> None:
        """Note what is not taken, and why."""
        self.left_out.setdefault(reason, []).append(place)

    def originals(self) -> list[str]:
        """Pictures that lie in no folder of cropped ones, which are left out: fiducial points are of the whole pictures."""
        whole = [place for place in self.pictures if not is_cropped(place)]
        for place in self.pictures:
            if is_cropped(place):
                self.leave_out("pictures in folders of cropped ones", place)
        return whole

    def size(self, place: str) -> tuple[int, int] | None:
        """Width and height of a picture; None where it cannot be read, which whoever reads its pixels will tell."""
        try:
            with Image.open(self.path / place) as image:
                return image.size
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None

    def keep_one(self, found: dict[str, str], name: str, place: str) -> None:
        """Enter `place` under `name`, once: a copy is left out. Raises `SourceError` for another picture of that name."""
        before = found.setdefault(name, place)
        if before == place:
            return
        if not filecmp.cmp(self.path / before, self.path / place, shallow=False):
            raise SourceError(f"{self.path}: holds two pictures of {name}, {before!r} and {place!r}; leave one")
        self.leave_out("copies", place)

    def refuse(self, expected: str, num_photos: int, num_sketches: int) -> NoReturn:
        """Raises `SourceError`: what was expected, and what is there instead."""
        raise SourceError(
            f"{self.path}: is not laid out like this data set: expected {expected}; found {num_photos} photos and "
            f"{num_sketches} drawings that belong to no pair, and it {self.holds}"
        )

    @property
    def holds(self) -> str:
        """What is there, for errors."""
        left_out = (place for places in self.left_out.values() for place in places)
        first = next(iter(sorted([*self.pictures, *self.others, *left_out])), None)
        return "holds no files" if first is None else f"holds {first!r} first"


def open_folder(path: Path) -> Folder:
    """All files below a folder. Raises `SourceError` for what is none."""
    if not path.exists():
        raise SourceError(f"{path}: there is no such folder")
    if not path.is_dir():
        raise SourceError(f"{path}: is no folder; unpack the data set's archives, and give the folder that they are in")
    folder, within = Folder(path, [], []), path.resolve()
    for place in sorted(_files_below(path)):
        suffix = PurePosixPath(place).suffix.lower()
        if not is_unicode(place):
            folder.leave_out("files whose names are not UTF-8", ascii(place))
        elif not (path / place).is_file() or not (path / place).resolve().is_relative_to(within):
            folder.leave_out("links that lead to no file of this folder", place)
        elif suffix in PICTURE_SUFFIXES:
            folder.pictures.append(place)
        elif suffix in _OTHER_PICTURES:
            folder.leave_out("pictures that are neither JPEG, PNG, WebP nor BMP", place)
        else:
            folder.others.append(place)
    return folder


def is_cropped(place: str) -> bool:
    """Whether a folder on the way is one of cropped pictures."""
    return any("cropped" in part.casefold() for part in PurePosixPath(place).parts[:-1])


def stem(place: str) -> str:
    """The name without folders and suffix, in small letters."""
    return PurePosixPath(place).stem.casefold()


def _files_below(path: Path) -> list[str]:
    """Files, and links to folders, which are not followed; without what systems leave."""

    def fail(failure: OSError) -> NoReturn:
        raise SourceError(f"{failure.filename}: cannot be read ({failure.strerror})") from None

    found = []
    for top, folders, files in os.walk(path, onerror=fail):
        folders[:] = sorted(name for name in folders if not _is_litter(name))
        links = [name for name in folders if (Path(top) / name).is_symlink()]
        names = [*links, *(name for name in files if not _is_litter(name))]
        found += [(Path(top) / name).relative_to(path).as_posix() for name in names]
    return found


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LITTER
