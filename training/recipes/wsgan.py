"""How Weak-Strong GAN is trained: on a CPU in minutes, or as published; and the parts of it that Table 3 compares."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from training.trainers.rule import Rule
from training.trainers.wsgan_recipe import Terms, WSGANRecipe


def paper() -> WSGANRecipe:
    """Source: Weak-Strong GAN (AAAI 2019), Technical Details and Network architecture details. For a GPU and 10,000 drawings.

    How wide the networks are, how much noise there is, and for how long they were trained, it does not say.
    """
    rate = 0.005
    sgd, rmsprop = Rule("sgd", rate), Rule("rmsprop", rate)
    return WSGANRecipe(
        Terms(classification=0.1, noise=0.01, strong_classification=0.1),
        num_hidden=512,
        num_noise=128,
        dropout=0.0,
        starts_linear=False,
        is_centred=False,
        scale=64.0,
        generator=rmsprop,
        critic=rmsprop,
        classifier=sgd,
        noise_encoder=sgd,
        encoder=sgd,
        epochs=1000,
        batch=512,
        shares_encoder=True,
        trains_on_strong=True,
    )


def small() -> WSGANRecipe:
    """For some thousand drawings of people on a CPU."""
    return WSGANRecipe(
        Terms(classification=1.0, noise=2.0, strong_classification=1.0, contrast=1.0),
        num_hidden=256,
        num_noise=16,
        dropout=0.5,
        starts_linear=True,
        is_centred=False,
        scale=16.0,
        generator=Rule("adamw", 1e-3, 0.1),
        critic=Rule("rmsprop", 5e-4),
        classifier=Rule("sgd", 0.05),
        noise_encoder=Rule("adamw", 2e-3),
        encoder=Rule("adamw", 1e-3, 1e-2),
        epochs=40,
        batch=256,
        fewest_steps=120,
    )


def small_end_to_end() -> WSGANRecipe:
    """The same with the encoder of sketches: fewer epochs and D-phases, as each takes longer, several counterparts of each
    sketch, drawings of photos beside the sketches, and class centres that follow the encoder.
    """
    terms = replace(small().terms, noise=1.0)
    return replace(
        small(),
        terms=terms,
        dropout=0.3,
        epochs=20,
        batch=96,
        fewest_steps=0,
        num_counterparts=4,
        is_centred=True,
        encoder_learns_all=False,
        classifier=Rule("adamw", 1e-3),
        classifier_learns_weak=True,
        num_critic=2,
        num_drawings=48,
        is_mirrored=True,
    )


def small_shared() -> WSGANRecipe:
    """The same where the encoder is of both modalities, and photos are there to be encoded again: sketches are contrasted with
    photos in place of class centres, and both are to be recognised before the generator as well as behind it. In
    more epochs it learns these people by heart.
    """
    base = small_end_to_end()
    return replace(
        base,
        terms=replace(base.terms, encoder_classification=1.0),
        batch=48,
        num_drawings=24,
        epochs=8,
        shares_encoder=True,
        contrasts_strong=True,
    )


RECIPES: Mapping[str, Callable[[], WSGANRecipe]] = {"small": small, "paper": paper}


def _without(recipe: WSGANRecipe, *, is_adversarial: bool) -> WSGANRecipe:
    terms = replace(recipe.terms, noise=0.0, is_adversarial=is_adversarial)
    return replace(recipe, terms=terms)


VARIANTS: Mapping[str, Callable[[WSGANRecipe], WSGANRecipe]] = {
    "wsgan-c": lambda recipe: _without(recipe, is_adversarial=False),
    "wsgan-ac": lambda recipe: _without(recipe, is_adversarial=True),
    "wsgan": lambda recipe: recipe,
}
"""By the losses that teach the generator. Source: Weak-Strong GAN (AAAI 2019), Table 3."""
