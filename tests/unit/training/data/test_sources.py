import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.sources import PictureItem, PictureSource, open_source, open_sources
from training.errors import SourceError

Picture = Callable[..., bytes]

LISTED = "image,subject\nb.png,bob\na.png,ann\n"


@pytest.fixture
def flat(tmp_path: Path, picture: Picture) -> Path:
    """Two pictures in one folder, without a list."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        (folder / name).write_bytes(picture(seed))
    return folder


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as stream:
        for name, data in members.items():
            stream.writestr(name, data)
    return path


def refused(path: Path, match: str) -> None:
    with pytest.raises(SourceError, match=match) as failure:
        open_source(path)
    assert "\n" not in str(failure.value)


def seen(source: PictureSource) -> list[tuple[str, str]]:
    return [(item.key, item.subject) for item in source.items]


def test_without_a_list_a_picture_belongs_to_its_folder_in_order_of_names(picture_folder: Path) -> None:
    (picture_folder / "person0" / "notes.txt").write_text("not a picture")
    source = open_source(picture_folder)
    assert seen(source)[:3] == [
        ("person0/00.png", "person0"),
        ("person0/01.png", "person0"),
        ("person1/02.png", "person1"),
    ]
    assert len(source.items) == 12
    assert source.read(source.items[5]) == (picture_folder / "person2" / "05.png").read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_folders_that_share_a_name_are_told_apart_by_their_whole_path(
    tmp_path: Path, picture: Picture, packed: bool
) -> None:
    members = {place: picture(0) for place in ("lfw/ann/1.png", "lfw/bob/1.png", "web/2024/ann/1.png")}
    for place, data in members.items():
        (tmp_path / "set" / place).parent.mkdir(parents=True)
        (tmp_path / "set" / place).write_bytes(data)
    path = archive(tmp_path / "x.zip", members) if packed else tmp_path / "set"
    assert [item.subject for item in open_source(path).items] == ["lfw/ann", "lfw/bob", "web/2024/ann"]


def test_the_subjects_of_a_list_may_all_be_empty(flat: Path) -> None:
    (flat / "labels.csv").write_text("image,subject\nb.png,\na.png,\n")
    assert seen(open_source(flat)) == [("b.png", ""), ("a.png", "")]


def test_pictures_that_lie_flat_have_no_known_subject(flat: Path) -> None:
    assert seen(open_source(flat)) == [("a.png", ""), ("b.png", "")]


def test_pictures_partly_in_folders_have_no_known_subject(flat: Path, picture: Picture) -> None:
    (flat / "c").mkdir()
    (flat / "c" / "c.PNG").write_bytes(picture(2))
    assert seen(open_source(flat)) == [("a.png", ""), ("b.png", ""), ("c/c.PNG", "")]


def test_a_list_beside_the_pictures_says_what_there_is_in_its_own_order(flat: Path, picture: Picture) -> None:
    (flat / "labels.csv").write_text("image,subject\nb.png,bob\n")
    (flat / "stray.png").write_bytes(picture(9))
    assert seen(open_source(flat)) == [("b.png", "bob")]


def test_folder_zip_and_csv_give_the_same_items_and_bytes(flat: Path, tmp_path: Path) -> None:
    (flat / "labels.csv").write_text(LISTED)
    members = {path.name: path.read_bytes() for path in flat.iterdir()}
    listing = flat / "other.csv"
    listing.write_text(LISTED)
    sources = [
        open_source(flat),
        open_source(archive(tmp_path / "all.zip", members)),
        open_source(listing),
        open_source(archive(tmp_path / "nested.ZIP", {f"set/{name}": data for name, data in members.items()})),
    ]
    assert {tuple(seen(source)) for source in sources} == {(("b.png", "bob"), ("a.png", "ann"))}
    read = [[source.read(item) for item in source.items] for source in sources]
    assert read[0] == [members["b.png"], members["a.png"]]
    assert all(other == read[0] for other in read)


def test_a_zip_without_a_list_is_read_like_a_folder(tmp_path: Path, picture: Picture) -> None:
    members = {"set/bob/1.png": picture(0), "set/ann/1.jpg": picture(1), "set/readme.md": b"words", "set/empty/": b""}
    source = open_source(archive(tmp_path / "x.zip", members))
    assert seen(source) == [("set/ann/1.jpg", "ann"), ("set/bob/1.png", "bob")]
    assert source.read(source.items[1]) == members["set/bob/1.png"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_list_may_come_from_any_system(flat: Path, tmp_path: Path, newline: str, mark: bytes, packed: bool) -> None:
    text = mark + 'image,subject\nb.png,"Bob, Zoë"\na.png,ann\n'.replace("\n", newline).encode()
    (flat / "labels.csv").write_bytes(text)
    path = archive(tmp_path / "x.zip", {p.name: p.read_bytes() for p in flat.iterdir()}) if packed else flat
    assert seen(open_source(path)) == [("b.png", "Bob, Zoë"), ("a.png", "ann")]


def test_all_columns_of_a_list_are_taken_up(flat: Path) -> None:
    points = "1 2 3 4 5 6 7 8 9 10.5"
    (flat / "labels.csv").write_text(
        f"subject,hair,image,modality,landmarks\nann,red,a.png,sketch,{points}\nbob,,b.png,,\n"
    )
    assert open_source(flat).items == [
        PictureItem("a.png", "a.png", "ann", "sketch", {"hair": "red"}, [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10.5)]),
        PictureItem("b.png", "b.png", "bob", "", {"hair": ""}, None),
    ]


@pytest.mark.parametrize("points", ["1 2 3", "1 2 3 4 5 6 7 8 9 ten", "1 2 3 4 5 6 7 8 9 10 11"])
def test_landmarks_that_are_not_ten_numbers_are_refused(flat: Path, points: str) -> None:
    (flat / "labels.csv").write_text(f"image,landmarks\na.png,{points}\n")
    refused(flat, "line 2: 'landmarks' must hold ten numbers")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "a column 'image'"),
        ("picture,subject\na.png,ann\n", "a column 'image'"),
        ("image, subject\na.png,ann\n", "without spaces"),
        ("image,subject,subject\na.png,ann,bob\n", "every column once"),
        ("image,\na.png,ann\n", "every column once"),
        ("image,subject\na.png\n", "line 2 has not as many fields"),
        ("image,subject\na.png,ann,more\n", "line 2 has not as many fields"),
        ("image\na.png\n\na.png\n", "given once"),
        ("image,subject\n,ann\n", "line 2: 'image' must be a relative path"),
        ("image\n/etc/passwd\n", "relative path"),
        ("image\n../flat/a.png\n", "relative path"),
        ("image\nx/../../flat/a.png\n", "relative path"),
        ("image\na.png\nnot-there.png\n", r"1 of 2 pictures are not there, 'not-there.png' first"),
        ("image\n", "holds no pictures"),
        ("image\n" + "x" * 200_000 + "\n", "not a CSV file"),
        ("image,subject\na.png,ann\nb.png,\n", "1 of 2 subjects are empty; name all of them or none"),
        ("image,translated_by\na.png,me\n", "the column 'translated_by' is reserved"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_list_is_refused(flat: Path, tmp_path: Path, text: str, match: str, packed: bool) -> None:
    (flat / "labels.csv").write_text(text)
    path = archive(tmp_path / "x.zip", {p.name: p.read_bytes() for p in flat.iterdir()}) if packed else flat
    refused(path, match)


@pytest.mark.parametrize("packed", [False, True])
def test_a_list_that_is_not_utf_8_is_refused(flat: Path, tmp_path: Path, packed: bool) -> None:
    (flat / "labels.csv").write_bytes("image,subject\na.png,Zoë\n".encode("latin-1"))
    path = archive(tmp_path / "x.zip", {p.name: p.read_bytes() for p in flat.iterdir()}) if packed else flat
    refused(path, "cannot be read as UTF-8")


def test_two_lists_in_a_zip_are_one_too_many(tmp_path: Path, picture: Picture) -> None:
    members = {"a/labels.csv": b"image\n1.png\n", "b/labels.csv": b"image\n1.png\n", "a/1.png": picture(0)}
    refused(archive(tmp_path / "x.zip", members), "more than one labels.csv")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_picture_twice_in_a_zip_is_refused(tmp_path: Path, picture: Picture) -> None:
    path = archive(tmp_path / "x.zip", {"a/1.png": picture(0)})
    with zipfile.ZipFile(path, "a") as stream:
        stream.writestr("a/1.png", picture(1))
    refused(path, "'a/1.png' more than once")


def test_a_file_name_that_is_not_utf_8_is_refused(tmp_path: Path, picture: Picture) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / "caf\udce9.png").write_bytes(picture(0))
    with pytest.raises(SourceError, match="is not UTF-8; rename it") as failure:
        open_source(folder)
    assert str(failure.value).isprintable()


@pytest.mark.parametrize("name", ["empty", "empty.zip", "words.zip", "cut.zip", "nothing.zip"])
def test_what_holds_no_pictures_is_refused(tmp_path: Path, picture: Picture, name: str) -> None:
    (tmp_path / "empty").mkdir()
    archive(tmp_path / "empty.zip", {})
    (tmp_path / "words.zip").write_text("these are words")
    whole = archive(tmp_path / "whole.zip", {"a.png": picture(0)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "nothing.zip").touch()
    refused(tmp_path / name, "holds no pictures" if name.startswith("empty") else "not a readable zip archive")


@pytest.mark.parametrize("name", ["not-there", "not-there.zip", "not-there.csv"])
def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, "there is no such file or folder")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faces.tar").touch()
    refused(tmp_path / "faces.tar", r"give a folder, a \.zip archive or a \.csv list")


def test_a_picture_that_went_away_is_named(flat: Path) -> None:
    source = open_source(flat)
    (flat / "b.png").unlink()
    with pytest.raises(SourceError, match=r"b\.png: cannot be read"):
        source.read(source.items[1])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_named_whatever_its_compression(tmp_path: Path, picture: Picture, compression: int) -> None:
    path = archive(tmp_path / "x.zip", {"good.png": picture(0), "bad.png": picture(1)}, compression)
    whole = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as stream:
        info = stream.getinfo("bad.png")
    start = info.header_offset + 30 + len("bad.png")
    num_refused = 0
    places = range(start, start + info.compress_size, 7)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        source = open_source(path)
        bad, good = source.items
        assert source.read(good) == picture(0)
        try:
            # Padding and the settings of LZMA may change without changing the picture.
            assert source.read(bad) == picture(1)
        except SourceError:
            num_refused += 1
    assert num_refused > len(places) * 0.8


def test_an_encrypted_member_is_named(tmp_path: Path, picture: Picture) -> None:
    path = archive(tmp_path / "x.zip", {"a.png": picture(0)})
    whole = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        struct.pack_into("<H", whole, whole.index(signature) + offset, 1)
    path.write_bytes(bytes(whole))
    source = open_source(path)
    with pytest.raises(SourceError, match=r"a\.png: cannot be read from the archive"):
        source.read(source.items[0])


def listed(folder: Path, picture: Picture, header: str, *rows: str) -> Path:
    """A folder of two pictures that says what is on them."""
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        (folder / name).write_bytes(picture(seed))
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_of_several_sources_nobody_is_anybody_in_another(tmp_path: Path, picture: Picture) -> None:
    one = listed(
        tmp_path / "one", picture, "image,subject,modality,site", "a.png,ann,photo,north", "b.png,ann,sketch,south"
    )
    other = listed(tmp_path / "other", picture, "image,subject,artist,site", "b.png,ann,eve,west", "a.png,bob,eve,east")
    (other / "b.png").write_bytes(picture(7))
    source = open_sources([one, other])
    assert seen(source) == [
        ("one/a.png", "one/ann"),
        ("one/b.png", "one/ann"),
        ("other/b.png", "other/ann"),
        ("other/a.png", "other/bob"),
    ]
    assert [item.modality for item in source.items] == ["photo", "sketch", "photo", "photo"]
    assert [item.labels for item in source.items] == [
        {"site": "north", "artist": ""},
        {"site": "south", "artist": ""},
        {"site": "west", "artist": "eve"},
        {"site": "east", "artist": "eve"},
    ]
    assert source.read(source.items[2]) == (other / "b.png").read_bytes()
    assert source.read(source.items[1]) == (one / "b.png").read_bytes()


def test_one_source_alone_keeps_its_names(picture_folder: Path) -> None:
    assert open_sources([picture_folder]).items == open_source(picture_folder).items


def test_sources_of_one_name_are_refused(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "x").mkdir()
    folders = [
        listed(tmp_path / place, picture, "image,subject", "a.png,ann", "b.png,bob") for place in ("faces", "x/faces")
    ]
    with pytest.raises(SourceError, match="two of the sources are named 'faces'"):
        open_sources(folders)


def test_sources_are_named_as_they_are_called(tmp_path: Path, picture: Picture) -> None:
    one, other = (
        listed(tmp_path / name, picture, "image,subject", "a.png,ann", "b.png,bob") for name in ("faces.v1", "faces.v2")
    )
    link = tmp_path / "link"
    link.symlink_to(one)
    source = open_sources([one, other / "labels.csv", link])
    assert [item.subject for item in source.items[::2]] == ["faces.v1/ann", "faces.v2/ann", "link/ann"]


def test_several_sources_without_modalities_stay_without(tmp_path: Path, picture: Picture) -> None:
    folders = [listed(tmp_path / name, picture, "image,subject", "a.png,ann", "b.png,bob") for name in ("x", "y")]
    assert {item.modality for item in open_sources(folders).items} == {""}


def test_sources_of_which_some_do_not_say_who_is_on_their_pictures_are_refused(
    tmp_path: Path, flat: Path, picture: Picture
) -> None:
    one = listed(tmp_path / "one", picture, "image,subject", "a.png,ann", "b.png,bob")
    with pytest.raises(SourceError, match="flat does not say who is on its pictures"):
        open_sources([one, flat])
    other = flat.rename(tmp_path / "other")
    flat.mkdir()
    (flat / "c.png").write_bytes(picture(3))
    assert seen(open_sources([other, flat])) == [("other/a.png", ""), ("other/b.png", ""), ("flat/c.png", "")]
