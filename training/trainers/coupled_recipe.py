"""How one network learns a class and attributes of a picture; free of torch, so that a command line can name it."""

from dataclasses import dataclass
from typing import Literal

from training.trainers.rule import Rule

Weighting = Literal["static", "mgda-ub"]
"""By what is given, or as lowers both losses at once."""
Match = Literal["printed", "two-sided", "mutual"]


@dataclass(frozen=True, slots=True)
class CoupledRecipe:
    """Losses, what they weigh, and optimisation. Source: Kollias et al. (AAAI 2024), Eq. 1."""

    given: tuple[float, float]
    """Of classes and of attributes; a task of which it is zero is left out."""
    matching: float
    """How much distribution matching counts, of all pictures."""
    annotation: float
    """How much soft co-annotation counts, of pictures of which attributes are known."""
    match: Match
    """`printed`: as Eq. 3; `two-sided`: which also asks that a class lacks what was not found; `mutual`: each the target of the
    other in turn.
    """
    is_label_target: bool
    """Whether co-annotation has labels as its target, and not predictions."""
    weighting: Weighting
    is_taught: bool
    """Whether a network that was trained on what is known first tells the next what is not."""
    num_layers: int | None
    """Of the encoder that are trained, the last ones; None for all."""
    encoder: Rule
    head: Rule
    epochs: int
    """Of all pictures."""
    batch: int

    @property
    def is_coupled(self) -> bool:
        """Whether it needs to be known how classes and attributes hang together."""
        return bool(self.matching or self.annotation)

    def tells(self, num_classes: int, num_attributes: int) -> tuple[bool, bool]:
        """Whether a network tells classes, and attributes: those that are there, and trained."""
        of_classes, of_attributes = (given > 0 or self.is_coupled for given in self.given)
        return num_classes > 0 and of_classes, num_attributes > 0 and of_attributes
