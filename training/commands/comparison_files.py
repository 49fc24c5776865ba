"""What a comparison leaves in its folder: figures as JSON, and a picture of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.commands.terminal import out
from training.errors import TrainingError

FIGURES, PLOT = "comparison.json", "comparison.png"


def write_comparison(folder: Path, figures: dict[str, Any], draw: Callable[[Path], None]) -> None:
    """Make the folder, write both, and say where they are. Raises `TrainingError`."""
    try:
        folder.mkdir(parents=True)
        (folder / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as failure:
        raise TrainingError(f"{folder}: cannot be written ({failure.strerror})") from None
    draw(folder / PLOT)
    out().print(f"{folder / FIGURES}, {folder / PLOT}", soft_wrap=True)
