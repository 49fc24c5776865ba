"""A translated feature should be nearer to its own subject than to the others of its batch.

Shapes: B batch, T target, W weak pictures and P photos of a batch.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_regression(
    translated_BT: Tensor, target_BT: Tensor, subject_B: Tensor, *, temperature: float
) -> Tensor:
    """Cross-entropy of finding one's own row among the batch, from either side; both inputs of length one.

    Row i of `target_BT` is a native feature of the subject of row i, of the same or another picture. Other rows of the same
    subject count neither for nor against.

    Source: van den Oord et al., Representation learning with contrastive predictive coding (2018), Eq. 4, both ways as
    Radford et al., CLIP (ICML 2021), Fig. 3.
    """
    logit_BB = translated_BT @ target_BT.T / temperature
    own_BB = torch.eye(len(subject_B), dtype=torch.bool, device=subject_B.device)
    other_picture_BB = (subject_B[:, None] == subject_B[None]) & ~own_BB
    logit_BB = logit_BB.masked_fill(other_picture_BB, float("-inf"))
    own_B = torch.arange(len(subject_B), device=subject_B.device)
    return (functional.cross_entropy(logit_BB, own_B) + functional.cross_entropy(logit_BB.T, own_B)) / 2


def pooled_contrast(score_WP: Tensor, is_genuine_WP: Tensor, *, temperature: float) -> Tensor:
    """How far every genuine score is above the impostors' of all weak pictures together: one threshold has to do for all.

    Beside a loss over each weak picture's own scores, which does not notice that some are alike to everybody. It counts as many
    impostors as there are photos. Zero where there are none of either.

    Source: Sun et al., Circle loss (CVPR 2020), Eq. 1, without its margin and for each genuine pair by itself.
    """
    genuine, impostor = score_WP[is_genuine_WP] / temperature, score_WP[~is_genuine_WP] / temperature
    if not len(genuine) or not len(impostor):
        return score_WP[:0].sum()
    above = torch.logsumexp(impostor, dim=0) + math.log(score_WP.shape[1] / len(impostor))
    return functional.softplus(above - genuine).mean()
