"""Photos as somebody with a pencil might have drawn them: more of the weak modality, of people of whom there is no sketch.

Shapes: B batch, H W picture, K numbers of a blur.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

_SIGMAS = (1.0, 5.0)
"""Of the blur, in pixels of a crop of 112: small ones leave lines alone, large ones shades too."""
_POWERS = (0.8, 3.3)
"""How dark lines are."""
_KEPT = 0.5
"""The most that is left of the photo's own shades."""
_GREY = (0.299, 0.587, 0.114)
_DARKEST = 0.05


def drawn(picture_BHW3: npt.NDArray[np.uint8], random: torch.Generator, *, is_bgr: bool) -> npt.NDArray[np.uint8]:
    """Pencil drawings of photos, each of another hand: (B, H, W, 3), all channels alike.

    What is darker than its surroundings is a line: grey values are divided by blurred ones, as retouchers dodge a photo with
    its own blurred negative.
    """
    weights = torch.tensor(_GREY[::-1] if is_bgr else _GREY)
    grey_BHW = torch.from_numpy(picture_BHW3).float() @ weights / 255.0
    sigma_B, power_B, kept_B = (
        low + (high - low) * torch.rand(len(grey_BHW), 1, 1, generator=random)
        for low, high in (_SIGMAS, _POWERS, (0.0, _KEPT))
    )
    around_BHW = blurred(grey_BHW, sigma_B * picture_BHW3.shape[1] / 112)
    lines_BHW = (grey_BHW / around_BHW.clamp(min=_DARKEST)).clamp(0.0, 1.0) ** power_B
    shades_BHW = (1 - kept_B) * lines_BHW + kept_B * grey_BHW
    made_BHW: npt.NDArray[np.uint8] = (shades_BHW * 255.0).round().to(torch.uint8).numpy()
    return np.repeat(made_BHW[..., None], 3, axis=-1)


def blurred(grey_BHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Each with a Gaussian of its own, and its edges mirrored."""
    batch, height, width = grey_BHW.shape
    reach = min(math.ceil(3 * float(sigma_B.max())), height - 1, width - 1)
    offset_K = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel_BK = torch.exp(-0.5 * (offset_K / sigma_B.view(-1, 1)) ** 2)
    kernel_BK = kernel_BK / kernel_BK.sum(dim=1, keepdim=True)
    wide = functional.pad(grey_BHW[None], (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(wide, kernel_BK.view(batch, 1, 1, -1), groups=batch)
    return functional.conv2d(across, kernel_BK.view(batch, 1, -1, 1), groups=batch)[0]
