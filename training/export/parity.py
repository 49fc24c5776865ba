"""The gate before a bundle is written: the exported graph must give the numbers of the model it came from."""

from collections.abc import Callable

import numpy as np

from models.features import FloatArray
from models.graph import NOISE
from models.runtime import InferenceError, Session
from training.errors import ExportError

TOLERANCE = 1e-5


def check_parity(
    graph: bytes,
    reference: Callable[[FloatArray], FloatArray],
    source_NS: FloatArray,
    *,
    tolerance: float = TOLERANCE,
) -> float:
    """The largest absolute difference over `source_NS`, in one batch and row by row; at most `tolerance`.

    Raises `ExportError` where it is more, or where the graph does not take other batch sizes.
    """
    session = Session(graph, device="cpu")
    return _difference(session.run, (source_NS,), reference(source_NS), tolerance)


def check_sampler_parity(
    graph: bytes,
    reference: Callable[[FloatArray, FloatArray], FloatArray],
    weak_NW: FloatArray,
    noise_NZ: FloatArray,
) -> float:
    """The same of a sampler, over weak features and noise. Raises `ExportError`."""
    session = Session(graph, device="cpu", noise_name=NOISE)
    return _difference(session.run, (weak_NW, noise_NZ), reference(weak_NW, noise_NZ), TOLERANCE)


def _difference(
    run: Callable[..., FloatArray], inputs: tuple[FloatArray, ...], expected: FloatArray, tolerance: float
) -> float:
    try:
        together = run(*inputs)
        alone = np.concatenate([run(*(rows[row : row + 1] for rows in inputs)) for row in range(len(expected))[:8]])
    except InferenceError as failure:
        raise ExportError(f"the exported graph does not take batches of every size: {failure}") from None
    if together.shape != expected.shape:
        raise ExportError(f"the exported graph gives the shape {together.shape}, the model {expected.shape}")
    difference = max(float(np.abs(together - expected).max()), float(np.abs(alone - expected[:8]).max()))
    if not difference <= tolerance:
        raise ExportError(
            f"the exported graph differs from its model by {difference:.1e}; at most {tolerance} is let through"
        )
    return difference
