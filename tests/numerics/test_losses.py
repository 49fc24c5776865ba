import math

import numpy as np
import pytest
import torch

from training.losses.regression import cosine_regression


def test_cosine_regression_equals_a_loop() -> None:
    random = np.random.default_rng(0)
    y, target = random.normal(size=(9, 5)), random.normal(size=(9, 5))
    expected = 0.0
    for a, b in zip(y.tolist(), target.tolist(), strict=True):
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        expected += 1 - dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))
    loss = cosine_regression(torch.tensor(y), torch.tensor(target))
    assert loss.item() == pytest.approx(expected / 9, abs=1e-12)


@pytest.mark.parametrize(("angle", "expected"), [(0.0, 0.0), (math.pi / 2, 1.0), (math.pi, 2.0), (math.pi / 3, 0.5)])
def test_cosine_regression_of_known_angles(angle: float, expected: float) -> None:
    y = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert cosine_regression(y, torch.tensor([[1.0, 0.0]], dtype=torch.float64)).item() == pytest.approx(expected)


def test_on_the_sphere_the_squared_distance_is_twice_the_loss() -> None:
    y, target = (
        torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)
        for seed in (0, 1)
    )
    squared = (y - target).square().sum(dim=-1).mean().item()
    assert squared == pytest.approx(2 * cosine_regression(y, target).item(), abs=1e-6)


def test_the_gradient_equals_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda rows: cosine_regression(rows, target), (y,))
