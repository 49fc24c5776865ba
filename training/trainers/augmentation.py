"""Changes to training pictures that leave the person who they are. Shapes: B batch, H W picture, prepared (B, 3, H, W)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_ROTATION = 0.07
_SCALE = 0.06
_SHIFT = 0.05
_GAIN = 0.2
_LIFT = 0.12
_GRAY = 0.1
_ERASED = 0.2
_LARGEST_HOLE = 0.35


def augmented(picture_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored or not, turned, scaled and shifted a little, in other light, some gray, some with a hole.

    Random numbers come from a generator on the CPU, so that a seed means the same on every device.
    """
    batch, device = len(picture_BCHW), picture_BCHW.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator).to(device)

    angle, size = (draw() * 2 - 1) * _ROTATION, 1 + (draw() * 2 - 1) * _SCALE
    mirror = (draw() < 0.5).float() * 2 - 1
    shift_B2 = (draw(2) * 2 - 1) * _SHIFT
    cosine, sine = angle.cos() * size, angle.sin() * size
    rows = [cosine * mirror, -sine, shift_B2[:, 0], sine * mirror, cosine, shift_B2[:, 1]]
    grid = functional.affine_grid(
        torch.stack(rows, dim=1).view(batch, 2, 3), list(picture_BCHW.shape), align_corners=False
    )
    moved = functional.grid_sample(picture_BCHW, grid, padding_mode="border", align_corners=False)
    lit = moved * (1 + (draw(3, 1, 1) * 2 - 1) * _GAIN) + (draw(1, 1, 1) * 2 - 1) * _LIFT
    gray = lit.mean(dim=1, keepdim=True)
    lit = torch.where(draw(1, 1, 1) < _GRAY, gray.expand_as(lit), lit)
    return torch.where(_holes(draw, picture_BCHW), torch.zeros_like(lit), lit)


def _holes(draw: Callable[..., Tensor], picture_BCHW: Tensor) -> Tensor:
    """True inside a rectangle of some of the pictures, (B, 1, H, W).

    Source: Zhong et al., Random erasing (AAAI 2020), with the mean value in place of noise.
    """
    height, width = picture_BCHW.shape[-2:]
    place_B4 = draw(4)
    device = picture_BCHW.device

    def inside(length: int, start: Tensor, extent: Tensor) -> Tensor:
        at = torch.arange(length, device=device) / length
        return (at >= start[:, None]) & (at < (start + extent * _LARGEST_HOLE)[:, None])

    rows, columns = inside(height, place_B4[:, 0], place_B4[:, 1]), inside(width, place_B4[:, 2], place_B4[:, 3])
    chosen = draw(1, 1, 1) < _ERASED
    return chosen & rows[:, None, :, None] & columns[:, None, None, :]
