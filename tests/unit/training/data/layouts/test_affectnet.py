import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.data.layouts.affectnet import read_affectnet
from training.data.layouts.folder import open_folder
from training.data.sources import PictureItem
from training.errors import SourceError

Unpacked = Callable[..., Path]
Picture = Callable[..., bytes]

TOP = "Manually_Annotated/Manually_Annotated_Images"
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
NAMES = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
POINTS = np.full((68, 2), 1.0)
POINTS[36:42] = [[30, 40], [36, 38], [40, 38], [46, 40], [40, 43], [36, 41]]
POINTS[42:48] = [[70, 41], [74, 39], [80, 39], [86, 41], [80, 43], [72, 43]]
POINTS[[30, 48, 54]] = [[58.5, 60], [40, 80], [76, 81]]
FIVE = [(38.0, 40.0), (77.0, 41.0), (58.5, 60.0), (40.0, 80.0), (76.0, 81.0)]
"""By hand: 228 / 6 and 240 / 6; 462 / 6 and 246 / 6."""
LISTED = ";".join(str(number) for number in POINTS.ravel().tolist())


def row(path: str, expression: object, points: str = LISTED) -> str:
    return f"{path},10,10,90,90,{points},{expression},-0.5,0.25\n"


def npy(array: npt.ArrayLike) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array))
    return stream.getvalue()


def facts(items: list[PictureItem]) -> list[tuple[str, str, str]]:
    return [(item.key, item.labels["expression"], item.labels["part"]) for item in items]


def test_lists_say_what_whole_pictures_show_and_where_68_points_are(unpacked: Unpacked, picture: Picture) -> None:
    """One of the lists comes without a header, as some copies do."""
    places = [f"{TOP}/1/a.jpg", f"{TOP}/1/b.JPG", f"{TOP}/22/a.png"]
    lists = {
        "training.csv": HEADER + row("1/a.jpg", 3) + row("22/a.png", 1, ""),
        "validation.csv": row("1/b.JPG", 5),
    }
    files = {place: picture(seed, (120, 110)) for seed, place in enumerate(places)}
    folder = open_folder(unpacked(**files, **lists))
    listing = read_affectnet(folder)
    assert listing.items == [
        PictureItem(places[0], places[0], "", "photo", {"expression": "surprise", "part": "train"}, FIVE),
        PictureItem(places[1], places[1], "", "photo", {"expression": "disgust", "part": "validation"}, FIVE),
        PictureItem(places[2], places[2], "", "photo", {"expression": "happiness", "part": "train"}),
    ]
    assert (listing.role, listing.class_label, listing.attributes) == ({}, "expression", ())
    assert folder.left_out == {}


def test_columns_of_a_header_may_stand_in_another_order(unpacked: Unpacked, picture: Picture) -> None:
    text = f",expression,facial_landmarks,subDirectory_filePath\n0,6,{LISTED},1/a.jpg\n"
    folder = open_folder(unpacked(**{f"{TOP}/1/a.jpg": picture(0, (120, 110)), "lists/Training.csv": text}))
    (item,) = read_affectnet(folder).items
    assert (item.labels["expression"], item.landmarks) == ("anger", FIVE)


def test_every_number_is_an_expression_or_not_known_or_no_face(unpacked: Unpacked) -> None:
    """8 (none) and 9 (uncertain) are no class of their own; of 10 there is no face to tell of."""
    places = [f"{TOP}/1/{number:02d}.jpg" for number in range(11)]
    text = "".join(row(f"1/{number:02d}.jpg", number, "") for number in range(11))
    folder = open_folder(unpacked(*places, **{"training.csv": text}))
    listing = read_affectnet(folder)
    assert [item.labels["expression"] for item in listing.items] == [*NAMES, "", ""]
    assert [item.key for item in listing.items] == places[:-1]
    assert folder.left_out == {"pictures without a face": [places[-1]]}


def test_pictures_without_a_line_and_lines_without_a_picture_are_counted(unpacked: Unpacked) -> None:
    """What a network saw is not read."""
    automatic = {"automatically_annotated.csv": HEADER + row("7/z.jpg", 1)}
    folder = open_folder(
        unpacked(
            f"{TOP}/1/a.jpg",
            "Auto/7/z.jpg",
            **{"training.csv": HEADER + row("1/b.jpg", 1) + row("1/a.jpg", 1, "")},
            **automatic,
        )
    )
    assert facts(read_affectnet(folder).items) == [(f"{TOP}/1/a.jpg", "happiness", "train")]
    assert folder.left_out == {
        "lines about pictures that are not there": ["training.csv, line 2"],
        "pictures that no list names": ["Auto/7/z.jpg"],
    }


def test_points_that_do_not_fit_are_not_taken(unpacked: Unpacked, picture: Picture) -> None:
    files = {f"{TOP}/1/a.jpg": picture(0, (50, 50)), "training.csv": row("1/a.jpg", 1)}
    folder = open_folder(unpacked(**files))
    assert [item.landmarks for item in read_affectnet(folder).items] == [None]
    assert folder.left_out == {"sets of points that do not fit their pictures": [f"{TOP}/1/a.jpg"]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            HEADER + row("1/a.jpg", 11),
            "line 2: the expression must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, not '11'",
        ),
        (HEADER + row("1/a.jpg", -1), "line 2: the expression must be one of"),
        (HEADER + row("1/a.jpg", ""), "line 2: the expression must be one of"),
        (HEADER + "1/a.jpg,1,2\n", "line 2: expected 9 fields, as in subDirectory_filePath, face_x"),
        ("1/a.jpg,1,2\n", "line 1: expected 9 fields"),
        (HEADER.replace("expression", "emotion"), "line 1: the header must name the column 'expression' once"),
        (HEADER.replace("valence", "expression"), "line 1: the header must name the column 'expression' once"),
        (HEADER + row("1/a.jpg", 1) + row("1/a.jpg", 2), "line 3: '1/a.jpg' is listed a second time"),
        (HEADER + row("../1/a.jpg", 1), "line 2: '../1/a.jpg' is no path below the folder"),
        (HEADER + row("/1/a.jpg", 1), "line 2: '/1/a.jpg' is no path below the folder"),
        (HEADER + row("1/a.jpg", 1, "1;2"), "line 2: expected x and y of 68 points"),
        (HEADER + row("1/a.jpg", 1, LISTED + ";1.0"), "line 2: expected x and y of 68 points"),
        (HEADER + row("1/a.jpg", 1, LISTED.replace("58.5", "nan")), "line 2: expected x and y of 68 points"),
        (HEADER + row("1/a.jpg", 1, LISTED.replace("58.5", "x")), "line 2: expected x and y of 68 points"),
        (HEADER.encode() + b"\xff", "cannot be read as UTF-8 text"),
    ],
)
def test_odd_lists_are_refused_with_the_line(unpacked: Unpacked, text: str | bytes, why: str) -> None:
    with pytest.raises(SourceError) as failure:
        read_affectnet(open_folder(unpacked(f"{TOP}/1/a.jpg", **{"training.csv": text})))
    assert f"training.csv, {why}" in str(failure.value) or f"training.csv: {why}" in str(failure.value)


def test_a_picture_to_train_with_is_not_for_validation_too(unpacked: Unpacked) -> None:
    lists = {"training.csv": row("1/a.jpg", 1, ""), "validation.csv": row("1/a.jpg", 1, "")}
    with pytest.raises(SourceError, match=r"validation\.csv, line 1: '1/a\.jpg' is listed a second time"):
        read_affectnet(open_folder(unpacked(f"{TOP}/1/a.jpg", **lists)))


def arrays(number: int | str, expression: npt.ArrayLike, which: str = "train_set", **more: bytes) -> dict[str, bytes]:
    beside = f"AffectNet/{which}/annotations/{number}"
    return {f"{beside}_exp.npy": npy(expression), f"{beside}_val.npy": npy("0.1")} | {
        f"{beside}_{kind}.npy": content for kind, content in more.items()
    }


def test_arrays_say_what_crops_show(unpacked: Unpacked, picture: Picture) -> None:
    """Expressions are text or numbers, with or without an axis; points are 136 numbers or 68 pairs."""
    train, held_out = "AffectNet/train_set/images", "AffectNet/val_set/images"
    crops = {
        place: picture(seed, (224, 224))
        for seed, place in enumerate([f"{train}/0.jpg", f"{train}/10.jpg", f"{train}/2.jpg", f"{held_out}/0.jpg"])
    }
    files = (
        arrays(0, "6", lnd=npy(POINTS.ravel()))
        | arrays(10, 7)
        | arrays(2, np.array([4.0]), lnd=npy(POINTS.astype(np.float32)))
        | arrays(0, np.int64(0), "val_set")
    )
    folder = open_folder(unpacked(**crops, **files))
    listing = read_affectnet(folder)
    assert facts(listing.items) == [
        (f"{train}/0.jpg", "anger", "train"),
        (f"{train}/10.jpg", "contempt", "train"),
        (f"{train}/2.jpg", "fear", "train"),
        (f"{held_out}/0.jpg", "neutral", "validation"),
    ]
    assert [item.landmarks for item in listing.items] == [FIVE, None, FIVE, None]
    assert folder.left_out == {}


def test_crops_without_arrays_or_a_face_and_arrays_without_crops_are_counted(unpacked: Unpacked) -> None:
    crops = [f"train_set/images/{name}.jpg" for name in ("0", "1", "2", "3")]
    files = {f"train_set/annotations/{number}_exp.npy": npy(str(number)) for number in (1, 8, 10)}
    files["train_set/annotations/3_exp.npy"] = npy("10")
    files["train_set/annotations/8_lnd.npy"] = npy(POINTS)
    files["train_set/9_exp.npy"] = npy("1")
    folder = open_folder(unpacked(*crops, "figure.png", **files))
    assert facts(read_affectnet(folder).items) == [(crops[1], "happiness", "train")]
    assert folder.left_out == {
        "pictures in other folders": ["figure.png"],
        "arrays in other folders": ["train_set/9_exp.npy"],
        "pictures without an expression": [crops[0], crops[2]],
        "pictures without a face": [crops[3]],
        "arrays of pictures that are not there": [
            "train_set/annotations/10_exp.npy",
            "train_set/annotations/8_exp.npy",
            "train_set/annotations/8_lnd.npy",
        ],
    }


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("exp", npy("11"), "the expression must be one of"),
        ("exp", npy("happy"), "the expression must be one of"),
        ("exp", npy(1.5), "the expression must be one of"),
        ("exp", npy([1, 2]), "expected one number, not 2"),
        ("exp", npy([]), "expected one number, not 0"),
        ("exp", npy(np.array("1"))[:-1], "the .npy header and the number of bytes sent do not agree"),
        ("exp", b"1", "not a .npy array: its header is damaged"),
        ("lnd", npy(POINTS[:67]), "expected x and y of 68 points"),
        ("lnd", npy(["x"] * 136), "expected x and y of 68 points"),
        ("lnd", npy(np.full(136, np.inf)), "expected x and y of 68 points"),
    ],
)
def test_odd_arrays_are_refused_with_their_file(unpacked: Unpacked, name: str, content: bytes, why: str) -> None:
    files = arrays(0, "1") | {f"AffectNet/train_set/annotations/0_{name}.npy": content}
    with pytest.raises(SourceError) as failure:
        read_affectnet(open_folder(unpacked("AffectNet/train_set/images/0.jpg", **files)))
    assert f"0_{name}.npy: {why}" in str(failure.value)


def test_an_array_that_runs_code_when_it_is_loaded_is_refused(unpacked: Unpacked, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([tmp_path], dtype=object), allow_pickle=True)
    files = {"train_set/annotations/0_exp.npy": stream.getvalue()}
    with pytest.raises(
        SourceError, match=r"0_exp\.npy: the \.npy array must hold plain numbers or text, never objects"
    ):
        read_affectnet(open_folder(unpacked("train_set/images/0.jpg", **files)))


def test_two_arrays_of_one_picture_are_refused(unpacked: Unpacked) -> None:
    files = {f"{top}train_set/annotations/0_exp.npy": npy("1") for top in ("", "copy/")}
    with pytest.raises(SourceError, match="holds two files of train/0_exp, "):
        read_affectnet(open_folder(unpacked("train_set/images/0.jpg", **files)))


def test_both_forms_in_one_folder_are_refused(unpacked: Unpacked) -> None:
    files = {"training.csv": HEADER, "train_set/annotations/0_exp.npy": npy("1")}
    with pytest.raises(SourceError, match=r"holds both forms of this data set, training\.csv and 'train_set/annot"):
        read_affectnet(open_folder(unpacked("train_set/images/0.jpg", **files)))


@pytest.mark.parametrize("names", [(), (f"{TOP}/1/a.jpg",), ("train_set/images/0.jpg",)])
def test_a_folder_of_pictures_alone_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected training\.csv and Manually_Annotated_Images/FOLDER/NAME\.jpg, or"):
        read_affectnet(open_folder(unpacked(*names)))
