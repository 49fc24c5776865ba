from typing import Literal

import numpy as np
import pytest

from models.features import unit_features
from training.evaluation.protocols import (
    Fold,
    accuracy_by_fold,
    identification_figures,
    pair_figures,
    tar_by_fold,
)
from training.evaluation.verification import tar_at_far


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_accuracy_takes_each_folds_threshold_from_the_others(seed: int, tied: bool) -> None:
    random = np.random.default_rng(seed)
    same, fold = random.random(120) < 0.5, np.arange(120) // 30
    score = random.normal(size=120) + 1.5 * same
    score = score.round(1) if tied else score
    shares = []
    for number in range(4):
        others, here = fold != number, fold == number
        cuts = [
            -9.0,
            *(
                (low + high) / 2
                for low, high in zip(sorted(set(score[others])), sorted(set(score[others]))[1:], strict=False)
            ),
            9.0,
        ]
        right = [np.sum((score[others] >= cut) == same[others]) for cut in cuts]
        # Where the others leave it open which of several is best, the lowest is taken.
        best = cuts[int(np.argmax(right))]
        shares.append(np.mean((score[here] >= best) == same[here]))
    found = accuracy_by_fold(score, same, fold)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(shares), abs=0.01)
    assert found.standard_error == pytest.approx(np.std(shares, ddof=1) / 2, abs=0.01)
    assert found.num_folds == 4


def test_one_fold_has_no_accuracy_as_its_threshold_would_be_its_own() -> None:
    assert accuracy_by_fold(np.array([0.1, 0.9]), np.array([False, True]), np.zeros(2, dtype=np.int64)) is None


@pytest.mark.parametrize("same", [True, False])
def test_where_the_others_are_all_of_one_kind_everything_is_called_so(same: bool) -> None:
    score, fold = np.array([0.2, 0.4, 0.3, 0.9]), np.array([0, 0, 1, 1])
    found = accuracy_by_fold(score, np.full(4, same), fold)
    assert found is not None
    assert found.mean == 1.0


def test_tar_is_found_in_each_fold_by_itself() -> None:
    random = np.random.default_rng(0)
    same, fold = np.arange(400) % 2 == 0, np.arange(400) // 200
    score = random.normal(size=400) + 2.0 * same + fold
    expected = [tar_at_far(score[(fold == number) & same], score[(fold == number) & ~same], 0.1) for number in range(2)]
    found = tar_by_fold(score, same, fold, 0.1)
    assert found is not None
    assert None not in expected
    assert found.mean == pytest.approx(np.mean(np.array(expected, dtype=np.float64)))
    assert tar_by_fold(score, same, fold, 1e-3) is None
    figures = pair_figures(score, same, fold)
    assert figures.tar_far_1e2 == tar_by_fold(score, same, fold, 1e-2)
    assert (figures.tar_far_1e3, figures.accuracy) == (None, accuracy_by_fold(score, same, fold))


def test_identification_by_fold_is_what_a_loop_finds() -> None:
    random = np.random.default_rng(3)
    identity = np.repeat(random.normal(size=(60, 8)), 4, axis=0)
    probe, stored = (unit_features(identity + 0.9 * random.normal(size=identity.shape)) for _ in range(2))
    subject = np.repeat([f"s{number:02d}" for number in range(60)], 4)
    place = np.arange(240) % 4
    # Of everybody two templates in the gallery, but of the last ten nobody; two probes of all.
    folds = [
        Fold(np.flatnonzero(place >= 2), np.flatnonzero((place < 2) & (np.arange(240) < 200))),
        Fold(np.flatnonzero(place < 2), np.flatnonzero((place >= 2) & (np.arange(240) < 200))),
    ]
    for fusion in ("max", "mean"):
        found = identification_figures(probe, stored, subject, folds, fusion)
        expected = []
        for fold in folds:
            hits = []
            for row in fold.probes:
                scores = {}
                for name in np.unique(subject[fold.gallery]):
                    of_subject = [float(probe[row] @ stored[t]) for t in fold.gallery if subject[t] == name]
                    scores[name] = max(of_subject) if fusion == "max" else sum(of_subject) / len(of_subject)
                if subject[row] in scores:
                    hits.append(max(scores, key=lambda name: scores[name]) == subject[row])
            expected.append(np.mean(hits))
        assert found.rank1 is not None
        assert found.rank1.mean == pytest.approx(np.mean(expected))
        assert found.rank1.standard_error == pytest.approx(np.std(expected, ddof=1) / np.sqrt(2))
        # Ten strangers cannot show one in a hundred.
        assert found.fnir is None


def test_lists_of_probes_that_nobody_knows_have_no_rank() -> None:
    feature = unit_features(np.random.default_rng(0).normal(size=(40, 4)))
    subject = np.array([f"s{number}" for number in range(40)])
    found = identification_figures(feature, feature, subject, [Fold(np.arange(20), np.arange(20, 40))])
    assert (found.rank1, found.rank50, found.tar_far_1e2, found.fnir) == (None, None, None, None)


@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_recall_is_over_identities_and_tar_over_pairs_of_pictures(fusion: Literal["max", "mean"]) -> None:
    random = np.random.default_rng(5)
    identity = np.repeat(random.normal(size=(80, 8)), 3, axis=0)
    feature = unit_features(identity + 0.8 * random.normal(size=identity.shape))
    subject = np.repeat([f"s{number:02d}" for number in range(80)], 3)
    probes, gallery = np.flatnonzero(np.arange(240) % 3 == 0), np.flatnonzero(np.arange(240) % 3 > 0)
    found = identification_figures(feature, feature, subject, [Fold(probes, gallery)], fusion)
    ranks: list[int] = []
    genuine: list[float] = []
    impostor: list[float] = []
    for row in probes:
        of_subject: dict[str, list[float]] = {}
        for stored in gallery:
            score = float(feature[row] @ feature[stored])
            (genuine if subject[row] == subject[stored] else impostor).append(score)
            of_subject.setdefault(subject[stored], []).append(score)
        fused = {name: max(scores) if fusion == "max" else sum(scores) / 2 for name, scores in of_subject.items()}
        ranks.append(1 + sum(score > fused[subject[row]] for score in fused.values()))
    for k, figure in ((1, found.rank1), (5, found.rank5), (10, found.rank10), (50, found.rank50)):
        assert figure is not None
        assert figure.mean == pytest.approx(np.mean(np.array(ranks) <= k))
    for far, figure in ((1e-2, found.tar_far_1e2), (1e-3, found.tar_far_1e3)):
        assert figure is not None
        expected = tar_at_far(np.array(genuine), np.array(impostor), far)
        # Between the last impostor let through and the first that is not, the lowest threshold is taken.
        assert expected is not None
        assert expected <= figure.mean <= expected + 0.02
