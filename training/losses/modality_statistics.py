"""Features of every modality are to be distributed as those of the strong one are. Shapes: B batch, D dimension, M features."""

from torch import Tensor

_LEAST = 1e-6


def feature_statistics(feature_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (D,) of strong features."""
    return feature_MD.mean(dim=0), feature_MD.var(dim=0, correction=0).clamp_min(_LEAST)


def statistical_loss(feature_BD: Tensor, mean_D: Tensor, variance_D: Tensor) -> Tensor:
    """How unlikely features are under a Gaussian of these moments: half the mean squared deviation, in variances.

    Source: Aytar et al., Cross-modal scene networks (TPAMI 2017): statistical regularisation by a Gaussian, its
    negative logarithm without the constant. Deviation: of each number by itself, and divided by how many there are.
    """
    return ((feature_BD - mean_D).square() / variance_D).mean() / 2
