"""More pictures of the same faces: each as it is, and as it might have been taken otherwise.

A translator needs no labels, only pictures that both encoders have seen. The views of a picture depend on its key and
their number alone, so that two encoders see the same pixels on any day.
"""

import hashlib
import io
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from models.errors import PictureError
from models.feature_set import VIEW_MARK, picture_of, view_of
from models.picture import align_face, decode_picture
from training.data.sources import PictureItem, PictureSource
from training.errors import SourceError

_TURN = math.radians(4.0)
_SCALE = 0.05
_SHIFT = 0.018
"""Of the picture's side."""
_LIGHT = 0.2
_COLOUR = 0.3
_BLURRED = 0.25
_LARGEST_BLUR = 1.2
"""In pixels of a crop of 112 pixels."""


class ViewSource:
    """`num_views` of each picture of another source: as it is first, then mirrored, turned, shifted, lit, blurred."""

    def __init__(self, source: PictureSource, num_views: int) -> None:
        """Raises `SourceError` where keys of the source look like those of views."""
        taken = [item.key for item in source.items if view_of(item.key)]
        if taken:
            raise SourceError(f"picture {taken[0]}: its name marks a view of another; rename it")
        self._source = source
        self._original = {item.key: item for item in source.items}
        self.items = [_view_of(item, number) for item in source.items for number in range(num_views)]

    def read(self, item: PictureItem) -> bytes:
        """The bytes of the picture, or of the view as BMP. Raises `SourceError`."""
        original = self._original[picture_of(item.key)]
        data = self._source.read(original)
        if not view_of(item.key):
            return data
        try:
            picture = decode_picture(data)
            if original.landmarks is not None:
                picture = align_face(picture, original.landmarks)
        except PictureError as failure:
            raise SourceError(str(failure)) from None
        stream = io.BytesIO()
        another_view(picture, item.key).save(stream, "BMP")
        return stream.getvalue()


def num_views(keys: Iterable[str]) -> int:
    """How many views of each picture a `ViewSource` must give to have these keys.

    >>> num_views(["a.jpg", "a.jpg#view-2"])
    3
    """
    return 1 + max((view_of(key) for key in keys), default=0)


def another_view(crop: Image.Image, key: str) -> Image.Image:
    """An aligned crop as another picture might show it; the same for the same key."""
    random = np.random.default_rng(list(hashlib.sha256(key.encode(errors="surrogatepass")).digest()))
    if random.random() < 0.5:
        crop = ImageOps.mirror(crop)
    turn, scale = random.normal(0, _TURN), math.exp(random.normal(0, _SCALE))
    shift_x, shift_y = random.normal(0, _SHIFT, 2) * crop.width
    cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
    x, y = crop.width / 2, crop.height / 2
    matrix = (cosine, -sine, x - cosine * x + sine * y + shift_x, sine, cosine, y - sine * x - cosine * y + shift_y)
    # What comes in from outside the crop is the edge's own pixels, drawn out.
    margin = max(crop.size) // 4
    wide = Image.fromarray(np.pad(np.asarray(crop), ((margin, margin), (margin, margin), (0, 0)), mode="edge"))
    a, b, c, d, e, f = matrix
    moved = wide.transform(
        crop.size, Image.Transform.AFFINE, (a, b, c + margin, d, e, f + margin), Image.Resampling.BICUBIC
    )
    for change, deviation in (
        (ImageEnhance.Brightness, _LIGHT),
        (ImageEnhance.Contrast, _LIGHT),
        (ImageEnhance.Color, _COLOUR),
    ):
        moved = change(moved).enhance(math.exp(random.normal(0, deviation)))
    if random.random() < _BLURRED:
        moved = moved.filter(ImageFilter.GaussianBlur(random.uniform(0.3, _LARGEST_BLUR) * crop.width / 112))
    return moved


def _view_of(item: PictureItem, number: int) -> PictureItem:
    return replace(item, key=f"{item.key}{VIEW_MARK}{number}", landmarks=None) if number else item
