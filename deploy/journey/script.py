"""The journey of README.md as one shell script, so that what it says and what runs cannot differ."""

import re
from pathlib import Path

HEADING = "## The journey"
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def journey_blocks(readme: Path) -> list[tuple[str, str]]:
    """Language and text of every block to run, in order. Raises `ValueError` where there are none."""
    text = readme.read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition(HEADING)[2], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = [(found[1], found[2]) for found in _BLOCK.finditer(section)]
    if not blocks:
        raise ValueError(f"{readme}: has no blocks to run under {HEADING!r}")
    return blocks


def journey_script(readme: Path) -> str:
    """A bash script that prints each block, runs it, stops at the first failure, and ends what it started."""
    parts = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for language, block in journey_blocks(readme):
        prompt = "$" if language == "bash" else ">>>"
        shown = "".join(f"{prompt} {line}\n" for line in block.rstrip().splitlines())
        parts.append(f"cat <<'SHOWN'\n\n{shown}SHOWN")
        parts.append(block if language == "bash" else f"python - <<'PYTHON'\n{block}PYTHON")
    return "\n".join(parts) + "\n"
