"""More pictures of the same faces, the same for every encoder."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.feature_set import BLEND_MARK, VIEW_MARK, blended_with, picture_of
from models.picture import decode_picture, prepare_picture
from models.space import InputPreparation
from training.data.sources import FolderSource, open_source
from training.data.views import ViewSource, another_view, blend
from training.errors import SourceError


def face(seed: int = 0, size: int = 112) -> Image.Image:
    """Smooth, so that a small change of place is a small change of pixels."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, size=(8, 8, 3), dtype=np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ann/1.png", "ann/2.png", "bob/1.png"):
        path = tmp_path / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        face(len(name)).save(path)
    return tmp_path / "faces"


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_picture(data), dtype=np.int64)


def test_each_picture_comes_as_it_is_and_then_as_views_of_the_same_subject(folder: Path) -> None:
    source = ViewSource(open_source(folder), 3)
    assert [item.key for item in source.items[:3]] == ["ann/1.png", f"ann/1.png{VIEW_MARK}1", f"ann/1.png{VIEW_MARK}2"]
    assert [item.subject for item in source.items] == ["ann"] * 6 + ["bob"] * 3
    assert source.read(source.items[0]) == (folder / "ann/1.png").read_bytes()


def test_views_are_other_pictures_and_the_same_on_any_day(folder: Path) -> None:
    source, again = ViewSource(open_source(folder), 3), ViewSource(open_source(folder), 3)
    seen = [source.read(item) for item in source.items]
    assert seen == [again.read(item) for item in again.items]
    assert len(set(seen)) == 7  # The three files hold the same picture.


def test_more_views_leave_the_first_ones_as_they_are(folder: Path) -> None:
    few, many = ViewSource(open_source(folder), 2), ViewSource(open_source(folder), 5)
    by_key = {item.key: many.read(item) for item in many.items}
    assert all(few.read(item) == by_key[item.key] for item in few.items)


def test_a_view_is_of_the_same_face_or_its_mirror_image() -> None:
    crop = face()
    plain, mirrored = (np.asarray(p, dtype=float) for p in (crop, crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    likeness = []
    for number in range(40):
        view = np.asarray(another_view(crop, f"a{VIEW_MARK}{number}"), dtype=float)
        assert view.shape == (112, 112, 3)
        likeness.append([float(np.corrcoef(view.ravel(), other.ravel())[0, 1]) for other in (plain, mirrored)])
    nearest = np.array(likeness)
    assert np.median(nearest.max(axis=1)) > 0.8
    assert 8 < (nearest[:, 1] > nearest[:, 0]).sum() < 32


def test_what_comes_in_from_outside_is_no_black_border() -> None:
    white = Image.new("RGB", (112, 112), (200, 200, 200))
    for number in range(20):
        view = np.asarray(another_view(white, f"b{VIEW_MARK}{number}"), dtype=float)
        assert np.ptp(view, axis=(0, 1)).max() <= 1


def test_a_picture_with_landmarks_is_aligned_before_it_is_changed(tmp_path: Path) -> None:
    """On a large picture the five points are far from the template; their view is a crop of 112 pixels."""
    face(3, size=400).save(tmp_path / "large.png")
    points = "150 180 260 180 205 240 160 310 250 310"
    (tmp_path / "labels.csv").write_text(f"image,landmarks\nlarge.png,{points}\n")
    plain = FolderSource(tmp_path)
    source = ViewSource(plain, 2)
    assert source.items[0].landmarks is not None
    assert source.items[1].landmarks is None
    aligned = prepare_picture(plain.read(plain.items[0]), InputPreparation(), landmarks=plain.items[0].landmarks)
    view = pixels(source.read(source.items[1]))
    assert view.shape == (112, 112, 3)
    expected = another_view(Image.fromarray(aligned.transpose(1, 2, 0).astype(np.uint8)), source.items[1].key)
    assert np.abs(view - np.asarray(expected, dtype=np.int64)).max() <= 1
    narrow = ViewSource(plain, 2, size=(96, 112))
    assert pixels(narrow.read(narrow.items[1])).shape == (112, 96, 3)


@pytest.mark.parametrize("name", [f"a{VIEW_MARK}1", f"a{BLEND_MARK}b"])
def test_a_picture_that_is_called_like_a_view_or_blend_is_refused(tmp_path: Path, name: str) -> None:
    face().save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text(f"image\n{name}\n")
    (tmp_path / f"{name}.png").rename(tmp_path / name)
    with pytest.raises(SourceError, match="marks a view or blend of another; rename it"):
        ViewSource(open_source(tmp_path), 2)


def test_a_damaged_picture_has_no_views(tmp_path: Path) -> None:
    stream = io.BytesIO()
    face().save(stream, "PNG")
    (tmp_path / "cut.png").write_bytes(stream.getvalue()[:200])
    source = ViewSource(open_source(tmp_path), 2)
    with pytest.raises(SourceError, match="damaged"):
        source.read(source.items[1])


class TestBlends:
    def test_each_picture_is_blended_with_others_drawn_by_chance(self, tmp_path: Path) -> None:
        for number in range(60):
            face(number, size=16).save(tmp_path / f"{number:02d}.png")
        source = ViewSource(open_source(tmp_path), 2, 3)
        keys = [item.key for item in source.items]
        others = [blended_with(key) for key in keys if blended_with(key)]
        assert len(keys) == len(set(keys)) == 60 * (1 + 1 + 3)
        assert len(others) == 60 * 3
        assert set(others) <= {f"{number:02d}.png" for number in range(60)}
        assert all(blended_with(key) != picture_of(key) for key in keys)
        assert len(set(others)) > 50  # Of 60, drawn 180 times: 57 in the mean.

    @pytest.mark.parametrize("people", [2, 12])
    def test_the_other_face_is_another_persons(self, tmp_path: Path, people: int) -> None:
        for number in range(24):
            (tmp_path / f"p{number % people}").mkdir(exist_ok=True)
            face(number, size=16).save(tmp_path / f"p{number % people}" / f"{number:02d}.png")
        source = ViewSource(open_source(tmp_path), 1, 3)
        blends = [item.key for item in source.items if blended_with(item.key)]
        assert len(blends) == 24 * 3
        assert all(picture_of(key).split("/")[0] != str(blended_with(key)).split("/")[0] for key in blends)

    def test_there_are_no_more_blends_than_other_peoples_pictures(self, folder: Path) -> None:
        """Two of one, one of another."""
        source = ViewSource(open_source(folder), 1, 5)
        assert len(source.items) == 3 + 1 + 1 + 2

    def test_both_faces_are_in_it_and_it_is_the_same_on_any_day(self) -> None:
        one, two = face(1), face(2)
        shares = []
        for number in range(30):
            key = f"a{BLEND_MARK}{number}"
            made = np.asarray(blend(one, two, key), dtype=float)
            np.testing.assert_array_equal(made, np.asarray(blend(one, two, key)))
            columns = [
                np.asarray(another_view(picture, f"{key}/{place}"), dtype=float).ravel()
                for place, picture in ((1, one), (2, two))
            ]
            solution, *_ = np.linalg.lstsq(np.stack(columns, axis=1), made.ravel(), rcond=None)
            shares.append(solution)
        mean = np.mean(shares, axis=0)
        assert np.abs(mean - 0.5).max() < 0.15
        np.testing.assert_allclose(np.sum(shares, axis=1), 1.0, atol=0.25)

    def test_a_picture_of_another_size_is_brought_to_the_first_ones(self) -> None:
        assert blend(face(1), face(2, size=50), "a").size == (112, 112)

    def test_any_view_or_blend_is_found_by_its_key(self, folder: Path) -> None:
        source, listed = ViewSource(open_source(folder)), ViewSource(open_source(folder), 3, 2)
        for item in listed.items:
            found = source.find(item.key)
            assert found == item
            assert source.read(item) == listed.read(item)
        for key in ("nobody.png", f"nobody.png{VIEW_MARK}1", f"ann/1.png{BLEND_MARK}nobody.png"):
            assert source.find(key) is None
        assert source.find(f"ann/1.png{VIEW_MARK}12345") is not None
