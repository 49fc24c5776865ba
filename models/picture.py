"""From the bytes of a picture to an encoder's input, the same way offline and online.

Shapes: H W picture, float32 CHW for the encoder. A picture comes as an aligned crop, or as any picture with five
landmarks (left eye, right eye, nose tip, left and right mouth corner, as seen by the viewer), in pixels with the centre
of the first pixel at (0, 0), after the picture's own EXIF orientation is applied.
"""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import PictureError
from models.space import InputPreparation

FloatArray = npt.NDArray[np.float32]
Landmarks = Sequence[tuple[float, float]]

MAX_PIXELS = 40_000_000
"""Pictures that declare more pixels are refused before they are decoded."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
ARCFACE_5PT = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Five-point template for a 112 x 112 crop. Source: Deng et al., ArcFace (CVPR 2019), as published with InsightFace."""

_FARTHEST_LANDMARK = 1e6
"""In pixels, from the first pixel; beyond it the arithmetic of Pillow overflows."""

_DECODER_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode_picture(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode JPEG, PNG, WebP or BMP to upright RGB. Raises `PictureError` for anything else, truncated or too large."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise PictureError(
                    f"the picture declares more than {max_pixels} pixels; scale it down before sending it"
                )
            upright = ImageOps.exif_transpose(image) if image.format != "BMP" else image
            if upright.mode.startswith("I"):
                # 16 bits of grey, which `convert` would clip to white; the high byte is what it takes of 16-bit colour.
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return upright.convert("RGB")
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(
            f"the picture declares more than {max_pixels} pixels; scale it down before sending it"
        ) from None
    except UnidentifiedImageError:
        raise PictureError("not a picture; send JPEG, PNG, WebP or BMP") from None
    except _DECODER_FAULTS:
        raise PictureError("the picture is truncated or damaged; send it again or leave it out") from None


def align_face(image: Image.Image, landmarks: Landmarks, size: tuple[int, int] = (112, 112)) -> Image.Image:
    """The crop of `size` (width, height) in which the five landmarks lie best on the ArcFace template.

    Raises `PictureError` when the landmarks are not five distinct finite points.
    """
    try:
        points = np.asarray(landmarks, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        points = np.empty(0)
    if points.shape != (5, 2) or not (np.abs(points) <= _FARTHEST_LANDMARK).all():
        raise PictureError("landmarks must be five pairs of finite numbers of pixels (eyes, nose tip, mouth corners)")
    template = ARCFACE_5PT * (np.array(size) / 112.0)
    matrix = similarity_transform(template, points)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    shrink = int(scale)
    if shrink >= 2:
        # Averaging before sampling: bilinear sampling alone would skip pixels and alias.
        image = image.reduce(shrink)
        matrix[:, :2] /= shrink
        matrix[:, 2] = (matrix[:, 2] + 0.5) / shrink - 0.5
    (a, b, c), (d, e, f) = matrix
    # Pillow samples at pixel centres (x + 0.5); landmarks count from the centre of the first pixel.
    centred = (a, b, c + 0.5 - 0.5 * (a + b), d, e, f + 0.5 - 0.5 * (d + e))
    return image.transform(size, Image.Transform.AFFINE, centred, Image.Resampling.BILINEAR)


def similarity_transform(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The 2 x 3 matrix of rotation, scale and shift that takes `source` (N, 2) nearest to `target` (N, 2).

    Source: Umeyama, Least-squares estimation of transformation parameters (PAMI 1991), Eq. 40 to 42.

    >>> similarity_transform(np.array([[0., 0], [1, 0], [0, 1]]), np.array([[1., 1], [1, 3], [-1, 1]])).round(6) + 0.0
    array([[ 0., -2.,  1.],
           [ 2.,  0.,  1.]])
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    variance = (source_centred**2).sum() / len(source)
    u, singular, vt = np.linalg.svd(target_centred.T @ source_centred / len(source))
    if singular[0] <= 1e-9 * variance or (target_centred**2).sum() < 1e-6:
        raise PictureError("the landmarks lie on one point; give five distinct ones")
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * signs) @ vt
    scale = (singular * signs).sum() / variance
    shift = target_mean - scale * rotation @ source_mean
    return np.concatenate([scale * rotation, shift[:, None]], axis=1)


def prepare_crop(crop: Image.Image, preparation: InputPreparation) -> FloatArray:
    """An aligned RGB crop as the encoder's input, float32 (3, H, W).

    A square crop of another size is resized first; one that is not square cannot be an aligned crop: `PictureError`.
    """
    if crop.size != preparation.size:
        if crop.width * preparation.size[1] != crop.height * preparation.size[0]:
            raise PictureError(
                f"an aligned crop has the shape {preparation.size[0]} x {preparation.size[1]}; "
                "give five landmarks to have the picture aligned"
            )
        crop = crop.resize(preparation.size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if preparation.crop != (0, 0, *preparation.size):
        crop = crop.crop(preparation.crop)
    if crop.size != preparation.resize:
        crop = crop.resize(preparation.resize, Image.Resampling.BILINEAR)
    pixels_HWC = np.asarray(crop)
    if preparation.colour == "BGR":
        pixels_HWC = pixels_HWC[:, :, ::-1]
    prepared_CHW = np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1), dtype=np.float32)
    if any(preparation.mean):
        prepared_CHW -= np.array(preparation.mean, dtype=np.float32)[:, None, None]
    if preparation.std != (1.0, 1.0, 1.0):
        prepared_CHW /= np.array(preparation.std, dtype=np.float32)[:, None, None]
    return prepared_CHW


def prepare_picture(
    data: bytes,
    preparation: InputPreparation,
    *,
    landmarks: Landmarks | None = None,
    max_pixels: int = MAX_PIXELS,
) -> FloatArray:
    """The bytes of a picture as the encoder's input, float32 (3, H, W). Raises `PictureError`."""
    image = decode_picture(data, max_pixels=max_pixels)
    if landmarks is not None:
        image = align_face(image, landmarks, preparation.size)
    return prepare_crop(image, preparation)
