import os
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.folder import is_cropped, open_folder, stem
from training.errors import SourceError

Unpacked = Callable[..., Path]


def test_pictures_and_other_files_are_found_wherever_they_lie(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked("b/2.JPG", "1.png", **{"b/points/2.dat": "1 2", "readme.txt": "words"}))
    assert folder.pictures == ["1.png", "b/2.JPG"]
    assert folder.others == ["b/points/2.dat", "readme.txt"]
    assert folder.left_out == {}


def test_what_systems_leave_in_folders_is_passed_over(unpacked: Unpacked) -> None:
    litter = ["Thumbs.db", ".DS_Store", "a/._1.png", "__MACOSX/a/1.png", ".git/1.png", "a/desktop.ini"]
    folder = open_folder(unpacked("a/1.png", *litter))
    assert (folder.pictures, folder.others, folder.left_out) == (["a/1.png"], [], {})


def test_pictures_that_are_not_read_are_told(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked("1.png", "2.tif", "3.ppm.bz2"))
    assert folder.left_out == {"pictures that are neither JPEG, PNG, WebP nor BMP": ["2.tif", "3.ppm.bz2"]}


def test_links_out_of_the_folder_are_not_followed(
    unpacked: Unpacked, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    path = unpacked("1.png")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "9.png").write_bytes(picture())
    (path / "9.png").symlink_to(tmp_path / "outside" / "9.png")
    (path / "more").symlink_to(tmp_path / "outside")
    (path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (path / "round.png").symlink_to(path / "round.png")
    (path / "same.png").symlink_to(path / "1.png")
    folder = open_folder(path)
    assert folder.pictures == ["1.png", "same.png"]
    assert folder.left_out == {"links that lead to no file of this folder": ["9.png", "gone.png", "more", "round.png"]}


def test_the_folder_itself_may_be_a_link(unpacked: Unpacked, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(unpacked("1.png"))
    assert open_folder(tmp_path / "link").pictures == ["1.png"]


def test_a_name_that_is_not_utf_8_is_left_out_and_can_be_printed(
    unpacked: Unpacked, picture: Callable[..., bytes]
) -> None:
    path = unpacked("1.png")
    Path(os.fsdecode(os.fsencode(path) + b"/\xff.png")).write_bytes(picture())
    folder = open_folder(path)
    assert folder.pictures == ["1.png"]
    ((reason, (name,)),) = folder.left_out.items()
    assert (reason, name.isascii()) == ("files whose names are not UTF-8", True)


def test_an_archive_and_a_missing_folder_are_refused(unpacked: Unpacked) -> None:
    path = unpacked("1.png")
    with pytest.raises(SourceError, match="there is no such folder"):
        open_folder(path / "none")
    with pytest.raises(SourceError, match="is no folder; unpack"):
        open_folder(path / "1.png")


def test_one_picture_a_name_is_kept_and_a_copy_is_left_out(unpacked: Unpacked, picture: Callable[..., bytes]) -> None:
    folder = open_folder(unpacked("a.png", "c.png", **{"b.png": picture(0)}))
    found: dict[str, str] = {}
    folder.keep_one(found, "Ann", "a.png")
    folder.keep_one(found, "Ann", "b.png")
    assert (found, folder.left_out) == ({"Ann": "a.png"}, {"copies": ["b.png"]})
    with pytest.raises(SourceError, match=r"two pictures of Ann, 'a\.png' and 'c\.png'; leave one"):
        folder.keep_one(found, "Ann", "c.png")


def test_pictures_in_cropped_folders_are_no_originals(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked("photo/cropped.png", "Cropped_Photos/photos/2.png"))
    assert folder.originals() == ["photo/cropped.png"]
    assert folder.left_out == {"pictures in folders of cropped ones": ["Cropped_Photos/photos/2.png"]}
    assert is_cropped("cropped/1.png")


def test_sizes_are_read_where_there_is_a_picture(unpacked: Unpacked, picture: Callable[..., bytes]) -> None:
    folder = open_folder(unpacked(**{"a.png": picture(0, (30, 20)), "b.png": "words"}))
    assert (folder.size("a.png"), folder.size("b.png"), folder.size("c.png")) == ((30, 20), None, None)


def test_a_stem_has_no_folder_no_suffix_and_small_letters() -> None:
    assert stem("A/F2-005-01-sz1.JPG") == "f2-005-01-sz1"


def test_another_data_set_is_refused_with_what_was_expected_and_found(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match=r"expected cats; found 0 photos and 3 drawings .+ it holds 'a\.png' first"):
        open_folder(unpacked("b.png", "a.png")).refuse("cats", 0, 3)


def test_an_empty_folder_is_refused_as_such(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="it holds no files"):
        open_folder(unpacked()).refuse("cats", 0, 0)
