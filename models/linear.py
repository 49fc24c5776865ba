"""A linear translator: normalise, map, normalise. Shapes: N rows, S source and T target dimension."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.features import unit_features

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LinearMap:
    """y = normalise(normalise(x) W + b)."""

    weight_ST: FloatArray
    bias_T: FloatArray

    def __call__(self, source_NS: FloatArray) -> FloatArray:
        """Translate features (N, S) to unit features (N, T)."""
        return unit_features(unit_features(source_NS) @ self.weight_ST + self.bias_T)
