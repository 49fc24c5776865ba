"""Translating for what is no request, on the caller's thread: whole galleries.

Shapes: N rows, S source and T target dimension of a route.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.confidence import ConfidenceModel
from models.features import FloatArray
from service.entities import Translation
from service.errors import ZeroNormVectorError
from service.inference.engine import Engine


@dataclass(frozen=True, slots=True)
class BlockingStep:
    """One translator, and what tells how far it can be trusted."""

    bundle: str
    engine: Engine[FloatArray]
    confidence: ConfidenceModel | None


@dataclass(frozen=True, slots=True)
class BlockingRoute:
    """Translators one after the other. `is_told`: all of them tell of confidence, and mean the same by it."""

    steps: Sequence[BlockingStep]
    dimension: int
    """T."""
    is_told: bool

    def __call__(self, features_NS: FloatArray, norm_N: FloatArray | None = None) -> Translation:
        """Unit features (N, S) to unit features (N, T), NaN where a translator finds no direction. Raises `EngineError`."""
        features, norm = features_NS, norm_N
        rows = np.arange(len(features))
        confidence_N = np.ones(len(features), dtype=np.float32)
        for step in self.steps:
            if not len(features):
                break
            before, features = features, _run(step.engine, features)
            is_known = ~np.isnan(features[:, 0])
            if not is_known.all():
                before, features, rows = before[is_known], features[is_known], rows[is_known]
                norm = None if norm is None else norm[is_known]
            if self.is_told and step.confidence is not None and len(rows):
                confidence_N[rows] = np.minimum(confidence_N[rows], step.confidence(before, features, norm))
            norm = None
        if len(rows) != len(features_NS) or not len(rows):
            everything = np.full((len(features_NS), self.dimension), np.nan, dtype=np.float32)
            if len(rows):
                everything[rows] = features
            features = everything
            confidence_N[np.isnan(features[:, 0])] = np.nan
        route = tuple(step.bundle for step in self.steps)
        return Translation(features, route, confidence_N if self.is_told else None)


def _run(engine: Engine[FloatArray], features: FloatArray) -> FloatArray:
    """Through one model, as many rows together as are worth it; at least one row."""
    outputs = [
        _finished(engine, engine.run(engine.prepare(features[start : start + engine.max_rows])))
        for start in range(0, len(features), engine.max_rows)
    ]
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def _finished(engine: Engine[FloatArray], outputs: FloatArray) -> FloatArray:
    try:
        return engine.finish(outputs)
    except ZeroNormVectorError:
        finished = np.full(outputs.shape, np.nan, dtype=np.float32)
        for row in range(len(outputs)):
            try:
                finished[row] = engine.finish(outputs[row : row + 1])[0]
            except ZeroNormVectorError:
                continue
        return finished
