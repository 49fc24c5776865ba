from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.cub import read_cub
from training.data.layouts.folder import open_folder
from training.data.sources import PictureItem
from training.errors import SourceError

Unpacked = Callable[..., Path]

TOP = "CUB_200_2011"
ALBATROSS, WREN = "001.Black_footed_Albatross", "196.House_Wren"
PATHS = [f"{ALBATROSS}/Black_Footed_Albatross_0046_18.jpg", f"{ALBATROSS}/Black_Footed_0009_34.jpg", f"{WREN}/a.jpg"]
PLACES = [f"{TOP}/images/{path}" for path in PATHS]
CURVED, TALL = "has_bill_shape_curved_up_or_down", "has_size_medium_9_-_16_in"
TOLD = "1 1 1 3 27.708\n1 2 0 1 1.5\n2 1 0 4 2.0\n2 2 1 2 0 1.509\n3 1 0 1 0 0 3.2\n3 2 1 4 3.0\n"
LISTS = {
    f"{TOP}/images.txt": "".join(f"{number} {path}\n" for number, path in enumerate(PATHS, start=1)),
    f"{TOP}/classes.txt": f"1 {ALBATROSS}\n2 {WREN}\n",
    f"{TOP}/image_class_labels.txt": "1 1\n2 1\n3 2\n",
    f"{TOP}/train_test_split.txt": "1 0\n2 1\n3 1\n",
    f"{TOP}/attributes/image_attribute_labels.txt": TOLD,
    "attributes.txt": "1 has_bill_shape::curved_(up_or_down)\n2 has_size::medium_(9_-_16_in)\n",
}


def refused(unpacked: Unpacked, **changed: str | bytes) -> str:
    """Why these lists in place of the sound ones are refused."""
    with pytest.raises(SourceError) as failure:
        read_cub(open_folder(unpacked(*PLACES, **LISTS | changed)))
    return str(failure.value)


def test_pictures_are_listed_with_species_attributes_and_part(unpacked: Unpacked) -> None:
    """What is not visible is not known, whatever was said of it; lines with further zeros before the time are read as others."""
    folder = open_folder(unpacked(*PLACES, **LISTS))
    listing = read_cub(folder)
    facts = {
        PLACES[0]: ("001_Black_footed_Albatross", "1", "", "test"),
        PLACES[1]: ("001_Black_footed_Albatross", "0", "1", "train"),
        PLACES[2]: ("196_House_Wren", "", "1", "train"),
    }
    columns = ("species", CURVED, TALL, "part")
    assert listing.items == [
        PictureItem(place, place, "", "photo", dict(zip(columns, facts[place], strict=True))) for place in sorted(facts)
    ]
    assert (listing.role, listing.class_label, listing.attributes) == ({}, "species", (CURVED, TALL))
    assert folder.left_out == {}


def test_numbers_need_not_be_in_order(unpacked: Unpacked) -> None:
    changed = {
        f"{TOP}/classes.txt": f"2 {WREN}\n1 {ALBATROSS}\n",
        f"{TOP}/image_class_labels.txt": "3 2\n1 1\n2 1\n",
        f"{TOP}/attributes/image_attribute_labels.txt": "".join(reversed(TOLD.splitlines(keepends=True))),
        "attributes.txt": "2 second\n1 first\n",
    }
    listing = read_cub(open_folder(unpacked(*PLACES, **LISTS | changed)))
    told = {item.key: (item.labels["species"], item.labels["first"], item.labels["second"]) for item in listing.items}
    assert told == {
        PLACES[0]: ("001_Black_footed_Albatross", "1", ""),
        PLACES[1]: ("001_Black_footed_Albatross", "0", "1"),
        PLACES[2]: ("196_House_Wren", "", "1"),
    }


def test_attributes_that_are_not_told_of_are_not_known_and_their_names_may_lie_inside(unpacked: Unpacked) -> None:
    lists = {name: text for name, text in LISTS.items() if name != "attributes.txt"}
    lists[f"{TOP}/attributes/attributes.txt"] = "1 a\n2 b\n"
    lists[f"{TOP}/attributes/image_attribute_labels.txt"] = "2 2 0 3 1.0\n"
    listing = read_cub(open_folder(unpacked(*PLACES, **lists)))
    assert {item.key: (item.labels["a"], item.labels["b"]) for item in listing.items} == {
        PLACES[0]: ("", ""),
        PLACES[1]: ("", "0"),
        PLACES[2]: ("", ""),
    }


def test_species_may_be_known_alone(unpacked: Unpacked) -> None:
    lists = {name: text for name, text in LISTS.items() if "attribute" not in name and "split" not in name}
    listing = read_cub(open_folder(unpacked(*PLACES, **lists)))
    assert [item.labels for item in listing.items][-1] == {"species": "196_House_Wren"}
    assert listing.attributes == ()


def test_pictures_without_a_line_and_lines_without_a_picture_are_counted(unpacked: Unpacked) -> None:
    more, mask = f"{TOP}/images/{WREN}/b.jpg", f"segmentations/{WREN}/a.png"
    folder = open_folder(unpacked(PLACES[0], PLACES[2], more, mask, **LISTS))
    assert len(read_cub(folder).items) == 2
    assert folder.left_out == {
        "pictures in other folders": [mask],
        "lines about pictures that are not there": [f"{TOP}/images.txt, line 2"],
        "pictures that no list names": [more],
    }


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("images", "1\n", "line 1: expected a number and a path, not '1'"),
        ("images", f"1 {PATHS[0]}\n1 {PATHS[1]}\n", "line 2: '1' is listed a second time"),
        ("images", f"1 {PATHS[0]}\n2 {PATHS[0]}\n", "/Black_Footed_Albatross_0046_18.jpg' is listed a second time"),
        ("images", f"1 ../{PATHS[0]}\n", "line 1: '../001.Black_footed_Albatross/"),
        ("images", f"1 /{PATHS[0]}\n", "is no path below the folder"),
        ("images", b"1 \xff.jpg\n", "images.txt: cannot be read as UTF-8 text"),
        ("images", f"1 {PATHS[0]}\n9 {PATHS[1]}\n", "images.txt, line 2: picture 9 is not in "),
        ("classes", "1 a.b\n2 a-b\n3 a_b\n", "line 3: 'a_b' is the name of something else already"),
        ("classes", f"1 {'x' * 49}\n", "line 1: 'xxxxxxxx"),
        ("classes", "1 ...\n", "line 1: '' cannot be a name"),
        ("image_class_labels", "1 1\n2 1\n3 3\n", "line 3: the species must be one of 1, 2, not '3'"),
        ("image_class_labels", "1 1\n2 1\n", "images.txt, line 3: picture 3 is not in "),
        ("image_class_labels", "1 1 1\n", "line 1: expected two numbers, not '1 1 1'"),
        ("train_test_split", "1 2\n2 0\n3 0\n", "line 1: the part must be one of 1, 0, not '2'"),
        ("attributes/image_attribute_labels", "1 1 1 4\n", "line 1: expected numbers of a picture and an attribute"),
        ("attributes/image_attribute_labels", "1 1 1 4 0 0 0 1\n", "line 1: expected numbers of a picture"),
        ("attributes/image_attribute_labels", "9 1 1 4 1.0\n", "line 1: there is no picture '9'"),
        ("attributes/image_attribute_labels", "1 0 1 4 1.0\n", "line 1: there is no attribute '0'"),
        (
            "attributes/image_attribute_labels",
            "1 1 2 4 1.0\n",
            "line 1: whether it is there must be one of 0, 1, not '2'",
        ),
        ("attributes/image_attribute_labels", "1 1 1 5 1.0\n", "line 1: the certainty must be one of 1, 2, 3, 4"),
        ("attributes/image_attribute_labels", "1 1 1 1 1.0\n" * 2, "line 2: attribute 1 of picture 1 is told a second"),
    ],
)
def test_odd_lists_are_refused_with_the_line(unpacked: Unpacked, *, name: str, text: str | bytes, why: str) -> None:
    assert why in refused(unpacked, **{f"{TOP}/{name}.txt": text})


@pytest.mark.parametrize("names", ["1 a::b\n2 a_b\n", "1 species\n2 b\n", "1 part\n2 b\n", "1 a\n2 image\n"])
def test_attributes_of_one_name_or_of_another_column_are_refused(unpacked: Unpacked, names: str) -> None:
    assert "is the name of something else already" in refused(unpacked, **{"attributes.txt": names})


@pytest.mark.parametrize("absent", ["attributes.txt", f"{TOP}/attributes/image_attribute_labels.txt"])
def test_names_of_attributes_and_what_is_told_of_them_are_needed_together(unpacked: Unpacked, absent: str) -> None:
    lists = {name: text for name, text in LISTS.items() if name != absent}
    with pytest.raises(SourceError, match=r"is of no use without attributes\.txt and image_attribute_labels\.txt"):
        read_cub(open_folder(unpacked(*PLACES, **lists)))


@pytest.mark.parametrize("absent", [f"{TOP}/{name}.txt" for name in ("images", "classes", "image_class_labels")])
def test_a_folder_without_the_lists_is_refused(unpacked: Unpacked, absent: str) -> None:
    lists = {name: text for name, text in LISTS.items() if name != absent}
    with pytest.raises(SourceError, match=r"expected images\.txt, classes\.txt and image_class_labels\.txt, and pict"):
        read_cub(open_folder(unpacked(*PLACES, **lists)))


def test_lists_without_any_of_their_pictures_are_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="is not laid out like this data set"):
        read_cub(open_folder(unpacked(PATHS[0], **LISTS)))
