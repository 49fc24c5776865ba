"""What labels beside identity add to the loss of an encoder that is trained, and the order of pictures that it takes.

Shapes: N pictures, B batch, D feature dimension, E labels.
"""

import importlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.losses.composition import Composition, compositional_embedding
from training.losses.fixed_basis import basis_vectors, fixed_basis_vector
from training.losses.pairwise_distance import pairwise_distance_minimization
from training.losses.pairwise_preservation import pairwise_distance_preservation
from training.losses.tuples import alike_pairs, quadruples, unlike_pairs
from training.trainers.geometry_recipe import GeometryRecipe

TERMS = ("minimization", "preservation", "basis", "composition", "joint")


class Geometry(nn.Module):
    """The losses of a recipe, and what they learn themselves."""

    def __init__(self, recipe: GeometryRecipe, dimension: int, num_labels: int) -> None:
        """Raises `ValueError` where a feature has too few numbers for an axis for each label."""
        super().__init__()
        self._recipe = recipe
        self.composition = Composition(dimension, num_labels) if recipe.composition else None
        self.joint = nn.Linear(dimension, num_labels) if recipe.joint else None
        if recipe.basis:
            self.register_buffer("place_ED", basis_vectors(num_labels, dimension, length=recipe.basis_length))
        self.register_buffer("num_without", torch.zeros(len(TERMS), dtype=torch.int64))
        self._triplets = _triplet_loss(recipe.margin) if recipe.base == "triplet" else None

    def triplets(self, feature_BD: Tensor, class_B: Tensor) -> Tensor:
        """The mean over triplets of a batch that are not yet apart by the margin. Source: Eq. 1, not below zero."""
        assert self._triplets is not None
        loss: Tensor = self._triplets(feature_BD, class_B)
        return loss

    def forward(self, feature_BD: Tensor, class_B: Tensor, label_B: Tensor, random: torch.Generator) -> Tensor:
        """The weighted sum of what the recipe asks; a label that is negative is not known.

        A batch without a pair, or quadruple, or label that a term looks at adds nothing to it, and is counted.
        """
        recipe, loss = self._recipe, feature_BD.sum() * 0.0
        if recipe.minimization:
            pairs = alike_pairs(class_B, label_B)
            self._count("minimization", len(pairs))
            loss = loss + recipe.minimization * pairwise_distance_minimization(feature_BD, pairs)
        if recipe.preservation:
            rows = quadruples(class_B, label_B, most=recipe.most_quadruples, random=random)
            self._count("preservation", len(rows))
            loss = loss + recipe.preservation * pairwise_distance_preservation(feature_BD, rows)
        if recipe.basis or self.composition is not None:
            pairs = unlike_pairs(class_B, label_B)
            if recipe.basis:
                self._count("basis", len(pairs))
                place_ED = self.get_buffer("place_ED")
                loss = loss + recipe.basis * fixed_basis_vector(feature_BD, label_B, pairs, place_ED)
            if self.composition is not None:
                self._count("composition", len(pairs))
                found = compositional_embedding(self.composition, feature_BD, label_B, pairs)
                loss = loss + recipe.composition * found
        if self.joint is not None:
            is_known_B = label_B >= 0
            self._count("joint", int(is_known_B.sum()))
            if bool(is_known_B.any()):
                told = functional.cross_entropy(self.joint(feature_BD[is_known_B]), label_B[is_known_B])
                loss = loss + recipe.joint * told
        return loss

    @property
    def without(self) -> dict[str, int]:
        """How many batches had nothing for each term that was asked."""
        counts = self.get_buffer("num_without").tolist()
        return {name: num for name, num in zip(TERMS, counts, strict=True) if getattr(self._recipe, name)}

    def _count(self, term: str, num: int) -> None:
        self.get_buffer("num_without")[TERMS.index(term)] += int(num == 0)


def _triplet_loss(margin: float) -> nn.Module:
    # By name: it takes seconds, which nobody need wait for who has no use for triplets.
    library = "pytorch_metric_learning"
    distance = importlib.import_module(f"{library}.distances").LpDistance(normalize_embeddings=False, p=2, power=2)
    loss: nn.Module = importlib.import_module(f"{library}.losses").TripletMarginLoss(margin=margin, distance=distance)
    return loss


def grouped_order(class_N: Tensor, label_N: Tensor, num_pictures: int, random: torch.Generator) -> Tensor:
    """Every picture once, in groups of so many of one person, or what is left of them; in a group as many labels as there are.

    Of a person the first of each label come first, then the second of each, all in a random order, and are cut into groups.
    """
    num = len(class_N)
    order = torch.randperm(num, generator=random)
    order = order[torch.argsort(label_N[order], stable=True)]
    order = order[torch.argsort(class_N[order], stable=True)]
    turn = _place_in_run(torch.stack([class_N[order], label_N[order]], dim=1))
    # By person, then by turn; within a turn the labels in a random order.
    shuffle = torch.randperm(num, generator=random)
    order, turn = order[shuffle], turn[shuffle]
    by_turn = torch.argsort(turn, stable=True)
    order = order[by_turn]
    order = order[torch.argsort(class_N[order], stable=True)]
    group = _place_in_run(class_N[order][:, None]) // num_pictures
    run = torch.stack([class_N[order], group], dim=1)
    _, group_N = torch.unique_consecutive(run, dim=0, return_inverse=True)
    rank_G = torch.randperm(int(group_N.max()) + 1, generator=random)
    found: Tensor = order[torch.argsort(rank_G[group_N], stable=True)]
    return found


def _place_in_run(key_NK: Tensor) -> Tensor:
    """Of each row, how many equal ones stand right before it."""
    _, run_N, length_R = torch.unique_consecutive(key_NK, dim=0, return_inverse=True, return_counts=True)
    start_R = torch.cumsum(length_R, dim=0) - length_R
    place: Tensor = torch.arange(len(key_NK)) - start_R[run_N]
    return place
