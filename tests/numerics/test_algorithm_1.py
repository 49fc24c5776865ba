"""One mini-batch of R3AN against Algorithm 1 written out by hand: plain gradients, one network set at a time."""

import copy
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.recipes.r3an import ARCHITECTURES, small
from training.trainers import r3an, updates
from training.trainers.fitted import TrainingData
from training.trainers.r3an import _AllPaths, fit_r3an
from training.trainers.r3an_recipe import Paths

NUM, BATCH, RATE = 12, 8, 0.05
NETWORKS = ("generator", "extractor", "discriminator")


def data() -> TrainingData:
    random = np.random.default_rng(0)
    source, target = (random.normal(size=(NUM, size)).astype(np.float32) for size in (6, 5))
    source, target = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (source, target))
    picture = random.integers(0, 256, size=(NUM, 56, 56, 3), dtype=np.uint8)
    return TrainingData(source, target, source, target, 0, picture)


@pytest.fixture(autouse=True)
def plain_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full precision, a constant rate, nothing clipped: what is left is Algorithm 1."""
    monkeypatch.setattr(r3an, "has_bfloat16", lambda device: False)
    monkeypatch.setattr(r3an, "rate", lambda *_: 1.0)
    monkeypatch.setattr(updates, "_LARGEST_GRADIENT", 1e9)
    # Its convolutions add up in an order that depends on the processor and on where the pictures lie.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


def descend(loss: Tensor, networks: Iterable[nn.Module]) -> None:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.sub_(RATE * gradient)


def by_hand(run: _AllPaths, pairs: TrainingData, paths: Paths) -> dict[str, nn.Module]:
    """Lines 5 to 12, from copies of the networks."""
    copies = {name: copy.deepcopy(getattr(run, name)) for name in NETWORKS}
    g, e, d = (copies[name] for name in NETWORKS)
    x, y = torch.from_numpy(pairs.source_NS[:BATCH]), torch.from_numpy(pairs.target_NT[:BATCH])
    assert pairs.picture_NHW3 is not None
    # From bytes to -1.6 .. 1.6, Sec. 5.1.
    real = (torch.from_numpy(pairs.picture_NHW3[:BATCH]).permute(0, 3, 1, 2) - 127.5) / 127.5 * 1.6
    made = g(x)
    if paths.adversarial:
        # Eq. 5: D is to say 1 of real pictures and 0 of made ones.
        says = -torch.log(torch.sigmoid(d(real))).mean() - torch.log(1 - torch.sigmoid(d(made.detach()))).mean()
        descend(says, [d])
    # Eq. 6, non-saturating, and Eq. 4 as the root of the mean square.
    loss = torch.zeros(())
    if paths.adversarial:
        loss = loss - paths.adversarial * torch.log(torch.sigmoid(d(made))).mean()
    if paths.reconstruction:
        errors = [torch.sqrt(((m - p) ** 2).mean()) for m, p in zip(made, real, strict=True)]
        loss = loss + paths.reconstruction * torch.stack(errors).mean()
    if paths.paint:
        descend(loss, [g])
    if paths.representation:
        descend(paths.representation * torch.linalg.norm(e(real) - y, dim=1).mean(), [e])  # Eq. 8
    descend(paths.regression * torch.linalg.norm(e(g(x)) - y, dim=1).mean(), [g, e])  # Eq. 9
    return copies


@pytest.mark.parametrize(
    "paths",
    [
        Paths(0.7, 0.3, 0.5, 1.0),
        Paths(adversarial=2.0, regression=0.1),
        Paths(reconstruction=2.0, regression=0.1),
        Paths(representation=2.0, regression=0.1),
    ],
    ids=["all", "adversarial", "reconstruction", "representation"],
)
def test_one_mini_batch_is_algorithm_1(paths: Paths) -> None:
    pairs = data()
    recipe = replace(
        small(ARCHITECTURES["r3an"]),
        paths=paths,
        optimiser="sgd",
        learning_rate=RATE,
        momentum=0.0,
        weight_decay=0.0,
        batch=BATCH,
    )
    run = _AllPaths(pairs, recipe)
    before = {name: copy.deepcopy(getattr(run, name)) for name in NETWORKS}
    expected = by_hand(run, pairs, paths)
    run.step(np.arange(BATCH), 0)
    for name in NETWORKS:
        found, wanted, was = (
            torch.cat([p.detach().flatten() for p in network.parameters()])
            for network in (getattr(run, name), expected[name], before[name])
        )
        moved = float((wanted - was).norm())
        assert (moved > 0) == (name != "discriminator" or bool(paths.adversarial))
        # The order in which convolutions add up is not the same in both; a wrong sign or network is off by far more.
        assert float((found - wanted).norm()) <= 0.02 * moved, name


def test_what_is_exported_normalises_by_generated_pictures() -> None:
    """After a training on real pictures too, the extractor's first statistics are the mean of what generated ones give."""
    pairs = data()
    recipe = replace(small(ARCHITECTURES["r3an"]), batch=NUM, epochs=3)
    network = fit_r3an(pairs, recipe).model.network
    norm = next(layer for layer in network.extractor.modules() if isinstance(layer, nn.BatchNorm2d))
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    again = copy.deepcopy(network).train()
    again(torch.from_numpy(pairs.source_NS))
    assert norm.running_mean is not None
    wanted = seen[0].mean(dim=(0, 2, 3))
    assert float((norm.running_mean - wanted).norm()) <= 1e-3 * float(wanted.norm())
