"""The closed-form map plus a small network that learns what it misses.

Shapes: N pairs, B batch, S source and T target dimension.
"""

import copy
import math

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor
from torch.nn import functional

from models.adapters import ResidualMLP
from models.linear import LinearMap
from training.losses.regression import cosine_regression
from training.trainers.fitted import Fitted, TrainingData, best_on_validation
from training.trainers.linear import fit_ridge
from training.trainers.torch_translator import TorchTranslator

WIDTH = 512
DROPOUT = 0.3
EPOCHS = 30
BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1.0
"""On the network alone: strong, because a few thousand pairs are far fewer than its weights."""
MIX_UP_TO = 0.5
SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of the trained network, against the ridge map it started from; ordered so that of equals the most is taken."""


def fit_residual_mlp(data: TrainingData) -> Fitted[TorchTranslator]:
    """Start from ridge with a network that adds nothing, then train both on the cosine.

    Each batch is mixed with itself in another order (Zhang et al., mixup, ICLR 2018), the same share on both sides: on
    pairs this few it is what keeps the network from doing worse than ridge. The last epoch is taken: with this much
    regularisation the validation cosine rises to the end. How far to go from ridge to the network is then chosen on
    validation subjects (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022): where the two encoders have
    little but their linear relation in common, half way is better than all the way.
    """
    generator = torch.Generator().manual_seed(data.seed)
    network = _start(data, fit_ridge(data).model)
    start = copy.deepcopy(network)
    source_NS, target_NT = torch.from_numpy(data.source_NS), torch.from_numpy(data.target_NT)
    optimiser = torch.optim.AdamW(
        [
            {"params": network.linear.parameters(), "weight_decay": 0.0},
            {"params": network.residual.parameters(), "weight_decay": WEIGHT_DECAY},
        ],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )
    batch = min(BATCH, len(source_NS))
    num_steps = len(source_NS) // batch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, num_steps, EPOCHS * num_steps))
    network.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(source_NS), generator=generator)
        # Whole batches only: the step of a last one of a few pairs is noise, and cost 0.02 of mean cosine.
        for rows in order[: num_steps * batch].view(num_steps, batch):
            source_BS, target_BT = _mixed(source_NS[rows], target_NT[rows], generator)
            loss = cosine_regression(network(source_BS), target_BT)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    settings: dict[str, JsonValue] = {"width": WIDTH, "dropout": DROPOUT, "epochs": EPOCHS, "batch": BATCH}
    return best_on_validation(
        data, (Fitted(TorchTranslator(network.between(start, share)), settings | {"share": share}) for share in SHARES)
    )


def _start(data: TrainingData, ridge: LinearMap) -> ResidualMLP:
    torch.manual_seed(data.seed)
    raw_NT = data.source_NS @ ridge.weight_ST + ridge.bias_T
    length = float(np.linalg.norm(raw_NT, axis=1).mean())
    network = ResidualMLP(*ridge.weight_ST.shape, width=WIDTH, dropout=DROPOUT)
    network.start_from(_tensor(ridge.weight_ST / length), _tensor(ridge.bias_T / length), _tensor(data.source_NS))
    return network


def _mixed(source_BS: Tensor, target_BT: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    partner = torch.randperm(len(source_BS), generator=generator)
    share_B1 = torch.rand(len(source_BS), 1, generator=generator) * MIX_UP_TO
    return (
        functional.normalize(torch.lerp(source_BS, source_BS[partner], share_B1)),
        functional.normalize(torch.lerp(target_BT, target_BT[partner], share_B1)),
    )


def _rate(step: int, num_warm: int, num_steps: int) -> float:
    """One epoch of linear warm-up, then a half cosine to zero."""
    if step < num_warm:
        return (step + 1) / num_warm
    return 0.5 * (1 + math.cos(math.pi * (step - num_warm) / max(1, num_steps - num_warm)))


def _tensor(array: npt.NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
