import numpy as np
import numpy.typing as npt
import pytest

from training.evaluation.bootstrap import bootstrap, mean_interval, tar_interval
from training.evaluation.verification import tar_at_far

IntArray = npt.NDArray[np.int64]


def test_the_interval_of_a_mean_of_independent_people_is_the_normal_one() -> None:
    value = np.random.default_rng(0).normal(size=400)
    interval = mean_interval(np.array([f"s{i}" for i in range(400)]), value, num_rounds=4000)
    half = 1.96 * value.std() / 20
    assert interval.low == pytest.approx(value.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(value.mean() + half, abs=0.1 * half)


def test_pictures_of_one_person_do_not_count_as_many_people() -> None:
    """Ten copies of each value carry no more than the values do."""
    value = np.random.default_rng(1).normal(size=100)
    subject = np.array([f"s{i}" for i in range(100)])
    once, copied = mean_interval(subject, value), mean_interval(np.repeat(subject, 10), np.repeat(value, 10))
    assert copied.low == pytest.approx(once.low)
    assert copied.high == pytest.approx(once.high)


def test_nine_of_ten_intervals_at_90_percent_hold_the_truth() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        is_easy = random.random(60)
        hit = random.random((60, 4)) < is_easy[:, None]
        interval = mean_interval(
            np.repeat(np.arange(60), 4).astype(str), hit.reshape(-1), num_rounds=200, confidence=0.9
        )
        held += interval.low <= 0.5 <= interval.high
    assert 0.83 <= held / 200 <= 0.94


def naive_tar_of(
    times: IntArray, genuine: list[tuple[float, int]], impostor: list[tuple[float, int]], far: float
) -> float:
    drawn = [np.array([score for score, who in scores for _ in range(times[who])]) for scores in (genuine, impostor)]
    found = tar_at_far(drawn[0], drawn[1], far)
    assert found is not None
    return found


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("far", [0.3, 0.05])
def test_the_interval_of_tar_is_that_of_scores_repeated_as_often_as_their_people_were_drawn(
    far: float,
    tied: bool,
) -> None:
    random = np.random.default_rng(3)
    genuine, impostor = random.normal(1, 1, 60), random.normal(0, 1, 2000)
    if tied:
        genuine, impostor = genuine.round(1), impostor.round(1)
    of_genuine, of_impostor = random.integers(0, 12, 60), random.integers(0, 12, 2000)
    of_genuine[:12] = np.arange(12)
    interval = tar_interval(genuine, of_genuine.astype("U2"), impostor, of_impostor.astype("U2"), far, num_rounds=50)
    # Subjects are numbered in the order of their names.
    number = {name: place for place, name in enumerate(sorted(str(i) for i in range(12)))}
    pairs = [
        [(score, number[str(who)]) for score, who in zip(scores.tolist(), of.tolist(), strict=True)]
        for scores, of in ((genuine, of_genuine), (impostor, of_impostor))
    ]
    expected = bootstrap(12, lambda times: naive_tar_of(times, pairs[0], pairs[1], far), num_rounds=50)
    assert interval.low == pytest.approx(expected.low)
    assert interval.high == pytest.approx(expected.high)
    assert interval.low < interval.high


def test_nobody_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no subjects"):
        mean_interval(np.zeros(0, dtype=str), np.zeros(0))


def test_few_drawings_that_say_nothing_do_not_count_and_none_at_all_is_an_error() -> None:
    assert bootstrap(5, lambda times: 0.5 if times[0] else None).low == 0.5
    with pytest.raises(ValueError, match="no drawing"):
        bootstrap(5, lambda times: None)
    with pytest.raises(ValueError, match="no drawing"):
        tar_interval(np.ones(3), np.array(list("abc")), np.ones(9), np.array(list("abcabcabc")), 0.1)
