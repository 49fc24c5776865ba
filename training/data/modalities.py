"""Pictures of a weak modality, such as sketches, and photos of the same people, joined by who is on them.

Nothing pairs a sketch with one photo: it may have been drawn from memory, and of some people there are photos alone.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.calibration import PHOTO
from models.feature_set import FeatureSet
from models.split import Part, SplitRule
from training.errors import JoinError, TrainingError

FEWEST_PEOPLE = 32
"""To train on, with pictures of both modalities."""


@dataclass(frozen=True, slots=True)
class Modalities:
    """Features of both, with subjects; everybody on weak pictures is on strong ones too."""

    modality: str
    """Of the weak ones."""
    weak: FeatureSet
    strong: FeatureSet
    lonely: FeatureSet | None = None
    """Weak pictures of people of whom there is no strong one: most methods learn nothing from them."""

    @property
    def num_lonely(self) -> int:
        """How many weak pictures are of people of whom there is no strong one."""
        return 0 if self.lonely is None else len(self.lonely)

    @property
    def is_one_space(self) -> bool:
        """Whether one encoder made both."""
        return self.weak.space.fingerprint == self.strong.space.fingerprint


@dataclass(frozen=True, slots=True)
class ModalityParts:
    """Both modalities by part of the split."""

    rule: SplitRule
    modality: str
    train: Modalities
    validation: FeatureSet
    """Weak pictures, as those of the test."""
    test: FeatureSet | None
    gallery: FeatureSet
    """Strong pictures of everybody, whatever their part: who was seen is somebody to be mistaken for."""

    @property
    def known(self) -> FeatureSet:
        """The gallery without test people, by which everything is chosen."""
        if self.test is None:
            return self.gallery
        return self.gallery.take(self.rule.parts(self.gallery) != "test")

    @property
    def num_validation(self) -> int:
        """Of people to validate on."""
        return len(np.unique(self.validation.subject))

    @classmethod
    def of(cls, found: Modalities, rule: SplitRule) -> "ModalityParts":
        """Split by subject. Raises `TrainingError` where too few people are left to train or validate on."""
        weak, strong = rule.parts(found.weak), rule.parts(found.strong)
        num_people = len(np.unique(found.weak.subject[weak == "train"]))
        num_validation = int((weak == "validation").sum())
        if num_people < FEWEST_PEOPLE or num_validation < 2:
            raise TrainingError(
                f"people with a {found.modality} and a photo: {num_people} are left for training, and {num_validation} "
                f"pictures for validation; at least {FEWEST_PEOPLE} and 2 are needed"
            )
        train = replace(
            found,
            weak=found.weak.take(weak == "train"),
            strong=found.strong.take(strong == "train"),
            lonely=_part(found.lonely, rule, "train"),
        )
        measured = [
            found.weak.take(weak == part).originals() if (weak == part).any() else None
            for part in ("validation", "test")
        ]
        assert measured[0] is not None
        return cls(rule, found.modality, train, measured[0], measured[1], found.strong.originals())


def join_by_subject(source: FeatureSet, target: FeatureSet, modality: str | None = None) -> Modalities:
    """Pictures of `modality` in `source`, and the photos in `target`; without one named, the only one besides photos.

    Where `target` does not say of what modality its pictures are, all are photos. Raises `JoinError`.
    """
    for side, feature_set in (("source", source), ("target", target)):
        if feature_set.is_translated:
            raise JoinError(f"the {side} set was made by a translator; take features that the encoder itself made")
        if not feature_set.has_subjects:
            raise JoinError(f"the {side} set does not say who is on its pictures, by which they are joined")
    modality = modality or _only_modality(source)
    # A blend is of two people, and of neither as they are.
    is_weak = _is_of(source, modality) & ~source.is_blend
    is_strong = _is_of(target, PHOTO) & ~target.is_blend
    if modality == PHOTO or not is_weak.any() or not is_strong.any():
        missing = "weak modality" if modality == PHOTO else modality if not is_weak.any() else PHOTO
        side = "target" if is_weak.any() and modality != PHOTO else "source"
        raise JoinError(f"the {side} set holds no picture of the modality {missing!r}")
    strong = _named(target.take(is_strong), PHOTO)
    has_strong = np.isin(source.subject, np.unique(strong.subject))
    if not (is_weak & has_strong).any():
        raise JoinError(f"nobody on the pictures of the modality {modality!r} is on a photo of the target set")
    weak = _named(source.take(is_weak & has_strong), modality)
    _check_apart(weak, strong)
    is_lonely = is_weak & ~has_strong
    lonely = _named(source.take(is_lonely), modality) if is_lonely.any() else None
    return Modalities(modality, weak, strong, lonely)


def _part(feature_set: FeatureSet | None, rule: SplitRule, part: Part) -> FeatureSet | None:
    if feature_set is None:
        return None
    is_of = rule.parts(feature_set) == part
    return feature_set.take(is_of) if is_of.any() else None


def _only_modality(source: FeatureSet) -> str:
    known = set() if source.modality is None else set(source.modality.tolist()) - {PHOTO, ""}
    if len(known) == 1:
        return str(known.pop())
    found = f"holds several: {', '.join(sorted(known))}" if known else "does not say which pictures are no photos"
    raise JoinError(f"give the --modality that is asked about; the source set {found}")


def _named(feature_set: FeatureSet, modality: str) -> FeatureSet:
    """With what a set that tells no modalities is taken to be of."""
    return replace(feature_set, modality=np.full(len(feature_set), modality))


def _check_apart(weak: FeatureSet, strong: FeatureSet) -> None:
    """Raises `JoinError` where one picture is on both sides, as the sets may be one that tells no modalities."""
    if weak.space.fingerprint != strong.space.fingerprint:
        return
    keys, in_weak, in_strong = np.intersect1d(weak.image, strong.image, return_indices=True)
    # Two sets may well name different pictures alike.
    is_same = (weak.feature[in_weak] == strong.feature[in_strong]).all(axis=1)
    if is_same.any():
        first = str(keys[is_same.argmax()])
        raise JoinError(
            f"{int(is_same.sum())} pictures are on both sides, {first!r} first: say of each of what modality it is, in labels.csv"
        )


def _is_of(feature_set: FeatureSet, modality: str) -> npt.NDArray[np.bool_]:
    """Which rows are of a modality; a set without any is of photos, and of what it is said to be."""
    if feature_set.modality is None:
        return np.ones(len(feature_set), dtype=bool)
    is_of: npt.NDArray[np.bool_] = feature_set.modality == modality
    return is_of
