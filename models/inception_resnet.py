"""The network of Ming et al. (IJDAR 2021), Table 1: a shared trunk and one branch, which every task then has for itself.

Source: Ming et al., Cross-modal photo-caricature face recognition based on dynamic multi-task learning (IJDAR 2021), Table 1,
after Szegedy et al., Inception-v4, Inception-ResNet (AAAI 2017). What Table 1 leaves out is of the latter's
Inception-ResNet-v1: how often blocks are repeated, that a block's branches are projected back to its width, scaled and added,
and that 2a and 4a are 3 x 3 with stride 2.

Shapes: B batch, C channels, H W picture, D feature dimension. Input (B, 3, H, W), output (B, D) of length one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones import channels

REPEATS = (5, 10, 5)
"""Of Inception(1), (3), and (5)."""
_SCALES = (0.17, 0.10, 0.20)
_EPSILON = 1e-3
_DROPOUT = 0.5
INCEPTION_RESNET = "inception-resnet"
FEWEST_PIXELS = 75
"""Of a side: with fewer nothing is left for the last blocks."""
NUM_BRANCH_LAYERS = (REPEATS[2] * 5) + 2
"""Layers from Inception(5) on: what a task has for itself."""


def convolution(
    num_in: int, num_out: int, size: int | tuple[int, int], *, stride: int = 1, pads: bool = True
) -> nn.Sequential:
    """Without bias, with batch normalisation and ReLU; (B, C, H, W) to the same."""
    height, width = size if isinstance(size, tuple) else (size, size)
    padding = (height // 2, width // 2) if pads else (0, 0)
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, (height, width), stride, padding, bias=False),
        nn.BatchNorm2d(num_out, eps=_EPSILON),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Branches side by side, projected to the width of what came in, scaled, and added to it."""

    def __init__(
        self, width: int, branches: Sequence[nn.Module], num_branched: int, scale: float, *, is_last: bool
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.project = nn.Conv2d(num_branched, width, 1)
        self._scale, self._is_last = scale, is_last

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same; the last of all blocks without ReLU."""
        added = x_BCHW + self._scale * self.project(torch.cat([branch(x_BCHW) for branch in self.branches], dim=1))
        return added if self._is_last else functional.relu(added)


class Reduction(nn.Module):
    """Branches side by side that halve height and width."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to (B, more, about H / 2, about W / 2)."""
        return torch.cat([branch(x_BCHW) for branch in self.branches], dim=1)


class InceptionResNet(nn.Module):
    """Trunk and branch 1, with features of length one, as everywhere here."""

    def __init__(self, dimension: int, width: float = 1.0) -> None:
        """`width` multiplies every number of channels; 1.0 is the published network."""
        super().__init__()
        plan = _Plan(width)
        self.trunk = nn.Sequential(*plan.stem(), *plan.first(), plan.second(), *plan.third(), plan.fourth())
        self.branch = nn.Sequential(*plan.fifth(), convolution(plan.width_5, plan(192), 1))
        self.dropout = nn.Dropout(_DROPOUT)
        self.bottleneck = nn.Linear(plan(192), dimension)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def raw(self, picture_B3HW: Tensor) -> Tensor:
        """Features (B, D) of any length."""
        pooled_BC = self.branch(self.trunk(picture_B3HW)).mean(dim=(2, 3))
        found: Tensor = self.bottleneck(self.dropout(pooled_BC)).float()
        return found

    def forward(self, picture_B3HW: Tensor) -> Tensor:
        """Features (B, D)."""
        return functional.normalize(self.raw(picture_B3HW), dim=-1)


class _Plan:
    """The parts of Table 1, at one width."""

    def __init__(self, width: float) -> None:
        self._width = width
        self.width_1 = self(256)
        """Channels that come into Inception(1)."""
        self.width_3 = self(384) + self(256) + self(192)
        """Of 2a, 2b and what conv7 gave, into Inception(3)."""
        self.width_5 = self(384) + 2 * self(256) + self.width_3
        """Of 4a to 4c and what came in, into Inception(5)."""

    def __call__(self, number: int) -> int:
        return channels(number * self._width)

    def stem(self) -> list[nn.Module]:
        return [
            convolution(3, self(32), 3, stride=2, pads=False),
            convolution(self(32), self(32), 3, pads=False),
            convolution(self(32), self(64), 3),
            nn.MaxPool2d(3, 2),
            convolution(self(64), self(80), 1, pads=False),
            convolution(self(80), self(192), 3, pads=False),
            convolution(self(192), self.width_1, 3, stride=2, pads=False),
        ]

    def first(self) -> list[nn.Module]:
        """Inception(1) and conv7."""
        wide, inner = self.width_1, self(32)

        def branches() -> list[nn.Module]:
            return [
                convolution(wide, inner, 1),
                nn.Sequential(convolution(wide, inner, 1), convolution(inner, inner, 3)),
                nn.Sequential(convolution(wide, inner, 1), convolution(inner, inner, 3), convolution(inner, inner, 3)),
            ]

        blocks = [Residual(wide, branches(), 3 * inner, _SCALES[0], is_last=False) for _ in range(REPEATS[0])]
        return [*blocks, convolution(wide, self(192), 1)]

    def second(self) -> Reduction:
        inner = self(192)
        narrowed = [convolution(inner, inner, 1), convolution(inner, inner, 3)]
        return Reduction(
            [
                convolution(inner, self(384), 3, stride=2, pads=False),
                nn.Sequential(*narrowed, convolution(inner, self(256), 3, stride=2, pads=False)),
                nn.MaxPool2d(3, 2),
            ]
        )

    def third(self) -> list[nn.Module]:
        return [self._bent(self.width_3, self(128), 7, _SCALES[1], is_last=False) for _ in range(REPEATS[1])]

    def fourth(self) -> Reduction:
        inner = self(256)

        def narrowed(*more: nn.Module) -> nn.Sequential:
            return nn.Sequential(convolution(self.width_3, inner, 1), *more)

        return Reduction(
            [
                narrowed(convolution(inner, self(384), 3, stride=2, pads=False)),
                narrowed(convolution(inner, inner, 3, stride=2, pads=False)),
                narrowed(convolution(inner, inner, 3), convolution(inner, inner, 3, stride=2, pads=False)),
                nn.MaxPool2d(3, 2),
            ]
        )

    def fifth(self) -> list[nn.Module]:
        last = REPEATS[2] - 1
        return [
            self._bent(self.width_5, self(192), 3, _SCALES[2], is_last=place == last) for place in range(REPEATS[2])
        ]

    @staticmethod
    def _bent(wide: int, inner: int, length: int, scale: float, *, is_last: bool) -> Residual:
        """One branch of one convolution, and one of three, of which two are a row and a column."""
        bent = [
            convolution(wide, inner, 1),
            convolution(inner, inner, (1, length)),
            convolution(inner, inner, (length, 1)),
        ]
        return Residual(wide, [convolution(wide, inner, 1), nn.Sequential(*bent)], 2 * inner, scale, is_last=is_last)
