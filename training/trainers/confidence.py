"""Small networks that estimate, from a feature and its translation, how well it will be recognised.

Shapes: N features, F inputs, H hidden units of all networks together, Y things to estimate.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

ESTIMATORS = 4
HIDDEN = 64
EPOCHS = 40
BATCH = 256
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1.0
DROPOUT = 0.3

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Estimator:
    """The mean of several networks with one hidden layer (ReLU), as one wide network."""

    weight_in_FH: _Floats
    bias_in_H: _Floats
    weight_out_H: _Floats
    bias_out_1: _Floats
    unseen_N: _Floats
    """Of each feature the estimate of the one network that has not seen its person."""


def fit_estimator(
    input_NF: _Floats, wanted_NY: _Floats, weight_N: _Floats, code_N: npt.NDArray[np.int64], seed: int
) -> Estimator:
    """Fit to several things at once, each scaled to a variance of one, NaN where it is not known; the estimate is their sum.

    `code_N` says whose each feature is. To learn two things that mean the same, from different pictures, is steadier than either.
    """
    mean_Y, sd_Y = np.nanmean(wanted_NY, axis=0), np.maximum(np.nanstd(wanted_NY, axis=0), 1e-6)
    scaled_NY = torch.from_numpy(((wanted_NY - mean_Y) / sd_Y).astype(np.float32))
    is_known_NY = ~torch.isnan(scaled_NY)
    inputs_NF = torch.from_numpy(input_NF)
    weight_NY = torch.from_numpy(weight_N)[:, None] * is_known_NY
    share_N = np.random.default_rng(seed).permutation(int(code_N.max()) + 1)[code_N] % ESTIMATORS
    unseen_N = np.empty(len(input_NF), dtype=np.float32)
    found: list[tuple[_Floats, ...]] = []
    for number in range(ESTIMATORS):
        rows = torch.from_numpy(np.flatnonzero(share_N != number))
        network = _fit(inputs_NF[rows], torch.nan_to_num(scaled_NY[rows]), weight_NY[rows], seed + number)
        held = np.flatnonzero(share_N == number)
        with torch.no_grad():
            unseen_N[held] = network(inputs_NF[torch.from_numpy(held)]).sum(dim=1).numpy()
        entry, exit_ = network[0], network[3]
        assert isinstance(entry, nn.Linear)
        assert isinstance(exit_, nn.Linear)
        summed = exit_.weight.detach().sum(dim=0) / ESTIMATORS, exit_.bias.detach().sum()[None] / ESTIMATORS
        found.append(tuple(t.numpy() for t in (entry.weight.detach().T, entry.bias.detach(), *summed)))
    weight_in, bias_in, weight_out, bias_out = zip(*found, strict=True)
    return Estimator(
        np.concatenate(weight_in, axis=1),
        np.concatenate(bias_in),
        np.concatenate(weight_out),
        np.sum(bias_out, axis=0),
        unseen_N,
    )


def _fit(input_NF: Tensor, wanted_NY: Tensor, weight_NY: Tensor, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(input_NF.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, wanted_NY.shape[1])
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batch = min(BATCH, len(input_NF))
    num_steps = len(input_NF) // batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * num_steps)
    network.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(input_NF), generator=generator)
        for rows in order[: num_steps * batch].view(num_steps, batch):
            weight_BY = weight_NY[rows]
            squared_BY = (network(input_NF[rows]) - wanted_NY[rows]) ** 2
            loss = (squared_BY * weight_BY).sum() / weight_BY.sum().clamp(min=1e-6)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()
