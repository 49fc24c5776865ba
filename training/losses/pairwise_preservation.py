"""Two labels are as far from each other on one person as on another: Pairwise Distance Preservation (PDP).

Shapes: B batch, D feature dimension, Q quadruples.
"""

from torch import Tensor


def pairwise_distance_preservation(feature_BD: Tensor, row_Q4: Tensor) -> Tensor:
    """The mean squared difference of the squared distances of a quadruple's pairs (`tuples.quadruples`); zero without any.

    Source: Ramakrishnan et al., Harnessing geometric constraints from emotion labels (2021), Eq. 3.
    """
    if not len(row_Q4):
        return feature_BD[:0].sum()
    of_one_Q, of_other_Q = (
        (feature_BD[row_Q4[:, first]] - feature_BD[row_Q4[:, first + 1]]).square().sum(dim=1) for first in (0, 2)
    )
    return (of_one_Q - of_other_Q).square().mean()
