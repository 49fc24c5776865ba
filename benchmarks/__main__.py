"""Run benchmarks and write their sections of docs/benchmarks.md.

python -m benchmarks                       all of them
python -m benchmarks --only extraction     one or some; the other sections stay as they are
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import (
    ablation,
    access_cost,
    caricatures,
    confidence,
    contrast,
    coupling,
    demo,
    density,
    enrolment,
    extraction,
    fitting,
    galleries,
    geometry,
    identification,
    labels,
    loss_cost,
    migration,
    migration_quality,
    privacy,
    procedural_sketches,
    r3an_tables,
    routes,
    sketches,
    speed,
    startup,
    synthesis,
    thresholds,
    translation,
    vector_stores,
    wrong_space,
)
from benchmarks.document import machine, write_section
from benchmarks.faces import Faces
from models.runtime import choose_device

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BENCHMARKS: dict[str, Callable[[Faces], str]] = {
    "translation": translation.measure,
    "routes": routes.measure,
    "ablation": ablation.measure,
    "contrast": contrast.measure,
    "thresholds": thresholds.measure,
    "confidence": confidence.measure,
    "wrong-space": wrong_space.measure,
    "r3an": r3an_tables.measure,
    "privacy": privacy.measure,
    "extraction": extraction.measure,
    "fitting": fitting.measure,
    "speed": speed.measure,
    "speed-cuda": speed.measure_on_cuda,
    "startup": startup.measure,
    "identification": identification.measure,
    "galleries": galleries.measure,
    "density": density.measure,
    "enrolment": enrolment.measure,
    "access-cost": access_cost.measure,
    "migration": migration.measure,
    "migration-quality": migration_quality.measure,
    "vector-stores": vector_stores.measure,
    "sketches": sketches.measure,
    "procedural-sketches": procedural_sketches.measure,
    "caricatures": caricatures.measure,
    "procedural-caricatures": caricatures.measure_procedural,
    "coupling": coupling.measure,
    "labels": labels.measure,
    "geometry": geometry.measure,
    "loss-cost": loss_cost.measure,
    "synthesis": synthesis.measure,
    "demo": demo.measure,
}
ON_CUDA = ("speed-cuda",)
"""Those that are left as they are where there is no GPU."""
BESIDE_OTHERS = ("vector-stores",)
"""Those that are left as they are where the extra `bench` is not installed."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS))
    options = parser.parse_args()
    console = Console(stderr=True)
    possible = []
    for name in options.only or BENCHMARKS:
        lacking = _lacking(name)
        if lacking and options.only:
            parser.error(f"{name} needs {lacking}")
        if lacking:
            console.print(f"leaving {name} as it is: it needs {lacking}", markup=False)
        else:
            possible.append(name)
    faces = Faces.find()
    for name in possible:
        console.print(f"measuring {name}")
        text = BENCHMARKS[name](faces)
        note = f"`python -m benchmarks --only {name}`, {machine('cuda' if name in ON_CUDA else 'cpu')}"
        write_section(DOCUMENT, name, f"{text}\n\n{note}")


def _lacking(name: str) -> str:
    """What a benchmark needs and this machine has not; nothing where it can be run."""
    if name in ON_CUDA and not _has_cuda():
        return "a GPU, and torch and ONNX Runtime that both find it"
    if name in BESIDE_OTHERS and not vector_stores.has_others():
        return "other stores of vectors: pip install -e '.[bench]'"
    return ""


def _has_cuda() -> bool:
    """Whether torch finds a GPU, and ONNX Runtime was built for one."""
    return torch.cuda.is_available() and choose_device("auto") == "cuda"


if __name__ == "__main__":
    main()
