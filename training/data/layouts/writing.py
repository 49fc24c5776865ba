"""The two files of a listing: `labels.csv`, which every command takes for pictures, and `roles.csv` for `evaluate --roles`."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.data.layouts.listing import Listing
from training.data.sources import is_unicode
from training.errors import SourceError


def check_place(out: Path, folder: Path) -> str:
    """What stands before a picture's path below `folder` in a list at `out`: nothing, or folders and a slash.

    Paths in a list are relative to the list, and never lead up. Raises `SourceError` where it lies neither in `folder` nor in
    one around it.
    """
    way = os.path.relpath(Path(folder).absolute(), Path(out).absolute().parent)
    if way == os.curdir:
        return ""
    if Path(way).parts[0] == os.pardir:
        raise SourceError(
            f"{out}: must lie in {folder} or in a folder around it, as its paths are relative to where it lies"
        )
    if not is_unicode(way):
        raise SourceError(f"{out}: the name {way!a} is not UTF-8; rename it")
    return Path(way).as_posix() + "/"


def write_listing(listing: Listing, labels: Path, roles: Path, prefix: str) -> None:
    """Write both, with `prefix` before every key, or neither. Raises `SourceError`, also where one is there already."""
    extra = list(listing.items[0].labels)
    rows = [
        [prefix + item.key, item.subject, item.modality, _text(item.landmarks), *(item.labels[name] for name in extra)]
        for item in listing.items
    ]
    _write(labels, ["image", "subject", "modality", "landmarks", *extra], rows)
    try:
        _write(roles, ["image", "role"], [[prefix + key, role] for key, role in listing.role.items()])
    except SourceError:
        labels.unlink()
        raise


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    except FileExistsError:
        raise SourceError(f"{path}: is there already; give another name, or move it away") from None
    except OSError as failure:
        raise SourceError(f"{path}: cannot be written ({failure.strerror})") from None


def _text(landmarks: Sequence[tuple[float, float]] | None) -> str:
    return " ".join(f"{number:.2f}" for point in landmarks or () for number in point)
