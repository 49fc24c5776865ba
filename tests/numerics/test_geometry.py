"""Losses that labels shape an embedding by, and their pairs and quadruples, beside loops over their equations."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from training.losses import tuples
from training.losses.composition import Composition, compositional_embedding
from training.losses.fixed_basis import basis_vectors, fixed_basis_vector
from training.losses.pairwise_distance import pairwise_distance_minimization
from training.losses.pairwise_preservation import pairwise_distance_preservation
from training.losses.tuples import alike_pairs, quadruples, unlike_pairs

PEOPLE = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 4]
LABELS = [0, 1, 1, -1, 0, 1, 2, 0, 2, 1, 0, 1, 2]
D, MANY = 4, 10_000
FEATURE = np.random.default_rng(0).normal(size=(len(PEOPLE), D))


def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor(FEATURE), torch.tensor(PEOPLE), torch.tensor(LABELS)


def squared(one: int, other: int) -> float:
    return float(((FEATURE[one] - FEATURE[other]) ** 2).sum())


def alike() -> list[tuple[int, int]]:
    pairs = combinations(range(len(PEOPLE)), 2)
    return [(a, b) for a, b in pairs if PEOPLE[a] == PEOPLE[b] and LABELS[a] == LABELS[b] >= 0]


def unlike() -> list[tuple[int, int]]:
    places = range(len(PEOPLE))
    return [(a, b) for a in places for b in places if PEOPLE[a] == PEOPLE[b] and 0 <= LABELS[a] < LABELS[b]]


def fours() -> list[tuple[int, int, int, int]]:
    return [
        (*one, *other)
        for one, other in combinations(unlike(), 2)
        if PEOPLE[one[0]] != PEOPLE[other[0]] and [LABELS[k] for k in one] == [LABELS[k] for k in other]
    ]


def test_pairs_and_quadruples_equal_loops() -> None:
    _, people, labels = rows()
    assert [tuple(pair) for pair in alike_pairs(people, labels).tolist()] == alike()
    assert [tuple(pair) for pair in unlike_pairs(people, labels).tolist()] == unlike()
    found = quadruples(people, labels, most=MANY, random=torch.Generator())
    assert [tuple(row) for row in found.tolist()] == fours()
    assert len(fours()) > 3


def test_of_more_quadruples_than_are_asked_for_some_are_drawn_each_once() -> None:
    _, people, labels = rows()
    drawn = [
        quadruples(people, labels, most=3, random=torch.Generator().manual_seed(seed)).tolist() for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({tuple(row) for row in drawn[0]}) == 3
    assert {tuple(row) for row in drawn[0]} <= set(fours())


def test_of_many_pairs_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    _, people, labels = rows()
    monkeypatch.setattr(tuples, "_MOST_PAIRS", 5)
    found = [
        {
            tuple(row)
            for row in quadruples(people, labels, most=MANY, random=torch.Generator().manual_seed(seed)).tolist()
        }
        for seed in range(20)
    ]
    assert all(one < set(fours()) for one in found)
    assert len(set.union(*found)) > max(len(one) for one in found)


def test_pairwise_distance_minimization_equals_a_loop() -> None:
    feature, people, labels = rows()
    wanted = np.mean([squared(a, b) for a, b in alike()])
    assert pairwise_distance_minimization(feature, alike_pairs(people, labels)).item() == pytest.approx(wanted)


def test_pairwise_distance_preservation_equals_a_loop() -> None:
    feature, people, labels = rows()
    wanted = np.mean([(squared(a, b) - squared(c, d)) ** 2 for a, b, c, d in fours()])
    quads = quadruples(people, labels, most=MANY, random=torch.Generator())
    assert pairwise_distance_preservation(feature, quads).item() == pytest.approx(wanted)


def test_fixed_basis_vectors_equal_a_loop() -> None:
    feature, people, labels = rows()
    axis = {1: np.eye(D)[0] * 0.5, 2: np.eye(D)[1] * 0.5, 0: np.zeros(D)}
    each = [float(((FEATURE[b] - FEATURE[a] - (axis[LABELS[b]] - axis[LABELS[a]])) ** 2).sum()) for a, b in unlike()]
    place = basis_vectors(3, D, length=0.5).double()
    found = fixed_basis_vector(feature, labels, unlike_pairs(people, labels), place)
    assert found.item() == pytest.approx(np.mean(each))


def test_a_face_that_moves_along_its_labels_axis_costs_nothing() -> None:
    place = basis_vectors(3, D, length=1.0)
    labels, people = torch.tensor([0, 1, 2, 0, 2]), torch.tensor([0, 0, 0, 1, 1])
    feature = torch.randn(2, D)[people] + place[labels]
    assert fixed_basis_vector(feature, labels, unlike_pairs(people, labels), place).item() < 1e-10


def test_more_labels_than_axes_are_refused() -> None:
    assert basis_vectors(5, 4, length=1.0).shape == (5, 4)
    with pytest.raises(ValueError, match="6 labels need 5 axes"):
        basis_vectors(6, 4, length=1.0)


def test_compositional_embeddings_equal_a_loop_both_ways() -> None:
    feature, people, labels = rows()
    network = Composition(D, 3).double()
    each = []
    for a, b in [*unlike(), *((b, a) for a, b in unlike())]:
        marked = np.concatenate([FEATURE[a], np.eye(3)[LABELS[a]], np.eye(3)[LABELS[b]]])
        with torch.no_grad():
            made = network.layers(torch.tensor(marked)).numpy()
        each.append(float(((made - FEATURE[b]) ** 2).sum()))
    found = compositional_embedding(network, feature, labels, unlike_pairs(people, labels))
    assert found.item() == pytest.approx(np.mean(each))


def test_a_batch_without_pairs_or_quadruples_is_learned_nothing_from() -> None:
    feature = torch.tensor(FEATURE, requires_grad=True)
    people, labels = torch.arange(len(PEOPLE)), torch.tensor(LABELS)
    pairs, quads = unlike_pairs(people, labels), quadruples(people, labels, most=9, random=torch.Generator())
    assert (tuple(pairs.shape), tuple(quads.shape)) == ((0, 2), (0, 4))
    loss = (
        pairwise_distance_minimization(feature, alike_pairs(people, labels))
        + pairwise_distance_preservation(feature, quads)
        + fixed_basis_vector(feature, labels, pairs, basis_vectors(3, D, length=1.0))
        + compositional_embedding(Composition(D, 3).double(), feature, labels, pairs)
    )
    loss.backward()
    assert loss.item() == 0
    assert feature.grad is not None
    assert not feature.grad.any()
    assert math.isfinite(loss.item())
