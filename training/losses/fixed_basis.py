"""From one label to another it goes the same way on everybody: Fixed Basis Vector separation (FBV).

Shapes: B batch, D feature dimension, E labels, P pairs.
"""

import torch
from torch import Tensor


def basis_vectors(num_labels: int, dimension: int, *, length: float) -> Tensor:
    """Where each label lies from the first, which is the origin (E, D): each along an axis of its own.

    Source: Ramakrishnan et al., Harnessing geometric constraints from emotion labels (2021), Sec. III-E, whose vectors have
    length one. Raises `ValueError` where there are fewer axes than labels after the first.
    """
    if num_labels - 1 > dimension:
        raise ValueError(f"{num_labels} labels need {num_labels - 1} axes, and a feature has {dimension}")
    place_ED = torch.zeros(num_labels, dimension)
    place_ED[range(1, num_labels), range(num_labels - 1)] = length
    return place_ED


def fixed_basis_vector(feature_BD: Tensor, label_B: Tensor, pair_P2: Tensor, place_ED: Tensor) -> Tensor:
    """The mean squared distance between how two pictures of one person (`tuples.unlike_pairs`) lie and how their labels do; zero
    where there are none.

    v_ab is the difference of the labels' places: of pairs with the first label it is that label's axis, and all others agree with
    these. Features are any points, not of length one.

    Source: Ramakrishnan et al. (2021), Eq. 4.
    """
    if not len(pair_P2):
        return feature_BD[:0].sum()
    one_P, other_P = pair_P2[:, 0], pair_P2[:, 1]
    way_PD = place_ED[label_B[other_P]] - place_ED[label_B[one_P]]
    return (feature_BD[other_P] - feature_BD[one_P] - way_PD).square().sum(dim=1).mean()
