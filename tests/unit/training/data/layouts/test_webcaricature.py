from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.picture import ARCFACE_5PT
from training.data.layouts.folder import Folder, open_folder
from training.data.layouts.listing import Listing
from training.data.layouts.webcaricature import read_webcaricature
from training.data.protocols import PairList, RoleList
from training.errors import SourceError

Unpacked = Callable[..., Path]
Picture = Callable[..., bytes]

ADELE, HOPE = "OriginalImages/Adele Laurie Blue Adkins", "OriginalImages/Bob Hope"
CARICATURES = (f"{ADELE}/C00001.jpg", f"{ADELE}/C00039.jpg", f"{HOPE}/C00001.jpg")
PHOTOS = (f"{ADELE}/P00001.jpg", f"{HOPE}/P00001.jpg", f"{HOPE}/P00006.jpg")
SETS = "EvaluationProtocols/FaceVerification"
RESTRICTED, UNRESTRICTED = f"{SETS}/Restricted/RestrictedView2.txt", f"{SETS}/UnRestricted/UnRestrictedView2.txt"
IDENTIFICATION = "EvaluationProtocols/FaceIdentification"
ABSENT, ABSENT_PEOPLE = (f"lines of protocols about {what} that are not there" for what in ("pictures", "people"))


@pytest.fixture
def read(unpacked: Unpacked) -> Callable[..., tuple[Listing, Folder]]:
    """Reads the six pictures, and the files that are given beside them."""

    def call(**files: object) -> tuple[Listing, Folder]:
        folder = open_folder(unpacked(*CARICATURES, *PHOTOS, **files))
        return read_webcaricature(folder), folder

    return call


Read = Callable[..., tuple[Listing, Folder]]


def pairs_of(listing: Listing, name: str = "pairs.csv") -> list[tuple[str, str, bool, int]]:
    found = listing.lists[name]
    assert isinstance(found, PairList)
    return list(zip(found.a, found.b, found.is_same_N.tolist(), found.fold_N.tolist(), strict=True))


def roles_of(listing: Listing, name: str) -> list[tuple[str, bool, int]]:
    found = listing.lists[name]
    assert isinstance(found, RoleList)
    return list(zip(found.image, found.is_probe_N.tolist(), found.fold_N.tolist(), strict=True))


def points_file(five: np.ndarray, num: int = 17) -> str:
    """Lines of 17 points, of which the five are found: the corners of an eye lie three pixels off its middle."""
    points = [(-50.0, 1e4)] * num
    for place, middle in ((8, five[0]), (10, five[1])):
        points[place], points[place + 1] = (middle[0] - 3, middle[1] + 3), (middle[0] + 3, middle[1] - 3)
    points[12], points[14], points[16] = (tuple(point) for point in five[2:])
    return "".join(f"{x} {y}\r\n" for x, y in points)


def test_names_of_pictures_tell_caricatures_from_photos(read: Read) -> None:
    listing, folder = read()
    assert [(item.key, item.subject, item.modality) for item in listing.items] == [
        (PHOTOS[0], "Adele Laurie Blue Adkins", "photo"),
        (PHOTOS[1], "Bob Hope", "photo"),
        (PHOTOS[2], "Bob Hope", "photo"),
        (CARICATURES[0], "Adele Laurie Blue Adkins", "caricature"),
        (CARICATURES[1], "Adele Laurie Blue Adkins", "caricature"),
        (CARICATURES[2], "Bob Hope", "caricature"),
    ]
    assert listing.role == dict.fromkeys(PHOTOS, "gallery") | dict.fromkeys(CARICATURES, "probe")
    assert (listing.lists, folder.left_out) == ({}, {})


def test_pictures_elsewhere_or_of_other_names_are_told_and_people_are_known_in_any_case(unpacked: Unpacked) -> None:
    other, elsewhere = f"{HOPE}/bob.jpg", ("OriginalImages/P00001.jpg", "aligned/Bob Hope/P00007.jpg", "cover.png")
    names = ("Web/OriginalImages/BOB  hope/p00009.png", *CARICATURES, *PHOTOS, other, *elsewhere)
    folder = open_folder(unpacked(*names))
    listing = read_webcaricature(folder)
    assert [item.subject for item in listing.items if item.key == names[0]] == ["Bob Hope"]
    assert len(listing.items) == 7
    assert folder.left_out == {"pictures in other folders": sorted(elsewhere), "pictures with other names": [other]}


def test_two_different_pictures_of_one_name_are_refused_and_a_copy_is_not(unpacked: Unpacked, picture: Picture) -> None:
    again = "copy/OriginalImages/bob hope/C00001.jpg"
    folder = open_folder(unpacked(*CARICATURES, *PHOTOS, **{again: picture(2)}))
    assert len(read_webcaricature(folder).items) == 6
    assert folder.left_out == {"copies": [again]}
    with pytest.raises(SourceError, match="two pictures of bob hope/c00001, "):
        read_webcaricature(open_folder(unpacked(*CARICATURES, *PHOTOS, **{again: picture(9)})))


@pytest.mark.parametrize("names", [(), CARICATURES, PHOTOS, ("a/C00001.jpg", "a/P00001.jpg")])
def test_a_folder_without_both_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected caricatures as OriginalImages/NAME/C00001\.jpg, and photos as"):
        read_webcaricature(open_folder(unpacked(*names)))


def test_eyes_nose_and_mouth_come_from_the_seventeen_points(unpacked: Unpacked, picture: Picture) -> None:
    """Of a picture wider than it is high; the points of hair and ears lie far outside."""
    five = 2 * ARCFACE_5PT + np.array([150, 10])
    pictures = {CARICATURES[0]: picture(0, (400, 300)), PHOTOS[0]: picture(1, (400, 300))}
    points = "\ufeff" + points_file(five)
    folder = open_folder(unpacked(**pictures, **{"facialpoints/ADELE laurie blue adkins/c00001.TXT": points}))
    photo, drawn = read_webcaricature(folder).items
    np.testing.assert_allclose(np.array(drawn.landmarks), five, atol=1e-9)
    assert photo.landmarks is None
    assert folder.left_out == {}


@pytest.mark.parametrize(
    ("point", "place", "is_taken"),
    [
        (4, (109.0, 100.0), True),
        (4, (111.0, 100.0), True),
        (4, (121.5, 100.0), True),
        (4, (123.5, 100.0), False),
        (2, (-11.0, 60.0), True),
        (2, (-11.5, 60.0), False),
        (2, (60.0, 220.0), True),
        (2, (60.0, 222.5), False),
        (0, (74.0, 50.0), False),
        (0, (np.nan, 50.0), False),
    ],
    ids=[
        "in it",
        "the last pixel",
        "a tenth to the right",
        "too far to the right",
        "a tenth to the left",
        "too far to the left",
        "a tenth below",
        "too far below",
        "left eye right of the right one",
        "no number",
    ],
)
def test_points_outside_by_more_than_a_tenth_or_with_swapped_eyes_are_not_taken(
    unpacked: Unpacked, picture: Picture, *, point: int, place: tuple[float, float], is_taken: bool
) -> None:
    """Of a picture of 112 x 202 pixels."""
    five = ARCFACE_5PT.copy()
    five[point] = place
    pictures = {CARICATURES[0]: picture(0, (112, 202)), PHOTOS[0]: picture(1)}
    points = "FacialPoints/Adele Laurie Blue Adkins/C00001.txt"
    folder = open_folder(unpacked(**pictures, **{points: points_file(five)}))
    drawn = read_webcaricature(folder).items[1]
    assert (drawn.landmarks is not None) == is_taken
    assert folder.left_out == ({} if is_taken else {"files of points that do not fit their pictures": [points]})


@pytest.mark.parametrize("num", [18, 20])
def test_another_number_of_points_is_not_taken(read: Read, num: int) -> None:
    points = "FacialPoints/Bob Hope/C00001.txt"
    listing, folder = read(**{points: points_file(ARCFACE_5PT, num)})
    assert {item.landmarks for item in listing.items} == {None}
    assert folder.left_out == {"files of points that do not fit their pictures": [points]}


FOLDS = """2
Adele Laurie Blue Adkins\tC00001\tP00001
Bob Hope\tC00001\tP00006
Adele Laurie Blue Adkins\tC00039\tBob Hope\tP00006
Bob Hope\tC00001\tAdele Laurie Blue Adkins\tP00001
1
bob HOPE\tc00001\tp00001
BOB Hope\tC00001\tadele laurie Blue Adkins\tP00001
"""
FOLDS_READ = [
    (CARICATURES[0], PHOTOS[0], True, 0),
    (CARICATURES[2], PHOTOS[2], True, 0),
    (CARICATURES[1], PHOTOS[2], False, 0),
    (CARICATURES[2], PHOTOS[0], False, 0),
    (CARICATURES[2], PHOTOS[1], True, 1),
    (CARICATURES[2], PHOTOS[0], False, 1),
]


@pytest.mark.parametrize(
    "text",
    [
        FOLDS,
        "\ufeff" + FOLDS.replace("\n", "\t\r\n"),
        "2\n" + FOLDS,
        FOLDS.replace("Blue ", "Blue\t").replace("\n", "\n\n"),
    ],
    ids=["as documented", "of Windows", "with the number of folds", "names apart by tabs, and empty lines"],
)
def test_pairs_are_read_fold_by_fold_with_the_caricature_first(read: Read, text: str) -> None:
    listing, folder = read(**{RESTRICTED: text})
    assert pairs_of(listing) == FOLDS_READ
    assert (list(listing.lists), folder.left_out) == (["pairs.csv"], {})


def test_pairs_whose_pictures_are_not_there_are_told_and_the_others_stay(read: Read) -> None:
    text = FOLDS.replace("P00006\nBob", "P00007\nBob").replace("Bob Hope\tC00001\tP00006", "Nobody\tC00001\tP00006")
    listing, folder = read(**{RESTRICTED: text})
    assert pairs_of(listing) == [FOLDS_READ[0], *FOLDS_READ[3:]]
    assert folder.left_out == {ABSENT: [f"{RESTRICTED}, line 3", f"{RESTRICTED}, line 4"]}
    listing, _ = read(**{RESTRICTED: "1\nNobody\tC00001\tP00001\nNobody\tC00001\tBob Hope\tP00001\n"})
    assert listing.lists == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no lines"),
        ("3", "has no lines"),
        ("pairs\n" + FOLDS, "line 1: expected the number of matched and of mismatched pairs, not 'pairs'"),
        (FOLDS.replace("1\nbob", "one\nbob"), "line 6: expected the number of matched and of mismatched pairs"),
        (FOLDS.replace("1\nbob", "2\nbob"), "line 6: announces 4 lines, and 2 follow"),
        ("3\n" + FOLDS, "announces 3 folds, and holds 2"),
        (FOLDS.replace("C00001\tP00001", "P00001\tC00001"), "line 2: expected a matched pair, as NAME C00001 P00001"),
        (FOLDS.replace("\tBob Hope\tP00006", "\tP00006"), "line 4: expected a mismatched pair, as NAME C00001 OTHER"),
        (FOLDS.replace("C00039", "C39"), "line 4: expected a mismatched pair, .+, not 'Adele Laurie Blue Adkins C39"),
        (b"\xff\xfe1\n", "cannot be read as UTF-8 text"),
    ],
)
def test_pairs_of_another_form_are_refused_with_file_and_line(read: Read, text: str, expected: str) -> None:
    with pytest.raises(SourceError, match=rf"RestrictedView2\.txt(: |, ){expected}"):
        read(**{RESTRICTED: text})


PEOPLE = "1\r\nBob Hope\t1\t2\r\n3\r\nadele laurie blue adkins\t2\t1\r\nBOB HOPE\t1\t2\r\nNobody\t9\t9\r\n"


@pytest.mark.parametrize("before", ["", "\ufeff2\r\n"])
def test_all_caricatures_of_a_folds_people_are_compared_with_all_their_photos(read: Read, before: str) -> None:
    listing, folder = read(**{UNRESTRICTED: before + PEOPLE})
    alone = [(CARICATURES[2], True, 0), *((photo, False, 0) for photo in PHOTOS[1:])]
    both = [*((drawn, True, 1) for drawn in CARICATURES), *((photo, False, 1) for photo in PHOTOS)]
    found = listing.lists["roles-unrestricted.csv"]
    assert isinstance(found, RoleList)
    rows = zip(found.image, found.is_probe_N.tolist(), found.fold_N.tolist(), strict=True)
    assert sorted(rows) == sorted([*alone, *both])
    assert folder.left_out == {ABSENT_PEOPLE: [f"{UNRESTRICTED}, line {7 if before else 6}"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\nBob Hope\t1\n", "line 2: expected a person, a number of caricatures and one of photos, not 'Bob Hope 1'"),
        ("Bob Hope\t1\t2\n", "line 1: expected the number of a fold's people"),
        ("2\nBob Hope\t1\t2\n", "line 1: announces 2 lines, and 1 follow"),
    ],
)
def test_people_of_folds_in_another_form_are_refused_with_file_and_line(read: Read, text: str, expected: str) -> None:
    with pytest.raises(SourceError, match=rf"UnRestrictedView2\.txt, {expected}"):
        read(**{UNRESTRICTED: text})


@pytest.mark.parametrize("before", ["", "\ufeff2\r\n"])
def test_people_to_train_with_are_listed_with_all_their_pictures(read: Read, before: str) -> None:
    files = {
        f"{IDENTIFICATION}/FR_Train3.txt": before + "BOB hope\t1\t2\r\nNobody\t3\t4\r\n",
        f"{IDENTIFICATION}/FR_Train10.txt": "Adele Laurie Blue Adkins\t2\t1\nBob Hope\t1\t2\n",
        f"{IDENTIFICATION}/FR_Train5.txt": "Somebody\t3\t4\n",
        f"{IDENTIFICATION}/FR_Train_dev.txt": "this is of View 1",
    }
    listing, folder = read(**files)
    assert list(listing.lists) == ["train-3.csv", "train-10.csv"]
    assert listing.lists["train-3.csv"] == [item for item in listing.items if item.subject == "Bob Hope"]
    assert listing.lists["train-10.csv"] == listing.items
    assert folder.left_out == {
        ABSENT_PEOPLE: [
            f"{IDENTIFICATION}/FR_Train3.txt, line {3 if before else 2}",
            f"{IDENTIFICATION}/FR_Train5.txt, line 1",
        ]
    }


def test_lists_to_train_with_of_another_form_are_refused_with_file_and_line(read: Read) -> None:
    with pytest.raises(SourceError, match=r"FR_Train1\.txt, line 2: expected a person, a number of caricatures and"):
        read(**{f"{IDENTIFICATION}/FR_Train1.txt": "Bob Hope\t1\t2\nBob Hope\n"})


WAYS = ("{}\t{}", "{}/{}.jpg", "{}\\{}.JPG", "{}/{}", "{}\\{}", "{}\t{}.jpg\t")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", ["", "\ufeff1\r\n"])
def test_probes_and_galleries_are_read_however_a_picture_is_named(read: Read, way: str, before: str) -> None:
    def text(*pictures: tuple[str, str]) -> str:
        return before + "".join(way.format(*picture) + "\r\n" for picture in pictures)

    bob, adele = (("Bob Hope", "P00006"), ("ADELE Laurie Blue Adkins", "P00001"))
    files = {
        "C2P/FR_Gallery_C2P1.txt": text(bob, adele),
        "C2P/FR_Probe_C2P1.txt": text(("Bob Hope", "c00001")),
        "C2P/FR_Gallery_C2P10.txt": text(bob),
        "C2P/FR_Probe_C2P10.txt": text(("adele laurie blue adkins", "C00001"), ("Bob Hope", "C00001")),
        "P2C/FR_Gallery_P2C2.txt": text(("Bob Hope", "C00001")),
        "P2C/FR_Probe_P2C2.txt": text(bob, adele),
        "C2P/FR_Gallery_C2P_dev.txt": "this is of View 1",
        "C2P/FR_Probe_C2P_dev.txt": "this is of View 1",
    }
    listing, folder = read(**{f"{IDENTIFICATION}/{name}": content for name, content in files.items()})
    assert roles_of(listing, "roles-c2p.csv") == [
        (CARICATURES[2], True, 0),
        (PHOTOS[2], False, 0),
        (PHOTOS[0], False, 0),
        (CARICATURES[0], True, 9),
        (CARICATURES[2], True, 9),
        (PHOTOS[2], False, 9),
    ]
    assert roles_of(listing, "roles-p2c.csv") == [
        (PHOTOS[2], True, 1),
        (PHOTOS[0], True, 1),
        (CARICATURES[2], False, 1),
    ]
    assert (list(listing.lists), folder.left_out) == (["roles-c2p.csv", "roles-p2c.csv"], {})


def test_probes_that_are_not_there_and_a_list_without_the_other_are_told(read: Read) -> None:
    probe, gallery, alone = (f"FR_{name}.txt" for name in ("Probe_C2P1", "Gallery_C2P1", "Gallery_C2P2"))
    listing, folder = read(
        **{probe: "Bob Hope\tC00001\nBob Hope\tC00002\n", gallery: "Bob Hope\tP00001\n", alone: "Bob Hope\tP00001\n"}
    )
    assert roles_of(listing, "roles-c2p.csv") == [(CARICATURES[2], True, 0), (PHOTOS[1], False, 0)]
    assert folder.left_out == {
        ABSENT: [f"{probe}, line 2"],
        "lists of probes or of a gallery without the other": [alone],
    }


@pytest.mark.parametrize(
    "line",
    [
        "C00001",
        "Bob Hope",
        "Bob Hope\tP00001",
        "Bob Hope\t1",
        "Bob Hope\tC1",
        "OriginalImages/Bob Hope/C00001.jpg",
        "Bob Hope\tC00001\tC00002",
        "Bob Hope\tC00001\tAdele Laurie Blue Adkins\tC00001",
        "Bob Hope/C00001.jpg 1",
    ],
)
def test_a_picture_named_in_another_way_is_refused_with_file_and_line(read: Read, line: str) -> None:
    files = {"FR_Probe_C2P4.txt": f"Bob Hope\tC00001\n{line}\n", "FR_Gallery_C2P4.txt": "Bob Hope\tP00001\n"}
    with pytest.raises(
        SourceError, match=r"FR_Probe_C2P4\.txt, line 2: expected a person and a picture, as NAME C00001"
    ):
        read(**files)
