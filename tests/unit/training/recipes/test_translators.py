from typing import Any, cast

import pytest

from training.evaluation.cross_space import CrossSpaceEvaluation, Figures
from training.recipes.translators import FittedMethod, best_first
from training.trainers.fitted import Fitted, Translate


def measured(method: str, rank1: tuple[float, float] | None, cosine: float, num_probes: int = 100) -> FittedMethod:
    if rank1 is None:
        validation = CrossSpaceEvaluation(200, 0, 0, {"translated probes": Figures(mean_cosine=cosine)})
    else:
        rows = {
            "translated probes": Figures(rank1=rank1[0], mean_cosine=cosine),
            "translated gallery": Figures(rank1=rank1[1], mean_cosine=cosine),
        }
        validation = CrossSpaceEvaluation(200, 50, num_probes, rows)
    unused = cast("Any", None)
    return FittedMethod(method, cast("Fitted[Translate]", unused), b"", unused, 0.0, validation, None)


def order(*results: FittedMethod) -> list[str]:
    return [result.method for result in best_first(list(results))]


def test_of_methods_within_one_standard_error_the_highest_cosine_comes_first() -> None:
    """The best, 0.9 of 100 probes, has the standard error sqrt(0.9 * 0.1 / 100) = 0.03."""
    results = (
        measured("best", (0.92, 0.88), 0.70),
        measured("near", (0.86, 0.885), 0.80),
        measured("far", (0.86, 0.86), 0.95),
        measured("second", (0.895, 0.895), 0.60),
    )
    assert order(*results) == order(*reversed(results)) == ["near", "best", "second", "far"]


@pytest.mark.parametrize(("num_probes", "first"), [(100, "near"), (10_000, "best")])
def test_more_probes_tell_more_methods_apart(num_probes: int, first: str) -> None:
    results = (measured("best", (0.9, 0.9), 0.7, num_probes), measured("near", (0.88, 0.88), 0.8, num_probes))
    assert order(*results)[0] == first


def test_where_the_best_makes_no_mistake_only_its_equals_compare_by_cosine() -> None:
    results = (measured("all", (1, 1), 0.7), measured("all too", (1, 1), 0.8), measured("most", (0.99, 0.99), 0.9))
    assert order(*results) == ["all too", "all", "most"]


def test_without_subjects_the_cosine_decides() -> None:
    assert order(measured("a", None, 0.5), measured("b", None, 0.9), measured("c", None, 0.7)) == ["b", "c", "a"]
