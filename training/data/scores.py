"""Scores of comparisons that somebody else made, from a table. Shapes: N scores."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.documents import sha256_hex
from training.data.protocols import numbered
from training.errors import SourceError


@dataclass(frozen=True, slots=True)
class ScoreList:
    """Who is on either picture, and their score; genuine where both are the same."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    score_N: npt.NDArray[np.float32]
    digest: str
    """SHA-256 of the file."""


def read_scores(path: Path) -> ScoreList:
    """A `.csv` with the columns `a`, `b` and `score`, a cosine. Raises `SourceError` naming the line."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        raise SourceError(f"{path}: cannot be read ({failure})") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not {"a", "b", "score"} <= set(reader.fieldnames or ()):
        raise SourceError(f"{path}: needs a header line with the columns a, b and score")
    a, b, score = [], [], []
    for line, row in numbered(path, reader):
        if not row["a"] or not row["b"]:
            raise SourceError(f"{path}, line {line}: name the people on both pictures")
        a.append(row["a"])
        b.append(row["b"])
        score.append(_cosine(path, line, row["score"] or ""))
    if not a:
        raise SourceError(f"{path}: has no scores")
    return ScoreList(tuple(a), tuple(b), np.array(score, dtype=np.float32), sha256_hex(data))


def _cosine(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1.001 <= value <= 1.001:
        raise SourceError(f"{path}, line {line}: {text[:40]!a} is no cosine between -1 and 1")
    return value
