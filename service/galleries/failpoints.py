"""Places at which a test may end the process, or have it fail: what would be lost there is found by going there.

Nothing happens at any of them unless FACEBRIDGE_FAILPOINT names it when the process starts, as `name`, or `name:n` for the n-th
time that it is reached. Then the process ends there at once, as by a power cut that the disk survives.
"""

import os
import signal
from itertools import count

VARIABLE = "FACEBRIDGE_FAILPOINT"
NAMES = (
    "writer-before-commit",
    "writer-after-commit",
    "writer-after-searchable",
    "checkpoint-before",
    "checkpoint-after",
    "erase-after-commit",
    "erase-in-snapshot",
    "erase-before-log",
    "erase-in-pages",
    "erase-after",
    "snapshot-before-name",
    "snapshot-in-removal",
    "restore-before-commit",
    "restore-after-commit",
    "projection-after-segment",
    "projection-before-manifest",
    "projection-after-manifest",
    "begin-after-commit",
    "fill-before-commit",
    "fill-after-commit",
    "activate-before-commit",
    "activate-after-commit",
    "cutover-before-job",
    "cancel-before-drop",
    "drop-generation",
    "migration-in-verdict",
)
"""All that there are; those of migrations come last."""
OF_MIGRATIONS = NAMES[NAMES.index("begin-after-commit") :]

_armed, _, _wanted = os.environ.get(VARIABLE, "").partition(":")
_times = count(1)


def reached(name: str) -> None:
    """Go on, or end."""
    if name == _armed and next(_times) >= int(_wanted or 1):
        os.kill(os.getpid(), signal.SIGKILL)
