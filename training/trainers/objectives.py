"""What each method of adaptation minimises, from the features of a batch.

Shapes: B batch, D feature dimension, C classes, M strong features of the training set.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.losses.arcface import ArcFace
from training.losses.domain_adversarial import domain_loss, reversal_strength, reversed_gradient
from training.losses.domain_confusion import confusion_loss, soft_label_loss, soft_labels
from training.losses.joint_mmd import joint_mmd
from training.losses.modality_statistics import feature_statistics, statistical_loss
from training.trainers.adaptation_recipe import AdaptationRecipe

_NUM_HIDDEN = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Unit features of both modalities, and who they are of; no strong ones where the recipe does not look at them."""

    weak_BD: Tensor
    weak_class_B: Tensor
    strong_BD: Tensor
    strong_class_B: Tensor
    done: float
    """The share of the training that is past."""


class Objectives(nn.Module):
    """The classifier, what a method has beside it, and the loss of a batch."""

    def __init__(self, recipe: AdaptationRecipe, strong_MD: Tensor, class_M: Tensor, num_classes: int) -> None:
        super().__init__()
        self._recipe = recipe
        dimension = strong_MD.shape[1]
        self.head = ArcFace(num_classes, dimension, scale=recipe.scale)
        self.head.start_from(strong_MD, class_M)
        self.domain = nn.Sequential(
            nn.Linear(dimension, _NUM_HIDDEN), nn.ReLU(), nn.Linear(_NUM_HIDDEN, 1), nn.Flatten(0)
        )
        if recipe.objective == "sdt":
            with torch.no_grad():
                labels_CC = soft_labels(self._logits(strong_MD), class_M, num_classes, temperature=recipe.temperature)
            self.register_buffer("label_CC", labels_CC)
        mean_D, variance_D = feature_statistics(strong_MD)
        self.register_buffer("mean_D", mean_D)
        self.register_buffer("variance_D", variance_D)
        self._by_name: Mapping[str, Callable[[Batch], Tensor]] = {
            "weak": self._of_weak,
            "joint": self._joint,
            "dann-u": lambda batch: self._of_strong(batch) + self._adversarial(batch),
            "dann-s": lambda batch: self._joint(batch) + self._adversarial(batch),
            "sdt": self._confusing,
            "jan-s": self._jointly_distributed,
            "cross-modal-a": self._of_weak,
            "cross-modal-b": self._alike_in_statistics,
        }

    def forward(self, batch: Batch) -> Tensor:
        """The loss."""
        return self._by_name[self._recipe.objective](batch)

    def domain_step(self, batch: Batch) -> Tensor | None:
        """What the classifier of modalities minimises by itself, where it is not learned with the rest."""
        if self._recipe.objective != "sdt":
            return None
        return domain_loss(self.domain(batch.weak_BD.detach()), self.domain(batch.strong_BD.detach()))

    def _of_weak(self, batch: Batch) -> Tensor:
        loss: Tensor = self.head(batch.weak_BD, batch.weak_class_B, 0.0)
        return loss

    def _of_strong(self, batch: Batch) -> Tensor:
        loss: Tensor = self.head(batch.strong_BD, batch.strong_class_B, 0.0)
        return loss

    def _joint(self, batch: Batch) -> Tensor:
        return self._of_weak(batch) + self._of_strong(batch)

    def _adversarial(self, batch: Batch) -> Tensor:
        strength = self._recipe.weight * reversal_strength(batch.done)
        turned = [reversed_gradient(side_BD, strength) for side_BD in (batch.weak_BD, batch.strong_BD)]
        return domain_loss(self.domain(turned[0]), self.domain(turned[1]))

    def _confusing(self, batch: Batch) -> Tensor:
        recipe = self._recipe
        logits = [functional_call(self.domain, side_BD) for side_BD in (batch.weak_BD, batch.strong_BD)]
        soft = soft_label_loss(
            self._logits(batch.weak_BD),
            self.get_buffer("label_CC")[batch.weak_class_B],
            temperature=recipe.temperature,
        )
        return self._joint(batch) + recipe.weight * confusion_loss(*logits) + recipe.soft_weight * soft

    def _jointly_distributed(self, batch: Batch) -> Tensor:
        sides = [
            (side_BD, functional.softmax(self._logits(side_BD), dim=1)) for side_BD in (batch.weak_BD, batch.strong_BD)
        ]
        return self._joint(batch) + self._recipe.weight * reversal_strength(batch.done) * joint_mmd(*sides)

    def _alike_in_statistics(self, batch: Batch) -> Tensor:
        both_BD = torch.cat([batch.weak_BD, batch.strong_BD])
        statistics = statistical_loss(both_BD, self.get_buffer("mean_D"), self.get_buffer("variance_D"))
        return self._joint(batch) + self._recipe.weight * statistics

    def _logits(self, feature_BD: Tensor) -> Tensor:
        centre_CD = functional.normalize(self.head.centre_CD, dim=-1)
        return self._recipe.scale * functional.linear(feature_BD, centre_CD)


def functional_call(network: nn.Module, feature_BD: Tensor) -> Tensor:
    """A network whose weights stay as they are: the gradient goes to its input alone."""
    kept = {name: parameter.detach() for name, parameter in network.named_parameters()}
    found: Tensor = torch.func.functional_call(network, kept, (feature_BD,))
    return found
