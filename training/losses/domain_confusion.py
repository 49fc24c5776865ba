"""Features that confuse a classifier of modalities, and soft labels that say whom a person looks like.

Shapes: B batch, C classes, M strong features; logits of modalities are above 0 for weak pictures.
"""

from torch import Tensor
from torch.nn import functional


def confusion_loss(weak_B: Tensor, strong_B: Tensor) -> Tensor:
    """Cross-entropy between what the classifier says and an even chance, over both modalities.

    Source: Tzeng et al., Simultaneous deep transfer across domains and tasks (ICCV 2015): domain confusion.
    """
    even = [(functional.softplus(-logit_B) + functional.softplus(logit_B)).mean() / 2 for logit_B in (weak_B, strong_B)]
    return (even[0] + even[1]) / 2


def soft_labels(logit_MC: Tensor, class_M: Tensor, num_classes: int, *, temperature: float) -> Tensor:
    """Of each class the mean softmax (C, C) of its strong features. Source: Tzeng et al. (ICCV 2015): soft labels.

    A class without any gets zeros.
    """
    share_MC = functional.softmax(logit_MC / temperature, dim=1)
    sum_CC = share_MC.new_zeros(num_classes, logit_MC.shape[1]).index_add_(0, class_M, share_MC)
    num_C = share_MC.new_zeros(num_classes).index_add_(0, class_M, share_MC.new_ones(len(class_M)))
    return sum_CC / num_C.clamp_min(1)[:, None]


def soft_label_loss(logit_BC: Tensor, label_BC: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of weak pictures with the soft labels of their classes. Source: Tzeng et al. (ICCV 2015)."""
    return -(label_BC * functional.log_softmax(logit_BC / temperature, dim=1)).sum(dim=1).mean()
