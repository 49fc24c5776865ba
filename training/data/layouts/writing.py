"""The files of a listing: `labels.csv`, which every command takes for pictures, `roles.csv` for `evaluate --roles`, and others
that a data set's own protocols ask for.
"""

import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from training.data.layouts.listing import FurtherList, Listing
from training.data.protocols import PairList, RoleList
from training.data.sources import PictureItem, is_unicode
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


def write_listing(listing: Listing, labels: Path, roles: Path | None, prefix: str) -> None:
    """Write both, and the further lists beside `labels`, with `prefix` before every key; or none of them.

    No roles are written where `roles` is None. Raises `SourceError`, also where one is there already.
    """
    role_rows = ([prefix + key, role] for key, role in listing.role.items())
    tables = [
        (labels, *_pictures(listing.items, prefix)),
        *([] if roles is None else [(roles, ["image", "role"], role_rows)]),
        *((labels.with_name(name), *_table(further, prefix)) for name, further in listing.lists.items()),
    ]
    with ExitStack() as written:
        for path, header, rows in tables:
            _write(path, header, rows, written)
        written.pop_all()


_Table = tuple[list[str], Iterable[Sequence[str]]]


def _table(further: FurtherList, prefix: str) -> _Table:
    """The header and the rows that `training.data.protocols` or `training.data.sources` reads again."""
    match further:
        case PairList():
            pairs = zip(further.a, further.b, further.is_same_N.tolist(), further.fold_N.tolist(), strict=True)
            return ["a", "b", "same", "fold"], (
                [prefix + a, prefix + b, str(int(same)), str(fold)] for a, b, same, fold in pairs
            )
        case RoleList():
            roles = zip(further.image, further.is_probe_N.tolist(), further.fold_N.tolist(), strict=True)
            return ["image", "role", "fold"], (
                [prefix + key, "probe" if is_probe else "gallery", str(fold)] for key, is_probe, fold in roles
            )
        case _:
            return _pictures(further, prefix)


def _pictures(items: Sequence[PictureItem], prefix: str) -> _Table:
    extra = list(items[0].labels)
    return ["image", "subject", "modality", "landmarks", *extra], (
        [prefix + item.key, item.subject, item.modality, _text(item.landmarks), *(item.labels[name] for name in extra)]
        for item in items
    )


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]], written: ExitStack) -> None:
    """A new file, which `written` deletes again."""
    try:
        with path.open("x", encoding="utf-8", newline="") as stream:
            written.callback(path.unlink, missing_ok=True)
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    except FileExistsError:
        raise SourceError(f"{path}: is there already; give another name, or move it away") from None
    except OSError as failure:
        raise SourceError(f"{path}: cannot be written ({failure.strerror})") from None


def _text(landmarks: Sequence[tuple[float, float]] | None) -> str:
    return " ".join(f"{number:.2f}" for point in landmarks or () for number in point)
