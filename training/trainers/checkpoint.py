"""Checkpoints without pickles: everything that a training run needs to go on to the same numbers, as one `.npz`."""

import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.npy import read_npy
from training.errors import TrainingError

_ZIP_FAULTS = (zipfile.BadZipFile, zlib.error)
_PLAN, _RATES, _RANDOM, _OPTIMISER = "plan", "rates", "random", "optimiser"


@dataclass(frozen=True, slots=True)
class State:
    """What a training changes as it goes; `plan` names the work: recipe, data and seed."""

    plan: str
    networks: Mapping[str, nn.Module]
    optimisers: Mapping[str, Optimizer]
    random: torch.Generator
    learning_rate: float
    """Where the plan leaves it out, a training that diverged goes on from its checkpoint with a lower one."""
    rates: list[float] = field(default_factory=list)
    """The learning rate of each finished epoch."""

    @property
    def is_finite(self) -> bool:
        """Whether every weight and statistic is a number."""
        tensors = [tensor for network in self.networks.values() for tensor in network.state_dict().values()]
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    @property
    def all_rates(self) -> dict[str, list[float]]:
        """The learning rate of each epoch, where they were not all the same; for whoever asks how it was trained."""
        return {"learning_rates": self.rates} if len(set(self.rates)) > 1 else {}


def save_checkpoint(path: Path, state: State) -> None:
    """After one more epoch, write what `load_checkpoint` reads, whole or not at all.

    Raises `TrainingError` where there is no room for it.
    """
    state.rates.append(state.learning_rate)
    arrays = {_PLAN: np.array(state.plan), _RATES: np.array(state.rates), _RANDOM: state.random.get_state().numpy()}
    for name, network in state.networks.items():
        for key, tensor in network.state_dict().items():
            arrays[f"{name}/{key}"] = tensor.cpu().numpy()
    for name, optimiser in state.optimisers.items():
        for number, values in optimiser.state_dict()["state"].items():
            for key, value in values.items():
                if value is not None:
                    array = value.cpu().numpy() if isinstance(value, Tensor) else np.array(value)
                    arrays[f"{_OPTIMISER}/{name}/{number}/{key}"] = array
    draft = path.with_suffix(".draft")
    try:
        with draft.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        os.replace(draft, path)  # noqa: PTH105  (the name says atomic)
    except OSError as failure:
        with suppress(OSError):
            draft.unlink()
        raise TrainingError(f"{path}: cannot be written ({failure.strerror or failure})") from None


def load_checkpoint(path: Path, state: State) -> int:
    """Put networks, optimiser and random numbers where they were; the number of finished epochs, 0 without a checkpoint.

    A damaged one counts as none. Raises `TrainingError` where it is of other work: hours of it may lie there.
    """
    arrays = _read(path)
    if arrays.get(_PLAN, np.array(state.plan)) != np.array(state.plan):
        raise TrainingError(
            f"{path}: was left by a training with other options, other data or another version of this program; repeat "
            "that one to go on, or delete the file to begin anew"
        )
    if _PLAN not in arrays or not _is_complete(arrays, state):
        return 0
    optimiser_state: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in state.optimisers}
    for key, array in arrays.items():
        if key.startswith(f"{_OPTIMISER}/"):
            _, name, number, value = key.split("/")
            optimiser_state[name].setdefault(int(number), {})[value] = torch.from_numpy(array)
    for name, network in state.networks.items():
        prefix = f"{name}/"
        states = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in arrays.items() if k.startswith(prefix)}
        network.load_state_dict(states)
    for name, optimiser in state.optimisers.items():
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": optimiser_state[name], "param_groups": groups})
    state.random.set_state(torch.from_numpy(arrays[_RANDOM]))
    state.rates[:] = arrays[_RATES].tolist()
    return len(state.rates)


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a checkpoint; none where there is none, or it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): read_npy(archive.read(name)).copy() for name in names}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, *_ZIP_FAULTS):
        return {}


def _is_complete(arrays: Mapping[str, npt.NDArray[Any]], state: State) -> bool:
    """Whether every tensor of the networks is there in its shape, with the finished epochs and the random numbers, and
    nothing of other optimisers.
    """
    expected = {
        f"{name}/{key}": tuple(t.shape) for name, n in state.networks.items() for key, t in n.state_dict().items()
    }
    if not expected.keys() | {_RATES, _RANDOM} <= arrays.keys():
        return False
    of_optimisers = [key.split("/") for key in arrays if key.startswith(f"{_OPTIMISER}/")]
    if any(len(words) != 4 or words[1] not in state.optimisers for words in of_optimisers):
        return False
    return all(arrays[key].shape == shape for key, shape in expected.items())
