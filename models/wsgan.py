"""Weak-Strong GAN: a weak feature and noise become a strong feature that could be of the same person; other noise, another one.

Shapes: B batch, W weak and S strong dimension, Z noise. Features go in and come out at length one, as they are compared.

Source: Bridging Weak and Strong Modalities via Adversarial Learning (AAAI 2019), Fig. 3 and Technical Details: generator and
discriminator have two hidden layers, each followed by batch normalisation and a leaky ReLU. How wide they are, and how much noise
there is, it does not say; nor what the encoder of noise is, which is one like them here.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2
_FIRST_SHARE = 0.1
"""Of its first weights, what the last layer adds to a map that it starts from."""


class Generator(nn.Module):
    """G(f, z): strong features (B, S) of unit length from weak ones (B, W) and noise (B, Z)."""

    def __init__(
        self,
        num_weak: int,
        num_strong: int,
        num_noise: int,
        num_hidden: int,
        *,
        dropout: float = 0.0,
        is_centred: bool = False,
    ) -> None:
        """With `is_centred` no noise adds nothing to the map that it starts from: where the encoder is trained too, that says who
        it is, and the layers how photos of that person differ.
        """
        super().__init__()
        self.num_noise = num_noise
        self._is_centred = is_centred
        self.layers = _layers(num_weak + num_noise, num_hidden, num_strong, dropout)
        self.register_buffer("start_WS", torch.zeros(num_weak, num_strong))

    def start_from(self, start_WS: Tensor) -> None:
        """Begin with a linear map, which stays as it is: the layers learn what to add to it, at first little.

        Deviation: the paper's generator learns everything. From some thousand drawings it would not learn what photos
        of a person have in common, which an encoder of photos knows already.
        """
        self.get_buffer("start_WS").copy_(start_WS)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(_FIRST_SHARE)
            last.bias.zero_()

    def forward(self, weak_BW: Tensor, noise_BZ: Tensor) -> Tensor:
        """Features that could have been, normalised here."""
        unit_BW = functional.normalize(weak_BW, dim=-1)
        # As much of it as there is noise, or noise would hardly be heard.
        scaled_BW = unit_BW * math.sqrt(self.num_noise)
        learned_BS: Tensor = self._learned(scaled_BW, noise_BZ)
        return functional.normalize(unit_BW @ self.get_buffer("start_WS") + learned_BS, dim=-1)

    def _learned(self, scaled_BW: Tensor, noise_BZ: Tensor) -> Tensor:
        asked = torch.cat([scaled_BW, noise_BZ], dim=-1)
        if not self._is_centred:
            whole_BS: Tensor = self.layers(asked)
            return whole_BS
        without = torch.cat([scaled_BW, torch.zeros_like(noise_BZ)], dim=-1)
        if not self.training:
            apart_BS: Tensor = self.layers(asked) - self.layers(without)
            return apart_BS
        # In one batch, so that batch normalisation means the same in both.
        both_BS = self.layers(torch.cat([asked, without]))
        together_BS: Tensor = both_BS[: len(asked)] - both_BS[len(asked) :]
        return together_BS


class Critic(nn.Module):
    """D: how real strong features (B, S) look, (B,), by no scale of its own; its weights are kept small by `clip`.

    Its batch normalisation has no weights: clipped like the others they would leave next to nothing of what comes through.
    """

    def __init__(self, num_strong: int, num_hidden: int) -> None:
        super().__init__()
        self.layers = _layers(num_strong, num_hidden, 1, has_scale=False)

    def forward(self, strong_BS: Tensor) -> Tensor:
        """The higher, the more real."""
        score_B1: Tensor = self.layers(strong_BS)
        return score_B1.squeeze(-1)

    @torch.no_grad()
    def clip(self, largest: float) -> None:
        """Cut every weight to [-largest, largest]. Source: Arjovsky et al., Wasserstein GAN (2017), Algorithm 1."""
        for parameter in self.parameters():
            parameter.clamp_(-largest, largest)


class NoiseEncoder(nn.Module):
    """E: the noise (B, Z) of which a generated feature (B, S) was made, as far as it can be told."""

    def __init__(self, num_strong: int, num_noise: int, num_hidden: int) -> None:
        super().__init__()
        self.layers = _layers(num_strong, num_hidden, num_noise)

    def forward(self, strong_BS: Tensor) -> Tensor:
        """The noise."""
        noise_BZ: Tensor = self.layers(strong_BS)
        return noise_BZ


def _layers(
    num_in: int, num_hidden: int, num_out: int, dropout: float = 0.0, *, has_scale: bool = True
) -> nn.Sequential:
    hidden: list[nn.Module] = []
    for num_before in (num_in, num_hidden):
        hidden += [
            nn.Linear(num_before, num_hidden),
            nn.BatchNorm1d(num_hidden, affine=has_scale),
            nn.LeakyReLU(_SLOPE),
        ]
        if dropout:
            hidden.append(nn.Dropout(dropout))
    return nn.Sequential(*hidden, nn.Linear(num_hidden, num_out))
