"""What a bundle tells of pictures beside who is on them: `attributes.json`, an entry for each of its probabilities.

First come the classes, which exclude each other and whose probabilities sum to one, then attributes, each by itself. Of each
there are thresholds by which pictures can be left out of a search, at stated rates of leaving out one that was meant.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter

from models.documents import parse_document, readable_json
from models.errors import BundleError
from models.operating_point import Rate

ATTRIBUTES = "attributes.json"
STATED_ERRORS = (0.01, 0.02, 0.05, 0.1, 0.2)
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,48}$"

Word = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold on a probability, beyond which a picture is left out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    error: Rate
    """At most this share of the pictures that are meant is left out, in expectation over those that it was measured on."""
    threshold: Rate
    passed: Rate
    """The measured share of the pictures that are not meant, and are let through all the same."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One of the probabilities, and the thresholds on it by the error that they state."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Word
    has: tuple[Cut, ...] = ()
    """Where those who have it are meant: let through are probabilities of the threshold or more."""
    lacks: tuple[Cut, ...] = ()
    """Where those who have it not are: the threshold or less."""
    num_with: Annotated[int, Field(ge=0)] = 0
    """Pictures that this was measured on."""
    num_without: Annotated[int, Field(ge=0)] = 0

    def cut(self, error: float, *, has: bool) -> Cut | None:
        """The one of the largest error that is not above `error`; None where none was measured."""
        found = [cut for cut in (self.has if has else self.lacks) if cut.error <= error * (1 + 1e-9)]
        return max(found, key=lambda cut: cut.error, default=None)


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """What each of a model's probabilities is of."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    label: Annotated[str, StringConstraints(max_length=64)] = ""
    """What the classes are called together, such as `expression`."""
    classes: tuple[Attribute, ...] = ()
    attributes: tuple[Attribute, ...] = ()

    @property
    def everything(self) -> tuple[Attribute, ...]:
        """One for each probability, in their order."""
        return (*self.classes, *self.attributes)

    @property
    def places(self) -> dict[str, int]:
        """Of each name, which of the probabilities it is."""
        return {one.name: place for place, one in enumerate(self.everything)}


_DOCUMENT = TypeAdapter(AttributeTable)


def attributes_json(table: AttributeTable) -> bytes:
    """The file."""
    document: dict[str, Any] = asdict(table)
    return readable_json(document)


def parse_attributes(data: bytes, *, what: str, dimension: int | None = None) -> AttributeTable:
    """The table, of `dimension` probabilities where that is known. Raises `BundleError`."""
    table = parse_document(_DOCUMENT, data, what=what, error=BundleError)
    names = [one.name for one in table.everything]
    if dimension is not None and len(names) != dimension:
        raise BundleError(f"{what}: names {len(names)} classes and attributes, the model knows {dimension}")
    if not names or len(set(names)) != len(names):
        raise BundleError(f"{what}: must name classes and attributes, each once")
    if len(table.classes) == 1:
        raise BundleError(f"{what}: a class alone is always the one")
    for one in table.everything:
        for cuts in (one.has, one.lacks):
            errors = [cut.error for cut in cuts]
            if errors != sorted(set(errors)):
                raise BundleError(f"{what}: the errors of {one.name} must ascend")
    return table


def is_name(text: str) -> bool:
    """Whether a class or attribute may be called so."""
    return re.fullmatch(NAME_PATTERN, text) is not None


def measured_attribute(
    name: str,
    probability_N: npt.NDArray[np.floating[Any]],
    has_N: npt.NDArray[np.bool_],
    errors: Sequence[float] = STATED_ERRORS,
) -> Attribute:
    """An attribute with its thresholds, measured on N pictures that nothing was learned from.

    A threshold is one of the probabilities of those who are meant, the k-th from the end where k is the error times one more than
    there are of them, rounded down: one more such picture is beyond it with at most that probability. Where k is zero there are
    too few to state it.

    Source: split conformal prediction, after Papadopoulos et al., Inductive confidence machines for regression (ECML 2002).
    """
    having_N, lacking_N = (np.sort(probability_N[is_of_N].astype(np.float64)) for is_of_N in (has_N, ~has_N))
    return Attribute(
        name,
        _cuts(having_N, lacking_N, errors),
        tuple(
            Cut(cut.error, -cut.threshold, cut.passed) for cut in _cuts(np.sort(-lacking_N), np.sort(-having_N), errors)
        ),
        len(having_N),
        len(lacking_N),
    )


def _cuts(meant: npt.NDArray[np.float64], others: npt.NDArray[np.float64], errors: Sequence[float]) -> tuple[Cut, ...]:
    """Both ascending; let through is what is at least the threshold."""
    found = []
    for error in sorted(errors):
        number = int(error * (len(meant) + 1) + 1e-9)
        if number:
            threshold = float(meant[number - 1])
            passed = float(np.mean(others >= threshold)) if len(others) else 1.0
            found.append(Cut(error, threshold, passed))
    return tuple(found)
