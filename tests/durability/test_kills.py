"""An acknowledged write survives a kill; what was not acknowledged is there wholly or not at all.

A short version of each runs with every change; `make crash` runs many (FACEBRIDGE_CRASHES).
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from service.galleries.failpoints import NAMES, OF_MIGRATIONS
from tests.durability.ledger import State, check, run

CRASHES = int(os.environ.get("FACEBRIDGE_CRASHES", "6"))
CLIENTS = 4


def test_what_was_acknowledged_survives_kills_at_any_time(tmp_path: Path) -> None:
    """One folder through all of them, so that what a kill left is what the next one meets."""
    rng = np.random.default_rng(CRASHES)
    state: State = {}
    num_acknowledged = 0
    for number in range(CRASHES):
        killed = run(tmp_path, number, clients=CLIENTS, operations=10_000, kill_after=float(rng.uniform(0.0, 0.6)))
        assert killed.status == -signal.SIGKILL
        assert killed.failures == []
        num_acknowledged += len(killed.ended)
        state = check(tmp_path, state, killed, CLIENTS)
    assert num_acknowledged > 5 * CRASHES
    sys.stdout.write(f"{CRASHES} kills at any time, {num_acknowledged} operations acknowledged: none lost\n")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_MIGRATIONS])
def test_what_was_acknowledged_survives_a_kill_at_the_worst_places(tmp_path: Path, name: str) -> None:
    times = (2,) if CRASHES < 20 else (1, 2, 3, 5, 8, 13)
    # One client alone may put the whole gallery back.
    clients = 1 if name.startswith("restore") else CLIENTS
    state: State = {}
    for number, nth in enumerate(times):
        killed = run(tmp_path, number, clients=clients, operations=1000, failpoint=f"{name}:{nth}")
        assert killed.failures == []
        assert killed.status == -signal.SIGKILL, f"{name} was not reached {nth} times"
        state = check(tmp_path, state, killed, clients)
    sys.stdout.write(f"{len(times)} kills at {name}: nothing lost\n")


def test_a_process_that_is_let_be_ends_with_all_that_it_acknowledged(tmp_path: Path) -> None:
    ended = run(tmp_path, 1, clients=CLIENTS, operations=40)
    assert (ended.status, ended.is_closed, ended.failures) == (0, True, [])
    assert len(ended.ended) == 40 * CLIENTS
    check(tmp_path, {}, ended, CLIENTS)
