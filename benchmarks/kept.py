"""Figures of trainings that take minutes: each kept in the project as one file, and measured again where the plan is another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.document import machine
from models.documents import canonical_json
from training.trainers.encoder import has_bfloat16

Measured = dict[str, Any]
"""Figures as JSON; of what is kept also the `plan` that they came of, and where and when they were `measured`."""


def kept_or_measured(path: Path, plan: Measured, device: str, measure: Callable[[], Measured]) -> Measured:
    """What the file says, where it came of this plan, else what is measured now, which is written to the file."""
    if path.is_file():
        kept: Measured = json.loads(path.read_text(encoding="utf-8"))
        if canonical_json(kept["plan"]) == canonical_json(plan):
            return kept
    found = measure()
    arithmetic = "bfloat16" if has_bfloat16(device) else "float32"
    kept = {"plan": plan, "measured": f"{machine(device).rstrip('.')}, {arithmetic}", **found}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return kept
