"""How one network is trained for three tasks; free of torch, so that a command line can name it."""

from dataclasses import dataclass
from typing import Literal

from training.trainers.rule import Rule

TASKS = ("verification", "weak", "photo")
"""What both modalities have in common, who is on a weak picture, who is on a photo."""
Weighting = Literal["dynamic", "naive", "static", "uncertainty", "gradnorm"]
"""How the weights of tasks come about: by their own loss, by the total loss, by what is given, or as the rivals named so."""


@dataclass(frozen=True, slots=True)
class MultiTaskRecipe:
    """Network, losses, weights and optimisation."""

    weighting: Weighting
    given: tuple[float, float, float]
    """Weights of TASKS where these are static; a task of which it is zero is left out, however weights come about."""
    num_branch: int
    """Of the encoder's last layers that each task has for itself."""
    num_layers: int | None
    """Of what is shared that are trained, the last ones; None for all."""
    encoder: Rule
    head: Rule
    """Of the classifiers."""
    weights: Rule
    """Of what makes the weights of tasks."""
    scale: float
    """Of the cosines with class centres, before the softmax."""
    centre: float
    """beta: how much the distance from one's centre counts in verification."""
    centre_rate: float
    epochs: int
    """Of all pictures of the weak modality."""
    num_people: int
    """In a batch."""
    num_pictures: int
    """Of each of them and of each modality in a batch."""
    contrast: float = 0.0
    """How much a photo is to be nearer to weak pictures of the same person than to the others in the batch, and than any two
    pictures of two people are to each other.

    Deviation: the paper has none.
    """
    num_caricatures: int = 0
    """That are made of photos for each step, beside the weak pictures, where these are caricatures."""
    dropout: float = 0.0
    """Of what comes to the last layer of each branch."""
    power: float = 1.5
    """alpha of GradNorm."""
    milestones: tuple[float, ...] = ()
    """Shares of the training after which rates are a tenth; none for a half cosine."""
    is_mirrored: bool = False
    """Whether networks that are exported look at each picture and its mirror image, which takes twice as long."""
