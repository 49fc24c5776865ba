"""What the oracle keeps of one gallery: rows, and what each is in every generation.

Shapes: G templates, D dimension of a generation's space.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.space import Space
from service.entities import (
    FloatArray,
    Gallery,
    Generation,
    IndexKind,
    IndexState,
    NewTemplates,
    Side,
    Snapshot,
    Template,
    Translation,
)
from service.errors import RollbackExpiredError
from service.galleries.port import Project
from service.galleries.rules import check_projected, check_templates, timestamp, translation_into


@dataclass(frozen=True, slots=True)
class Made:
    """What a template is in one generation; without a feature it is not there."""

    feature: FloatArray | None
    route: tuple[str, ...] = ()
    confidence: float | None = None
    is_retired: bool = False


@dataclass(slots=True)
class Row:
    """A template."""

    seq: int
    template: Template
    space: Space
    original: FloatArray
    made: dict[int, Made] = field(default_factory=dict)
    """By number of a generation."""


@dataclass(slots=True)
class Version:
    """A generation."""

    number: int
    space: Space
    state: str = "active"
    job: str | None = None
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    retires: bool = False
    kept_until: str | None = None
    is_behind: bool = False
    filled_to: int = 0
    indexes: dict[str, tuple[Space, Mapping[str, Project]]] = field(default_factory=dict)
    """By fingerprint, the other spaces in which it is searchable, and how features come there."""

    def described(self, rows: Sequence[Row]) -> Generation:
        """As it is told, where it is not the active one."""
        return Generation(
            self.number,
            self.space,
            "building" if self.state == "building" else "kept",
            not self.is_behind,
            sum(row.seq <= self.filled_to for row in rows) if self.is_behind else len(rows),
            self.job,
            self.routes,
            self.kept_until,
        )


@dataclass(slots=True)
class Shelf:
    """A gallery."""

    name: str
    created_at: str
    index: IndexKind
    versions: dict[int, Version]
    active_number: int = 1
    next_number: int = 2
    rows: list[Row] = field(default_factory=list)
    restored_at: str | None = None

    @property
    def active(self) -> Version:
        """Its active generation."""
        return self.versions[self.active_number]

    @property
    def beside(self) -> list[Version]:
        """The others."""
        return [one for number, one in sorted(self.versions.items()) if number != self.active_number]

    def version(self, number: int | None) -> Version:
        """A generation, the active one if none is named. Raises `RollbackExpiredError`."""
        if number is None:
            return self.active
        if number not in self.versions:
            raise RollbackExpiredError(f"gallery {self.name} has no generation {number} any more")
        return self.versions[number]

    def has_any(self, subjects: frozenset[str]) -> bool:
        """Whether somebody is here."""
        return any(row.template.subject in subjects for row in self.rows)

    def searched(self, version: Version) -> list[Row]:
        """The rows that are searched in a generation."""
        return [
            row
            for row in self.rows
            if (not version.is_behind or row.seq <= version.filled_to)
            and row.made.get(version.number, Made(None)).feature is not None
        ]

    def features(self, rows: Sequence[Row], version: Version) -> dict[int, FloatArray]:
        """What searched rows are in a generation, by their numbers."""
        made = ((row.seq, row.made[version.number].feature) for row in rows)
        return {seq: feature for seq, feature in made if feature is not None}

    def told(self, row: Row) -> Template:
        """A template as it is told."""
        made = row.made[self.active_number]
        return replace(
            row.template,
            route=made.route,
            confidence=made.confidence if made.route and made.feature is not None else None,
            is_searchable=made.feature is not None,
        )

    def described(self) -> Gallery:
        """As it is told."""
        return Gallery(
            self.name,
            self.active.space,
            self.active_number,
            len(self.rows),
            len({row.template.subject for row in self.rows}),
            self.created_at,
            IndexState(self.index, "flat", 1.0, 0),
            tuple(one.described(self.rows) for one in self.beside),
            self.active.job,
            self.restored_at,
        )

    def copy(self) -> "Shelf":
        """What a snapshot keeps of it."""
        rows = [replace(row, made=dict(row.made)) for row in self.rows]
        versions = {number: replace(one, indexes={}) for number, one in self.versions.items()}
        return replace(self, rows=rows, versions=versions)

    def snapshot(self, snapshot_id: str, taken_at: str) -> Snapshot:
        """As it is told when it is kept."""
        num_subjects = len({row.template.subject for row in self.rows})
        return Snapshot(snapshot_id, self.name, self.active_number, taken_at, len(self.rows), num_subjects, sha256="")

    def check(self, templates: NewTemplates) -> None:
        """Raises what `enrol` raises of templates themselves."""
        check_templates(templates, self.active.space, [one.space for one in self.beside])

    def new_rows(self, templates: NewTemplates, seqs: Sequence[int]) -> list[Row]:
        """Checked templates as they are in every generation; none is put in."""
        rows = [
            Row(seq, template, templates.original_space, np.array(original, dtype=np.float32))
            for seq, template, original in zip(seqs, described(templates), templates.originals, strict=True)
        ]
        for version in self.versions.values():
            found = translation_into(templates, version.space)
            for row, made in zip(rows, made_of(found, len(rows)), strict=True):
                row.made[version.number] = made
        return rows

    def projected(self, row: Row, version: Version, space: Space, projections: Mapping[str, Project]) -> FloatArray:
        """The row's feature (D,) in one of the other spaces of a generation."""
        is_known = row.template.space in projections
        feature = row.original if is_known else row.made[version.number].feature
        assert feature is not None
        project = projections[row.template.space if is_known else version.space.fingerprint]
        projected_D: FloatArray = check_projected(project(feature[None]), space, 1)[0]
        return projected_D

    def _retire_too(self, row: Row) -> None:
        """In what is being built beside the active generation."""
        for other in self.beside:
            if other.state == "building" and other.retires and row.template.space != other.space.fingerprint:
                mine = row.made[self.active_number]
                row.made[other.number] = replace(mine, route=row.made.get(other.number, mine).route)

    def retire(self, version: Version, subjects: frozenset[str]) -> int:
        """Leave out of a generation what of some subjects was translated; how many templates that were."""
        num = 0
        for row in self.rows:
            made = row.made.get(version.number)
            if made and made.route and made.feature is not None and row.template.subject in subjects:
                row.made[version.number] = replace(made, feature=None, is_retired=True)
                num += 1
                if version is self.active:
                    self._retire_too(row)
        return num


def made_of(found: Translation | None, num: int) -> list[Made]:
    """Row by row."""
    if found is None:
        return [Made(None)] * num
    confidence = known(found.confidence, num)
    return [
        Made(None if np.isnan(feature).any() else np.array(feature, dtype=np.float32), found.route, told)
        for feature, told in zip(found.features, confidence, strict=True)
    ]


def origin_of(row: Row, version: Version) -> Side:
    """How a template came into a generation."""
    return Side(row.template.space, row.made[version.number].route)


def described(templates: NewTemplates) -> list[Template]:
    """New templates, but for what they are in a generation."""
    num = len(templates)
    columns = zip(
        templates.subjects,
        known(templates.norm, num),
        templates.keys or [None] * num,
        templates.metadata or [None] * num,
        templates.provenance or [{}] * num,
        strict=True,
    )
    return [
        Template(
            secrets.token_hex(16),
            subject,
            templates.original_space.fingerprint,
            (),
            timestamp(),
            None,
            norm,
            key,
            fields or {},
            provenance,
        )
        for subject, norm, key, fields, provenance in columns
    ]


def known(column: FloatArray | None, num: int) -> list[float | None]:
    """NaN as None."""
    return [None] * num if column is None else [None if np.isnan(value) else float(value) for value in column]
