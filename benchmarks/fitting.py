"""How long a linear fit of 10,000 pairs takes: the solver alone, and the whole command with reading and writing."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from training.data.feature_set_files import save_feature_set
from training.trainers.fitted import TrainingData
from training.trainers.linear import fit_low_rank, fit_procrustes, fit_ridge

PAIRS = 10_000
ROUNDS = 3
SOURCE, TARGET = "mobilefacenet-128", "edgeface-xxs-512"
SOLVERS = {"procrustes": fit_procrustes, "ridge": fit_ridge, "low-rank": fit_low_rank}


def measure(faces: Faces) -> str:
    """Medians of wall seconds."""
    rows_taken = np.arange(PAIRS)
    source, target = faces.features(SOURCE).take(rows_taken), faces.features(TARGET).take(rows_taken)
    data = TrainingData(source.feature, target.feature, source.feature[:1000], target.feature[:1000], seed=0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "source.npz", Path(folder) / "target.npz"]
        save_feature_set(source, paths[0])
        save_feature_set(target, paths[1])
        for method, solve in SOLVERS.items():
            solver, command = [], []
            for round_number in range(ROUNDS):
                started = time.perf_counter()
                solve(data)
                solver.append(time.perf_counter() - started)
                started = time.perf_counter()
                _command(method, paths, Path(folder) / f"{method}-{round_number}")
                command.append(time.perf_counter() - started)
            rows.append([method, f"{median(solver):.2f}", f"**{median(command):.2f}**"])
    text = (
        f"{PAIRS:,} pairs, {SOURCE} to {TARGET}, median wall seconds of {ROUNDS}; the solver has all pairs and its "
        "choice of hyperparameters; the command also starts Python, reads, joins, splits, evaluates, exports and writes."
    )
    return f"{text}\n\n{table(['method', 'solver, s', '`facebridge-train fit`, s'], rows)}"


def _command(method: str, paths: list[Path], out: Path) -> None:
    arguments = ["fit", "--source", str(paths[0]), "--target", str(paths[1]), "--method", method, "--out", str(out)]
    subprocess.run([sys.executable, "-m", "training", *arguments], check=True, capture_output=True)
