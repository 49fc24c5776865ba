"""Checkpoints without pickles: everything that a training run needs to go on to the same numbers, as one `.npz`."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.errors import TrainingError

_PLAN, _EPOCH, _RANDOM = "plan", "epoch", "random"


@dataclass(frozen=True, slots=True)
class State:
    """What a training changes as it goes; `plan` names the work: recipe, data and seed."""

    plan: str
    networks: Mapping[str, nn.Module]
    optimiser: Optimizer
    random: torch.Generator


def save_checkpoint(path: Path, state: State, epoch: int) -> None:
    """Write what `load_checkpoint` reads, whole or not at all."""
    arrays = {_PLAN: np.array(state.plan), _EPOCH: np.array(epoch), _RANDOM: state.random.get_state().numpy()}
    for name, network in state.networks.items():
        for key, tensor in network.state_dict().items():
            arrays[f"{name}/{key}"] = tensor.cpu().numpy()
    for number, values in state.optimiser.state_dict()["state"].items():
        for key, value in values.items():
            if value is not None:
                arrays[f"optimiser/{number}/{key}"] = (
                    value.cpu().numpy() if isinstance(value, Tensor) else np.array(value)
                )
    draft = path.with_suffix(".draft")
    with draft.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    os.replace(draft, path)  # noqa: PTH105  (the name says atomic)


def load_checkpoint(path: Path, state: State) -> int:
    """Put networks, optimiser and random numbers where they were; the number of finished epochs, 0 without a checkpoint.

    One of other work, or damaged, counts as none.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return 0
    if _PLAN not in arrays or str(arrays[_PLAN]) != state.plan:
        return 0
    optimiser_state: dict[int, dict[str, Tensor]] = {}
    for key, array in arrays.items():
        kind, _, rest = key.partition("/")
        if kind == "optimiser":
            number, _, name = rest.partition("/")
            optimiser_state.setdefault(int(number), {})[name] = torch.from_numpy(array)
    for name, network in state.networks.items():
        prefix = f"{name}/"
        states = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in arrays.items() if k.startswith(prefix)}
        try:
            network.load_state_dict(states)
        except RuntimeError:
            raise TrainingError(f"{path}: is of another network; delete it to start anew") from None
    groups = state.optimiser.state_dict()["param_groups"]
    state.optimiser.load_state_dict({"state": optimiser_state, "param_groups": groups})
    state.random.set_state(torch.from_numpy(arrays[_RANDOM]))
    return int(arrays[_EPOCH])
