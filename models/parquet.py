"""Feature sets as Parquet: the same columns as `.npz`, the space in the file's metadata.

pyarrow is large, and reads files of strangers in C++: where those come from a network, run this module as a process of its own
(`python -m models.parquet MAX_BYTES`, Parquet in, `.npz` out), which may end without harm.
"""

import resource
import sys
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from models.documents import canonical_json
from models.errors import ContractError, FeatureSetError
from models.feature_set import FeatureSet, write_npz
from models.space import parse_space

_SPACE_KEY = b"facebridge.space"
_SPARE_BYTES = 1 << 30
"""Of address space, for pyarrow itself."""
_COPIES = 8
"""Of what a file may unpack to, while it is read."""


def read_parquet(data: bytes, *, what: str = "feature set", max_bytes: int = 8 << 30) -> FeatureSet:
    """Read a Parquet feature set that unpacks to at most `max_bytes`. Raises `FeatureSetError`."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
        if sum(group.total_byte_size for group in groups) > max_bytes:
            raise FeatureSetError(f"{what}: unpacks to more than {max_bytes} bytes")
        table = file.read()
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


def write_parquet(feature_set: FeatureSet) -> bytes:
    """The feature set as the bytes of a Parquet file."""
    columns = feature_set.columns()
    feature = columns.pop("feature")
    flat = pa.array(np.ascontiguousarray(feature).reshape(-1))
    arrays = {"feature": pa.FixedSizeListArray.from_arrays(flat, feature.shape[1])}
    arrays |= {
        name: pa.array(column.tolist() if column.dtype.kind == "U" else column) for name, column in columns.items()
    }
    space = canonical_json(feature_set.space.to_json())
    stream = BytesIO()
    pq.write_table(pa.table(arrays).replace_schema_metadata({_SPACE_KEY: space}), stream, write_page_checksum=True)
    return stream.getvalue()


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


def main() -> int:
    """Parquet from standard input to `.npz` on standard output; 2 and a reason on standard error where it is none."""
    max_bytes = int(sys.argv[1])
    limit = _COPIES * max_bytes + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        sys.stdout.buffer.write(write_npz(read_parquet(sys.stdin.buffer.read(), what="body", max_bytes=max_bytes)))
    except ContractError as failure:
        sys.stderr.write(str(failure))
        return 2
    except MemoryError:
        sys.stderr.write("body: takes more memory than it may")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
