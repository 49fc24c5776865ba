from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data.layouts.listing import Listing
from training.data.layouts.writing import check_place, write_listing
from training.data.protocols import PairList, RoleList, read_pairs, read_roles
from training.data.sources import PictureItem, open_source
from training.errors import SourceError

POINTS = [(1.0, 2.5), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.126)]
ITEMS = [
    PictureItem("a, b.png", "a, b.png", "Ann", "photo", {"part": "x"}, POINTS),
    PictureItem("c/ü.png", "c/ü.png", "Ann", "sketch", {"part": "y"}),
]
LISTING = Listing(ITEMS, {"a, b.png": "gallery", "c/ü.png": "probe"})
FURTHER = Listing(
    ITEMS,
    LISTING.role,
    {
        "roles-x.csv": RoleList(("a, b.png", "c/ü.png"), np.array([True, False]), np.array([0, 7])),
        "pairs.csv": PairList(
            ("c/ü.png", "a, b.png"), ("a, b.png", "c/ü.png"), np.array([True, False]), np.array([2, 9])
        ),
        "train-1.csv": ITEMS[1:],
    },
)


def test_what_is_written_is_read_as_it_was(unpacked: Callable[..., Path]) -> None:
    folder = unpacked("a, b.png", "c/ü.png")
    labels, roles = folder.parent / "labels.csv", folder.parent / "roles.csv"
    write_listing(LISTING, labels, roles, check_place(labels, folder))
    one, two = open_source(labels).items
    assert (one.key, one.subject, one.modality, one.labels) == ("set/a, b.png", "Ann", "photo", {"part": "x"})
    assert one.landmarks == [*POINTS[:-1], (9.0, 10.13)]
    assert (two.key, two.landmarks) == ("set/c/ü.png", None)
    asked = read_roles(roles)
    assert (asked.image, asked.is_probe_N.tolist()) == (("set/a, b.png", "set/c/ü.png"), [False, True])


def test_paths_are_relative_to_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_place(tmp_path / "labels.csv", tmp_path) == ""
    assert check_place(tmp_path / "labels.csv", tmp_path / "a" / "b") == "a/b/"
    monkeypatch.chdir(tmp_path)
    assert check_place(Path("labels.csv"), Path("a")) == "a/"
    for out in (tmp_path / "a" / "labels.csv", tmp_path / "other" / "labels.csv"):
        with pytest.raises(SourceError, match=r"must lie in .+ or in a folder around it"):
            check_place(out, tmp_path)


def test_both_lists_are_written_or_none_and_nothing_is_overwritten(tmp_path: Path) -> None:
    labels, roles = tmp_path / "labels.csv", tmp_path / "roles.csv"
    roles.write_text("mine")
    with pytest.raises(SourceError, match=r"roles\.csv: is there already"):
        write_listing(LISTING, labels, roles, "")
    assert (labels.exists(), roles.read_text()) == (False, "mine")
    with pytest.raises(SourceError, match="cannot be written"):
        write_listing(LISTING, tmp_path / "none" / "labels.csv", roles, "")


def test_a_data_set_without_roles_has_one_list(tmp_path: Path) -> None:
    write_listing(Listing(ITEMS, {}), tmp_path / "labels.csv", None, "")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_further_lists_lie_beside_the_list_of_pictures_and_are_read_as_they_were(unpacked: Callable[..., Path]) -> None:
    folder = unpacked("a, b.png", "c/ü.png")
    labels, roles = folder.parent / "labels.csv", folder / "roles.csv"
    write_listing(FURTHER, labels, roles, check_place(labels, folder))
    asked = read_roles(folder.parent / "roles-x.csv")
    assert asked.image == ("set/a, b.png", "set/c/ü.png")
    assert (asked.is_probe_N.tolist(), asked.fold_N.tolist()) == ([True, False], [0, 7])
    pairs = read_pairs(folder.parent / "pairs.csv")
    assert (pairs.a, pairs.b) == (("set/c/ü.png", "set/a, b.png"), ("set/a, b.png", "set/c/ü.png"))
    assert (pairs.is_same_N.tolist(), pairs.fold_N.tolist()) == ([True, False], [2, 9])
    whole, (trained,) = open_source(labels).items, open_source(folder.parent / "train-1.csv").items
    assert trained == whole[1]
    assert read_roles(roles).image == ("set/a, b.png", "set/c/ü.png")


@pytest.mark.parametrize("taken", list(FURTHER.lists))
def test_where_one_of_the_further_lists_is_there_already_nothing_is_written(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(SourceError, match=rf"{taken}: is there already"):
        write_listing(FURTHER, tmp_path / "labels.csv", tmp_path / "roles.csv", "")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_a_list_that_breaks_off_is_not_left_behind(tmp_path: Path) -> None:
    short = RoleList(("a, b.png", "c/ü.png"), np.array([True]), np.array([0]))
    with pytest.raises(ValueError, match="shorter"):
        write_listing(
            Listing(ITEMS, LISTING.role, {"roles-x.csv": short}), tmp_path / "labels.csv", tmp_path / "roles.csv", ""
        )
    assert list(tmp_path.iterdir()) == []
