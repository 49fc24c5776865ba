import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.feature_set import FeatureSet
from training.cli import build_parser
from training.commands import select
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.errors import TrainingError

MakeSet = Callable[..., FeatureSet]

WHO = ["bob", "ann", "cyd", "bob", "ann", "bob", "dan", "cyd"]
"""Three of bob, two of ann, two of cyd, one of dan."""


@pytest.fixture
def known(tmp_path: Path, feature_set: MakeSet) -> Path:
    plain = feature_set(num=8)
    path = tmp_path / "known.npz"
    save_feature_set(FeatureSet.build(plain.space, plain.columns() | {"subject": np.array(WHO)}), path)
    return path


MODALITY = ["sketch", "photo", "sketch", "photo", "photo", "sketch", "photo", "photo"]
"""One photo and two sketches of bob, two photos of ann, a sketch and a photo of cyd, a photo of dan."""


@pytest.fixture
def drawn(tmp_path: Path, feature_set: MakeSet) -> Path:
    plain = feature_set(num=8)
    columns = plain.columns() | {"subject": np.array(WHO), "modality": np.array(MODALITY)}
    path = tmp_path / "drawn.parquet"
    save_feature_set(FeatureSet.build(plain.space, columns), path)
    return path


def selected(path: Path, *arguments: str) -> FeatureSet:
    out = path.with_name("selected.npz")
    options: argparse.Namespace = build_parser().parse_args(
        ["select", "--in", str(path), "--out", str(out), *arguments]
    )
    select.run(options)
    return load_feature_set(out)


def rows(chosen: FeatureSet) -> list[int]:
    return [int(key.removesuffix(".png")) for key in chosen.image.tolist()]


@pytest.mark.parametrize(
    ("num_subjects", "expected"),
    [
        (1, [0, 3, 5]),
        (2, [0, 1, 3, 4, 5]),  # ann before cyd, who has as many pictures
        (3, [0, 1, 2, 3, 4, 5, 7]),
        (9, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_the_subjects_with_the_most_pictures_are_taken_first(
    known: Path, num_subjects: int, expected: list[int]
) -> None:
    assert rows(selected(known, "--num-subjects", str(num_subjects))) == expected


@pytest.mark.parametrize(("role", "expected"), [("gallery", [0, 1, 2, 6]), ("probes", [3, 4, 5, 7])])
def test_gallery_is_the_first_picture_of_each_subject_and_probes_are_the_others(
    known: Path, role: str, expected: list[int]
) -> None:
    assert rows(selected(known, "--role", role)) == expected


def test_subjects_are_chosen_before_roles(known: Path) -> None:
    assert rows(selected(known, "--num-subjects", "2", "--role", "gallery")) == [0, 1]


def test_features_and_space_stay_as_they_were(known: Path) -> None:
    whole, chosen = load_feature_set(known), selected(known, "--role", "probes")
    np.testing.assert_array_equal(chosen.feature, whole.feature[[3, 4, 5, 7]])
    assert chosen.space == whole.space


def test_a_selection_that_leaves_nothing_is_refused(tmp_path: Path, feature_set: MakeSet) -> None:
    plain = feature_set(num=2)
    save_feature_set(
        FeatureSet.build(plain.space, plain.columns() | {"subject": np.array(["a", "b"])}), tmp_path / "set.npz"
    )
    with pytest.raises(TrainingError, match="nothing is left"):
        selected(tmp_path / "set.npz", "--role", "probes")


@pytest.mark.parametrize("arguments", [("--role", "gallery"), ("--num-subjects", "2")])
def test_subjects_cannot_be_chosen_where_they_are_not_known(
    tmp_path: Path, feature_set: MakeSet, arguments: tuple[str, ...]
) -> None:
    save_feature_set(feature_set(subjects=False), tmp_path / "set.npz")
    with pytest.raises(TrainingError, match="does not say who is on its pictures"):
        selected(tmp_path / "set.npz", *arguments)


def test_a_part_without_a_bundle_is_refused(known: Path) -> None:
    with pytest.raises(TrainingError, match="give --bundle"):
        selected(known, "--part", "train")


@pytest.mark.parametrize(("modality", "expected"), [("sketch", [0, 2, 5]), ("photo", [1, 3, 4, 6, 7])])
def test_only_pictures_of_the_modality_are_taken(drawn: Path, modality: str, expected: list[int]) -> None:
    chosen = selected(drawn, "--modality", modality)
    assert rows(chosen) == expected
    assert chosen.modality is not None
    assert set(chosen.modality.tolist()) == {modality}
    assert chosen.subject.tolist() == [WHO[row] for row in expected]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        # Of the photos: row 3 of bob, 1 and 4 of ann, 6 of dan, 7 of cyd.
        (("--role", "gallery"), [1, 3, 6, 7]),
        (("--role", "probes"), [4]),
        (("--num-subjects", "1"), [1, 4]),
        (("--num-subjects", "1", "--role", "probes"), [4]),
    ],
)
def test_subjects_and_roles_are_chosen_among_the_pictures_of_the_modality(
    drawn: Path, more: tuple[str, ...], expected: list[int]
) -> None:
    assert rows(selected(drawn, "--modality", "photo", *more)) == expected


@pytest.mark.parametrize("modality", ["caricature", "Photo", ""])
def test_a_modality_that_no_picture_has_is_refused_with_those_there_are(drawn: Path, modality: str) -> None:
    with pytest.raises(TrainingError, match=f"no picture is of the modality '{modality}'; there are: photo, sketch$"):
        selected(drawn, "--modality", modality)


def test_a_modality_is_refused_where_none_is_known(known: Path) -> None:
    with pytest.raises(TrainingError, match="no picture is of the modality 'photo'; there are: none"):
        selected(known, "--modality", "photo")


def test_a_modality_can_be_chosen_where_nobody_is_known(tmp_path: Path, feature_set: MakeSet) -> None:
    plain = feature_set(num=3, subjects=False)
    columns = plain.columns() | {"modality": np.array(["photo", "sketch", "photo"])}
    save_feature_set(FeatureSet.build(plain.space, columns), tmp_path / "set.npz")
    assert rows(selected(tmp_path / "set.npz", "--modality", "photo")) == [0, 2]
