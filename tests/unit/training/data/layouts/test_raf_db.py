from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.folder import open_folder
from training.data.layouts.raf_db import read_raf_db
from training.data.sources import PictureItem
from training.errors import SourceError

Unpacked = Callable[..., Path]
Picture = Callable[..., bytes]

LIST = "basic/EmoLabel/list_patition_label.txt"
TOLD = {LIST: "train_00001.jpg 5\ntrain_00002.jpg 4\ntest_0001.jpg 7\n"}
POINTS = "100.5\t120.0\n180.0\t121.0\n140.0\t160.0\n110.0\t200.0\n170.0\t201.0\n1\n0\n2\n"
FIVE = [(100.5, 120.0), (180.0, 121.0), (140.0, 160.0), (110.0, 200.0), (170.0, 201.0)]


def whole(name: str) -> str:
    return f"basic/Image/original/{name}.jpg"


def crop(name: str) -> str:
    return f"basic/Image/aligned/{name}_aligned.jpg"


def points(name: str) -> str:
    return f"basic/Annotation/manual/{name}_manu_attri.txt"


def test_whole_pictures_are_taken_with_their_points_and_crops_where_there_are_none(
    unpacked: Unpacked, picture: Picture
) -> None:
    """Of the first there is everything, of the second a crop beside a picture without points, of the third a crop alone."""
    files: dict[str, object] = {
        whole("train_00001"): picture(1, (300, 280)),
        points("train_00001"): POINTS,
        whole("train_00002"): picture(2, (300, 280)),
    }
    crops = [crop(name) for name in ("train_00001", "train_00002", "test_0001")]
    folder = open_folder(
        unpacked(*crops, **files, **TOLD, **{"basic/Annotation/auto/train_00001_auto_attri.txt": "1 2"})
    )
    listing = read_raf_db(folder)
    assert listing.items == [
        PictureItem(crops[2], crops[2], "", "photo", {"expression": "neutral", "part": "test"}),
        PictureItem(crops[1], crops[1], "", "photo", {"expression": "happiness", "part": "train"}),
        PictureItem(
            whole("train_00001"),
            whole("train_00001"),
            "",
            "photo",
            {"expression": "sadness", "part": "train"},
            FIVE,
        ),
    ]
    assert (listing.role, listing.class_label, listing.attributes) == ({}, "expression", ())
    assert folder.left_out == {
        "crops of pictures that are taken whole": [crops[0]],
        "whole pictures without points, whose crops are taken": [whole("train_00002")],
    }


def test_every_number_is_the_expression_of_the_readme(unpacked: Unpacked) -> None:
    names = [f"train_0000{number}" for number in range(1, 8)]
    told = "".join(f"{name}.jpg {number}\n" for number, name in enumerate(names, start=1))
    listing = read_raf_db(open_folder(unpacked(*map(crop, names), **{LIST: told})))
    assert [item.labels["expression"] for item in listing.items] == [
        "surprise",
        "fear",
        "disgust",
        "happiness",
        "sadness",
        "anger",
        "neutral",
    ]


def test_a_whole_picture_without_points_is_taken_where_there_is_no_crop(unpacked: Unpacked) -> None:
    listing = read_raf_db(open_folder(unpacked(whole("test_0001"), **TOLD)))
    assert [(item.key, item.landmarks) for item in listing.items] == [(whole("test_0001"), None)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (POINTS.replace("100.5\t120.0\n", ""), "files that do not hold five points"),
        (POINTS.replace("100.5", "999"), "sets of points that do not fit their pictures"),
    ],
)
def test_a_crop_is_taken_where_the_points_are_of_no_use(
    unpacked: Unpacked, *, picture: Picture, text: str, reason: str
) -> None:
    files = {whole("test_0001"): picture(1, (300, 280)), points("test_0001"): text}
    folder = open_folder(unpacked(crop("test_0001"), **files, **TOLD))
    assert [(item.key, item.landmarks) for item in read_raf_db(folder).items] == [(crop("test_0001"), None)]
    assert len(folder.left_out[reason]) == 1


def test_pictures_without_a_line_and_lines_without_a_picture_are_counted(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked(crop("train_00001"), crop("train_00007"), "cover.png", **TOLD))
    assert len(read_raf_db(folder).items) == 1
    assert folder.left_out == {
        "lines about pictures that are not there": [f"{LIST}, line 2", f"{LIST}, line 3"],
        "pictures that no list names": [crop("train_00007"), "cover.png"],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("train_00001.jpg\n", "line 1: expected a picture and a number, as train_00001.jpg 5, not 'train_00001.jpg'"),
        ("train_00001.jpg 5 1\n", "line 1: expected a picture and a number"),
        ("train_00001.jpg 0\n", "line 1: the expression must be one of 1, 2, 3, 4, 5, 6, 7, not '0'"),
        ("train_00001.jpg 8\n", "line 1: the expression must be one of"),
        ("train_00001.jpg 5\ntrain_00001.jpg 5\n", "line 2: 'train_00001.jpg' is listed a second time, after line 1"),
        ("../train_00001.jpg 5\n", "line 1: expected a picture as train_00001.jpg or test_0001.jpg, not '../train_"),
        ("train_00001_aligned.jpg 5\n", "line 1: expected a picture as train_00001.jpg"),
        ("train_00001.jpg 5\n\ntrain_00002.jpg 5\n", "line 2: is empty"),
        (b"train_00001.jpg \xff\n", "cannot be read as UTF-8 text"),
    ],
)
def test_odd_lists_are_refused_with_the_line(unpacked: Unpacked, text: str | bytes, why: str) -> None:
    with pytest.raises(SourceError) as failure:
        read_raf_db(open_folder(unpacked(crop("train_00001"), **{LIST: text})))
    assert why in str(failure.value)


def test_basic_and_compound_expressions_have_the_same_names_and_are_refused_together(unpacked: Unpacked) -> None:
    compound = {"compound/EmoLabel/list_patition_label.txt": "train_00001.jpg 11\n"}
    with pytest.raises(SourceError, match=r"holds two such lists, 'basic/EmoLabel/list_patition_label\.txt' and 'comp"):
        read_raf_db(open_folder(unpacked(crop("train_00001"), **TOLD, **compound)))


def test_two_different_files_of_one_name_are_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="holds two pictures of test_0001, "):
        read_raf_db(open_folder(unpacked(whole("test_0001"), "old/test_0001.jpg", **TOLD)))
    (unpacked() / "old" / "test_0001.jpg").unlink()
    with pytest.raises(SourceError, match="holds two files of test_0001, "):
        read_raf_db(open_folder(unpacked(**{points("test_0001"): POINTS, "old/test_0001_manu_attri.txt": POINTS})))


@pytest.mark.parametrize("names", [(), (crop("train_00001"),), (LIST.replace(".txt", ".jpg"),)])
def test_a_folder_without_the_list_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(
        SourceError, match=r"expected EmoLabel/list_patition_label\.txt, and pictures as Image/original"
    ):
        read_raf_db(open_folder(unpacked(*names)))


def test_a_list_without_any_of_its_pictures_is_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="is not laid out like this data set"):
        read_raf_db(open_folder(unpacked("a.png", **TOLD)))
