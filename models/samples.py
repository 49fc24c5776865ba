"""The features that a weak feature could have had in a strong modality, drawn with noise that a seed names.

Training measures with them and the service answers with them, so they are drawn in one place. Every probe gets the same noise:
what it is answered does not depend on which others were asked about with it.

Shapes: N probes, M samples of each, W weak dimension, Z noise.
"""

from typing import Final

import numpy as np

from models.features import FloatArray

MAX_SEED: Final = 2**63 - 1


def draw_noise(num_samples: int, num_noise: int, seed: int) -> FloatArray:
    """Noise (M, Z) of a standard normal distribution; the first of it is the same however much is drawn.

    >>> bool((draw_noise(3, 4, seed=7)[:2] == draw_noise(2, 4, seed=7)).all())
    True
    """
    return np.random.default_rng(seed).standard_normal((num_samples, num_noise), dtype=np.float32)


def rows_of(weak_NW: FloatArray, noise_MZ: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both repeated to (N M, W) and (N M, Z): the samples of a probe one after the other, then those of the next."""
    return np.repeat(weak_NW, len(noise_MZ), axis=0), np.tile(noise_MZ, (len(weak_NW), 1))
