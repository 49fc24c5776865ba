"""Pairs and quadruples of a batch by who is on a picture and what it is labelled, without loops.

Shapes: B batch, P pairs, Q quadruples.
"""

import torch
from torch import Tensor

_MOST_PAIRS = 2048
"""Of which quadruples are looked for."""


def alike_pairs(class_B: Tensor, label_B: Tensor) -> Tensor:
    """Rows (P, 2) of two pictures of one person with one label, each pair once; a label that is negative is unknown."""
    is_pair = _same_person(class_B, label_B) & (label_B[:, None] == label_B[None])
    return torch.nonzero(is_pair.triu(diagonal=1))


def unlike_pairs(class_B: Tensor, label_B: Tensor) -> Tensor:
    """Rows (P, 2) of two pictures of one person with two labels, the smaller label first; a label that is negative is unknown."""
    return torch.nonzero(_same_person(class_B, label_B) & (label_B[:, None] < label_B[None]))


def quadruples(class_B: Tensor, label_B: Tensor, *, most: int, random: torch.Generator) -> Tensor:
    """Rows (Q, 4): two pictures of one person with two labels, and two of another person with the same two; at most so many,
    drawn at random where there are more, and each once.

    Source: Ramakrishnan et al., Harnessing geometric constraints from emotion labels (2021), Sec. III-D.
    """
    pair_P2 = unlike_pairs(class_B, label_B)
    if len(pair_P2) > _MOST_PAIRS:
        # Of pairs of pairs there are as many as the square.
        pair_P2 = pair_P2[torch.randperm(len(pair_P2), generator=random)[:_MOST_PAIRS].sort().values.to(pair_P2.device)]
    label_P2, class_P = label_B[pair_P2], class_B[pair_P2[:, 0]]
    is_alike = (label_P2[:, None] == label_P2[None]).all(dim=2) & (class_P[:, None] != class_P[None])
    found_Q2 = torch.nonzero(is_alike.triu(diagonal=1))
    if len(found_Q2) > most:
        found_Q2 = found_Q2[torch.randperm(len(found_Q2), generator=random)[:most].to(found_Q2.device)]
    return torch.cat([pair_P2[found_Q2[:, 0]], pair_P2[found_Q2[:, 1]]], dim=1)


def _same_person(class_B: Tensor, label_B: Tensor) -> Tensor:
    is_known_B = label_B >= 0
    return (class_B[:, None] == class_B[None]) & is_known_B[:, None] & is_known_B[None]
