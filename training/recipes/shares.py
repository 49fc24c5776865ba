"""How far to go from an encoder as it came to the encoder that was trained, by validation people.

A few hundred drawings teach an encoder what drawings are like, and make it forget some of what it knew of faces. Weights between
the two know both. Shapes: N pictures, H W picture, D feature dimension.
"""

from collections.abc import Callable

import numpy as np

from models.feature_set import FeatureSet
from models.features import FloatArray

SHARES = (1.0, 0.8, 0.6, 0.45, 0.3)
"""Of the way; of equals the most is taken."""
MOST_PICTURES = 512
"""That are looked at for each share."""
_AT_ONCE = 64

Encode = Callable[[FloatArray], FloatArray]


def best_share(
    encoder_at: Callable[[float], Encode], picture_N3HW: FloatArray, merit: Callable[[FloatArray], float]
) -> float:
    """The share whose features (N, D) of these pictures have the highest merit.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models (CVPR 2022).
    """
    merits = {}
    for share in SHARES:
        encode = encoder_at(share)
        blocks = [picture_N3HW[start : start + _AT_ONCE] for start in range(0, len(picture_N3HW), _AT_ONCE)]
        merits[share] = merit(np.concatenate([encode(block) for block in blocks]))
    return max(merits, key=lambda share: (merits[share], share))


def some_of(feature_set: FeatureSet) -> FeatureSet:
    """As many rows as are looked at, of all people alike."""
    if len(feature_set) <= MOST_PICTURES:
        return feature_set
    return feature_set.take(np.sort(np.random.default_rng(0).permutation(len(feature_set))[:MOST_PICTURES]))
