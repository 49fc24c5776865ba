"""A person of the world: a latent, habits and marks, all drawn from the world's seed and the person's number."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.data.synthetic.attributes import draw_habits
from training.data.synthetic.traits import Latent, Traits, draw_latent, traits_of

_PEOPLE = 1
_MOST_MARKS = 3


@dataclass(frozen=True, slots=True)
class Mark:
    """A mole: its place and size in face units, and how dark it is."""

    u: float
    v: float
    size: float
    darkness: float


@dataclass(frozen=True, slots=True)
class Person:
    """Who is on a picture."""

    number: int
    latent: Latent
    traits: Traits
    habits: Mapping[str, float]
    marks: tuple[Mark, ...]
    texture: int
    """Seed of what is only theirs in detail: freckles, strands, brow hairs."""


def draw_person(seed: int, number: int, shares: Mapping[str, float]) -> Person:
    """Person `number` of the world of `seed`."""
    random = np.random.default_rng((seed, _PEOPLE, number))
    latent = draw_latent(random)
    texture = int(random.integers(2**31))
    num_marks = int(random.binomial(_MOST_MARKS, 0.25))
    marks = tuple(_draw_mark(random) for _ in range(num_marks))
    return Person(number, latent, traits_of(latent), draw_habits(shares, random), marks, texture)


def _draw_mark(random: np.random.Generator) -> Mark:
    side = float(random.choice((-1.0, 1.0)))
    u, v = float(random.uniform(0.25, 0.7)), float(random.uniform(0.3, 1.2))
    return Mark(side * u, v, float(random.uniform(0.018, 0.035)), float(random.uniform(0.45, 0.85)))
