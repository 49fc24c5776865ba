"""A translator bundle, loaded to be used offline. Shapes: N rows, S source and T target dimension."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.bundle import COMMON_SPACE_METHODS, Bundle, read_bundle
from models.feature_set import FeatureSet
from models.features import FloatArray, unit_features
from models.graph import NOISE
from models.runtime import Device, Session
from models.samples import draw_noise, rows_of
from models.space import Space
from training.data.feature_set_files import load_feature_set
from training.data.pairs import Pairs, join_by_image
from training.errors import JoinError, TrainingError

_ROWS_A_RUN = 1024
"""What R3AN keeps of a picture on its way is a megabyte."""


def held_out(bundle: Bundle, pairs: Pairs) -> Pairs:
    """The pairs that the bundle's own split kept apart. Raises `TrainingError` where there are none."""
    is_held_out = parts_of(bundle, pairs.source) == "test"
    if not is_held_out.any():
        raise TrainingError("the bundle's split keeps none of these pictures apart; use --subjects all on new ones")
    return pairs.take(is_held_out)


def parts_of(bundle: Bundle, feature_set: FeatureSet) -> npt.NDArray[np.str_]:
    """The part of the bundle's own split to which each row belongs, (N,).

    A split by image, made where nobody knew who is on the pictures, may have put one person's into several parts. Where
    the rows name subjects, all pictures of a subject belong to the part of those that were seen most: held out is who
    has only pictures of the part `test` among these rows.

    Raises `TrainingError` where the bundle carries no split, or one by subject and the rows name none.
    """
    rule = bundle.manifest.provenance.split
    if rule is None:
        raise TrainingError(f"bundle {bundle.manifest.name}: does not say what it was fitted on")
    if rule.by == "subject" and not feature_set.has_subjects:
        raise TrainingError(
            f"bundle {bundle.manifest.name}: was split by subject, and this feature set does not say who is on its pictures"
        )
    parts = rule.parts(feature_set)
    return _parts_of_people(parts, feature_set.subject) if rule.by == "image" and feature_set.has_subjects else parts


def _parts_of_people(part: npt.NDArray[np.str_], subject: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    by_person = np.full(len(part), "test", dtype="<U10")
    for seen in ("validation", "train"):
        by_person[np.isin(subject, subject[part == seen])] = seen
    return by_person


class GraphTranslator:
    """Callable, (N, S) to unit (N, T), through ONNX Runtime: what the service would answer."""

    def __init__(self, graph: bytes, device: Device = "auto") -> None:
        self._session = Session(graph, device=device)

    def __call__(self, source_NS: FloatArray) -> FloatArray:
        """Translate features."""
        blocks = [source_NS[start : start + _ROWS_A_RUN] for start in range(0, len(source_NS), _ROWS_A_RUN)]
        return unit_features(np.concatenate([self._session.run(block) for block in blocks]))


class LoadedTranslator(GraphTranslator):
    """A bundle's translator, which knows its spaces."""

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        """Raises `TrainingError` for a bundle that is no translator."""
        if bundle.manifest.kind != "translator" or bundle.manifest.source is None:
            raise TrainingError(f"bundle {bundle.manifest.name}: is of kind {bundle.manifest.kind}, not a translator")
        self.bundle = bundle
        self.source = bundle.manifest.source
        self._target = bundle.manifest.target
        super().__init__(bundle.model, device)

    @property
    def is_projection(self) -> bool:
        """Whether it leads into a common space."""
        return self.bundle.manifest.method in COMMON_SPACE_METHODS

    def beside(self, path: Path, device: Device = "auto") -> "LoadedTranslator":
        """The bundle of another encoder's projection into the same common space. Raises `JoinError`, `BundleError`."""
        other = LoadedTranslator(read_bundle(path), device)
        if not (self.is_projection and other.is_projection):
            raise JoinError(
                f"--other is for two projections into a common space (--method {' or '.join(COMMON_SPACE_METHODS)})"
            )
        if other._target.fingerprint != self._target.fingerprint:
            raise JoinError(
                f"{path}: projects into another common space than bundle {self.bundle.manifest.name}; both must be of one fit"
            )
        if other.source.fingerprint == self.source.fingerprint:
            raise JoinError(f"{path}: projects the same encoder's features as bundle {self.bundle.manifest.name}")
        return other

    def pairs(self, source: Path, target: Path, other: "LoadedTranslator | None" = None) -> Pairs:
        """Features of the same pictures from two files: of the source space, and of the target space or the space that `other`
        projects from. No views, no blends.

        Raises `JoinError` for what does not belong together, `FeatureSetError`.
        """
        pairs = _joined(source, target)
        self.check_source(pairs.source.space, what=str(source))
        if other is not None:
            other.check_source(pairs.target.space, what=str(target))
        else:
            self.check_target(pairs.target.space, what=str(target))
        return pairs

    def check_target(self, space: Space, *, what: str) -> None:
        """Raises `JoinError` where `space` is not the one that the bundle translates into."""
        if space.fingerprint != self._target.fingerprint:
            hint = "; give the other side's projection as --other" if self.is_projection else ""
            raise JoinError(f"{what}: is not of the bundle's target space {self._target.name!r}{hint}")

    def check_source(self, space: Space, *, what: str) -> None:
        """Raises `JoinError` where `space` is not the one that the bundle translates from."""
        if space.fingerprint != self.source.fingerprint:
            raise JoinError(
                f"{what}: is of the space {space.name!r} ({space.fingerprint}), the bundle translates from "
                f"{self.source.name!r} ({self.source.fingerprint})"
            )

    def translate_set(self, feature_set: FeatureSet, *, what: str) -> FeatureSet:
        """The same pictures in the target space, marked as translated."""
        self.check_source(feature_set.space, what=what)
        return feature_set.moved(self._target, self(feature_set.feature), translated_by=self.bundle.manifest.name)

    def with_targets(self, pairs: Pairs, *, what: str) -> Pairs:
        """The pairs with their targets in this translator's target space."""
        return Pairs(pairs.source, self.translate_set(pairs.target, what=what))


def _joined(source: Path, target: Path) -> Pairs:
    return join_by_image(load_feature_set(source).originals(), load_feature_set(target).originals())


def check_chain(bundles: Sequence[Bundle]) -> None:
    """Raises `JoinError` where one translator does not go on where the one before it ends."""
    for one, following in pairwise(bundles):
        source = following.manifest.source
        if source is None or one.manifest.target.fingerprint != source.fingerprint:
            raise JoinError(
                f"bundle {following.manifest.name}: does not go on where bundle {one.manifest.name} ends, "
                f"in {one.manifest.target.name!r}"
            )


class GraphSampler:
    """Callable, weak features (N, W) and a seed to unit strong features (N, M, S), through ONNX Runtime: what is served."""

    def __init__(self, graph: bytes, num_noise: int, num_samples: int, device: Device = "auto") -> None:
        self._session = Session(graph, device=device, noise_name=NOISE)
        self._num_noise, self._num_samples = num_noise, num_samples

    def __call__(self, weak_NW: FloatArray, seed: int) -> FloatArray:
        """Draw the samples of each."""
        noise_MZ = draw_noise(self._num_samples, self._num_noise, seed)
        step = max(1, _ROWS_A_RUN // self._num_samples)
        blocks = [rows_of(weak_NW[start : start + step], noise_MZ) for start in range(0, len(weak_NW), step)]
        made = np.concatenate([self._session.run(*block) for block in blocks])
        return unit_features(made).reshape(len(weak_NW), self._num_samples, -1)


class LoadedAcross:
    """A bundle of a weak modality: weak features (N, W) and a seed to unit strong features (N, M, S), one of a translator."""

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        """Raises `TrainingError` for a bundle of no modality."""
        manifest = bundle.manifest
        if manifest.modality is None or manifest.source is None:
            raise TrainingError(f"bundle {manifest.name}: is of no modality such as sketches")
        self.source, self.target, self.modality = manifest.source, manifest.target, manifest.modality
        sampling = manifest.sampling
        self.is_sampler = sampling is not None
        self.sigma = sampling.sigma if sampling else 1.0
        self._translate = None if sampling else GraphTranslator(bundle.model, device)
        self._draw = GraphSampler(bundle.model, sampling.num_noise, sampling.num_samples, device) if sampling else None

    def __call__(self, weak_NW: FloatArray, seed: int) -> FloatArray:
        """As many samples as the bundle draws, or what it translates to."""
        if self._draw is not None:
            return self._draw(weak_NW, seed)
        assert self._translate is not None
        return self._translate(weak_NW)[:, None]


class LoadedChain:
    """Translators one after another, callable as one: (N, S) of the first to unit (N, T) of the last."""

    def __init__(self, bundles: Sequence[Bundle], device: Device = "auto") -> None:
        """Raises `TrainingError` for what is no translator, `JoinError` where one does not go on where another ends."""
        check_chain(bundles)
        self._steps = [LoadedTranslator(bundle, device) for bundle in bundles]

    def __call__(self, source_NS: FloatArray) -> FloatArray:
        """Translate features."""
        features = source_NS
        for step in self._steps:
            features = step(features)
        return features

    def pairs(self, source: Path, target: Path) -> Pairs:
        """Features of the same pictures in the first space and in the last, from two files.

        Raises `JoinError`, `FeatureSetError`.
        """
        pairs = _joined(source, target)
        self._steps[0].check_source(pairs.source.space, what=str(source))
        self._steps[-1].check_target(pairs.target.space, what=str(target))
        return pairs
