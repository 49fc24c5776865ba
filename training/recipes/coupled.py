"""How one network learns a class and attributes of a picture: alone, together, and coupled; for a CPU."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from training.trainers.coupled_recipe import CoupledRecipe
from training.trainers.rule import Rule


def small() -> CoupledRecipe:
    """For some thousand pictures on a CPU, on the encoder that one has."""
    return CoupledRecipe(
        given=(1.0, 1.0),
        matching=0.1,
        annotation=3.0,
        match="mutual",
        is_label_target=False,
        weighting="static",
        is_taught=False,
        num_layers=None,
        encoder=Rule("adamw", 1e-3, 1e-2),
        head=Rule("adamw", 3e-3),
        epochs=24,
        batch=64,
    )


RECIPES: Mapping[str, Callable[[], CoupledRecipe]] = {"small": small}
_ALONE = {"matching": 0.0, "annotation": 0.0}


def _changed(**changes: object) -> Callable[[CoupledRecipe], CoupledRecipe]:
    return lambda recipe: replace(recipe, **changes)  # type: ignore[arg-type]


VARIANTS: Mapping[str, Callable[[CoupledRecipe], CoupledRecipe]] = {
    "coupled": _changed(),
    "distribution-matching": _changed(annotation=0.0),
    "soft-co-annotation": _changed(matching=0.0),
    "uncoupled": _changed(**_ALONE),
    "student-teacher": _changed(**_ALONE, is_taught=True),
    "mgda-ub": _changed(**_ALONE, weighting="mgda-ub"),
    "single-class": _changed(**_ALONE, given=(1.0, 0.0)),
    "single-attributes": _changed(**_ALONE, given=(0.0, 1.0)),
}
"""Source: Kollias et al. (AAAI 2024), Tables 2 to 5, and what it cites."""
