"""From pictures to a feature set: decoding beside inference on every core, and able to go on after an interruption.

Each worker decodes a small batch and runs the encoder on it with one thread: on CPUs this is faster than one run over
all cores, because a small batch stays in the cache and nobody waits for anybody. Finished chunks are kept beside the
output until the set is whole; a later call with the same encoder and unchanged pictures takes them up.
"""

import io
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.documents import canonical_json, sha256_hex
from models.errors import ContractError, PictureError
from models.feature_set import LABEL_PREFIX, FeatureSet
from models.features import FloatArray, unit_features
from models.npy import read_npy
from models.picture import prepare_picture
from models.runtime import Device, InferenceError, Session, choose_device
from training.data.encoders import Encoder
from training.data.partial import empty
from training.data.sources import PictureItem, PictureSource
from training.errors import EncoderError, SourceError, TrainingError

CHUNK = 4096
"""Pictures kept together for a later call to take up."""
_PICTURES_A_TASK = 64
"""Decoded in a row before the encoder runs on them, batch by batch: going to and fro empties the caches."""
_PLAN = "plan.json"
LEFT = (_PLAN, "*.npz", "*.draft")
"""What an interrupted extraction leaves in its folder."""


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """How to run. Batch and workers 0 mean: what suits the device."""

    device: Device = "auto"
    batch_size: int = 0
    num_workers: int = 0
    skip_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Extraction:
    """The feature set, and the keys of pictures that were left out because they could not be read."""

    feature_set: FeatureSet
    skipped: tuple[str, ...]
    num_resumed: int
    """Pictures whose features an earlier, interrupted call had left."""


def extract_features(
    encoder: Encoder,
    source: PictureSource,
    partial: Path,
    settings: ExtractionSettings,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Extraction:
    """Extract every picture of `source`; unfinished work is kept in the folder `partial`, removed at the end.

    Raises `SourceError` for a picture that cannot be read (unless skipped), `EncoderError` for an encoder that does not
    do what its description says.
    """
    run = _Run(encoder, source, settings)
    num_resumed = 0
    chunks: list[_Chunk] = []
    try:
        _open_plan(partial, encoder, source)
        for start in range(0, len(source.items), CHUNK):
            path = partial / f"{start:010d}.npz"
            items = source.items[start : start + CHUNK]
            chunk = _read_chunk(path, len(items), encoder.space.dimension)
            # What an earlier call was allowed to leave out, this one may have to refuse.
            if chunk is None or not (chunk.kept.all() or settings.skip_unreadable):
                chunk = run.chunk(items, on_progress)
                _write_chunk(path, chunk)
            else:
                num_resumed += len(chunk.kept)
                on_progress(len(chunk.kept))
            chunks.append(chunk)
    except OSError as failure:
        raise TrainingError(f"{partial}: cannot be written ({failure.strerror or failure})") from None
    finally:
        run.close()
    kept = np.concatenate([chunk.kept for chunk in chunks])
    features = np.concatenate([chunk.feature for chunk in chunks])
    items = [item for item, keep in zip(source.items, kept, strict=True) if keep]
    skipped = tuple(item.key for item, keep in zip(source.items, kept, strict=True) if not keep)
    if not items:
        raise SourceError("none of the pictures could be read")
    return Extraction(FeatureSet.build(encoder.space, _columns(items, features)), skipped, num_resumed)


def discard_partial(partial: Path) -> None:
    """Remove what an extraction left behind; call it once the feature set is safely written."""
    shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Chunk:
    kept: npt.NDArray[np.bool_]
    feature: FloatArray
    """Of the kept pictures only, as the encoder put them out."""


class _Run:
    """One encoder session and the workers that feed it."""

    def __init__(self, encoder: Encoder, source: PictureSource, settings: ExtractionSettings) -> None:
        on_cuda = choose_device(settings.device) == "cuda"
        try:
            self._session = Session(encoder.model, device=settings.device, num_threads=1)
        except InferenceError as failure:
            raise EncoderError(f"encoder {encoder.space.name}: {failure}") from None
        self._encoder = encoder
        self._source = source
        self._skip = settings.skip_unreadable
        # Eight pictures stay in a core's cache; 64 are already half as fast.
        self._batch_size = self._session.fixed_batch or settings.batch_size or (64 if on_cuda else 8)
        self._pool = ThreadPoolExecutor(settings.num_workers or os.cpu_count() or 1)

    def chunk(self, items: list[PictureItem], on_progress: Callable[[int], None]) -> _Chunk:
        """Extract a chunk of pictures, in order."""
        features: list[FloatArray] = []
        kept: list[bool] = []
        size = max(_PICTURES_A_TASK // self._batch_size, 1) * self._batch_size
        tasks = [items[start : start + size] for start in range(0, len(items), size)]
        for task, (feature, kept_here) in zip(tasks, self._in_order(tasks), strict=True):
            features.append(feature)
            kept.extend(kept_here)
            on_progress(len(task))
        return _Chunk(np.array(kept), np.concatenate(features))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _in_order(self, tasks: list[list[PictureItem]]) -> Iterator[tuple[FloatArray, list[bool]]]:
        return self._pool.map(self._task, tasks)

    def _task(self, items: list[PictureItem]) -> tuple[FloatArray, list[bool]]:
        prepared = [self._prepare(item) for item in items]
        rows = [row for row in prepared if row is not None]
        kept = [row is not None for row in prepared]
        if not rows:
            return np.zeros((0, self._encoder.space.dimension), dtype=np.float32), kept
        readable = [item for item, keep in zip(items, kept, strict=True) if keep]
        features = [
            self._encode(np.stack(rows[start : start + self._batch_size]), readable[start : start + self._batch_size])
            for start in range(0, len(rows), self._batch_size)
        ]
        return np.concatenate(features), kept

    def _prepare(self, item: PictureItem) -> FloatArray | None:
        try:
            return prepare_picture(self._source.read(item), self._encoder.preparation, landmarks=item.landmarks)
        except (PictureError, SourceError) as failure:
            if self._skip:
                return None
            raise SourceError(f"picture {item.key}: {failure} (or run with --skip-unreadable)") from None

    def _encode(self, pictures: FloatArray, items: list[PictureItem]) -> FloatArray:
        space = self._encoder.space
        missing = (self._session.fixed_batch or 0) - len(pictures)
        padded = np.concatenate([pictures, pictures[:1].repeat(missing, axis=0)]) if missing > 0 else pictures
        try:
            raw = self._session.run(padded)
        except InferenceError as failure:
            raise EncoderError(f"encoder {space.name}: {failure}; compare its input with 'resize'") from None
        raw = raw[: len(pictures)] if raw.ndim else raw
        if raw.shape[:1] != (len(items),) or raw.size != len(items) * space.dimension:
            size = raw.size // max(1, len(raw)) if raw.ndim else 0
            raise EncoderError(
                f"encoder {space.name}: puts out {size} numbers for a picture, its description says {space.dimension}"
            )
        rows: FloatArray = raw.reshape(len(items), space.dimension).astype(np.float32)
        try:
            unit_features(rows, what="row")
        except ContractError as failure:
            first, last = items[0].key, items[-1].key
            raise EncoderError(f"encoder {space.name}: pictures {first} to {last}: {failure}") from None
        return rows


def _columns(items: list[PictureItem], features: FloatArray) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {
        "feature": features,
        "image": np.array([item.key for item in items], dtype=np.str_),
        "subject": np.array([item.subject for item in items], dtype=np.str_),
    }
    if any(item.modality for item in items):
        columns["modality"] = np.array([item.modality for item in items], dtype=np.str_)
    for name in items[0].labels:
        columns[LABEL_PREFIX + name] = np.array([item.labels[name] for item in items], dtype=np.str_)
    return columns


def _open_plan(partial: Path, encoder: Encoder, source: PictureSource) -> None:
    """Make `partial` the place of exactly this work; what was left there by another encoder or list, or
    of pictures that have changed since, is thrown away.
    """
    listing = [[item.key, item.place, item.stamp, str(item.landmarks)] for item in source.items]
    plan = {
        "chunk": CHUNK,
        "feature": "raw",
        "listing": sha256_hex(canonical_json(listing)),
        "space": encoder.space.fingerprint,
    }
    path = partial / _PLAN
    if path.is_file():
        try:
            if json.loads(path.read_text()) == plan:
                return
        except ValueError:
            pass
    partial.mkdir(parents=True, exist_ok=True)
    empty(partial)
    path.write_text(json.dumps(plan))


def _read_chunk(path: Path, num_items: int, dimension: int) -> _Chunk | None:
    """The chunk, or None where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            kept, feature = (read_npy(archive.read(f"{name}.npy")) for name in ("kept", "feature"))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return None
    if kept.dtype != np.bool_ or kept.shape != (num_items,):
        return None
    if feature.dtype != np.float32 or feature.shape != (int(kept.sum()), dimension):
        return None
    return _Chunk(kept, feature)


def _write_chunk(path: Path, chunk: _Chunk) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("wb") as stream:
        np.savez(stream, allow_pickle=False, kept=chunk.kept, feature=chunk.feature)
    os.replace(draft, path)  # noqa: PTH105  (the name says atomic)
