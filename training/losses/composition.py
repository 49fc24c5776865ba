"""A network finds what a person looks like with another label: Compositional Embeddings (CE).

Shapes: B batch, D feature dimension, E labels, H hidden width, P pairs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Composition(nn.Module):
    """g: a feature, its label and another label to the feature that the person has with that one.

    Source: Ramakrishnan et al., Harnessing geometric constraints from emotion labels (2021), Sec. III-F: three layers.
    """

    def __init__(self, dimension: int, num_labels: int, *, hidden: int = 100) -> None:
        super().__init__()
        self._num_labels = num_labels
        self.layers = nn.Sequential(
            nn.Linear(dimension + 2 * num_labels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, dimension),
        )

    def forward(self, feature_PD: Tensor, from_P: Tensor, to_P: Tensor) -> Tensor:
        """Features (P, D) with the labels `to_P` of the same people."""
        labels = [functional.one_hot(label_P, self._num_labels).to(feature_PD.dtype) for label_P in (from_P, to_P)]
        found: Tensor = self.layers(torch.cat([feature_PD, *labels], dim=1))
        return found


def compositional_embedding(composition: Composition, feature_BD: Tensor, label_B: Tensor, pair_P2: Tensor) -> Tensor:
    """The mean squared distance of what g finds from what is there, for both ways of each pair (`tuples.unlike_pairs`); zero
    where there are none.

    Source: Ramakrishnan et al. (2021), Eq. 5.
    """
    if not len(pair_P2):
        return feature_BD[:0].sum()
    both_P2 = torch.cat([pair_P2, pair_P2.flip(1)])
    one_P, other_P = both_P2[:, 0], both_P2[:, 1]
    found_PD = composition(feature_BD[one_P], label_B[one_P], label_B[other_P])
    distance_P: Tensor = (found_PD - feature_BD[other_P]).square().sum(dim=1)
    return distance_P.mean()
