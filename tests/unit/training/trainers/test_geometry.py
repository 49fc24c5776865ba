"""Encoders whose features labels shape, on classes that a colour tells apart and labels that the light does."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.unit.training.trainers.test_encoder import (
    COLOURS,
    PREPARATION,
    RECIPE,
    KilledError,
    coloured,
    fitted,
    killed_at,
    labelled,
    prepared,
    separation,
    weights,
)
from training.data.picture_store import LabelledPictures
from training.errors import TrainingError
from training.trainers.encoder import _Run
from training.trainers.encoder_recipe import EncoderRecipe
from training.trainers.geometry import TERMS, Geometry, grouped_order
from training.trainers.geometry_recipe import GeometryRecipe

EVERYTHING = GeometryRecipe("triplet", "light", 1.0, 1.0, 1.0, 1.0, 1.0, is_spherical=False, num_pictures=4)


def lit(num_each: int = 8) -> LabelledPictures:
    """Every other picture of a class darker."""
    picture, class_N = coloured(num_each, 0)
    label_N = np.arange(len(class_N)) // len(COLOURS) % 2
    picture[label_N == 1] //= 2
    return LabelledPictures(picture, class_N, len(COLOURS), "lit", label_N.astype(np.int64), 2)


def shaped(**changes: object) -> EncoderRecipe:
    return replace(RECIPE, geometry=GeometryRecipe(num_pictures=4, **changes))  # type: ignore[arg-type]


def batch(*rows: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    class_B, label_B = torch.tensor(rows).T
    return class_B, label_B


def test_the_order_has_everybody_once_in_groups_of_one_person_with_as_many_labels_as_there_are() -> None:
    random = np.random.default_rng(0)
    class_N, label_N = random.integers(0, 9, 200), random.integers(-1, 4, 200)
    orders = [
        grouped_order(
            torch.from_numpy(class_N), torch.from_numpy(label_N), 5, torch.Generator().manual_seed(seed)
        ).tolist()
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(200))
    groups: list[list[int]] = []
    for row in orders[0]:
        if not groups or len(groups[-1]) == 5 or class_N[groups[-1][0]] != class_N[row]:
            groups.append([])
        groups[-1].append(row)
    # Of everybody there is at most one group that is not whole, but for two of one person side by side.
    assert len(groups) <= sum(-(-num // 5) for num in Counter(class_N.tolist()).values()) + 3
    firsts: dict[int, list[int]] = {}
    for group in groups:
        firsts.setdefault(int(class_N[group[0]]), []).append(len({int(label_N[row]) for row in group}))
    for person, labels in firsts.items():
        there = len(set(label_N[class_N == person].tolist()))
        assert max(labels) == min(5, there)


def test_a_batch_of_whole_groups_has_quadruples() -> None:
    run = _Run(shaped(preservation=1.0), lit(), PREPARATION, 0, "cpu")
    for place in range(run.steps_an_epoch):
        run.step(run.order()[place * run.batch : (place + 1) * run.batch], place)
    assert run.geometry is not None
    assert run.geometry.without == {"preservation": 0}


def test_batches_without_anything_to_look_at_are_counted_and_learned_from_otherwise() -> None:
    geometry = Geometry(EVERYTHING, 8, 3)
    feature = torch.randn(3, 8, requires_grad=True)
    for rows in (((0, 0), (1, 0), (2, 0)), ((0, -1), (0, -1), (1, -1)), ((0, 0), (0, 1), (1, -1))):
        loss = geometry(feature, *batch(*rows), torch.Generator())
        loss.backward()
        assert torch.isfinite(loss)
    assert geometry.without == {
        "minimization": 3,
        "preservation": 3,
        "basis": 2,
        "composition": 2,
        "joint": 1,
    }


@pytest.mark.parametrize("term", TERMS)
def test_each_term_changes_what_is_learned(term: str) -> None:
    plain, with_term = (
        _Run(recipe, lit(), PREPARATION, 0, "cpu") for recipe in (shaped(), shaped(**{term: 1.0}, is_spherical=False))
    )
    rows = plain.order()[: plain.batch]
    losses = [run.step(rows, 3) for run in (plain, with_term)]
    assert losses[1] > losses[0]
    for one, other in zip(plain.network.parameters(), with_term.network.parameters(), strict=True):
        if one.ndim == 4:
            assert not torch.equal(one, other)
            break


def test_triplets_equal_a_loop() -> None:
    geometry = Geometry(GeometryRecipe("triplet", margin=0.3), 4, 0)
    feature, class_B = torch.randn(9, 4, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])
    apart = ((feature[:, None] - feature[None]) ** 2).sum(dim=2).tolist()
    each = [
        apart[a][p] - apart[a][n] + 0.3
        for a in range(9)
        for p in range(9)
        for n in range(9)
        if a != p and class_B[a] == class_B[p] != class_B[n]
    ]
    wanted = [one for one in each if one > 0]
    assert 0 < len(wanted) < len(each)
    assert geometry.triplets(feature, class_B).item() == pytest.approx(float(np.mean(wanted)))


@pytest.mark.parametrize("base", ["arcface", "triplet"])
def test_people_are_told_apart_with_every_term(base: str, tmp_path: Path) -> None:
    recipe = shaped(base=base, minimization=0.1, preservation=0.1, composition=0.1, joint=0.1)
    toy = replace(recipe, backbone="resnet-50", width=0.25, batch=24, learning_rate=0.03, margin=0.2, scale=8.0)
    assert separation(fitted(tmp_path / "checkpoint.npz", replace(toy, epochs=16), pictures=lit(16))) > 0


def test_the_light_goes_one_way_on_everybody_where_it_is_asked_to(tmp_path: Path) -> None:
    def angle(recipe: EncoderRecipe, name: str) -> float:
        """How alike the ways from light to dark are on different people, by cosine."""
        model = fitted(tmp_path / name, replace(recipe, epochs=40), pictures=lit())
        picture, class_N = coloured(6, 5)
        ways: npt.NDArray[np.float32] = np.stack(
            [
                (model.network.raw(torch.from_numpy(prepared(picture[class_N == one] // 2))).detach().numpy()).mean(0)
                - (model.network.raw(torch.from_numpy(prepared(picture[class_N == one]))).detach().numpy()).mean(0)
                for one in range(len(COLOURS))
            ]
        )
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        return float((ways @ ways.T)[np.triu_indices(len(COLOURS), 1)].mean())

    plain = angle(shaped(is_spherical=False), "plain.npz")
    assert angle(shaped(basis=1.0, is_spherical=False), "basis.npz") > plain + 0.4


def test_an_interrupted_training_comes_to_the_same(tmp_path: Path) -> None:
    recipe = replace(RECIPE, geometry=EVERYTHING)
    whole = fitted(tmp_path / "whole.npz", recipe, pictures=lit())
    with pytest.raises(KilledError):
        fitted(tmp_path / "checkpoint.npz", recipe, pictures=lit(), on_step=killed_at(5))
    assert weights(fitted(tmp_path / "checkpoint.npz", recipe, pictures=lit())) == weights(whole)


def test_labels_that_are_asked_for_must_be_there_and_fit(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the pictures have none"):
        fitted(tmp_path / "a.npz", shaped(preservation=1.0), pictures=labelled())
    with pytest.raises(TrainingError, match="labels are numbered from 0 to 0"):
        replace(lit(), num_labels=1)
    with pytest.raises(TrainingError, match="people are numbered from 0 to 0"):
        replace(lit(), num_classes=1)
    with pytest.raises(TrainingError, match="people are numbered from 0 to"):
        replace(lit(), class_N=lit().class_N - 1)
    with pytest.raises(TrainingError, match="1 people for"):
        replace(lit(), class_N=np.zeros(1, dtype=np.int64))
    many = replace(lit(), num_labels=12)
    with pytest.raises(TrainingError, match="12 labels need 11 axes"):
        fitted(tmp_path / "a.npz", shaped(basis=1.0), pictures=many)
    # Triplets alone need none.
    fitted(tmp_path / "b.npz", replace(shaped(base="triplet"), epochs=1), pictures=labelled())
