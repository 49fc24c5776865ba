"""A model behind three calls, so that batching knows no model.

Shapes: an item becomes (n, ...) rows, rows of several items are run as one batch, (n, D) features come back.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from models.bundle import Bundle
from models.errors import ContractError, PictureError
from models.features import FloatArray, ZeroNormError, unit_features
from models.graph import NOISE
from models.picture import Landmarks, prepare_picture
from models.runtime import Device, InferenceError, Session
from models.samples import rows_of
from models.space import InputPreparation
from service.errors import EngineError, ImageRejectedError, ZeroNormVectorError

_ROUNDING = 1e-3

ItemT_contra = TypeVar("ItemT_contra", contravariant=True)


class Engine(Protocol[ItemT_contra]):
    """One loaded model. `prepare` and `finish` may run beside `run`, each on any thread."""

    device: str
    max_rows: int
    """The most rows that are worth running together."""

    def prepare(self, item: ItemT_contra) -> FloatArray:
        """One item as rows (n, ...), n at least 1. Raises domain errors about this item alone."""

    def run(self, rows: FloatArray) -> FloatArray:
        """The model over the rows of many items. Raises `EngineError`."""

    def finish(self, rows: FloatArray) -> FloatArray:
        """One item's share of the output: unit features (n, D), or of a generator pictures (n, 3, H, W).

        Raises `EngineError`, domain errors about the item.
        """


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to encode: its bytes, and landmarks unless it is an aligned crop."""

    data: bytes
    landmarks: Landmarks | None = None


class _OnnxEngine:
    """What encoders and translators share: a session, and checked output."""

    def __init__(self, bundle: Bundle, device: Device, *, noise_name: str | None = None) -> None:
        """Raises `InferenceError` where the model does not load on the device."""
        self._name = bundle.manifest.name
        self._session = Session(bundle.model, device=device, noise_name=noise_name)
        self.device: str = self._session.device

    def run(self, rows: FloatArray) -> FloatArray:
        """The model over the rows."""
        return self._run(rows)

    def _run(self, rows: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        try:
            return self._session.run(rows, noise)
        except InferenceError as failure:
            raise EngineError(f"bundle {self._name}: {failure}") from None

    def finish(self, rows: FloatArray) -> FloatArray:
        """Unit features; a model that puts out NaN has failed. Raises `ZeroNormVectorError` too."""
        try:
            return unit_features(rows)
        except ZeroNormError:
            raise ZeroNormVectorError(
                f"bundle {self._name} finds no direction in a vector or picture of the request; leave it out"
            ) from None
        except ContractError as failure:
            raise EngineError(f"bundle {self._name}: output {failure}") from None


class TranslatorEngine(_OnnxEngine):
    """Items are unit features (n, S)."""

    max_rows = 4096

    def prepare(self, item: FloatArray) -> FloatArray:
        """Features are ready as they are."""
        return item


class SamplerEngine(_OnnxEngine):
    """Items are unit features (n, W) with noise (M, Z), of each M rows with noise behind it (n M, W + Z)."""

    max_rows = 4096

    def __init__(self, bundle: Bundle, device: Device) -> None:
        super().__init__(bundle, device, noise_name=NOISE)
        assert bundle.manifest.source is not None
        self._num_weak = bundle.manifest.source.dimension

    def prepare(self, item: tuple[FloatArray, FloatArray]) -> FloatArray:
        """Every feature with all of the noise, one after the other."""
        return np.concatenate(rows_of(*item), axis=1)

    def run(self, rows: FloatArray) -> FloatArray:
        """The model over the rows."""
        weak, noise = np.split(rows, [self._num_weak], axis=1)
        return self._run(np.ascontiguousarray(weak), np.ascontiguousarray(noise))


class GeneratorEngine(_OnnxEngine):
    """Items are unit features (n, S), what comes back are pictures (n, 3, H, W), RGB in [0, 255]."""

    max_rows = 64

    def prepare(self, item: FloatArray) -> FloatArray:
        """Features are ready as they are."""
        return item

    def finish(self, rows: FloatArray) -> FloatArray:
        """Pictures within their range. Raises `EngineError`."""
        if not np.isfinite(rows).all():
            raise EngineError(f"bundle {self._name}: it paints numbers that are not finite")
        return rows.clip(0, 255)


class PictureEngine(_OnnxEngine):
    """Items are pictures; decoding, aligning and preparing is done on the caller's thread."""

    def __init__(self, bundle: Bundle, device: Device, preparation: InputPreparation, max_pixels: int) -> None:
        super().__init__(bundle, device)
        # On a CPU eight pictures stay in the cache; 64 at once are half as fast.
        self.max_rows = 64 if self.device == "cuda" else 8
        self._preparation = preparation
        self._max_pixels = max_pixels

    def prepare(self, item: Picture) -> FloatArray:
        """The picture as one row (1, 3, H, W). Raises `ImageRejectedError`."""
        try:
            prepared = prepare_picture(
                item.data, self._preparation, landmarks=item.landmarks, max_pixels=self._max_pixels
            )
        except PictureError as failure:
            raise ImageRejectedError(str(failure)) from None
        return prepared[None]


class EncoderEngine(PictureEngine):
    """Pictures become unit features (1, D)."""


class AttributesEngine(PictureEngine):
    """Pictures become the probabilities (1, K + M) of classes, which sum to one, and of attributes."""

    def __init__(self, bundle: Bundle, device: Device, preparation: InputPreparation, max_pixels: int) -> None:
        super().__init__(bundle, device, preparation, max_pixels)
        assert bundle.attributes is not None
        self._num_classes = len(bundle.attributes.classes)

    def finish(self, rows: FloatArray) -> FloatArray:
        """Probabilities. Raises `EngineError` where they are none."""
        is_sound = np.isfinite(rows).all() and (rows >= 0).all() and (rows <= 1 + _ROUNDING).all()
        sums = rows[:, : self._num_classes].sum(axis=1)
        if not is_sound or (self._num_classes and not np.allclose(sums, 1, atol=_ROUNDING)):
            raise EngineError(f"bundle {self._name}: what it gives are no probabilities")
        return rows.clip(0, 1)


class ClassifierEngine(PictureEngine):
    """Pictures become the probabilities (1, C) of the people whom the model knows."""

    def finish(self, rows: FloatArray) -> FloatArray:
        """Probabilities. Raises `EngineError` where they are none."""
        if not (np.isfinite(rows).all() and (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=_ROUNDING)):
            raise EngineError(f"bundle {self._name}: what it gives are no probabilities that sum to one")
        return rows
