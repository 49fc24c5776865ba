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
from training.losses.contrastive import contrastive_regression
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
CONTRAST = 1.0
"""Weight of the contrastive loss beside the cosine's."""
TEMPERATURE = 0.05
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
    network = _start(data, fit_ridge(data).model)
    start = copy.deepcopy(network)
    _train(network, data, contrast=0.0)
    return best_on_validation(
        data,
        (Fitted(TorchTranslator(network.between(start, share)), _settings() | {"share": share}) for share in SHARES),
    )


def fit_contrastive_mlp(data: TrainingData) -> Fitted[TorchTranslator]:
    """The same network, trained besides to be nearer to its own subject than to others: for identification, not the cosine.

    A translated feature is compared with the native one of a random picture of the same subject, so that what only the
    picture has counts less; where subjects are not known, with that of its own picture. The network is taken as it is.
    """
    network = _start(data, fit_ridge(data).model)
    _train(network, data, contrast=CONTRAST)
    settings: dict[str, JsonValue] = {"contrast": CONTRAST, "temperature": TEMPERATURE}
    return Fitted(TorchTranslator(network), _settings() | settings)


def _settings() -> dict[str, JsonValue]:
    return {"width": WIDTH, "dropout": DROPOUT, "epochs": EPOCHS, "batch": BATCH}


def _train(network: ResidualMLP, data: TrainingData, *, contrast: float) -> None:
    generator = torch.Generator().manual_seed(data.seed)
    source_NS, target_NT = torch.from_numpy(data.source_NS), torch.from_numpy(data.target_NT)
    subject_N = np.arange(len(source_NS)) if data.subject_N is None else data.subject_N
    partners = _Partners(subject_N, generator)
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
            if contrast:
                translated_BT = network(source_NS[rows])
                loss = loss + contrast * contrastive_regression(
                    translated_BT, target_NT[partners.of(rows)], partners.subject_N[rows], temperature=TEMPERATURE
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


class _Partners:
    """For each row a random row of the same subject, itself among them."""

    def __init__(self, subject_N: npt.NDArray[np.int64], generator: torch.Generator) -> None:
        order = np.argsort(subject_N, kind="stable")
        counts = np.bincount(subject_N)
        self.subject_N = torch.from_numpy(subject_N)
        self._order_N = torch.from_numpy(order)
        self._start, self._count = torch.from_numpy(np.cumsum(counts) - counts), torch.from_numpy(counts)
        self._generator = generator

    def of(self, rows_B: Tensor) -> Tensor:
        """Row numbers (B,)."""
        subject_B = self.subject_N[rows_B]
        place_B = (torch.rand(len(rows_B), generator=self._generator) * self._count[subject_B]).long()
        partner_B: Tensor = self._order_N[self._start[subject_B] + place_B]
        return partner_B


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
