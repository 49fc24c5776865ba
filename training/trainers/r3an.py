"""Training R3AN, the parts of it that Table 3 compares, and the naive model beside them; resumable to the same numbers.

Shapes: N pairs, B batch, S source and T target dimension, C H W picture.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.r3an import PICTURE_RANGE, Discriminator, Extractor, FullyConnected, Generator, R3ANTranslator
from training.errors import TrainingError
from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.reconstruction import l2_reconstruction
from training.losses.regression import l2_regression
from training.trainers.checkpoint import State, load_checkpoint, save_checkpoint
from training.trainers.encoder import has_bfloat16
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import Fitted, TrainingData
from training.trainers.r3an_recipe import Paths, R3ANRecipe
from training.trainers.schedule import rate
from training.trainers.torch_translator import TorchTranslator
from training.trainers.updates import Update

MILESTONES = (0.3, 0.5, 0.7)
"""Shares of the training after which the rate falls to a tenth. Source: R3AN (CVPR 2019), Sec. 5.2."""
VERSION = 2
"""Raised where a training comes to other numbers than before; checkpoints of another version are refused."""
_AVERAGED = 50
_MOST = 100.0
"""Loss on average: a hundred times that of no answer at all. From there no training comes back."""


def fit_r3an(data: TrainingData, recipe: R3ANRecipe) -> Fitted[TorchTranslator]:
    """Train the paths that the recipe asks for, and give E(G(x)) as the translator.

    Source: Chen et al., R3AN (CVPR 2019), Algorithm 1, in its order: D, G, E, then G and E together.

    Raises `TrainingError` where pictures are needed and there are none, where a loss is no number, or where a batch
    does not fit into the device's memory.
    """
    if recipe.paths.need_pictures and data.picture_NHW3 is None:
        raise TrainingError("this method needs the pictures that the features were made from")
    run = _AllPaths(data, recipe)
    _train(run, data)
    translator = R3ANTranslator(run.generator, run.extractor)
    if recipe.paths.representation:
        order = torch.randperm(len(run.source_NS), generator=torch.Generator().manual_seed(data.seed))
        _settle(translator, run.source_NS[order], run.batch)
    _check_alive(translator, run)
    return Fitted(TorchTranslator(translator), run.hyperparameters)


def fit_fully_connected(data: TrainingData, recipe: R3ANRecipe) -> Fitted[TorchTranslator]:
    """Train the naive model on the regression loss alone, otherwise as the recipe says.

    Source: Chen et al., R3AN (CVPR 2019), Sec. 3.1 and the row FC of Table 3.
    """
    run = _Naive(data, recipe)
    _train(run, data)
    _check_alive(run.network, run)
    return Fitted(TorchTranslator(run.network), run.hyperparameters)


class _Run:
    """What every training here shares: batches, the updates of each, and what a checkpoint holds."""

    def __init__(self, data: TrainingData, recipe: R3ANRecipe, networks: dict[str, nn.Module]) -> None:
        self.recipe, self.device = recipe, data.workplace.device
        for network in networks.values():
            network.to(self.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.source_NS = torch.from_numpy(np.ascontiguousarray(data.source_NS)).to(self.device)
        self.target_NT = torch.from_numpy(np.ascontiguousarray(data.target_NT)).to(self.device)
        self.batch = min(recipe.batch, len(data.source_NS))
        self.steps_an_epoch = len(data.source_NS) // self.batch
        self.num_epochs = recipe.num_epochs(self.steps_an_epoch)
        self.num_steps = self.num_epochs * self.steps_an_epoch
        self.updates = self.make_updates()
        work = {name: value for name, value in asdict(recipe).items() if name != "learning_rate"}
        plan = json.dumps([VERSION, work, data.seed, data.digest])
        optimisers = {name: update.optimiser for name, update in self.updates.items()}
        random = torch.Generator().manual_seed(data.seed)
        self.state = State(plan, networks, optimisers, random, recipe.learning_rate)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The recipe, and what became of it."""
        return asdict(self.recipe) | self.state.all_rates

    def make_updates(self) -> dict[str, Update]:
        """Those of one mini-batch, in their order."""
        raise NotImplementedError

    def step(self, rows_B: npt.NDArray[np.int64], number: int) -> float:
        """One step of the training; the loss that matters most of those before it."""
        for update in self.updates.values():
            update.set_rate(rate(number / self.num_steps, self.recipe.schedule, MILESTONES))
        kind, is_there = torch.device(self.device).type, has_bfloat16(self.device)
        # Without its cache: weights change between the updates of one mini-batch.
        with torch.autocast(kind, torch.bfloat16, enabled=is_there, cache_enabled=False):
            return self.update_all(rows_B)

    def update_all(self, rows_B: npt.NDArray[np.int64]) -> float:
        """Every update of one mini-batch."""
        raise NotImplementedError


class _Naive(_Run):
    def __init__(self, data: TrainingData, recipe: R3ANRecipe) -> None:
        torch.manual_seed(data.seed)
        self.network = FullyConnected(data.source_NS.shape[1], data.target_NT.shape[1])
        super().__init__(data, recipe, {"network": self.network})

    def make_updates(self) -> dict[str, Update]:
        return {"regression": Update([self.network], self.recipe, weight=1.0, decaying=[self.network])}

    def update_all(self, rows_B: npt.NDArray[np.int64]) -> float:
        raw_BT = self.network.raw(self.source_NS[rows_B])
        return self.updates["regression"].step(l2_regression(raw_BT, self.target_NT[rows_B]))


class _AllPaths(_Run):
    def __init__(self, data: TrainingData, recipe: R3ANRecipe) -> None:
        torch.manual_seed(data.seed)
        self.generator = Generator(data.source_NS.shape[1])
        self.extractor = Extractor(data.target_NT.shape[1])
        self.discriminator = Discriminator()
        networks = {"generator": self.generator, "extractor": self.extractor, "discriminator": self.discriminator}
        super().__init__(data, recipe, networks)
        self._picture_NHW3 = data.picture_NHW3

    def make_updates(self) -> dict[str, Update]:
        """Of D, G, E, and G and E together, as far as the paths ask for them; a network decays in its last one."""
        paths, made = self.recipe.paths, {}
        both = [self.generator, self.extractor]
        if paths.adversarial:
            made["discrimination"] = Update(
                [self.discriminator], self.recipe, weight=1.0, decaying=[self.discriminator]
            )
        last = [] if paths.regression else both
        if paths.paint:
            weight = paths.adversarial + paths.reconstruction
            made["reconstruction"] = Update([self.generator], self.recipe, weight=weight, decaying=last)
        if paths.representation:
            made["representation"] = Update([self.extractor], self.recipe, weight=paths.representation, decaying=last)
        if paths.regression:
            made["regression"] = Update(both, self.recipe, weight=paths.regression, decaying=both)
        return made

    def update_all(self, rows_B: npt.NDArray[np.int64]) -> float:
        """Lines 5 to 12 of Algorithm 1, those that are of the paths asked for."""
        paths = self.recipe.paths
        source_BS, target_BT = self.source_NS[rows_B], self.target_NT[rows_B]
        found = [0.0]
        if paths.need_pictures:
            picture_BCHW = self._pictures(rows_B)
            if paths.paint:
                found.append(self._reconstruct(source_BS, picture_BCHW, paths))
            if paths.representation:
                loss = paths.representation * l2_regression(self.extractor(picture_BCHW), target_BT)
                found.append(self.updates["representation"].step(loss))
        if paths.regression:
            loss = paths.regression * l2_regression(self.extractor(self.generator(source_BS)), target_BT)
            found.append(self.updates["regression"].step(loss))
        # Of several the last; one that is no number counts wherever it is.
        return found[-1] if all(math.isfinite(value) for value in found) else math.nan

    def _reconstruct(self, source_BS: Tensor, picture_BCHW: Tensor, paths: Paths) -> float:
        generated_BCHW = self.generator(source_BS)
        values = []
        loss = torch.zeros((), device=self.device)
        if paths.adversarial:
            real_B, made_B = self.discriminator(picture_BCHW), self.discriminator(generated_BCHW.detach())
            values.append(self.updates["discrimination"].step(discriminator_loss(real_B.float(), made_B.float())))
            loss = loss + paths.adversarial * generator_loss(self.discriminator(generated_BCHW).float())
        if paths.reconstruction:
            loss = loss + paths.reconstruction * l2_reconstruction(generated_BCHW.float(), picture_BCHW)
        values.append(self.updates["reconstruction"].step(loss))
        return values[-1] if all(math.isfinite(value) for value in values) else math.nan

    def _pictures(self, rows_B: npt.NDArray[np.int64]) -> Tensor:
        assert self._picture_NHW3 is not None
        raw = torch.from_numpy(self._picture_NHW3[rows_B]).to(self.device)
        scaled = (raw.permute(0, 3, 1, 2).float() / 127.5 - 1.0) * PICTURE_RANGE
        return scaled.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _settle(translator: R3ANTranslator, source_NS: Tensor, batch: int) -> None:
    """Take the means and variances of batch normalisation from the training features alone.

    In training the extractor sees real pictures, and with a regression generated ones in turn, so that its running
    statistics are of neither; what is exported sees generated pictures only. Features are to come in a random order:
    batches of one person vary less. Deviation from R3AN (CVPR 2019), which does not say.
    """
    norms = [layer for layer in translator.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # The plain mean over batches.
    translator.train()
    for start in range(0, len(source_NS) - batch + 1, batch):
        translator(source_NS[start : start + batch])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    translator.eval()


def _train(run: _Run, data: TrainingData) -> None:
    """All epochs that are left, with a checkpoint after each."""
    checkpoint, on_step = data.workplace.checkpoint, data.workplace.on_step
    done = load_checkpoint(checkpoint, run.state) if checkpoint else 0
    losses: list[float] = []
    for epoch in range(done, run.num_epochs):
        order = torch.randperm(len(data.source_NS), generator=run.state.random).numpy()
        for place in range(run.steps_an_epoch):
            step = epoch * run.steps_an_epoch + place
            # In the order of the file: a memory map is read fastest so.
            rows_B = np.sort(order[place * run.batch : (place + 1) * run.batch])
            loss = _fitting(run, rows_B, step)
            losses = [*losses[-_AVERAGED:], loss]
            if not float(np.mean(losses)) <= _MOST:
                raise _diverged(run, epoch, step, "its loss", checkpoint is not None)
            on_step(Report(step + 1, run.num_steps, float(np.mean(losses))))
        if not run.state.is_finite:
            raise _diverged(run, epoch, run.steps_an_epoch * (epoch + 1) - 1, "a weight", checkpoint is not None)
        if checkpoint:
            save_checkpoint(checkpoint, run.state)


def _diverged(run: _Run, epoch: int, step: int, what: str, is_kept: bool) -> TrainingError:
    again = "go on from the checkpoint of finished epoch {}" if is_kept and epoch else "start again"
    return TrainingError(
        f"the training diverged: {what} is far too large, or no number, after {step + 1} steps; {again.format(epoch)} with "
        f"{_gentler(run.recipe.learning_rate)}, or start anew and bring more pairs for the paths that learn from pictures"
    )


def _gentler(learning_rate: float) -> str:
    return f"fit --learning-rate {learning_rate / 4:g}"


@torch.no_grad()
def _check_alive(translator: R3ANTranslator | FullyConnected, run: _Run) -> None:
    """Raises `TrainingError` where what was trained does not answer with features any more."""
    translator.eval()
    length_B = torch.linalg.vector_norm(translator(run.source_NS[: run.batch]), dim=-1)
    if not bool(((length_B - 1).abs() < 0.01).all()):
        raise TrainingError(
            f"the training diverged: its answers are no features; start again with {_gentler(run.recipe.learning_rate)}"
        )


def _fitting(run: _Run, rows_B: npt.NDArray[np.int64], step: int) -> float:
    """One step. Where the device's memory does not hold the batch, raises `TrainingError` naming one that fits."""
    try:
        return run.step(rows_B, step)
    except (RuntimeError, MemoryError) as failure:
        if not _is_out_of_memory(failure):
            raise
    fits = _largest_that_fits(lambda size: run.step(rows_B[:size], step), len(rows_B))
    hint = f"fit --batch {fits} does" if fits else "free some of it, or use --device cpu"
    raise TrainingError(f"a batch of {len(rows_B)} does not fit into the memory of the {run.device}; {hint}")


def _largest_that_fits(attempt: Callable[[int], object], size: int) -> int:
    """The first of a half, a quarter, ... of `size` that `attempt` can take; 0 where none does."""
    while size > 3:
        size //= 2
        try:
            torch.cuda.empty_cache()
            attempt(size)
        except (RuntimeError, MemoryError) as failure:
            if not _is_out_of_memory(failure):
                raise
            continue
        return size
    return 0


def _is_out_of_memory(failure: RuntimeError | MemoryError) -> bool:
    """Of a GPU, or of a CPU, for which torch has no class of its own."""
    return isinstance(failure, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(failure)
