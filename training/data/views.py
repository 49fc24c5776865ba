"""More pictures of the same faces: each as it is, as it might have been taken otherwise, and blended with another's.

A translator needs no labels, only pictures that both encoders have seen. A view depends on the picture's key and the
view's number alone, a blend on the keys of its two pictures, so that two encoders see the same pixels on any day.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from models.errors import PictureError
from models.feature_set import BLEND_MARK, VIEW_MARK, blended_with, picture_of
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
_OVER = (0.3, 0.7)
"""How much of the first face is seen, one over the other."""
_SEAM = 0.12
"""How far off the middle two faces side by side meet, of the picture's side."""
_SEAM_WIDTH = (0.05, 0.2)
"""How softly, of the picture's side."""


class ViewSource:
    """Each picture of another source, `num_views` - 1 views of it, and `num_blends` blends with pictures drawn by chance.

    A view is the picture mirrored, turned, shifted, lit, blurred; a blend is a view of each of two pictures, one over the
    other or side by side.
    """

    def __init__(
        self, source: PictureSource, num_views: int = 1, num_blends: int = 0, size: tuple[int, int] = (112, 112)
    ) -> None:
        """`size` (width, height) is of views of pictures that landmarks align.

        Raises `SourceError` where keys of the source look like those of views or blends.
        """
        taken = [item.key for item in source.items if picture_of(item.key) != item.key]
        if taken:
            raise SourceError(f"picture {taken[0]}: its name marks a view or blend of another; rename it")
        self._source, self._size = source, size
        self._original = {item.key: item for item in source.items}
        self.items = [
            made
            for item in source.items
            for made in (
                item,
                *(_made_of(item, f"{VIEW_MARK}{number}") for number in range(1, num_views)),
                *(_made_of(item, f"{BLEND_MARK}{other}") for other in _others(item, source.items, num_blends)),
            )
        ]

    def find(self, key: str) -> PictureItem | None:
        """The picture, view or blend of this key, whether it is among `items` or not; None where its pictures are not."""
        original, other = self._original.get(picture_of(key)), blended_with(key)
        if original is None or (other and other not in self._original):
            return None
        return original if key == original.key else _made_of(original, key.removeprefix(original.key))

    def read(self, item: PictureItem) -> bytes:
        """The bytes of the picture, or of the view or blend as BMP. Raises `SourceError`."""
        original = self._original[picture_of(item.key)]
        if item.key == original.key:
            return self._source.read(original)
        picture, other = self._crop(original), blended_with(item.key)
        made = blend(picture, self._crop(self._original[other]), item.key) if other else another_view(picture, item.key)
        stream = io.BytesIO()
        made.save(stream, "BMP")
        return stream.getvalue()

    def _crop(self, original: PictureItem) -> Image.Image:
        try:
            picture = decode_picture(self._source.read(original))
            return picture if original.landmarks is None else align_face(picture, original.landmarks, self._size)
        except PictureError as failure:
            raise SourceError(str(failure)) from None


def another_view(crop: Image.Image, key: str) -> Image.Image:
    """An aligned crop as another picture might show it; the same for the same key."""
    random = _random_of(key)
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


def blend(first: Image.Image, second: Image.Image, key: str) -> Image.Image:
    """A view of each of two aligned crops, in one picture of the first's size; the same for the same key."""
    random = _random_of(key + "/blend")
    one = np.asarray(another_view(first, f"{key}/1"), dtype=np.float32)
    two = np.asarray(another_view(second.resize(first.size, Image.Resampling.BICUBIC), f"{key}/2"), dtype=np.float32)
    if random.random() < 0.5:
        share: float | npt.NDArray[np.float32] = random.uniform(*_OVER)
    else:
        across, angle = random.normal(0, _SEAM), random.uniform(0, 2 * math.pi)
        y_HW, x_HW = np.mgrid[0 : first.height, 0 : first.width] / (max(first.size) - 1.0) - 0.5
        distance_HW = x_HW * math.cos(angle) + y_HW * math.sin(angle) + across
        share = (1 / (1 + np.exp(-distance_HW / random.uniform(*_SEAM_WIDTH))))[..., None]
    return Image.fromarray((two + share * (one - two)).round().clip(0, 255).astype(np.uint8))


def _random_of(key: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(key.encode(errors="surrogatepass")).digest()))


def _others(item: PictureItem, items: Sequence[PictureItem], num: int) -> list[str]:
    """Up to `num` keys of other people's pictures drawn by chance, the same for the same key among the same ones.

    Without subjects, of other pictures.
    """
    if not num:
        return []
    random = _random_of(f"{item.key}/others")
    # Most need no more than these; a whole permutation for each of a million pictures would never end.
    for size in (num + 1, len(items)):
        drawn = (items[number] for number in random.choice(len(items), min(size, len(items)), replace=False))
        others = [o.key for o in drawn if o.key != item.key and not (o.subject and o.subject == item.subject)]
        if len(others) >= num:
            break
    return others[:num]


def _made_of(item: PictureItem, mark: str) -> PictureItem:
    return replace(item, key=item.key + mark, landmarks=None)
