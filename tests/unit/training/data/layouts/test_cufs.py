from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.picture import ARCFACE_5PT
from training.data.layouts.cufs import read_cufs
from training.data.layouts.folder import open_folder
from training.errors import SourceError

Unpacked = Callable[..., Path]

STUDENTS = (
    "CUHK_training_photo/photo/f-005-01.jpg",
    "CUHK_training_sketch/sketch/F2-005-01-sz1.jpg",
    "CUHK_testing_photo/photo/f1-005-01.jpg",
    "CUHK_testing_sketch/sketch/f1-005-01-sz1.jpg",
    "CUHK_testing_photo/photo/m-100-01.jpg",
    "CUHK_testing_sketch/sketch/M-100-01-sz1.JPG",
)
AR = (
    "AR_photo/w-001-1.png",
    "AR_sketch/sketch/Wp-001-1-sz1.jpg",
    "AR_photo/m-002-1.png",
    "AR_sketch/sketch/Mp-002-1-sz1.jpg",
)
XM2VTS = ("xm2vts/000_1_1.png", "XM2VTS_sketch/sketch/000_1_1_sz1.jpg")


def points_file(left: tuple[float, float], right: tuple[float, float], num: int = 35) -> str:
    points = [(1.0, 1.0)] * num
    points[16], points[18] = left, right
    return "".join(f"{x} {y}\n" for x, y in points)


def test_sketches_find_their_photos_by_name_in_all_three_parts(unpacked: Unpacked) -> None:
    listing = read_cufs(open_folder(unpacked(*STUDENTS, *AR, *XM2VTS)))
    by_subject: dict[str, dict[str, str]] = {}
    for item in listing.items:
        by_subject.setdefault(item.subject, {})[item.modality] = item.key
    assert by_subject == {
        "cuhk-f-005": {"photo": STUDENTS[0], "sketch": STUDENTS[1]},
        "cuhk-f1-005": {"photo": STUDENTS[2], "sketch": STUDENTS[3]},
        "cuhk-m-100": {"photo": STUDENTS[4], "sketch": STUDENTS[5]},
        "ar-w-001": {"photo": AR[0], "sketch": AR[1]},
        "ar-m-002": {"photo": AR[2], "sketch": AR[3]},
        "xm2vts-000": {"photo": XM2VTS[0], "sketch": XM2VTS[1]},
    }
    assert {item.labels["part"] for item in listing.items} == {"cuhk", "ar", "xm2vts"}


def test_the_published_names_make_the_papers_311_pairs(unpacked: Unpacked) -> None:
    names: dict[str, bytes] = {}
    first_drawings = {"f": range(5, 39), "m": range(8, 63)}
    students = [
        *(("f", "", number) for number in range(5, 44)),
        *(("m", "", number) for number in range(8, 102) if number != 20),
        *(("f", "1", number) for number in range(1, 16)),
        *(("m", "1", number) for number in range(1, 42)),
    ]
    for who, group, number in students:
        drawn = "2" if not group and number in first_drawings[who] else group
        names[f"photo/{who}{group}-{number:03d}-01.jpg"] = b""
        names[f"sketch/{who}{drawn}-{number:03d}-01-sz1.jpg"] = b""
    absent = {"m": {1, 4, 12, 19, 34}, "w": {6, *range(9, 14)}}
    for who, last in (("m", 75), ("w", 59)):
        for number in set(range(1, last + 1)) - absent[who]:
            names[f"AR/{who}-{number:03d}-1.png"] = b""
            names[f"AR/{who.upper()}p-{number:03d}-1-sz1.jpg"] = b""
    folder = open_folder(unpacked(**names))
    listing = read_cufs(folder)
    assert (sum(role == "probe" for role in listing.role.values()), len(listing.items)) == (311, 622)
    assert folder.left_out == {}


def test_the_protocol_has_students_and_ar_as_the_paper_and_not_xm2vts(unpacked: Unpacked) -> None:
    listing = read_cufs(open_folder(unpacked(*STUDENTS, *AR, *XM2VTS)))
    assert {key for key, role in listing.role.items() if role == "gallery"} == {*STUDENTS[::2], *AR[::2]}
    assert {key for key, role in listing.role.items() if role == "probe"} == {*STUDENTS[1::2], *AR[1::2]}


def test_pictures_without_their_counterpart_or_with_other_names_are_told(unpacked: Unpacked) -> None:
    cropped = "CUHK_training_cropped_photos/photos/f-005-01.jpg"
    folder = open_folder(unpacked(*STUDENTS[:2], STUDENTS[2], AR[1], "photo/cat.jpg", "AR_photo/w-001-1.raw", cropped))
    assert {item.subject for item in read_cufs(folder).items} == {"cuhk-f-005"}
    assert folder.left_out == {
        "pictures that are neither JPEG, PNG, WebP nor BMP": ["AR_photo/w-001-1.raw"],
        "pictures in folders of cropped ones": [cropped],
        "pictures with other names": ["photo/cat.jpg"],
        "sketches without a photo": [AR[1]],
        "photos without a sketch": [STUDENTS[2]],
    }


def test_two_different_pictures_of_one_name_are_refused_and_a_copy_is_not(
    unpacked: Unpacked, picture: Callable[..., bytes]
) -> None:
    folder = open_folder(unpacked(*STUDENTS[:2], **{"copy/F-005-01.png": picture(0)}))
    assert len(read_cufs(folder).items) == 2
    assert [len(places) for places in folder.left_out.values()] == [1]
    with pytest.raises(
        SourceError, match=r"two pictures of cuhk-f-005, 'CUHK_training_photo/.+' and 'copy/F-005-01\.png'"
    ):
        read_cufs(open_folder(unpacked(*STUDENTS[:2], **{"copy/F-005-01.png": picture(9)})))


@pytest.mark.parametrize("names", [(), ("a.png",), STUDENTS[::2], STUDENTS[1::2]])
def test_a_folder_without_pairs_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(
        SourceError, match=r"expected photos and sketches named as f-005-01\.jpg and F2-005-01-sz1\.jpg"
    ):
        read_cufs(open_folder(unpacked(*names)))


def test_eyes_come_from_the_fiducial_points(unpacked: Unpacked, picture: Callable[..., bytes]) -> None:
    left, right = (2 * ARCFACE_5PT[:2] + 10).tolist()
    whole = {"photo/f-005-01.jpg": picture(0, (300, 300)), "sketch/F2-005-01-sz1.jpg": picture(1, (300, 300))}
    points = {"points/F-005-01.dat": points_file(left, right)}
    folder = open_folder(unpacked(**whole, **points))
    photo, sketch = read_cufs(folder).items
    np.testing.assert_allclose(np.array(photo.landmarks), 2 * ARCFACE_5PT + 10, atol=1e-6)
    assert sketch.landmarks is None
    assert folder.left_out == {}


def test_photos_of_xm2vts_have_points_of_another_name(unpacked: Unpacked, picture: Callable[..., bytes]) -> None:
    left, right = (2 * ARCFACE_5PT[:2]).tolist()
    whole = {"000_1_1.png": picture(0, (300, 300)), "000_1_1_sz1.jpg": picture(1, (300, 300))}
    points = {"photo/000_1_1_f02.dat": points_file(left, right), "sketch/000_1_1_sz1.dat": points_file(left, right)}
    listing = read_cufs(open_folder(unpacked(**whole, **points)))
    for item in listing.items:
        np.testing.assert_allclose(np.array(item.landmarks), 2 * ARCFACE_5PT, atol=1e-6)
    assert listing.role == {}


@pytest.mark.parametrize("num", [34, 36])
def test_another_number_of_points_or_one_outside_the_picture_is_not_taken(unpacked: Unpacked, num: int) -> None:
    points = {
        "F-005-01.dat": points_file((30, 50), (70, 50), num),
        "f2-005-01-sz1.dat": points_file((30, 50), (700, 50)),
    }
    folder = open_folder(unpacked(*STUDENTS[:2], **points))
    assert [item.landmarks for item in read_cufs(folder).items] == [None, None]
    assert folder.left_out == {"files of points that do not fit their pictures": ["F-005-01.dat", "f2-005-01-sz1.dat"]}
