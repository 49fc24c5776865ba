from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.celeba import read_celeba
from training.data.layouts.folder import open_folder
from training.data.sources import PictureItem
from training.errors import SourceError

Unpacked = Callable[..., Path]
Picture = Callable[..., bytes]

NAMES = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
ATTRIBUTES = "3\n5_o_Clock_Shadow Eyeglasses Young \n000001.jpg -1  1  1\n000002.jpg -1 -1  1\n000003.jpg  1 -1 -1\n"
POINTS = f"3\n{NAMES} \n" + "".join(f"00000{n}.jpg {60 + n} 109 106 113 77 142 73 152 108 154\n" for n in (1, 2, 3))
WHOLE_POINTS = POINTS.replace(" 113 ", " 117 ")
LISTS = {
    "Anno/list_attr_celeba.txt": ATTRIBUTES,
    "Anno/identity_CelebA.txt": "000001.jpg 2880\n000002.jpg 2937\n000003.jpg 2880\n",
    "Anno/list_landmarks_align_celeba.txt": POINTS,
    "Anno/list_landmarks_celeba.txt": WHOLE_POINTS,
    "Eval/list_eval_partition.txt": "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n",
}
ALIGNED = [f"Img/img_align_celeba/00000{n}.jpg" for n in (1, 2, 3)]
WHOLE = [f"Img/img_celeba/00000{n}.jpg" for n in (1, 2, 3)]


def pictures(picture: Picture, names: list[str], size: tuple[int, int] = (178, 218)) -> dict[str, bytes]:
    return {name: picture(seed, size) for seed, name in enumerate(names)}


def labels(shadow: str, eyeglasses: str, young: str, part: str) -> dict[str, str]:
    return {"5_o_Clock_Shadow": shadow, "Eyeglasses": eyeglasses, "Young": young, "part": part}


def five(first: float, right_eye_y: float = 113.0) -> list[tuple[float, float]]:
    return [(first, 109.0), (106.0, right_eye_y), (77.0, 142.0), (73.0, 152.0), (108.0, 154.0)]


def refused(unpacked: Unpacked, picture: Picture, **changed: str) -> str:
    """Why these lists in place of the sound ones are refused."""
    with pytest.raises(SourceError) as failure:
        read_celeba(open_folder(unpacked(**pictures(picture, ALIGNED), **LISTS | changed)))
    return str(failure.value)


def test_aligned_pictures_are_listed_with_who_it_is_what_they_show_and_five_points(
    unpacked: Unpacked, picture: Picture
) -> None:
    folder = open_folder(unpacked(**pictures(picture, ALIGNED), **LISTS))
    listing = read_celeba(folder)
    assert listing.items == [
        PictureItem(ALIGNED[0], ALIGNED[0], "2880", "photo", labels("0", "1", "1", "train"), five(61.0)),
        PictureItem(ALIGNED[1], ALIGNED[1], "2937", "photo", labels("0", "0", "1", "validation"), five(62.0)),
        PictureItem(ALIGNED[2], ALIGNED[2], "2880", "photo", labels("1", "0", "0", "test"), five(63.0)),
    ]
    assert (listing.role, listing.class_label) == ({}, "")
    assert listing.attributes == ("5_o_Clock_Shadow", "Eyeglasses", "Young")
    assert folder.left_out == {}


def test_without_aligned_pictures_the_whole_ones_are_taken_with_their_own_points(
    unpacked: Unpacked, picture: Picture
) -> None:
    listing = read_celeba(open_folder(unpacked(**pictures(picture, WHOLE, (400, 500)), **LISTS)))
    assert [(item.key, item.landmarks) for item in listing.items] == [
        (place, five(61.0 + number, 117.0)) for number, place in enumerate(WHOLE)
    ]


def test_of_a_picture_in_both_forms_the_aligned_one_is_taken(unpacked: Unpacked, picture: Picture) -> None:
    folder = open_folder(unpacked(*WHOLE, "figure.png", **pictures(picture, ALIGNED), **LISTS))
    assert [item.key for item in read_celeba(folder).items] == ALIGNED
    assert folder.left_out == {
        "pictures in other folders": ["figure.png"],
        "whole pictures beside aligned ones": WHOLE,
    }


def test_pictures_may_be_png_and_lie_deeper(unpacked: Unpacked, picture: Picture) -> None:
    places = [f"img_align_celeba_png/img_align_celeba_png.7z/00000{n}.png" for n in (1, 2, 3)]
    listing = read_celeba(open_folder(unpacked(**pictures(picture, places), **LISTS)))
    assert [(item.key, item.subject) for item in listing.items] == list(
        zip(places, ("2880", "2937", "2880"), strict=True)
    )
    assert all(item.landmarks for item in listing.items)


def test_without_the_other_lists_attributes_are_known_alone(unpacked: Unpacked) -> None:
    listing = read_celeba(open_folder(unpacked(*ALIGNED, **{"list_attr_celeba.txt": ATTRIBUTES})))
    assert [(item.subject, item.landmarks) for item in listing.items] == [("", None)] * 3
    assert listing.items[0].labels == {"5_o_Clock_Shadow": "0", "Eyeglasses": "1", "Young": "1"}


def test_pictures_without_a_line_and_lines_without_a_picture_are_counted(unpacked: Unpacked, picture: Picture) -> None:
    more = "Img/img_align_celeba/000009.jpg"
    folder = open_folder(unpacked(**pictures(picture, [ALIGNED[0], ALIGNED[2], more]), **LISTS))
    assert [item.key for item in read_celeba(folder).items] == [ALIGNED[0], ALIGNED[2]]
    assert folder.left_out == {
        "lines about pictures that are not there": ["Anno/list_attr_celeba.txt, line 4"],
        "pictures that no list names": [more],
    }


def test_points_that_do_not_fit_are_not_taken(unpacked: Unpacked, picture: Picture) -> None:
    swapped = POINTS.replace("62 109 106 113", "106 113 62 109")
    folder = open_folder(
        unpacked(**pictures(picture, ALIGNED), **LISTS | {"Anno/list_landmarks_align_celeba.txt": swapped})
    )
    assert [item.landmarks is None for item in read_celeba(folder).items] == [False, True, False]
    assert folder.left_out == {"sets of points that do not fit their pictures": [ALIGNED[1]]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "txt: expected the number of pictures, a line of names, and a line for each picture"),
        ("3\n", "txt: expected the number of pictures, a line of names"),
        ("4" + ATTRIBUTES[1:], "txt, line 1: announces '4' pictures, and 3 follow"),
        ("three of them" + ATTRIBUTES[1:], "txt, line 1: expected the number of pictures, not 'three of them'"),
        (ATTRIBUTES.replace("000002.jpg -1 ", "000002.jpg "), "txt, line 4: expected a picture and 3 numbers"),
        (
            ATTRIBUTES.replace("000002.jpg -1 ", "000002.jpg 0 "),
            "line 4: 5_o_Clock_Shadow must be one of -1, 1, not '0'",
        ),
        (ATTRIBUTES.replace("000002", "000001"), "line 4: '000001.jpg' is listed a second time, after line 3"),
        (ATTRIBUTES.replace("000002.jpg", "000001.png"), "line 4: '000001.png' is a picture that is listed already"),
        (ATTRIBUTES.replace("000002.jpg", "../000002.jpg"), "line 4: '../000002.jpg' is no path below the folder"),
        (ATTRIBUTES.replace("000002.jpg", "a/000002.jpg"), "line 4: expected a picture's name, not the path"),
        (ATTRIBUTES.replace("Young", "Eyeglasses"), "line 2: 'Eyeglasses' is the name of something else already"),
        (ATTRIBUTES.replace("Young", "part"), "line 2: 'part' is the name of something else already"),
        (ATTRIBUTES.replace("Young", "Jung(e)"), "line 2: 'Jung(e)' cannot be a name"),
        (ATTRIBUTES.replace("000002.jpg", "\n000002.jpg"), "line 4: is empty"),
    ],
)
def test_odd_lists_of_attributes_are_refused_with_the_line(
    unpacked: Unpacked, picture: Picture, text: str, why: str
) -> None:
    assert why in refused(unpacked, picture, **{"Anno/list_attr_celeba.txt": text})


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("Anno/identity_CelebA.txt", "000001.jpg\n", "line 1: expected a picture and a number, as 000001.jpg 1, not"),
        ("Anno/identity_CelebA.txt", "000001.jpg 1\n", "identity_CelebA.txt: does not name '000002.jpg', which "),
        ("Anno/identity_CelebA.txt", "", "does not name '000001.jpg'"),
        ("Anno/identity_CelebA.txt", "000001.jpg 1\n000001.jpg 2\n", "line 2: '000001.jpg' is listed a second time"),
        ("Eval/list_eval_partition.txt", "000001.jpg 3\n", "line 1: the part must be one of 0, 1, 2, not '3'"),
        ("Anno/list_landmarks_align_celeba.txt", POINTS.replace("nose", "tip"), "line 2: expected the names lefteye_x"),
        ("Anno/list_landmarks_align_celeba.txt", POINTS.replace("62 ", "x "), "line 4: points must be numbers"),
        (
            "Anno/list_landmarks_align_celeba.txt",
            POINTS.replace("62 ", ""),
            "line 4: expected a picture and 10 numbers",
        ),
    ],
)
def test_odd_lists_beside_it_are_refused_with_the_line(
    unpacked: Unpacked, *, picture: Picture, name: str, text: str, why: str
) -> None:
    assert why in refused(unpacked, picture, **{name: text})


def test_a_list_that_is_not_utf_8_is_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match=r"list_attr_celeba\.txt: cannot be read as UTF-8 text"):
        read_celeba(open_folder(unpacked(*ALIGNED, **{"list_attr_celeba.txt": b"1\nJ\xfcnger\n000001.jpg 1\n"})))


@pytest.mark.parametrize("names", [(), tuple(ALIGNED), ("Anno/identity_CelebA.txt",)])
def test_a_folder_without_the_list_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected list_attr_celeba\.txt, and pictures as img_align_celeba/000001"):
        read_celeba(open_folder(unpacked(*names)))


def test_a_list_without_any_of_its_pictures_is_refused(unpacked: Unpacked) -> None:
    with pytest.raises(SourceError, match="is not laid out like this data set"):
        read_celeba(open_folder(unpacked("000001.jpg", **LISTS)))
