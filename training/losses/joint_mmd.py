"""How far two modalities' features and predictions are from being drawn together of one distribution.

Shapes: B batch, D feature dimension, C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of Gaussian kernels for features, in multiples of the mean squared distance."""


def joint_mmd(weak: Sequence[Tensor], strong: Sequence[Tensor]) -> Tensor:
    """Joint maximum mean discrepancy of several layers, the biased estimate over equal batches; never below zero.

    Layers come in the same order on both sides, (B, ...) each; the kernel of two pictures is the product over layers.
    Source: Long et al., Deep transfer learning with joint adaptation networks (ICML 2017), Sec. 4: JMMD. Deviation: every pair of
    the batch and not a linear number of them.
    """
    kernel_2B2B = torch.ones((), dtype=weak[0].dtype, device=weak[0].device)
    for one, other in zip(weak, strong, strict=True):
        kernel_2B2B = kernel_2B2B * _kernel(torch.cat([one, other]))
    weight_2B = torch.cat(
        [kernel_2B2B.new_full((len(side[0]),), sign / len(side[0])) for side, sign in ((weak, 1), (strong, -1))]
    )
    discrepancy: Tensor = weight_2B @ kernel_2B2B @ weight_2B
    return discrepancy


def _kernel(value_ND: Tensor) -> Tensor:
    """A mean of Gaussian kernels (N, N), as wide as values are apart."""
    length_N1 = value_ND.square().sum(dim=1, keepdim=True)
    square_NN = (length_N1 + length_N1.T - 2 * value_ND @ value_ND.T).clamp_min(0.0)
    num = len(value_ND)
    width = (square_NN.detach().sum() / (num * (num - 1))).clamp_min(1e-12)
    return torch.stack([torch.exp(-square_NN / (factor * width)) for factor in _WIDTHS]).mean(dim=0)
