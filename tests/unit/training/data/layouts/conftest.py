"""Folders as data sets are unpacked, with pictures that are made on the spot."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _picture(seed: int = 0, size: tuple[int, int] = (112, 112)) -> bytes:
    colour = np.random.default_rng(seed).integers(0, 256, 3)
    stream = io.BytesIO()
    Image.new("RGB", size, tuple(map(int, colour))).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Makes the bytes of a picture of one colour from a seed and a size."""
    return _picture


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of files, given by their paths; each has the bytes or text given, or is a picture of its own."""

    def make(*names: str, **contents: object) -> Path:
        folder = tmp_path / "set"
        folder.mkdir(exist_ok=True)
        given = {name: _picture(seed) for seed, name in enumerate(names)} | contents
        for name, content in given.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
        return folder

    return make
