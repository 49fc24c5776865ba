"""Adversarial learning of pictures. Shapes: B batch; logits are above 0 for real."""

from torch import Tensor
from torch.nn import functional


def discriminator_loss(real_B: Tensor, generated_B: Tensor) -> Tensor:
    """What the discriminator minimises: -E log D(I) - E log(1 - D(G(X))), D the sigmoid of the logits.

    Source: Chen et al., R3AN (CVPR 2019), Eq. 5, which is maximised; hence the sign.
    """
    return functional.softplus(-real_B).mean() + functional.softplus(generated_B).mean()


def generator_loss(generated_B: Tensor) -> Tensor:
    """What the generator minimises: -E log D(G(X)).

    Source: Chen et al., R3AN (CVPR 2019), Eq. 6. Deviation: as printed, -E log(1 - D(G(X))), less is better the surer
    the discriminator is that the picture was generated; this is the non-saturating form of Goodfellow et al. (NIPS
    2014), Sec. 3.
    """
    return functional.softplus(-generated_B).mean()
