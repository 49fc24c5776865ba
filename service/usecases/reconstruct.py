"""Paint the face that a feature is of, where an operator allows it."""

import asyncio
import io

import numpy as np
from PIL import Image

from models.features import FloatArray
from service.entities import Probe
from service.inference.inference import Inference
from service.usecases.probes import Probes


class Reconstruct:
    """The verb."""

    def __init__(self, inference: Inference, probes: Probes) -> None:
        self._inference = inference
        self._probes = probes

    async def __call__(self, probe: Probe) -> bytes:
        """A picture as PNG. Raises `NoRouteError` where no generator is there, and what is wrong with the probe."""
        native = await self._probes.read([probe], self._inference.painted_spaces.values())
        painted_1CHW = await self._inference.paint(native.features, native.space)
        return await asyncio.to_thread(_png, painted_1CHW[0])


def _png(picture_CHW: FloatArray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture_CHW.round().astype(np.uint8).transpose(1, 2, 0)).save(stream, "PNG")
    return stream.getvalue()
