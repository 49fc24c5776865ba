"""Whom a classifier knows: `labels.json`, the subject of each of its probabilities, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, StringConstraints, TypeAdapter

from models.documents import parse_document, readable_json
from models.errors import BundleError

LABELS = "labels.json"

Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]


@dataclass(frozen=True, slots=True)
class _Labels:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    labels: tuple[Label, ...]


_DOCUMENT = TypeAdapter(_Labels)


def labels_json(labels: Sequence[str]) -> bytes:
    """The file."""
    return readable_json({"labels": list(labels)})


def parse_labels(data: bytes, *, what: str, dimension: int | None = None) -> tuple[str, ...]:
    """The subjects, one for each of `dimension` probabilities, where that is known. Raises `BundleError`."""
    labels = parse_document(_DOCUMENT, data, what=what, error=BundleError).labels
    if dimension is not None and len(labels) != dimension:
        raise BundleError(f"{what}: names {len(labels)} people, the model knows {dimension}")
    if len(set(labels)) != len(labels):
        raise BundleError(f"{what}: names somebody twice")
    if any(not label.isprintable() for label in labels):
        raise BundleError(f"{what}: a name holds what cannot be printed")
    return labels
