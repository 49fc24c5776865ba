"""Regression path: a translated feature should point where the target encoder's feature points.

Shapes: B batch, T target dimension. Features are L2-normalised unless named `raw`.
"""

from torch import Tensor
from torch.nn import functional


def cosine_regression(y_BT: Tensor, target_BT: Tensor) -> Tensor:
    """Mean angular disagreement, 1 - cos, in [0, 2].

    Source: Chen et al., R3AN (CVPR 2019), Eq. 9. Deviation: cosine in place of L2; on the sphere the squared L2 distance
    is twice this.
    """
    return (1.0 - functional.cosine_similarity(y_BT, target_BT, dim=-1)).mean()


def l2_regression(raw_BT: Tensor, target_BT: Tensor) -> Tensor:
    """Mean over features of the L2 distance to the target encoder's feature.

    Source: Chen et al., R3AN (CVPR 2019), Eq. 8 (of pictures) and Eq. 9 (of source features).
    """
    distance_B: Tensor = (raw_BT - target_BT).square().sum(dim=1).add(1e-12).sqrt()
    return distance_B.mean()
