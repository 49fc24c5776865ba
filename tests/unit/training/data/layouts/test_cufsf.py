from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.picture import ARCFACE_5PT
from training.data.layouts.cufsf import read_cufsf
from training.data.layouts.folder import open_folder
from training.errors import SourceError

Unpacked = Callable[..., Path]

SKETCHES = ("original_sketch/00001.jpg", "original_sketch/00043.jpg")
GREY = ("feret/00001fb010_930831.png", "feret/00043fb001d_931230.png")
COLOUR = ("dvd1/00001/00001_930831_fb_a.png", "dvd1/00043/00043_931230_fb.ppm.png")
NAMES = "names_of_photos_used_for_drawing_sketches.txt"
LIST = "00001fb010_930831.tif\r\n00043fb001d_931230.tif\r\n"
THREE = np.stack([ARCFACE_5PT[0], ARCFACE_5PT[1], ARCFACE_5PT[3:].mean(axis=0)])


def three_points(points: np.ndarray) -> str:
    return "".join(f"{x} {y}\n" for x, y in points)


@pytest.mark.parametrize("photos", [GREY, COLOUR])
@pytest.mark.parametrize("listed", [True, False])
def test_sketches_find_ferets_photos_by_number_grey_or_in_colour(
    unpacked: Unpacked, photos: tuple[str, str], listed: bool
) -> None:
    folder = open_folder(unpacked(*SKETCHES, *photos, **({NAMES: LIST} if listed else {})))
    listing = read_cufsf(folder)
    assert [(item.key, item.subject, item.modality) for item in listing.items] == [
        (photos[0], "00001", "photo"),
        (photos[1], "00043", "photo"),
        (SKETCHES[0], "00001", "sketch"),
        (SKETCHES[1], "00043", "sketch"),
    ]
    assert list(listing.role.values()) == ["gallery", "gallery", "probe", "probe"]
    assert folder.left_out == {}


def test_the_list_says_which_of_several_photos_was_drawn_from(unpacked: Unpacked) -> None:
    other = "feret/00001fa010_930831.png"
    folder = open_folder(unpacked(*SKETCHES, *GREY, other, **{NAMES: LIST}))
    assert [item.key for item in read_cufsf(folder).items] == [*GREY, *SKETCHES]
    assert folder.left_out == {"photos that no sketch was drawn from": [other]}


def test_without_the_list_two_photos_of_a_person_are_refused(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked(*SKETCHES, *GREY, "feret/00001fa010_930831.png"))
    with pytest.raises(SourceError, match=r"two photos of 00001, .+ put the data set's list of photos \(\.txt\) there"):
        read_cufsf(folder)


def test_two_different_files_of_one_photo_are_refused(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked(*SKETCHES, *GREY, COLOUR[0], **{NAMES: LIST}))
    with pytest.raises(SourceError, match=r"two pictures of 00001 fb 930831, 'dvd1/.+' and 'feret/"):
        read_cufsf(folder)


def test_other_pictures_and_words_are_passed_over(unpacked: Unpacked) -> None:
    cropped, pose = "cropped_sketch/00001.jpg", "feret/00001ql010_930831.png"
    text = "as used for drawing\n\n" + LIST
    folder = open_folder(unpacked(*SKETCHES, *GREY, cropped, pose, "feret/00043.tif", **{"list.TXT": text}))
    assert len(read_cufsf(folder).items) == 4
    assert folder.left_out == {
        "pictures that are neither JPEG, PNG, WebP nor BMP": ["feret/00043.tif"],
        "pictures in folders of cropped ones": [cropped],
        "pictures with other names": [pose],
    }


@pytest.mark.parametrize("names", [(), SKETCHES, GREY, ("original_sketch/00002.jpg", GREY[0])])
def test_a_folder_without_pairs_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected sketches as original_sketch/00001\.jpg, and FERET's photos"):
        read_cufsf(open_folder(unpacked(*names)))


@pytest.mark.parametrize(("photo", "scale"), [(GREY[0], 0.5), (COLOUR[0], 1.0)])
def test_points_of_photos_are_brought_back_from_the_widened_photo(
    unpacked: Unpacked, picture: Callable[..., bytes], photo: str, scale: float
) -> None:
    """At 512 x 768, before 100 pixels are added on the left, eyes and mouth lie as in the template, twice as large."""
    at_512, size = 2 * ARCFACE_5PT + 60, (int(512 * scale), int(768 * scale))
    three = 2 * THREE + 60
    pictures = {photo: picture(0, size), SKETCHES[0]: picture(1, (400, 400))}
    points = {
        "photo_points/00001fb010_930831.3pts": three_points(three + np.array([100, 0])),
        "sketch_points/00001.3pts": three_points(three),
    }
    listing = read_cufsf(open_folder(unpacked(**pictures, **points)))
    np.testing.assert_allclose(np.array(listing.items[0].landmarks), at_512 * scale, atol=1e-4)
    np.testing.assert_allclose(np.array(listing.items[1].landmarks), at_512, atol=1e-4)


def test_points_of_a_photo_of_another_shape_are_not_taken(unpacked: Unpacked, picture: Callable[..., bytes]) -> None:
    pictures = {GREY[0]: picture(0, (512, 512)), SKETCHES[0]: picture(1, (400, 400))}
    points = {
        "photo_points/00001fb010_930831.3pts": three_points(2 * THREE + 60),
        "sketch_points/00001.3pts": "1 2\n3 4\n",
    }
    folder = open_folder(unpacked(**pictures, **points))
    assert [item.landmarks for item in read_cufsf(folder).items] == [None, None]
    assert folder.left_out == {"files of points that do not fit their pictures": list(points)}
