from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.folder import open_folder
from training.data.layouts.prip_hdc import read_prip_hdc
from training.errors import SourceError

Unpacked = Callable[..., Path]


def test_the_same_name_in_both_folders_is_a_pair(unpacked: Unpacked) -> None:
    names = ("PRIP-HDC-Release/photos/MI_001.bmp", "PRIP-HDC-Release/Sketches/mi_001.JPG")
    others = ("PRIP-HDC-Release/photos/MI_002.bmp", "PRIP-HDC-Release/sketches/MI_003.bmp", "cover.png")
    folder = open_folder(unpacked(*names, *others))
    listing = read_prip_hdc(folder)
    assert [(item.key, item.subject, item.modality) for item in listing.items] == [
        (names[0], "mi_001", "photo"),
        (names[1], "mi_001", "sketch"),
    ]
    assert listing.role == {names[0]: "gallery", names[1]: "probe"}
    assert folder.left_out == {
        "pictures in other folders": ["cover.png"],
        "photos without a sketch": [others[0]],
        "sketches without a photo": [others[1]],
    }


@pytest.mark.parametrize("names", [(), ("photos/a.bmp", "sketches/b.bmp"), ("a.bmp",)])
def test_a_folder_without_pairs_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected sketches/NAME\.bmp and photos/NAME\.bmp"):
        read_prip_hdc(open_folder(unpacked(*names)))


def test_two_pictures_of_a_name_are_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="two pictures of a, "):
        read_prip_hdc(open_folder(unpacked("photos/a.bmp", "photos/a.png", "sketches/a.bmp")))
