"""The encoder of weak pictures while it is trained: a network that came as an ONNX graph.

Shapes: N pictures, B batch, H W picture, D feature dimension.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.onnx_network import read_network
from training.trainers.augmentation import augmented
from training.trainers.encoder import Normalise, TorchEncoder, has_bfloat16
from training.trainers.weak_strong import WeakPictures


class WeakEncoder:
    """Pictures by row to unit features (B, D), a little changed each time, with gradients."""

    def __init__(self, pictures: WeakPictures, num_layers: int | None, device: str) -> None:
        """Train the last `num_layers` of the encoder, all where that is None. Raises `GraphError`."""
        self._picture_NHW3, self._device = pictures.picture_NHW3, device
        self._normalise = Normalise(pictures.preparation, device)
        width, height = pictures.preparation.resize
        self.network = read_network(pictures.encoder, (width, height))
        self.network.train_last(len(self.network.layers) if num_layers is None else num_layers)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, rows_B: Tensor, random: torch.Generator) -> Tensor:
        """Encode these rows, in training."""
        picture_BCHW = self._normalise(np.ascontiguousarray(self._picture_NHW3[rows_B.numpy()]))
        changed_BCHW = augmented(picture_BCHW, random).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=has_bfloat16(self._device)):
            raw_BD = self.network(changed_BCHW)
        return functional.normalize(raw_BD.float(), dim=-1)

    def encoder(self) -> TorchEncoder:
        """The network as an encoder."""
        return TorchEncoder(_Unit(self.network))


class _Unit(nn.Module):
    """A network whose features are made of length one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """Unit features (B, D)."""
        return functional.normalize(self.network(picture_BCHW), dim=-1)
