"""How one network of several is optimised; free of torch, so that a command line can name it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rule:
    """An optimiser of one network."""

    kind: Literal["sgd", "rmsprop", "adamw"]
    learning_rate: float
    weight_decay: float = 0.0
