"""How an encoder is trained, and what its training reports; free of torch, so that a command line can name it."""

from dataclasses import dataclass
from typing import Literal

from training.trainers.geometry_recipe import GeometryRecipe
from training.trainers.schedule import Schedule


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """A backbone and how it is trained."""

    backbone: str
    width: float
    dimension: int
    epochs: int
    """Of all pictures; not counted where `iterations` says how many batches there are."""
    batch: int
    learning_rate: float
    schedule: Schedule
    """To zero along a half cosine, or to a tenth at each of `milestones`."""
    margin: float
    scale: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    iterations: int = 0
    milestones: tuple[float, ...] = (0.5, 0.7, 0.8)
    """Shares of the training. Source: R3AN (CVPR 2019), Sec. 5.1."""
    optimiser: Literal["sgd", "rmsprop"] = "sgd"
    centre: float = 0.0
    """How much the distance of features from the centre of their class counts beside ArcFace."""
    centre_rate: float = 0.5
    geometry: GeometryRecipe | None = None
    """How labels shape the features, and whether triplets take the place of ArcFace."""
    side: int = 112
    """Pixels that the aligned crop is resized to, in both directions."""

    def num_epochs(self, steps_an_epoch: int) -> int:
        """Whole epochs, at least as many iterations as asked for.

        >>> EncoderRecipe("resnet-50", 1.0, 256, 0, 512, 0.1, "steps", 0.5, 64.0, iterations=200_000).num_epochs(3000)
        67
        """
        return -(-self.iterations // steps_an_epoch) if self.iterations else self.epochs


@dataclass(frozen=True, slots=True)
class Report:
    """What a caller hears after every step."""

    step: int
    num_steps: int
    """Of the whole training; steps of an interrupted call count."""
    loss: float
    """Mean over the last steps."""
