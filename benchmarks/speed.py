"""How many faces a second R3AN and its student translate, against extracting again with a ResNet-101, in one run."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from models.adapters import ResidualMLP
from models.backbones import BACKBONES
from models.r3an import Extractor, Generator, R3ANTranslator
from models.runtime import Session
from training.export.torch_graph import encoder_torch_graph, torch_graph
from training.trainers.encoder import TorchEncoder
from training.trainers.torch_translator import TorchTranslator

SOURCE, TARGET, SIDE = 128, 512, 224
ROUNDS = 5
SECONDS = 2.0
"""At least so long for each batch size in each round."""
BATCHES = {
    "cpu": {"resnet-101": (1, 4, 16), "r3an": (16, 64, 256), "r3an-student": (64, 256, 1024)},
    "cuda": {"resnet-101": (16, 64, 256), "r3an": (256, 1024, 4096), "r3an-student": (4096, 16384, 65536)},
}
WANTED = {"r3an": 25, "r3an-student": 5000}


def measure(faces: Faces) -> str:
    """On the CPU. Raises `InferenceError` as `Session` does."""
    del faces
    return _measure("cpu")


def measure_on_cuda(faces: Faces) -> str:
    """On a GPU, features and pictures in the machine's memory before and after. Raises `DeviceError` without one."""
    del faces
    return _measure("cuda")


def _measure(device: Literal["cpu", "cuda"]) -> str:
    """Each at the batch size that suits it best; rounds go round all of them, so that a busy minute hits all alike."""
    batches = BATCHES[device]
    runs: dict[str, Callable[[int], object]] = {}
    for name, graph in _graphs().items():
        shape = (3, SIDE, SIDE) if name == "resnet-101" else (SOURCE,)
        runs[name] = _runner(Session(graph, device=device), batches[name], shape)
    rates: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in batches[name]} for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            for batch in batches[name]:
                rates[name][batch].append(_rate(run, batch))
    best = {name: max(by_batch, key=lambda batch: median(by_batch[batch])) for name, by_batch in rates.items()}
    reference = rates["resnet-101"][best["resnet-101"]]
    rows = []
    for name, batch in best.items():
        ratios = [rate / other for rate, other in zip(rates[name][batch], reference, strict=True)]
        wanted = f"{WANTED[name]:,}" if name in WANTED else ""
        rate = f"{median(rates[name][batch]):,.1f}"
        rows.append([name, str(batch), rate, f"**{median(ratios):,.1f}**", f"{min(ratios):,.1f}", wanted])
    header = ["model", "batch", "faces a second", "times ResNet-101, median", "least", "wanted"]
    copies = "; copies to the GPU and back count" if device == "cuda" else ""
    return (
        f"ONNX Runtime on {device}{copies}, features of {SOURCE} numbers into a space of {TARGET}; ResNet-101 takes pictures of "
        f"{SIDE} x {SIDE}, prepared beforehand. Medians of {ROUNDS} rounds, each model at the best of its batch sizes, ratios "
        "within a round; weights do not matter for speed and are random.\n\n" + table(header, rows)
    )


def _graphs() -> dict[str, bytes]:
    r3an = R3ANTranslator(Generator(SOURCE), Extractor(TARGET))
    return {
        "resnet-101": encoder_torch_graph(TorchEncoder(BACKBONES["resnet-101"](1.0, TARGET, SIDE)), (SIDE, SIDE)),
        "r3an": torch_graph(TorchTranslator(r3an), SOURCE),
        "r3an-student": torch_graph(TorchTranslator(ResidualMLP(SOURCE, TARGET)), SOURCE),
    }


def _runner(session: Session, batches: Sequence[int], shape: tuple[int, ...]) -> Callable[[int], object]:
    random = np.random.default_rng(0)
    given = {batch: random.normal(size=(batch, *shape)).astype(np.float32) for batch in batches}
    return lambda batch: session.run(given[batch])


def _rate(run: Callable[[int], object], batch: int) -> float:
    run(batch)
    started, num_rows = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        run(batch)
        num_rows += batch
    return num_rows / (time.perf_counter() - started)
