"""An encoder of pictures while it is trained: a network that came as an ONNX graph.

Shapes: N pictures, B batch, H W picture, D feature dimension.
"""

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.onnx_network import read_network
from training.trainers.augmentation import augmented
from training.trainers.caricatured import caricatured
from training.trainers.drawing import drawn
from training.trainers.encoder import Normalise, TorchEncoder, has_bfloat16
from training.trainers.weak_strong import EncodedPictures


class PictureEncoder:
    """Pictures by row to unit features (B, D), a little changed each time, with gradients."""

    def __init__(self, pictures: EncodedPictures, num_layers: int | None, device: str) -> None:
        """Train the last `num_layers` of the encoder, all where that is None. Raises `GraphError`."""
        self._picture_NHW3, self._device = pictures.picture_NHW3, device
        self._normalise = Normalise(pictures.preparation, device)
        self._is_bgr = pictures.preparation.colour == "BGR"
        width, height = pictures.preparation.resize
        self.network = read_network(pictures.encoder, (width, height))
        self.network.train_last(len(self.network.layers) if num_layers is None else num_layers)
        self._start = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def beside(self, picture_NHW3: npt.NDArray[np.uint8]) -> "PictureEncoder":
        """The same network over other pictures."""
        other = copy.copy(self)
        other._picture_NHW3 = picture_NHW3
        return other

    def share_last(self, other: "PictureEncoder", num_layers: int, *, is_trained: bool) -> None:
        """Have the last layers, at most half of them, in common with another encoder of the same graph, and train these in both
        or in none.

        Those before stay as they are in the other, and are trained here.
        """
        layers = self.network.layers
        self.network.train_last(len(layers))
        for layer in layers[len(layers) - min(num_layers, len(layers) // 2) :]:
            for name in layer.weights:
                owner, _, last = name.rpartition(".")
                shared = self.network.get_parameter(name).requires_grad_(is_trained)
                setattr(other.network.get_submodule(owner), last, shared)

    def __call__(self, rows_B: Tensor, random: torch.Generator) -> Tensor:
        """Encode these rows, in training."""
        return self.together([self.pictures(rows_B, random)])[0]

    def pictures(self, rows_B: Tensor, random: torch.Generator) -> Tensor:
        """These rows as the network takes them, a little changed."""
        return augmented(self._normalise(self._rows(rows_B)), random)

    def drawings(self, rows_B: Tensor, random: torch.Generator) -> Tensor:
        """Drawings of these rows as the network takes them, a little changed."""
        return augmented(self._normalise(drawn(self._rows(rows_B), random, is_bgr=self._is_bgr)), random)

    def caricatures(self, rows_B: Tensor, random: torch.Generator) -> Tensor:
        """Caricatures of these rows as the network takes them, a little changed."""
        return augmented(self._normalise(caricatured(self._rows(rows_B), random)), random)

    def computing(self) -> torch.autocast:
        """In which the network is run in training."""
        return torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=has_bfloat16(self._device))

    def together(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Encode several lots of pictures in one batch, so that batch normalisation sees all."""
        feature_BD = self._encode(torch.cat(list(parts)))
        return list(feature_BD.split([len(part) for part in parts]))

    def encoder(self, share: float = 1.0, *, is_mirrored: bool = False) -> TorchEncoder:
        """The network as an encoder, with weights `share` of the way from those it came with to those it has; with `is_mirrored`
        of each picture and its mirror image.

        Source: Wortsman et al., Robust fine-tuning of zero-shot models (CVPR 2022).
        """
        network = copy.deepcopy(self.network).cpu()
        trained = network.state_dict()
        mixed = {
            name: torch.lerp(self._start[name], value, share) if value.is_floating_point() else value
            for name, value in trained.items()
        }
        network.load_state_dict(mixed)
        return TorchEncoder(_Both(Unit(network)) if is_mirrored else Unit(network))

    def _rows(self, rows_B: Tensor) -> npt.NDArray[np.uint8]:
        return np.ascontiguousarray(self._picture_NHW3[rows_B.numpy()])

    def _encode(self, picture_BCHW: Tensor) -> Tensor:
        with self.computing():
            raw_BD = self.network(picture_BCHW.contiguous(memory_format=torch.channels_last))
        return functional.normalize(raw_BD.float(), dim=-1)


class Unit(nn.Module):
    """A network whose features are made of length one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """Unit features (B, D)."""
        return functional.normalize(self.network(picture_BCHW), dim=-1)


class _Both(nn.Module):
    """Unit features of a picture and its mirror image, together."""

    def __init__(self, network: Unit) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        """Unit features (B, D)."""
        return functional.normalize(self.network(picture_BCHW) + self.network(picture_BCHW.flip(3)), dim=-1)
