"""A space: what one exact encoder puts out. Features of different spaces are never compared.

Invariant: two spaces with the same fingerprint hold comparable features. The fingerprint covers all that defines the
numbers (weights, input preparation, dimension, metric) and not the name, which is a label: see
docs/decisions/0002-fingerprint-leaves-out-the-name.md.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter

from models.documents import canonical_json, parse_document, sha256_hex
from models.errors import SpaceError

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Names of spaces, bundles and galleries: lower case, digits, `.`, `_`, `-`; at most 63 characters."""

MAX_DIMENSION = 65_536

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=0, le=4096)]

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class InputPreparation:
    """How an aligned face crop becomes the encoder's input, float32 NCHW.

    pixel' = (pixel - mean) / std per channel in `colour` order, pixel in 0..255, after `crop` and `resize`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    size: tuple[Pixels, Pixels] = (112, 112)
    """Width and height of the aligned crop."""
    crop: tuple[Pixels, Pixels, Pixels, Pixels] = (0, 0, 112, 112)
    """x0, y0, x1, y1 on the aligned crop."""
    resize: tuple[Pixels, Pixels] = (112, 112)
    """Width and height of the encoder's input."""
    colour: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    alignment: Literal["arcface-5pt"] = "arcface-5pt"
    detector: str | None = None

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.crop
        width, height = self.size
        if not (x0 < x1 <= width and y0 < y1 <= height):
            raise SpaceError("crop must lie inside the aligned picture and hold at least one pixel")
        if min(self.resize) < 1:
            raise SpaceError("resize must be at least 1 x 1")
        # One writing of each number, or equal preparations would have different fingerprints (0, 0.0 and -0.0).
        object.__setattr__(self, "mean", tuple(float(value) + 0.0 for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))


@dataclass(frozen=True, slots=True)
class Space:
    """A named space of features of `dimension` numbers each."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Name
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
    encoder: Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|external:.{1,200})$")]
    """`sha256:` and the digest of its weights, or `external:` and whatever names an encoder without a file."""
    preparation: InputPreparation | None = None
    """None for an encoder whose pictures are prepared elsewhere."""
    metric: Literal["cosine"] = "cosine"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of SHA-256 over the canonical JSON of all fields but the name."""
        return _fingerprint(self)

    def to_json(self) -> dict[str, Any]:
        """The space as JSON values."""
        return asdict(self)


# It is asked for with every vector, and there are few spaces.
@lru_cache(1024)
def _fingerprint(space: Space) -> str:
    defining = space.to_json()
    del defining["name"]
    return sha256_hex(canonical_json(defining))[:16]


_SPACE = TypeAdapter(Space)


def parse_space(text: bytes | str, *, what: str = "space") -> Space:
    """Read a space from JSON. Raises `SpaceError`."""
    return parse_document(_SPACE, text, what=what, error=SpaceError)
