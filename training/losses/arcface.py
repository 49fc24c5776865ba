"""ArcFace: features of a class lie within an angle of its centre, a margin narrower than they need.

Shapes: B batch, D feature dimension, C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_EDGE = 1e-6


class ArcFace(nn.Module):
    """Softmax over scaled cosines with class centres, where the own class's angle is made larger by `margin`.

    Source: Deng et al., ArcFace (CVPR 2019), Eq. 3. Where angle and margin together pass a half turn, the cosine goes on
    downwards as cos(angle) - margin sin(margin), as in the authors' code, so that the loss stays monotone.
    """

    def __init__(self, num_classes: int, dimension: int, *, scale: float) -> None:
        super().__init__()
        self.centre_CD = nn.Parameter(torch.empty(num_classes, dimension))
        nn.init.normal_(self.centre_CD, std=0.01)
        self.scale = scale

    @torch.no_grad()
    def start_from(self, feature_ND: Tensor, class_N: Tensor) -> None:
        """Begin with the means of the classes' features, of each of which there is one at least."""
        self.centre_CD.zero_().index_add_(0, class_N, feature_ND)
        self.centre_CD.copy_(functional.normalize(self.centre_CD, dim=-1))

    def forward(self, feature_BD: Tensor, class_B: Tensor, margin: float) -> Tensor:
        """Mean loss of unit features with the margin in radians, 0 (the plain normalised softmax) to a right angle."""
        cosine_BC = functional.linear(feature_BD, functional.normalize(self.centre_CD, dim=-1))
        own_B1 = cosine_BC.gather(1, class_B[:, None])
        pushed_B1 = pushed_cosine(own_B1, margin)
        return functional.cross_entropy(self.scale * cosine_BC.scatter(1, class_B[:, None], pushed_B1), class_B)


def pushed_cosine(cosine: Tensor, margin: float) -> Tensor:
    """cos(angle + margin) of any shape; beyond a half turn cos(angle) - margin sin(margin)."""
    margin_t = torch.tensor(margin, dtype=cosine.dtype, device=cosine.device)
    safe = cosine.clamp(-1 + _EDGE, 1 - _EDGE)
    pushed = safe * margin_t.cos() - (1 - safe.square()).sqrt() * margin_t.sin()
    return torch.where(safe > -margin_t.cos(), pushed, safe - margin_t * margin_t.sin())
