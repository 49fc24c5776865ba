"""Feature sets on disk: `.npz` or `.parquet`, chosen by the name's ending; both checked by `FeatureSet.build`."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from models.documents import canonical_json
from models.errors import ContractError, FeatureSetError
from models.feature_set import FeatureSet, read_npz, write_npz
from models.space import parse_space

_SPACE_KEY = b"facebridge.space"


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
        return read_npz(path.read_bytes(), what=str(path)) if path.suffix == ".npz" else _read_parquet(path)
    except OSError as failure:
        raise FeatureSetError(f"{path}: cannot be read ({failure.strerror or type(failure).__name__})") from None


def save_feature_set(feature_set: FeatureSet, path: Path) -> None:
    """Write a feature set, whole or not at all. Raises `FeatureSetError`."""
    check_feature_set_path(path)
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz":
            draft.write_bytes(write_npz(feature_set))
        else:
            _write_parquet(feature_set, draft)
        os.replace(draft, path)  # noqa: PTH105  (the name says atomic)
    except OSError as failure:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise FeatureSetError(f"{path}: cannot be written ({failure.strerror or failure})") from None


def _read_parquet(path: Path) -> FeatureSet:
    what = str(path)
    data = path.read_bytes()
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        columns = {name: _column(column, name, what) for name, column in _named_columns(table, what)}
    except FeatureSetError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise FeatureSetError(f"{what}: not a complete Parquet file; write it again") from None
    space_text = (table.schema.metadata or {}).get(_SPACE_KEY)
    if space_text is None:
        raise FeatureSetError(f"{what}: its metadata lacks the key {_SPACE_KEY.decode()!r} with the space as JSON")
    try:
        space = parse_space(space_text)
    except ContractError as failure:
        raise FeatureSetError(f"{what}: {failure}") from None
    return FeatureSet.build(space, columns, what=what)


def _named_columns(table: pa.Table, what: str) -> list[tuple[str, pa.ChunkedArray]]:
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FeatureSetError(f"{what}: column {twice[0]!r} is there more than once")
    return list(zip(names, table.columns, strict=True))


def _column(column: pa.ChunkedArray, name: str, what: str) -> npt.NDArray[Any]:
    if column.null_count and name != "norm":
        raise FeatureSetError(f"{what}: column {name!r} has empty entries")
    if name == "norm" and pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if name != "feature":
        values = column.to_numpy(zero_copy_only=False)
        return np.asarray(values, dtype=np.str_) if values.dtype == object else values
    combined = column.combine_chunks()
    if pa.types.is_list(combined.type) or pa.types.is_large_list(combined.type):
        lengths = np.unique(combined.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise FeatureSetError(f"{what}: column 'feature' has rows of different lengths")
    elif not pa.types.is_fixed_size_list(combined.type):
        raise FeatureSetError(f"{what}: column 'feature' must hold lists of numbers")
    values = combined.flatten().to_numpy(zero_copy_only=False)
    rows: npt.NDArray[Any] = values.reshape(len(combined), -1) if len(combined) else values.reshape(0, 0)
    return rows


def _write_parquet(feature_set: FeatureSet, path: Path) -> None:
    columns = feature_set.columns()
    feature = columns.pop("feature")
    flat = pa.array(np.ascontiguousarray(feature).reshape(-1))
    arrays = {"feature": pa.FixedSizeListArray.from_arrays(flat, feature.shape[1])}
    arrays |= {
        name: pa.array(column.tolist() if column.dtype.kind == "U" else column) for name, column in columns.items()
    }
    space = canonical_json(feature_set.space.to_json())
    pq.write_table(pa.table(arrays).replace_schema_metadata({_SPACE_KEY: space}), path, write_page_checksum=True)
