"""What is measured and chosen of both modalities at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.feature_set import FeatureSet
from models.features import FloatArray
from models.space import InputPreparation, Space
from models.split import SplitRule
from training.data.encoders import Encoder, find_encoder
from training.data.extraction import ExtractionSettings, extract_features
from training.data.modalities import ModalityParts, join_by_subject
from training.data.sources import open_source
from training.data.views import ViewSource
from training.errors import TrainingError
from training.evaluation.cross_modal import among_photos
from training.recipes import modalities
from training.recipes.modal_pictures import ModalPictures
from training.recipes.modalities import calibrate_sides, measured_photos, own_photos
from training.recipes.shares import SHARES

SPACE = Space("one", 16, "external:one")
NUM_PEOPLE = 400


def pictures(modality: str | None, num: int, noise: float, *, space: Space = SPACE, seed: int = 0) -> FeatureSet:
    """So many of each of the people; what is of no known modality is a sketch by its noise alone."""
    identity = np.repeat(np.random.default_rng(9).normal(size=(NUM_PEOPLE, 16)), num, axis=0)
    feature = identity + noise * np.random.default_rng(seed).normal(size=identity.shape)
    columns: dict[str, npt.NDArray[Any]] = {
        "feature": feature.astype(np.float32),
        "image": np.array([f"{modality}-{seed}-{row}" for row in range(len(identity))]),
        "subject": np.array([f"p{row // num}" for row in range(len(identity))]),
    }
    if modality is not None:
        columns["modality"] = np.full(len(identity), modality)
    return FeatureSet.build(space, columns)


@pytest.mark.parametrize("is_named", [True, False])
def test_thresholds_of_photos_are_of_photos_also_where_the_sets_do_not_say_which_they_are(is_named: bool) -> None:
    sketches, photos = pictures("sketch", 1, 1.5, seed=1), pictures("photo", 2, 0.3, seed=2)
    if not is_named:
        sketches, photos = (replace(one, modality=None) for one in (sketches, photos))
    parts = ModalityParts.of(join_by_subject(sketches, photos, "sketch"), SplitRule("subject", 0, 0.4, 0.2))
    own = own_photos(parts, parts.validation)
    found = calibrate_sides(parts.validation, own)
    (of_photos, of_sketches) = (found.points[name][0] for name in ("native-target", "native-target/sketch"))
    assert of_photos.fmr == of_sketches.fmr == 0.01
    assert of_photos.fnmr < 0.05
    assert of_sketches.fnmr > 0.3
    # By hand: how many strangers among photos reach it.
    score = own.feature @ own.feature.T
    is_stranger = own.subject[:, None] != own.subject
    assert (score[is_stranger] >= of_photos.threshold).mean() == pytest.approx(0.01, abs=1e-3)
    across = parts.validation.feature @ own.feature.T
    is_stranger = parts.validation.subject[:, None] != own.subject
    assert (across[is_stranger] >= of_sketches.threshold).mean() == pytest.approx(0.01, abs=1e-3)


def test_photos_beyond_the_first_are_looked_for_among_everybodys_first_by_either_encoder() -> None:
    parts = ModalityParts.of(
        join_by_subject(pictures("sketch", 1, 1.0, seed=1), pictures("photo", 3, 0.2, seed=2)),
        SplitRule("subject", 0, 0.2, 0.2),
    )
    before = parts.gallery
    worse = replace(pictures("photo", 3, 1.5, seed=3), image=before.image)
    found = among_photos(before, worse, measured_photos(parts))
    assert found is not None
    num_test = len(np.unique(parts.test.subject)) if parts.test else 0
    assert (found.num_probes, found.num_photos) == (2 * num_test, num_test)
    assert found.before.rank1 > 0.98
    assert found.after.rank1 < 0.7
    # By hand.
    is_of = np.isin(worse.subject, np.unique(parts.test.subject)) if parts.test else np.zeros(len(worse), dtype=bool)
    is_further = np.arange(len(worse)) % 3 > 0
    first, probes = worse.take(~is_further & is_of), worse.take(is_further & is_of)
    hits = first.subject[(probes.feature @ first.feature.T).argmax(axis=1)] == probes.subject
    assert found.after.rank1 == pytest.approx(hits.mean())
    once = before.take(~is_further)
    assert among_photos(once, once, np.ones(len(once), dtype=bool)) is None


def test_who_is_measured_without_a_test_part_is_who_validates() -> None:
    joined = join_by_subject(pictures("sketch", 1, 1.0, seed=1), pictures("photo", 1, 0.2, seed=2))
    parts = ModalityParts.of(joined, SplitRule("subject", 0, 0.2, 0.0))
    assert set(parts.gallery.subject[measured_photos(parts)]) == set(parts.validation.subject)


@dataclass(frozen=True)
class Prepared:
    """In place of pictures, the features themselves: what an encoder is given to look at."""

    def prepared(self, feature_set: FeatureSet) -> FloatArray:
        return feature_set.feature


@dataclass(frozen=True)
class Trained:
    """A generator that passes features on, and an encoder that turns its input by as much as it is followed."""

    sampler: Any
    encoder_at: Callable[[float], Callable[[FloatArray], FloatArray]]


def passing_on(weak_NW: FloatArray, noise_NZ: FloatArray) -> FloatArray:
    return weak_NW


passing_on.num_noise = 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("is_of_both", "expected"), [(True, 1.0), (False, min(SHARES))])
def test_the_share_of_an_encoder_of_both_is_chosen_on_photos_by_it(is_of_both: bool, expected: float) -> None:
    sketches, photos = pictures("sketch", 1, 0.9, seed=1), pictures("photo", 1, 0.2, seed=2)
    parts = ModalityParts.of(join_by_subject(sketches, photos), SplitRule("subject", 0, 0.3, 0.2))
    # Eight numbers say who somebody is; the encoder learns to leave the other eight out, which are turned in sketches and photos
    # that are encoded by it, but not in photos as they are.
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(16, 16)))[0].astype(np.float32)

    def encoder_at(share: float) -> Callable[[FloatArray], FloatArray]:
        def encode(rows_ND: FloatArray) -> FloatArray:
            turned = (1 - share) * rows_ND + share * rows_ND @ turn
            made: FloatArray = turned / np.linalg.norm(turned, axis=1, keepdims=True)
            return made

        return encode

    chosen = modalities._best_share(
        parts,
        Prepared(),  # type: ignore[arg-type]
        Trained(passing_on, encoder_at),
        0,
        is_of_both=is_of_both,
    )
    assert chosen == expected


def test_pictures_that_are_not_there_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    parts = ModalityParts.of(
        join_by_subject(pictures("sketch", 1, 1.0, seed=1), pictures("photo", 1, 0.2, seed=2)),
        SplitRule("subject", 0, 0.2, 0.2),
    )

    class Source:
        def __init__(self, missing: str) -> None:
            self.missing = missing

        def find(self, key: str) -> object | None:
            return None if key == self.missing else object()

    encoder = Encoder(SPACE, InputPreparation(), b"", "unknown")
    assert parts.test is not None
    photo = str(parts.gallery.image[0])
    for missing in (str(parts.validation.image[0]), str(parts.test.image[0]), photo):
        found = ModalPictures(Source(missing), encoder, "x", tmp_path)  # type: ignore[arg-type]
        if missing == photo:
            found.check(parts, with_strong=False)
        with pytest.raises(TrainingError, match=f"1 of the pictures .* {missing!r} first"):
            found.check(parts, with_strong=True)


def test_a_sketch_and_a_photo_that_are_named_alike_are_told_apart_by_nobody(tmp_path: Path) -> None:
    sketches, photos = pictures("sketch", 1, 1.0, seed=1), pictures("photo", 1, 0.2, seed=2)
    names = photos.image.copy()
    names[7] = sketches.image[3]
    parts = ModalityParts.of(join_by_subject(sketches, replace(photos, image=names)), SplitRule("subject", 0, 0.2, 0.2))
    encoder = Encoder(SPACE, InputPreparation(), b"", "unknown")
    found = ModalPictures(None, encoder, "x", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="1 pictures of either modality are named alike, 'sketch-1-3' first"):
        found.check(parts, with_strong=False)


def test_pictures_that_are_encoded_again_are_of_whom_and_what_they_were_said_to_be(
    drawn_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    encoder = find_encoder(str(encoder_file), None)
    listed = extract_features(encoder, open_source(drawn_folder), tmp_path / "one", ExtractionSettings()).feature_set
    (drawn_folder / "labels.csv").unlink()
    found = ModalPictures(ViewSource(open_source(drawn_folder)), encoder, "again", tmp_path)
    again = found.encoded(listed, encoder, "again")
    assert again.modality is not None
    assert listed.modality is not None
    assert set(again.modality) == {"sketch", "photo"}
    assert (again.subject.tolist(), again.modality.tolist()) == (listed.subject.tolist(), listed.modality.tolist())
    np.testing.assert_allclose(again.feature, listed.feature, atol=1e-6)
