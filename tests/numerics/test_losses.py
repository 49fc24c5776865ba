import math

import numpy as np
import pytest
import torch

from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.contrastive import contrastive_regression
from training.losses.noise_regression import noise_regression
from training.losses.reconstruction import l2_reconstruction
from training.losses.regression import cosine_regression, l2_regression
from training.losses.wasserstein import critic_loss
from training.losses.wasserstein import generator_loss as critics_generator_loss


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


def test_l2_regression_equals_a_loop() -> None:
    random = np.random.default_rng(1)
    y, target = random.normal(size=(9, 5)), random.normal(size=(9, 5))
    expected = sum(math.dist(a, b) for a, b in zip(y.tolist(), target.tolist(), strict=True)) / 9
    assert l2_regression(torch.tensor(y), torch.tensor(target)).item() == pytest.approx(expected, abs=1e-9)


def test_l2_reconstruction_is_the_rms_error_of_each_picture() -> None:
    random = np.random.default_rng(2)
    made, picture = random.normal(size=(4, 3, 6, 6)), random.normal(size=(4, 3, 6, 6))
    expected = np.mean(
        [math.dist(a, b) / math.sqrt(108) for a, b in zip(made.reshape(4, -1), picture.reshape(4, -1), strict=True)]
    )
    assert l2_reconstruction(torch.tensor(made), torch.tensor(picture)).item() == pytest.approx(expected, abs=1e-9)


def test_distances_of_nothing_have_gradients() -> None:
    same = torch.ones(2, 3, requires_grad=True)
    l2_regression(same, torch.ones(2, 3)).backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


def test_the_discriminator_loss_equals_the_papers_equation() -> None:
    random = np.random.default_rng(3)
    real, made = random.normal(size=7), random.normal(size=7)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    expected = sum(math.log(sigmoid(x)) for x in real) / 7 + sum(math.log(1 - sigmoid(x)) for x in made) / 7
    assert discriminator_loss(torch.tensor(real), torch.tensor(made)).item() == pytest.approx(-expected, abs=1e-9)


def test_the_generator_is_driven_towards_what_the_discriminator_takes_for_real() -> None:
    """Eq. 6 as printed falls as logits fall: that generator would learn to be found out."""
    logit = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    generator_loss(logit).backward()
    assert logit.grad is not None
    assert (logit.grad < 0).all()
    assert generator_loss(logit).item() == pytest.approx(-torch.sigmoid(logit).log().mean().item(), abs=1e-9)
    printed = -torch.log(1 - torch.sigmoid(logit)).mean()
    (grad_of_printed,) = torch.autograd.grad(printed, logit)
    assert (grad_of_printed > 0).all()


def test_a_sure_discriminator_gives_finite_losses() -> None:
    sure = torch.tensor([200.0])
    assert discriminator_loss(sure, -sure).item() == pytest.approx(0.0, abs=1e-6)
    assert discriminator_loss(-sure, sure).item() == pytest.approx(400.0)
    assert generator_loss(-sure).item() == pytest.approx(200.0)


def test_contrastive_regression_equals_a_loop() -> None:
    random = np.random.default_rng(4)
    made, native = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in random.normal(size=(2, 6, 4)))
    subject = [0, 1, 2, 1, 3, 0]
    expected = 0.0
    for a, b in ((made, native), (native, made)):
        for i in range(6):
            weights = [math.exp(a[i] @ b[j] / 0.1) for j in range(6) if j == i or subject[j] != subject[i]]
            expected -= math.log(math.exp(a[i] @ b[i] / 0.1) / sum(weights)) / 12
    found = contrastive_regression(torch.tensor(made), torch.tensor(native), torch.tensor(subject), temperature=0.1)
    assert found.item() == pytest.approx(expected, abs=1e-9)


def test_contrastive_regression_is_least_where_everybody_is_nearest_to_themselves() -> None:
    rows = torch.eye(4)
    subjects = torch.arange(4)
    right = contrastive_regression(rows, rows, subjects, temperature=0.1).item()
    wrong = contrastive_regression(rows, rows.roll(1, 0), subjects, temperature=0.1).item()
    assert right == pytest.approx(0.0, abs=1e-3)
    assert wrong == pytest.approx(10.0, abs=1e-3)
    # A batch of one subject has nobody to tell apart.
    assert contrastive_regression(rows, rows.roll(1, 0), torch.zeros(4, dtype=torch.long), temperature=0.1).item() == 0


def test_a_critic_is_better_the_further_apart_it_puts_real_and_generated_features() -> None:
    """By hand: (1 + 2 + 6) / 3 - (4 + 6) / 2; the real ones are another number."""
    generated, real = torch.tensor([1.0, 2.0, 6.0], requires_grad=True), torch.tensor([4.0, 6.0], requires_grad=True)
    loss = critic_loss(generated, real)
    assert loss.item() == pytest.approx(-2.0)
    loss.backward()
    assert generated.grad is not None
    assert real.grad is not None
    assert generated.grad.tolist() == pytest.approx([1 / 3] * 3)
    assert real.grad.tolist() == pytest.approx([-1 / 2] * 2)


def test_who_generates_wants_what_the_critic_takes_for_real() -> None:
    assert critics_generator_loss(torch.tensor([1.0, 2.0, 6.0])).item() == pytest.approx(-3.0)


def test_noise_regression_is_the_mean_distance() -> None:
    told, noise = torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert noise_regression(told, noise).item() == pytest.approx((5 + 1) / 2)
    random = np.random.default_rng(0)
    a, b = random.normal(size=(7, 4)), random.normal(size=(7, 4))
    expected = (
        sum(math.sqrt(sum((p - q) ** 2 for p, q in zip(x, y, strict=True))) for x, y in zip(a, b, strict=True)) / 7
    )
    assert noise_regression(torch.tensor(a), torch.tensor(b)).item() == pytest.approx(expected)
