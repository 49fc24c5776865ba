"""ArcFace against a loop over its formula in float64, and against what can be said of it by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.losses.arcface import ArcFace, pushed_cosine

MARGINS = (0.1, 0.35, 0.5, 1.0, 1.5)
Rows = Sequence[Sequence[float]]


def unit(row: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def loop(features: Rows, centres: Rows, classes: Sequence[int], *, scale: float, margin: float) -> float:
    """Eq. 3 of Deng et al., one picture and one class after the other."""
    total = 0.0
    for feature, own in zip(features, classes, strict=True):
        logits = []
        for number, centre in enumerate(centres):
            cosine = sum(p * q for p, q in zip(unit(feature), unit(centre), strict=True))
            if number == own:
                angle = math.acos(cosine)
                below = angle + margin < math.pi
                cosine = math.cos(angle + margin) if below else cosine - margin * math.sin(margin)
            logits.append(scale * cosine)
        highest = max(logits)
        total += highest + math.log(sum(math.exp(logit - highest) for logit in logits)) - logits[own]
    return total / len(features)


def head(num_classes: int = 5, dimension: int = 6, scale: float = 8.0, seed: int = 0) -> ArcFace:
    torch.manual_seed(seed)
    return ArcFace(num_classes, dimension, scale=scale).double()


def rows(num: int, dimension: int = 6, seed: int = 1) -> torch.Tensor:
    random = torch.randn(num, dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(random, dim=-1)


@pytest.mark.parametrize("margin", MARGINS)
def test_the_loss_equals_a_loop_over_the_formula(margin: float) -> None:
    loss, feature, own = head(), rows(20), [i % 5 for i in range(20)]
    # Two that point away from their own centres, further than the margin leaves room for, and two close by.
    centre = functional.normalize(loss.centre_CD.detach(), dim=-1)
    for row, towards in ((0, -1.0), (1, -1.0), (2, 1.0), (3, 1.0)):
        feature[row] = functional.normalize(towards * centre[own[row]] + 0.02 * feature[row], dim=-1)
    expected = loop(feature.tolist(), loss.centre_CD.tolist(), own, scale=8.0, margin=margin)
    assert loss(feature, torch.tensor(own), margin).item() == pytest.approx(expected, abs=1e-10)


def test_without_a_margin_it_is_the_plain_normalised_softmax() -> None:
    loss, feature, own = head(), rows(20), torch.arange(20) % 5
    cosine = feature @ functional.normalize(loss.centre_CD, dim=-1).T
    expected = functional.cross_entropy(8.0 * cosine, own)
    assert loss(feature, own, 0.0).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(
    ("degrees", "margin_degrees", "expected"),
    [
        (60, 30, 0.0),
        (0.2, 59.8, 0.5),
        (90, 60, -math.sqrt(3) / 2),
        (30, 90, -0.5),
        # 150 and 60 degrees pass the half turn: cos 150 - (pi / 3) sin 60.
        (150, 60, -math.sqrt(3) / 2 * (1 + math.pi / 3)),
    ],
)
def test_known_angles_are_pushed_to_known_cosines(degrees: float, margin_degrees: float, expected: float) -> None:
    cosine = torch.tensor(math.cos(math.radians(degrees)), dtype=torch.float64)
    assert pushed_cosine(cosine, math.radians(margin_degrees)).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", MARGINS)
def test_a_larger_angle_never_has_a_larger_cosine_also_past_the_half_turn(margin: float, dtype: torch.dtype) -> None:
    angle = torch.linspace(0.01, math.pi - 0.01, 500, dtype=torch.float64)
    pushed = pushed_cosine(angle.cos().to(dtype), margin)
    assert (angle + margin > math.pi).any()
    assert (pushed.diff() < 0).all()
    assert (pushed < angle.cos()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_at_the_ends_value_and_gradient_are_finite(cosine: float, dtype: torch.dtype) -> None:
    at = torch.tensor([cosine], dtype=dtype, requires_grad=True)
    pushed = pushed_cosine(at, 0.5)
    pushed.sum().backward()
    # cos(0 + m), and cos(pi) - m sin(m).
    expected = math.cos(0.5) if cosine > 0 else -1 - 0.5 * math.sin(0.5)
    assert pushed.item() == pytest.approx(expected, abs=1e-3)
    assert at.grad is not None
    assert torch.isfinite(at.grad).all()


@pytest.mark.parametrize("towards", [1.0, -1.0])
def test_a_feature_on_its_centre_or_opposite_has_a_finite_loss_and_gradient(towards: float) -> None:
    loss = ArcFace(2, 3, scale=64.0)
    with torch.no_grad():
        loss.centre_CD.copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    feature = torch.tensor([[towards, 0.0, 0.0]], requires_grad=True)
    value = loss(feature, torch.tensor([0]), 0.5)
    value.backward()
    assert torch.isfinite(value)
    for gradient in (feature.grad, loss.centre_CD.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_the_gradient_equals_finite_differences() -> None:
    loss, own = head(), torch.arange(7) % 5
    feature = rows(7).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: loss(f, own, 0.4), (feature,))


def test_the_length_of_a_centre_means_nothing() -> None:
    loss, feature, own = head(), rows(9), torch.arange(9) % 5
    before = loss(feature, own, 0.3).item()
    with torch.no_grad():
        loss.centre_CD.mul_(torch.tensor([[1e-3], [0.5], [2.0], [7.0], [1e3]], dtype=torch.float64))
    assert loss(feature, own, 0.3).item() == pytest.approx(before, abs=1e-10)


def test_a_wider_margin_is_never_easier() -> None:
    loss, feature, own = head(), rows(30), torch.arange(30) % 5
    losses = [loss(feature, own, margin).item() for margin in (0.0, *MARGINS)]
    assert np.all(np.diff(losses) > 0)
