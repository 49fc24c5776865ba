"""What is to be enrolled, as it was sent or as a feature set has it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.feature_set import FeatureSet
from service.entities import Metadata, Probe, ProbeRows, Scalar
from service.errors import InvalidInputError

TOLD = "told."
"""With which fields of metadata begin that bundles told of pictures; then come digits of the bundle's digest, and a name."""
DIGITS = 8
"""Of a bundle's digest: what another bundle told is another thing."""
_TOLD = re.compile(rf"{re.escape(TOLD)}[0-9a-f]{{{DIGITS}}}\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Samples:
    """What is to be enrolled: one sample of a subject for each, all of one space."""

    subjects: Sequence[str]
    probes: Sequence[Probe] | ProbeRows
    keys: Sequence[str | None] | None = None
    metadata: Sequence[Metadata | None] | None = None

    def __len__(self) -> int:
        return len(self.subjects)


def is_told(field: str, value: Scalar) -> bool:
    """Whether a field of metadata is what a bundle told of a picture: how probable something is."""
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    return is_number and _TOLD.fullmatch(field) is not None and 0 <= float(value) <= 1


def check_own(metadata: Sequence[Metadata | None]) -> None:
    """Raises `InvalidInputError` where a sender names fields as those that bundles tell."""
    wrong = [row for row, fields in enumerate(metadata) if any(name.startswith(TOLD) for name in fields or ())]
    if wrong:
        reason = f"names that begin with {TOLD} are for what bundles tell of pictures"
        raise InvalidInputError(
            f"the metadata of a template cannot be kept: {reason}", [(row, reason) for row in wrong]
        )


def samples_of(feature_set: FeatureSet, metadata: Sequence[str] | None = None) -> Samples:
    """What a feature set has to enrol: keys of pictures as keys, labels as metadata, only those named if any are.

    Raises `InvalidInputError`.
    """
    if not feature_set.has_subjects:
        raise InvalidInputError("the feature set does not say who its pictures are of; fill its column subject")
    if feature_set.is_translated:
        raise InvalidInputError("the feature set was made by a translator; send the features that the encoder made")
    derived = np.flatnonzero(feature_set.picture != feature_set.image)
    if len(derived):
        raise InvalidInputError(
            f"row {derived[0]} is a view or a blend of pictures, made to learn from; send the pictures themselves, as "
            "`facebridge-train select` writes them (a picture that is only called like one must be renamed)"
        )
    rows = ProbeRows(feature_set.space.fingerprint, feature_set.feature, feature_set.norms)
    return Samples(feature_set.subject.tolist(), rows, feature_set.image.tolist(), _metadata(feature_set, metadata))


def _metadata(feature_set: FeatureSet, wanted: Sequence[str] | None) -> list[Metadata | None] | None:
    """What else the feature set says of its pictures: their labels and modality, but for numbers that are none and empty text."""
    columns = dict(feature_set.labels)
    if feature_set.modality is not None:
        columns["modality"] = feature_set.modality
    if wanted is not None:
        missing = [number for number, name in enumerate(wanted, start=1) if name not in columns]
        if missing:
            raise InvalidInputError(f"the feature set has no label of the name that is number {missing[0]} of metadata")
        columns = {name: columns[name] for name in wanted}
    if not columns:
        return None
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    found: list[dict[str, Scalar]] = [
        {name: value for name, value in zip(columns, of_row, strict=True) if value == value and value != ""}  # noqa: PLR0124
        for of_row in values
    ]
    told = [name for name in columns if name.startswith(TOLD)]
    if not all(is_told(name, fields[name]) for fields in found for name in told if name in fields):
        raise InvalidInputError(
            f"a label that begins with {TOLD} is for what bundles tell of pictures, numbers from 0 to 1; rename it"
        )
    return list(found)
