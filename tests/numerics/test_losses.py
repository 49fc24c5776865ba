import math

import numpy as np
import pytest
import torch

from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.contrastive import contrastive_regression, pooled_contrast
from training.losses.domain_adversarial import domain_loss, reversed_gradient
from training.losses.domain_confusion import confusion_loss, soft_label_loss, soft_labels
from training.losses.joint_mmd import joint_mmd
from training.losses.modality_statistics import feature_statistics, statistical_loss
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


def test_a_pooled_contrast_equals_a_loop() -> None:
    score = np.random.default_rng(4).uniform(-1, 1, (5, 4))
    weak, photo = [0, 0, 1, 2, 3], [0, 1, 1, 4]
    impostors = [score[i][j] for i in range(5) for j in range(4) if weak[i] != photo[j]]
    above = sum(math.exp(one / 0.2) for one in impostors) / len(impostors) * 4
    each = [
        math.log(1 + above / math.exp(score[i][j] / 0.2)) for i in range(5) for j in range(4) if weak[i] == photo[j]
    ]
    is_genuine = torch.tensor(weak)[:, None] == torch.tensor(photo)[None]
    found = pooled_contrast(torch.tensor(score), is_genuine, temperature=0.2)
    assert found.item() == pytest.approx(sum(each) / len(each), abs=1e-12)


def test_a_pooled_contrast_notices_who_is_alike_to_everybody() -> None:
    own = torch.eye(4, dtype=torch.bool)
    score = torch.where(own, 0.6, 0.2)
    # A row with more of everything: each of its scores stands to the others as before.
    alike = score + 0.3 * (torch.arange(4) == 0).float()[:, None]
    assert pooled_contrast(alike, own, temperature=0.05) > 2 * pooled_contrast(score, own, temperature=0.05)


@pytest.mark.parametrize("is_genuine", [True, False])
def test_a_pooled_contrast_of_nothing_to_tell_apart_is_zero(is_genuine: bool) -> None:
    score = torch.rand(3, 2, requires_grad=True)
    loss = pooled_contrast(score, torch.full((3, 2), is_genuine), temperature=0.1)
    loss.backward()
    assert loss.item() == 0
    assert score.grad is not None
    assert not score.grad.any()


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


def gaussian_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_telling_modalities_apart_is_cross_entropy_of_both_sides() -> None:
    weak, strong = gaussian_features(5, seed=1), gaussian_features(7, seed=2)
    of_weak = [-math.log(1 / (1 + math.exp(-x))) for x in weak.tolist()]
    of_strong = [-math.log(1 - 1 / (1 + math.exp(-x))) for x in strong.tolist()]
    expected = (sum(of_weak) / 5 + sum(of_strong) / 7) / 2
    assert domain_loss(weak, strong).item() == pytest.approx(expected)


def test_a_reversed_gradient_comes_back_turned_round_and_what_goes_through_is_the_same() -> None:
    feature = gaussian_features(3, 4).requires_grad_()
    through = reversed_gradient(feature, 0.25)
    assert torch.equal(through, feature)
    (gradient,) = torch.autograd.grad((through * torch.arange(4.0)).sum(), feature)
    assert torch.equal(gradient, -0.25 * torch.arange(4.0, dtype=torch.float64).expand(3, 4))


def test_confusion_is_least_where_the_classifier_says_an_even_chance() -> None:
    even = confusion_loss(torch.zeros(4), torch.zeros(3)).item()
    assert even == pytest.approx(math.log(2))
    for weak, strong in ((1.0, -1.0), (-1.0, 1.0), (2.0, 2.0)):
        assert confusion_loss(torch.full((4,), weak), torch.full((3,), strong)).item() > even


def test_confusion_equals_a_loop() -> None:
    weak, strong = gaussian_features(5, seed=1), gaussian_features(7, seed=2)

    def of_side(logits: torch.Tensor) -> float:
        chances = [1 / (1 + math.exp(-x)) for x in logits.tolist()]
        return sum(-(math.log(p) + math.log(1 - p)) / 2 for p in chances) / len(chances)

    assert confusion_loss(weak, strong).item() == pytest.approx((of_side(weak) + of_side(strong)) / 2)


def test_soft_labels_are_mean_softmaxes_and_their_loss_equals_a_loop() -> None:
    logits, classes = gaussian_features(6, 4, seed=3), torch.tensor([0, 0, 1, 2, 2, 2])
    labels = soft_labels(logits, classes, 4, temperature=2.0)
    for number in range(3):
        rows = [
            [math.exp(x / 2) / sum(math.exp(y / 2) for y in row) for x in row]
            for row, of in zip(logits.tolist(), classes.tolist(), strict=True)
            if of == number
        ]
        assert labels[number].tolist() == pytest.approx([sum(column) / len(rows) for column in zip(*rows, strict=True)])
    assert labels[3].tolist() == [0.0] * 4
    weak = gaussian_features(2, 4, seed=4)
    expected = 0.0
    for row, label in zip(weak.tolist(), labels[[1, 2]].tolist(), strict=True):
        total = sum(math.exp(x / 2) for x in row)
        expected -= sum(share * math.log(math.exp(x / 2) / total) for x, share in zip(row, label, strict=True))
    assert soft_label_loss(weak, labels[[1, 2]], temperature=2.0).item() == pytest.approx(expected / 2)


def naive_joint_mmd(weak: list[torch.Tensor], strong: list[torch.Tensor]) -> float:
    layers = [torch.cat([one, other]).tolist() for one, other in zip(weak, strong, strict=True)]
    num, total = len(layers[0]), 0.0

    def square(one: list[float], other: list[float]) -> float:
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))

    widths = [sum(square(one, other) for one in rows for other in rows) / (num * (num - 1)) for rows in layers]
    half = len(weak[0])
    for i in range(num):
        for j in range(num):
            kernel = 1.0
            for rows, width in zip(layers, widths, strict=True):
                of_widths = [math.exp(-square(rows[i], rows[j]) / (f * width)) for f in (0.25, 0.5, 1.0, 2.0, 4.0)]
                kernel *= sum(of_widths) / 5
            sign = 1.0 if (i < half) == (j < half) else -1.0
            total += sign * kernel / ((half if i < half else num - half) * (half if j < half else num - half))
    return total


def test_joint_mmd_equals_a_loop() -> None:
    weak = [gaussian_features(4, 3, seed=1), gaussian_features(4, 2, seed=2)]
    strong = [gaussian_features(5, 3, seed=3) + 1, gaussian_features(5, 2, seed=4)]
    assert joint_mmd(weak, strong).item() == pytest.approx(naive_joint_mmd(weak, strong), abs=1e-12)


def test_joint_mmd_is_zero_of_the_same_and_sees_what_is_only_joint() -> None:
    one, other = gaussian_features(64, 1, seed=5), gaussian_features(64, 1, seed=6)
    assert joint_mmd([one, other], [one, other]).item() == pytest.approx(0.0, abs=1e-12)
    # The same of each layer, in another order: together they are not the same.
    together, apart = [one, one], [one, one[torch.randperm(64, generator=torch.Generator().manual_seed(0))]]
    assert joint_mmd(together, apart).item() > 10 * abs(joint_mmd([one], [one[torch.randperm(64)]]).item()) + 1e-3


def test_statistics_are_moments_and_their_loss_is_that_of_a_gaussian() -> None:
    feature = gaussian_features(50, 3, seed=7) * torch.tensor([1.0, 2.0, 0.5]) + 1
    mean, variance = feature_statistics(feature)
    assert mean.tolist() == pytest.approx(np.mean(feature.numpy(), axis=0).tolist())
    assert variance.tolist() == pytest.approx(np.var(feature.numpy(), axis=0).tolist())
    # The features themselves deviate by one standard deviation on average.
    assert statistical_loss(feature, mean, variance).item() == pytest.approx(0.5)
    point = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
    normal = torch.distributions.Normal(mean, variance.sqrt())
    constant = (0.5 * torch.log(2 * math.pi * variance)).mean()
    expected = -normal.log_prob(point).mean() - constant
    assert statistical_loss(point, mean, variance).item() == pytest.approx(expected.item())
