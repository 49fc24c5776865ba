import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import top_k_accuracy_score

from training.evaluation import scoring
from training.evaluation.identification import cmc, genuine_ranks, rank_k

IntArray = npt.NDArray[np.int64]


def small_integers(seed: int, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Products and sums of these are exact in float32, so that ties are ties."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, columns)).astype(np.float32)


def naive_ranks(probe: list[list[int]], subjects: list[str], gallery: list[list[int]], known: list[str]) -> list[int]:
    ranks = []
    for row, subject in zip(probe, subjects, strict=True):
        scores = [sum(a * b for a, b in zip(row, stored, strict=True)) for stored in gallery]
        genuine = scores[known.index(subject)]
        rank = 1
        for score, other in zip(scores, known, strict=True):
            if other != subject and score >= genuine:
                rank += 1
        ranks.append(rank)
    return ranks


@pytest.mark.parametrize("seed", range(5))
def test_ranks_equal_a_naive_loop_also_where_scores_are_tied(seed: int) -> None:
    probe, gallery = small_integers(seed, 50, 4), small_integers(seed + 100, 30, 4)
    known = [f"s{i}" for i in range(30)]
    subjects = [f"s{i}" for i in np.random.default_rng(seed).integers(0, 30, 50)]
    ranks = genuine_ranks(probe, np.array(subjects), gallery, np.array(known))
    expected = naive_ranks(probe.astype(int).tolist(), subjects, gallery.astype(int).tolist(), known)
    assert ranks.tolist() == expected
    assert len(set(expected)) > 5


def test_a_tie_counts_against_the_probe() -> None:
    gallery = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    ranks = genuine_ranks(gallery[:1], np.array(["b"]), gallery, np.array(["a", "b", "c", "d"]))
    assert ranks.tolist() == [3]


def test_an_encoder_that_gives_everybody_the_same_feature_identifies_nobody() -> None:
    same = np.ones((4, 3), dtype=np.float32)
    names = np.array(["a", "b", "c", "d"])
    assert rank_k(genuine_ranks(same, names, same, names), 1) == 0.0


def test_the_block_size_does_not_change_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, gallery = small_integers(7, 25, 6), small_integers(8, 10, 6)
    known = np.array([f"s{i}" for i in range(10)])
    subjects = known[np.arange(25) % 10]
    whole = genuine_ranks(probe, subjects, gallery, known)
    monkeypatch.setattr(scoring, "HELD", 40)
    assert genuine_ranks(probe, subjects, gallery, known).tolist() == whole.tolist()


def test_a_gallery_with_a_subject_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="one template a subject"):
        genuine_ranks(
            np.eye(2, dtype=np.float32), np.array(["a", "a"]), np.eye(2, dtype=np.float32), np.array(["a"] * 2)
        )


def test_a_probe_of_somebody_who_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the gallery"):
        genuine_ranks(
            np.eye(2, dtype=np.float32), np.array(["a", "x"]), np.eye(2, dtype=np.float32), np.array(["a", "b"])
        )


@pytest.mark.parametrize(("k", "expected"), [(1, 0.25), (2, 0.5), (5, 0.75), (9, 1.0)])
def test_rank_k_is_the_share_of_ranks_up_to_k(k: int, expected: float) -> None:
    ranks: IntArray = np.array([1, 2, 3, 9])
    assert rank_k(ranks, k) == expected


def test_the_cmc_is_the_top_k_accuracy_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    gallery = random.normal(size=(30, 6)).astype(np.float32)
    who = random.integers(0, 30, 200)
    probe = (gallery[who] + random.normal(scale=1.2, size=(200, 6))).astype(np.float32)
    known = np.array([f"s{i:02d}" for i in range(30)])
    curve = cmc(genuine_ranks(probe, known[who], gallery, known), 30)
    for k in range(1, 31):
        accuracy = top_k_accuracy_score(who, probe @ gallery.T, k=k, labels=np.arange(30)) if k < 30 else 1.0
        assert curve[k - 1] == pytest.approx(accuracy, abs=1e-9)
    assert curve[0] < 0.8
