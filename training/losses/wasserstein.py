"""Adversarial learning of features, by a critic that has no scale of its own. Shapes: B batch; the higher, the more real."""

from torch import Tensor


def critic_loss(generated_B: Tensor, real_B: Tensor) -> Tensor:
    """What the critic minimises, E D(G(F_W(x), z)) - E D(F_S(x)). The batches may differ in size.

    Source: Weak-Strong GAN (AAAI 2019), Eq. 4, as Arjovsky et al., Wasserstein GAN (2017), Eq. 2.
    """
    return generated_B.mean() - real_B.mean()


def generator_loss(generated_B: Tensor) -> Tensor:
    """What the generator minimises, -E D(G(F_W(x), z)). Source: Weak-Strong GAN (AAAI 2019), first term of Eq. 4 and 8."""
    return -generated_B.mean()
