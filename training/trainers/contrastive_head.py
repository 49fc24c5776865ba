"""A small network that adds to a weak feature what makes it its own person's: the simple learned method to beat.

Shapes: N weak pictures, B batch, W weak and S strong dimension.
"""

from collections.abc import Iterator

import numpy as np
import torch

from models.adapters import ResidualMLP
from training.losses.contrastive import contrastive_regression
from training.trainers.fitted import Fitted
from training.trainers.schedule import rate
from training.trainers.torch_translator import TorchTranslator
from training.trainers.weak_linear import start_of
from training.trainers.weak_strong import WeakStrong

WIDTH = 256
DROPOUT = 0.5
EPOCHS = 40
BATCH = 256
LEARNING_RATE = 1e-4
"""Low: of hundreds of people it learns by heart soon."""
WEIGHT_DECAY = 0.1
TEMPERATURE = 0.07


def fit_contrastive_head(data: WeakStrong) -> Fitted[TorchTranslator]:
    """f + mlp(f), taught to be nearer to a photo of its own person than to those of others, and the photo to it.

    Source: van den Oord et al., Representation learning with contrastive predictive coding (2018), Eq. 4, both ways.
    """
    torch.manual_seed(data.seed)
    network = ResidualMLP(data.weak_NW.shape[1], data.strong_MS.shape[1], width=WIDTH, dropout=DROPOUT)
    weak_NW, strong_MS = torch.from_numpy(data.weak_NW), torch.from_numpy(data.strong_MS)
    start_WS = torch.from_numpy(start_of(data))
    network.start_from(start_WS, torch.zeros(start_WS.shape[1]), weak_NW)
    network.linear.requires_grad_(requires_grad=False)
    optimiser = torch.optim.AdamW(network.residual.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    class_N = torch.from_numpy(data.weak_class_N)
    photos = _Photos(data, torch.Generator().manual_seed(data.seed))
    batches = list(_batches(data))
    network.train()
    for step, rows_B in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * rate(step / len(batches), "cosine", ())
        made_BS = network(weak_NW[rows_B])
        strong_BS = strong_MS[photos.of(class_N[rows_B])]
        loss = contrastive_regression(made_BS, strong_BS, class_N[rows_B], temperature=TEMPERATURE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    settings = {"width": WIDTH, "dropout": DROPOUT, "epochs": EPOCHS, "temperature": TEMPERATURE}
    return Fitted(TorchTranslator(network), dict(settings))


def _batches(data: WeakStrong) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(data.seed)
    batch = min(BATCH, len(data.weak_NW))
    for _ in range(EPOCHS):
        order = torch.randperm(len(data.weak_NW), generator=generator)
        yield from order[: len(order) // batch * batch].view(-1, batch)


class _Photos:
    """A random strong picture of a class."""

    def __init__(self, data: WeakStrong, generator: torch.Generator) -> None:
        self._order_M = torch.from_numpy(np.argsort(data.strong_class_M, kind="stable"))
        num_C = np.bincount(data.strong_class_M, minlength=data.num_classes)
        self._num_C, self._start_C = torch.from_numpy(num_C), torch.from_numpy(np.cumsum(num_C) - num_C)
        self._generator = generator

    def of(self, class_B: torch.Tensor) -> torch.Tensor:
        """Row numbers (B,)."""
        place_B = (torch.rand(len(class_B), generator=self._generator) * self._num_C[class_B]).long()
        row_B: torch.Tensor = self._order_M[self._start_C[class_B] + place_B]
        return row_B
