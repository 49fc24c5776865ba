"""Torch networks as translators of arrays."""

import numpy as np
import torch
from torch import nn

from models.features import FloatArray

_ROWS_A_RUN = 512
"""What R3AN keeps of a picture on its way is a megabyte."""


class TorchTranslator:
    """A trained network as a translator, (N, S) to unit (N, T)."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def __call__(self, source_NS: FloatArray) -> FloatArray:
        """Translate features."""
        blocks = [source_NS[start : start + _ROWS_A_RUN] for start in range(0, len(source_NS), _ROWS_A_RUN)]
        with torch.inference_mode():
            return np.concatenate(
                [self.network(torch.from_numpy(np.ascontiguousarray(block))).numpy() for block in blocks]
            )
