from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.emotionet import read_emotionet
from training.data.layouts.folder import open_folder
from training.data.sources import PictureItem
from training.errors import SourceError

Unpacked = Callable[..., Path]

S3 = "https://s3.us-east-2.amazonaws.com/emotionet/Images"
TABLE = "EmotioNet_FACS_aws_2020_24600.csv"
HEADER = "URL,URL orig,'AU 1','AU 2', 'AU 12','AU 60'\n"
PLACES = [f"img/N_0000000001_0000{n}.jpg" for n in (1, 2, 3)]


def address(number: int, batch: int = 1) -> str:
    return f"{S3}/N_{batch:010d}/N_{batch:010d}_{number:05d}.jpg"


def plain(number: int, **units: int) -> str:
    """A line of sixty action units: those that are named, and 999 for the rest."""
    told = [units.get(f"au{unit}", 999) for unit in range(1, 61)]
    return "\t".join([address(number), "http://a.org/b.jpg", *map(str, told)]) + "\n"


def test_a_table_tells_action_units_and_999_is_not_known(unpacked: Unpacked) -> None:
    """Addresses stand in quotes, or have one at their end, as in the workbook that was handed out."""
    text = HEADER + f"'{address(1)}',x,1,0,999,0\n{address(2)}',x,0,999,1,999\n{address(3)},x,,0.0,1.0,999.0\n,,,,,\n"
    folder = open_folder(unpacked(*PLACES, **{TABLE: text}))
    listing = read_emotionet(folder)
    assert listing.items == [
        PictureItem(PLACES[0], PLACES[0], "", "photo", {"au_1": "1", "au_2": "0", "au_12": "", "au_60": "0"}),
        PictureItem(PLACES[1], PLACES[1], "", "photo", {"au_1": "0", "au_2": "", "au_12": "1", "au_60": ""}),
        PictureItem(PLACES[2], PLACES[2], "", "photo", {"au_1": "", "au_2": "0", "au_12": "1", "au_60": ""}),
    ]
    assert (listing.role, listing.class_label) == ({}, "")
    assert listing.attributes == ("au_1", "au_2", "au_12", "au_60")
    assert folder.left_out == {}


def test_plain_lists_have_sixty_numbers_after_two_addresses(unpacked: Unpacked) -> None:
    """Units of which no picture tells get no column, and the first number is of the first unit."""
    lists = {"dataFile_0001.txt": plain(1, au1=1, au60=0), "dataFile_0002.txt": plain(3, au2=1, au17=0)}
    listing = read_emotionet(open_folder(unpacked(*PLACES, **lists)))
    assert [(item.key, item.labels) for item in listing.items] == [
        (PLACES[0], {"au_1": "1", "au_2": "", "au_17": "", "au_60": "0"}),
        (PLACES[2], {"au_1": "", "au_2": "1", "au_17": "0", "au_60": ""}),
    ]
    assert listing.attributes == ("au_1", "au_2", "au_17", "au_60")


def test_a_table_of_fewer_units_and_a_plain_list_may_lie_together(unpacked: Unpacked) -> None:
    lists = {"emotionet.csv": "file,AU04\nN_0000000001_00002.jpg,1\n", "dataFile_0001.txt": plain(1, au12=1)}
    listing = read_emotionet(open_folder(unpacked(*PLACES, **lists)))
    assert [item.labels for item in listing.items] == [{"au_4": "", "au_12": "1"}, {"au_4": "1", "au_12": ""}]


def test_pictures_without_a_line_and_lines_without_a_picture_are_counted(unpacked: Unpacked) -> None:
    folder = open_folder(
        unpacked(PLACES[0], "cover.png", **{TABLE: HEADER + f"{address(7)},x,1,1,1,1\n{address(1)},x,1,1,1,1\n"})
    )
    assert [item.key for item in read_emotionet(folder).items] == [PLACES[0]]
    assert folder.left_out == {
        "lines about pictures that are not there": [f"{TABLE}, line 2"],
        "pictures that no list names": ["cover.png"],
    }


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        (TABLE, HEADER + f"{address(1)},x,2,0,0,0\n", "line 2: action unit 1 must be one of 0, 1, 999, "),
        (TABLE, HEADER + f"{address(1)},x,0,0,-1,0\n", "line 2: action unit 12 must be one of"),
        (TABLE, HEADER + f"{address(1)},x,1,0,0\n", "line 2: expected 6 fields as in the header"),
        (TABLE, HEADER + f"{address(1)},x,1,0,0,0,1\n", "line 2: expected 6 fields as in the header"),
        (TABLE, HEADER + f"{address(1)},x,1,0,0,0\n" * 2, f"line 3: '{address(1)}' is listed a second time"),
        (TABLE, HEADER + "'',x,1,0,0,0\n", "line 2: names no picture"),
        (TABLE, f"{address(1)},x,1,0,0,0\n", "line 1: expected a header with the column URL and columns 'AU 1'"),
        (TABLE, HEADER.replace("'AU 2'", "'AU 1'"), "line 1: expected a header with the column URL"),
        (TABLE, "URL,URL orig\n", "line 1: expected a header with the column URL"),
        (TABLE, HEADER.encode() + b"\xff", "cannot be read as UTF-8 text"),
        ("dataFile_0001.txt", plain(1)[:-5] + "\n", "line 1: expected two addresses and 60 numbers"),
        ("dataFile_0001.txt", plain(1) + plain(2, au9=3), "line 2: action unit 9 must be one of"),
        ("dataFile_0001.txt", plain(1) + plain(1), "line 2: "),
    ],
)
def test_odd_lists_are_refused_with_the_line(unpacked: Unpacked, *, name: str, text: str | bytes, why: str) -> None:
    with pytest.raises(SourceError) as failure:
        read_emotionet(open_folder(unpacked(*PLACES, **{name: text})))
    assert f"{name}, {why}" in str(failure.value) or f"{name}: {why}" in str(failure.value)


def test_a_picture_in_two_lists_is_refused(unpacked: Unpacked) -> None:
    lists = {TABLE: HEADER + f"{address(1)},x,1,0,0,0\n", "dataFile_0001.txt": plain(1, au1=0)}
    with pytest.raises(SourceError, match=r"dataFile_0001\.txt, line 1: .+ is listed a second time"):
        read_emotionet(open_folder(unpacked(*PLACES, **lists)))


def test_a_list_of_which_nothing_is_known_is_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="of no picture that is there a single action unit is known"):
        read_emotionet(open_folder(unpacked(*PLACES, **{"dataFile_0001.txt": plain(1)})))


@pytest.mark.parametrize(
    "names", [(), (PLACES[0],), (PLACES[0], "EmotioNet_FACS_aws_2020_24600.xlsx"), ("dataFile.txt",)]
)
def test_a_folder_without_a_list_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(
        SourceError, match=r"expected EmotioNet_FACS_aws_2020_24600\.csv or dataFile_0001\.txt, and the"
    ):
        read_emotionet(open_folder(unpacked(*names)))
