"""A sampler is tried before it is served: what it makes of a feature must depend on that and on the noise alone."""

from typing import Any

import numpy as np

from models.bundle import Bundle
from models.features import FloatArray, unit_features
from models.runtime import InferenceError
from service.errors import FacebridgeError
from service.inference.engine import Engine

_ROWS = 4
_ALIKE = 1e-4
"""Rounding is another in batches of another size."""
_VARIED = 1e-6


def try_sampler(bundle: Bundle, engine: Engine[Any]) -> None:
    """Run it on a few features drawn by chance. Raises `InferenceError` saying what is wrong with what it makes."""
    assert bundle.manifest.source is not None
    assert bundle.manifest.sampling is not None
    random = np.random.default_rng(0)
    weak = unit_features(random.normal(size=(_ROWS, bundle.manifest.source.dimension)).astype(np.float32))
    noise, other = (
        random.standard_normal((_ROWS, bundle.manifest.sampling.num_noise), dtype=np.float32) for _ in range(2)
    )
    together = _made(engine, weak, noise)
    alone = np.concatenate([_made(engine, weak[row : row + 1], noise[row : row + 1]) for row in range(_ROWS)])
    if not np.allclose(together, alone, atol=_ALIKE):
        raise InferenceError("what it makes of a feature depends on the others in the batch")
    if np.abs(together - _made(engine, weak, other)).max() < _VARIED:
        raise InferenceError("it makes the same of a feature whatever the noise; a translator would do")


def _made(engine: Engine[Any], weak: FloatArray, noise: FloatArray) -> FloatArray:
    try:
        made = engine.finish(engine.run(np.concatenate([weak, noise], axis=1)))
    except FacebridgeError as failure:
        raise InferenceError(f"tried on features drawn by chance: {failure}") from None
    if len(made) != len(weak):
        raise InferenceError("it gives another number of rows than it takes")
    return made
