"""How one network is trained for three tasks: on a CPU in minutes, or as published; and the rivals of its way to weigh them."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from training.trainers.multi_task_recipe import MultiTaskRecipe, Weighting
from training.trainers.rule import Rule

_ALIKE = (1 / 3, 1 / 3, 1 / 3)


def paper() -> MultiTaskRecipe:
    """Source: Ming et al. (IJDAR 2021), Sec. 4 and 5.2, its rate divided by ten after the same shares of the training. For a GPU.

    It begins with the encoder that its Sec. 5.2 pretrains: `fit --method encoder --backbone inception-resnet --recipe paper`,
    whose branch is 27 layers. For how long the three tasks are trained it does not say; beta is that of its authors' example, and
    the rate, which Sec. 5.2 gives for the pretraining. RMSprop is without momentum here.
    """
    rule = Rule("rmsprop", 0.1, 5e-5)
    return MultiTaskRecipe(
        weighting="dynamic",
        given=_ALIKE,
        num_branch=27,
        num_layers=None,
        encoder=rule,
        head=rule,
        weights=Rule("sgd", 0.1),
        scale=32.0,
        centre=0.1,
        centre_rate=0.5,
        epochs=1000,
        num_people=15,
        num_pictures=3,
        dropout=0.5,
        milestones=(2 / 3, 8 / 9),
    )


def small() -> MultiTaskRecipe:
    """For some thousand pictures on a CPU, on the encoder that one has."""
    return MultiTaskRecipe(
        weighting="dynamic",
        given=_ALIKE,
        num_branch=5,
        num_layers=None,
        encoder=Rule("adamw", 1e-4, 1e-2),
        head=Rule("sgd", 0.1),
        weights=Rule("sgd", 0.005),
        scale=16.0,
        centre=0.1,
        centre_rate=0.5,
        epochs=8,
        num_people=16,
        num_pictures=3,
        contrast=1.0,
        num_caricatures=24,
        is_mirrored=True,
    )


RECIPES: Mapping[str, Callable[[], MultiTaskRecipe]] = {"small": small, "paper": paper}


def _weighed(weighting: Weighting) -> Callable[[MultiTaskRecipe], MultiTaskRecipe]:
    return lambda recipe: replace(recipe, weighting=weighting)


def _single(task: int) -> Callable[[MultiTaskRecipe], MultiTaskRecipe]:
    given = tuple(float(one == task) for one in range(len(_ALIKE)))
    return lambda recipe: replace(recipe, weighting="static", given=given)  # type: ignore[arg-type]


VARIANTS: Mapping[str, Callable[[MultiTaskRecipe], MultiTaskRecipe]] = {
    "dynamic-mtl": _weighed("dynamic"),
    "naive-dynamic-mtl": _weighed("naive"),
    "static-mtl": _weighed("static"),
    "uncertainty-mtl": _weighed("uncertainty"),
    "gradnorm-mtl": _weighed("gradnorm"),
    "single-verification": _single(0),
    "single-weak": _single(1),
    "single-photo": _single(2),
}
"""Source: Ming et al. (IJDAR 2021), Tables 2 to 5, and what it cites of dynamic methods."""
