"""The network of Ming et al. (IJDAR 2021), Table 1: its layers by number and size, and where a branch begins."""

import numpy as np
import pytest
import torch
from torch import nn

from models.inception_resnet import FEWEST_PIXELS, NUM_BRANCH_LAYERS, InceptionResNet
from models.mtl import Branches
from models.onnx_network import read_network
from training.export.torch_graph import encoder_torch_graph
from training.recipes.multi_task import paper
from training.trainers.encoder import TorchEncoder

WIDTH, DIMENSION = 0.1, 6


def shapes(network: nn.Module) -> list[tuple[int, int, tuple[int, ...], int]]:
    """Of every convolution what comes in, what comes out, kernel and stride."""
    found = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return [(one.in_channels, one.out_channels, tuple(one.kernel_size), one.stride[0]) for one in found]


def test_the_stem_is_that_of_table_1() -> None:
    expected = [(32, 3, 2), (32, 3, 1), (64, 3, 1), (80, 1, 1), (192, 3, 1), (256, 3, 2)]
    stem = shapes(InceptionResNet(8).trunk)[: len(expected)]
    assert [(out, kernel[0], stride) for _, out, kernel, stride in stem] == expected


def test_blocks_are_those_of_table_1_and_repeated_as_inception_resnet_v1() -> None:
    network = InceptionResNet(8)
    outs = [(out, kernel, stride) for _, out, kernel, stride in shapes(network)]
    for block, repeats in (
        ([(32, (1, 1), 1), (32, (1, 1), 1), (32, (3, 3), 1), (32, (1, 1), 1), (32, (3, 3), 1), (32, (3, 3), 1)], 5),
        ([(128, (1, 1), 1), (128, (1, 1), 1), (128, (1, 7), 1), (128, (7, 1), 1)], 10),
        ([(192, (1, 1), 1), (192, (1, 1), 1), (192, (1, 3), 1), (192, (3, 1), 1)], 5),
    ):
        found = sum(outs[place : place + len(block)] == block for place in range(len(outs)))
        assert found == repeats
    reductions = [(384, (3, 3), 2), (256, (3, 3), 2)]
    assert all(outs.count(one) >= 2 for one in reductions)
    # conv7 and conv8, beside those of the blocks.
    assert outs[-1] == (192, (1, 1), 1)
    assert network.bottleneck.in_features == 192


def test_the_last_block_adds_without_relu() -> None:
    blocks = [module for module in InceptionResNet(8, WIDTH).branch if hasattr(module, "project")]
    assert [block._is_last for block in blocks] == [False] * 4 + [True]


@pytest.mark.parametrize("side", [FEWEST_PIXELS, 112])
def test_pictures_become_features_of_length_one(side: int) -> None:
    network = InceptionResNet(DIMENSION, WIDTH).eval()
    with torch.no_grad():
        feature_BD = network(torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0)))
    assert feature_BD.shape == (3, DIMENSION)
    torch.testing.assert_close(feature_BD.norm(dim=1), torch.ones(3))


def test_weights_begin_as_glorot_with_zero_bias() -> None:
    torch.manual_seed(0)
    network = InceptionResNet(64)
    bound = (6 / (192 + 64)) ** 0.5
    weight = network.bottleneck.weight.detach()
    assert 0.9 * bound < float(weight.abs().max()) <= bound
    biases = [value for name, value in network.named_parameters() if name.endswith("bias") and "project" in name]
    assert biases
    assert not any(bias.any() for bias in biases)


def test_as_a_graph_a_branch_of_the_recipe_begins_at_inception_5() -> None:
    torch.manual_seed(0)
    network = InceptionResNet(DIMENSION, WIDTH).eval()
    branches = Branches(
        read_network(encoder_torch_graph(TorchEncoder(network), (112, 112)), (112, 112)), NUM_BRANCH_LAYERS, 3
    )
    assert paper().num_branch == NUM_BRANCH_LAYERS
    picture = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        branches.eval()
        shared = branches.shared(picture)
        torch.testing.assert_close(shared.last_B, network.trunk(picture), atol=1e-4, rtol=1e-3)
        expected = network(picture).numpy()
        found = nn.functional.normalize(branches.branch(2, shared), dim=-1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
