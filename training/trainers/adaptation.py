"""Training encoders that came as ONNX graphs to make comparable features of a weak and a strong modality; resumable.

Shapes: N weak pictures, M strong ones, B batch, D feature dimension.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from training.errors import TrainingError
from training.trainers.adaptation_recipe import AdaptationRecipe
from training.trainers.checkpoint import State
from training.trainers.encoder import TorchEncoder
from training.trainers.epochs import run_epochs
from training.trainers.objectives import Batch, Objectives
from training.trainers.optimisers import Optimisers
from training.trainers.picture_encoder import PictureEncoder
from training.trainers.schedule import rate
from training.trainers.weak_strong import WeakStrong

VERSION = 2
"""Raised where a training comes to other numbers than before; checkpoints of another version are refused."""


@dataclass(frozen=True, slots=True)
class FittedAdaptation:
    """The encoders of both modalities, which may be one, and the hyperparameters."""

    weak_at: Callable[[float], TorchEncoder]
    """So far on the way from what it was."""
    strong: TorchEncoder | None
    """None where strong pictures are encoded as before, or by the same encoder as weak ones."""
    is_one: bool
    """Whether one encoder is of both."""
    hyperparameters: dict[str, JsonValue]


def fit_adaptation(data: WeakStrong, recipe: AdaptationRecipe) -> FittedAdaptation:
    """Minimise one objective over the encoder of both modalities, or over two that share their last layers.

    Source: the baselines of Weak-Strong GAN (AAAI 2019), Method Comparison. Deviations: what is fine-tuned is the encoder that
    one has, with unit class centres that begin with its strong features' means, in all of them; drawings of photos, and what is
    exported may look at mirror images, where the recipe says so.

    Raises `TrainingError` where there are no pictures, or the loss is no number.
    """
    run = _Run(data, recipe)
    run_epochs(run, data.seed, data.workplace)
    is_one = not recipe.num_shared
    weak_at, strong_at = (partial(one.encoder, is_mirrored=recipe.is_mirrored) for one in (run.weak, run.strong))
    strong = strong_at() if recipe.objective == "cross-modal-b" else None
    return FittedAdaptation(weak_at, strong, is_one, asdict(recipe) | run.state.all_rates)


class _Run:
    """Encoders, objective and optimisers of one training, and its step."""

    def __init__(self, data: WeakStrong, recipe: AdaptationRecipe) -> None:
        if data.pictures is None or data.strong_pictures is None:
            raise TrainingError("this method trains encoders, and needs the pictures of both modalities")
        torch.manual_seed(data.seed)
        self.recipe, self._device = recipe, data.workplace.device
        self.batch = min(recipe.batch, len(data.weak_class_N))
        self.steps_an_epoch = len(data.weak_class_N) // self.batch
        self.num_epochs = recipe.epochs
        self.num_steps = self.steps_an_epoch * self.num_epochs
        self.weak_class_N = torch.from_numpy(data.weak_class_N).to(self._device)
        self.strong_class_M = torch.from_numpy(data.strong_class_M).to(self._device)
        strong_MD = torch.from_numpy(data.strong_MS).to(self._device)
        self.objectives = Objectives(recipe, strong_MD.cpu(), self.strong_class_M.cpu(), data.num_classes)
        self.objectives.to(self._device).train()
        self.weak = PictureEncoder(data.pictures, recipe.num_layers, self._device)
        self.strong = self.weak.beside(data.strong_pictures)
        networks: dict[str, nn.Module] = {"encoder": self.weak.network.train(), "head": self.objectives}
        rules = {"encoder": recipe.encoder, "head": recipe.head}
        if recipe.num_shared:
            self.strong = PictureEncoder(data.pictures, 0, self._device).beside(data.strong_pictures)
            self.weak.share_last(self.strong, recipe.num_shared, is_trained=recipe.objective == "cross-modal-b")
            networks["strong_encoder"] = self.strong.network.train()
        self.optimisers = Optimisers({name: networks[name] for name in rules}, rules)
        plan = json.dumps([VERSION, asdict(recipe), data.seed, data.digest])
        random = torch.Generator().manual_seed(data.seed)
        self.state = State(plan, networks, self.optimisers.by_name, random, recipe.encoder.learning_rate)

    def order(self) -> Tensor:
        """Weak pictures by row."""
        return torch.randperm(len(self.weak_class_N), generator=self.state.random)

    def step(self, rows_B: Tensor, number: int) -> float:
        """One step on these weak pictures, and as many strong ones drawn at random; the loss before it."""
        done = number / self.num_steps
        self.optimisers.set_rate(rate(done, "cosine", ()))
        batch = self._batch(rows_B, done)
        of_domain = self.objectives.domain_step(batch)
        if of_domain is not None:
            self.optimisers.step(("head",), of_domain)
        loss = self.objectives(batch)
        self.optimisers.step(("encoder", "head"), loss)
        return float(loss.detach())

    def _batch(self, rows_B: Tensor, done: float) -> Batch:
        random, num_photos = self.state.random, len(self.strong_class_M)
        weak, class_B = self.weak.pictures(rows_B, random), self.weak_class_N[rows_B]
        if self.recipe.num_drawings:
            drawn_B = torch.randint(0, num_photos, (self.recipe.num_drawings,), generator=random)
            weak = torch.cat([weak, self.strong.drawings(drawn_B, random)])
            class_B = torch.cat([class_B, self.strong_class_M[drawn_B]])
        if not self.recipe.sees_strong:
            (weak_BD,) = self.weak.together([weak])
            return Batch(weak_BD, class_B, weak_BD[:0], self.strong_class_M[:0], done)
        strong_B = torch.randint(0, num_photos, (len(rows_B),), generator=random)
        strong = self.strong.pictures(strong_B, random)
        if self.recipe.num_shared:
            (weak_BD,), (strong_BD,) = self.weak.together([weak]), self.strong.together([strong])
        else:
            weak_BD, strong_BD = self.weak.together([weak, strong])
        return Batch(weak_BD, class_B, strong_BD, self.strong_class_M[strong_B], done)
