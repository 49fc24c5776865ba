from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.cavi import read_cavi
from training.data.layouts.folder import open_folder
from training.errors import SourceError

Unpacked = Callable[..., Path]

TOP = "CaVINet_Dataset"
PHOTOS = (f"{TOP}/Real/Angela_Merkel/Angela_Merkel_r_0.jpg", f"{TOP}/Real/angela_merkel/angela_merkel_r_1.JPG")
DRAWN = (f"{TOP}/Caricature/Angela_Merkel/Angela_Merkel_c_0.jpg", f"{TOP}/caricature/Bob_Hope/Bob_Hope_c_3.png")


def test_folders_say_who_it_is_and_whether_it_is_drawn(unpacked: Unpacked) -> None:
    """Of somebody who is only drawn there is a probe too: nobody is left out."""
    folder = open_folder(unpacked(*PHOTOS, *DRAWN))
    listing = read_cavi(folder)
    assert [(item.key, item.subject, item.modality) for item in listing.items] == [
        (PHOTOS[0], "Angela_Merkel", "photo"),
        (PHOTOS[1], "Angela_Merkel", "photo"),
        (DRAWN[0], "Angela_Merkel", "caricature"),
        (DRAWN[1], "Bob_Hope", "caricature"),
    ]
    assert listing.role == dict.fromkeys(PHOTOS, "gallery") | dict.fromkeys(DRAWN, "probe")
    assert (listing.lists, folder.left_out) == ({}, {})
    assert {item.landmarks for item in listing.items} == {None}


def test_both_folders_may_lie_at_the_top(unpacked: Unpacked) -> None:
    names = ("Real/a/a_r_0.jpg", "Caricature/a/a_c_0.jpg")
    assert [item.key for item in read_cavi(open_folder(unpacked(*names))).items] == list(names)


def test_pictures_elsewhere_are_told_and_lists_of_pairs_are_not_read(unpacked: Unpacked) -> None:
    others = ("figure.png", "Real/loose.jpg", "Real/a/more/a_r_1.jpg", "Faces/a/a_r_0.jpg")
    folder = open_folder(unpacked("Real/a/1.jpg", "Caricature/a/1.jpg", *others, **{"train_pairs.txt": b"\xff\xfe"}))
    assert len(read_cavi(folder).items) == 2
    assert folder.left_out == {"pictures in other folders": sorted(others)}


@pytest.mark.parametrize("names", [(), PHOTOS, DRAWN, ("Real/1.jpg", "Caricature/1.jpg")])
def test_a_folder_without_both_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected photos as Real/PERSON/PHOTO\.jpg, and caricatures as Caricature/"):
        read_cavi(open_folder(unpacked(*names)))
