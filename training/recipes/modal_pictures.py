"""The pictures behind features of two modalities, the encoder that made these, and what becomes of it when it is trained.

Shapes: N pictures, H W picture.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.documents import sha256_hex
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.space import Space
from training.data.encoders import Encoder
from training.data.extraction import ExtractionSettings, extract_features
from training.data.modalities import ModalityParts
from training.data.picture_store import decode_pictures
from training.data.sources import ChosenPictures, PictureItem
from training.data.views import ViewSource
from training.errors import TrainingError
from training.export.parity import check_parity
from training.recipes.encoders import PARITY_PICTURES, prepared
from training.recipes.translators import load

PARITY = 1e-4
"""Between a network of fifty layers and its graph: they are not rounded alike."""
LEFT = ("weak", "strong", "validation", "test", "gallery")
"""What an interrupted training leaves of pictures in its folder."""


@dataclass(frozen=True, slots=True)
class ModalPictures:
    """Where pictures are, and the encoder that is to be trained on them."""

    source: ViewSource
    encoder: Encoder
    space: str
    """The name of the space that the trained encoder makes."""
    folder: Path
    """For unfinished work."""
    on_decoded: Callable[[int], None] = lambda done: None

    def items_of(self, feature_set: FeatureSet) -> list[PictureItem]:
        """The pictures of features, in their order. Raises `TrainingError` where some are not there."""
        found = {key: self.source.find(key) for key in feature_set.image.tolist()}
        missing = [key for key, item in found.items() if item is None]
        if missing:
            raise TrainingError(
                f"{len(missing)} of the pictures that the features were made from are not there, {missing[0]!r} first"
            )
        return [item for item in found.values() if item is not None]

    def check(self, parts: ModalityParts, *, with_strong: bool) -> None:
        """Raises `TrainingError` where pictures of people to measure on are not there, or `with_strong` photos; or where a sketch
        and a photo are named alike, so that one would be taken for the other.
        """
        weak = (parts.train.weak, parts.train.lonely, parts.validation, parts.test)
        sides = [side for side in weak if side is not None]
        alike = np.intersect1d(np.concatenate([side.image for side in sides]), parts.gallery.image)
        if len(alike):
            raise TrainingError(
                f"{len(alike)} pictures of either modality are named alike, {str(alike[0])!r} first: extract both from one "
                "folder or archive, or from several that --images names, so that each has a name of its own"
            )
        for feature_set in (parts.validation, parts.test, parts.gallery if with_strong else None):
            if feature_set is not None:
                self.items_of(feature_set)

    def has(self, feature_set: FeatureSet) -> bool:
        """Whether the pictures of features are there."""
        return all(self.source.find(key) is not None for key in feature_set.image.tolist())

    def decoded(self, feature_set: FeatureSet, name: str) -> npt.NDArray[np.uint8]:
        """The pictures of features (N, H, W, 3), kept below the folder by that name. Raises `SourceError`."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return decode_pictures(
            self.source, self.items_of(feature_set), self.encoder.preparation, folder, self.on_decoded
        )

    def prepared(self, feature_set: FeatureSet) -> FloatArray:
        """The pictures of features as the encoder takes them, (N, 3, H, W). Raises `SourceError`."""
        return prepared(self.source, self.items_of(feature_set), self.encoder.preparation)

    def exported(self, model: Any, some: FeatureSet) -> Encoder:
        """The encoder as it was trained, in a space of its own. Raises `ExportError`."""
        preparation = self.encoder.preparation
        graph: bytes = load("training.export.torch_graph:encoder_torch_graph")(model, preparation.resize)
        few = some.take(np.arange(min(len(some), PARITY_PICTURES)))
        check_parity(graph, model, self.prepared(few), tolerance=PARITY)
        space = Space(self.space, self.encoder.space.dimension, f"sha256:{sha256_hex(graph)}", preparation)
        return Encoder(space, preparation, graph, self.encoder.licence)

    def encoded(self, feature_set: FeatureSet, encoder: Encoder, name: str) -> FeatureSet:
        """The same pictures by another encoder, of whom and of what modality they were said to be; unfinished work is kept below
        the folder by that name.
        """
        source = ChosenPictures(self.source, self.items_of(feature_set))
        made = extract_features(encoder, source, self.folder / name, ExtractionSettings()).feature_set
        return replace(made, subject=feature_set.subject, modality=feature_set.modality)
