"""The real faces and encoders, and their features, extracted once and kept under run/bench."""

import os
from dataclasses import dataclass
from pathlib import Path

from models.feature_set import FeatureSet
from training.data.encoders import Encoder, find_encoder
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.sources import PictureSource, open_source
from training.data.views import ViewSource

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "run" / "bench"
ENCODERS = ("mobilefacenet-128", "mobileface-v2-256", "mobileface-v3-256", "reid-retail-0095-256", "edgeface-xxs-512")


@dataclass(frozen=True, slots=True)
class Faces:
    """The folder of real faces and encoders."""

    folder: Path

    @classmethod
    def find(cls) -> "Faces":
        """FACEBRIDGE_SHARED, by default `shared` beside the checkout; whether it is there shows when it is used."""
        return cls(Path(os.environ.get("FACEBRIDGE_SHARED", ROOT.parent / "shared")))

    def encoder(self, name: str) -> Encoder:
        """One of ENCODERS. Raises `SystemExit` where there are no faces and encoders."""
        if not (self.folder / "encoders" / "encoders.json").is_file():
            raise SystemExit(f"{self.folder}: no faces and encoders to measure on; set FACEBRIDGE_SHARED")
        return find_encoder(name, self.folder / "encoders" / "encoders.json")

    def pictures(self) -> PictureSource:
        """The pictures of lfw112.zip."""
        return open_source(self.folder / "data" / "lfw112.zip")

    def features(self, name: str, views: int = 1) -> FeatureSet:
        """The features of lfw112.zip, and of `views` - 1 more views of each picture, in the space of one of ENCODERS."""
        path = KEPT / (f"{name}.npz" if views == 1 else f"{name}-views-{views}.npz")
        encoder = self.encoder(name)
        if path.is_file():
            kept = load_feature_set(path)
            if kept.space.fingerprint == encoder.space.fingerprint:
                return kept
        partial = path.with_name(path.name + ".partial")
        pictures = ViewSource(self.pictures(), views) if views > 1 else self.pictures()
        extraction = extract_features(encoder, pictures, partial, ExtractionSettings())
        save_feature_set(extraction.feature_set, path)
        discard_partial(partial)
        return extraction.feature_set
