"""Whether the watch finds streams that are not of the space they claim, and lets the others be."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import cast

import numpy as np
from PIL import Image

from benchmarks.document import table
from benchmarks.faces import ENCODERS, KEPT, Faces
from benchmarks.translation import TEST, VALIDATION
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.reference import SpaceReference
from models.space import InputPreparation
from models.split import SplitRule
from service.inference.watch import Seen, SpaceWatch
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.sources import PictureItem, PictureSource
from training.evaluation.references import fit_reference

NUM_PICTURES = 2000
"""Of test subjects, from which faulty streams are drawn."""
LENGTH = 200
AT_ONCE = 10
NUM_CLEAN = 1000
NUM_FAULTY = 100
_RULE, *_LOOKED_AT = (SplitRule("subject", seed, VALIDATION, TEST) for seed in (2, 0, 1))
"""The watch's constants were chosen while looking at test subjects of the last two: here only others count."""
_UNSCALED = InputPreparation(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))


class _Transformed:
    """Pictures of a source as something makes them of it."""

    def __init__(
        self, source: PictureSource, items: list[PictureItem], change: Callable[[Image.Image, str], Image.Image]
    ):
        self._source, self._change = source, change
        self.items = items

    def read(self, item: PictureItem) -> bytes:
        """As BMP."""
        stream = io.BytesIO()
        with Image.open(io.BytesIO(self._source.read(item))) as picture:
            self._change(picture.convert("RGB"), item.key).save(stream, "BMP")
        return stream.getvalue()


def _as_it_is(picture: Image.Image, key: str) -> Image.Image:
    return picture


def _small(picture: Image.Image, key: str) -> Image.Image:
    """A face somewhere in a larger picture: turned, shifted, at 55 to 77 % of its size."""
    random = _random(key)
    side = int(112 / random.uniform(1.3, 1.8))
    turned = picture.rotate(random.normal(0, 8), Image.Resampling.BILINEAR)
    frame = Image.new("RGB", (112, 112), (90, 90, 90))
    left, top = ((112 - side) // 2 + int(random.normal(0, 5)) for _ in range(2))
    frame.paste(turned.resize((side, side), Image.Resampling.BILINEAR), (left, top))
    return frame


def _close(picture: Image.Image, key: str) -> Image.Image:
    """A detector's box, tighter than the crop: turned, shifted, cut at an eighth of each side."""
    random = _random(key)
    turned = picture.rotate(random.normal(0, 10), Image.Resampling.BILINEAR)
    left, top = random.normal(14, 6, 2)
    return turned.crop((int(left), int(top), int(left) + 84, int(top) + 84)).resize(
        (112, 112), Image.Resampling.BILINEAR
    )


def _random(key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))


def _bgr(preparation: InputPreparation) -> InputPreparation:
    return replace(preparation, colour="BGR" if preparation.colour == "RGB" else "RGB")


def _forgotten(preparation: InputPreparation) -> InputPreparation:
    """Not normalised where it should be; the other way round where pixels are taken as they are."""
    plain = InputPreparation()
    is_plain = (preparation.mean, preparation.std) == (plain.mean, plain.std)
    of = _UNSCALED if is_plain else plain
    return replace(preparation, mean=of.mean, std=of.std)


def _same(preparation: InputPreparation) -> InputPreparation:
    return preparation


FAULTS: dict[str, tuple[Callable[[InputPreparation], InputPreparation], Callable[[Image.Image, str], Image.Image]]] = {
    "colours swapped": (_bgr, _as_it_is),
    "not normalised": (_forgotten, _as_it_is),
    "not aligned, small": (_same, _small),
    "not aligned, close": (_same, _close),
}


def measure(faces: Faces) -> str:
    """Every encoder: its own test subjects, their pictures with every fault, and other encoders of its dimension."""
    sets = {name: faces.features(name) for name in ENCODERS}
    rows, num_false, num_alarms, num_streams = [], [], 0, 0
    for name in ENCODERS:
        reference, test = _reference(sets[name]), _new(sets[name])
        clean = _streams(test.feature, NUM_CLEAN)
        false_alarms = sum(_found(reference, sets[name], stream) is not None for stream in clean)
        num_false.append(false_alarms)
        own, cells = faces.features(name), {}
        for fault in FAULTS:
            faulty = _with_fault(faces, name, fault, _some(test))
            alike = float(np.mean(np.sum(faulty.feature * _rows_of(own, faulty), axis=1)))
            cells[f"{fault} (cosine {alike:.2f})"] = faulty.feature
        cells |= {
            other: _new(sets[other]).feature
            for other in ENCODERS
            if other != name and sets[other].space.dimension == sets[name].space.dimension
        }
        for fault, feature in cells.items():
            after = [_found(reference, sets[name], stream) for stream in _streams(feature, NUM_FAULTY)]
            found = [num for num in after if num is not None]
            num_alarms, num_streams = num_alarms + len(found), num_streams + len(after)
            rows.append([name, fault, f"{len(found)} of {len(after)}", str(int(median(found))) if found else "-"])
    header = ["claimed space", "what it is", f"found within {LENGTH}", "after (median)"]
    return (
        f"References from people who are not test subjects (split of seed 2). Streams of {LENGTH} features of test "
        f"subjects whom nobody looked at before, {AT_ONCE} at a time, drawn at random: **{sum(num_false)}** false alarms in "
        f"{NUM_CLEAN * len(ENCODERS):,} clean streams ({', '.join(map(str, num_false))} in {NUM_CLEAN:,} of each encoder, in the "
        f"order of the table); of streams that are not what they claim **{num_alarms}** of {num_streams} were found. In "
        "brackets how like the features are to those of the same pictures rightly prepared.\n\n"
        f"{table(header, rows)}"
    )


def _found(reference: SpaceReference, of: FeatureSet, stream: FloatArray) -> int | None:
    """After how many features the watch suspects the stream."""
    watch = SpaceWatch(of.space, reference, _nothing)
    for start in range(0, len(stream), AT_ONCE):
        if watch.observe(stream[start : start + AT_ONCE]).state == "suspected":
            return start + AT_ONCE
    return None


def _nothing(space: object, seen: Seen) -> None:
    pass


def _streams(feature: FloatArray, num: int) -> list[FloatArray]:
    random = np.random.default_rng(0)
    return [feature[random.choice(len(feature), LENGTH, replace=False)] for _ in range(num)]


def _reference(feature_set: FeatureSet) -> SpaceReference:
    known = feature_set.take(_RULE.parts(feature_set) != "test")
    reference = fit_reference(known.feature, np.unique(known.subject, return_inverse=True)[1].astype(np.int64), 0)
    assert reference is not None
    return reference


def _new(feature_set: FeatureSet) -> FeatureSet:
    is_new = _RULE.parts(feature_set) == "test"
    for rule in _LOOKED_AT:
        is_new &= rule.parts(feature_set) != "test"
    return feature_set.take(is_new)


def _some(test: FeatureSet) -> list[str]:
    order = np.random.default_rng(0).permutation(len(test))
    return cast("list[str]", test.image[order[:NUM_PICTURES]].tolist())


def _rows_of(own: FeatureSet, other: FeatureSet) -> FloatArray:
    place = {key: row for row, key in enumerate(own.image.tolist())}
    feature: FloatArray = own.feature[[place[key] for key in other.image.tolist()]]
    return feature


def _with_fault(faces: Faces, name: str, fault: str, keys: list[str]) -> FeatureSet:
    """Features of some pictures as a faulty client would make them, extracted once and kept."""
    path = KEPT / "wrong" / f"{name}-{fault.replace(', ', '-').replace(' ', '-')}.npz"
    encoder = faces.encoder(name)
    if path.is_file():
        kept = load_feature_set(path)
        if kept.space.fingerprint == encoder.space.fingerprint and kept.image.tolist() == keys:
            return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    prepare, change = FAULTS[fault]
    pictures = faces.pictures()
    by_key = {item.key: item for item in pictures.items}
    source = _Transformed(pictures, [by_key[key] for key in keys], change)
    faulty = replace(encoder, preparation=prepare(encoder.preparation))
    partial = path.with_name(path.name + ".partial")
    extraction = extract_features(faulty, source, partial, ExtractionSettings())
    save_feature_set(extraction.feature_set, path)
    discard_partial(partial)
    return extraction.feature_set
