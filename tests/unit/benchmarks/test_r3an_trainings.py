import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.r3an_trainings import MEASURED
from training.recipes.r3an import small
from training.recipes.translators import METHODS
from training.trainers.r3an import VERSION

KEPT = sorted(MEASURED.glob("*.json"))


def test_something_is_kept() -> None:
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_is_kept_was_trained_as_it_would_be_today(path: Path) -> None:
    plan = json.loads(path.read_text())["plan"]
    paths = METHODS[plan["method"]].paths
    assert paths is not None
    recipe = replace(small(paths), iterations=plan["recipe"]["iterations"])
    if plan["trained_on"] == "longer":
        recipe = replace(recipe, epochs=4 * recipe.epochs)
    assert plan["version"] == VERSION
    assert plan["recipe"] == asdict(recipe)
    assert (recipe.iterations == 0) == (plan["trained_on"] in ("lfw112", "longer", "views"))
