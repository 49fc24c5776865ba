import numpy as np
import pytest

from training.evaluation.protocols import accuracy_by_fold, pair_figures, tar_by_fold
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
