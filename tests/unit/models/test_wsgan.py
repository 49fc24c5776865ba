"""The networks of Weak-Strong GAN: shapes, layers, and what clipping does."""

import pytest
import torch
from torch import nn

from models.wsgan import Critic, Generator, NoiseEncoder

WEAK, STRONG, NOISE, HIDDEN = 6, 5, 3, 8
PUBLISHED = [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU, nn.Linear, nn.BatchNorm1d, nn.LeakyReLU, nn.Linear]
"""Two hidden layers, each followed by BN and LReLU (Technical Details)."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def test_features_come_out_at_length_one_whatever_the_length_that_went_in() -> None:
    generator = Generator(WEAK, STRONG, NOISE, HIDDEN).eval()
    weak, noise = random(4, WEAK), random(4, NOISE)
    made = generator(weak, noise)
    assert made.shape == (4, STRONG)
    assert torch.allclose(made.norm(dim=-1), torch.ones(4))
    assert torch.allclose(generator(3.0 * weak, noise), made, atol=1e-6)


def test_other_noise_makes_another_feature_and_the_same_the_same() -> None:
    generator = Generator(WEAK, STRONG, NOISE, HIDDEN).eval()
    weak, noise = random(1, WEAK).expand(4, WEAK), random(4, NOISE)
    made = generator(weak, noise)
    assert torch.equal(made, generator(weak, noise))
    assert not torch.allclose(made[0], made[1], atol=1e-3)


def test_each_has_the_layers_that_were_published() -> None:
    for network in (
        Generator(WEAK, STRONG, NOISE, HIDDEN),
        Critic(STRONG, HIDDEN),
        NoiseEncoder(STRONG, NOISE, HIDDEN),
    ):
        assert [type(layer) for layer in network.layers] == PUBLISHED
        widths = [layer.out_features for layer in network.layers if isinstance(layer, nn.Linear)]
        assert widths[:2] == [HIDDEN, HIDDEN]


def test_a_critic_gives_a_number_and_the_encoder_of_noise_as_much_as_there_was() -> None:
    assert Critic(STRONG, HIDDEN)(random(4, STRONG)).shape == (4,)
    assert NoiseEncoder(STRONG, NOISE, HIDDEN)(random(4, STRONG)).shape == (4, NOISE)


def test_clipped_weights_are_no_larger_and_small_ones_stay() -> None:
    critic = Critic(STRONG, HIDDEN)
    before = [parameter.clone() for parameter in critic.parameters()]
    critic.clip(0.01)
    for parameter, old in zip(critic.parameters(), before, strict=True):
        assert torch.equal(parameter, old.clamp(-0.01, 0.01))
    assert max(parameter.abs().max().item() for parameter in critic.parameters()) == pytest.approx(0.01)


@pytest.mark.parametrize("is_training", [True, False])
def test_a_centred_generator_adds_nothing_where_there_is_no_noise(is_training: bool) -> None:
    generator = Generator(WEAK, STRONG, NOISE, HIDDEN, is_centred=True).train(is_training)
    start = random(WEAK, STRONG)
    generator.start_from(start)
    weak = random(4, WEAK)
    mapped = nn.functional.normalize(nn.functional.normalize(weak, dim=-1) @ start, dim=-1)
    assert torch.allclose(generator(weak, torch.zeros(4, NOISE)), mapped, atol=1e-6)
    assert not torch.allclose(generator(weak, random(4, NOISE)), mapped, atol=1e-3)
