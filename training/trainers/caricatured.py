"""Photos as a caricaturist might have drawn them: more of that modality, of people of whom there is none.

Shapes: B batch, H W picture, K numbers of a blur, F features of a face.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.trainers.drawing import blurred

_PLACES = ((0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.5, 0.83), (0.5, 0.2), (0.2, 0.7), (0.8, 0.7))
"""Eyes, nose, mouth, forehead and cheeks of an aligned crop, as shares of its width and height."""
_REACHES = (0.12, 0.3)
_STRENGTH = 0.55
"""The most by which a feature is enlarged or made smaller."""
_STRETCH = 0.18
_LEVELS = (3.0, 8.0)
_COLOUR = (0.0, 1.8)
_LINES = 0.5
"""How many are drawn with lines."""
_PAINTED = 0.7
_SMOOTHING = 1.5


def caricatured(picture_BHW3: npt.NDArray[np.uint8], random: torch.Generator) -> npt.NDArray[np.uint8]:
    """Caricatures of photos, each of another hand: features of the face larger or smaller, few tones, other colours."""
    picture_BCHW = torch.from_numpy(picture_BHW3).permute(0, 3, 1, 2).float() / 255.0
    made_BCHW = _painted(exaggerated(picture_BCHW, random), random)
    made: npt.NDArray[np.uint8] = (
        (made_BCHW.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    )
    return np.ascontiguousarray(made)


def exaggerated(picture_BCHW: Tensor, random: torch.Generator) -> Tensor:
    """Faces of which some features are enlarged or made smaller about their middle, and the whole stretched."""
    batch, _, height, width = picture_BCHW.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=random) * 2 - 1

    ys, xs = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    grid_BHW2 = torch.stack([xs, ys], dim=-1).expand(batch, height, width, 2)
    place_F2 = torch.tensor(_PLACES)
    centre_BF2 = place_F2 + 0.04 * draw(len(_PLACES), 2)
    reach_BF = _REACHES[0] + (_REACHES[1] - _REACHES[0]) * (draw(len(_PLACES)) + 1) / 2
    strength_BF = _STRENGTH * draw(len(_PLACES))
    away_BFHW2 = grid_BHW2[:, None] - centre_BF2[:, :, None, None]
    near_BFHW = torch.exp(-(away_BFHW2**2).sum(dim=-1) / (2 * reach_BF[..., None, None] ** 2))
    # Where strength is positive, what is shown at a place lies nearer to the middle, and so is larger.
    moved_BHW2 = -(strength_BF[..., None, None, None] * near_BFHW[..., None] * away_BFHW2).sum(dim=1)
    stretch_B2 = 1 + _STRETCH * draw(2)
    shown_BHW2 = (grid_BHW2 - 0.5) * stretch_B2[:, None, None] + 0.5 + moved_BHW2
    return functional.grid_sample(picture_BCHW, shown_BHW2 * 2 - 1, padding_mode="border", align_corners=True)


def _painted(picture_BCHW: Tensor, random: torch.Generator) -> Tensor:
    """Smoothed to few tones, in stronger or weaker colours, some with lines."""
    batch, channels = picture_BCHW.shape[:2]

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, 1, 1, 1, generator=random)

    sigma_B = torch.full((batch, 1, 1), _SMOOTHING) * picture_BCHW.shape[2] / 112
    smooth_BCHW = torch.stack([blurred(picture_BCHW[:, channel], sigma_B) for channel in range(channels)], dim=1)
    levels_B = between(*_LEVELS)
    toned_BCHW = (smooth_BCHW * levels_B + 0.5).floor() / levels_B
    blend_B = between(0.0, 1.0)
    toned_BCHW = blend_B * toned_BCHW + (1 - blend_B) * smooth_BCHW
    grey_B1HW = toned_BCHW.mean(dim=1, keepdim=True)
    coloured_BCHW = grey_B1HW + between(*_COLOUR) * (toned_BCHW - grey_B1HW)
    around_BHW = blurred(picture_BCHW.mean(dim=1), 2 * sigma_B)
    lines_B1HW = (picture_BCHW.mean(dim=1) / around_BHW.clamp(min=0.05)).clamp(0.0, 1.0)[:, None] ** between(0.5, 3.0)
    has_lines_B = (between(0.0, 1.0) < _LINES).float()
    drawn_BCHW = coloured_BCHW * (1 - has_lines_B + has_lines_B * lines_B1HW)
    is_painted_B = between(0.0, 1.0) < _PAINTED
    return torch.where(is_painted_B, drawn_BCHW, picture_BCHW)
