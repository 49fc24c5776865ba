"""Lists of comparisons that a published protocol asks for, by the keys of pictures.

Shapes: N comparisons.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from training.errors import SourceError


@dataclass(frozen=True, slots=True)
class PairList:
    """Two pictures each, whether they are of one person, and the fold that the comparison belongs to."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    is_same_N: npt.NDArray[np.bool_]
    fold_N: npt.NDArray[np.int64]

    def of_fold(self, fold: int | None) -> "PairList":
        """Those of one fold; of None all. Raises `SourceError` where it has none."""
        rows = _rows_of(self.fold_N, fold)
        a, b = (tuple(side[row] for row in rows) for side in (self.a, self.b))
        return PairList(a, b, self.is_same_N[rows], self.fold_N[rows])


def read_pairs(path: Path) -> PairList:
    """A `.csv` with the columns `a`, `b`, `same` (0 or 1) and perhaps `fold`, or a file like LFW's `pairs.txt`.

    Source: Huang et al., Labeled Faces in the Wild (2007), view 2: a line `folds pairs`, then of each fold the matched pairs
    (`name n1 n2`) and as many mismatched ones (`name1 n1 name2 n2`); `pairsDevTest.txt` has one fold and no first number.

    Raises `SourceError` for a file that cannot be read, or a line that is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        raise SourceError(f"{path}: cannot be read ({failure})") from None
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _lfw_rows(path, text)
    if not rows:
        raise SourceError(f"{path}: has no pairs")
    a, b, same, fold = zip(*rows, strict=True)
    return PairList(a, b, np.array(same, dtype=bool), np.array(fold, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class RoleList:
    """Pictures, and in each fold whether they are asked about or in the gallery. Shapes: N entries."""

    image: tuple[str, ...]
    is_probe_N: npt.NDArray[np.bool_]
    fold_N: npt.NDArray[np.int64]

    def of_fold(self, fold: int | None) -> "RoleList":
        """Those of one fold; of None all. Raises `SourceError` where it has none."""
        rows = _rows_of(self.fold_N, fold)
        return RoleList(tuple(self.image[row] for row in rows), self.is_probe_N[rows], self.fold_N[rows])


def read_roles(path: Path) -> RoleList:
    """A `.csv` with the columns `image`, `role` (gallery or probe) and perhaps `fold`. Raises `SourceError` naming the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        raise SourceError(f"{path}: cannot be read ({failure})") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not {"image", "role"} <= set(reader.fieldnames or ()):
        raise SourceError(f"{path}: needs a header line with the columns image and role")
    image, is_probe, fold = [], [], []
    for line, row in numbered(path, reader):
        if row["role"] not in ("gallery", "probe") or not row["image"]:
            raise SourceError(f"{path}, line {line}: give a picture, and gallery or probe")
        image.append(row["image"])
        is_probe.append(row["role"] == "probe")
        fold.append(_number(path, line, row.get("fold") or "0"))
    if not image:
        raise SourceError(f"{path}: has no pictures")
    return RoleList(tuple(image), np.array(is_probe), np.array(fold, dtype=np.int64))


def roles_by_modality(image: Sequence[str], modality: Sequence[str], probe: str, gallery: str) -> RoleList:
    """All pictures of one modality asked about among all of another: C2P for `caricature` and `photo`, P2C the other way.

    Source: Huo et al., WebCaricature (BMVC 2018), caricature to photo and photo to caricature identification.
    """
    rows = [row for row, of in enumerate(modality) if of in (probe, gallery)]
    is_probe_N = np.array([modality[row] == probe for row in rows], dtype=bool)
    return RoleList(tuple(image[row] for row in rows), is_probe_N, np.zeros(len(rows), dtype=np.int64))


def find_rows(image: Iterable[str], keys: Iterable[str]) -> npt.NDArray[np.int64]:
    """The row of each key among `image`, -1 where it is not there. A key may lie in folders of other folders, or in none, and
    have another suffix, if that is clear.
    """
    names = list(image)
    by_key: dict[str, int] = {}
    by_stem: dict[str, list[int]] = {}
    for row, key in enumerate(names):
        by_key[key] = row
        by_stem.setdefault(PurePosixPath(key).stem, []).append(row)
    rows = []
    for key in keys:
        alike = by_stem.get(PurePosixPath(key).stem, [])
        is_clear = len(alike) == 1 and _may_be_in(key, names[alike[0]])
        rows.append(by_key.get(key, alike[0] if is_clear else -1))
    return np.array(rows, dtype=np.int64)


def _may_be_in(key: str, other: str) -> bool:
    """Whether both lie in a folder of one name, as pictures of two people may have one name, or one of them in none."""
    parents = [PurePosixPath(one).parent.name for one in (key, other)]
    return parents[0] == parents[1] or "" in parents


def _rows_of(fold_N: npt.NDArray[np.int64], fold: int | None) -> npt.NDArray[np.int64]:
    if fold is None:
        return np.arange(len(fold_N))
    rows = np.flatnonzero(fold_N == fold)
    if not len(rows):
        raise SourceError(f"fold {fold} is not in the list; there are {', '.join(map(str, np.unique(fold_N)))}")
    return rows


def numbered(path: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table, each with the line that it ends on. Raises `SourceError` for what is none."""
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as failure:
        raise SourceError(f"{path}, line {reader.line_num + 1}: cannot be read ({failure})") from None


_Row = tuple[str, str, bool, int]


def _csv_rows(path: Path, text: str) -> list[_Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not {"a", "b", "same"} <= set(reader.fieldnames or ()):
        raise SourceError(f"{path}: needs a header line with the columns a, b and same")
    rows = []
    for line, row in numbered(path, reader):
        if row["same"] not in ("0", "1") or not row["a"] or not row["b"]:
            raise SourceError(f"{path}, line {line}: give two pictures, and 1 or 0 for whether they are of one person")
        rows.append((row["a"], row["b"], row["same"] == "1", _number(path, line, row.get("fold") or "0")))
    return rows


def _lfw_rows(path: Path, text: str) -> list[_Row]:
    lines = text.splitlines()
    head = lines[0].split() if lines else []
    if len(head) not in (1, 2):
        raise SourceError(f"{path}, line 1: give the number of folds and of pairs, as LFW's pairs.txt does")
    num_pairs = _number(path, 1, head[-1])
    num_folds = _number(path, 1, head[0]) if len(head) == 2 else 1
    if len(lines) < 1 + 2 * num_pairs * num_folds or num_pairs == 0:
        raise SourceError(
            f"{path}: announces {num_folds} x 2 x {num_pairs} pairs, and has {len(lines) - 1} lines of them"
        )
    rows = []
    for place in range(2 * num_pairs * num_folds):
        line, is_same = place + 2, place // num_pairs % 2 == 0
        words = lines[place + 1].split("\t") if "\t" in lines[place + 1] else lines[place + 1].split()
        if len(words) != (3 if is_same else 4):
            raise SourceError(f"{path}, line {line}: not a {'matched' if is_same else 'mismatched'} pair")
        one, other = (words[:2], [words[0], words[2]]) if is_same else (words[:2], words[2:])
        keys = [f"{name}_{_number(path, line, number):04d}" for name, number in (one, other)]
        rows.append((keys[0], keys[1], is_same, place // (2 * num_pairs)))
    return rows


def _number(path: Path, line: int, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SourceError(f"{path}, line {line}: {text[:40]!a} is no number")
    return int(text)
