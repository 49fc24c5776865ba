"""The classifiers of the tasks, and their losses. Shapes: N pictures, B batch, D feature dimension, C classes."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.losses.arcface import ArcFace
from training.losses.centre import CentreLoss
from training.trainers.multi_task_recipe import TASKS, MultiTaskRecipe


class TaskHeads(nn.Module):
    """A softmax layer for every task, of cosines or as published linear, and centres of classes for verification."""

    def __init__(
        self, recipe: MultiTaskRecipe, start_ND: Tensor, class_N: Tensor, is_weak_N: Tensor, num_classes: int
    ) -> None:
        """Cosines are with class centres that begin with the means of `start_ND`, of each task's modality where there are any."""
        super().__init__()
        dimension = start_ND.shape[1]
        self._recipe = recipe
        self.centre = CentreLoss(num_classes, dimension, rate=recipe.centre_rate)
        self.centre.start_from(start_ND, class_N)
        heads: list[nn.Module] = []
        for is_of in (torch.ones_like(is_weak_N), is_weak_N, ~is_weak_N):
            if not recipe.scale:
                heads.append(_linear(dimension, num_classes))
                continue
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
        head = self.heads[task]
        loss: Tensor
        if isinstance(head, ArcFace):
            loss = head(feature_BD, class_B, 0.0)
        else:
            loss = functional.cross_entropy(head(feature_BD), class_B)
        if task == TASKS.index("verification") and self._recipe.centre:
            loss = loss + self._recipe.centre * self.centre(feature_BD, class_B)
            self.centre.follow(feature_BD.detach(), class_B)
        return loss

    @torch.no_grad()
    def classifier(self, task: int, class_C: Tensor) -> nn.Module:
        """Features to logits of these classes."""
        head = copy.deepcopy(self.heads[task]).cpu()
        if isinstance(head, ArcFace):
            return _Cosines(head.centre_CD.detach()[class_C], head.scale)
        assert isinstance(head, nn.Linear)
        some = nn.Linear(head.in_features, len(class_C))
        some.weight.copy_(head.weight[class_C])
        some.bias.copy_(head.bias[class_C])
        return some


class _Cosines(nn.Module):
    """Unit features (B, D) to scaled cosines (B, C)."""

    def __init__(self, centre_CD: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("centre_CD", functional.normalize(centre_CD, dim=-1))
        self._scale = scale

    def forward(self, feature_BD: Tensor) -> Tensor:
        """The cosines."""
        return self._scale * functional.linear(feature_BD, self.get_buffer("centre_CD"))


def _linear(dimension: int, num_classes: int) -> nn.Linear:
    """Source: Ming et al. (IJDAR 2021), Sec. 5.2: Glorot's initialisation, and zero bias."""
    layer = nn.Linear(dimension, num_classes)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
