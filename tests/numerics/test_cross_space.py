import json

import numpy as np
import numpy.typing as npt
import pytest

from models.feature_set import FeatureSet
from models.features import unit_features
from models.space import Space
from training.data.pairs import Pairs
from training.evaluation.cross_space import Figures, evaluate_native, evaluate_translation, gallery_and_probes

FloatArray = npt.NDArray[np.float32]

SUBJECTS = ["a", "a", "b", "b", "c"]
TARGET = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
"""By hand: e1 and e1 of a, e2 and e2 of b, e3 of c."""
SOURCE = np.eye(3, dtype=np.float32)[[1, 2, 2, 2, 0]]
"""The same one axis further, but the second picture of a looks like b."""


def pairs_of(source: FloatArray, target: FloatArray, subjects: list[str]) -> Pairs:
    image = np.array([f"{i:05d}.png" for i in range(len(source))])
    sides = [
        FeatureSet.build(
            Space(name, side.shape[1], f"external:{name}"),
            {"feature": side, "image": image, "subject": np.array(subjects)},
        )
        for name, side in (("source", source), ("target", target))
    ]
    return Pairs(*sides)


def one_axis_back(source: FloatArray) -> FloatArray:
    return np.roll(source, -1, axis=1)


def test_the_protocol_on_a_set_made_by_hand() -> None:
    evaluation = evaluate_translation(pairs_of(SOURCE, TARGET, SUBJECTS), one_axis_back)
    assert (evaluation.num_pictures, evaluation.num_gallery_subjects, evaluation.num_probes) == (5, 3, 2)
    assert evaluation.rows == {
        # Gallery: rows 0, 2, 4. Probe 1 (a) points at b's template: last of three, as it ties with c's.
        "native source": Figures(rank1=0.5, rank5=1.0),
        "native target": Figures(rank1=1.0, rank5=1.0),
        # Four of five translated features are the native ones, the fifth is orthogonal.
        "translated probes": Figures(rank1=0.5, rank5=1.0, mean_cosine=0.8),
        "translated gallery": Figures(rank1=1.0, rank5=1.0, mean_cosine=0.8),
        # Both probes point at c's template.
        "untranslated": Figures(rank1=0.0, rank5=1.0, mean_cosine=0.0),
    }


def test_spaces_of_different_dimension_have_no_untranslated_row() -> None:
    wide = np.pad(TARGET, ((0, 0), (0, 2)))
    evaluation = evaluate_translation(pairs_of(SOURCE, wide, SUBJECTS), lambda rows: np.pad(rows, ((0, 0), (0, 2))))
    assert set(evaluation.rows) == {"native source", "native target", "translated probes", "translated gallery"}


def test_without_subjects_only_the_mean_cosine_is_given() -> None:
    evaluation = evaluate_translation(pairs_of(SOURCE, TARGET, [""] * 5), one_axis_back)
    assert evaluation.rows == {"translated probes": Figures(mean_cosine=0.8)}
    assert evaluation.num_probes == 0


def test_without_a_second_picture_of_anybody_there_is_nothing_to_identify() -> None:
    evaluation = evaluate_translation(pairs_of(SOURCE, TARGET, list("vwxyz")), one_axis_back)
    assert evaluation.num_probes == 0
    assert evaluation.rows["native target"] == Figures()
    assert evaluation.rows["translated probes"] == Figures(mean_cosine=0.8)


def test_a_perfect_translator_has_the_figures_of_the_target() -> None:
    random = np.random.default_rng(0)
    identity = np.repeat(random.normal(size=(40, 8)), 3, axis=0)
    target = unit_features(identity + random.normal(scale=0.6, size=identity.shape))
    turn = np.linalg.qr(random.normal(size=(8, 8)))[0].astype(np.float32)
    subjects = [f"s{i // 3:02d}" for i in range(120)]
    evaluation = evaluate_translation(pairs_of(target @ turn, target, subjects), lambda rows: rows @ turn.T)
    native, across = evaluation.rows["native target"], evaluation.rows["translated probes"]
    assert native.rank1 is not None
    assert native.rank1 < 1.0
    assert (across.rank1, across.rank5, across.tar_far_1e2, across.tar_far_1e3) == (
        native.rank1,
        native.rank5,
        native.tar_far_1e2,
        native.tar_far_1e3,
    )
    # 80 probes and 39 other subjects each: 3,120 impostors show 1e-3 and not 1e-4.
    assert native.tar_far_1e3 is not None
    assert native.tar_far_1e4 is None
    assert across.mean_cosine == pytest.approx(1.0, abs=1e-6)


def test_the_first_picture_of_each_subject_is_the_gallery_whatever_the_order() -> None:
    gallery, probes = gallery_and_probes(np.array(["c", "a", "c", "b", "a", "c"]))
    assert gallery.tolist() == [0, 1, 3]
    assert probes.tolist() == [2, 4, 5]


def test_the_evaluation_is_plain_json() -> None:
    document = evaluate_translation(pairs_of(SOURCE, TARGET, SUBJECTS), one_axis_back).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["rows"]["native source"]["rank1"] == 0.5


def test_an_encoder_alone_has_the_native_figures() -> None:
    pairs = pairs_of(SOURCE, TARGET, SUBJECTS)
    # As by hand above: the second picture of a looks like b, all pictures of the target like their subject.
    for side, expected in (
        (pairs.source, Figures(rank1=0.5, rank5=1.0)),
        (pairs.target, Figures(rank1=1.0, rank5=1.0)),
    ):
        evaluation = evaluate_native(side)
        assert (evaluation.num_pictures, evaluation.num_gallery_subjects, evaluation.num_probes) == (5, 3, 2)
        assert evaluation.figures == expected


def test_an_encoder_that_tells_nobody_apart_is_never_right() -> None:
    same = np.tile(np.eye(3, dtype=np.float32)[:1], (6, 1))
    evaluation = evaluate_native(pairs_of(same, same, ["a", "a", "b", "b", "c", "c"]).target)
    # A tie counts against the probe: all three templates have the same score.
    assert evaluation.figures == Figures(rank1=0.0, rank5=1.0)


def test_an_encoder_alone_is_not_measured_without_a_second_picture_of_anybody() -> None:
    evaluation = evaluate_native(pairs_of(SOURCE, TARGET, list("vwxyz")).target)
    assert (evaluation.num_gallery_subjects, evaluation.num_probes) == (5, 0)
    assert evaluation.figures == Figures()
    document = evaluation.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
