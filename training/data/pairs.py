"""Two feature sets of the same pictures, row beside row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.feature_set import FeatureSet
from training.errors import JoinError


@dataclass(frozen=True, slots=True)
class Pairs:
    """Row i of both sets is the same picture."""

    source: FeatureSet
    target: FeatureSet

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: np.ndarray) -> "Pairs":
        """The chosen rows of both sides."""
        return Pairs(self.source.take(rows), self.target.take(rows))

    def originals(self) -> "Pairs":
        """Without the views. Raises `FeatureSetError` where there is nothing else."""
        return Pairs(self.source.originals(), self.target.originals())


def join_all(feature_sets: Sequence[FeatureSet]) -> list[FeatureSet]:
    """The sets with the pictures that all of them hold, in order of their keys, row beside row; subjects on all.

    Raises `JoinError`.
    """
    first = feature_sets[0]
    for other in feature_sets[1:]:
        first = join_by_image(first, other).source
    joined = [first, *(join_by_image(first, other).target for other in feature_sets[1:])]
    fingerprints = [feature_set.space.fingerprint for feature_set in joined]
    if len(set(fingerprints)) < len(fingerprints):
        raise JoinError("two of the feature sets are of the same space")
    names = [feature_set.space.name for feature_set in joined]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise JoinError(f"two different spaces have the same name {twice[0]!r}; rename one")
    return [replace(feature_set, subject=first.subject, modality=first.modality) for feature_set in joined]


def join_by_image(source: FeatureSet, target: FeatureSet) -> Pairs:
    """Pairs of the pictures that both sets hold, in order of their keys; subjects from whichever set knows them.

    Raises `JoinError`.
    """
    for side, feature_set in (("source", source), ("target", target)):
        if feature_set.is_translated:
            raise JoinError(f"the {side} set was made by a translator; take features that the encoder itself made")
    if source.space.fingerprint == target.space.fingerprint:
        raise JoinError(f"both feature sets are of the space {source.space.name!r}; there is nothing to translate")
    common, source_rows, target_rows = np.intersect1d(source.image, target.image, return_indices=True)
    if len(common) == 0:
        raise JoinError(
            f"no picture is in both feature sets: the source has keys like {str(source.image[0])!r}, the target like "
            f"{str(target.image[0])!r}; extract both from the same pictures"
        )
    pairs = _with_modality(source.take(source_rows), target.take(target_rows))
    if target.has_subjects and not source.has_subjects:
        return Pairs(replace(pairs.source, subject=pairs.target.subject), pairs.target)
    if source.has_subjects and target.has_subjects:
        differs = pairs.source.subject != pairs.target.subject
        if differs.any():
            key = str(common[np.argmax(differs)])
            raise JoinError(f"the sets name different subjects for {int(differs.sum())} pictures, {key!r} first")
    return pairs


def _with_modality(source: FeatureSet, target: FeatureSet) -> Pairs:
    """With the modalities of whichever side knows them, picture by picture. Raises `JoinError`."""
    one, other = source.modality, target.modality
    if one is None or other is None:
        known = other if one is None else one
        return Pairs(replace(source, modality=known), replace(target, modality=known))
    differs = (one != other) & (one != "") & (other != "")
    if differs.any():
        key = str(source.image[np.argmax(differs)])
        raise JoinError(f"the sets name different modalities for {int(differs.sum())} pictures, {key!r} first")
    known = np.where(one == "", other, one)
    return Pairs(replace(source, modality=known), replace(target, modality=known))
