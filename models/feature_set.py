"""A feature set: the features of many pictures in one space, with what is known about each picture.

Shapes: N pictures, D dimension. Invariant: every feature is finite and of length one, every `image` key is unique, all
columns have N entries, D is the space's dimension. `.npz` is read and written here; Parquet, with the same columns, in
`training/data/feature_set_files.py`. Both go through `FeatureSet.build`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.documents import canonical_json
from models.errors import ContractError, FeatureSetError
from models.features import FloatArray, checked_norms, unit_features_and_norms
from models.npy import NpyError, is_unicode, read_arrays, write_arrays
from models.space import Space, parse_space

StrArray = npt.NDArray[np.str_]

LABEL_PREFIX = "label_"
TRANSLATED_BY = "translated_by"
"""Name of the label that holds, for features made by a translator, its bundle."""
VIEW_MARK = "#view-"
"""Between the key of a picture and the number of a view of it: the same face as another picture might show it."""
BLEND_MARK = "#blend-"
"""Between the keys of two pictures: both faces in one picture."""
_VIEW = re.compile(re.escape(VIEW_MARK) + r"[1-9][0-9]*$")
_ROUNDED = 0.02
_BLEND = re.compile(re.escape(BLEND_MARK) + r"(.+)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features (N, D) of pictures in `space`; make one with `build`, which checks it."""

    space: Space
    feature: FloatArray
    image: StrArray
    subject: StrArray
    """All known or all empty."""
    modality: StrArray | None = None
    labels: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """By name without the prefix `label_`."""
    norm: FloatArray | None = None
    """Of each feature (N,) as its encoder put it out, before it was made of length one; NaN where it is not known.
    With many encoders it tells how good a picture is.
    """

    @classmethod
    def build(
        cls,
        space: Space,
        columns: Mapping[str, npt.NDArray[Any]],
        *,
        what: str = "feature set",
    ) -> "FeatureSet":
        """Check the columns `feature`, `image`, `subject`, `modality`, `norm` and `label_*`; norms are those of
        the features, and where these are of length one those that are given. Raises `FeatureSetError`.
        """
        known = {"feature", "image", "subject", "modality", "norm"}
        unknown = sorted(name for name in columns if name not in known and not name.startswith(LABEL_PREFIX))
        if unknown:
            raise FeatureSetError(f"{what}: unknown column {unknown[0]!r}; extra columns are named {LABEL_PREFIX}...")
        for name in ("feature", "image", "subject"):
            if name not in columns:
                raise FeatureSetError(f"{what}: column {name!r} is missing")
        feature, norm = _checked_features(columns["feature"], space, what)
        for name, column in columns.items():
            if column.shape[:1] != feature.shape[:1] or (name != "feature" and column.ndim != 1):
                raise FeatureSetError(
                    f"{what}: column {name!r} must have one entry for each of {len(feature)} features"
                )
        if "norm" in columns:
            given = _checked_norms(columns["norm"], what)
            # Of length one but for rounding.
            is_given = np.isnan(norm) | (np.isfinite(given) & (np.abs(norm - 1) < _ROUNDED))
            norm = np.where(is_given, given, norm)
        image = _checked_text(columns["image"], "image", what)
        subject = _checked_text(columns["subject"], "subject", what)
        modality = _checked_text(columns["modality"], "modality", what) if "modality" in columns else None
        _check_keys(image, what)
        num_unknown = int((subject == "").sum())
        if 0 < num_unknown < len(subject):
            raise FeatureSetError(
                f"{what}: {num_unknown} of {len(subject)} subjects are empty; name all of them or none"
            )
        labels = {
            name.removeprefix(LABEL_PREFIX): _checked_label(column, name, what)
            for name, column in columns.items()
            if name.startswith(LABEL_PREFIX)
        }
        return cls(space, feature, image, subject, modality, labels, None if np.isnan(norm).all() else norm)

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def has_subjects(self) -> bool:
        """Whether it is known who is on the pictures."""
        return len(self) > 0 and bool(self.subject[0] != "")

    @property
    def norms(self) -> FloatArray:
        """Of every feature (N,), NaN where it is not known."""
        return np.full(len(self), np.nan, dtype=np.float32) if self.norm is None else self.norm

    @property
    def is_translated(self) -> bool:
        """Whether a translator made the features, and not the encoder of their space."""
        return TRANSLATED_BY in self.labels

    @property
    def picture(self) -> StrArray:
        """Keys (N,) of the pictures themselves, of which some rows may be views or blends."""
        keys = self.image.tolist()
        if not any(VIEW_MARK in key or BLEND_MARK in key for key in keys):
            return self.image
        return np.array([picture_of(key) for key in keys], dtype=np.str_)

    @property
    def is_blend(self) -> npt.NDArray[np.bool_]:
        """Which rows (N,) are of two faces in one picture."""
        return np.array([bool(blended_with(key)) for key in self.image.tolist()])

    def originals(self) -> "FeatureSet":
        """Without views and blends. Raises `FeatureSetError` where there is nothing else."""
        is_original = self.picture == self.image
        if not is_original.any():
            raise FeatureSetError("feature set: holds views or blends of pictures only; extract the pictures as well")
        return self if is_original.all() else self.take(is_original)

    @property
    def digest(self) -> str:
        """SHA-256 over space, keys, subjects, features and norms: what a translator was fitted on."""
        head = canonical_json([self.space.fingerprint, self.image.tolist(), self.subject.tolist()])
        digest = hashlib.sha256(head)
        digest.update(np.ascontiguousarray(self.feature).data)
        if self.norm is not None:
            digest.update(np.ascontiguousarray(self.norm).data)
        return digest.hexdigest()

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns by name, as `build` takes them."""
        columns: dict[str, npt.NDArray[Any]] = {"feature": self.feature, "image": self.image, "subject": self.subject}
        if self.modality is not None:
            columns["modality"] = self.modality
        if self.norm is not None:
            columns["norm"] = self.norm
        return columns | {LABEL_PREFIX + name: column for name, column in self.labels.items()}

    def take(self, rows: npt.NDArray[Any]) -> "FeatureSet":
        """The rows chosen by an index or boolean array, in its order."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if not len(rows) or len(np.unique(rows % len(self))) < len(rows):
            # Says what is wrong with that.
            return FeatureSet.build(self.space, {name: column[rows] for name, column in self.columns().items()})
        return replace(
            self,
            feature=self.feature[rows],
            image=self.image[rows],
            subject=self.subject[rows],
            modality=None if self.modality is None else self.modality[rows],
            labels={name: column[rows] for name, column in self.labels.items()},
            norm=None if np.isnan(self.norms[rows]).all() else self.norms[rows],
        )

    def moved(self, space: Space, feature: npt.NDArray[Any], *, translated_by: str | None = None) -> "FeatureSet":
        """The same pictures in another space, by the translator of that name; norms stay behind. Raises `FeatureSetError`."""
        columns = {name: column for name, column in self.columns().items() if name != "norm"} | {"feature": feature}
        if translated_by is not None:
            columns[LABEL_PREFIX + TRANSLATED_BY] = np.full(len(self), translated_by)
        return replace(FeatureSet.build(space, columns), norm=None)


def read_npz(data: bytes, *, what: str = "feature set", max_bytes: int = 8 << 30) -> FeatureSet:
    """Read an `.npz` feature set that unpacks to at most `max_bytes`. Raises `FeatureSetError`."""
    try:
        columns = read_arrays(data, max_bytes=max_bytes)
    except NpyError as failure:
        raise FeatureSetError(f"{what}: {failure}") from None
    space_text = columns.pop("space", None)
    if space_text is None or space_text.dtype.kind != "U" or space_text.size != 1:
        raise FeatureSetError(f"{what}: array 'space' must hold the space as one JSON string")
    try:
        space = parse_space(str(space_text.reshape(()).item()), what="space")
    except ContractError as failure:
        raise FeatureSetError(f"{what}: {failure}") from None
    return FeatureSet.build(space, columns, what=what)


def picture_of(key: str) -> str:
    """The key of the picture itself, where `key` is of a view of it; of the first one, where it is of a blend.

    >>> picture_of("ann/1.jpg#view-2"), picture_of("ann/1.jpg"), picture_of("odd#view-name.jpg")
    ('ann/1.jpg', 'ann/1.jpg', 'odd#view-name.jpg')
    >>> picture_of("ann/1.jpg#blend-bob/3.jpg")
    'ann/1.jpg'
    """
    return _VIEW.sub("", _BLEND.sub("", key))


def blended_with(key: str) -> str:
    """The key of the second picture of a blend; empty for anything else.

    >>> blended_with("ann/1.jpg#blend-bob/3.jpg"), blended_with("ann/1.jpg#view-2")
    ('bob/3.jpg', '')
    """
    found = _BLEND.search(key)
    return found[1] if found else ""


def write_npz(feature_set: FeatureSet) -> bytes:
    """The feature set as the bytes of an `.npz` file; the same set gives the same bytes."""
    space = np.array(canonical_json(feature_set.space.to_json()).decode())
    return write_arrays({"space": space} | feature_set.columns())


def _checked_features(feature: npt.NDArray[Any], space: Space, what: str) -> tuple[FloatArray, FloatArray]:
    if feature.ndim != 2 or feature.dtype.kind != "f":
        raise FeatureSetError(f"{what}: column 'feature' must be a float array of shape (N, D)")
    if len(feature) == 0:
        raise FeatureSetError(f"{what}: it holds no features")
    if feature.shape[1] != space.dimension:
        raise FeatureSetError(
            f"{what}: features have {feature.shape[1]} numbers, its space {space.name!r} says {space.dimension}"
        )
    try:
        return unit_features_and_norms(feature)
    except ContractError as failure:
        raise FeatureSetError(f"{what}: {failure}") from None


def _checked_norms(norm: npt.NDArray[Any], what: str) -> FloatArray:
    if norm.dtype.kind != "f" or (norm <= 0).any() or np.isinf(norm).any():
        raise FeatureSetError(f"{what}: column 'norm' must hold positive numbers, NaN where a norm is not known")
    return checked_norms(norm)


def _checked_text(column: npt.NDArray[Any], name: str, what: str) -> StrArray:
    if column.dtype.kind != "U" or not is_unicode(column):
        raise FeatureSetError(f"{what}: column {name!r} must hold text, all of it Unicode")
    return column


def _checked_label(column: npt.NDArray[Any], name: str, what: str) -> npt.NDArray[Any]:
    if column.dtype.kind == "U":
        return _checked_text(column, name, what)
    if column.dtype.kind not in "fiub":
        raise FeatureSetError(f"{what}: column {name!r} must hold numbers or text")
    return column


def _check_keys(image: StrArray, what: str) -> None:
    if (image == "").any():
        raise FeatureSetError(f"{what}: image {int(np.argmax(image == ''))} has no key")
    keys, counts = np.unique(image, return_counts=True)
    if (counts > 1).any():
        twice = str(keys[np.argmax(counts > 1)])
        raise FeatureSetError(
            f"{what}: {int((counts > 1).sum())} image keys occur more than once, {twice!r} first; keys must be unique"
        )
