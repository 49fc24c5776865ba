"""R3AN: a feature becomes a small picture, the picture becomes a feature of another space; trained with both in view.

Shapes: B batch, S source and T target dimension, C H W picture. Pictures are 56 x 56 RGB in [-1.6, 1.6].

Source: Chen et al., R3 Adversarial Network for Cross Model Face Recognition (CVPR 2019), Table 1 and Sec. 4.
"""

import itertools
import math

from torch import Tensor, nn
from torch.nn import functional

from models.backbones import InvertedResidual, conv_norm

PICTURE_SIDE = 56
PICTURE_RANGE = 1.6
"""Largest absolute value of a pixel (Sec. 5.1)."""
_EXPANSION = 6
_SLOPE = 0.2


class Generator(nn.Module):
    """Reconstruction path, features (B, S) to pictures (B, 3, 56, 56).

    Source: R3AN (CVPR 2019), Table 1 and Sec. 4.1. Kernels, normalisation and activations, which the paper does not
    give, are those of DCGAN, which it names as its model; tanh is scaled to the range of the pixels.
    """

    def __init__(self, num_source: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_up(num_source, 512, size=4, stride=1, padding=0),
            *_up(512, 128, size=3, stride=2, padding=1),
            *_up(128, 32, size=4, stride=2, padding=1),
            *_up(32, 8, size=4, stride=2, padding=1),
            nn.ConvTranspose2d(8, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, source_BS: Tensor) -> Tensor:
        """Paint what the features are of; they are normalised here once more."""
        unit_BS = functional.normalize(source_BS, dim=-1)
        picture_BCHW: Tensor = self.layers(unit_BS[:, :, None, None])
        return PICTURE_RANGE * picture_BCHW


class Extractor(nn.Module):
    """Representation path, pictures (B, 3, 56, 56) to raw features (B, T): directions count, lengths do not.

    Source: R3AN (CVPR 2019), Table 1 and Sec. 4.2: one inverted residual a line, expansion 6, as MobileNetV2.
    """

    def __init__(self, num_target: int) -> None:
        super().__init__()
        plan = [(32, 2), (64, 2), (96, 1), (160, 2), (320, 1)]
        here = 3
        blocks: list[nn.Module] = []
        for there, stride in plan:
            blocks.append(InvertedResidual(here, there, stride=stride, expansion=_EXPANSION))
            here = there
        self.layers = nn.Sequential(*blocks, conv_norm(here, 1280, 1, activation=nn.ReLU6))
        self.project = nn.Linear(1280, num_target)

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """Encode pictures as the target encoder would."""
        raw_BT: Tensor = self.project(self.layers(picture_BCHW).mean(dim=(2, 3)))
        return raw_BT


class Discriminator(nn.Module):
    """Pictures (B, 3, 56, 56) to logits (B,): above 0 for a real face, below for a generated one.

    Source: R3AN (CVPR 2019), Table 1; normalisation (none in the first layer) and activations as DCGAN.
    """

    def __init__(self) -> None:
        super().__init__()
        numbers = (3, 4, 8, 16, 32, 64, 128)
        layers: list[nn.Module] = []
        for place, (here, there) in enumerate(itertools.pairwise(numbers)):
            layers.append(nn.Conv2d(here, there, 3, 2, 1))
            layers += [nn.BatchNorm2d(there)] if place else []
            layers.append(nn.LeakyReLU(_SLOPE))
        self.layers = nn.Sequential(*layers)
        self.judge = nn.Linear(128, 1)

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """How real pictures look."""
        logit_B1: Tensor = self.judge(self.layers(picture_BCHW).flatten(1))
        return logit_B1[:, 0]


class R3ANTranslator(nn.Module):
    """Regression path, E(G(x)): features (B, S) to unit features (B, T); the picture between never leaves."""

    def __init__(self, generator: Generator, extractor: Extractor) -> None:
        super().__init__()
        self.generator = generator
        self.extractor = extractor

    def forward(self, source_BS: Tensor) -> Tensor:
        """Translate features."""
        return functional.normalize(self.extractor(self.generator(source_BS)).float(), dim=-1)


class Painter(nn.Module):
    """The reconstruction path alone, as it is exported: features (B, S) to pictures (B, 3, 56, 56), RGB in [0, 255]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, source_BS: Tensor) -> Tensor:
        """Paint what the features are of."""
        picture_BCHW: Tensor = self.generator(source_BS)
        return (picture_BCHW / PICTURE_RANGE + 1.0) * 127.5


class FullyConnected(nn.Module):
    """The naive model that R3AN is compared with: an MLP of as many parameters, features (B, S) to unit (B, T).

    Source: R3AN (CVPR 2019), Sec. 3.1 and the row FC of Table 3, which gives the number of parameters only: here two
    hidden layers of one width, normalised and rectified as the other networks are.
    """

    def __init__(self, num_source: int, num_target: int) -> None:
        super().__init__()
        width = _width_of_equal(num_parameters(Generator(num_source), Extractor(num_target)), num_source, num_target)
        self.layers = nn.Sequential(*_dense(num_source, width), *_dense(width, width), nn.Linear(width, num_target))

    def raw(self, source_BS: Tensor) -> Tensor:
        """Features (B, T) before they are normalised."""
        raw_BT: Tensor = self.layers(functional.normalize(source_BS, dim=-1))
        return raw_BT

    def forward(self, source_BS: Tensor) -> Tensor:
        """Translate features."""
        return functional.normalize(self.raw(source_BS).float(), dim=-1)


def num_parameters(*networks: nn.Module) -> int:
    """Trained numbers of all of them.

    >>> num_parameters(nn.Linear(2, 3), nn.Linear(3, 1))
    13
    """
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def _up(num_in: int, num_out: int, *, size: int, stride: int, padding: int) -> list[nn.Module]:
    convolution = nn.ConvTranspose2d(num_in, num_out, size, stride, padding, bias=False)
    return [convolution, nn.BatchNorm2d(num_out), nn.ReLU()]


def _dense(num_in: int, num_out: int) -> list[nn.Module]:
    return [nn.Linear(num_in, num_out, bias=False), nn.BatchNorm1d(num_out), nn.ReLU()]


def _width_of_equal(parameters: int, num_source: int, num_target: int) -> int:
    """The width w at which S w + w w + w T, four numbers a unit for normalisation, and T come nearest to `parameters`."""
    half = (num_source + num_target + 4) / 2
    return round(math.sqrt(half**2 + parameters - num_target) - half)
