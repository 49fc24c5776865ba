"""Where pictures come from: a folder, a zip archive, or a CSV list. All give the same items in the same order.

With a `labels.csv` (columns `image`, and optionally `subject`, `modality`, `landmarks`, others) beside the pictures, or
a CSV given as the source itself, the list says what there is. Without one every picture found is taken, and its folder
is its subject: by its name alone, or by its whole path where folders in different places share a name. `landmarks`
holds ten numbers, x and y of the five points.
"""

import csv
import io
import itertools
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from models.calibration import PHOTO
from models.feature_set import TRANSLATED_BY
from models.picture import Landmarks
from training.errors import SourceError

LABELS = "labels.csv"
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_ZIP_FAULTS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    EOFError,
    NotImplementedError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class PictureItem:
    """One picture: its key, the place of its bytes in the source, and what is known about it."""

    key: str
    place: str
    subject: str = ""
    modality: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    landmarks: Landmarks | None = None
    stamp: str = field(default="", compare=False)
    """Changes with the bytes, as far as can be told without reading them; a copy may have another."""


class PictureSource(Protocol):
    """Items in a fixed order, and their bytes. `read` may be called from several threads."""

    items: list[PictureItem]

    def read(self, item: PictureItem) -> bytes:
        """The picture's bytes. Raises `SourceError`."""


class FolderSource:
    """Pictures below a folder, optionally listed in a CSV."""

    def __init__(self, folder: Path, listing: Path | None = None) -> None:
        self._folder = folder
        listing = listing or (folder / LABELS if (folder / LABELS).is_file() else None)
        if listing is None:
            found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            self.items = _stamped(_items_from_places(found, str(folder)), self._stamp)
            return
        try:
            text = listing.read_text(encoding="utf-8-sig")
        except OSError as failure:
            raise SourceError(f"{listing}: cannot be read ({failure.strerror})") from None
        except UnicodeDecodeError:
            raise SourceError(f"{listing}: cannot be read as UTF-8 text") from None
        items = _items_from_csv(text, prefix="", what=str(listing))
        _check_listed(items, lambda place: (folder / place).is_file(), str(listing))
        self.items = _stamped(items, self._stamp)

    def read(self, item: PictureItem) -> bytes:
        """The picture's bytes."""
        try:
            return (self._folder / item.place).read_bytes()
        except OSError as failure:
            raise SourceError(f"{item.place}: cannot be read ({failure.strerror})") from None

    def _stamp(self, place: str) -> str:
        try:
            status = (self._folder / place).stat()
        except OSError:  # Gone since it was listed; reading it will say so.
            return ""
        return f"{status.st_size}:{status.st_mtime_ns}"


class ZipSource:
    """Pictures inside a zip archive, read in place."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except _ZIP_FAULTS:
            raise SourceError(f"{path}: not a readable zip archive") from None
        names = [name for name in self._archive.namelist() if not name.endswith("/")]
        listings = [name for name in names if PurePosixPath(name).name == LABELS and name.count("/") <= 1]
        if not listings:
            self.items = _stamped(_items_from_places(names, str(path)), self._stamp)
            return
        if len(listings) > 1:
            raise SourceError(f"{path}: holds more than one {LABELS}; leave one")
        prefix = listings[0].removesuffix(LABELS)
        try:
            text = self._archive.read(listings[0]).decode("utf-8-sig")
        except _ZIP_FAULTS:
            raise SourceError(f"{path}: {listings[0]} cannot be read as UTF-8 text") from None
        items = _items_from_csv(text, prefix=prefix, what=f"{path}: {listings[0]}")
        _check_listed(items, set(names).__contains__, f"{path}: {listings[0]}")
        self.items = _stamped(items, self._stamp)

    def read(self, item: PictureItem) -> bytes:
        """The picture's bytes; `ZipFile` locks its own file, so threads may share it."""
        try:
            return self._archive.read(item.place)
        except _ZIP_FAULTS as failure:
            raise SourceError(f"{item.place}: cannot be read from the archive ({type(failure).__name__})") from None

    def _stamp(self, place: str) -> str:
        member = self._archive.getinfo(place)
        return f"{member.CRC:08x}:{member.file_size}"


class ChosenPictures:
    """Some of a source's pictures."""

    def __init__(self, source: PictureSource, items: list[PictureItem]) -> None:
        self._source = source
        self.items = items

    def read(self, item: PictureItem) -> bytes:
        """The picture's bytes."""
        return self._source.read(item)


class JoinedSources:
    """Several sources as one. Nobody in one of them is anybody in another: keys and subjects begin with the source's own name.

    So people who are in two of them are taken for two, and a split of all is another one than that of each.
    """

    def __init__(self, sources: Mapping[str, PictureSource]) -> None:
        """By name. Raises `SourceError` where some say who is on their pictures and others do not."""
        self.items: list[PictureItem] = []
        self._own: dict[str, tuple[PictureSource, PictureItem]] = {}
        unknown = [name for name, source in sources.items() if not source.items[0].subject]
        if 0 < len(unknown) < len(sources):
            raise SourceError(
                f"{unknown[0]} does not say who is on its pictures, as the others do; leave it out, or label it"
            )
        labels = dict.fromkeys((label for source in sources.values() for label in source.items[0].labels), "")
        tells_modalities = any(item.modality for source in sources.values() for item in source.items)
        for name, source in sources.items():
            # A set that tells no modalities is of photos, also beside one that does.
            is_of_photos = tells_modalities and not any(item.modality for item in source.items)
            for item in source.items:
                joined = replace(
                    item,
                    key=f"{name}/{item.key}",
                    subject=item.subject and f"{name}/{item.subject}",
                    modality=PHOTO if is_of_photos else item.modality,
                    labels=labels | item.labels,
                )
                self.items.append(joined)
                self._own[joined.key] = source, item

    def read(self, item: PictureItem) -> bytes:
        """The picture's bytes. Raises `SourceError`."""
        source, own = self._own[item.key]
        return source.read(own)


def open_sources(paths: Sequence[Path]) -> PictureSource:
    """Open one source as it is, or several as one. Raises `SourceError`."""
    if len(paths) == 1:
        return open_source(paths[0])
    sources: dict[str, PictureSource] = {}
    for path in paths:
        name = _name_of(path)
        if name in sources:
            raise SourceError(f"two of the sources are named {name!r}, which pictures are told apart by; rename one")
        sources[name] = open_source(path)
    return JoinedSources(sources)


def _name_of(path: Path) -> str:
    """What pictures of a source are told apart by: its file's or folder's name, or its folder's where it is just a list.

    >>> _name_of(Path("sets/faces.zip")), _name_of(Path("sets/faces.v2/")), _name_of(Path("sets/faces/labels.csv"))
    ('faces', 'faces.v2', 'faces')
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - what a link is named counts, not what it leads to.
    if whole.name == LABELS:
        return whole.parent.name
    return whole.stem if whole.suffix.lower() in {".zip", ".csv"} else whole.name


def open_source(path: Path) -> PictureSource:
    """Open a folder, a `.zip` or a `.csv` (whose picture paths are relative to it). Raises `SourceError`."""
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    if path.is_dir():
        source: PictureSource = FolderSource(path)
    elif path.suffix.lower() == ".zip":
        source = ZipSource(path)
    elif path.suffix.lower() == ".csv":
        source = FolderSource(path.parent, listing=path)
    else:
        raise SourceError(f"{path}: give a folder, a .zip archive or a .csv list of pictures")
    if not source.items:
        raise SourceError(f"{path}: holds no pictures (JPEG, PNG, WebP or BMP)")
    return source


def _items_from_places(places: Iterable[str], what: str) -> list[PictureItem]:
    pictures = sorted(place for place in places if PurePosixPath(place).suffix.lower() in PICTURE_SUFFIXES)
    folders = {PurePosixPath(place).parent for place in pictures}
    # One folder around everything, or pictures beside the folders, say nothing of who is on them.
    tells = len(folders) > 1 and PurePosixPath() not in folders
    is_unique = len({folder.name for folder in folders}) == len(folders)
    subject_of = {folder: (folder.name if is_unique else folder.as_posix()) if tells else "" for folder in folders}
    items = [PictureItem(place, place, subject=subject_of[PurePosixPath(place).parent]) for place in pictures]
    if not items:
        raise SourceError(f"{what}: holds no pictures (JPEG, PNG, WebP or BMP)")
    for before, place in itertools.pairwise(pictures):
        if place == before:
            raise SourceError(f"{what}: holds {place!r} more than once")
    for place in pictures:
        if not is_unicode(place):
            raise SourceError(f"{what}: the name {place!a} is not UTF-8; rename it")
    return items


def _items_from_csv(text: str, *, prefix: str, what: str) -> list[PictureItem]:
    try:
        return _items_from_rows(csv.DictReader(io.StringIO(text, newline="")), prefix=prefix, what=what)
    except csv.Error as failure:
        raise SourceError(f"{what}: not a CSV file ({failure})") from None


def _items_from_rows(reader: "csv.DictReader[str]", *, prefix: str, what: str) -> list[PictureItem]:
    header = reader.fieldnames or ()
    if "image" not in header:
        raise SourceError(f"{what}: needs a header line with a column 'image'")
    if len(set(header)) != len(header) or any(name != name.strip() or not name for name in header):
        raise SourceError(f"{what}: the header must name every column once, without spaces around the names")
    if TRANSLATED_BY in header:
        raise SourceError(
            f"{what}: the column {TRANSLATED_BY!r} is reserved for features that a translator made; rename it"
        )
    items: list[PictureItem] = []
    seen: set[str] = set()
    for line, row in enumerate(reader, start=2):
        key = row["image"] or ""
        if None in row or None in row.values():
            raise SourceError(f"{what}: line {line} has not as many fields as the header")
        if not key or key in seen or key.startswith("/") or ".." in PurePosixPath(key).parts:
            raise SourceError(f"{what}: line {line}: 'image' must be a relative path, given once")
        seen.add(key)
        labels = {k: v for k, v in row.items() if k not in ("image", "subject", "modality", "landmarks")}
        landmarks = _landmarks(row.get("landmarks", ""), f"{what}: line {line}")
        items.append(PictureItem(key, prefix + key, row.get("subject", ""), row.get("modality", ""), labels, landmarks))
    num_unknown = sum(item.subject == "" for item in items)
    if 0 < num_unknown < len(items):
        raise SourceError(f"{what}: {num_unknown} of {len(items)} subjects are empty; name all of them or none")
    return items


def _stamped(items: list[PictureItem], stamp: Callable[[str], str]) -> list[PictureItem]:
    return [replace(item, stamp=stamp(item.place)) for item in items]


def is_unicode(text: str) -> bool:
    """Names that are not UTF-8 come from the file system as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _landmarks(text: str, what: str) -> Landmarks | None:
    if not text:
        return None
    try:
        numbers = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 10:
        raise SourceError(f"{what}: 'landmarks' must hold ten numbers, x and y of five points")
    return list(zip(numbers[0::2], numbers[1::2], strict=True))


def _check_listed(items: list[PictureItem], exists: Callable[[str], bool], what: str) -> None:
    missing = [item.key for item in items if not exists(item.place)]
    if missing:
        raise SourceError(f"{what}: {len(missing)} of {len(items)} pictures are not there, {missing[0]!r} first")
