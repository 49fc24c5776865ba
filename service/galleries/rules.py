"""The rules that every gallery store keeps, stated once: what may be enrolled or asked, and what a score is.

Invariant: what is searchable in a gallery is a finite float32 vector of length one, in the gallery's space.
Shapes: B probes, G templates, D dimension of a gallery's space.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from models.space import Space
from service.entities import FloatArray, NewTemplate
from service.errors import (
    DimensionMismatchError,
    EngineError,
    InvalidInputError,
    NonFiniteVectorError,
    SpaceMismatchError,
)
from service.galleries.port import Project

LENGTH_TOLERANCE = 1e-3
"""How far from one the length of a unit vector may be."""


def gallery_feature(template: NewTemplate) -> FloatArray:
    """What becomes searchable, (D,): of a native template the original itself, so that it need not be kept twice."""
    return template.feature if template.route else template.original


def check_templates(templates: Sequence[NewTemplate], space: Space) -> None:
    """Raises what `GalleryStore.enrol` raises for a gallery in `space`, and the errors of `_check_unit`."""
    spaces = {template.original_space for template in templates} | {template.space for template in templates}
    fingerprint_by_space = {known: known.fingerprint for known in spaces}
    own_fingerprint = space.fingerprint
    for template in templates:
        original_space = template.original_space
        native_elsewhere = not template.route and fingerprint_by_space[original_space] != own_fingerprint
        if native_elsewhere or fingerprint_by_space[template.space] != own_fingerprint:
            raise SpaceMismatchError(f"a template must be of the gallery's space, {space.name} ({own_fingerprint})")
        if template.original.shape != (original_space.dimension,) or template.feature.shape != (space.dimension,):
            raise DimensionMismatchError(
                f"a feature has not as many numbers as its space ({original_space.dimension} for the original, "
                f"{space.dimension} in the gallery)"
            )
    for known in {template.original_space for template in templates}:
        _check_unit(np.stack([template.original for template in templates if template.original_space == known]))
    if templates:
        _check_unit(np.stack([template.feature for template in templates]))


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


def check_probes(probes_BD: FloatArray, probe_space: Space, space: Space) -> None:
    """Raises what `GalleryStore.search` raises for a gallery in `space`, and the errors of `_check_unit`."""
    if probe_space.fingerprint != space.fingerprint:
        raise SpaceMismatchError(f"probes of this gallery must be of its space, {space.name} ({space.fingerprint})")
    if probes_BD.ndim != 2 or probes_BD.shape[1] != space.dimension:
        raise DimensionMismatchError(
            f"a probe of this gallery has {space.dimension} numbers, as its space {space.name}"
        )
    _check_unit(probes_BD)


def _check_unit(features_GD: FloatArray) -> None:
    """Raises `NonFiniteVectorError`, `InvalidInputError` where a row is not a unit vector."""
    length_G = np.linalg.norm(features_GD.astype(np.float64), axis=1)
    if not np.isfinite(length_G).all():
        raise NonFiniteVectorError("a vector holds NaN or infinity")
    if (np.abs(length_G - 1.0) > LENGTH_TOLERANCE).any():
        raise InvalidInputError("a vector is not of length one; L2-normalise it")


def exact_scores(probe_D: FloatArray, features_GD: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Scores of one probe against G float32 features, (G,): float64 dot products rounded to float32.

    Each row is summed by itself, so a score does not depend on which rows are scored together (a BLAS product's does).

    >>> exact_scores(np.float32([0.6, 0.8]), np.float32([[1, 0], [0, 1]])).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    products_GD = features_GD.astype(np.float64, order="C", copy=False) * probe_D.astype(np.float64)
    # Rounding may take the product of a unit vector with itself past one.
    scores_G: FloatArray = np.clip(products_GD.sum(axis=1), -1.0, 1.0).astype(np.float32)
    return scores_G


def new_template_id() -> str:
    """128 random bits as 32 hexadecimal digits: cannot be guessed, says nothing of when or who."""
    return secrets.token_hex(16)


def timestamp() -> str:
    """Now, in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
