"""Reconstruction path: the picture that a feature was made from. Shapes: B batch, C H W picture."""

from torch import Tensor


def l2_reconstruction(generated_BCHW: Tensor, picture_BCHW: Tensor) -> Tensor:
    """Mean over pictures of the L2 distance, divided by the square root of the number of values: RMS error of a pixel.

    Source: Chen et al., R3AN (CVPR 2019), Eq. 4. Deviation: the division, which only scales lambda_Rec, makes the
    weight independent of the size of the picture.
    """
    error_BV = (generated_BCHW - picture_BCHW).flatten(1)
    distance_B: Tensor = error_BV.square().mean(dim=1).add(1e-12).sqrt()
    return distance_B.mean()
