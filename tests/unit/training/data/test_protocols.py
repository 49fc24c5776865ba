from pathlib import Path

import pytest

from training.data.protocols import find_rows, read_pairs, read_roles, roles_by_modality
from training.errors import SourceError

LFW = "2\t1\nAnn_Lee\t1\t3\nAnn_Lee\t1\tBob\t12\nBob\t2\t4\nCy\t7\tDee\t1\n"


def written(folder: Path, text: str, name: str = "pairs.txt") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    "text", [LFW, LFW.replace("\t", "   "), LFW + "\n\n", "\ufeff" + LFW, LFW.replace("\n", "\r\n")]
)
def test_pairs_of_lfw_are_read_fold_by_fold(tmp_path: Path, text: str) -> None:
    pairs = read_pairs(written(tmp_path, text))
    assert pairs.a == ("Ann_Lee_0001", "Ann_Lee_0001", "Bob_0002", "Cy_0007")
    assert pairs.b == ("Ann_Lee_0003", "Bob_0012", "Bob_0004", "Dee_0001")
    assert pairs.is_same_N.tolist() == [True, False, True, False]
    assert pairs.fold_N.tolist() == [0, 0, 1, 1]


def test_a_development_list_has_one_fold(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, "2\nA\t1\t2\nB\t1\t2\nA\t1\tB\t1\nA\t2\tB\t2\n"))
    assert pairs.is_same_N.tolist() == [True, True, False, False]
    assert set(pairs.fold_N.tolist()) == {0}


def test_pairs_of_a_csv_may_have_folds(tmp_path: Path) -> None:
    text = "a,b,same,fold\nx/1.jpg,x/2.jpg,1,0\nx/1.jpg,y/1.jpg,0,3\n"
    pairs = read_pairs(written(tmp_path, text, "pairs.csv"))
    assert (pairs.a, pairs.b) == (("x/1.jpg", "x/1.jpg"), ("x/2.jpg", "y/1.jpg"))
    assert (pairs.is_same_N.tolist(), pairs.fold_N.tolist()) == ([True, False], [0, 3])
    pairs = read_pairs(written(tmp_path, "same,b,a\n0,q,p\n", "other.csv"))
    assert (pairs.a, pairs.b, pairs.fold_N.tolist()) == (("p",), ("q",), [0])


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("pairs.txt", "", "line 1"),
        ("pairs.txt", "a b c\n", "line 1"),
        ("pairs.txt", "ten\n", "'ten' is no number"),
        ("pairs.txt", "1\t2\nA\t1\t2\n", "announces 1 x 2 x 2 pairs, and has 1"),
        ("pairs.txt", "1\t0\n", "announces"),
        ("pairs.txt", "1\t1\nA\t1\tB\t2\nA\t1\tB\t2\n", "line 2: not a matched pair"),
        ("pairs.txt", "1\t1\nA\t1\t2\nA\t1\t2\n", "line 3: not a mismatched pair"),
        ("pairs.txt", "1\t1\nA\t1\t-2\nA\t1\tB\t2\n", "line 2: '-2' is no number"),
        ("pairs.csv", "a,b\n1,2\n", "columns a, b and same"),
        ("pairs.csv", "", "columns a, b and same"),
        ("pairs.csv", "a,b,same\n", "has no pairs"),
        ("pairs.csv", "a,b,same\nx,y,yes\n", "line 2"),
        ("pairs.csv", "a,b,same\nx,,1\n", "line 2"),
        ("pairs.csv", "a,b,same,fold\nx,y,1,one\n", "'one' is no number"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(tmp_path: Path, name: str, text: str, why: str) -> None:
    with pytest.raises(SourceError, match=name) as caught:
        read_pairs(written(tmp_path, text, name))
    assert why in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_pairs(tmp_path / "missing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="cannot be read"):
        read_pairs(tmp_path / "binary.txt")


def test_rows_are_found_by_key_or_by_a_name_that_only_one_has() -> None:
    image = ["A/A_0001.jpg", "B/B_0001.jpg", "C/same.png", "D/same.png"]
    asked = ["A_0001", "B/B_0001.jpg", "D/same.png", "same", "E_0001", "elsewhere/A/A_0001.bmp"]
    assert find_rows(image, asked).tolist() == [0, 1, 3, -1, -1, 0]


def test_a_picture_of_one_name_in_somebody_elses_folder_is_another() -> None:
    assert find_rows(["Ann/C00150.jpg"], ["Bob/C00150.jpg", "top/Ann/C00150.png", "C00150"]).tolist() == [-1, 0, 0]


def test_roles_are_read_with_their_folds(tmp_path: Path) -> None:
    text = "image,role,fold\na.jpg,gallery,1\nb.jpg,probe,1\na.jpg,probe,2\n"
    roles = read_roles(written(tmp_path, text, "roles.csv"))
    assert roles.image == ("a.jpg", "b.jpg", "a.jpg")
    assert (roles.is_probe_N.tolist(), roles.fold_N.tolist()) == ([False, True, True], [1, 1, 2])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "columns image and role"),
        ("image,roles\n", "columns image and role"),
        ("image,role\n", "has no pictures"),
        ("image,role\na.jpg,query\n", "line 2: give a picture, and gallery or probe"),
        ("image,role\n,probe\n", "line 2: give a picture"),
        ("image,role,fold\na.jpg,probe,one\n", "line 2: 'one' is no number"),
    ],
)
def test_roles_that_cannot_be_meant_name_the_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read_roles(written(tmp_path, text, "roles.csv"))


def test_modalities_make_roles_both_ways() -> None:
    modality = ["photo", "caricature", "sketch", "photo"]
    roles = roles_by_modality(["a", "b", "c", "d"], modality, "caricature", "photo")
    assert (roles.image, roles.is_probe_N.tolist()) == (("a", "b", "d"), [False, True, False])
    back = roles_by_modality(["a", "b", "c", "d"], modality, "photo", "caricature")
    assert back.is_probe_N.tolist() == [True, False, True]


def test_a_fault_names_the_line_that_it_is_on(tmp_path: Path) -> None:
    text = 'image,role\n\n"a\nb.jpg",probe\nc.jpg,query\n'
    with pytest.raises(SourceError, match="line 5: give a picture"):
        read_roles(written(tmp_path, text, "roles.csv"))
    endless = "image,role\n" + "x" * 200_000 + ",probe\n"
    with pytest.raises(SourceError, match="line 2: cannot be read"):
        read_roles(written(tmp_path, endless, "roles.csv"))


def test_a_list_can_be_cut_to_a_fold(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b,same,fold\nx,y,1,0\nx,z,0,3\nu,v,1,3\n")
    pairs = read_pairs(tmp_path / "pairs.csv")
    assert pairs.of_fold(3).a == ("x", "u")
    assert pairs.of_fold(3).is_same_N.tolist() == [False, True]
    assert pairs.of_fold(None).a == pairs.a
    with pytest.raises(SourceError, match=r"fold 1 is not in the list; there are 0, 3"):
        pairs.of_fold(1)
    (tmp_path / "roles.csv").write_text("image,role,fold\nx,probe,0\ny,gallery,2\nz,probe,2\n")
    roles = read_roles(tmp_path / "roles.csv").of_fold(2)
    assert (roles.image, roles.is_probe_N.tolist(), roles.fold_N.tolist()) == (("y", "z"), [False, True], [2, 2])
