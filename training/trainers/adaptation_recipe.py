"""How encoders are taught to make comparable features of two modalities; free of torch, so that a command line can name it."""

from dataclasses import dataclass
from typing import Literal

from training.trainers.rule import Rule

Objective = Literal["weak", "joint", "dann-u", "dann-s", "sdt", "jan-s", "cross-modal-a", "cross-modal-b"]
"""What is minimised: of weak pictures alone, of both, or of both with what brings them together."""


@dataclass(frozen=True, slots=True)
class AdaptationRecipe:
    """An objective and its optimisation."""

    objective: Objective
    encoder: Rule
    head: Rule
    """Of the classifier, and of one of modalities where there is any."""
    scale: float
    """Of the cosines with class centres, before the softmax."""
    epochs: int
    """Of all weak pictures."""
    batch: int
    """Of each modality."""
    num_layers: int | None = None
    """Of the encoder that are trained, the last ones; None for all."""
    num_drawings: int = 0
    """That are made of photos of anybody for each step, beside the weak pictures of the batch, where these are sketches."""
    is_mirrored: bool = False
    """Whether encoders that are exported look at each picture and its mirror image, which takes twice as long."""
    num_shared: int = 0
    """Of the encoder's last layers that both modalities share, where each has others of its own; 0 where they share all."""
    weight: float = 1.0
    """Of what brings the modalities together, beside classification."""
    soft_weight: float = 0.0
    """Of soft labels."""
    temperature: float = 2.0
    """Of soft labels."""

    @property
    def sees_strong(self) -> bool:
        """Whether strong pictures are encoded in training."""
        return self.objective not in ("weak", "cross-modal-a")
