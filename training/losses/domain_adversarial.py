"""Features that do not tell of which modality a picture is: by a classifier of modalities whose gradient is turned round.

Shapes: B batch; logits are above 0 for weak pictures.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def domain_loss(weak_B: Tensor, strong_B: Tensor) -> Tensor:
    """Cross-entropy of telling the two modalities apart, both of equal weight. Source: Ganin and Lempitsky (ICML 2015)."""
    return (functional.softplus(-weak_B).mean() + functional.softplus(strong_B).mean()) / 2


def reversed_gradient(feature_BD: Tensor, strength: float) -> Tensor:
    """The same, whose gradient comes back turned round. Source: Ganin and Lempitsky (ICML 2015), Sec. 3."""
    turned: Tensor = _Reversal.apply(feature_BD, strength)  # type: ignore[no-untyped-call]
    return turned


def reversal_strength(done: float) -> float:
    """From 0 to 1 over the training, of which a share `done` is past. Source: Ganin and Lempitsky (ICML 2015), Sec. 4.

    >>> reversal_strength(0.0), round(reversal_strength(1.0), 4)
    (0.0, 0.9999)
    """
    return 2 / (1 + math.exp(-10 * done)) - 1


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, feature_BD: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return feature_BD.view_as(feature_BD)

    @staticmethod
    def backward(context: Any, gradient_BD: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradient_BD, None
