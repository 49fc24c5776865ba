"""A translator bundle, loaded to be used offline. Shapes: N rows, S source and T target dimension."""

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle
from models.feature_set import LABEL_PREFIX, TRANSLATED_BY, FeatureSet
from models.features import FloatArray, unit_features
from models.runtime import Device, Session
from models.space import Space
from training.data.pairs import Pairs
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
        self._name = bundle.manifest.name
        self._source = bundle.manifest.source
        self._target = bundle.manifest.target
        super().__init__(bundle.model, device)

    def check_source(self, space: Space, *, what: str) -> None:
        """Raises `JoinError` where `space` is not the one that the bundle translates from."""
        if space.fingerprint != self._source.fingerprint:
            raise JoinError(
                f"{what}: is of the space {space.name!r} ({space.fingerprint}), the bundle translates from "
                f"{self._source.name!r} ({self._source.fingerprint})"
            )

    def translate_set(self, feature_set: FeatureSet, *, what: str) -> FeatureSet:
        """The same pictures in the target space, marked as translated."""
        self.check_source(feature_set.space, what=what)
        made = {
            "feature": self(feature_set.feature),
            LABEL_PREFIX + TRANSLATED_BY: np.full(len(feature_set), self._name),
        }
        return FeatureSet.build(self._target, feature_set.columns() | made)
