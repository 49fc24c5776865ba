"""Pictures of one person with one label lie together: Pairwise Distance Minimization (PDM).

Shapes: B batch, D feature dimension, P pairs.
"""

from torch import Tensor


def pairwise_distance_minimization(feature_BD: Tensor, pair_P2: Tensor) -> Tensor:
    """The mean squared distance of pairs (`tuples.alike_pairs`); zero where there are none.

    Source: Ramakrishnan et al., Harnessing geometric constraints from emotion labels (2021), Eq. 2.
    """
    if not len(pair_P2):
        return feature_BD[:0].sum()
    return (feature_BD[pair_P2[:, 0]] - feature_BD[pair_P2[:, 1]]).square().sum(dim=1).mean()
