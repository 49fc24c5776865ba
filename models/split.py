"""Which part of any feature set a translator was fitted on, decided by a hash of the subject and nothing else.

Because the rule needs no list of names, a bundle carries it (three numbers) and `evaluate` leaves out whoever was seen,
on sets that have grown or been extracted again too.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from models.errors import ContractError
from models.feature_set import FeatureSet, blended_with

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class SplitRule:
    """Shares of the subjects (or pictures) kept for validation and test; the rest is for training."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    by: Literal["subject", "image"]
    seed: int
    validation: Annotated[float, Field(ge=0, lt=1)]
    test: Annotated[float, Field(ge=0, lt=1)]

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ContractError("the shares of validation and test leave nothing to train on")

    def part_of(self, key: str) -> Part:
        """The part to which a subject (or picture) belongs.

        >>> SplitRule(by="subject", seed=0, validation=0.0, test=0.0).part_of("anybody")
        'train'
        """
        place = self.place_of(key)
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"

    def place_of(self, key: str) -> float:
        """Where a key falls by its hash, in [0, 1): test first, then validation."""
        digest = hashlib.sha256(f"{self.seed}\0{key}".encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    def parts(self, feature_set: FeatureSet) -> npt.NDArray[np.str_]:
        """The part of each row, (N,) of text: of a view that of its picture, whatever subject the view is said to be of.

        Blends are for training where both their pictures are, and otherwise of no part: "".
        """
        keys = feature_set.subject if self.by == "subject" else feature_set.picture
        part_by_key = {key: self.part_of(key) for key in set(keys.tolist())}
        parts = [part_by_key[key] for key in keys.tolist()]
        part_by_image: dict[str, str] = dict(zip(feature_set.image.tolist(), parts, strict=True))
        return np.array(
            [
                _part_of_row(image, part_by_image.get(picture, part), part_by_image)
                for image, picture, part in zip(
                    feature_set.image.tolist(), feature_set.picture.tolist(), parts, strict=True
                )
            ]
        )


def _part_of_row(image: str, part: str, part_by_image: Mapping[str, str]) -> str:
    other = blended_with(image)
    return part if not other or part == part_by_image.get(other) == "train" else ""
