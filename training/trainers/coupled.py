"""Training an encoder that came as an ONNX graph to tell which class a picture is of and which attributes it has, where of most
pictures one or the other is not known; resumable to the same numbers.

Source: Kollias et al., Distribution matching for multi-task learning of classification tasks (AAAI 2024).

Shapes: N pictures, B batch, D feature dimension, K classes, M attributes, E steps, L losses.
"""

import copy
import json
import math
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn import functional

from models.features import FloatArray
from training.data.labelled import UNKNOWN
from training.data.relatedness import Relatedness
from training.errors import TrainingError
from training.losses.coupling import (
    distribution_matching,
    known_attributes,
    known_classes,
    mutual_matching,
    soft_co_annotation,
)
from training.trainers.checkpoint import State
from training.trainers.coupled_recipe import CoupledRecipe
from training.trainers.encoder import Normalise, TorchEncoder
from training.trainers.epochs import run_epochs
from training.trainers.fitted import Workplace, digest_of
from training.trainers.optimisers import Optimisers
from training.trainers.picture_encoder import PictureEncoder, Unit
from training.trainers.schedule import rate
from training.trainers.weak_strong import EncodedPictures

VERSION = 1
"""Raised where a training comes to other numbers than before; checkpoints of another version are refused."""
LOSSES = ("class", "attributes", "matching", "annotation")
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Taught:
    """What a network says of pictures, where it is not known."""

    class_NK: FloatArray
    attribute_NM: FloatArray


@dataclass(frozen=True, slots=True)
class CoupledPictures:
    """Pictures, and what is known of each: its class, some of its attributes, or both."""

    pictures: EncodedPictures
    class_N: npt.NDArray[np.int64]
    """UNKNOWN where it is not known."""
    has_NM: npt.NDArray[np.bool_]
    is_known_NM: npt.NDArray[np.bool_]
    related: Relatedness
    seed: int
    workplace: Workplace = field(default_factory=Workplace)
    taught: Taught | None = None

    def __post_init__(self) -> None:
        """Raises `TrainingError` for labels out of their range, or of a class or attribute that is not there."""
        num_classes, num_attributes = len(self.related.classes), len(self.related.attributes)
        shape = (len(self.class_N), num_attributes)
        for found in (self.has_NM.shape, self.is_known_NM.shape):
            if found != shape:
                raise TrainingError(f"attributes are {found}; of these pictures and attributes they are {shape}")
        if len(self.class_N) and (self.class_N.min() < UNKNOWN or self.class_N.max() >= num_classes):
            raise TrainingError(
                f"classes are numbered from 0 to {num_classes - 1}, and {UNKNOWN} where they are not known"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of what is learned from."""
        of_pictures = (self.pictures.picture_NHW3, self.class_N, self.has_NM, self.is_known_NM)
        of_classes = (self.related.weight_KM, self.related.chance_KM)
        told = () if self.taught is None else (self.taught.class_NK, self.taught.attribute_NM)
        return digest_of((*of_pictures, *of_classes, *told), self.pictures.encoder)


@dataclass(frozen=True, slots=True)
class FittedCoupled:
    """What a training comes to."""

    classifier: TorchEncoder
    """Prepared pictures (N, 3, H, W) to probabilities (N, K + M): of each class, which sum to one, and of each attribute; as far
    as these are trained.
    """
    encoder: TorchEncoder
    """The features (N, D) that both tasks share."""
    loss_EL: FloatArray
    """LOSSES in every step; zero where a batch had none."""
    hyperparameters: dict[str, JsonValue]


def fit_coupled(data: CoupledPictures, recipe: CoupledRecipe) -> FittedCoupled:
    """Minimise the losses of both tasks and of what couples them, over the encoder and two heads.

    Source: Eq. 1. Deviations: the encoder is one that there is already; heads are linear maps of features of length one.

    Raises `TrainingError` where the loss is no number or nothing is known to learn from, `GraphError` where the encoder cannot be
    trained.
    """
    is_known = (bool((data.class_N >= 0).any()), bool(data.is_known_NM.any()))
    if not any(given > 0 and known for given, known in zip(recipe.given, is_known, strict=True)):
        raise TrainingError("no picture is labelled with what is to be learned")
    if recipe.is_taught and data.taught is None:
        teacher = fit_coupled(_in(data, "teacher"), replace(recipe, is_taught=False))
        data = replace(_in(data, "student"), taught=_told(data, teacher))
    run = _Run(data, recipe)
    run_epochs(run, data.seed, data.workplace)
    return FittedCoupled(
        run.classifier(),
        run.encoder.encoder(),
        run.history.get_buffer("loss_EL").numpy().copy(),
        asdict(recipe) | run.state.all_rates,
    )


class Heads(nn.Module):
    """Linear maps of a unit feature to logits of classes and of attributes."""

    def __init__(self, dimension: int, num_classes: int, num_attributes: int) -> None:
        super().__init__()
        self._scale = math.sqrt(dimension)
        self.classes, self.attributes = _head(dimension, num_classes), _head(dimension, num_attributes)

    def forward(self, feature_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K) and (B, M)."""
        scaled_BD = feature_BD * self._scale
        return self.classes(scaled_BD), self.attributes(scaled_BD)


class _Run:
    """Network, heads and optimisers of one training, and its step."""

    def __init__(self, data: CoupledPictures, recipe: CoupledRecipe) -> None:
        torch.manual_seed(data.seed)
        self.recipe, self._device, self._num = recipe, data.workplace.device, len(data.class_N)
        self._class_N, self._has_NM, self._is_known_NM = (
            torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
            for array in (data.class_N, data.has_NM, data.is_known_NM)
        )
        self._weight_KM = torch.from_numpy(data.related.weight_KM).to(self._device)
        self._chance_KM = torch.from_numpy(data.related.chance_KM).to(self._device)
        self._taught = data.taught
        self.batch = min(recipe.batch, self._num)
        self.steps_an_epoch, self.num_epochs = self._num // self.batch, recipe.epochs
        self.num_steps = self.steps_an_epoch * self.num_epochs
        self.encoder = PictureEncoder(data.pictures, recipe.num_layers, self._device)
        self.heads = Heads(self._dimension(), *data.related.weight_KM.shape)
        self.history = _History(self.num_steps)
        networks: dict[str, nn.Module] = {"encoder": self.encoder.network, "head": self.heads}
        for network in networks.values():
            network.to(self._device).train()
        learned = {name: of for name, of in networks.items() if any(one.requires_grad for one in of.parameters())}
        self.optimisers = Optimisers(learned, {name: getattr(recipe, name) for name in learned})
        plan = json.dumps([VERSION, asdict(recipe), data.seed, data.digest])
        random = torch.Generator().manual_seed(data.seed)
        everything = networks | {"history": self.history}
        self.state = State(plan, everything, self.optimisers.by_name, random, recipe.encoder.learning_rate)

    def order(self) -> Tensor:
        """The pictures of an epoch."""
        return torch.randperm(self._num, generator=self.state.random)

    def step(self, rows_B: Tensor, number: int) -> float:
        """One step on these pictures; the loss before it."""
        self.optimisers.set_rate(rate(number / self.num_steps, "cosine", ()))
        feature_BD = self.encoder(rows_B, self.state.random)
        loss_L = self._losses(rows_B, *self.heads(feature_BD))
        self.history.put(number, loss_L)
        loss = self._total(loss_L, feature_BD)
        self.optimisers.step(tuple(self.optimisers.by_name), loss)
        return float(loss.detach())

    def classifier(self) -> TorchEncoder:
        """Pictures to the probabilities of both heads."""
        network = Unit(copy.deepcopy(self.encoder.network).cpu())
        is_told = self.recipe.tells(*self._weight_KM.shape)
        return TorchEncoder(_Told(network, copy.deepcopy(self.heads).cpu(), is_told))

    def _losses(self, rows_B: Tensor, class_BK: Tensor, attribute_BM: Tensor) -> list[Tensor]:
        """LOSSES; those that a recipe leaves out are zero."""
        recipe, rows_B = self.recipe, rows_B.to(self._device)
        class_B, has_BM, is_known_BM = self._class_N[rows_B], self._has_NM[rows_B], self._is_known_NM[rows_B]
        nothing = class_BK.sum() * 0.0 + attribute_BM.sum() * 0.0
        losses = [
            known_classes(class_BK, class_B),
            known_attributes(attribute_BM, has_BM, is_known_BM),
            nothing,
            nothing,
        ]
        if self._taught is not None:
            told = self._told(rows_B.cpu().numpy(), class_BK, attribute_BM)
            losses[:2] = [loss + of for loss, of in zip(losses[:2], told, strict=True)]
        if recipe.matching and recipe.match == "mutual":
            losses[2] = mutual_matching(class_BK, attribute_BM, self._chance_KM)
        elif recipe.matching:
            is_two_sided = recipe.match == "two-sided"
            losses[2] = distribution_matching(class_BK, attribute_BM, self._chance_KM, is_two_sided=is_two_sided)
        if recipe.annotation:
            losses[3] = soft_co_annotation(
                class_BK, has_BM, is_known_BM, self._weight_KM, is_label_target=recipe.is_label_target
            )
        return losses

    def _told(self, rows_B: npt.NDArray[np.int64], class_BK: Tensor, attribute_BM: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropies with what a teacher says of pictures whose class, or attribute, is not known.

        Source: Deng, Chen and Shi, Multitask emotion recognition with incomplete labels (FG 2020): soft labels of a teacher.
        """
        assert self._taught is not None
        rows = torch.from_numpy(rows_B).to(self._device)
        wanted_BK, wanted_BM = (
            torch.from_numpy(array[rows_B]).to(self._device)
            for array in (self._taught.class_NK, self._taught.attribute_NM)
        )
        is_told_B, is_told_BM = self._class_N[rows] < 0, ~self._is_known_NM[rows]
        of_class_B = -(wanted_BK * functional.log_softmax(class_BK, dim=1)).sum(dim=1)
        of_attribute_BM = functional.binary_cross_entropy_with_logits(attribute_BM, wanted_BM, reduction="none")
        return (
            (of_class_B * is_told_B).sum() / is_told_B.sum().clamp(min=1),
            (of_attribute_BM * is_told_BM).sum() / is_told_BM.sum().clamp(min=1),
        )

    def _total(self, loss_L: list[Tensor], feature_BD: Tensor) -> Tensor:
        recipe = self.recipe
        of_classes, of_attributes = recipe.given
        if recipe.weighting == "mgda-ub" and all(recipe.given):
            of_classes, of_attributes = _least_norm(loss_L[:2], feature_BD)
        return (
            of_classes * loss_L[0]
            + of_attributes * loss_L[1]
            + recipe.matching * loss_L[2]
            + recipe.annotation * loss_L[3]
        )

    @torch.no_grad()
    def _dimension(self) -> int:
        self.encoder.network.eval()
        return int(self.encoder(torch.zeros(1, dtype=torch.int64), torch.Generator()).shape[1])


def _head(dimension: int, num: int) -> nn.Module:
    return nn.Linear(dimension, num) if num else _None()


class _None(nn.Module):
    """A head of nothing."""

    def forward(self, feature_BD: Tensor) -> Tensor:
        """No logits, (B, 0)."""
        return feature_BD[:, :0]


class _Told(nn.Module):
    """Pictures to probabilities of classes and of attributes, side by side, or of one of them."""

    def __init__(self, network: nn.Module, heads: nn.Module, is_told: tuple[bool, bool]) -> None:
        super().__init__()
        self.network, self.heads, self._is_told = network, heads, is_told

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """Probabilities (B, K + M)."""
        class_BK, attribute_BM = self.heads(self.network(picture_BCHW))
        both = (functional.softmax(class_BK, dim=1), torch.sigmoid(attribute_BM))
        told = [one for one, is_told in zip(both, self._is_told, strict=True) if is_told]
        return torch.cat(told, dim=1) if len(told) > 1 else told[0]


class _History(nn.Module):
    """Losses of steps that are done."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.register_buffer("loss_EL", torch.zeros(num_steps, len(LOSSES)))

    def put(self, step: int, loss_L: list[Tensor]) -> None:
        """Of one step."""
        self.get_buffer("loss_EL")[step] = torch.stack(loss_L).detach().cpu()


def _least_norm(losses: list[Tensor], feature_BD: Tensor) -> tuple[float, float]:
    """Weights of two losses that sum to one, of which the gradient over shared features is shortest.

    Source: Sener and Koltun, Multi-task learning as multi-objective optimization (NeurIPS 2018), Eq. 4 and MGDA-UB.
    """
    one, other = (torch.autograd.grad(loss, feature_BD, retain_graph=True)[0].flatten() for loss in losses)
    # A task of which a batch knows nothing has no gradient, which is the shortest; the other is learned then.
    if not one.any() or not other.any():
        return float(bool(one.any())), float(bool(other.any()))
    apart = (one - other).square().sum()
    share = ((other - one) @ other / apart).clamp(0, 1).item() if float(apart) > 0 else 0.5
    return share, 1 - share


def _in(data: CoupledPictures, name: str) -> CoupledPictures:
    """With a checkpoint of its own."""
    path = data.workplace.checkpoint
    if path is None:
        return data
    return replace(data, workplace=replace(data.workplace, checkpoint=path.with_name(f"{name}-{path.name}")))


def _told(data: CoupledPictures, teacher: FittedCoupled) -> Taught:
    """What the teacher says of all pictures."""
    normalise, picture_NHW3 = Normalise(data.pictures.preparation, "cpu"), data.pictures.picture_NHW3
    starts = range(0, len(picture_NHW3), _AT_ONCE)
    # Copied, as what was decoded earlier may be a file that is only read.
    blocks = (np.array(picture_NHW3[start : start + _AT_ONCE]) for start in starts)
    found = [teacher.classifier(normalise(block).numpy()) for block in blocks]
    probability_NC = np.concatenate(found)
    num_classes = len(data.related.classes)
    return Taught(probability_NC[:, :num_classes], probability_NC[:, num_classes:])
