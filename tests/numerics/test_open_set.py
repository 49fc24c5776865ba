import numpy as np
import numpy.typing as npt
import pytest

from training.evaluation import scoring
from training.evaluation.identification import genuine_ranks
from training.evaluation.open_set import Searches, open_set_layout, search
from training.evaluation.scoring import Fusion

FloatArray = npt.NDArray[np.float32]


def small_integers(seed: int, rows: int, columns: int) -> FloatArray:
    """Products and sums of these are exact in float32, so that ties are ties."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, columns)).astype(np.float32)


@pytest.mark.parametrize("fusion", ["max", "mean"])
@pytest.mark.parametrize("held", [1, 1 << 24])
def test_searches_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch, held: int, fusion: Fusion) -> None:
    monkeypatch.setattr(scoring, "HELD", held)
    random = np.random.default_rng(0)
    probe, gallery = small_integers(1, 40, 5), small_integers(2, 24, 5)
    names = [f"s{i}" for i in range(12)]
    gallery_subject = np.array(names[:8] * 3)
    probe_subject = random.choice(names, 40)
    found = search(probe, probe_subject, gallery, gallery_subject, fusion)
    mates, ranks, bests = [], [], []
    for row, name in zip(probe, probe_subject.tolist(), strict=True):
        of_subject = {}
        for known in names[:8]:
            scores = [
                float(row @ stored) for stored, other in zip(gallery, gallery_subject, strict=True) if other == known
            ]
            of_subject[known] = max(scores) if fusion == "max" else sum(scores) / len(scores)
        if name in of_subject:
            mates.append(of_subject[name])
            ranks.append(sum(score >= of_subject[name] - 1e-6 for score in of_subject.values()))
        else:
            bests.append(max(of_subject.values()))
    np.testing.assert_allclose(found.mate_score_M, mates, atol=1e-6)
    np.testing.assert_allclose(found.best_score_N, bests, atol=1e-6)
    assert found.mate_rank_M.tolist() == ranks
    assert min(len(mates), len(bests)) > 5


def test_with_everybody_enrolled_once_the_ranks_are_those_of_closed_set_identification() -> None:
    probe, gallery = small_integers(3, 60, 4), small_integers(4, 15, 4)
    known = np.array([f"s{i}" for i in range(15)])
    subject = known[np.arange(60) % 15]
    found = search(probe, subject, gallery, known)
    assert found.mate_rank_M.tolist() == genuine_ranks(probe, subject, gallery, known).tolist()
    assert found.fnir_at_fpir(0.5) is None


@pytest.fixture
def searches() -> Searches:
    """Four mated probes, of which the third is behind others; a hundred strangers with scores 0.00 to 0.99."""
    mate = np.array([0.995, 0.95, 0.93, 0.2], dtype=np.float32)
    return Searches(mate, np.array([1, 1, 3, 1]), np.ones(4), (np.arange(100) / 100).astype(np.float32), np.ones(100))


@pytest.mark.parametrize(
    ("fpir", "max_rank", "expected"),
    [(0.01, None, 0.75), (0.1, None, 0.25), (0.1, 1, 0.5), (0.1, 3, 0.25), (0.9, None, 0.0), (0.003, None, None)],
)
def test_fnir_at_fpir_by_hand(searches: Searches, fpir: float, max_rank: int | None, expected: float | None) -> None:
    assert searches.fnir_at_fpir(fpir, max_rank) == expected


def test_fpir_counts_strangers_who_are_taken_for_somebody(searches: Searches) -> None:
    assert searches.fpir(0.9) == pytest.approx(0.1)
    assert searches.fpir(2.0) == 0.0


def test_everybody_counts_once_however_many_probes_are_of_them() -> None:
    """Of the enrolled, a has nine probes that miss and b one that hits; of the others, c has fifty that are taken for b."""
    gallery, known = np.eye(3, dtype=np.float32)[:2], np.array(["a", "b"])
    towards_b, towards_nobody = np.eye(3, dtype=np.float32)[[1]], np.eye(3, dtype=np.float32)[[2]]
    probes = np.concatenate(
        [towards_nobody.repeat(9, 0), towards_b, towards_b.repeat(50, 0), towards_nobody.repeat(3, 0)]
    )
    who = np.array([*"aaaaaaaaa", "b", *["c"] * 50, "d", "e", "f"])
    found = search(probes, who, gallery, known)
    assert found.fnir(0.5) == 0.5
    assert found.fpir(0.5) == 0.25
    assert found.threshold_at(0.25) == 1.0
    assert found.fnir_at_fpir(0.25) == 0.5
    # Half of c's probes would already be too many people.
    threshold = found.threshold_at(0.24)
    assert threshold is None
    assert found.fnir_at_fpir(0.5) == 0.5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fpir", [0.1, 0.3])
def test_a_threshold_lets_through_what_it_may_and_the_next_lower_score_too_much(seed: int, fpir: float) -> None:
    random = np.random.default_rng(seed)
    who = random.integers(0, 15, 80).astype("U2")
    best = (random.integers(0, 30, 80) / 30).astype(np.float32)
    weight = 1 / np.array([np.sum(who == name) for name in who])
    found = Searches(best[:0], np.zeros(0, dtype=np.int64), np.zeros(0), best, weight)
    threshold = found.threshold_at(fpir)
    assert threshold is not None
    assert found.fpir(threshold) <= fpir + 1e-9
    assert found.fpir(max(score for score in best if score < threshold)) > fpir


def test_without_a_gallery_there_is_nothing_to_search() -> None:
    with pytest.raises(ValueError, match="gallery"):
        search(
            np.eye(2, dtype=np.float32),
            np.array(list("ab")),
            np.zeros((0, 2), dtype=np.float32),
            np.zeros(0, dtype=str),
        )


def test_a_layout_leaves_people_out_of_the_gallery_and_uses_every_row_once() -> None:
    subject = np.array([f"s{i}" for i in [*range(40), *range(20), *range(10)]])
    gallery, mated, non_mated = open_set_layout(subject, seed=1, share=0.25)
    assert sorted([*gallery, *mated, *non_mated]) == list(range(70))
    assert len(set(subject[gallery])) == len(gallery) == 35
    assert set(subject[mated]) <= set(subject[gallery])
    assert not set(subject[non_mated]) & set(subject[gallery])
    assert len(set(subject[non_mated])) == 5
    again = open_set_layout(subject, seed=2, share=0.25)[2]
    assert set(again.tolist()) != set(non_mated.tolist())
