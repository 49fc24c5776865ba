"""The baselines of Weak-Strong GAN that train encoders, each a variant of one recipe."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from training.trainers.adaptation_recipe import AdaptationRecipe, Objective
from training.trainers.rule import Rule


def small() -> AdaptationRecipe:
    """For some thousand sketches on a CPU: as long as Weak-Strong GAN trains an encoder of both there, with the optimiser, and
    with as many drawings of photos to a sketch.
    """
    return AdaptationRecipe(
        objective="joint",
        encoder=Rule("adamw", 1e-3, 1e-2),
        head=Rule("adamw", 1e-3),
        scale=16.0,
        epochs=8,
        batch=48,
        num_drawings=24,
        is_mirrored=True,
    )


def paper() -> AdaptationRecipe:
    """Batch and rate as Weak-Strong GAN (AAAI 2019), Network architecture details. For a GPU."""
    rule = Rule("sgd", 0.005)
    return replace(small(), encoder=rule, head=rule, batch=512, epochs=100, num_drawings=0, is_mirrored=False)


RECIPES: Mapping[str, Callable[[], AdaptationRecipe]] = {"small": small, "paper": paper}


def _of(objective: Objective, **changes: object) -> Callable[[AdaptationRecipe], AdaptationRecipe]:
    return lambda recipe: replace(recipe, objective=objective, **changes)  # type: ignore[arg-type]


_LAST_TWO = 2
_SHARED = 12
"""Layers that modalities share in cross-modal networks: the last quarter of a MobileNet."""

VARIANTS: Mapping[str, Callable[[AdaptationRecipe], AdaptationRecipe]] = {
    "fixed-fine-tuning": _of("weak", num_layers=_LAST_TWO),
    "fine-tuning": _of("weak"),
    "joint-training": _of("joint"),
    "dann-u": _of("dann-u"),
    "dann-s": _of("dann-s"),
    "sdt": _of("sdt", weight=0.01, soft_weight=0.1),
    "jan-s": _of("jan-s"),
    "cross-modal-a": _of("cross-modal-a", num_shared=_SHARED),
    "cross-modal-b": _of("cross-modal-b", num_shared=_SHARED, weight=0.1),
}
"""Source: Weak-Strong GAN (AAAI 2019), Method Comparison, (3) to (7); weights of SDT as Tzeng et al. (ICCV 2015)."""
