"""Probes of a list, or all of a modality, against its gallery: across two spaces, or in one without a translator."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.calibration import MODALITY_PATTERN
from models.feature_set import FeatureSet
from models.features import FloatArray
from training.commands.terminal import OfRoles
from training.data.pairs import Pairs
from training.data.protocols import RoleList, find_rows, read_roles, roles_by_modality
from training.errors import TrainingError
from training.evaluation.protocols import Fold, identification_figures
from training.evaluation.scoring import Fusion

Sides = Mapping[str, tuple[FloatArray, FloatArray]]
"""By the way to compare, features of probes and of the gallery, of every picture each."""


def roles_across(asked: str, pairs: Pairs, sides: Sides, fusion: Fusion, fold: int | None = None) -> OfRoles:
    """The pictures that are in both spaces, in their roles, of one fold or all. Raises `TrainingError` where a role has none."""
    modality = pairs.source.modality if pairs.source.modality is not None else pairs.target.modality
    return _of_roles(asked, pairs.source, modality, sides, fusion, fold=fold, hint="; see --subjects")


def roles_within(asked: str, feature_set: FeatureSet, fusion: Fusion, fold: int | None = None) -> OfRoles:
    """The pictures of one encoder, in their roles, of one fold or all. Raises `TrainingError` where a role has none."""
    name = "translated" if feature_set.is_translated else "native"
    sides = {name: (feature_set.feature, feature_set.feature)}
    return _of_roles(asked, feature_set, feature_set.modality, sides, fusion, fold=fold)


def _of_roles(
    asked: str,
    measured: FeatureSet,
    modality: npt.NDArray[np.str_] | None,
    sides: Sides,
    fusion: Fusion,
    *,
    fold: int | None,
    hint: str = "",
) -> OfRoles:
    if not measured.has_subjects:
        raise TrainingError("--roles needs feature sets that say who is on their pictures")
    image = measured.image.tolist()
    roles = _roles(asked, image, modality).of_fold(fold)
    row = find_rows(image, roles.image)
    folds = []
    for number in np.unique(roles.fold_N):
        here = (roles.fold_N == number) & (row >= 0)
        probes, gallery = row[here & roles.is_probe_N], row[here & ~roles.is_probe_N]
        both = np.intersect1d(probes, gallery)
        if len(both):
            raise TrainingError(f"{asked}: fold {number} has {image[both[0]]!r} as probe and in the gallery")
        if not len(probes) or not len(gallery):
            raise TrainingError(
                f"{asked}: fold {number} has {len(probes)} probes and {len(gallery)} gallery pictures among those that are "
                f"measured{hint}"
            )
        folds.append(Fold(probes, gallery))
    figures = {
        name: identification_figures(probe, stored, measured.subject, folds, fusion)
        for name, (probe, stored) in sides.items()
    }
    return OfRoles(int((row >= 0).sum()), len(row), len(folds), figures)


def _roles(asked: str, image: list[str], modality: npt.NDArray[np.str_] | None) -> RoleList:
    """A file's roles, or those of two modalities."""
    modalities = re.fullmatch(f"({MODALITY_PATTERN}?)-to-({MODALITY_PATTERN})", asked)
    if not modalities:
        return read_roles(Path(asked))
    if modality is None:
        raise TrainingError(f"--roles {asked}: the feature sets do not say of which modality their pictures are")
    return roles_by_modality(image, modality.tolist(), modalities[1], modalities[2])
