"""How a learning rate goes on through a training."""

import math
from typing import Literal

Schedule = Literal["cosine", "steps"]
"""To zero along a half cosine, or to a tenth at each milestone."""

WARM_UP = 0.05


def rate(done: float, schedule: Schedule, milestones: tuple[float, ...]) -> float:
    """The share of the learning rate after a share `done` of the training, a linear warm-up first.

    >>> rate(0.6, "steps", (0.5, 0.7, 0.8)), rate(1.0, "cosine", ())
    (0.1, 0.0)
    """
    if done < WARM_UP:
        return (done + 1e-3) / WARM_UP
    if schedule == "steps":
        return float(10.0 ** -sum(done >= milestone for milestone in milestones))
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
