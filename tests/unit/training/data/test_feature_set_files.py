import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.documents import canonical_json
from models.errors import FeatureSetError
from models.feature_set import FeatureSet
from models.features import unit_features
from models.space import Space
from training.data.feature_set_files import check_feature_set_path, load_feature_set, save_feature_set

MakeSet = Callable[..., FeatureSet]

SPACE = Space("a", 3, "external:a")
FEATURES = [[1.0, 0.0, 0.0], [0.0, 0.6, 0.8], [2.0, 0.0, 0.0]]
METADATA = {b"facebridge.space": canonical_json(SPACE.to_json())}


def refused(path: Path, match: str) -> None:
    with pytest.raises(FeatureSetError, match=match) as failure:
        load_feature_set(path)
    message = str(failure.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def table(**changes: Any) -> pa.Table:
    """A set as pandas or Spark would write it: lists of doubles, and the space in the metadata."""
    columns: dict[str, Any] = {"feature": pa.array(FEATURES), "image": ["x", "y", "z"], "subject": ["p", "p", "q"]}
    columns |= changes
    return pa.table({name: column for name, column in columns.items() if column is not None}).replace_schema_metadata(
        METADATA
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.parquet"


def with_extras(plain: FeatureSet) -> FeatureSet:
    num = len(plain)
    extras = {
        "modality": np.array(["photo", "sketch"] * (num // 2)),
        "label_age": np.arange(num),
        "label_smile": np.linspace(0, 1, num),
        "label_glasses": np.arange(num) % 2 == 0,
        "label_hair": np.array([f"Farbe {i} ö" for i in range(num)]),
    }
    return FeatureSet.build(plain.space, plain.columns() | extras)


def test_a_norm_that_is_not_known_may_be_empty(path: Path, feature_set: MakeSet) -> None:
    plain = feature_set()
    unit = FeatureSet.build(plain.space, plain.columns() | {"feature": plain.feature})
    save_feature_set(unit, path)
    table = pq.read_table(path)
    norm = pa.array([None, 3.0, None, 4.0, 5.0, 6.0], pa.float32())
    place = table.column_names.index("norm")
    pq.write_table(table.set_column(place, "norm", norm), path)
    assert np.array_equal(load_feature_set(path).norms, [np.nan, 3, np.nan, 4, 5, 6], equal_nan=True)
    pq.write_table(table.set_column(place, "norm", pa.nulls(6)), path)
    assert load_feature_set(path).norm is None


@pytest.mark.parametrize("ending", ["npz", "parquet"])
@pytest.mark.parametrize("subjects", [True, False])
def test_a_set_comes_back_to_the_bit(tmp_path: Path, feature_set: MakeSet, ending: str, subjects: bool) -> None:
    written = with_extras(feature_set(subjects=subjects))
    path = tmp_path / "new" / "folder" / f"set.{ending}"
    save_feature_set(written, path)
    read = load_feature_set(path)
    assert read.digest == written.digest
    assert read.space == written.space
    assert read.has_subjects is subjects
    assert read.columns().keys() == written.columns().keys()
    for name, column in written.columns().items():
        assert read.columns()[name].tolist() == column.tolist(), name
        assert read.columns()[name].dtype.kind == column.dtype.kind, name
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_npz_and_parquet_turn_into_each_other(tmp_path: Path, feature_set: MakeSet) -> None:
    first = with_extras(feature_set())
    paths = [tmp_path / name for name in ("1.npz", "2.parquet", "3.npz", "4.parquet")]
    save_feature_set(first, paths[0])
    for before, after in itertools.pairwise(paths):
        save_feature_set(load_feature_set(before), after)
    assert paths[2].read_bytes() == paths[0].read_bytes()
    assert paths[3].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    "column",
    [
        pa.array(FEATURES),
        pa.array(FEATURES, type=pa.list_(pa.float32())),
        pa.array(FEATURES, type=pa.large_list(pa.float64())),
        pa.array(FEATURES, type=pa.list_(pa.float64(), 3)),
        pa.chunked_array([pa.array(FEATURES[:1]), pa.array(FEATURES[1:])]),
        pa.array([[9.0, 9.0, 9.0], *FEATURES])[1:],
    ],
    ids=["list", "float32", "large list", "fixed", "chunks", "slice"],
)
def test_features_of_other_writers_are_read_and_brought_to_length_one(path: Path, column: Any) -> None:
    pq.write_table(table(feature=column), path)
    read = load_feature_set(path)
    assert read.feature.dtype == np.float32
    np.testing.assert_array_equal(read.feature, unit_features(np.array(FEATURES)))
    assert read.image.tolist() == ["x", "y", "z"]


def test_text_columns_of_other_writers_are_read(path: Path) -> None:
    subject = pa.array(["p", "p", "q"]).dictionary_encode()
    pq.write_table(table(subject=subject, image=pa.array(["x", "y", "z"], type=pa.large_string())), path)
    read = load_feature_set(path)
    assert (read.subject.tolist(), read.image.tolist()) == (["p", "p", "q"], ["x", "y", "z"])


def test_names_of_folders_are_not_taken_for_columns(tmp_path: Path, feature_set: MakeSet) -> None:
    path = tmp_path / "subject=bob" / "year=2024" / "set.parquet"
    save_feature_set(feature_set(), path)
    assert load_feature_set(path).subject.tolist() == feature_set().subject.tolist()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"feature": None}, "column 'feature' is missing"),
        ({"image": None}, "column 'image' is missing"),
        ({"subject": None}, "column 'subject' is missing"),
        ({"other": [1, 2, 3]}, "unknown column 'other'"),
        ({"subject": ["p", None, "q"]}, "column 'subject' has empty entries"),
        ({"feature": [[1.0, 0, 0], None, [0, 1.0, 0]]}, "column 'feature' has empty entries"),
        ({"feature": [[1.0, 0, 0], [None, 1.0, 0], [0, 1.0, 0]]}, "1 holds NaN"),
        ({"feature": [[1.0, 0, 0], [1.0, 0], [0, 1.0, 0]]}, "rows of different lengths"),
        ({"feature": [[1.0, 0], [1.0, 0], [0, 1.0]]}, "features have 2 numbers, its space 'a' says 3"),
        ({"feature": [[], [], []]}, "feature"),
        ({"feature": [1.0, 2.0, 3.0]}, "must hold lists of numbers"),
        ({"feature": [["1", "0", "0"]] * 3}, "float array"),
        ({"feature": [[1, 0, 0]] * 3}, "float array"),
        ({"feature": [[0.0, 0.0, 0.0]] * 3}, "0 is a zero vector"),
        ({"feature": [[1.0, 0, float("inf")]] * 3}, "0 holds NaN or infinity"),
        ({"image": ["x", "x", "z"]}, "1 image keys occur more than once, 'x' first"),
        ({"image": ["x", "", "z"]}, "image 1 has no key"),
        ({"subject": ["p", "", "q"]}, "1 of 3 subjects are empty"),
        ({"subject": [1, 1, 2]}, "column 'subject' must hold text"),
    ],
)
def test_a_wrong_table_is_refused(path: Path, changes: dict[str, Any], match: str) -> None:
    pq.write_table(table(**changes), path)
    refused(path, match)


def test_a_table_without_rows_is_refused(path: Path) -> None:
    pq.write_table(table().slice(0, 0), path)
    refused(path, "it holds no features")


def test_a_column_twice_is_refused(path: Path) -> None:
    whole = table()
    doubled = pa.Table.from_arrays([*whole.columns, whole.column("image")], [*whole.column_names, "image"])
    pq.write_table(doubled.replace_schema_metadata(METADATA), path)
    refused(path, "column 'image' is there more than once")


def test_a_table_without_its_space_is_refused(path: Path) -> None:
    pq.write_table(table().replace_schema_metadata(None), path)
    refused(path, "metadata lacks the key 'facebridge.space'")


def test_a_table_whose_space_is_no_space_is_refused(path: Path) -> None:
    pq.write_table(table().replace_schema_metadata({b"facebridge.space": json.dumps({"name": "a"}).encode()}), path)
    refused(path, "space: Field required")


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_every_truncation_is_refused(tmp_path: Path, feature_set: MakeSet, ending: str) -> None:
    path = tmp_path / f"set.{ending}"
    save_feature_set(feature_set(), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 11):
        path.write_bytes(whole[:length])
        refused(path, "not a complete")


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_flipped_bit_is_refused_or_changes_no_feature(tmp_path: Path, feature_set: MakeSet, ending: str) -> None:
    path = tmp_path / f"set.{ending}"
    written = feature_set(num=20)
    save_feature_set(written, path)
    whole = path.read_bytes()
    num_refused = 0
    for place in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(flipped))
        try:
            read = load_feature_set(path)
        except FeatureSetError:
            num_refused += 1
            continue
        np.testing.assert_array_equal(read.feature, written.feature)
        assert read.image.tolist() == written.image.tolist()
    assert num_refused > len(whole) / 5 / 4


@pytest.mark.parametrize("name", ["set", "set.csv", "set.NPZ", "set.npz.gz"])
def test_a_name_of_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FeatureSetError, match=r"ends in \.npz or \.parquet"):
        check_feature_set_path(tmp_path / name)


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, ending: str) -> None:
    refused(tmp_path / f"set.{ending}", "cannot be read .No such file")


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_folder_is_no_feature_set(tmp_path: Path, feature_set: MakeSet, ending: str) -> None:
    path = tmp_path / f"set.{ending}"
    path.mkdir()
    refused(path, "is a folder")
    with pytest.raises(FeatureSetError, match="is a folder"):
        save_feature_set(feature_set(), path)


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_set_that_cannot_be_written_leaves_the_old_one_and_no_draft(
    tmp_path: Path, feature_set: MakeSet, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"set.{ending}"
    save_feature_set(feature_set(), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.data.feature_set_files.os.replace", full)
    with pytest.raises(FeatureSetError, match=r"cannot be written .No space left on device"):
        save_feature_set(feature_set(seed=1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path, feature_set: MakeSet) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FeatureSetError, match="cannot be written"):
        save_feature_set(feature_set(), tmp_path / "file" / "set.npz")
