"""Against the published networks: torchvision's and Keras's counts of parameters and layers."""

import pytest
import torch
from torch import nn

from models.backbones import BACKBONES, Bottleneck, FaceEncoder, InvertedResidual, channels
from models.inception_resnet import INCEPTION_RESNET
from training.recipes import encoders

NAMES = tuple(BACKBONES)

EXPANDED = (
    *((16, 24), (24, 24), (24, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 64)),
    *((64, 96), (96, 96), (96, 96), (96, 160), (160, 160), (160, 160), (160, 320)),
)
"""Channels in and out of every block of MobileNetV2's Table 2 that has the expansion factor t, 16 of its 17."""


def mobilenet_parameters(expansion: int) -> int:
    """torchvision's count at t = 6, and for each step of t in every block a row of each convolution and two norms."""
    each_step = sum(num_in * (num_in + 9 + num_out + 2 * 2) for num_in, num_out in EXPANDED)
    return 2_223_872 + (expansion - 6) * each_step


PARAMETERS = {
    "mobilenetv2-t6": mobilenet_parameters(6),
    "mobilenetv2-t10": mobilenet_parameters(10),
    "mobilenetv2-t16": mobilenet_parameters(16),
    # torchvision's 25,557,032 and 44,549,160 without the classifier's 1000 x 2048 + 1000.
    "resnet-50": 23_508_032,
    "resnet-101": 42_500_160,
}
CONVOLUTIONS = {"mobilenetv2-t6": 52, "mobilenetv2-t10": 52, "mobilenetv2-t16": 52, "resnet-50": 53, "resnet-101": 104}
"""With the four projections of a ResNet, without any classifier."""


def narrow(name: str, side: int = 64) -> FaceEncoder:
    torch.manual_seed(0)
    return BACKBONES[name](0.1, 12, side)


def pictures(num: int, side: int) -> torch.Tensor:
    return torch.randn(num, 3, side, side, generator=torch.Generator().manual_seed(num))


@pytest.mark.parametrize("name", NAMES)
def test_the_trunk_of_width_one_is_the_published_network(name: str) -> None:
    trunk = BACKBONES[name](1.0, 256, 112).trunk
    assert sum(parameter.numel() for parameter in trunk.parameters()) == PARAMETERS[name]
    assert sum(isinstance(module, nn.Conv2d) for module in trunk.modules()) == CONVOLUTIONS[name]


def test_the_recipes_know_every_backbone_and_no_other() -> None:
    assert (*BACKBONES, INCEPTION_RESNET) == encoders.BACKBONES


@pytest.mark.parametrize("side", [64, 112])
@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_dimension_asked_for_and_length_one(name: str, side: int) -> None:
    network = narrow(name, side).eval()
    with torch.inference_mode():
        feature = network(pictures(3, side))
    assert feature.shape == (3, 12)
    torch.testing.assert_close(feature.norm(dim=-1), torch.ones(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("side", "reduced"), [(112, 4), (64, 2), (32, 1)])
@pytest.mark.parametrize("name", ["mobilenetv2-t6", "resnet-50"])
def test_the_trunk_halves_five_times_and_each_place_has_its_own_weight(name: str, side: int, reduced: int) -> None:
    network = narrow(name, side)
    assert network.trunk(pictures(2, side)).shape[-2:] == (reduced, reduced)
    assert network.pool.weight.shape[1:] == (1, reduced, reduced)


@pytest.mark.parametrize("name", ["mobilenetv2-t6", "resnet-50"])
def test_a_picture_does_not_depend_on_its_neighbours(name: str) -> None:
    network, batch = narrow(name).eval(), pictures(4, 64)
    with torch.inference_mode():
        together, alone = network(batch), network(batch[2:3])
    torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_network_is_ready_to_be_trained_and_every_parameter_takes_part(name: str) -> None:
    network = narrow(name)
    assert all(module.training for module in network.modules())
    (network(pictures(4, 64)) * pictures(4, 64).flatten(1)[:, :12]).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


def test_measuring_the_trunk_leaves_its_statistics_as_they_were() -> None:
    norms = [module for module in narrow("resnet-50").modules() if isinstance(module, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms if norm.num_batches_tracked is not None} == {0}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        # As in the published code: to the nearest multiple of 8, and one further where that were more than a tenth less.
        *((3.2, 8), (8.0, 8), (11.9, 16), (12.0, 16), (24 * 0.35, 8), (96 * 0.35, 32)),
        *((32 * 0.35, 16), (33.0, 32), (1280 * 0.5, 640), (64 * 1.4, 88)),
    ],
)
def test_channels_are_multiples_of_eight_and_never_a_tenth_too_few(asked: float, given: int) -> None:
    assert channels(asked) == given


@pytest.mark.parametrize("width", [0.1, 0.33, 0.5, 1.3])
@pytest.mark.parametrize("name", ["mobilenetv2-t6", "resnet-50"])
def test_every_width_gives_multiples_of_eight(name: str, width: float) -> None:
    convolutions = [m for m in BACKBONES[name](width, 16, 32).modules() if isinstance(m, nn.Conv2d)]
    assert {convolution.out_channels % 8 for convolution in convolutions} == {0}


def silent(block: InvertedResidual | Bottleneck) -> None:
    """Make the last normalisation of the block's layers put out zeros."""
    norm = [module for module in block.layers.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    nn.init.zeros_(norm.weight)


@pytest.mark.parametrize(("stride", "num_out"), [(1, 8), (2, 8), (1, 16)])
def test_an_inverted_residual_adds_its_input_only_where_shapes_agree(stride: int, num_out: int) -> None:
    block = InvertedResidual(8, num_out, stride=stride, expansion=2).eval()
    silent(block)
    rows = torch.randn(2, 8, 6, 6)
    out = block(rows)
    assert out.shape == (2, num_out, 6 // stride, 6 // stride)
    expected = rows if (stride, num_out) == (1, 8) else torch.zeros_like(out)
    torch.testing.assert_close(out, expected)


def test_a_bottleneck_that_learned_nothing_passes_on_what_is_above_zero() -> None:
    block = Bottleneck(32, 8, stride=1).eval()
    silent(block)
    rows = torch.randn(2, 32, 5, 5)
    torch.testing.assert_close(block(rows), rows.clamp(min=0))


def test_a_bottleneck_of_another_shape_projects_its_input() -> None:
    block = Bottleneck(16, 8, stride=2).eval()
    silent(block)
    rows = torch.randn(2, 16, 6, 6)
    torch.testing.assert_close(block(rows), block.shortcut(rows).clamp(min=0))
    assert block(rows).shape == (2, 32, 3, 3)


@pytest.mark.parametrize("side", [7, 14])
def test_a_strided_depthwise_convolution_is_the_same_in_training_and_in_use(side: int) -> None:
    block = InvertedResidual(8, 12, stride=2, expansion=6).eval()
    picture = torch.randn(3, 8, side, side, generator=torch.Generator().manual_seed(0))
    depthwise = next(layer for layer in block.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1)
    found = []
    for training in (False, True):
        depthwise.train(training)
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = block(picture)
        out.float().square().sum().backward()
        gradient = depthwise.weight.grad
        assert gradient is not None
        found.append((out.float(), gradient.clone()))
    torch.testing.assert_close(found[1][0], found[0][0], atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(found[1][1], found[0][1], atol=0.02 * float(found[0][1].abs().max()), rtol=0.05)
