"""Run benchmarks and write their sections of docs/benchmarks.md.

python -m benchmarks                       all of them
python -m benchmarks --only extraction     one or some; the other sections stay as they are
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import (
    ablation,
    contrast,
    demo,
    extraction,
    fitting,
    identification,
    privacy,
    routes,
    speed,
    startup,
    synthesis,
    translation,
)
from benchmarks.document import machine, write_section
from benchmarks.faces import Faces

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BENCHMARKS: dict[str, Callable[[Faces], str]] = {
    "translation": translation.measure,
    "routes": routes.measure,
    "ablation": ablation.measure,
    "contrast": contrast.measure,
    "privacy": privacy.measure,
    "extraction": extraction.measure,
    "fitting": fitting.measure,
    "speed": speed.measure,
    "startup": startup.measure,
    "identification": identification.measure,
    "synthesis": synthesis.measure,
    "demo": demo.measure,
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS), default=tuple(BENCHMARKS))
    options = parser.parse_args()
    console = Console(stderr=True)
    faces = Faces.find()
    for name in options.only:
        console.print(f"measuring {name}")
        note = f"`python -m benchmarks --only {name}`, {machine()}"
        write_section(DOCUMENT, name, f"{BENCHMARKS[name](faces)}\n\n{note}")


if __name__ == "__main__":
    main()
