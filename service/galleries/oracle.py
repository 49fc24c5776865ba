"""The oracle: galleries in plain Python and numpy; exact, slow, obviously right, and what other stores must agree with.

Shapes: B probes, G templates, D dimension of a gallery's space.
"""

import itertools
import secrets
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.space import Space
from service.entities import (
    Candidate,
    Check,
    Erased,
    FloatArray,
    Gallery,
    IndexKind,
    IndexState,
    NewTemplates,
    Side,
    Snapshot,
    Template,
)
from service.errors import (
    AlreadyExistsError,
    EngineError,
    GenerationChangedError,
    InvalidInputError,
    NotFoundError,
)
from service.galleries.port import Answer, Enrolment, Once, Project, SearchResult, TemplatePage, Where
from service.galleries.rules import (
    check_probes,
    check_projected,
    check_projections,
    check_templates,
    exact_scores,
    gallery_features,
    is_meant,
    timestamp,
)


@dataclass(frozen=True, slots=True)
class _Row:
    seq: int
    template: Template
    feature: FloatArray
    original: FloatArray


@dataclass(slots=True)
class _Shelf:
    space: Space
    created_at: str
    index: IndexKind
    rows: list[_Row] = field(default_factory=list)
    indexes: dict[str, tuple[Space, Mapping[str, Project]]] = field(default_factory=dict)
    """By fingerprint, the other spaces in which it is searchable, and how features come there."""

    def has_any(self, subjects: frozenset[str]) -> bool:
        """Whether somebody is here."""
        return any(row.template.subject in subjects for row in self.rows)

    def snapshot(self, snapshot_id: str, name: str, taken_at: str) -> Snapshot:
        """As it is told when it is kept."""
        num_subjects = len({row.template.subject for row in self.rows})
        return Snapshot(snapshot_id, name, 1, taken_at, len(self.rows), num_subjects, sha256="")

    def projected(self, row: _Row, space: Space, projections: Mapping[str, Project]) -> FloatArray:
        """The row's feature (D,) in one of the other spaces."""
        own = self.space.fingerprint
        is_known = row.template.space in projections
        feature = row.original if is_known else row.feature
        project = projections[row.template.space if is_known else own]
        projected_D: FloatArray = check_projected(project(feature[None]), space, 1)[0]
        return projected_D


class OracleGalleryStore:
    """`GalleryStore` in memory. Nothing is durable."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._seqs = itertools.count(1)
        self._snapshots: dict[tuple[str, str], tuple[Snapshot, _Shelf]] = {}
        self._erased: dict[tuple[str, str], int] = {}
        """When somebody was erased from a gallery, by the names of both."""
        self._answered: dict[bytes, tuple[bytes, Answer]] = {}
        self._lock = threading.RLock()

    def create(self, name: str, space: Space, *, index: IndexKind | None = None, once: Once | None = None) -> Gallery:
        """See the port."""
        with self._lock:
            if name in self._shelves:
                raise AlreadyExistsError(f"gallery {name} exists already")
            self._shelves[name] = _Shelf(space, timestamp(), index or "auto")
            gallery = self.get(name)
            self._remember(once, gallery)
            return gallery

    def get(self, name: str) -> Gallery:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            num_subjects = len({row.template.subject for row in shelf.rows})
            state = IndexState(shelf.index, "flat", 1.0, 0)
            return Gallery(name, shelf.space, 1, len(shelf.rows), num_subjects, shelf.created_at, state)

    def list_galleries(self) -> list[Gallery]:
        """See the port."""
        with self._lock:
            return [self.get(name) for name in sorted(self._shelves)]

    def drop(self, name: str, *, once: Once | None = None) -> None:
        """See the port."""
        with self._lock:
            self._shelf(name)
            del self._shelves[name]
            self._remember(once, None)

    def enrol(
        self, name: str, templates: NewTemplates, *, replaces: bool = False, once: Once | None = None
    ) -> Enrolment:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            check_templates(templates, shelf.space)
            keys = set(templates.keys or ()) - {None}
            taken = [row for row in shelf.rows if row.template.key in keys]
            if taken and not replaces:
                keys = {row.template.key for row in taken}
                rows_taken = [(row, "its key is taken") for row, key in enumerate(templates.keys or ()) if key in keys]
                raise AlreadyExistsError("a template of this key is in the gallery already", rows_taken)
            rows = [
                _Row(
                    next(self._seqs),
                    template,
                    np.array(gallery_features(templates)[place], dtype=np.float32),
                    np.array(templates.originals[place], dtype=np.float32),
                )
                for place, template in enumerate(_described(templates))
            ]
            for space, projections in shelf.indexes.values():
                for row in rows:
                    shelf.projected(row, space, projections)
            shelf.rows = [row for row in shelf.rows if row not in taken] + rows
            enrolment = Enrolment(tuple(row.template.template_id for row in rows), len(taken))
            self._remember(once, enrolment)
            return enrolment

    def templates(self, name: str, *, after: int = 0, limit: int = 100, subject: str | None = None) -> TemplatePage:
        """See the port."""
        with self._lock:
            rows = [
                row
                for row in self._shelf(name).rows
                if row.seq > after and (subject is None or row.template.subject == subject)
            ]
        page = rows[:limit]
        return TemplatePage(tuple(row.template for row in page), page[-1].seq if len(rows) > limit else None)

    def template(self, name: str, template_id: str) -> Template:
        """See the port."""
        with self._lock:
            found = [row.template for row in self._shelf(name).rows if row.template.template_id == template_id]
        if not found:
            raise NotFoundError(f"gallery {name} has no such template")
        return found[0]

    def remove_template(self, name: str, template_id: str, *, once: Once | None = None) -> None:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            kept = [row for row in shelf.rows if row.template.template_id != template_id]
            if len(kept) == len(shelf.rows):
                raise NotFoundError(f"gallery {name} has no such template")
            shelf.rows = kept
            self._remember(once, None)

    def remove_subject(self, name: str, subject: str, *, once: Once | None = None) -> int:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            kept = [row for row in shelf.rows if row.template.subject != subject]
            num_removed = len(shelf.rows) - len(kept)
            if num_removed == 0:
                raise NotFoundError(f"gallery {name} has no such subject")
            shelf.rows = kept
            self._remember(once, num_removed)
            return num_removed

    def ensure_index(self, name: str, space: Space, projections: Mapping[str, Project]) -> None:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            check_projections(projections, shelf.space)
            for row in shelf.rows:
                try:
                    shelf.projected(row, space, projections)
                except InvalidInputError:
                    raise EngineError(
                        f"template {row.template.template_id} has no direction there; remove it"
                    ) from None
            shelf.indexes.setdefault(space.fingerprint, (space, projections))

    def search(
        self,
        name: str,
        probes_BD: FloatArray,
        space: Space,
        top_k: int,
        *,
        by_origin: bool = False,
        where: Where | None = None,
        without: Sequence[str] = (),
    ) -> SearchResult:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            rows, indexes = list(shelf.rows), dict(shelf.indexes)
        own, projections = indexes.get(space.fingerprint, (shelf.space, None))
        check_probes(probes_BD, space, own)
        rows = [row for row in rows if is_meant(row.template.metadata, where or {})]
        num = len(rows)
        rows = [row for row in rows if row.template.key is None or row.template.key not in without]
        if not rows:
            return SearchResult(1, num, ((),) * len(probes_BD))
        features = [shelf.projected(row, own, projections) if projections else row.feature for row in rows]
        features_GD = np.stack(features).astype(np.float64)
        everything = np.arange(len(rows))
        parts = [everything]
        if by_origin:
            origins = [_origin(row.template) for row in rows]
            parts = [
                everything[[other == origin for other in origins]]
                for origin in sorted(set(origins), key=lambda side: (side.space, side.bundles))
            ]
        candidates: list[tuple[Candidate, ...]] = []
        for probe_D in probes_BD:
            score_G = exact_scores(probe_D, features_GD)
            found = [_ranked(score_G[part], [rows[place] for place in part], top_k) for part in parts]
            candidates.append(tuple(itertools.chain.from_iterable(found)))
        return SearchResult(1, num, tuple(candidates))

    def erase(self, name: str, subjects: Sequence[str], *, once: Once | None = None) -> list[Erased]:
        """See the port."""
        with self._lock:
            shelf = self._shelves.get(name)
            if shelf is None and not any(gallery == name for gallery, _ in self._snapshots):
                raise NotFoundError("there is no gallery of this name, and no snapshot of one")
            gone = frozenset(subjects)
            num_of = Counter(row.template.subject for row in (shelf.rows if shelf else []))
            touched = [key for key, (_, kept) in self._snapshots.items() if key[0] == name and kept.has_any(gone)]
            if shelf is not None:
                shelf.rows = [row for row in shelf.rows if row.template.subject not in gone]
            for key in touched:
                snapshot, kept = self._snapshots[key]
                kept.rows = [row for row in kept.rows if row.template.subject not in gone]
                self._snapshots[key] = (kept.snapshot(key[1], name, snapshot.taken_at), kept)
            self._erased |= {(name, subject): next(self._seqs) for subject in subjects}
            erased = [
                Erased(subject, num_of[subject], int(shelf is not None), len(touched), 0, 0) for subject in subjects
            ]
            self._remember(once, erased)
            return erased

    def take_snapshot(self, name: str, *, once: Once | None = None) -> Snapshot:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            kept = replace(shelf, rows=list(shelf.rows), indexes={})
            snapshot_id = f"20000101T000000Z-{next(self._seqs):08x}"
            snapshot = kept.snapshot(snapshot_id, name, timestamp())
            self._snapshots[name, snapshot_id] = (snapshot, kept)
            self._remember(once, snapshot)
            return snapshot

    def snapshots(self, name: str) -> list[Snapshot]:
        """See the port."""
        with self._lock:
            found = [snapshot for (gallery, _), (snapshot, _) in self._snapshots.items() if gallery == name]
            if not found:
                self._shelf(name)
            return found

    def verify_snapshot(self, name: str, snapshot_id: str) -> Snapshot:
        """See the port."""
        with self._lock:
            if (name, snapshot_id) not in self._snapshots:
                raise NotFoundError(f"gallery {name} has no such snapshot")
            return self._snapshots[name, snapshot_id][0]

    def remove_snapshot(self, name: str, snapshot_id: str, *, once: Once | None = None) -> None:
        """See the port."""
        with self._lock:
            self.verify_snapshot(name, snapshot_id)
            del self._snapshots[name, snapshot_id]
            self._remember(once, None)

    def restore(self, name: str, snapshot_id: str, *, once: Once | None = None) -> Gallery:
        """See the port."""
        with self._lock:
            self.verify_snapshot(name, snapshot_id)
            kept = self._snapshots[name, snapshot_id][1]
            taken = int(snapshot_id.partition("-")[2], 16)
            if name in self._shelves and self._shelves[name].space != kept.space:
                raise GenerationChangedError("the gallery is in another space")
            rows = [row for row in kept.rows if self._erased.get((name, row.template.subject), 0) < taken]
            self._shelves[name] = replace(kept, rows=rows, indexes={})
            gallery = self.get(name)
            self._remember(once, gallery)
            return gallery

    def check(self, name: str) -> list[Check]:
        """See the port."""
        self._shelf(name)
        return [Check("memory", is_sound=True, detail="there is nothing else")]

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """See the port."""
        return self._answered.get(key)

    def check_writable(self) -> None:
        """See the port."""

    def close(self) -> None:
        """See the port."""

    def _remember(self, once: Once | None, outcome: object) -> None:
        if once is not None:
            self._answered[once.key] = (once.digest, once.answer(outcome))

    def _shelf(self, name: str) -> _Shelf:
        if name not in self._shelves:
            raise NotFoundError("there is no gallery of this name")
        return self._shelves[name]


def _ranked(scores_G: FloatArray, rows: list[_Row], top_k: int) -> tuple[Candidate, ...]:
    """The best candidates among `rows`, which are in order of enrolment."""
    best: dict[str, tuple[float, Template]] = {}
    for score, row in zip(scores_G.tolist(), rows, strict=True):
        subject = row.template.subject
        if subject not in best or score > best[subject][0]:
            best[subject] = (score, row.template)
    ranking = sorted((-score, subject) for subject, (score, _) in best.items())[:top_k]
    return tuple(
        Candidate(subject, -negative, best[subject][1].template_id, _origin(best[subject][1]))
        for negative, subject in ranking
    )


def _origin(template: Template) -> Side:
    return Side(template.space, template.route)


def _described(templates: NewTemplates) -> list[Template]:
    num = len(templates)
    columns = zip(
        templates.subjects,
        _known(templates.confidence, num),
        _known(templates.norm, num),
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
            templates.route,
            timestamp(),
            confidence if templates.route else None,
            norm,
            key,
            fields or {},
            provenance,
        )
        for subject, confidence, norm, key, fields, provenance in columns
    ]


def _known(column: FloatArray | None, num: int) -> list[float | None]:
    return [None] * num if column is None else [None if np.isnan(value) else float(value) for value in column]
