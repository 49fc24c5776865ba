"""The real faces and encoders, and their features, extracted once and kept under run/bench."""

import os
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path

from models.documents import canonical_json, sha256_hex
from models.feature_set import FeatureSet
from training.data.encoders import Encoder, find_encoder
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.sources import ChosenPictures, PictureSource, open_sources
from training.data.synthetic.files import Order, make_pictures
from training.data.views import ViewSource

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "run" / "bench"
ENCODERS = ("mobilefacenet-128", "mobileface-v2-256", "mobileface-v3-256", "reid-retail-0095-256", "edgeface-xxs-512")
OTHER_SETS = ("caricature112", "fs2k112", "cuhk112")


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
        return self.sets("lfw112")

    def features(self, name: str, views: int = 1, blends: int = 0) -> FeatureSet:
        """The features of lfw112.zip in the space of one of ENCODERS, as `extract --views VIEWS --blends BLENDS` gives them."""
        return self._features(name, self.pictures(), views, blends, name)

    def photos(self) -> PictureSource:
        """The photos of OTHER_SETS, whose keys and subjects begin with the name of the set, without people of lfw112.zip."""
        known = {_plain(item.subject) for item in self.pictures().items}
        joined = self.sets(*OTHER_SETS)
        names = (item.subject.partition("/")[2] for item in joined.items)
        chosen = [
            item
            for item, name in zip(joined.items, names, strict=True)
            if item.modality == "photo" and _plain(name) not in known
        ]
        return ChosenPictures(joined, chosen)

    def sets(self, *names: str) -> PictureSource:
        """Sets of pictures as one, whose keys and subjects begin with the name of the set where there are several."""
        return open_sources([self.folder / "data" / f"{name}.zip" for name in names])

    def photo_features(self, name: str, views: int = 1, blends: int = 0) -> FeatureSet:
        """The same of `photos`."""
        return self._features(name, self.photos(), views, blends, f"{name}-other-sets")

    def _features(self, name: str, pictures: PictureSource, views: int, blends: int, kept_as: str) -> FeatureSet:
        made = "".join([f"-views-{views}" if views > 1 else "", f"-blends-{blends}" if blends else ""])
        path = KEPT / f"{kept_as}{made}.npz"
        encoder = self.encoder(name)
        if path.is_file():
            kept = load_feature_set(path)
            # Files of earlier versions hold no norms.
            if kept.space.fingerprint == encoder.space.fingerprint and kept.norm is not None:
                return kept
        partial = path.with_name(path.name + ".partial")
        seen = ViewSource(pictures, views, blends) if made else pictures
        extraction = extract_features(encoder, seen, partial, ExtractionSettings())
        save_feature_set(extraction.feature_set, path)
        discard_partial(partial)
        return extraction.feature_set


def made_world(order: Order, folder: Path) -> Path:
    """People who do not exist, made once and kept in a folder; call it from a process that may start others."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"world-{sha256_hex(canonical_json(asdict(order)))[:12]}.zip"
    if not path.is_file():
        make_pictures(order, path, 2)
    return path


def _plain(subject: str) -> str:
    """A name as every set would write it."""
    return "".join(filter(str.isalpha, unicodedata.normalize("NFKD", subject).casefold()))
