"""Features of a class lie near the class's centre, which follows them.

Shapes: B batch, D feature dimension, C classes.
"""

import torch
from torch import Tensor, nn


class CentreLoss(nn.Module):
    """The mean distance of features from the centres of their classes.

    Source: Ming et al. (IJDAR 2021), Eq. 7, as printed: the distance, not its square. Centres move as in Wen et al., A
    discriminative feature learning approach for deep face recognition (ECCV 2016), Eq. 4: towards what the batch has of their
    class, by no gradient.
    """

    def __init__(self, num_classes: int, dimension: int, *, rate: float) -> None:
        """`rate` is how far a centre goes, of the way to its class's features in a batch of very many."""
        super().__init__()
        self.register_buffer("centre_CD", torch.zeros(num_classes, dimension))
        self._rate = rate

    def forward(self, feature_BD: Tensor, class_B: Tensor) -> Tensor:
        """The loss, with the centres as they are."""
        distance_B: Tensor = (feature_BD - self._centres[class_B]).norm(dim=1)
        return distance_B.mean()

    @torch.no_grad()
    def follow(self, feature_BD: Tensor, class_B: Tensor) -> None:
        """Move the centres of the classes that are there."""
        centre_CD = self._centres
        away_CD = torch.zeros_like(centre_CD).index_add_(0, class_B, centre_CD[class_B] - feature_BD)
        num_C = torch.bincount(class_B, minlength=len(centre_CD))
        centre_CD -= self._rate * away_CD / (1 + num_C[:, None])

    @torch.no_grad()
    def start_from(self, feature_ND: Tensor, class_N: Tensor) -> None:
        """Begin with the means of the classes' features; where a class has none, with zero."""
        num_C = torch.bincount(class_N, minlength=len(self._centres)).clamp(min=1)
        self._centres.zero_().index_add_(0, class_N, feature_ND)
        self._centres.div_(num_C[:, None])

    @property
    def _centres(self) -> Tensor:
        return self.get_buffer("centre_CD")
