"""How the weights of tasks are learned: by how hard each task is, or by the rivals that the paper names.

Source: Ming et al., Cross-modal photo-caricature face recognition based on dynamic multi-task learning (IJDAR 2021).

Shapes: T tasks.
"""

import torch
from torch import Tensor

LEAST_LOSS = 1e-3
"""A loss counts as no less: one of zero would be a weight's only concern."""


def dynamic_weights_loss(weight_T: Tensor, loss_T: Tensor, is_there_T: Tensor) -> Tensor:
    """The sum of each task's weight divided by its loss: least where all the weight is on the hardest.

    Source: Eq. 12. Losses are constants here; tasks of which a batch has nothing are left out.
    """
    hardness_T = 1 / loss_T.detach()[is_there_T].clamp(min=LEAST_LOSS)
    return (weight_T[is_there_T] * hardness_T).sum()


def uncertainty_loss(log_variance_T: Tensor, loss_T: Tensor, is_there_T: Tensor) -> Tensor:
    """Losses divided by a variance that is learned for each task, and half the logarithm of that beside them.

    Source: Kendall et al., Multi-task learning using uncertainty to weigh losses (CVPR 2018), Eq. 10 for classification.
    """
    log_variance_T = log_variance_T[is_there_T]
    return (torch.exp(-log_variance_T) * loss_T[is_there_T] + log_variance_T / 2).sum()


def gradient_norm_loss(
    weight_T: Tensor, norm_T: Tensor, share_T: Tensor, is_there_T: Tensor, *, power: float
) -> Tensor:
    """How far the norms of the weighted losses' gradients are from one norm for all, more for tasks that lag behind.

    `norm_T` is of the gradients of the losses as they are, over the last weights that are shared, `share_T` of each loss what is
    left of what it was at first.

    Source: Chen et al., GradNorm (ICML 2018), Eq. 2.
    """
    own_T = weight_T[is_there_T] * norm_T.detach()[is_there_T]
    rate_T = share_T.detach()[is_there_T]
    aim_T = own_T.detach().mean() * (rate_T / rate_T.mean().clamp(min=LEAST_LOSS)) ** power
    return (own_T - aim_T).abs().sum()
