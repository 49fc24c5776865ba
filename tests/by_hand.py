"""A model of confidence small enough to be worked out by hand.

Its answer depends on the first number x of the source feature: 0.01 below 0, 0.5 up to x sqrt(S) < 1, 0.9 above; and 0
for a feature that has nearly all its length in the last quarter of its numbers.
"""

import numpy as np

from models.confidence import NUM_SIGNALS, ConfidenceModel, Estimate, Signals
from models.reference import BLOCKS, NUM_STATISTICS, SpaceReference


def reference(dimension: int, *, stream_limit: float = 5.0) -> SpaceReference:
    """Of vectors of any direction alike."""
    limit = np.full(BLOCKS, 1e6, dtype=np.float32)
    limit[-1] = 0.9 * BLOCKS
    return SpaceReference(
        np.zeros(dimension, dtype=np.float32),
        np.eye(dimension, dtype=np.float32) * np.float32(np.sqrt(dimension)),
        0.9,
        limit,
        np.zeros(NUM_STATISTICS, dtype=np.float32),
        np.ones(NUM_STATISTICS, dtype=np.float32),
        stream_limit,
    )


def confidence_model(num_source: int, num_target: int, *, stream_limit: float = 5.0) -> ConfidenceModel:
    """See above."""
    weight = np.zeros(num_source + num_target + NUM_SIGNALS, dtype=np.float32)
    weight[0] = 1.0
    far = np.array([1e6, 1e6, -2.0, -2.0], dtype=np.float32)
    return ConfidenceModel(
        "tar",
        1e-3,
        reference(num_source, stream_limit=stream_limit),
        reference(num_target, stream_limit=stream_limit),
        Signals(
            np.zeros(num_source, dtype=np.float32),
            np.eye(num_source, dtype=np.float32) * np.float32(np.sqrt(num_source)),
            np.zeros(num_target, dtype=np.float32),
            np.eye(num_target, dtype=np.float32) * np.float32(np.sqrt(num_target)),
            np.eye(num_source, dtype=np.float32),
            np.zeros((num_target, num_source), dtype=np.float32),
            np.eye(num_source, dtype=np.float32)[0],
        ),
        np.zeros(NUM_SIGNALS, dtype=np.float32),
        np.ones(NUM_SIGNALS, dtype=np.float32),
        far,
        Estimate(
            weight,
            np.zeros(1, dtype=np.float32),
            np.array([-100.0, 0.0, 1.0], dtype=np.float32),
            np.array([0.01, 0.5, 0.9], dtype=np.float32),
        ),
    )
