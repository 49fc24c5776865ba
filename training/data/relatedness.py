"""How classes and attributes hang together: which attributes a class has, by what is known of them or by counting.

Shapes: N pictures, K classes, M attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter

from models.documents import parse_document, sha256_hex
from models.errors import ContractError
from models.features import FloatArray
from training.data.expressions import ACTION_UNITS, AFF_WILD2_UNITS, EXPRESSIONS, UNITS_OF
from training.data.labelled import Labels
from training.errors import TrainingError

STUDY, AFF_WILD2, COUNTED = "study", "aff-wild2", "counted"
_LARGEST_FILE = 16 << 20


@dataclass(frozen=True, slots=True)
class Relatedness:
    """Of every class, how much each attribute counts for it, and how often it has it. Raises `TrainingError` for what is no
    such thing.
    """

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    weight_KM: FloatArray
    """w: how much an attribute that is there speaks for a class, from 0 to 1."""
    chance_KM: FloatArray
    """p(attribute | class)."""
    unseen: tuple[str, ...] = ()
    """Of `classes`, those of which nothing was counted: they have the chances of everybody."""
    origin: str = ""
    """Where it is from: a name, or a file's digest."""

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        wanted = (len(self.classes), len(self.attributes))
        for what, found in (("weights", self.weight_KM), ("chances", self.chance_KM)):
            if found.shape != wanted:
                raise TrainingError(
                    f"{what} of relatedness are {found.shape}; of these classes and attributes they are {wanted}"
                )
            if not (np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()):
                raise TrainingError(f"{what} of relatedness must be from 0 to 1")
        for what, names in (("classes", self.classes), ("attributes", self.attributes)):
            if len(set(names)) != len(names):
                raise TrainingError(f"{what} of relatedness must be named, each once")

    @property
    def uncoupled(self) -> tuple[str, ...]:
        """Attributes that no class has, as far as is known: of them classes say nothing."""
        is_of_M: npt.NDArray[np.bool_] = np.any(self.chance_KM > 0, axis=0)
        return tuple(name for name, is_of in zip(self.attributes, is_of_M.tolist(), strict=True) if not is_of)

    def of(self, classes: Sequence[str], attributes: Sequence[str]) -> "Relatedness":
        """Of these, in this order. Raises `TrainingError` for a name that it does not know."""
        return self._cut(classes, [self._place(name, self.attributes, "attribute") for name in attributes], attributes)

    def as_far_as_known(self, classes: Sequence[str], attributes: Sequence[str]) -> "Relatedness":
        """Of these, in this order; attributes that it does not know no class has. Raises `TrainingError` for a class that it does
        not know, and where it knows none of the attributes.
        """
        columns = [self.attributes.index(name) if name in self.attributes else None for name in attributes]
        found = self._cut(classes, columns, attributes)
        if attributes and all(column is None for column in columns):
            self._place(attributes[0], self.attributes, "attribute")
        return found

    def _cut(self, classes: Sequence[str], columns: Sequence[int | None], attributes: Sequence[str]) -> "Relatedness":
        rows = [self._place(name, self.classes, "class") for name in classes]
        is_there_M = np.array([column is not None for column in columns], dtype=bool)
        cut = np.ix_(rows, [column or 0 for column in columns])
        weight_KM, chance_KM = (whole[cut] * is_there_M for whole in (self.weight_KM, self.chance_KM))
        unseen = tuple(name for name in classes if name in self.unseen)
        return Relatedness(tuple(classes), tuple(attributes), weight_KM, chance_KM, unseen, self.origin)

    @staticmethod
    def _place(name: str, among: Sequence[str], what: str) -> int:
        if name not in among:
            remedy = "; leave it out by naming the others (--classes)" if what == "class" else ""
            raise TrainingError(f"nothing is known of the {what} {name!r}; known: {', '.join(among)}{remedy}")
        return among.index(name)


def unrelated(classes: Sequence[str], attributes: Sequence[str]) -> Relatedness:
    """Of which nothing is known."""
    nothing_KM = np.zeros((len(classes), len(attributes)), dtype=np.float32)
    return Relatedness(tuple(classes), tuple(attributes), nothing_KM, nothing_KM)


def of_study() -> Relatedness:
    """Expressions and action units of a study: an observational unit counts as much as there were annotators who saw it, and as a
    prototypical one it is always expected.

    Source: Kollias et al. (AAAI 2024), Table 1 (Du, Tao and Martinez 2014), and its text after Eq. 2 and Eq. 4.
    """
    weight_KM = np.zeros((len(EXPRESSIONS), len(ACTION_UNITS)), dtype=np.float32)
    for row, expression in enumerate(EXPRESSIONS):
        units = UNITS_OF[expression]
        for unit, weight in (*((unit, 1.0) for unit in units.prototypical), *units.observational):
            weight_KM[row, ACTION_UNITS.index(unit)] = weight
    return Relatedness(EXPRESSIONS, _UNIT_NAMES, weight_KM, (weight_KM > 0).astype(np.float32), origin=STUDY)


def of_aff_wild2() -> Relatedness:
    """Expressions and action units as often as they were annotated together.

    Source: Kollias et al. (AAAI 2024), Table 1, column Aff-Wild2.
    """
    chance_KM = np.zeros((len(EXPRESSIONS), len(ACTION_UNITS)), dtype=np.float32)
    for expression, units in AFF_WILD2_UNITS.items():
        for unit, share in units:
            chance_KM[EXPRESSIONS.index(expression), ACTION_UNITS.index(unit)] = share
    return Relatedness(EXPRESSIONS, _UNIT_NAMES, chance_KM, chance_KM, origin=AFF_WILD2)


def counted(
    class_N: npt.NDArray[np.int64],
    has_NM: npt.NDArray[np.bool_],
    is_known_NM: npt.NDArray[np.bool_],
    classes: Sequence[str],
    attributes: Sequence[str],
) -> Relatedness:
    """From annotations: of the pictures of a class of which an attribute is known, the share that has it.

    `class_N` is -1 where a class is not known; those pictures are left out. A class of which an attribute is nowhere known has
    the share of everybody. Raises `TrainingError` for a class out of range, and arrays that are not of the same pictures.

    Source: Kollias et al. (AAAI 2024), case study II.
    """
    if len(class_N) and (int(class_N.min()) < -1 or int(class_N.max()) >= len(classes)):
        raise TrainingError(f"classes are numbered from 0 to {len(classes) - 1}, and -1 where they are not known")
    if not has_NM.shape == is_known_NM.shape == (len(class_N), len(attributes)):
        raise TrainingError(f"attributes of {has_NM.shape} and {is_known_NM.shape} for {len(class_N)} pictures")
    of_N = class_N >= 0
    both_KM, known_KM = (np.zeros((len(classes), len(attributes))) for _ in range(2))
    np.add.at(both_KM, class_N[of_N], has_NM[of_N] & is_known_NM[of_N])
    np.add.at(known_KM, class_N[of_N], is_known_NM[of_N])
    everybody_M = both_KM.sum(axis=0) / np.maximum(known_KM.sum(axis=0), 1)
    chance_KM = np.where(known_KM > 0, both_KM / np.maximum(known_KM, 1), everybody_M).astype(np.float32)
    unseen = tuple(name for name, known_M in zip(classes, known_KM, strict=True) if not known_M.any())
    return Relatedness(tuple(classes), tuple(attributes), chance_KM, chance_KM, unseen, COUNTED)


@dataclass(frozen=True, slots=True)
class _Document:
    """A file of somebody's own knowledge."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    chances: tuple[tuple[float, ...], ...]
    """A row a class, a column an attribute."""
    weights: tuple[tuple[float, ...], ...] | None = None
    """Chances are taken where they are not given."""


_DOCUMENT = TypeAdapter(_Document)


def read_relatedness(path: Path) -> Relatedness:
    """What a JSON file says: `classes`, `attributes`, `chances`, and `weights` where these are others. Raises `TrainingError`."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise TrainingError(f"{path}: larger than {_LARGEST_FILE} bytes")
        text = path.read_bytes()
    except OSError as failure:
        raise TrainingError(f"{path}: cannot be read ({failure.strerror})") from None
    try:
        said = parse_document(_DOCUMENT, text, what=str(path), error=ContractError)
    except ContractError as failure:
        raise TrainingError(str(failure)) from None
    rows = (*said.chances, *(said.weights or ()))
    if len({len(row) for row in rows}) > 1:
        raise TrainingError(f"{path}: the rows of relatedness must be of one length")
    weights = said.chances if said.weights is None else said.weights
    chance_KM, weight_KM = (np.array(one, dtype=np.float32) for one in (said.chances, weights))
    return Relatedness(said.classes, said.attributes, weight_KM, chance_KM, origin=f"sha256:{sha256_hex(text)}")


def relatedness_of(source: str | None, labels: Labels) -> Relatedness:
    """Of the classes and attributes of labels: by a name above, or a file. Where nothing is named, of the study where these are
    its expressions and action units; otherwise counted, and where it cannot be, as far as the study knows.

    Raises `TrainingError` where a class is not known, or an attribute of a file, or it is to be counted and no picture tells of
    both.
    """
    can_be_counted = bool(((labels.class_N >= 0) & labels.is_known_NM.any(axis=1)).any())
    if source is None:
        source = _default(labels, can_be_counted=can_be_counted)
    if source == COUNTED:
        if not can_be_counted:
            strange = sorted(set(labels.classes) - set(EXPRESSIONS))
            others = f", or learn expressions alone, which {strange[0]!r} is none of" if strange else ""
            raise TrainingError(
                "no picture tells both its class and an attribute, so how they hang together cannot be counted; say it in "
                f"a file{others}"
            )
        return counted(labels.class_N, labels.has_NM, labels.is_known_NM, labels.classes, labels.attributes)
    known = {STUDY: of_study, AFF_WILD2: of_aff_wild2}
    if source in known:
        return known[source]().as_far_as_known(labels.classes, labels.attributes)
    return read_relatedness(Path(source)).of(labels.classes, labels.attributes)


def _default(labels: Labels, *, can_be_counted: bool) -> str:
    is_of_classes = set(labels.classes) <= set(EXPRESSIONS)
    units = set(labels.attributes) & set(_UNIT_NAMES)
    if is_of_classes and (units == set(labels.attributes) or (units and not can_be_counted)):
        return STUDY
    return COUNTED


_UNIT_NAMES = tuple(f"au_{unit}" for unit in ACTION_UNITS)
