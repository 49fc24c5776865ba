import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from training.data.sources import open_source
from training.data.synthetic import files
from training.data.synthetic.files import MAX_PICTURES, Made, Order, check_order, make_pictures
from training.data.synthetic.traits import TRAITS
from training.data.synthetic.world import LABELS, World, WorldSettings
from training.errors import SyntheticError

ROOT = Path(__file__).parents[5]
SMALL = WorldSettings(seed=3, side=48)
MIXED = Order(SMALL, 3, {"sketch": 1, "photo": 2})
"""Three people with two photos and a sketch each."""
KEYS = [
    "w3-000000/000-photo.jpg",
    "w3-000000/001-photo.jpg",
    "w3-000000/002-sketch.jpg",
    "w3-000001/000-photo.jpg",
    "w3-000001/001-photo.jpg",
    "w3-000001/002-sketch.jpg",
    "w3-000002/000-photo.jpg",
    "w3-000002/001-photo.jpg",
    "w3-000002/002-sketch.jpg",
]


class KilledError(Exception):
    pass


class Killer:
    """Follows the progress, and stops the work as a killed process does after some reports."""

    def __init__(self, reports: int = 1000) -> None:
        self.done: list[int] = []
        self._reports = reports

    def __call__(self, done: int) -> None:
        self.done.append(done)
        if len(self.done) == self._reports:
            raise KilledError


@pytest.fixture
def chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CHUNK", 2)


@pytest.fixture(params=["world", "world.zip"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def partial_of(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def interrupted(order: Order, out: Path, *, chunks: int = 1) -> Path:
    """Stop when so many chunks are finished; the first report is of what was found."""
    with pytest.raises(KilledError):
        make_pictures(order, out, 1, Killer(1 + chunks))
    assert not out.exists()
    return partial_of(out)


def contents(out: Path) -> dict[str, bytes]:
    if out.is_dir():
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.*"))}
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def no_disk_left(monkeypatch: pytest.MonkeyPatch, free: int = 0) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_what_is_made_is_read_back_with_subjects_modalities_and_labels(out: Path) -> None:
    make_pictures(MIXED, out, 1)
    source = open_source(out)
    assert [item.key for item in source.items] == KEYS
    assert [item.subject for item in source.items] == [key.partition("/")[0] for key in KEYS]
    assert [item.modality for item in source.items] == ["photo", "photo", "sketch"] * 3
    world = World(SMALL)
    for place, item in enumerate(source.items):
        modality, number = [("photo", 0), ("photo", 1), ("sketch", 0)][place % 3]
        picture = world.picture(place // 3, modality, number)
        assert item.labels == picture.labels
        assert item.landmarks is None
        with Image.open(io.BytesIO(source.read(item))) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (48, 48), "RGB")
            # JPEG loses fine grain, and no more.
            assert np.abs(np.asarray(image).astype(int) - picture.pixels).mean() < 12.0


def test_folder_and_archive_hold_the_same_bytes(tmp_path: Path) -> None:
    made = [make_pictures(MIXED, tmp_path / name, 1) for name in ("world", "world.zip")]
    folder, archive = contents(tmp_path / "world"), contents(tmp_path / "world.zip")
    sheet = folder.pop("contact-sheet.png")
    assert folder == archive
    assert set(archive) == {*KEYS, "labels.csv", "people.csv", "manifest.json"}
    assert made[0].digest == made[1].digest
    assert made[1].sheet == tmp_path / "world.contact-sheet.png"
    assert made[1].sheet.read_bytes() == sheet
    assert sorted(path.name for path in tmp_path.iterdir()) == ["world", "world.contact-sheet.png", "world.zip"]


def test_an_archive_of_the_same_order_is_the_same_to_the_byte(tmp_path: Path) -> None:
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    for path in (one, other):
        make_pictures(MIXED, path, 1)
    assert one.read_bytes() == other.read_bytes()


def test_the_digest_is_that_of_all_pictures_in_their_order(out: Path) -> None:
    made = make_pictures(MIXED, out, 1)
    found = contents(out)
    assert made.digest == hashlib.sha256(b"".join(found[key] for key in KEYS)).hexdigest()
    manifest = json.loads(found["manifest.json"])
    assert manifest["sha256_of_pictures"] == made.digest
    assert manifest["made_by"].keys() == {"facebridge", "numpy", "pillow"}
    assert manifest["order"]["num_pictures"] == {"photo": 2, "sketch": 1}
    assert manifest["order"]["world"]["seed"] == 3


def test_people_are_listed_with_their_latents(out: Path) -> None:
    make_pictures(MIXED, out, 1)
    rows = list(csv.reader(io.StringIO(contents(out)["people.csv"].decode())))
    assert rows[0] == ["subject", *TRAITS]
    assert [row[0] for row in rows[1:]] == ["w3-000000", "w3-000001", "w3-000002"]
    for person, row in enumerate(rows[1:]):
        np.testing.assert_allclose([float(z) for z in row[1:]], World(SMALL).person(person).latent, rtol=1e-5)


def test_the_list_of_labels_has_a_column_for_each(out: Path) -> None:
    make_pictures(MIXED, out, 1)
    assert contents(out)["labels.csv"].decode().splitlines()[0].split(",") == ["image", "subject", "modality", *LABELS]


def test_two_workers_make_the_same_bytes_as_one(tmp_path: Path) -> None:
    order = Order(WorldSettings(seed=3), 514, {"sketch": 1})  # Two chunks; at this size BLAS would use two threads.
    environment = dict(os.environ)
    progress = Killer()
    one = make_pictures(order, tmp_path / "one.zip", 1)
    two = make_pictures(order, tmp_path / "two.zip", 2, progress)
    assert one.digest == two.digest
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert sorted(progress.done) == [0, 2, 512]
    assert dict(os.environ) == environment


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("chunks", [1, 3, 5])
def test_an_interrupted_run_goes_on_and_makes_the_same_bytes(out: Path, tmp_path: Path, chunks: int) -> None:
    interrupted(MIXED, out, chunks=chunks)
    progress = Killer()
    resumed = make_pictures(MIXED, out, 1, progress)
    taken_over = min(2 * chunks, 9)
    assert resumed.num_resumed == taken_over
    assert progress.done[0] == taken_over
    assert sum(progress.done) == 9
    other = tmp_path / f"other{out.suffix}"
    assert make_pictures(MIXED, other, 1).digest == resumed.digest
    assert contents(out) == contents(other)
    assert not partial_of(out).exists()


@pytest.mark.usefixtures("chunks_of_two")
def test_finished_chunks_are_not_made_again(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(MIXED, out, chunks=5)

    def make(order: Order, chunk: files._Chunk) -> int:
        raise AssertionError(chunk)

    monkeypatch.setattr(files, "_make_chunk", make)
    assert make_pictures(MIXED, out, 1).num_resumed == 9


@pytest.mark.usefixtures("chunks_of_two")
def test_a_chunk_that_was_being_written_is_begun_again(out: Path, tmp_path: Path) -> None:
    partial = interrupted(MIXED, out)
    (partial / "00000002.draft-4711").write_bytes(b"half of it")
    assert make_pictures(MIXED, out, 1).num_resumed == 2
    other = tmp_path / f"other{out.suffix}"
    make_pictures(MIXED, other, 1)
    assert contents(out) == contents(other)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def lose_a_picture(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()[1:]}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in kept.items():
            archive.writestr(name, data)


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("damage", [cut_short, empty, flip_a_bit, lose_a_picture])
def test_a_damaged_chunk_is_made_again(out: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    partial = interrupted(MIXED, out, chunks=2)
    damage(partial / "00000000.zip")
    assert make_pictures(MIXED, out, 1).num_resumed == 2
    other = tmp_path / f"other{out.suffix}"
    make_pictures(MIXED, other, 1)
    assert contents(out) == contents(other)


def test_interrupted_at_the_contact_sheet_nothing_stands_there_and_the_next_call_finishes(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, "contact_sheet", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_pictures(MIXED, out, 1)
    assert not out.exists()
    made = make_pictures(MIXED, out, 1)
    assert made.num_resumed == 9
    assert made.sheet.is_file()


def test_a_sheet_that_stands_beside_a_new_zip_is_not_overwritten(tmp_path: Path) -> None:
    sheet = tmp_path / "world.contact-sheet.png"
    sheet.write_bytes(b"somebody's")
    refused(MIXED, tmp_path / "world.zip", "exists already")
    assert sheet.read_bytes() == b"somebody's"


def test_a_folder_of_somebody_elses_at_the_place_of_unfinished_work_is_left_alone(out: Path) -> None:
    partial_of(out).mkdir(parents=True)
    (partial_of(out) / "letter.txt").write_text("mine")
    with pytest.raises(SyntheticError, match="holds something else"):
        make_pictures(MIXED, out, 1)
    assert (partial_of(out) / "letter.txt").read_text() == "mine"


OTHERS: dict[str, Callable[[], Order]] = {
    "seed": lambda: Order(WorldSettings(seed=4, side=48), 3, {"photo": 2, "sketch": 1}),
    "side": lambda: Order(WorldSettings(seed=3, side=49), 3, {"photo": 2, "sketch": 1}),
    "expressions": lambda: Order(WorldSettings(seed=3, side=48, expressions=("fear",)), 3, {"photo": 2, "sketch": 1}),
    "share": lambda: Order(WorldSettings(seed=3, side=48, worn={"hat": 0.5}), 3, {"photo": 2, "sketch": 1}),
    "subjects": lambda: Order(SMALL, 4, {"photo": 2, "sketch": 1}),
    "counts": lambda: Order(SMALL, 3, {"photo": 3, "sketch": 1}),
}


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("change", OTHERS)
def test_what_other_settings_left_is_thrown_away(tmp_path: Path, change: str) -> None:
    out, other, order = tmp_path / "world.zip", tmp_path / "other.zip", OTHERS[change]()
    interrupted(MIXED, out)
    assert make_pictures(order, out, 1).num_resumed == 0
    make_pictures(order, other, 1)
    assert out.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("plan", ["{", "[]", '{"chunk": 2}', ""])
def test_work_without_a_plan_that_fits_is_thrown_away(out: Path, plan: str) -> None:
    (interrupted(MIXED, out) / "plan.json").write_text(plan)
    assert make_pictures(MIXED, out, 1).num_resumed == 0


@pytest.mark.usefixtures("chunks_of_two")
def test_the_order_in_which_modalities_are_named_does_not_matter(out: Path) -> None:
    interrupted(MIXED, out)
    assert make_pictures(Order(SMALL, 3, {"photo": 2, "sketch": 1}), out, 1).num_resumed == 2


def refused(order: Order, out: Path, message: str) -> None:
    before = sorted(out.parent.rglob("*")) if out.parent.exists() else []
    for call in (check_order, lambda order, out: make_pictures(order, out, 1)):
        with pytest.raises(SyntheticError, match=message) as failure:
            call(order, out)
        assert "\n" not in str(failure.value)
    assert (sorted(out.parent.rglob("*")) if out.parent.exists() else []) == before


def test_an_output_that_exists_is_left_alone(out: Path) -> None:
    out.write_bytes(b"precious")
    refused(MIXED, out, "exists already; choose another name or delete it")
    assert out.read_bytes() == b"precious"


def test_an_output_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    refused(MIXED, tmp_path / "missing" / "world.zip", "missing: there is no such folder")


@pytest.mark.parametrize("name", ["world.tar", "world.zip.gz", "world.jpg"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    refused(MIXED, tmp_path / name, "give a folder without an ending, or a .zip")


def test_a_full_disk_is_refused_before_a_picture_is_written(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_disk_left(monkeypatch)
    refused(MIXED, out, "9 pictures need about 2 MB, and 0 MB are free")


@pytest.mark.parametrize("name", ["world.zip", "world"])
def test_the_room_needed_is_what_is_used_once_as_chunks_and_once_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    order = Order(SMALL, 40, {"photo": 1})
    make_pictures(order, tmp_path / "probe.zip", 1)
    make_pictures(order, tmp_path / "probe", 1)
    archive = (tmp_path / "probe.zip").stat().st_size
    blocks = sum(
        path.stat().st_blocks * 512 for path in (tmp_path / "probe").rglob("*") if path.suffix in (".jpg", ".csv")
    )
    used = archive + (archive if name.endswith(".zip") else blocks)
    no_disk_left(monkeypatch, free=used + files._SHEET)
    refused(order, tmp_path / name, "40 pictures need about")
    no_disk_left(monkeypatch, free=int(1.5 * used) + files._SHEET)
    check_order(order, tmp_path / name)


def test_an_output_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    refused(MIXED, Path(), "give a name for the folder or .zip to make")


def test_workers_end_with_the_process_that_waits_for_them(tmp_path: Path) -> None:
    words = ["synth", "--subjects", "3000", "--workers", "2", "--out", str(tmp_path / "world.zip")]
    with subprocess.Popen([sys.executable, "-m", "training", *words], cwd=ROOT, stderr=subprocess.DEVNULL) as parent:
        workers: list[int] = []
        until = time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < until:
            time.sleep(0.1)
            workers = [pid for pid in children(parent.pid) if b"spawn_main" in command_line(pid)]
        parent.terminate()
    assert len(workers) == 2
    until = time.monotonic() + 20
    while any(b"spawn_main" in command_line(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(b"spawn_main" in command_line(pid) for pid in workers)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_worker_that_is_ended_from_outside_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Broken:
        def __init__(self, *_given: object, **_named: object) -> None:
            pass

        def __enter__(self) -> "Broken":
            return self

        def __exit__(self, *_given: object) -> None:
            pass

        def submit(self, *_given: object) -> "Future[int]":
            future: Future[int] = Future()
            future.set_exception(BrokenProcessPool())
            return future

    monkeypatch.setattr(files, "ProcessPoolExecutor", Broken)
    monkeypatch.setattr(files, "_CHUNK", 2)
    with pytest.raises(SyntheticError, match="ended from outside"):
        make_pictures(MIXED, tmp_path / "world.zip", 2)


@pytest.mark.usefixtures("chunks_of_two")
def test_what_is_made_already_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "world.zip"
    partial = interrupted(MIXED, out, chunks=5)
    made = sum(path.stat().st_size for path in partial.glob("*.zip"))
    no_disk_left(monkeypatch, free=2 * made + files._SHEET)
    assert isinstance(make_pictures(MIXED, out, 1), Made)


@pytest.mark.parametrize(
    ("num_subjects", "num_pictures", "message"),
    [
        (0, {"photo": 1}, "at least one subject is needed"),
        (1, {}, "at least one picture a subject is needed in every modality that is named"),
        (1, {"photo": 1, "sketch": 0}, "at least one picture a subject is needed"),
        (1, {"x-ray": 1}, "there is no modality 'x-ray'; there are: photo, sketch, caricature"),
        (MAX_PICTURES, {"photo": 1, "sketch": 1}, "20000000 pictures are more than 10000000; make several worlds"),
    ],
)
def test_an_order_that_cannot_be_is_refused(num_subjects: int, num_pictures: dict[str, int], message: str) -> None:
    with pytest.raises(SyntheticError, match=message):
        Order(SMALL, num_subjects, num_pictures)


def test_items_can_be_asked_for_from_anywhere() -> None:
    assert [key for *_, key in MIXED.items()] == KEYS
    assert [key for *_, key in MIXED.items(4, 7)] == KEYS[4:7]
    assert list(MIXED.items(5, 6)) == [(1, "sketch", 0, KEYS[5])]
    assert [key for *_, key in MIXED.items(8, 99)] == KEYS[8:]
    assert len(MIXED) == 9
