"""What the operator's commands read and print."""

import sys
from pathlib import Path

from rich.console import Console

from models.errors import FeatureSetError
from models.feature_set import FeatureSet, read_npz
from models.parquet import read_parquet

_WIDTH = 160
"""Of a line where nobody looks at a terminal."""


def read_feature_set(path: Path) -> FeatureSet:
    """A feature set by its ending, .npz or .parquet. Raises `FeatureSetError`, `OSError`."""
    if path.suffix not in (".npz", ".parquet"):
        raise FeatureSetError(f"{path}: a feature set ends in .npz or .parquet")
    read = read_npz if path.suffix == ".npz" else read_parquet
    return read(path.read_bytes(), what=str(path))


def console() -> Console:
    """Of stdout as it is now."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
