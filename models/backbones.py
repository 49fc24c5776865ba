"""Networks that turn a face crop into a feature: MobileNetV2 and ResNet, of any width, for any input size.

Shapes: B batch, C channels, H W picture, D feature dimension. Input (B, 3, H, W), output (B, D) of length one.
`width` multiplies every number of channels; 1.0 is the published network.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

_DIVISOR = 8


def conv_norm(
    num_in: int,
    num_out: int,
    size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, and an activation where one is given; (B, C, H, W) to the same."""
    padding = (size - 1) // 2
    kind = _Depthwise if groups == num_in and stride > 1 else nn.Conv2d
    layers: list[nn.Module] = [
        kind(num_in, num_out, size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(num_out),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def channels(number: float) -> int:
    """A number of channels rounded to a multiple of 8, at least 8, and never more than a tenth below what was asked.

    Source: Sandler et al., MobileNetV2 (CVPR 2018), as in its published code.

    >>> channels(32 * 0.35), channels(64.0)
    (16, 64)
    """
    rounded = max(_DIVISOR, int(number + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * number else rounded


class _Depthwise(nn.Conv2d):
    """One filter a channel, applied to every second place; trained in bfloat16 on a CPU, to all, of which half are kept.

    The result is the same. With strides, oneDNN's gradient in bfloat16 takes three to eight times as long.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not (self.training and x_BCHW.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x_BCHW)
        everywhere = functional.conv2d(x_BCHW, self.weight, self.bias, 1, self.padding, 1, self.groups)
        return everywhere[:, :, :: self.stride[0], :: self.stride[1]]


class InvertedResidual(nn.Module):
    """Widen by `expansion`, filter each channel, narrow without activation; added to the input where shapes agree.

    Source: Sandler et al., MobileNetV2 (CVPR 2018), Sec. 3.3 and Fig. 4.
    """

    def __init__(self, num_in: int, num_out: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = num_in * expansion
        widen = [conv_norm(num_in, inner, 1, activation=nn.ReLU6)] if expansion != 1 else []
        self.layers = nn.Sequential(
            *widen,
            conv_norm(inner, inner, 3, stride=stride, groups=inner, activation=nn.ReLU6),
            conv_norm(inner, num_out, 1),
        )
        self.is_residual = stride == 1 and num_in == num_out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.layers(x_BCHW)
        return x_BCHW + out if self.is_residual else out


class Bottleneck(nn.Module):
    """Narrow, filter, widen fourfold; added to the input, which is projected where shapes differ.

    Source: He et al., Deep residual learning (CVPR 2016), Fig. 5 right; the stride is on the 3 x 3, as in later code.
    """

    def __init__(self, num_in: int, num_inner: int, *, stride: int) -> None:
        super().__init__()
        num_out = 4 * num_inner
        self.layers = nn.Sequential(
            conv_norm(num_in, num_inner, 1, activation=nn.ReLU),
            conv_norm(num_inner, num_inner, 3, stride=stride, activation=nn.ReLU),
            conv_norm(num_inner, num_out, 1),
        )
        self.shortcut = (
            nn.Identity() if stride == 1 and num_in == num_out else conv_norm(num_in, num_out, 1, stride=stride)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return functional.relu(self.layers(x_BCHW) + self.shortcut(x_BCHW))


class FaceEncoder(nn.Module):
    """A trunk, one learned weight a place and channel (faces are aligned: places mean something), and a projection.

    Source: Chen et al., MobileFaceNets (2018), Sec. 3.2, global depthwise convolution.
    """

    def __init__(self, trunk: nn.Module, num_channels: int, dimension: int, side: int) -> None:
        super().__init__()
        self.trunk = trunk
        with torch.no_grad():
            reduced = trunk.eval()(torch.zeros(1, 3, side, side)).shape[-1]
        trunk.train()
        self.pool = nn.Conv2d(num_channels, num_channels, reduced, groups=num_channels, bias=False)
        self.pool_norm = nn.BatchNorm2d(num_channels)
        self.project = nn.Linear(num_channels, dimension, bias=False)
        self.norm = nn.BatchNorm1d(dimension)

    def raw(self, picture_BCHW: Tensor) -> Tensor:
        """Features (B, D) of any length."""
        pooled = self.pool_norm(self.pool(self.trunk(picture_BCHW))).flatten(1)
        found: Tensor = self.norm(self.project(pooled)).float()
        return found

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """Encode prepared pictures."""
        return functional.normalize(self.raw(picture_BCHW), dim=-1)


def mobilenet_v2(*, expansion: int, width: float, dimension: int, side: int) -> FaceEncoder:
    """MobileNetV2 with expansion factor T, the networks Mb-6, Mb-10 and Mb-16 of R3AN's Table 2.

    Source: Sandler et al., MobileNetV2 (CVPR 2018), Table 2; the last 1 x 1 layer narrows with `width` too.
    """
    first = [(1, 16, 1, 1), (expansion, 24, 2, 2), (expansion, 32, 3, 2), (expansion, 64, 4, 2)]
    plan = [*first, (expansion, 96, 3, 1), (expansion, 160, 3, 2), (expansion, 320, 1, 1)]
    here, last = channels(32 * width), channels(1280 * width)
    layers: list[nn.Module] = [conv_norm(3, here, 3, stride=2, activation=nn.ReLU6)]
    for factor, number, repeats, stride in plan:
        for repeat in range(repeats):
            there = channels(number * width)
            layers.append(InvertedResidual(here, there, stride=stride if repeat == 0 else 1, expansion=factor))
            here = there
    layers.append(conv_norm(here, last, 1, activation=nn.ReLU6))
    return FaceEncoder(nn.Sequential(*layers), last, dimension, side)


def resnet(*, repeats: tuple[int, int, int, int], width: float, dimension: int, side: int) -> FaceEncoder:
    """ResNet of bottlenecks: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101.

    Source: He et al., Deep residual learning (CVPR 2016), Table 1.
    """
    here = channels(64 * width)
    layers: list[nn.Module] = [conv_norm(3, here, 7, stride=2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    for stage, count in enumerate(repeats):
        inner = channels(64 * 2**stage * width)
        for repeat in range(count):
            layers.append(Bottleneck(here, inner, stride=2 if stage and repeat == 0 else 1))
            here = 4 * inner
    return FaceEncoder(nn.Sequential(*layers), here, dimension, side)


BACKBONES: Mapping[str, Callable[[float, int, int], FaceEncoder]] = {
    "mobilenetv2-t6": lambda width, dimension, side: mobilenet_v2(
        expansion=6, width=width, dimension=dimension, side=side
    ),
    "mobilenetv2-t10": lambda width, dimension, side: mobilenet_v2(
        expansion=10, width=width, dimension=dimension, side=side
    ),
    "mobilenetv2-t16": lambda width, dimension, side: mobilenet_v2(
        expansion=16, width=width, dimension=dimension, side=side
    ),
    "resnet-50": lambda width, dimension, side: resnet(
        repeats=(3, 4, 6, 3), width=width, dimension=dimension, side=side
    ),
    "resnet-101": lambda width, dimension, side: resnet(
        repeats=(3, 4, 23, 3), width=width, dimension=dimension, side=side
    ),
}
"""By name: width, dimension and side of the input to a network."""
