"""What a stolen gallery gives away: faces painted from features, set against the real pictures and the real people.

Shapes: N pictures, H W picture, D dimension of the judge's space.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.bundle import Bundle
from models.documents import sha256_hex
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.runtime import Device, Session
from models.space import InputPreparation
from training.data.encoders import Encoder
from training.data.extraction import ExtractionSettings, extract_features
from training.data.picture_store import decode_pictures
from training.data.sources import ChosenPictures, PictureItem, PictureSource
from training.errors import JoinError, TrainingError
from training.evaluation.cross_space import gallery_and_probes
from training.evaluation.identification import genuine_ranks, rank_k
from training.evaluation.verification import score_pairs, tar_at_far
from training.export.loaded import parts_of

_ROWS_A_RUN = 256
_LUCK = 3
"""Times the right answers of chance, but never all of them; fewer may be luck."""
LEFT = ("real", "painted", "pictures.npy", "pictures.json")
"""What an interrupted report leaves in its folder."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """How well pictures identify and verify people against a gallery of real features."""

    num_probes: int
    rank1: float
    tar_far_1e2: float | None
    tar_far_1e3: float | None


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """Figures on people whom the generator has not seen."""

    num_pictures: int
    num_subjects: int
    real: Recovered
    """Real pictures of people in the gallery, other ones than those: the most there is to recover."""
    painted_other: Recovered
    """The same pictures, painted from their features."""
    painted_same: Recovered
    """The gallery's own pictures, painted from their features."""
    chance: float
    """Rank-1 of guessing."""
    variance_explained: float
    """Of the real pixels, by the painted ones; 0 for the mean face, 1 for the pictures themselves."""
    psnr: float
    """Of painted pictures against real ones at the generator's size, in dB."""
    psnr_mean_face: float
    """The same, of the mean of all the real ones."""

    @property
    def paints_nobody(self) -> bool:
        """Whether the generator is too poor to tell: worse than a mean face, and nobody recognised beyond chance."""
        luck = min(_LUCK * self.chance, (1 + self.chance) / 2)
        return self.variance_explained <= 0 and self.painted_same.rank1 <= luck

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PaintedFaces:
    """What was painted, beside what it was painted from."""

    feature_set: FeatureSet
    real_NHW3: npt.NDArray[np.uint8]
    painted_NHW3: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Judge:
    """The encoder that looks at painted faces, and where it works."""

    encoder: Encoder
    settings: ExtractionSettings
    partial: Path
    on_progress: Callable[[int], None] = lambda done: None

    def look(self, source: PictureSource, name: str) -> FloatArray:
        """Features (N, D) of all pictures of the source, in its order. Raises `SourceError`, `EncoderError`."""
        made = extract_features(self.encoder, source, self.partial / name, self.settings, self.on_progress)
        return made.feature_set.feature


def held_out(generator: Bundle, feature_set: FeatureSet, *, everybody: bool = False) -> FeatureSet:
    """The features whose people the generator has not seen; all where `everybody`.

    Raises `TrainingError` for a bundle that does not paint, features without subjects, or where nobody is left;
    `JoinError` for features of another space.
    """
    manifest = generator.manifest
    if manifest.kind != "generator" or manifest.source is None:
        raise TrainingError(
            f"bundle {manifest.name}: is of kind {manifest.kind}; fit --with-reconstruction writes a generator"
        )
    if feature_set.space.fingerprint != manifest.source.fingerprint:
        raise JoinError(
            f"the features are of the space {feature_set.space.name!r}, the generator paints those of {manifest.source.name!r}"
        )
    if not feature_set.has_subjects:
        raise TrainingError("the features do not say who is on their pictures, so nobody can be recognised")
    originals = feature_set.originals()
    if everybody:
        return originals
    unseen = parts_of(generator, originals) == "test"
    if not unseen.any():
        raise TrainingError("the generator's split keeps none of these people apart; use --subjects all on new ones")
    return originals.take(unseen)


def paint(
    generator: Bundle, feature_set: FeatureSet, source: PictureSource, device: Device, partial: Path
) -> PaintedFaces:
    """Paint every feature, and read the real pictures at the same size. Raises `TrainingError`, `SourceError`."""
    session = Session(generator.model, device=device)
    feature = feature_set.feature
    blocks = [session.run(feature[start : start + _ROWS_A_RUN]) for start in range(0, len(feature), _ROWS_A_RUN)]
    painted_NHW3 = np.concatenate(blocks).clip(0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    side = painted_NHW3.shape[2], painted_NHW3.shape[1]
    items = _items(feature_set, source)
    partial.mkdir(parents=True, exist_ok=True)
    real_NHW3 = decode_pictures(source, items, InputPreparation(resize=side), partial, lambda done: None)
    return PaintedFaces(feature_set, real_NHW3, painted_NHW3)


def report(faces: PaintedFaces, source: PictureSource, judge: Judge) -> PrivacyReport:
    """Let `judge` look at the painted faces and say whose they are. Raises `TrainingError`, `SourceError`."""
    feature_set = faces.feature_set
    items = _items(feature_set, source)
    is_own = judge.encoder.space.fingerprint == feature_set.space.fingerprint
    real_ND = feature_set.feature if is_own else judge.look(ChosenPictures(source, items), "real")
    painted_ND = judge.look(_Painted(items, faces.painted_NHW3), "painted")
    gallery, probes = gallery_and_probes(feature_set.subject)
    if len(probes) == 0:
        raise TrainingError("nobody has a second picture, so nobody can be recognised from another one")
    subject = feature_set.subject

    def recovered(probe_ND: FloatArray, rows: npt.NDArray[np.int64]) -> Recovered:
        against = (probe_ND[rows], subject[rows], real_ND[gallery], subject[gallery])
        genuine, impostor = score_pairs(*against)
        tar = [tar_at_far(genuine, impostor, far) for far in (1e-2, 1e-3)]
        return Recovered(len(rows), rank_k(genuine_ranks(*against), 1), *tar)

    return PrivacyReport(
        len(feature_set),
        len(gallery),
        recovered(real_ND, probes),
        recovered(painted_ND, probes),
        recovered(painted_ND, gallery),
        1 / len(gallery),
        *_pixels(faces),
    )


def sheet(faces: PaintedFaces, num_columns: int = 12, num_rows: int = 4) -> Image.Image:
    """Real faces, and below each what was painted from its feature."""
    height, width = faces.real_NHW3.shape[1:3]
    rows = np.linspace(0, len(faces.real_NHW3) - 1, min(len(faces.real_NHW3), num_columns * num_rows)).astype(int)
    made = Image.new("RGB", (num_columns * width, 2 * height * -(-len(rows) // num_columns)))
    for place, row in enumerate(rows.tolist()):
        left, top = place % num_columns * width, place // num_columns * 2 * height
        made.paste(Image.fromarray(faces.real_NHW3[row]), (left, top))
        made.paste(Image.fromarray(faces.painted_NHW3[row]), (left, top + height))
    return made


def _pixels(faces: PaintedFaces) -> tuple[float, float, float]:
    """Variance explained, PSNR, and PSNR of the mean face."""
    real, painted = faces.real_NHW3.astype(np.float32), faces.painted_NHW3.astype(np.float32)
    error, spread = float(np.square(real - painted).mean()), float(np.square(real - real.mean(axis=0)).mean())
    psnr, psnr_mean_face = (10 * float(np.log10(255**2 / max(value, 1e-12))) for value in (error, spread))
    return 1 - error / max(spread, 1e-12), psnr, psnr_mean_face


def _items(feature_set: FeatureSet, source: PictureSource) -> list[PictureItem]:
    by_key = {item.key: item for item in source.items}
    missing = [key for key in feature_set.image.tolist() if key not in by_key]
    if missing:
        raise TrainingError(
            f"{len(missing)} of the {len(feature_set)} pictures that the features were made from are not there, "
            f"{missing[0]!r} first"
        )
    return [by_key[key] for key in feature_set.image.tolist()]


class _Painted:
    """Painted faces under the keys of the real ones."""

    def __init__(self, items: Sequence[PictureItem], painted_NHW3: npt.NDArray[np.uint8]) -> None:
        # What another generator painted, whose features may be left from an interrupted report, is not these pictures.
        stamp = sha256_hex(painted_NHW3.tobytes())
        # Landmarks are of the real picture; what is painted is an aligned crop.
        self.items = [PictureItem(item.key, item.key, item.subject, stamp=stamp) for item in items]
        self._by_key = {item.key: row for row, item in enumerate(items)}
        self._painted_NHW3 = painted_NHW3

    def read(self, item: PictureItem) -> bytes:
        """The picture as BMP."""
        stream = io.BytesIO()
        Image.fromarray(self._painted_NHW3[self._by_key[item.key]]).save(stream, "BMP")
        return stream.getvalue()
