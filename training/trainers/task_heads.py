"""The classifiers of the tasks, and their losses. Shapes: N pictures, B batch, D feature dimension, C classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.losses.arcface import ArcFace
from training.losses.centre import CentreLoss
from training.trainers.multi_task_recipe import TASKS, MultiTaskRecipe


class TaskHeads(nn.Module):
    """A softmax layer of cosines for every task, and centres of classes for verification."""

    def __init__(
        self, recipe: MultiTaskRecipe, start_ND: Tensor, class_N: Tensor, is_weak_N: Tensor, num_classes: int
    ) -> None:
        """Cosines are with class centres that begin with the means of `start_ND`, of each task's modality where there are any."""
        super().__init__()
        dimension = start_ND.shape[1]
        self._recipe = recipe
        self.centre = CentreLoss(num_classes, dimension, rate=recipe.centre_rate)
        self.centre.start_from(start_ND, class_N)
        heads = []
        for is_of in (torch.ones_like(is_weak_N), is_weak_N, ~is_weak_N):
            head = ArcFace(num_classes, dimension, scale=recipe.scale)
            head.start_from(start_ND, class_N)
            own = ArcFace(num_classes, dimension, scale=recipe.scale)
            own.start_from(start_ND[is_of], class_N[is_of])
            has_own_C = torch.bincount(class_N[is_of], minlength=num_classes) > 0
            with torch.no_grad():
                head.centre_CD[has_own_C] = own.centre_CD[has_own_C]
            heads.append(head)
        self.heads = nn.ModuleList(heads)

    def forward(self, task: int, feature_BD: Tensor, class_B: Tensor) -> Tensor:
        """The loss of a task, of which there is one picture at least. Source: Ming et al. (IJDAR 2021), Eq. 5 to 9."""
        loss: Tensor = self.heads[task](feature_BD, class_B, 0.0)
        if task == TASKS.index("verification") and self._recipe.centre:
            loss = loss + self._recipe.centre * self.centre(feature_BD, class_B)
            self.centre.follow(feature_BD.detach(), class_B)
        return loss

    def classifier(self, task: int, class_C: Tensor) -> nn.Module:
        """Unit features to logits of these classes."""
        head = self.heads[task]
        assert isinstance(head, ArcFace)
        return _Cosines(head.centre_CD.detach().cpu()[class_C], head.scale)


class _Cosines(nn.Module):
    """Unit features (B, D) to scaled cosines (B, C)."""

    def __init__(self, centre_CD: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("centre_CD", functional.normalize(centre_CD, dim=-1))
        self._scale = scale

    def forward(self, feature_BD: Tensor) -> Tensor:
        """The cosines."""
        return self._scale * functional.linear(feature_BD, self.get_buffer("centre_CD"))
