"""Which paths of R3AN are trained, and how; free of torch, so that a command line can name it."""

from dataclasses import dataclass
from typing import Literal

from training.trainers.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Paths:
    """Weights of the losses, Eq. 10; 0 leaves a path out.

    Source: Chen et al., R3AN (CVPR 2019), Table 3: which of the four are trained makes the architecture. The paper does
    not give the weights.
    """

    adversarial: float = 0.0
    reconstruction: float = 0.0
    representation: float = 0.0
    regression: float = 0.0

    @property
    def need_pictures(self) -> bool:
        """Whether the pictures are needed that the features were made from."""
        return bool(self.adversarial or self.reconstruction or self.representation)

    @property
    def paint(self) -> bool:
        """Whether what the generator gives is taught to look like faces."""
        return bool(self.adversarial or self.reconstruction)


@dataclass(frozen=True, slots=True)
class R3ANRecipe:
    """Paths and optimisation."""

    paths: Paths
    optimiser: Literal["sgd", "adam"]
    learning_rate: float
    schedule: Schedule
    """To zero along a half cosine, or to a tenth at 0.3, 0.5 and 0.7 of the iterations, as in R3AN, Sec. 5.2."""
    batch: int
    weight_decay: float
    epochs: int
    """Of all pairs; not counted where `iterations` says how many batches there are."""
    iterations: int = 0
    momentum: float = 0.9

    def num_epochs(self, steps_an_epoch: int) -> int:
        """Whole epochs, at least as many iterations as asked for."""
        return -(-self.iterations // steps_an_epoch) if self.iterations else self.epochs
