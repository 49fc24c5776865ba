"""The rules that every gallery store keeps, stated once: what may be enrolled or asked, and what a score is.

Invariant: what is searchable in a gallery is a finite float32 vector of length one, in the gallery's space.
Shapes: B rows of P probes, M of each; G templates, D dimension of a gallery's space.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from models.parzen import check_sigma, density_scores
from models.space import Space
from service.entities import Density, FloatArray, Metadata, NewTemplates, Scalar, Translation
from service.errors import (
    DimensionMismatchError,
    EngineError,
    GenerationChangedError,
    InvalidInputError,
    InvalidNameError,
    NonFiniteVectorError,
    SpaceMismatchError,
)
from service.galleries.port import Condition, Project, Where

Key = TypeVar("Key")
Value = TypeVar("Value")
_ROWS_AT_ONCE = 8192
LENGTH_TOLERANCE = 1e-3
"""How far from one the length of a unit vector may be."""


MAX_FIELDS = 128
"""Of a template's metadata."""
MAX_TEXT = 256
"""Characters of a field of metadata."""
MOST_OF_ONE = 3
"""Templates of one subject that are drawn: more would say little of anybody else."""
REST = 512
"""So many templates that came since are taken with the last chunk of a generation: it catches up however fast they come."""
FIELD_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
SUBJECT_PATTERN = r"^[^\x00-\x1f\x7f]{1,128}$"
KEY_PATTERN = r"^[^\x00-\x1f\x7f]{1,256}$"
_SUBJECT, _KEY = re.compile(SUBJECT_PATTERN), re.compile(KEY_PATTERN)
_SUBJECTS = re.compile(r"[^\x00-\x1f\x7f]{1,128}(?:\n[^\x00-\x1f\x7f]{1,128})*+")
"""A subject a line; many are looked at faster that way."""
_DOTS = frozenset({".", ".."})
_FIELD = re.compile(FIELD_PATTERN)


def translation_into(templates: NewTemplates, space: Space) -> Translation | None:
    """What templates are in `space`: where they are native there the originals themselves, so that they need not be kept twice;
    None where no route leads there. Raises `KeyError` where they do not say.
    """
    fingerprint = space.fingerprint
    if templates.original_space.fingerprint == fingerprint:
        return Translation(templates.originals)
    if templates.space.fingerprint == fingerprint and templates.route:
        return Translation(templates.features, templates.route, templates.confidence)
    found = templates.elsewhere[fingerprint]
    # Without a translator it would be of its own encoder there, which it is not.
    return found if found is None or found.route else None


def check_templates(templates: NewTemplates, space: Space, beside: Iterable[Space] = ()) -> None:
    """Raises what `GalleryStore.enrol` raises for a gallery in `space`, with other generations in the spaces `beside`."""
    try:
        own = translation_into(templates, space)
    except KeyError:
        own = None
    if own is None:
        raise SpaceMismatchError(f"a template must be of the gallery's space, {space.name} ({space.fingerprint})")
    if templates.originals.shape != (len(templates), templates.original_space.dimension):
        raise DimensionMismatchError(
            f"an original feature has not as many numbers as its space, {templates.original_space.dimension}"
        )
    check_subjects(templates.subjects)
    _check_unit(templates.originals)
    _check_translation(own, space, len(templates))
    for other in beside:
        try:
            found = translation_into(templates, other)
        except KeyError:
            raise GenerationChangedError(
                f"the gallery has a generation in the space {other.name} since, for which this was not translated"
            ) from None
        if found is not None:
            known = found.features[~np.isnan(found.features).any(axis=1)] if found.route else found.features
            _check_translation(Translation(known, found.route), other, len(known))
    _check_keys(templates.keys or ())
    for row, fields in enumerate(templates.metadata or ()):
        if reason := _wrong_with(fields or {}):
            raise InvalidInputError(f"the metadata of a template cannot be kept: {reason}", [(row, reason)])


def checked_translation(found: Translation | None, space: Space, num: int) -> Translation:
    """What `num` templates became in `space`, float32; all NaN where no route leads there. Raises `EngineError`."""
    if found is None:
        return Translation(np.full((num, space.dimension), np.nan, dtype=np.float32))
    if not found.route:
        raise EngineError("a translation names no translator")
    if found.features.shape != (num, space.dimension):
        raise EngineError(f"a translator gave {found.features.shape} numbers for {num} vectors")
    features = found.features.astype(np.float32, copy=False)
    try:
        _check_unit(features[~np.isnan(features).any(axis=1)])
    except InvalidInputError:
        raise EngineError(f"a translator into the space {space.name} gave vectors that are not of length one") from None
    return Translation(features, found.route, found.confidence)


def _check_translation(found: Translation, space: Space, num: int) -> None:
    if found.features.shape != (num, space.dimension):
        raise DimensionMismatchError(f"a feature has not as many numbers as its space, {space.dimension}")
    if found.route:
        _check_unit(found.features)


def check_subjects(subjects: Sequence[str]) -> None:
    """Raises `InvalidNameError`. A subject is a part of paths too: clients resolve `..`, and would remove what is above it."""
    together = "\n".join(subjects)
    if together.count("\n") == len(subjects) - 1 and "." not in together and _SUBJECTS.fullmatch(together):
        return
    wrong = [
        row
        for row, subject in enumerate(subjects)
        if not _SUBJECT.fullmatch(subject) or (_DOTS & set(subject.split("/")) if "." in subject else False)
    ]
    if wrong:
        reason = "must be 1 to 128 printable characters, and neither . nor .. between slashes"
        raise InvalidNameError(f"the subject of sample {wrong[0]} {reason}", [(row, reason) for row in wrong])


def _check_keys(keys: Sequence[str | None]) -> None:
    wrong = [row for row, key in enumerate(keys) if key is not None and not _KEY.fullmatch(key)]
    if wrong:
        reason = "a key is 1 to 256 printable characters"
        raise InvalidNameError(f"the key of sample {wrong[0]} is none: {reason}", [(row, reason) for row in wrong])
    first: dict[str, int] = {}
    twice = [(row, key) for row, key in enumerate(keys) if key is not None and first.setdefault(key, row) != row]
    if twice:
        raise InvalidInputError(
            "two templates of one request have the same key",
            [(row, f"its key is that of template {first[key]} already") for row, key in twice],
        )


def _wrong_with(fields: Metadata) -> str:
    if len(fields) > MAX_FIELDS:
        return f"it may have at most {MAX_FIELDS} fields"
    for name, value in fields.items():
        if not _FIELD.fullmatch(name):
            return "names of fields are 1 to 64 letters, digits and _ . -"
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                return f"a text may have at most {MAX_TEXT} characters"
        elif not isinstance(value, int | float) or not abs(value) < 2.0**53:
            return "a field is a text, a number of less than 2^53, true or false"
    return ""


def check_projections(projections: Mapping[str, Project], space: Space) -> None:
    """Raises what `GalleryStore.ensure_index` raises for a gallery in `space`."""
    if space.fingerprint not in projections:
        raise SpaceMismatchError(
            f"an index of this gallery must be made from its space, {space.name} ({space.fingerprint})"
        )


def check_projected(projected_GD: FloatArray, space: Space, num: int) -> FloatArray:
    """What a projection gave, (`num`, D of `space`) and float32. Raises `EngineError`."""
    if projected_GD.shape != (num, space.dimension):
        raise EngineError(f"a projection gave {projected_GD.shape} numbers for {num} vectors")
    try:
        _check_unit(projected_GD)
    except InvalidInputError:
        raise EngineError(f"a projection into the space {space.name} gave vectors that are not of length one") from None
    return projected_GD.astype(np.float32)


def check_probes(probes_BD: FloatArray, probe_space: Space, space: Space, density: Density) -> None:
    """Raises what `GalleryStore.search` raises for a gallery in `space`, and the errors of `_check_unit`."""
    if probe_space.fingerprint != space.fingerprint:
        raise SpaceMismatchError(f"probes of this gallery must be of its space, {space.name} ({space.fingerprint})")
    if probes_BD.ndim != 2 or probes_BD.shape[1] != space.dimension:
        raise DimensionMismatchError(
            f"a probe of this gallery has {space.dimension} numbers, as its space {space.name}"
        )
    try:
        check_sigma(density.sigma)
    except ValueError as wrong:
        raise InvalidInputError(str(wrong)) from None
    if density.num_samples < 1 or len(probes_BD) % density.num_samples:
        raise InvalidInputError(f"{len(probes_BD)} features are no probes of {density.num_samples} each")
    _check_unit(probes_BD)


def probes_of(probes_BD: FloatArray, density: Density) -> FloatArray:
    """Checked rows as probes (P, M, D)."""
    return probes_BD.reshape(-1, density.num_samples, probes_BD.shape[1])


def _check_unit(features_GD: FloatArray) -> None:
    """Raises `NonFiniteVectorError`, `InvalidInputError` where a row is not a unit vector."""
    for start in range(0, len(features_GD), _ROWS_AT_ONCE):
        given = features_GD[start : start + _ROWS_AT_ONCE]
        # Squares are further from one than lengths are, so this is the stricter; and float32's error is far below either.
        if (np.abs(np.einsum("gd,gd->g", given, given) - 1.0) <= LENGTH_TOLERANCE).all():
            continue
        block = given.astype(np.float64)
        # Finite numbers whose squares are not are far from length one as well.
        with np.errstate(over="ignore", invalid="ignore"):
            length_G = np.sqrt(np.einsum("gd,gd->g", block, block))
        if (np.abs(length_G - 1.0) <= LENGTH_TOLERANCE).all():
            continue
        broken = np.flatnonzero(~np.isfinite(block).all(axis=1)) + start
        if len(broken):
            raise NonFiniteVectorError(
                "a vector holds NaN or infinity", [(row, "not finite") for row in broken.tolist()]
            )
        wrong = np.flatnonzero(~(np.abs(length_G - 1.0) <= LENGTH_TOLERANCE)) + start
        if len(wrong):
            rows = [(row, "not of length one") for row in wrong.tolist()]
            raise InvalidInputError("a vector is not of length one; L2-normalise it", rows)


def in_rounds(of_each: Mapping[Key, Sequence[Value]]) -> Iterator[tuple[Key, Value]]:
    """The first of each, then the second of each that has one, and so on.

    >>> list(in_rounds({"a": [1, 2], "b": [3]}))
    [('a', 1), ('b', 3), ('a', 2)]
    """
    left = [(key, iter(values)) for key, values in of_each.items()]
    while left:
        going_on = []
        for key, values in left:
            with suppress(StopIteration):
                yield key, next(values)
                going_on.append((key, values))
        left = going_on


ONE_FEATURE = Density(num_samples=1, sigma=1.0)
"""A probe is one feature: its density is its cosine, whatever `sigma` is."""


def exact_scores(probe_MD: FloatArray, features_GD: npt.NDArray[np.floating[Any]], sigma: float) -> FloatArray:
    """Scores of one probe against G float32 features, (G,): densities of float64 dot products, rounded to float32.

    Each row is summed by itself, so a score does not depend on which rows are scored together (a BLAS product's does).

    >>> exact_scores(np.float32([[0.6, 0.8]]), np.float32([[1, 0], [0, 1]]), 1.0).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    exact_GD = features_GD.astype(np.float64, order="C", copy=False)
    score_MG = np.stack([(exact_GD * feature_D).sum(axis=1) for feature_D in probe_MD.astype(np.float64)])
    # Rounding may take the product of a unit vector with itself past one.
    return density_scores(np.clip(score_MG, -1.0, 1.0), sigma).astype(np.float32)


def is_meant(metadata: Metadata, where: Where) -> bool:
    """Whether a template of this metadata meets all conditions."""
    return all(
        _meets(metadata[name], condition) if name in metadata else condition.or_missing
        for name, condition in where.items()
    )


def _meets(value: Scalar, condition: Condition) -> bool:
    if condition.any_of is not None:
        # Truth is no number here, as it is in Python.
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in condition.any_of)
    if isinstance(value, bool | str):
        return False
    return (condition.at_least is None or value >= condition.at_least) and (
        condition.at_most is None or value <= condition.at_most
    )


def milliseconds() -> int:
    """Now, since 1970."""
    return round(datetime.now(UTC).timestamp() * 1000)


def time_of(at_ms: int) -> str:
    """In UTC, as ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def timestamp() -> str:
    """Now, in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
