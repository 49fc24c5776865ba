import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.picture import prepare_picture
from models.space import InputPreparation
from training.data import picture_store
from training.data.picture_store import decode_pictures
from training.data.sources import PictureItem, PictureSource, open_source
from training.errors import SourceError

PREPARATION = InputPreparation(mean=(127.5,) * 3, std=(79.6875,) * 3)
LANDMARKS = [(38.0, 52.0), (74.0, 51.0), (56.0, 72.0), (42.0, 92.0), (71.0, 92.0)]

Picture = Callable[..., bytes]


class Closed:
    """A source whose pictures are gone."""

    def __init__(self, items: list[PictureItem]) -> None:
        self.items = items

    def read(self, item: PictureItem) -> bytes:
        raise AssertionError(f"{item.key} was read")


class Memory:
    """A source of pictures in memory."""

    def __init__(self, pictures: dict[str, bytes], landmarks: list[tuple[float, float]] | None = None) -> None:
        self._pictures = pictures
        self.items = [
            PictureItem(key, key, landmarks=landmarks, stamp=str(len(data))) for key, data in pictures.items()
        ]

    def read(self, item: PictureItem) -> bytes:
        return self._pictures[item.place]


@pytest.fixture
def source(picture_folder: Path) -> PictureSource:
    return open_source(picture_folder)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def stripes(colours: tuple[int, int, int], side: int = 112) -> bytes:
    """A picture that no rounding leaves as it was: its rows go from black to the colour."""
    pixels = (np.linspace(0, 1, side)[:, None, None] * np.array(colours)).repeat(side, axis=1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "preparation",
    [
        PREPARATION,
        replace(PREPARATION, colour="BGR"),
        replace(PREPARATION, crop=(10, 20, 90, 100), resize=(48, 64)),
    ],
)
@pytest.mark.parametrize("landmarks", [None, LANDMARKS])
def test_what_is_kept_gives_the_encoders_input_once_normalised(
    store: Path, preparation: InputPreparation, landmarks: list[tuple[float, float]] | None
) -> None:
    source = Memory({"a.png": stripes((255, 100, 0)), "b.png": stripes((3, 200, 90), side=224)}, landmarks)
    decoded = decode_pictures(source, source.items, preparation, store)
    assert decoded.dtype == np.uint8
    for row, item in enumerate(source.items):
        expected = prepare_picture(source.read(item), preparation, landmarks=landmarks)
        normalised = (decoded[row].astype(np.float32).transpose(2, 0, 1) - 127.5) / 79.6875
        np.testing.assert_allclose(normalised, expected, atol=1e-5)


def test_pictures_stand_in_the_order_of_the_items(store: Path, source: PictureSource) -> None:
    items = source.items[::-1]
    decoded = decode_pictures(source, items, PREPARATION, store)
    assert decoded.shape == (12, 112, 112, 3)
    for row, item in enumerate(items):
        pixels = np.asarray(Image.open(io.BytesIO(source.read(item))))
        np.testing.assert_array_equal(decoded[row], pixels)


def test_what_an_earlier_call_left_is_taken_up_without_reading(store: Path, source: PictureSource) -> None:
    first = decode_pictures(source, source.items, PREPARATION, store)
    heard: list[int] = []
    again = decode_pictures(Closed(source.items), source.items, PREPARATION, store, heard.append)
    np.testing.assert_array_equal(again, first)
    assert heard == [12]


@pytest.mark.parametrize("changed", ["stamp", "order", "landmarks", "preparation"])
def test_other_pictures_or_another_preparation_are_decoded_anew(
    store: Path, source: PictureSource, changed: str
) -> None:
    decode_pictures(source, source.items, PREPARATION, store)
    items = {
        "stamp": [replace(item, stamp=f"{item.stamp} later") for item in source.items],
        "order": source.items[::-1],
        "landmarks": [replace(item, landmarks=LANDMARKS) for item in source.items],
        "preparation": source.items,
    }[changed]
    preparation = replace(PREPARATION, colour="BGR") if changed == "preparation" else PREPARATION
    with pytest.raises(AssertionError, match="was read"):
        decode_pictures(Closed(items), items, preparation, store)
    decoded = decode_pictures(source, items, preparation, store)
    expected = prepare_picture(source.read(items[3]), replace(preparation, mean=(0,) * 3, std=(1,) * 3))
    if changed != "landmarks":
        np.testing.assert_array_equal(decoded[3], expected.transpose(1, 2, 0))


def test_work_that_was_interrupted_is_not_taken_for_done(store: Path, picture: Picture) -> None:
    good = Memory({f"{i}.png": picture(i) for i in range(4)})
    broken = Memory({f"{i}.png": picture(i) if i != 2 else b"words" for i in range(4)})
    items = [replace(item, stamp="") for item in good.items]
    with pytest.raises(SourceError, match=r"picture 2\.png: not a picture; send JPEG"):
        decode_pictures(broken, items, PREPARATION, store)
    decoded = decode_pictures(good, items, PREPARATION, store)
    assert all(np.any(row) for row in decoded)
    np.testing.assert_array_equal(decoded[2], np.asarray(Image.open(io.BytesIO(picture(2)))))


def test_a_picture_that_is_gone_is_named(store: Path, source: PictureSource, picture_folder: Path) -> None:
    (picture_folder / "person1" / "02.png").unlink()
    with pytest.raises(SourceError, match=r"picture person1/02\.png: .*cannot be read"):
        decode_pictures(source, source.items, PREPARATION, store)


def test_progress_adds_up_to_the_number_of_pictures(
    store: Path, source: PictureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_store, "_AT_ONCE", 5)
    heard: list[int] = []
    decode_pictures(source, source.items, PREPARATION, store, heard.append)
    assert heard == [5, 5, 2]


def cut_short(store: Path) -> None:
    pictures = store / "pictures.npy"
    pictures.write_bytes(pictures.read_bytes()[:-100])


def of_another_shape(store: Path) -> None:
    np.save(store / "pictures.npy", np.zeros((2, 3), dtype=np.uint8))


def no_words(store: Path) -> None:
    (store / "pictures.json").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("damage", [cut_short, of_another_shape, no_words])
def test_what_is_damaged_is_decoded_again(store: Path, source: PictureSource, damage: Callable[[Path], None]) -> None:
    before = np.array(decode_pictures(source, source.items, PREPARATION, store))
    damage(store)
    np.testing.assert_array_equal(decode_pictures(source, source.items, PREPARATION, store), before)
