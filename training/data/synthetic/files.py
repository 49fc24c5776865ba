"""Writing a world's pictures: a folder or zip that `extract` and `fit` read, resumable, whole or not at all.

    w0-000012/000-photo.jpg    and so on, below a folder named after the subject
    labels.csv                 image, subject, modality and everything that is true of each picture
    people.csv                 the latent of every subject
    manifest.json              settings, counts, versions, and SHA-256 over all pictures in their order
    contact-sheet.png          some of it to look at (beside a zip: NAME.contact-sheet.png)

Finished chunks are kept beside the output until it is whole; a later call with the same settings takes them up.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

from PIL import Image
from threadpoolctl import threadpool_limits

from models.documents import canonical_json, readable_json, sha256_hex
from training.data.sources import LABELS as LABELS_FILE
from training.data.synthetic.contact_sheet import contact_sheet
from training.data.synthetic.traits import TRAITS
from training.data.synthetic.world import LABELS, MODALITIES, Picture, World, WorldSettings, subject_name
from training.errors import SyntheticError

MAX_PICTURES = 10_000_000
_CHUNK = 512
_PLAN = "plan.json"
_SAMPLED = 12
_SPARE = 1.15
_BLOCK = 4096
_SHEET = 2 << 20
"""Bytes of a contact sheet, at most."""
_ENTRY = 160
"""Bytes that an archive notes of each picture: its name twice, place, size and checksum."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to make: so many subjects, so many pictures of each in every modality. Raises `SyntheticError`."""

    world: WorldSettings
    num_subjects: int
    num_pictures: Mapping[str, int]
    """Of each subject, by modality."""

    def __post_init__(self) -> None:
        unknown = [modality for modality in self.num_pictures if modality not in MODALITIES]
        if unknown:
            raise SyntheticError(f"there is no modality {unknown[0]!r}; there are: {', '.join(MODALITIES)}")
        if self.num_subjects < 1:
            raise SyntheticError("at least one subject is needed")
        if not self.num_pictures or min(self.num_pictures.values()) < 1:
            raise SyntheticError("at least one picture a subject is needed in every modality that is named")
        if len(self) > MAX_PICTURES:
            raise SyntheticError(f"{len(self)} pictures are more than {MAX_PICTURES}; make several worlds")

    def __len__(self) -> int:
        return self.num_subjects * sum(self.num_pictures.values())

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, str, int, str]]:
        """Person, modality, number and key of each picture, those of a person together and photos first."""
        each = [(m, n) for m in MODALITIES if m in self.num_pictures for n in range(self.num_pictures[m])]
        for place in range(start, len(self) if stop is None else min(stop, len(self))):
            person, position = divmod(place, len(each))
            modality, number = each[position]
            yield person, modality, number, f"{subject_name(self.world, person)}/{position:03d}-{modality}.jpg"

    def to_json(self) -> dict[str, object]:
        """The order as JSON values."""
        pictures = {modality: self.num_pictures[modality] for modality in MODALITIES if modality in self.num_pictures}
        return {"world": asdict(self.world), "num_subjects": self.num_subjects, "num_pictures": pictures}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Pictures `start` to `stop` of an order, kept as one archive."""

    path: Path
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Made:
    """What was written, and how much of it an earlier, interrupted call had left."""

    sheet: Path
    digest: str
    num_resumed: int


def check_order(order: Order, out: Path) -> None:
    """Raises `SyntheticError` where `out` exists, has no folder to stand in, or its disk has too little room."""
    if not out.name:
        raise SyntheticError(f"{out}: give a name for the folder or .zip to make")
    if out.suffix.lower() not in ("", ".zip"):
        raise SyntheticError(f"{out}: give a folder without an ending, or a .zip")
    partial = _partial(out)
    # The sheet beside a zip is moved into place just before the zip: with unfinished work beside it, it is ours.
    for path in (out, *([] if partial.exists() else [_sheet_path(out)])):
        if path.exists():
            raise SyntheticError(f"{path}: exists already; choose another name or delete it")
    if not out.parent.is_dir():
        raise SyntheticError(f"{out.parent}: there is no such folder")
    if partial.exists() and not (partial / _PLAN).is_file() and any(partial.iterdir()):
        raise SyntheticError(f"{partial}: is where unfinished work is kept, and holds something else; move it away")
    done = sum(path.stat().st_size for path in partial.glob("*.zip"))
    # Once as chunks and once as they are put together.
    archived, as_files = _estimated_bytes(order)
    one, two = (len(_people(replace(order, num_subjects=number))) for number in (1, 2))
    people = one + (order.num_subjects - 1) * (two - one)
    needed = int(_SPARE * (archived + people + (archived if out.suffix else as_files))) + _SHEET - done
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise SyntheticError(f"{out}: {len(order)} pictures need about {needed >> 20} MB, and {free >> 20} MB are free")


def _estimated_bytes(order: Order) -> tuple[int, int]:
    """Of all pictures and their labels, from a few of every modality: in an archive, and as files of whole blocks."""
    world = World(order.world)
    archived = as_files = 0
    for modality, count in order.num_pictures.items():
        step = max(1, order.num_subjects // _SAMPLED)
        people = range(0, order.num_subjects, step)
        pictures = [world.picture(person, modality, 0) for person in people]
        sizes = [len(_encoded(picture)) for picture in pictures]
        label_sizes = [_ENTRY // 2 + len(",".join(picture.labels.values())) for picture in pictures]
        labels = sum(label_sizes)
        archived += order.num_subjects * count * (sum(sizes) + labels + _ENTRY * len(people)) // len(people)
        as_files += order.num_subjects * count * (sum(map(_rounded, sizes)) + labels) // len(people)
    return archived, as_files


def _rounded(size: int) -> int:
    """As a file system keeps a file: in whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


def make_pictures(
    order: Order, out: Path, num_workers: int, on_progress: Callable[[int], None] = lambda done: None
) -> Made:
    """Make and write everything. `num_workers` processes work side by side; 1 works in this one.

    Raises `SyntheticError`, and `OSError` where the disk fails; what was finished by then is taken up by a later call.
    """
    check_order(order, out)
    partial = _partial(out)
    _open_plan(partial, order)
    starts = range(0, len(order), _CHUNK)
    chunks = [_Chunk(_chunk_path(partial, start), start, min(start + _CHUNK, len(order))) for start in starts]
    missing = [chunk for chunk in chunks if not _is_whole(order, chunk)]
    num_resumed = len(order) - sum(chunk.stop - chunk.start for chunk in missing)
    on_progress(num_resumed)
    _make_chunks(order, missing, num_workers, on_progress)
    sheet = partial / "contact-sheet.png"
    with threadpool_limits(1):
        contact_sheet(World(order.world), order.num_subjects, order.num_pictures).save(sheet)
    digest = _assemble(order, chunks, sheet, out)
    shutil.rmtree(partial, ignore_errors=True)
    return Made(_sheet_path(out), digest, num_resumed)


def _make_chunks(order: Order, chunks: list[_Chunk], num_workers: int, on_progress: Callable[[int], None]) -> None:
    if num_workers == 1 or len(chunks) < 2:
        for chunk in chunks:
            on_progress(_make_chunk(order, chunk))
        return
    num_processes = min(num_workers, len(chunks))
    with ProcessPoolExecutor(
        num_processes, get_context("spawn"), initializer=_follow_parent, initargs=(os.getpid(),)
    ) as pool:
        futures: list[Future[int]] = [pool.submit(_make_chunk, order, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                on_progress(future.result())
        except BrokenProcessPool:
            raise SyntheticError(
                "one of the worker processes was ended from outside (out of memory?); run the command again, perhaps with "
                "fewer --workers: it goes on where it was"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _follow_parent(parent: int) -> None:
    """An interrupt at the keyboard reaches every process; the one that waits for all answers it. Without it none goes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make_chunk(order: Order, chunk: _Chunk) -> int:
    """Make the pictures of a chunk as one archive; the number made."""
    world = World(order.world)
    draft = chunk.path.with_suffix(f".draft-{os.getpid()}")
    rows = []
    # One thread: BLAS rounds otherwise with more, and processes would be in each other's way.
    with threadpool_limits(1), zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for person, modality, number, key in order.items(chunk.start, chunk.stop):
            picture = world.picture(person, modality, number)
            _store(archive, key, _encoded(picture))
            rows.append([key, subject_name(order.world, person), modality, *picture.labels.values()])
        _store(archive, LABELS_FILE, _csv(rows))
    os.replace(draft, chunk.path)  # noqa: PTH105  (the name says atomic)
    return len(rows)


def _is_whole(order: Order, chunk: _Chunk) -> bool:
    """Whether the chunk is there with every picture, undamaged."""
    expected = [*(key for *_, key in order.items(chunk.start, chunk.stop)), LABELS_FILE]
    try:
        with zipfile.ZipFile(chunk.path) as archive:
            return archive.namelist() == expected and archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False


def _encoded(picture: Picture) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture.pixels).save(stream, "JPEG", quality=picture.quality)
    return stream.getvalue()


def _store(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """With a fixed time, so that the same pictures give the same archive."""
    archive.writestr(zipfile.ZipInfo(name), data)


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _assemble(order: Order, chunks: list[_Chunk], sheet: Path, out: Path) -> str:
    """Put the chunks together at `out` with the sheet, and return the digest over all pictures."""
    digest = hashlib.sha256()
    labels = io.BytesIO()
    labels.write(_csv([["image", "subject", "modality", *LABELS]]))
    draft = sheet.with_name("whole.zip" if out.suffix else "whole")
    with _Writer(draft) as writer:
        for chunk in chunks:
            with zipfile.ZipFile(chunk.path) as archive:
                for name in archive.namelist():
                    data = archive.read(name)
                    if name == LABELS_FILE:
                        labels.write(data)
                        continue
                    digest.update(data)
                    writer.write(name, data)
        writer.write(LABELS_FILE, labels.getvalue())
        writer.write("people.csv", _people(order))
        manifest = {"made_by": _versions(), "order": order.to_json(), "sha256_of_pictures": digest.hexdigest()}
        writer.write("manifest.json", readable_json(manifest))
        if not out.suffix:
            writer.write("contact-sheet.png", sheet.read_bytes())
    if out.suffix:
        os.replace(sheet, _sheet_path(out))  # noqa: PTH105
    os.replace(draft, out)  # noqa: PTH105
    return digest.hexdigest()


class _Writer:
    """A folder or an archive to write files into, by the ending of its path."""

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._archive: zipfile.ZipFile | None = None
        if path.suffix:
            self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        else:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()

    def write(self, name: str, data: bytes) -> None:
        """Write one file."""
        if self._archive is not None:
            _store(self._archive, name, data)
            return
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *failure: object) -> None:
        if self._archive is not None:
            self._archive.close()


def _people(order: Order) -> bytes:
    world = World(order.world)
    rows = [
        [subject_name(order.world, person), *(f"{z:.6g}" for z in world.person(person).latent.tolist())]
        for person in range(order.num_subjects)
    ]
    return _csv([["subject", *TRAITS], *rows])


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("facebridge", "numpy", "pillow")}


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _chunk_path(partial: Path, start: int) -> Path:
    return partial / f"{start:08d}.zip"


def _sheet_path(out: Path) -> Path:
    return out.with_suffix(".contact-sheet.png") if out.suffix else out / "contact-sheet.png"


def _open_plan(partial: Path, order: Order) -> None:
    """Make `partial` the place of exactly this work; what another order or version left there is thrown away."""
    plan = {"chunk": _CHUNK, "made_by": _versions(), "order": sha256_hex(canonical_json(order.to_json()))}
    path = partial / _PLAN
    if path.is_file() and _json(path) == plan:
        for draft in partial.glob("*.draft-*"):
            draft.unlink()
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    path.write_text(json.dumps(plan))


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None
