"""Training an encoder that came as an ONNX graph for three tasks at once: whether two pictures are of one person, who is on a
weak picture such as a caricature, and who is on a photo; resumable to the same numbers.

Shapes: N pictures, B batch, D feature dimension, C classes, T tasks, E steps of the whole training.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn import functional

from models.features import FloatArray
from models.mtl import Branches
from training.losses.contrastive import contrastive_regression, pooled_contrast
from training.trainers.balanced import BalancedBatches
from training.trainers.checkpoint import State
from training.trainers.encoder import TorchEncoder
from training.trainers.epochs import run_epochs
from training.trainers.fitted import Workplace, digest_of
from training.trainers.multi_task_recipe import TASKS, MultiTaskRecipe
from training.trainers.optimisers import Optimisers
from training.trainers.picture_encoder import PictureEncoder, Unit
from training.trainers.schedule import rate
from training.trainers.task_heads import TaskHeads
from training.trainers.task_weights import Asked, weights_of
from training.trainers.weak_strong import EncodedPictures

VERSION = 3
"""Raised where a training comes to other numbers than before; checkpoints of another version are refused."""
NOTHING = -1.0
"""In a history, the loss of a task of which a batch had no picture."""


@dataclass(frozen=True, slots=True)
class TaskPictures:
    """Pictures of both modalities with a class for whoever is on each; of some classes there may be one modality alone."""

    pictures: EncodedPictures
    feature_ND: FloatArray
    """By the encoder as it came."""
    class_N: npt.NDArray[np.int64]
    is_weak_N: npt.NDArray[np.bool_]
    num_classes: int
    seed: int
    workplace: Workplace = field(default_factory=Workplace)

    @property
    def digest(self) -> str:
        """SHA-256 of what is learned from."""
        arrays = (self.pictures.picture_NHW3, self.feature_ND, self.class_N, self.is_weak_N)
        return digest_of(arrays, self.pictures.encoder)


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """Losses and weights of the tasks in every step. Source: Ming et al. (IJDAR 2021), Fig. 5 and 6."""

    loss_ET: FloatArray
    """As published, without what a recipe adds; `nan` where a batch had no picture of the task, or it is not trained."""
    weight_ET: FloatArray
    """That sum to one."""


@dataclass(frozen=True, slots=True)
class FittedTasks:
    """What a training comes to: networks, and how it went."""

    encoder_at: Callable[[float], TorchEncoder]
    """Of the first branch, so far on the way from what it was."""
    classifiers: tuple[TorchEncoder, TorchEncoder]
    """Pictures (N, 3, H, W) to the probabilities (N, C) of who is on them: weak ones, and photos."""
    known: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    """The classes (C,) of each: those of whom it was given pictures."""
    history: TaskHistory
    hyperparameters: dict[str, JsonValue]


def fit_tasks(data: TaskPictures, recipe: MultiTaskRecipe) -> FittedTasks:
    """Minimise the weighted losses of the tasks over the encoder, its branches and their heads.

    Source: Ming et al. (IJDAR 2021), Sec. 4 and 5.2. Deviations: what is trained is an encoder that one has, the paper's own
    among them (`fit --method encoder --backbone inception-resnet`); features are of length one, and softmax layers of cosines.

    Raises `TrainingError` where the loss is no number, `GraphError` where the encoder cannot be trained or branched so.
    """
    run = _Run(data, recipe)
    run_epochs(run, data.seed, data.workplace)
    loss_ET, weight_ET = (run.history.get_buffer(name).numpy().copy() for name in ("loss_ET", "weight_ET"))
    loss_ET[loss_ET == NOTHING] = np.nan
    return FittedTasks(
        partial(run.encoder.encoder, is_mirrored=recipe.is_mirrored),
        (run.classifier(1), run.classifier(2)),
        (run.known(1), run.known(2)),
        TaskHistory(loss_ET, weight_ET),
        asdict(recipe) | run.state.all_rates,
    )


class _Run:
    """Network, heads, weights and optimisers of one training, and its step."""

    def __init__(self, data: TaskPictures, recipe: MultiTaskRecipe) -> None:
        torch.manual_seed(data.seed)
        self.recipe, self._device = recipe, data.workplace.device
        self._class_N = torch.from_numpy(data.class_N).to(self._device)
        self._is_weak_N = data.is_weak_N
        self._batches = BalancedBatches(
            data.class_N, data.is_weak_N, num_people=recipe.num_people, num_pictures=recipe.num_pictures
        )
        self.batch, self.steps_an_epoch = self._batches.batch, self._batches.steps_an_epoch
        self.num_epochs = recipe.epochs
        self.num_steps = self.steps_an_epoch * self.num_epochs
        self.encoder = PictureEncoder(data.pictures, None, self._device)
        self.branches = Branches(self.encoder.network, recipe.num_branch, len(TASKS))
        num_shared = len(self.encoder.network.layers) - recipe.num_branch
        self.branches.drop(recipe.dropout)
        self.branches.train_last(num_shared if recipe.num_layers is None else min(num_shared, recipe.num_layers))
        start_ND, class_N = torch.from_numpy(data.feature_ND), torch.from_numpy(data.class_N)
        self.heads = TaskHeads(recipe, start_ND, class_N, torch.from_numpy(data.is_weak_N), data.num_classes)
        self.weights = weights_of(recipe, self._num_shared())
        self.history = _History(self.num_steps)
        networks: dict[str, nn.Module] = {"encoder": self.branches, "head": self.heads, "weights": self.weights}
        for network in networks.values():
            network.to(self._device).train()
        learned = {name: network for name, network in networks.items() if any(True for _ in network.parameters())}
        self.optimisers = Optimisers(learned, {name: getattr(recipe, name) for name in learned})
        plan = json.dumps([VERSION, asdict(recipe), data.seed, data.digest])
        random = torch.Generator().manual_seed(data.seed)
        everything = networks | {"history": self.history}
        self.state = State(plan, everything, self.optimisers.by_name, random, recipe.encoder.learning_rate)

    def order(self) -> Tensor:
        """The people of an epoch."""
        return self._batches.order(self.state.random)

    def step(self, rows_B: Tensor, number: int) -> float:
        """One step on pictures of these people; the weighted loss before it."""
        recipe = self.recipe
        done = number / self.num_steps
        self.optimisers.set_rate(rate(done, "steps" if recipe.milestones else "cosine", recipe.milestones))
        asked = self._asked(rows_B)
        found = self.weights(asked)
        self.history.put(
            number, torch.where(asked.is_there_T, asked.published_T.detach(), NOTHING), found.weight_T.detach()
        )
        self.optimisers.step(("encoder", "head"), found.loss)
        if found.own_loss is not None:
            self.optimisers.step(("weights",), found.own_loss)
        return float(found.loss.detach())

    def known(self, task: int) -> npt.NDArray[np.int64]:
        """The classes of whom there are pictures of the task's modality."""
        is_of_N = self._is_weak_N if TASKS[task] == "weak" else ~self._is_weak_N
        found: npt.NDArray[np.int64] = np.unique(self._class_N.cpu().numpy()[is_of_N])
        return found

    def classifier(self, task: int) -> TorchEncoder:
        """Who is on a picture, by the branch of one task."""
        head = self.heads.classifier(task, torch.from_numpy(self.known(task)))
        network = Unit(copy.deepcopy(self.branches.network(task)).cpu())
        return TorchEncoder(_Classifier(network, head, is_mirrored=self.recipe.is_mirrored))

    def _asked(self, people_P: Tensor) -> Asked:
        """Of pictures of these people, the losses of the tasks, and what these share."""
        random, encoder, recipe = self.state.random, self.encoder, self.recipe
        weak_B, photo_B = self._batches.weak(people_P, random), self._batches.photos(people_P, random)
        drawn_B = self._batches.photos(people_P, random) if recipe.num_caricatures else photo_B[:0]
        drawn_B = drawn_B[torch.randperm(len(drawn_B), generator=random)[: recipe.num_caricatures]]
        num_weak = len(weak_B) + len(drawn_B)
        lots = [
            made(rows_B, random)
            for rows_B, made in (
                (weak_B, encoder.pictures),
                (drawn_B, encoder.caricatures),
                (photo_B, encoder.pictures),
            )
            if len(rows_B)
        ]
        class_B = self._class_N[torch.cat([weak_B, drawn_B, photo_B])]
        is_weak_B = torch.arange(len(class_B), device=class_B.device) < num_weak
        rows_of = (torch.ones_like(is_weak_B), is_weak_B, ~is_weak_B)
        is_there = [given > 0 and bool(of_B.any()) for given, of_B in zip(recipe.given, rows_of, strict=True)]
        with encoder.computing():
            shared = self.branches.shared(torch.cat(lots).contiguous(memory_format=torch.channels_last))
            raw = {
                task: self.branches.branch(task, shared.take(rows_of[task]))
                for task in range(len(TASKS))
                if is_there[task]
            }
        feature = {task: functional.normalize(raw_BD.float(), dim=-1) for task, raw_BD in raw.items()}
        losses = [torch.zeros((), device=self._device) for _ in TASKS]
        for task, feature_BD in feature.items():
            losses[task] = self.heads(task, feature_BD, class_B[rows_of[task]])
        published_T = torch.stack(losses)
        if recipe.contrast and is_there[0]:
            losses[0] = losses[0] + recipe.contrast * self._contrast(feature[0], class_B, is_weak_B)
        return Asked(
            torch.stack(losses),
            published_T,
            torch.tensor(is_there, device=self._device),
            torch.flatten(shared.last_B, 1).detach().float(),
            self.branches.last_shared,
        )

    def _contrast(self, feature_BD: Tensor, class_B: Tensor, is_weak_B: Tensor) -> Tensor:
        """Of weak pictures with one photo each of the same person in the batch and with those of others, and of all of them
        together.
        """
        weak_BD, photo_BD = feature_BD[is_weak_B], feature_BD[~is_weak_B]
        is_same = class_B[is_weak_B][:, None] == class_B[~is_weak_B][None]
        has_B = is_same.any(dim=1)
        if int(has_B.sum()) < 2:
            return feature_BD.sum() * 0.0
        temperature = 1 / self.recipe.scale
        chance = torch.rand(is_same.shape, generator=self.state.random).to(is_same.device)
        own_B = (is_same.float() * (chance + 1)).argmax(dim=1)
        return contrastive_regression(
            weak_BD[has_B], photo_BD[own_B[has_B]], class_B[is_weak_B][has_B], temperature=temperature
        ) + pooled_contrast(weak_BD @ photo_BD.T, is_same, temperature=temperature)

    @torch.no_grad()
    def _num_shared(self) -> int:
        row = torch.zeros(1, dtype=torch.int64)
        pictures = self.encoder.pictures(row, torch.Generator())
        self.branches.eval()
        return int(torch.flatten(self.branches.shared(pictures).last_B, 1).shape[1])


class _History(nn.Module):
    """Losses and weights of steps that are done."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        for name in ("loss_ET", "weight_ET"):
            self.register_buffer(name, torch.zeros(num_steps, len(TASKS)))

    def put(self, step: int, loss_T: Tensor, weight_T: Tensor) -> None:
        """Of one step."""
        self.get_buffer("loss_ET")[step] = loss_T.cpu()
        self.get_buffer("weight_ET")[step] = weight_T.cpu()


class _Classifier(nn.Module):
    """Pictures to probabilities, of a picture and its mirror image where it is told so."""

    def __init__(self, network: nn.Module, head: nn.Module, *, is_mirrored: bool) -> None:
        super().__init__()
        self.network, self.head, self._is_mirrored = network, head, is_mirrored

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """Probabilities (B, C)."""
        logits_BC = self.head(self.network(picture_BCHW))
        if self._is_mirrored:
            logits_BC = (logits_BC + self.head(self.network(picture_BCHW.flip(3)))) / 2
        return functional.softmax(logits_BC, dim=-1)
