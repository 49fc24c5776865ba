"""What is saved of a projection: used where it is a beginning of the record's history, seen where it is damaged."""

import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, NewTemplates
from service.errors import DamagedError, NotFoundError
from service.galleries import background, record
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import PROJECTIONS, RECORD
from service.galleries.saved import MANIFEST, ProjectionFolder

SPACE = Space("here", 8, "external:here")
ELSEWHERE = Space("elsewhere", 4, "external:elsewhere")


def units(num_rows: int, dimension: int = 8, seed: int = 0) -> FloatArray:
    raw_GD = np.random.default_rng(seed).standard_normal((num_rows, dimension))
    features_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return features_GD


def native(names: str, seed: int = 0) -> NewTemplates:
    features_GD = units(len(names), seed=seed)
    return NewTemplates(list(names), features_GD, SPACE, features_GD, SPACE)


def translated(names: str) -> NewTemplates:
    return NewTemplates(
        list(names), units(len(names), 4), ELSEWHERE, units(len(names), seed=5), SPACE, ("elsewhere-here",)
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a gallery of two origins, closed."""
    store = EmbeddedGalleryStore(tmp_path / "data")
    store.create("staff", SPACE)
    store.enrol("staff", native("abcdé"))
    store.enrol("staff", translated("xy"))
    store.remove_subject("staff", "b")
    store.close()
    return tmp_path / "data"


def saved_folder(data: Path) -> Path:
    (folder,) = (data / PROJECTIONS).iterdir()
    return folder


@pytest.fixture
def record_is_not_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After which number templates were read from the record, for each time that they were."""
    asked: list[int] = []
    blocks = record.Record.blocks

    def counted(self: record.Record, *args: object, after: int = 0, **keywords: object) -> object:
        asked.append(after)
        return blocks(self, *args, after=after, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(record.Record, "blocks", counted)
    return asked


def answers(store: EmbeddedGalleryStore) -> object:
    return store.search("staff", units(5, seed=9), SPACE, 10), store.get("staff")


def test_a_start_takes_what_was_saved(data: Path, record_is_not_read: list[int]) -> None:
    store = EmbeddedGalleryStore(data)
    assert record_is_not_read == [7]
    from_saved = answers(store)
    store.close()
    shutil.rmtree(data / PROJECTIONS)
    store = EmbeddedGalleryStore(data)
    assert record_is_not_read == [7, 0]
    assert answers(store) == from_saved
    store.close()


def crashed_copy(store: EmbeddedGalleryStore, data: Path, to: Path) -> Path:
    """The folder as a crash would leave it."""
    shutil.copytree(data, to)
    return to


def test_what_came_and_went_after_it_was_saved_is_taken_from_the_record(
    data: Path, tmp_path: Path, record_is_not_read: list[int]
) -> None:
    store = EmbeddedGalleryStore(data)
    store.enrol("staff", native("efg", seed=3))
    store.remove_subject("staff", "a")
    store.remove_subject("staff", "x")
    expected = answers(store)
    crashed = crashed_copy(store, data, tmp_path / "crashed")
    store.close()
    record_is_not_read.clear()
    again = EmbeddedGalleryStore(crashed)
    assert record_is_not_read == [7]
    assert answers(again) == expected
    again.close()


def test_a_record_that_was_put_back_from_a_copy_does_not_get_another_history_beside_it(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The numbers of templates after the copy are given out again, to others."""
    copy = (data / RECORD).read_bytes()
    store = EmbeddedGalleryStore(data)
    store.enrol("staff", native("m", seed=3))
    store.close()
    (data / RECORD).write_bytes(copy)
    store = EmbeddedGalleryStore(data)
    with pytest.raises(NotFoundError):
        store.remove_subject("staff", "m")
    store.enrol("staff", native("n", seed=4))
    kept = saved_folder(data)
    later = {path.name: path.read_bytes() for path in kept.iterdir()}
    store.close()
    shutil.rmtree(kept)
    kept.mkdir()
    for name, content in later.items():
        (kept / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        store = EmbeddedGalleryStore(data)
    assert "another history" in caplog.text
    (candidates,) = store.search("staff", units(1, seed=3), SPACE, 1).candidates
    assert candidates[0].subject != "m"
    (candidates,) = store.search("staff", units(1, seed=4), SPACE, 1).candidates
    assert candidates[0].subject == "n"
    store.close()


def changes(content: bytes) -> list[bytes]:
    """Every bit turned, one at a time, and every length that it may be cut to."""
    flipped = [
        content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]
    return flipped + [content[:length] for length in range(len(content))] + [content + b"\0"]


def test_every_turned_bit_and_every_cut_is_seen(data: Path) -> None:
    folder = saved_folder(data)
    num = 0
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for changed in changes(content):
            path.write_bytes(changed)
            with pytest.raises(DamagedError):
                ProjectionFolder(folder).load(SPACE.fingerprint, SPACE.dimension)
            num += 1
        path.unlink()
        if path.name != MANIFEST:
            with pytest.raises(OSError, match="No such file"):
                ProjectionFolder(folder).load(SPACE.fingerprint, SPACE.dimension)
        path.write_bytes(content)
    assert num > 8000
    sys.stdout.write(f"{num} turned bits and cuts of a saved projection: every one seen\n")
    assert ProjectionFolder(folder).load(SPACE.fingerprint, SPACE.dimension) is not None


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no-manifest": lambda folder: (folder / MANIFEST).unlink(),
    "manifest": lambda folder: (folder / MANIFEST).write_bytes(b"{}"),
    "no-manifest-at-all": lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"),
    "no-segment": lambda folder: next(folder.glob("*.segment")).unlink(),
    "segment": lambda folder: next(folder.glob("*.segment")).write_bytes(b""),
    "a-folder": lambda folder: next(folder.glob("*.segment")).rename(_new(folder / "x") / "y"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_made_again_and_saved_again(
    data: Path, damage: Callable[[Path], object], record_is_not_read: list[int]
) -> None:
    store = EmbeddedGalleryStore(data)
    expected = answers(store)
    store.close()
    damage(saved_folder(data))
    for after in (0, 7):
        record_is_not_read.clear()
        store = EmbeddedGalleryStore(data)
        assert record_is_not_read == [after]
        assert answers(store) == expected
        store.close()


def test_what_is_not_used_any_more_is_taken_away(data: Path) -> None:
    (data / PROJECTIONS / "99-99").mkdir()
    store = EmbeddedGalleryStore(data)
    assert not (data / PROJECTIONS / "99-99").exists()
    store.enrol("staff", native("g", seed=3))
    store.close()
    folder = saved_folder(data)
    assert len(list(folder.iterdir())) == 3
    store = EmbeddedGalleryStore(data)
    store.drop("staff")
    assert list((data / PROJECTIONS).iterdir()) == []
    store.close()
    assert list((data / PROJECTIONS).iterdir()) == []


def test_a_full_segment_is_saved_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(background, "full_segment", lambda dimension: 4)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE)
    store.enrol("staff", native("abcd"))
    for _ in range(1000):
        if list((tmp_path / PROJECTIONS).rglob(MANIFEST)):
            break
        time.sleep(0.01)
    assert list((tmp_path / PROJECTIONS).rglob(MANIFEST))
    store.close()


def test_a_projection_that_cannot_be_saved_is_said_and_loses_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = EmbeddedGalleryStore(data)
    store.enrol("staff", native("g", seed=3))
    expected = answers(store)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr("service.galleries.saved.write_whole", full)
        store.close()
    assert "gallery staff cannot be saved (No space left on device)" in caplog.text
    store = EmbeddedGalleryStore(data)
    assert answers(store) == expected
    store.close()
