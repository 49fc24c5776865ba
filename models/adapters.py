"""Small translators between feature spaces as torch modules. Shapes: B batch, S source and T target dimension, W width."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualMLP(nn.Module):
    """y = normalise(W x + b + MLP((x - mean) / scale)) for x of unit length; the MLP's last layer starts at zero."""

    mean: Tensor
    scale: Tensor

    def __init__(self, num_source: int, num_target: int, *, width: int = 512, dropout: float = 0.3) -> None:
        super().__init__()
        self.linear = nn.Linear(num_source, num_target)
        last = nn.Linear(width, num_target)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(
            nn.Linear(num_source, width), _Block(width, dropout), nn.LayerNorm(width), nn.Dropout(dropout), last
        )
        self.register_buffer("mean", torch.zeros(num_source))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def start_from(self, weight_ST: Tensor, bias_T: Tensor, source_NS: Tensor) -> None:
        """Begin as the linear map, and standardise the MLP's input to the features it will see."""
        self.linear.weight.copy_(weight_ST.T)
        self.linear.bias.copy_(bias_T)
        self.mean.copy_(source_NS.mean(dim=0))
        self.scale.copy_(source_NS.sub(self.mean).square().mean().sqrt().clamp_min(1e-6))

    @torch.no_grad()
    def between(self, start: "ResidualMLP", share: float) -> "ResidualMLP":
        """A copy whose output, before it is normalised, is `share` of this network's and the rest of `start`'s linear map.

        `start` is this network as `start_from` left it, when its MLP added nothing.
        """
        mixed = copy.deepcopy(self)
        mixed.linear.weight.lerp_(start.linear.weight, 1 - share)
        mixed.linear.bias.lerp_(start.linear.bias, 1 - share)
        last = mixed.residual[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(share)
        last.bias.mul_(share)
        return mixed

    def forward(self, source_BS: Tensor) -> Tensor:
        """Translate features (B, S), normalised here once more, to unit features (B, T)."""
        unit_BS = functional.normalize(source_BS, dim=-1)
        raw_BT = self.linear(unit_BS) + self.residual((unit_BS - self.mean) / self.scale)
        return functional.normalize(raw_BT, dim=-1)


class SideBySide(nn.Module):
    """Features (B, S) beside their translations into other spaces: unit features (B, E), E the sum of all dimensions.

    The cosine of two of these is the mean of the cosines in each space, weighted.
    """

    weight: Tensor

    def __init__(self, parts: Sequence[nn.Module | None], weights: Sequence[float]) -> None:
        """Translators to unit features, in the order of the spaces, None for the features' own; weights of sum 1."""
        super().__init__()
        self.parts = nn.ModuleList(nn.Identity() if part is None else part for part in parts)
        self.register_buffer("weight", torch.tensor(weights, dtype=torch.float32))

    def forward(self, source_BS: Tensor) -> Tensor:
        """Project features, normalised here once more."""
        unit_BS = functional.normalize(source_BS, dim=-1)
        scaled = [part(unit_BS) * self.weight[k].sqrt() for k, part in enumerate(self.parts)]
        return functional.normalize(torch.cat(scaled, dim=-1), dim=-1)


class _Block(nn.Module):
    """z + Linear(Dropout(GELU(Linear(LayerNorm(z)))))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, z_BW: Tensor) -> Tensor:
        result: Tensor = z_BW + self.inner(z_BW)
        return result
