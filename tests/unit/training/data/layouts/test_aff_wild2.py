from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.aff_wild2 import read_aff_wild2
from training.data.layouts.folder import open_folder
from training.data.sources import PictureItem
from training.errors import SourceError

Unpacked = Callable[..., Path]

EXPRESSIONS = "ABAW Annotations/EXPR_Recognition_Challenge"
UNITS = "ABAW Annotations/AU_Detection_Challenge"
HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n"


def frames(video: str, *numbers: int) -> list[str]:
    return [f"cropped_aligned/{video}/{number:05d}.jpg" for number in numbers]


def labels(expression: str, au_1: str, au_12: str, *parts: str) -> dict[str, str]:
    return {
        "expression": expression,
        "au_1": au_1,
        "au_12": au_12,
        "expression_part": parts[0],
        "au_part": parts[1],
    }


def test_a_frame_is_told_of_by_the_line_after_the_header_that_has_its_number(unpacked: Unpacked) -> None:
    """Of frame 1 both is known, of 2 the expression, of 3 one action unit, of 4 nothing, of 5 one action unit that is absent."""
    told = {
        f"{EXPRESSIONS}/Train_Set/video1.txt": HEADER + "4\n1\n-1\n-1\n-1\n",
        f"{UNITS}/Validation_Set/video1.txt": "AU1,AU12\n0,1\n-1,-1\n-1,1\n-1,-1\n0,-1\n",
    }
    places = frames("video1", 1, 2, 3, 4, 5)
    folder = open_folder(unpacked(*places, **told))
    listing = read_aff_wild2(folder)
    parts = ("train", "validation")
    assert listing.items == [
        PictureItem(places[0], places[0], "video1", "photo", labels("happiness", "0", "1", *parts)),
        PictureItem(places[1], places[1], "video1", "photo", labels("anger", "", "", *parts)),
        PictureItem(places[2], places[2], "video1", "photo", labels("", "", "1", *parts)),
        PictureItem(places[4], places[4], "video1", "photo", labels("", "0", "", *parts)),
    ]
    assert list(listing.items[0].labels) == ["expression", "au_1", "au_12", "expression_part", "au_part"]
    assert (listing.role, listing.class_label, listing.attributes) == ({}, "expression", ("au_1", "au_12"))
    assert folder.left_out == {"frames of which nothing is known": [places[3]]}


def test_videos_may_have_one_kind_of_label_alone(unpacked: Unpacked) -> None:
    told = {
        f"{EXPRESSIONS}/Validation_Set/b.txt": HEADER + "0\n",
        f"{UNITS}/Train_Set/a.txt": "AU1,AU12\n1,0\n",
    }
    listing = read_aff_wild2(open_folder(unpacked(*frames("a", 1), *frames("b", 1), **told)))
    assert [(item.subject, item.labels) for item in listing.items] == [
        ("a", labels("", "1", "0", "", "train")),
        ("b", labels("neutral", "", "", "validation", "")),
    ]


def test_each_kind_of_label_has_its_own_part_in_whatever_order_the_files_lie(unpacked: Unpacked) -> None:
    told = {
        "1/AU_Set/Train_Set/a.txt": "AU1,AU12\n1,0\n",
        "2/EXPR_Set/Validation_Set/a.txt": HEADER + "1\n",
        "1/EXPR_Set/Train_Set/b.txt": HEADER + "1\n",
        "2/AU_Set/Validation_Set/b.txt": "AU1,AU12\n1,0\n",
    }
    listing = read_aff_wild2(open_folder(unpacked(*frames("a", 1), *frames("b", 1), **told)))
    assert [item.labels for item in listing.items] == [
        labels("anger", "1", "0", "validation", "train"),
        labels("anger", "1", "0", "train", "validation"),
    ]


def test_whoever_else_is_in_a_video_is_somebody_else(unpacked: Unpacked) -> None:
    names = ("v", "v_left", "v_right")
    told = {f"{EXPRESSIONS}/Train_Set/{name}.txt": f"{HEADER}{number}\n" for number, name in enumerate(names)}
    listing = read_aff_wild2(open_folder(unpacked(*(frames(name, 1)[0] for name in names), **told)))
    assert [(item.subject, item.labels["expression"]) for item in listing.items] == [
        ("v", "neutral"),
        ("v_left", "anger"),
        ("v_right", "disgust"),
    ]


def test_the_header_says_which_number_is_which_expression(unpacked: Unpacked) -> None:
    """Releases differ: the older has no `Other`."""
    told = {
        "EXPR_Set/Training_Set/old.txt": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n" + "6\n5\n3\n",
        f"{EXPRESSIONS}/Train_Set/new.txt": HEADER + "7\n6\n",
        f"{EXPRESSIONS}/Train_Set/turned.txt": "Surprise, Neutral\n0\n1\n",
    }
    places = [*frames("new", 1, 2), *frames("old", 1, 2, 3), *frames("turned", 1, 2)]
    listing = read_aff_wild2(open_folder(unpacked(*places, **told)))
    assert [item.labels for item in listing.items] == [
        {"expression": name, "expression_part": "train"}
        for name in ("other", "surprise", "surprise", "sadness", "fear", "surprise", "neutral")
    ]
    assert (listing.class_label, listing.attributes) == ("expression", ())


def test_files_may_tell_of_different_action_units_in_their_own_order(unpacked: Unpacked) -> None:
    told = {"AU_Set/Train_Set/a.txt": "AU12,AU4\n1,0\n", "AU_Set/Train_Set/b.txt": "AU4,AU26\n1,0\n"}
    listing = read_aff_wild2(open_folder(unpacked(*frames("a", 1), *frames("b", 1), **told)))
    assert [item.labels for item in listing.items] == [
        {"au_4": "0", "au_12": "1", "au_26": "", "au_part": "train"},
        {"au_4": "1", "au_12": "", "au_26": "0", "au_part": "train"},
    ]
    assert (listing.class_label, listing.attributes) == ("", ("au_4", "au_12", "au_26"))


def test_frames_without_a_line_and_lines_without_a_frame_are_counted(unpacked: Unpacked) -> None:
    """No frame has the number 0, and the last line is not of it; a line of nothing is of no use to anybody."""
    told = {f"{EXPRESSIONS}/Train_Set/v.txt": HEADER + "1\n2\n-1\n3\n"}
    places = frames("v", 0, 1, 5)
    others = ["cropped/v/00002.jpg", "cropped_aligned/v/mean.jpg", "cropped_aligned/w/00001.jpg"]
    folder = open_folder(unpacked(*places, *others, **told))
    assert [(item.key, item.labels["expression"]) for item in read_aff_wild2(folder).items] == [(places[1], "anger")]
    assert {reason: sorted(found) for reason, found in folder.left_out.items()} == {
        "pictures in other folders": ["cropped/v/00002.jpg"],
        "pictures with other names": ["cropped_aligned/v/mean.jpg"],
        "frames of which nothing is known": [places[0], places[2], "cropped_aligned/w/00001.jpg"],
        "frames that are told of and have no picture": ["v/00002", "v/00004"],
    }


def test_valence_and_lists_of_videos_to_test_with_are_not_read(unpacked: Unpacked) -> None:
    told = {
        f"{EXPRESSIONS}/Train_Set/v.txt": HEADER + "1\n",
        "VA_Estimation_Challenge/Train_Set/v.txt": "valence,arousal\n0.1,0.2\n",
        "Automatic/Train_Set/v.txt": "words\n",
        f"{EXPRESSIONS}/Test_Set/w.txt": "words\n",
        "MTL_Challenge/train_set.txt": "image,valence\n",
    }
    assert len(read_aff_wild2(open_folder(unpacked(*frames("v", 1), **told))).items) == 1


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("EXPR", HEADER + "1\n8\n", "line 3: the expression must be one of -1, 0, 1, 2, 3, 4, 5, 6, 7, not '8'"),
        ("EXPR", HEADER + "-2\n", "line 2: the expression must be one of"),
        ("EXPR", HEADER + "1,0\n", "line 2: expected a number, not '1 0'"),
        ("EXPR", HEADER + "1\n\n2\n", "line 3: is empty"),
        ("EXPR", "1\n2\n", "line 1: expected names of expressions, as Neutral,Anger"),
        ("EXPR", "Neutral,Joy\n1\n", "line 1: expected names of expressions"),
        ("EXPR", "Neutral,Anger,Anger\n1\n", "line 1: expected names of expressions"),
        ("EXPR", "\n" + HEADER + "1\n", "line 1: is empty"),
        ("EXPR", "", "is empty; expected a line of names"),
        ("EXPR", b"\xff\n", "cannot be read as UTF-8 text"),
        ("AU", "AU1,AU2\n1,0\n2,0\n", "line 3: action unit 1 must be one of 0, 1, -1, not '2'"),
        ("AU", "AU1,AU2\n1,0,1\n", "line 2: expected 2 numbers with commas between them, not '1 0 1'"),
        ("AU", "AU1,AU2\n1\n", "line 2: expected 2 numbers"),
        ("AU", "AU1,AU1\n1,0\n", "line 1: expected names of action units, as AU1,AU2,AU4"),
        ("AU", "1,0\n0,0\n", "line 1: expected names of action units"),
        ("AU", "AU1,smile\n0,0\n", "line 1: expected names of action units"),
    ],
)
def test_odd_annotations_are_refused_with_the_line(
    unpacked: Unpacked, *, name: str, text: str | bytes, why: str
) -> None:
    place = f"{name}_Set/Train_Set/v.txt"
    with pytest.raises(SourceError) as failure:
        read_aff_wild2(open_folder(unpacked(*frames("v", 1, 2), **{place: text})))
    assert f"v.txt, {why}" in str(failure.value) or f"v.txt: {why}" in str(failure.value)


def test_a_video_that_is_told_of_twice_is_refused(unpacked: Unpacked) -> None:
    """As where the annotations of two challenges lie in one folder."""
    told = {f"{EXPRESSIONS}/{part}/v.txt": HEADER + "1\n" for part in ("Train_Set", "Validation_Set")}
    with pytest.raises(SourceError, match=r"tells of v twice, in '.+/Train_Set/v\.txt' and '.+/Validation_Set/v\.txt'"):
        read_aff_wild2(open_folder(unpacked(*frames("v", 1), **told)))


def test_two_pictures_of_one_frame_are_refused(unpacked: Unpacked) -> None:
    told = {f"{EXPRESSIONS}/Train_Set/v.txt": HEADER + "1\n"}
    with pytest.raises(SourceError, match="holds two pictures of v/00001, "):
        read_aff_wild2(open_folder(unpacked(*frames("v", 1), "cropped_aligned/v/1.jpg", **told)))


@pytest.mark.parametrize("names", [(), tuple(frames("v", 1)), (f"{EXPRESSIONS}/Train_Set/v.jpg",)])
def test_a_folder_without_annotations_is_refused(unpacked: Unpacked, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"expected EXPR\.\.\./Train_Set/VIDEO\.txt or AU\.\.\./Train_Set/VIDEO\.txt"):
        read_aff_wild2(open_folder(unpacked(*names)))
