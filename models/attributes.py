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
ROUNDING = 1e-4
"""By which probabilities may differ between machines; see `PARITY` of exported networks."""
MAX_LABEL = 64
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,48}$"

Word = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold on a probability, beyond which a picture is left out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    error: Rate
    """At most this share of the pictures that are meant is left out, in expectation: of people drawn as those were that it was
    measured on, and a picture of each.
    """
    threshold: Rate
    passed: Rate | None
    """The measured share of the pictures that are not meant, and are let through all the same; None where there were none."""


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
    num_people_with: Annotated[int, Field(ge=0)] = 0
    """On these pictures; as many as there are pictures, where nobody knows who is on them."""
    num_people_without: Annotated[int, Field(ge=0)] = 0

    def cut(self, error: float, *, has: bool) -> Cut | None:
        """The one of the largest error that is not above `error`; None where none was measured."""
        found = [cut for cut in (self.has if has else self.lacks) if cut.error <= error * (1 + 1e-9)]
        return max(found, key=lambda cut: cut.error, default=None)


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """What each of a model's probabilities is of."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    label: Annotated[str, StringConstraints(max_length=MAX_LABEL)] = ""
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
    subject_N: npt.NDArray[Any] | None = None,
    errors: Sequence[float] = STATED_ERRORS,
) -> Attribute:
    """An attribute with its thresholds, measured on N pictures that nothing was learned from; `subject_N` says who is on them.

    Everybody counts once, with all pictures, and one more person of whom nothing is known counts as beyond every threshold: then
    a picture of a person drawn in the same way is beyond it with a probability of the error at most. Of too few people an error
    is not stated: of n, none below 1 / (n + 1).

    Source: Lee, Barber and Willett, Distribution-free inference with hierarchical data (2023), HCP; of one picture each it is
    split conformal prediction. Deviation: a threshold is let out by the rounding of another machine.
    """
    if subject_N is None:
        subject_N = np.arange(len(has_N))
    score_N = probability_N.astype(np.float64)
    having, lacking = (_Side.of(score_N[is_of_N], subject_N[is_of_N]) for is_of_N in (has_N, ~has_N))
    return Attribute(
        name,
        _cuts(having, lacking, errors),
        tuple(Cut(cut.error, 1.0 - cut.threshold, cut.passed) for cut in _cuts(lacking.turned, having.turned, errors)),
        len(having.score_N),
        len(lacking.score_N),
        having.num_people,
        lacking.num_people,
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """Pictures that are meant, or are not, in the order of their probabilities, and how much each counts of its person."""

    score_N: npt.NDArray[np.float64]
    share_N: npt.NDArray[np.float64]
    num_people: int

    @classmethod
    def of(cls, score_N: npt.NDArray[np.float64], subject_N: npt.NDArray[Any]) -> "_Side":
        order_N = np.argsort(score_N, kind="stable")
        _, person_N, num_P = np.unique(subject_N, return_inverse=True, return_counts=True)
        share_N = 1.0 / num_P[person_N] if len(score_N) else np.zeros(0)
        return cls(score_N[order_N], share_N[order_N], len(num_P))

    @property
    def turned(self) -> "_Side":
        """As of the probability that it is not."""
        return _Side(1.0 - self.score_N[::-1], self.share_N[::-1], self.num_people)


def _cuts(meant: _Side, others: _Side, errors: Sequence[float]) -> tuple[Cut, ...]:
    """Let through is what is at least the threshold."""
    if not meant.num_people:
        return ()
    first_N = np.searchsorted(meant.score_N, meant.score_N, side="left")
    below_N = np.concatenate([[0.0], np.cumsum(meant.share_N)])[first_N]
    beyond_N = (below_N + 1.0) / (meant.num_people + 1)
    found = []
    for error in sorted(errors):
        allowed = np.flatnonzero(beyond_N <= error + 1e-9)
        if len(allowed):
            threshold = float(np.clip(meant.score_N[allowed[-1]] - ROUNDING, 0.0, 1.0))
            is_passed_N = others.score_N >= threshold
            passed = float(others.share_N[is_passed_N].sum() / others.num_people) if others.num_people else None
            found.append(Cut(error, threshold, None if passed is None else min(1.0, passed)))
    return tuple(found)
