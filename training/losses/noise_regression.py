"""A generated feature should tell of which noise it was made, or the generator heeds none. Shapes: B batch, Z noise."""

from torch import Tensor


def noise_regression(told_BZ: Tensor, noise_BZ: Tensor) -> Tensor:
    """Mean length of what is wrong, E ||E(G(F_W(x), z)) - z||.

    Source: Weak-Strong GAN (AAAI 2019), Eq. 7.
    """
    loss: Tensor = (told_BZ - noise_BZ).norm(dim=-1).mean()
    return loss
