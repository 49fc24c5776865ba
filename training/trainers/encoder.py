"""Training an encoder from labelled pictures with ArcFace, resumable to the same numbers.

Shapes: N pictures, B batch, H W picture, D feature dimension.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones import BACKBONES, FaceEncoder
from models.features import FloatArray
from models.inception_resnet import FEWEST_PIXELS, INCEPTION_RESNET, InceptionResNet
from models.space import InputPreparation
from training.data.picture_store import LabelledPictures
from training.errors import TrainingError
from training.losses.arcface import ArcFace
from training.losses.centre import CentreLoss
from training.trainers.augmentation import augmented
from training.trainers.checkpoint import State, load_checkpoint, save_checkpoint
from training.trainers.encoder_recipe import EncoderRecipe, Report
from training.trainers.geometry import Geometry, grouped_order
from training.trainers.schedule import rate

_MARGIN_FROM, _MARGIN_TO = 0.05, 0.3
"""Shares of the training between which the margin grows: with all of it from the start small sets do not converge."""
_LARGEST_GRADIENT = 5.0
_AVERAGED = 50


class TorchEncoder:
    """A trained network as an encoder of prepared pictures, (N, 3, H, W) to unit (N, D)."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().cpu().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, picture_NCHW: FloatArray) -> FloatArray:
        """Encode pictures."""
        with torch.inference_mode():
            picture = torch.from_numpy(np.ascontiguousarray(picture_NCHW)).contiguous(memory_format=torch.channels_last)
            feature: FloatArray = self.network(picture).numpy()
        return feature


@dataclass(frozen=True, slots=True)
class FittedEncoder:
    """What a training comes to."""

    encoder: TorchEncoder
    without: dict[str, int]
    """Of each term that labels shape features by, how many batches had nothing that it looks at."""
    num_batches: int
    """Of the whole training."""


def fit_encoder(
    recipe: EncoderRecipe,
    pictures: LabelledPictures,
    preparation: InputPreparation,
    *,
    seed: int,
    device: str,
    checkpoint: Path,
    on_step: Callable[[Report], None] = lambda report: None,
) -> FittedEncoder:
    """Train from nothing, or from the checkpoint that an interrupted call for the same work left.

    Source: Deng et al., ArcFace (CVPR 2019); optimiser and steps as R3AN (CVPR 2019), Sec. 5.1, or as the
    recipe says. Deviation: warm-up of
    rate and margin, clipped gradients, augmentation.

    Raises `TrainingError` where the loss is no longer a number.
    """
    run = _Run(recipe, pictures, preparation, seed, device)
    done = load_checkpoint(checkpoint, run.state)
    losses: list[float] = []
    for epoch in range(done, run.num_epochs):
        order = run.order()
        for place in range(run.steps_an_epoch):
            step = epoch * run.steps_an_epoch + place
            losses = [*losses[-_AVERAGED:], run.step(order[place * run.batch : (place + 1) * run.batch], step)]
            on_step(Report(step + 1, run.num_steps, float(np.mean(losses))))
        if not run.state.is_finite:
            raise TrainingError(f"a weight is no number after {epoch + 1} epochs; lower --learning-rate")
        save_checkpoint(checkpoint, run.state)
    without = {} if run.geometry is None else run.geometry.without
    return FittedEncoder(TorchEncoder(run.network), without, run.num_steps)


class _Run:
    """Network, head and optimiser of one training, and its step."""

    def __init__(
        self, recipe: EncoderRecipe, pictures: LabelledPictures, preparation: InputPreparation, seed: int, device: str
    ) -> None:
        self._recipe, self._pictures, self._device = recipe, pictures, device
        self._normalise = Normalise(preparation, device)
        self.batch = min(recipe.batch, len(pictures.class_N))
        self.steps_an_epoch = len(pictures.class_N) // self.batch
        self.num_epochs = recipe.num_epochs(self.steps_an_epoch)
        self.num_steps = self.num_epochs * self.steps_an_epoch
        torch.manual_seed(seed)
        self.network = _network(recipe, preparation.resize[1])
        self.head = ArcFace(pictures.num_classes, recipe.dimension, scale=recipe.scale).to(device)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        num_centres = pictures.num_classes if recipe.centre else 0
        self.centre = CentreLoss(num_centres, recipe.dimension, rate=recipe.centre_rate).to(device)
        self.geometry = self._geometry()
        self.optimiser = self._optimiser()
        self.random = torch.Generator().manual_seed(seed)
        plan = json.dumps([asdict(recipe), seed, pictures.digest])
        networks: dict[str, nn.Module] = {"network": self.network, "head": self.head}
        if recipe.centre:
            networks["centre"] = self.centre
        if self.geometry is not None:
            networks["geometry"] = self.geometry
        self.state = State(plan, networks, {"all": self.optimiser}, self.random, recipe.learning_rate)

    def step(self, rows_B: npt.NDArray[np.int64], number: int) -> float:
        """One step on these pictures; the loss before it."""
        recipe, done = self._recipe, number / self.num_steps
        # In the order of the file: a memory map is read fastest so.
        rows_B = np.sort(rows_B)
        picture_BCHW = augmented(self._normalise(self._pictures.picture_NHW3[rows_B]), self.random)
        class_B = torch.from_numpy(self._pictures.class_N[rows_B]).to(self._device)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate(done, recipe.schedule, recipe.milestones)
        with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=has_bfloat16(self._device)):
            raw_BD = self.network.raw(picture_BCHW.contiguous(memory_format=torch.channels_last)).float()
        feature_BD = functional.normalize(raw_BD, dim=-1)
        loss = self._told_apart(raw_BD, feature_BD, class_B, recipe.margin * margin_share(done))
        if recipe.centre:
            loss = loss + recipe.centre * self.centre(feature_BD, class_B)
            self.centre.follow(feature_BD.detach(), class_B)
        if self.geometry is not None:
            shaped_BD = feature_BD if self._is_spherical else raw_BD
            loss = loss + self.geometry(shaped_BD, class_B, self._labels(rows_B), self.random)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters(), _LARGEST_GRADIENT)
        self.optimiser.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"the loss is no number after {number + 1} steps; lower --learning-rate")
        return value

    def order(self) -> npt.NDArray[np.int64]:
        """The pictures of an epoch."""
        recipe, num = self._recipe.geometry, len(self._pictures.class_N)
        if recipe is None:
            return torch.randperm(num, generator=self.random).numpy()
        label_N = self._labels(np.arange(num)).cpu()
        return grouped_order(
            torch.from_numpy(self._pictures.class_N), label_N, recipe.num_pictures, self.random
        ).numpy()

    def _told_apart(self, raw_BD: Tensor, feature_BD: Tensor, class_B: Tensor, margin: float) -> Tensor:
        """What people are told apart by."""
        if self.geometry is not None and self._recipe.geometry is not None and self._recipe.geometry.base == "triplet":
            return self.geometry.triplets(feature_BD if self._is_spherical else raw_BD, class_B)
        loss: Tensor = self.head(feature_BD, class_B, margin)
        return loss

    @property
    def _is_spherical(self) -> bool:
        return self._recipe.geometry is None or self._recipe.geometry.is_spherical

    def _geometry(self) -> Geometry | None:
        recipe, pictures = self._recipe.geometry, self._pictures
        if recipe is None:
            return None
        if recipe.needs_labels and pictures.label_N is None:
            raise TrainingError("labels are to shape the features, and the pictures have none")
        try:
            return Geometry(recipe, self._recipe.dimension, pictures.num_labels).to(self._device)
        except ValueError as failure:
            raise TrainingError(str(failure)) from None

    def _labels(self, rows_B: npt.NDArray[np.int64]) -> Tensor:
        label_N = self._pictures.label_N
        label_B = np.full(len(rows_B), -1, dtype=np.int64) if label_N is None else label_N[rows_B]
        return torch.from_numpy(label_B).to(self._device)

    def _optimiser(self) -> torch.optim.Optimizer:
        recipe = self._recipe
        if recipe.optimiser == "rmsprop":
            return torch.optim.RMSprop(self._groups(), lr=recipe.learning_rate, momentum=recipe.momentum)
        return torch.optim.SGD(self._groups(), lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)

    def _parameters(self) -> list[nn.Parameter]:
        shaped = [] if self.geometry is None else list(self.geometry.parameters())
        return [*self.network.parameters(), *self.head.parameters(), *shaped]

    def _groups(self) -> list[dict[str, object]]:
        """Normalisations do not decay."""
        matrices = [parameter for parameter in self._parameters() if parameter.ndim > 1]
        vectors = [parameter for parameter in self._parameters() if parameter.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": self._recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]


def _network(recipe: EncoderRecipe, side: int) -> FaceEncoder | InceptionResNet:
    if recipe.backbone != INCEPTION_RESNET:
        return BACKBONES[recipe.backbone](recipe.width, recipe.dimension, side)
    if side < FEWEST_PIXELS:
        raise TrainingError(f"the network {INCEPTION_RESNET} needs pictures of {FEWEST_PIXELS} pixels or more")
    return InceptionResNet(recipe.dimension, recipe.width)


def margin_share(done: float) -> float:
    """The share of the margin after a share `done` of the training.

    >>> margin_share(0.0), margin_share(0.3)
    (0.0, 1.0)
    """
    return min(1.0, max(0.0, (done - _MARGIN_FROM) / (_MARGIN_TO - _MARGIN_FROM)))


def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies in bfloat16 itself; emulated it would be slower than float32."""
    if torch.device(device).type == "cuda":
        supported: bool = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        supported = torch.cpu._is_avx512_bf16_supported()
    return supported


def choose_torch_device(asked: Literal["auto", "cpu", "cuda"]) -> str:
    """`cuda` or `cpu`. Raises `TrainingError` where CUDA was asked for and there is none."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise TrainingError("CUDA was asked for, and PyTorch finds none; use --device cpu")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


class Normalise:
    """Bytes (B, H, W, 3) to the encoder's input (B, 3, H, W) on the device."""

    def __init__(self, preparation: InputPreparation, device: str) -> None:
        self._mean = torch.tensor(preparation.mean, device=device)[:, None, None]
        self._std = torch.tensor(preparation.std, device=device)[:, None, None]
        self._device = device

    def __call__(self, picture_BHW3: npt.NDArray[np.uint8]) -> Tensor:
        raw = torch.from_numpy(picture_BHW3).to(self._device, non_blocking=True)
        normalised: Tensor = (raw.permute(0, 3, 1, 2).float() - self._mean) / self._std
        return normalised
