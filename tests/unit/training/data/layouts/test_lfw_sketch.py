from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.folder import open_folder
from training.data.layouts.lfw_sketch import read_lfw_sketch
from training.errors import SourceError

Unpacked = Callable[..., Path]

PHOTOS = (
    "photos/Ann_Lee/Ann_Lee_0001.jpg",
    "photos/Ann_Lee/Ann_Lee_0002.jpg",
    "photos/Bob/Bob_0001.jpg",
    "photos/Cy/Cy_0001.jpg",
    "photos/Cy/Cy_0002.jpg",
)


def test_the_gallery_is_all_photos_but_those_that_were_drawn_from(unpacked: Unpacked) -> None:
    sketches = ("sketches/Ann_Lee_0002.png", "sketches/cy/cy_0001.PNG")
    folder = open_folder(unpacked(*PHOTOS, *sketches))
    listing = read_lfw_sketch(folder)
    assert [(item.key, item.subject, item.modality) for item in listing.items] == [
        (PHOTOS[0], "Ann_Lee", "photo"),
        (PHOTOS[2], "Bob", "photo"),
        (PHOTOS[4], "Cy", "photo"),
        (sketches[0], "Ann_Lee", "sketch"),
        (sketches[1], "Cy", "sketch"),
    ]
    assert listing.role == dict.fromkeys((PHOTOS[0], PHOTOS[2], PHOTOS[4]), "gallery") | dict.fromkeys(
        sketches, "probe"
    )
    assert folder.left_out == {"photos that a sketch was drawn from": [PHOTOS[1], PHOTOS[3]]}


def test_a_sketch_of_somebody_without_another_photo_is_left_out_and_the_photo_stays(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked(*PHOTOS, "sketches/Bob_0001.png", "sketches/Cy_0002.png"))
    listing = read_lfw_sketch(folder)
    assert PHOTOS[2] in listing.role
    assert folder.left_out["sketches of people without another photo"] == ["sketches/Bob_0001.png"]


def test_a_sketch_in_a_persons_folder_needs_no_photo_that_it_was_drawn_from(unpacked: Unpacked) -> None:
    """Whoever took those photos away before has nothing left to take away."""
    listing = read_lfw_sketch(open_folder(unpacked(*PHOTOS, "sketches/Bob/Bob_0007.png")))
    assert listing.role["sketches/Bob/Bob_0007.png"] == "probe"
    assert len(listing.items) == 6


def test_sketches_that_say_nobody_or_several_are_told(unpacked: Unpacked) -> None:
    photos = ("photos/a/1.jpg", "photos/a/2.jpg", "photos/b/1.jpg", "photos/loose.jpg", "other/x.jpg")
    sketches = ("sketches/1.png", "sketches/2.png", "sketches/3.png", "sketches/c/1.png", "sketches/a/b/1.png")
    folder = open_folder(unpacked(*photos, *sketches))
    listing = read_lfw_sketch(folder)
    assert [item.key for item in listing.items if item.modality == "sketch"] == ["sketches/2.png"]
    assert folder.left_out == {
        "photos that are not in a person's folder": ["photos/loose.jpg"],
        "pictures in other folders": ["other/x.jpg"],
        "sketches whose name photos of several people have": ["sketches/1.png"],
        "sketches of nobody who has photos": ["sketches/3.png", "sketches/a/b/1.png", "sketches/c/1.png"],
        "photos that a sketch was drawn from": ["photos/a/2.jpg"],
    }


def test_two_sketches_of_one_photo_are_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="two pictures of Cy/cy_0001"):
        read_lfw_sketch(open_folder(unpacked(*PHOTOS, "sketches/Cy_0001.png", "sketches/Cy/Cy_0001.png")))


def test_folders_that_differ_in_large_and_small_letters_are_one_person(unpacked: Unpacked) -> None:
    listing = read_lfw_sketch(open_folder(unpacked("photos/Cy/1.jpg", "photos/cy/2.jpg", "sketches/2.png")))
    assert {item.subject for item in listing.items} == {"Cy"}


@pytest.mark.parametrize("names", [(), PHOTOS, ("sketches/a.png",), ("lfw/a/1.jpg", "drawn/1.png")])
def test_a_folder_without_photos_or_sketches_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected photos/PERSON/PHOTO\.jpg"):
        read_lfw_sketch(open_folder(unpacked(*names)))


def test_where_all_sketches_fall_out_there_is_nothing_to_measure(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match=r"expected photos/PERSON/PHOTO\.jpg"):
        read_lfw_sketch(open_folder(unpacked("photos/a/1.jpg", "sketches/1.png")))
