"""Projections on disk, so that a start need not read the record through: one folder a generation, a file a segment, a manifest.

A saved projection may be older than the record; it is never trusted to be the same. Every byte is accounted for by SHA-256; it
must be a beginning of this record's own history (a record that was put back from a copy goes another way from there); and what
the record does not hold any more is taken out, what it holds since is put in. Whatever is wrong with it, the record is read
instead.

Invariants: files are written under another name, synced and renamed, the manifest last; a segment's file never changes; what was
removed from the gallery is in no segment after the next save; an index holds it until it is built again, or erased from.

Shapes: G rows, D dimension.
"""

import hashlib
import json
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from models.documents import canonical_json
from service.entities import Side
from service.errors import DamagedError
from service.files import write_whole
from service.galleries.failpoints import reached
from service.galleries.indexes import BuiltIndex, packed, unpacked
from service.galleries.schema import Moment
from service.galleries.segments import Segment, View

log = logging.getLogger("facebridge.galleries")

MANIFEST = "manifest.json"
INDEX_SUFFIX = ".index"
_FORMAT = 1
_MAGIC = b"FBSEGM01"
_HEAD = 5 * 8
"""Bytes before the arrays: the magic, G, D, and how long the names are; padded."""


@dataclass(frozen=True, slots=True)
class SavedProjection:
    """What was read, by origin."""

    moment: Moment
    parts: Mapping[Side, Sequence[Segment]]
    indexes: Mapping[Side, BuiltIndex]


@dataclass(frozen=True, slots=True)
class _File:
    """A segment on disk: how many rows and dead ones it had, and its name and digest."""

    num: int
    num_dead: int
    name: str
    sha256: str


class ProjectionFolder:
    """Where the projection of one generation is kept. Calls are made by one thread at a time, which has its `lock`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = threading.RLock()
        """Whoever has it never waits for the writing thread, which may wait for it."""
        self._files: dict[int, _File] = {}
        """By the number of a segment."""
        self._indexes: dict[Side, tuple[BuiltIndex, dict[str, Any]]] = {}
        self._mapped: WeakValueDictionary[str, Segment] = WeakValueDictionary()
        """Those whose vectors are in a file, by its name, as long as somebody searches them."""

    def save(
        self,
        views: Mapping[Side, View],
        indexes: Mapping[Side, BuiltIndex],
        space: str,
        dimension: int,
        moment: Moment,
    ) -> None:
        """Write what is not written yet, and forget what is gone. Raises `OSError`; then the last save still holds."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        files: dict[int, _File] = {}
        parts: list[dict[str, Any]] = []
        for origin, view in views.items():
            names = []
            for segment, num in zip(view.segments, view.nums, strict=True):
                file = self._files.get(segment.number)
                if file is None or (file.num, file.num_dead) != (num, segment.num_dead):
                    file = self._write(segment, num)
                if file is None:
                    continue
                files[segment.number] = file
                names.append([file.name, file.sha256])
            index = self._saved_index(origin, indexes.get(origin))
            parts.append({"space": origin.space, "bundles": list(origin.bundles), "segments": names, "index": index})
        document: dict[str, Any] = {
            "format": _FORMAT,
            "space": space,
            "dimension": dimension,
            "run": moment.run,
            "op": moment.op,
            "parts": parts,
        }
        document["sha256"] = hashlib.sha256(canonical_json(document)).hexdigest()
        reached("projection-before-manifest")
        write_whole(self._path / MANIFEST, canonical_json(document))
        reached("projection-after-manifest")
        self._files = files
        self._indexes = {origin: self._indexes[origin] for origin in views if origin in indexes}
        kept = (
            {MANIFEST}
            | {file.name for file in files.values()}
            | {part["index"]["file"] for part in parts if part["index"]}
        )
        for path in self._path.iterdir():
            if path.name not in kept:
                self._forget_file(path.name)
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def load(self, space: str, dimension: int) -> SavedProjection | None:
        """What was saved last, or None where nothing was. Raises `DamagedError` saying what is wrong with it, `OSError`."""
        document = self._manifest(space, dimension)
        if document is None:
            return None
        origins = [Side(part["space"], tuple(part["bundles"])) for part in document["parts"]]
        files = [(place, *entry) for place, part in enumerate(document["parts"]) for entry in part["segments"]]
        parts: dict[Side, list[Segment]] = {origin: [] for origin in origins}
        entries = {
            origin: part["index"] for origin, part in zip(origins, document["parts"], strict=True) if part["index"]
        }
        indexes = {origin: _read_index(self._path / entry["file"], entry) for origin, entry in entries.items()}
        written = {}
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            read = pool.map(
                lambda entry: _read(self._path / entry[1], entry[2], dimension, is_mapped=origins[entry[0]] in indexes),
                files,
            )
            for (place, name, digest), segment in zip(files, read, strict=True):
                parts[origins[place]].append(segment)
                written[segment.number] = _File(segment.num, 0, name, digest)
                if segment.file:
                    self._mapped[name] = segment
        self._files = written
        self._indexes = {origin: (index, entries[origin]) for origin, index in indexes.items()}
        return SavedProjection(Moment(document["run"], document["op"]), parts, indexes)

    def verify(self, space: str, dimension: int, is_over: Callable[[], bool] = bool) -> None:
        """Read all of it, and keep nothing; the lock is taken file by file, so that nobody waits for longer than one takes, and
        what is saved meanwhile is read too, until it `is_over`. Raises `DamagedError` saying what is wrong, `OSError`.
        """
        seen: set[tuple[str, str]] = set()
        while True:
            with self.lock:
                left = [] if is_over() else [one for one in self._written(space, dimension) if one not in seen]
                if not left:
                    return
                name, digest = left[0]
                with (self._path / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise DamagedError(f"{name} is not what was written")
            seen.add((name, digest))

    def _written(self, space: str, dimension: int) -> list[tuple[str, str]]:
        """Files and their digests, as the manifest has them."""
        document = self._manifest(space, dimension) or {"parts": []}
        indexes = [part["index"] for part in document["parts"] if part["index"]]
        segments = [(name, digest) for part in document["parts"] for name, digest in part["segments"]]
        return segments + [(index["file"], index["sha256"]) for index in indexes]

    def _manifest(self, space: str, dimension: int) -> dict[str, Any] | None:
        try:
            data = (self._path / MANIFEST).read_bytes()
        except FileNotFoundError:
            return None
        document = _checked_manifest(data)
        if (document["space"], document["dimension"]) != (space, dimension):
            raise DamagedError("it is of another space")
        return document

    def mapped(self, segment: Segment) -> Segment | None:
        """The same, with its vectors in its file and not in memory; None where they are there already, or it has changed."""
        file = self._files.get(segment.number)
        if file is None or segment.file == file.name or (segment.num, segment.num_dead) != (file.num, file.num_dead):
            return None
        mapped = _read(self._path / file.name, file.sha256, segment.vectors.shape[1], is_mapped=True)
        self._files[mapped.number] = _File(mapped.num, 0, file.name, file.sha256)
        self._mapped[file.name] = mapped
        return mapped

    def _saved_index(self, origin: Side, index: BuiltIndex | None) -> dict[str, Any] | None:
        """What the manifest says of an index, which is written where it is a new one."""
        if index is None:
            return None
        before = self._indexes.get(origin)
        if before is not None and before[0] is index:
            return before[1]
        data = index.seqs.astype("<i8").tobytes() + packed(index)
        entry: dict[str, Any] = {
            "file": f"{secrets.token_hex(8)}{INDEX_SUFFIX}",
            "sha256": hashlib.sha256(data).hexdigest(),
            "kind": index.kind,
            "num": len(index.seqs),
            "effort": index.effort,
            "recall": index.recall,
        }
        write_whole(self._path / entry["file"], data)
        self._indexes[origin] = (index, entry)
        return entry

    def holds(self, path: Path) -> bool:
        """Whether a file is one of these."""
        return path.parent == self._path

    def remove(self) -> None:
        """Take all of it away. Raises `OSError`, with nothing taken away."""
        for name in list(self._mapped):
            self._forget_file(name)
        self._files, self._indexes = {}, {}
        shutil.rmtree(self._path, ignore_errors=True)

    def _forget_file(self, name: str) -> None:
        """A file goes on without a name while it is mapped, and nothing may be in it of who is removed or erased then."""
        segment = self._mapped.get(name)
        if segment is not None:
            segment.lose_name(_on_disk(self._path / name, segment))
            del self._mapped[name]

    def _write(self, segment: Segment, num: int) -> "_File | None":
        """None where nobody is left in it."""
        while True:
            version, num_dead = segment.version, segment.num_dead
            if segment.is_dead[:num].all():
                return None
            pieces = _packed(segment, num)
            digest = hashlib.sha256()
            for piece in pieces:
                digest.update(piece)
            name = f"{secrets.token_hex(8)}.segment"
            write_whole(self._path / name, *pieces)
            reached("projection-after-segment")
            if version % 2 == 0 and segment.version == version:
                return _File(num, num_dead, name, digest.hexdigest())
            # Something was taken out of it meanwhile.
            (self._path / name).unlink()


def _packed(segment: Segment, num: int) -> list[bytes | memoryview]:
    """The first rows of a segment, but for dead ones, as a file; not copied where none is dead."""
    if segment.is_dead[:num].any():
        live = Segment(segment.vectors.shape[1], num)
        live.append(segment.columns(np.flatnonzero(~segment.is_dead[:num])))
        return _packed(live, live.num)
    dimension = segment.vectors.shape[1]
    names = bytes(segment.names[: int(segment.name_ends[num - 1]) if num else 0])
    head = _MAGIC + b"".join(number.to_bytes(8, "little") for number in (num, dimension, len(names), 0))
    columns = [
        column[:num].astype("<i8").tobytes() for column in (segment.seqs, segment.subject_ids, segment.name_ends)
    ]
    vectors = segment.vectors[:num].data.cast("B") if num else b""
    return [head, *columns, names, bytes(-len(names) % 8), vectors]


def _read_bytes(path: Path, digest: str) -> npt.NDArray[np.uint8]:
    """One file, in memory once. Raises `DamagedError`, `OSError`."""
    with path.open("rb") as file:
        data = np.empty(os.fstat(file.fileno()).st_size, dtype=np.uint8)
        if file.readinto(data.data) != len(data) or file.read(1):
            raise DamagedError(f"{path.name} changed while it was read")
    if hashlib.sha256(data.data).hexdigest() != digest:
        raise DamagedError(f"{path.name} is not what was written")
    return data


def _read_index(path: Path, entry: Mapping[str, Any]) -> BuiltIndex:
    data = _read_bytes(path, entry["sha256"])
    start = 8 * entry["num"]
    try:
        return _unpacked(entry, data, start)
    except RuntimeError:
        raise DamagedError(f"{path.name} is of a FAISS that this one does not understand") from None


def _unpacked(entry: Mapping[str, Any], data: npt.NDArray[np.uint8], start: int) -> BuiltIndex:
    return unpacked(entry["kind"], data[start:], data[:start].view("<i8"), entry["effort"], entry["recall"])


def _read(path: Path, digest: str, dimension: int, *, is_mapped: bool) -> Segment:
    """A segment; where `is_mapped`, its vectors stay in the file. Raises `DamagedError`, `OSError`."""
    data = _read_bytes(path, digest)
    head = data[:_HEAD].tobytes()
    num, file_dimension, num_names = (int.from_bytes(head[8 * place : 8 * place + 8], "little") for place in (1, 2, 3))
    if head[:8] != _MAGIC or file_dimension != dimension:
        raise DamagedError(f"{path.name} is of another kind")
    segment = Segment(dimension, 0)
    start = _HEAD + 24 * num
    numbers = data[_HEAD:start].view("<i8").reshape(3, num)
    segment.seqs, segment.subject_ids, segment.name_ends = numbers.copy() if is_mapped else numbers
    segment.names = bytearray(data[start : start + num_names].tobytes())
    start += num_names + -num_names % 8
    if is_mapped:
        # What is forgotten of it is written to memory of this process alone, as long as the file has a name.
        segment.vectors = np.memmap(path, dtype="<f4", mode="c", offset=start, shape=(num, dimension))
        segment.file = path.name
    else:
        segment.vectors = data[start:].view("<f4").reshape(num, dimension)
    segment.is_dead = np.zeros(num, dtype=np.bool_)
    segment.num = segment.capacity = num
    return segment


def _on_disk(path: Path, segment: Segment) -> "np.memmap[tuple[int, ...], np.dtype[np.float32]]":
    """The vectors of a segment that is mapped, in its file itself. Raises `OSError`."""
    assert isinstance(segment.vectors, np.memmap)
    return np.memmap(path, dtype="<f4", mode="r+", offset=segment.vectors.offset, shape=segment.vectors.shape)


def _checked_manifest(data: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(data)
        digest = document.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError("its manifest is not one") from None
    if (
        canonical_json(document | {"sha256": digest}) != data
        or hashlib.sha256(canonical_json(document)).hexdigest() != digest
    ):
        raise DamagedError("its manifest is not what was written")
    if document["format"] != _FORMAT:
        raise DamagedError("it was written by another version")
    return document
