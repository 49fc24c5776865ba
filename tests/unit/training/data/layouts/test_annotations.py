from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.layouts.annotations import (
    Line,
    by_first,
    find_list,
    fitting_name,
    fitting_points,
    keep_file,
    lines_of,
    need_list,
    rows_of,
    tell_absent,
)
from training.data.layouts.folder import open_folder
from training.errors import SourceError

Unpacked = Callable[..., Path]
UPRIGHT = [(30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (35.0, 80.0), (65.0, 80.0)]


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return path


def line(*fields: str) -> Line:
    return Line(Path("list.txt"), 7, list(fields))


def test_lines_are_numbered_from_one_and_their_fields_are_apart(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf a  b\r\nc\td \r\n\r\n\n")
    assert [(one.number, one.fields) for one in lines_of(path)] == [(1, ["a", "b"]), (2, ["c", "d"])]
    assert [one.fields for one in lines_of(written(tmp_path, b"a b, c\nd\n"), ",")] == [["a b", "c"], ["d"]]
    assert list(lines_of(written(tmp_path, b""))) == []


def test_an_empty_line_in_between_is_refused_as_what_follows_would_be_of_another_picture(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"list\.txt, line 2: is empty"):
        list(lines_of(written(tmp_path, b"a\n \nb\n")))


def test_rows_of_a_table_have_quoted_fields_and_the_number_of_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, b'"a,1", b \n,\n"c\nd",e\n')
    assert [(row.number, row.fields) for row in rows_of(path)] == [(1, ["a,1", "b"]), (4, ["c\nd", "e"])]


@pytest.mark.parametrize("read", [lines_of, rows_of])
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(SourceError, match=r"list\.txt: cannot be read as UTF-8 text$"):
        list(read(written(tmp_path, b"a\nb\xff\n")))  # type: ignore[call-overload]
    with pytest.raises(SourceError, match=r"none\.txt: cannot be read \(No such file or directory\)$"):
        list(read(tmp_path / "none.txt"))  # type: ignore[call-overload]


def test_a_field_that_no_table_can_have_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"list\.txt, line 2: not a CSV file \(field larger than field limit"):
        list(rows_of(written(tmp_path, b"a\n" + b"b" * 200_000)))


def test_another_number_of_fields_is_refused_and_shown_in_short() -> None:
    assert line("a", "b").need(2, "two words") == ["a", "b"]
    with pytest.raises(SourceError, match=r"^list\.txt, line 7: expected two words, not 'a'$"):
        line("a").need(2, "two words")
    with pytest.raises(SourceError, match=r"not 'x{60}\.\.\.'$"):
        line("x" * 90).need(2, "two words")


@pytest.mark.parametrize("path", ["", "/a.jpg", "../a.jpg", "a/../../b.jpg", "..\\a.jpg", "C:\\a.jpg", "."])
def test_paths_that_lead_out_of_the_folder_are_refused(path: str) -> None:
    with pytest.raises(SourceError, match=r"line 7: .+ is no path below the folder"):
        line().inner_path(path)


def test_paths_below_the_folder_may_have_either_slash_and_a_name_has_none() -> None:
    assert line().inner_path("a\\b.jpg").as_posix() == "a/b.jpg"
    assert line().bare_name("b.jpg") == "b.jpg"
    with pytest.raises(SourceError, match=r"expected a picture's name, not the path 'a/b\.jpg'"):
        line().bare_name("a/b.jpg")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 49, "ä"])
def test_names_that_a_class_cannot_have_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match="cannot be a name"):
        line().new_name(name, ())


@pytest.mark.parametrize("name", ["young", "image", "subject", "modality", "landmarks", "translated_by"])
def test_names_of_other_columns_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match=f"line 7: '{name}' is the name of something else already"):
        line().new_name(name, {"young"})


def test_names_that_fit_stay_as_they_are() -> None:
    for name in ("5_o_Clock_Shadow", "Male", "au_12"):
        assert fitting_name(name) == name == line().new_name(name, ())
    assert fitting_name("has_size::medium_(9_-_16_in)") == "has_size_medium_9_-_16_in"


def test_lines_are_found_by_their_first_field_which_no_other_has(tmp_path: Path) -> None:
    found = by_first(lines_of(written(tmp_path, b"a 1\nb 2\n")), 2, "two words")
    assert {name: one.fields[1] for name, one in found.items()} == {"a": "1", "b": "2"}
    with pytest.raises(SourceError, match=r"line 3: 'a' is listed a second time, after line 1"):
        by_first(lines_of(written(tmp_path, b"a 1\nb 2\na 1\n")), 2, "two words")


def test_a_list_is_found_by_its_name_wherever_it_lies(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked("1.png", **{"Anno/List.TXT": "a", "copy/list.txt": "a", "other.txt": "b"}))
    assert find_list(folder, "list.txt") == folder.path / "Anno/List.TXT"
    assert find_list(folder, "no.txt", "other.txt") == folder.path / "other.txt"
    assert find_list(folder, "none.txt") is None
    with pytest.raises(SourceError, match=r"expected a list; it holds '1\.png' first"):
        need_list(folder, "a list", "none.txt")


def test_two_lists_that_differ_are_refused(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked(**{"basic/list.txt": "a", "compound/list.txt": "b"}))
    with pytest.raises(SourceError, match=r"holds two such lists, 'basic/list\.txt' and 'compound/list\.txt'; leave"):
        find_list(folder, "list.txt")


def test_two_files_of_one_name_are_refused(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked("1.png"))
    found: dict[str, str] = {}
    keep_file(folder, found, "a", "x/a.txt")
    keep_file(folder, found, "a", "x/a.txt")
    with pytest.raises(SourceError, match=r"holds two files of a, 'x/a\.txt' and 'y/a\.txt'; leave one"):
        keep_file(folder, found, "a", "y/a.txt")


def test_a_line_about_an_absent_picture_is_counted_by_file_and_number(unpacked: Unpacked) -> None:
    folder = open_folder(unpacked("1.png", **{"Anno/list.txt": "a\nb\n"}))
    tell_absent(folder, list(lines_of(folder.path / "Anno/list.txt"))[1])
    assert folder.left_out == {"lines about pictures that are not there": ["Anno/list.txt, line 2"]}


def test_points_are_taken_as_they_are_up_to_a_tenth_outside(unpacked: Unpacked, picture: Callable[..., bytes]) -> None:
    folder = open_folder(unpacked(**{"a.png": picture(0, (100, 100)), "b.png": "words"}))
    outside = [(-9.0, 40.0), *UPRIGHT[1:]]
    assert fitting_points(folder, "a.png", UPRIGHT) == UPRIGHT
    assert fitting_points(folder, "a.png", outside) == outside
    assert fitting_points(folder, "b.png", UPRIGHT) is None
    assert folder.left_out == {}


@pytest.mark.parametrize(
    "points",
    [[UPRIGHT[1], UPRIGHT[0], *UPRIGHT[2:]], [(-11.0, 40.0), *UPRIGHT[1:]], [*UPRIGHT[:4], (float("nan"), 80.0)]],
    ids=["swapped eyes", "far outside", "no number"],
)
def test_points_that_do_not_fit_are_counted(
    unpacked: Unpacked, picture: Callable[..., bytes], points: list[tuple[float, float]]
) -> None:
    folder = open_folder(unpacked(**{"a.png": picture(0, (100, 100))}))
    assert fitting_points(folder, "a.png", points) is None
    assert folder.left_out == {"sets of points that do not fit their pictures": ["a.png"]}
