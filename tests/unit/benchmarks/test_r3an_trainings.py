import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from benchmarks.r3an_trainings import MEASURED, Training
from benchmarks.routes import VIEWS
from training.recipes.r3an import small
from training.recipes.translators import METHODS
from training.trainers.r3an import VERSION

PAIRS = 5997
"""Of the people of lfw112.zip whom the split trains on."""
KEPT = sorted(MEASURED.glob("*.json"))


def test_something_is_kept() -> None:
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_is_kept_was_trained_as_it_would_be_today(path: Path) -> None:
    plan = json.loads(path.read_text())["plan"]
    paths = METHODS[plan["method"]].paths
    assert paths is not None
    recipe = small(paths)
    if plan["trained_on"] == "longer":
        recipe = replace(recipe, epochs=VIEWS * recipe.epochs)
    if plan["trained_on"] in ("a quarter", "elsewhere"):
        recipe = replace(recipe, iterations=recipe.epochs * (PAIRS // recipe.batch))
    assert plan["version"] == VERSION
    assert plan["recipe"] == asdict(recipe)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_is_kept_lies_under_its_name(path: Path) -> None:
    plan = json.loads(path.read_text())["plan"]
    training = Training(**{field.name: plan[field.name] for field in fields(Training)})
    assert path.stem == training.name
    if training.trained_on in ("lfw112", "longer"):
        assert plan["pairs"] == PAIRS


def test_a_trainings_name_says_what_is_not_usual() -> None:
    assert Training("a", "b", "fc").name == "a-b-fc"
    assert Training("a", "b", "fc", "a quarter", seed=2).name == "a-b-fc-a-quarter-seed-2"
