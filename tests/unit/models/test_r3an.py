"""Against Table 1 of the R3AN paper, line by line."""

import pytest
import torch
from torch import Tensor, nn

from models.r3an import (
    PICTURE_RANGE,
    Discriminator,
    Extractor,
    FullyConnected,
    Generator,
    R3ANTranslator,
    num_parameters,
)

GENERATOR = [(512, 4, 4), (128, 7, 7), (32, 14, 14), (8, 28, 28), (3, 56, 56)]
EXTRACTOR = [(32, 28, 28), (64, 14, 14), (96, 14, 14), (160, 7, 7), (320, 7, 7), (1280, 7, 7)]
DISCRIMINATOR = [(4, 28, 28), (8, 14, 14), (16, 7, 7), (32, 4, 4), (64, 2, 2), (128, 1, 1)]


def shapes(network: nn.Module, kinds: tuple[type[nn.Module], ...], given: Tensor) -> list[tuple[int, ...]]:
    """Shapes of what the outermost layers of these kinds give, in order."""
    found: list[tuple[int, ...]] = []
    layers = network.layers
    assert isinstance(layers, nn.Sequential)
    for layer in layers:
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda _layer, _given, out: found.append(tuple(out.shape[1:])))
    network(given)
    return found


def test_the_generator_has_the_papers_shapes() -> None:
    assert shapes(Generator(256), (nn.ConvTranspose2d,), torch.randn(2, 256)) == GENERATOR


def test_the_extractor_has_the_papers_shapes() -> None:
    blocks = tuple({type(layer) for layer in Extractor(256).layers})
    assert shapes(Extractor(256), blocks, torch.randn(2, 3, 56, 56)) == EXTRACTOR


def test_the_discriminator_has_the_papers_shapes() -> None:
    assert shapes(Discriminator(), (nn.Conv2d,), torch.randn(2, 3, 56, 56)) == DISCRIMINATOR


@pytest.mark.parametrize(("num_source", "num_target"), [(1, 1), (128, 512), (512, 128), (256, 256), (7, 1000)])
def test_any_source_and_target_dimension(num_source: int, num_target: int) -> None:
    translator = R3ANTranslator(Generator(num_source), Extractor(num_target))
    out = translator(torch.randn(3, num_source))
    assert out.shape == (3, num_target)
    assert torch.allclose(out.norm(dim=1), torch.ones(3), atol=1e-5)


def test_pixels_stay_in_the_papers_range() -> None:
    pictures = Generator(16)(1000 * torch.randn(4, 16))
    assert pictures.shape == (4, 3, 56, 56)
    assert pictures.abs().max() <= PICTURE_RANGE


def test_lengths_of_features_do_not_count() -> None:
    translator = R3ANTranslator(Generator(16), Extractor(8)).eval()
    given = torch.randn(4, 16)
    assert torch.allclose(translator(given), translator(7 * given), atol=1e-6)


def test_the_discriminator_gives_one_logit_a_picture() -> None:
    assert Discriminator()(torch.randn(5, 3, 56, 56)).shape == (5,)


@pytest.mark.parametrize(("num_source", "num_target"), [(128, 512), (512, 128), (256, 256), (64, 64)])
def test_the_naive_model_has_as_many_parameters(num_source: int, num_target: int) -> None:
    r3an = num_parameters(Generator(num_source), Extractor(num_target))
    naive = num_parameters(FullyConnected(num_source, num_target))
    assert abs(naive - r3an) / r3an < 1e-3


def test_the_naive_model_translates_any_dimensions() -> None:
    out = FullyConnected(12, 30)(torch.randn(3, 12))
    assert out.shape == (3, 30)
    assert torch.allclose(out.norm(dim=1), torch.ones(3), atol=1e-5)
