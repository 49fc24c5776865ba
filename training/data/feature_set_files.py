"""Feature sets on disk: `.npz` or `.parquet`, chosen by the name's ending; both checked by `FeatureSet.build`."""

import contextlib
import os
from pathlib import Path

from models.errors import FeatureSetError
from models.feature_set import FeatureSet, read_npz, write_npz
from models.parquet import read_parquet, write_parquet


def check_feature_set_path(path: Path, *, read_from: Path | None = None) -> None:
    """Raises `FeatureSetError` for a name that no feature set can have; call it before long work.

    With `read_from`, also where writing to `path` would overwrite the set that is being read.
    """
    if path.suffix not in (".npz", ".parquet"):
        raise FeatureSetError(f"{path}: a feature set ends in .npz or .parquet")
    if path.is_dir():
        raise FeatureSetError(f"{path}: is a folder, and a feature set is one file")
    if read_from is not None and path.exists() and read_from.exists() and path.samefile(read_from):
        raise FeatureSetError(f"{path}: is read and would be overwritten; give another name")


def load_feature_set(path: Path) -> FeatureSet:
    """Read and check a feature set. Raises `FeatureSetError` naming the file."""
    check_feature_set_path(path)
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise FeatureSetError(f"{path}: cannot be read ({failure.strerror or type(failure).__name__})") from None
    return read_npz(data, what=str(path)) if path.suffix == ".npz" else read_parquet(data, what=str(path))


def save_feature_set(feature_set: FeatureSet, path: Path) -> None:
    """Write a feature set, whole or not at all. Raises `FeatureSetError`."""
    check_feature_set_path(path)
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(write_npz(feature_set) if path.suffix == ".npz" else write_parquet(feature_set))
        os.replace(draft, path)  # noqa: PTH105  (the name says atomic)
    except OSError as failure:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise FeatureSetError(f"{path}: cannot be written ({failure.strerror or failure})") from None
