"""Training pictures, decoded once: a memory-mapped file of bytes that every epoch reads in another order.

Shapes: N pictures, H W picture. The file holds crops as the encoder's preparation cuts and resizes them, before mean and
deviation, (N, H, W, 3) uint8 in the preparation's colour order.
"""

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.documents import canonical_json, sha256_hex
from models.errors import PictureError
from models.picture import prepare_picture
from models.space import InputPreparation
from training.data.partial import check_room
from training.data.sources import PictureItem, PictureSource
from training.errors import SourceError, TrainingError

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Decoded pictures with the class of each."""

    picture_NHW3: npt.NDArray[np.uint8]
    class_N: npt.NDArray[np.int64]
    num_classes: int
    digest: str
    """SHA-256 of the decoded pictures and who is on each, and how they are labelled."""
    label_N: npt.NDArray[np.int64] | None = None
    """Beside who is on it, negative where it is not known."""
    num_labels: int = 0

    def __post_init__(self) -> None:
        """Raises `TrainingError` for a person or a label that is not there."""
        named = (("people", self.class_N, self.num_classes, 0), ("labels", self.label_N, self.num_labels, None))
        for what, number_N, num, least in named:
            if number_N is None or not len(number_N):
                continue
            if len(number_N) != len(self.picture_NHW3):
                raise TrainingError(f"{len(number_N)} {what} for {len(self.picture_NHW3)} pictures")
            if int(number_N.max()) >= num or (least is not None and int(number_N.min()) < least):
                raise TrainingError(f"{what} are numbered from 0 to {num - 1}")


def decode_pictures(
    source: PictureSource,
    items: list[PictureItem],
    preparation: InputPreparation,
    folder: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> npt.NDArray[np.uint8]:
    """The pictures of `items`, decoded into a file below `folder`, or as an earlier call left them there.

    Raises `SourceError` for one that cannot be read, `TrainingError` where the disk has too little room.
    """
    width, height = preparation.resize
    path, plan_path = folder / "pictures.npy", folder / "pictures.json"
    listing = [[item.key, item.place, item.stamp, str(item.landmarks)] for item in items]
    plan = {
        "listing": sha256_hex(canonical_json(listing)),
        "preparation": sha256_hex(canonical_json(asdict(preparation))),
    }
    shape = (len(items), height, width, 3)
    kept = _kept(path, plan_path, plan, shape)
    if kept is not None:
        on_progress(len(items))
        return kept
    plan_path.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    check_room(folder, math.prod(shape))
    pictures: npt.NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(path)
    plain = replace(preparation, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def decode(row: int) -> None:
        item = items[row]
        try:
            prepared = prepare_picture(source.read(item), plain, landmarks=item.landmarks)
        except (PictureError, SourceError) as failure:
            raise SourceError(f"picture {item.key}: {failure}") from None
        pictures[row] = prepared.transpose(1, 2, 0)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(items), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(items)))
            list(pool.map(decode, rows))
            on_progress(len(rows))
    # The plan says that the pictures are whole: they go to the disk first.
    assert isinstance(pictures, np.memmap)
    pictures.flush()
    plan_path.write_text(json.dumps(plan))
    return pictures


def normalised(decoded_NHW3: npt.NDArray[np.uint8], preparation: InputPreparation) -> npt.NDArray[np.float32]:
    """Decoded pictures as an encoder takes them, (N, 3, H, W)."""
    mean, std = (np.array(one, dtype=np.float32) for one in (preparation.mean, preparation.std))
    return np.ascontiguousarray(((decoded_NHW3 - mean) / std).transpose(0, 3, 1, 2), dtype=np.float32)


def _reserve(path: Path) -> None:
    """Give the file all its blocks now: a full disk would be met in the middle of the map, by a signal that ends the process.

    Raises `TrainingError`.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except OSError as failure:
            path.unlink()
            raise TrainingError(f"{path.parent}: has no room for the decoded pictures ({failure.strerror})") from None


def _kept(path: Path, plan_path: Path, plan: dict[str, str], shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """What an earlier call for the same pictures decoded; None where there is none, or it is damaged."""
    try:
        if json.loads(plan_path.read_bytes()) != plan:
            return None
        kept: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return kept if kept.shape == shape and kept.dtype == np.uint8 else None
