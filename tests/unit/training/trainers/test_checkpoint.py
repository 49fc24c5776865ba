"""Going on after an interruption, and never from something else than was left."""

import errno
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.errors import TrainingError
from training.trainers.checkpoint import State, load_checkpoint, save_checkpoint

PATH = "checkpoint.npz"


def fresh(plan: str = "plan", *, seed: int = 0, width: int = 4) -> State:
    """A network with running statistics, momentum, and groups of different decay, none of it moved yet."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    return State(plan, {"network": network}, {"all": optimiser}, torch.Generator().manual_seed(seed), 0.1)


def train(state: State, steps: int) -> None:
    for _ in range(steps):
        rows = torch.randn(8, 3, generator=state.random)
        state.optimisers["all"].zero_grad()
        (state.networks["network"](rows) - 1).square().mean().backward()
        state.optimisers["all"].step()


def values(state: State) -> dict[str, bytes]:
    found = {key: tensor.numpy().tobytes() for key, tensor in state.networks["network"].state_dict().items()}
    momenta = state.optimisers["all"].state_dict()["state"]
    found |= {f"momentum {key}": entry["momentum_buffer"].numpy().tobytes() for key, entry in momenta.items()}
    return found | {"random": state.random.get_state().numpy().tobytes()}


@pytest.fixture
def saved(tmp_path: Path) -> State:
    """A state after five steps, as it was written to `checkpoint.npz`."""
    state = fresh()
    train(state, 5)
    state.rates[:] = [0.1, 0.1]
    save_checkpoint(tmp_path / PATH, state)
    return state


def test_what_was_saved_comes_back_to_the_bit(saved: State, tmp_path: Path) -> None:
    state = fresh(seed=7)
    assert load_checkpoint(tmp_path / PATH, state) == 3
    assert values(state) == values(saved)


def test_after_loading_training_goes_on_to_the_same_bits(saved: State, tmp_path: Path) -> None:
    state = fresh(seed=7)
    load_checkpoint(tmp_path / PATH, state)
    train(state, 5)
    train(saved, 5)
    assert values(state) == values(saved)


def test_an_epoch_without_steps_is_one_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / PATH, fresh())
    state = fresh(seed=7)
    assert load_checkpoint(tmp_path / PATH, state) == 1
    expected = fresh()
    train(state, 2)
    train(expected, 2)
    assert values(state) == values(expected)


def test_the_settings_of_the_caller_hold_and_not_those_of_the_file(saved: State, tmp_path: Path) -> None:
    state = fresh()
    state.optimisers["all"].param_groups[0]["lr"] = 0.025
    load_checkpoint(tmp_path / PATH, state)
    assert [group["lr"] for group in state.optimisers["all"].param_groups] == [0.025, 0.1]
    assert [group["weight_decay"] for group in state.optimisers["all"].param_groups] == [0.1, 0.0]


def test_without_a_file_nothing_was_finished(tmp_path: Path) -> None:
    state = fresh()
    assert load_checkpoint(tmp_path / PATH, state) == 0
    assert values(state) == values(fresh())


@pytest.mark.usefixtures("saved")
def test_a_checkpoint_of_another_plan_is_neither_taken_up_nor_lost(tmp_path: Path) -> None:
    state, kept = fresh("another plan"), (tmp_path / PATH).read_bytes()
    with pytest.raises(TrainingError, match=r"checkpoint\.npz: was left by a training with other options"):
        load_checkpoint(tmp_path / PATH, state)
    assert values(state) == values(fresh())
    assert (tmp_path / PATH).read_bytes() == kept


@pytest.mark.usefixtures("saved")
def test_a_checkpoint_knows_the_learning_rate_of_every_epoch(tmp_path: Path) -> None:
    state = replace(fresh(), learning_rate=0.01)
    load_checkpoint(tmp_path / PATH, state)
    assert state.all_rates == {}
    save_checkpoint(tmp_path / PATH, state)
    again = fresh()
    assert load_checkpoint(tmp_path / PATH, again) == 4
    assert again.all_rates == {"learning_rates": [0.1, 0.1, 0.1, 0.01]}


@pytest.mark.parametrize("part", ["1.running_var", "0.weight"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_state_with_an_infinite_number_is_not_finite(part: str, value: float) -> None:
    state = fresh()
    assert state.is_finite
    state.networks["network"].state_dict()[part].view(-1)[0] = value
    assert not state.is_finite


# numpy leaves a file that is no archive to the garbage collector to close; here it does so before the test ends.
@pytest.mark.parametrize("kind", ["empty", "words", "cut", "a pickle", "a folder", "another archive", "a flipped bit"])
def test_a_damaged_checkpoint_counts_as_none(saved: State, tmp_path: Path, kind: str) -> None:
    path = tmp_path / PATH
    whole = path.read_bytes()
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "another archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("letter.txt", "words")
    else:
        middle = whole.index(values(saved)["0.weight"])
        damaged = {
            "empty": b"",
            "words": b"words",
            "cut": whole[: len(whole) // 2],
            "a pickle": b"\x80\x04K\x01.",
            "a flipped bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        }
        path.write_bytes(damaged[kind])
    state = fresh()
    assert load_checkpoint(path, state) == 0
    assert values(state) == values(fresh())


@pytest.mark.usefixtures("saved")
def test_a_network_of_other_shapes_under_the_same_plan_counts_as_none(tmp_path: Path) -> None:
    state = fresh(width=5)
    assert load_checkpoint(tmp_path / PATH, state) == 0
    assert values(state) == values(fresh(width=5))


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("lost", ["rates", "random", "network/0.weight"])
def test_a_checkpoint_without_all_its_parts_counts_as_none(tmp_path: Path, lost: str) -> None:
    with np.load(tmp_path / PATH, allow_pickle=False) as stored:
        kept = {name: array for name, array in stored.items() if name != lost}
    np.savez(tmp_path / PATH, allow_pickle=False, **kept)
    assert load_checkpoint(tmp_path / PATH, fresh()) == 0


@pytest.mark.usefixtures("saved")
def test_a_checkpoint_holds_plain_arrays_and_no_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / PATH) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".npy"}
    with np.load(tmp_path / PATH, allow_pickle=False) as arrays:
        assert "O" not in {array.dtype.kind for array in arrays.values()}


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    saved: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (tmp_path / PATH).read_bytes()

    def half(stream: object, **_: object) -> None:
        stream.write(b"PK")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(TrainingError, match=r"checkpoint.npz: cannot be written \(No space left on device\)"):
        save_checkpoint(tmp_path / PATH, saved)
    assert [path.name for path in tmp_path.iterdir()] == [PATH]
    assert (tmp_path / PATH).read_bytes() == before
    assert load_checkpoint(tmp_path / PATH, fresh()) == 3


def test_a_checkpoint_of_other_optimisers_counts_as_none(saved: State, tmp_path: Path) -> None:
    with np.load(tmp_path / PATH) as kept:
        arrays = {name: kept[name] for name in kept.files}
    assert any(name.startswith("optimiser/all/") for name in arrays)
    for change in (("optimiser/all/", "optimiser/"), ("optimiser/all/", "optimiser/other/")):
        np.savez(tmp_path / PATH, **{name.replace(*change): array for name, array in arrays.items()})
        assert load_checkpoint(tmp_path / PATH, fresh()) == 0
