"""The oracle: galleries in plain Python and numpy; exact, slow, obviously right, and what other stores must agree with.

Shapes: B rows of P probes, M of each; G templates, D dimension of a gallery's space.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from models.space import Space
from service.entities import (
    Answer,
    Candidate,
    Check,
    Density,
    Erased,
    FloatArray,
    Gallery,
    IndexKind,
    NewTemplates,
    Once,
    Snapshot,
    Template,
)
from service.errors import (
    AlreadyExistsError,
    EngineError,
    GenerationChangedError,
    InvalidInputError,
    MigrationInProgressError,
    NotFoundError,
)
from service.galleries.oracle_generations import OracleGenerations
from service.galleries.oracle_shelf import Made, Row, Shelf, Version, origin_of
from service.galleries.port import Enrolment, Project, SearchResult, TemplatePage, Where
from service.galleries.rules import (
    ONE_FEATURE,
    check_probes,
    check_projections,
    exact_scores,
    is_meant,
    probes_of,
    timestamp,
)


class OracleGalleryStore:
    """`GalleryStore` in memory. Nothing is durable."""

    def __init__(self) -> None:
        self._shelves: dict[str, Shelf] = {}
        self._seqs = itertools.count(1)
        self._snapshots: dict[tuple[str, str], tuple[Snapshot, Shelf]] = {}
        self._erased: dict[tuple[str, str], int] = {}
        """When somebody was erased from a gallery, by the names of both."""
        self._answered: dict[bytes, tuple[bytes, Answer]] = {}
        self._lock = threading.RLock()
        self.generations = OracleGenerations(self._shelf, self._lock, self._remember)

    def create(self, name: str, space: Space, *, index: IndexKind | None = None, once: Once | None = None) -> Gallery:
        """See the port."""
        with self._lock:
            if name in self._shelves:
                raise AlreadyExistsError(f"gallery {name} exists already")
            self._shelves[name] = Shelf(name, timestamp(), index or "auto", {1: Version(1, space)})
            gallery = self.get(name)
            self._remember(once, gallery)
            return gallery

    def get(self, name: str) -> Gallery:
        """See the port."""
        with self._lock:
            return self._shelf(name).described()

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
            shelf.check(templates)
            keys = set(templates.keys or ()) - {None}
            taken = [row for row in shelf.rows if row.template.key in keys]
            if taken and not replaces:
                keys = {row.template.key for row in taken}
                rows_taken = [(row, "its key is taken") for row, key in enumerate(templates.keys or ()) if key in keys]
                raise AlreadyExistsError("a template of this key is in the gallery already", rows_taken)
            rows = shelf.new_rows(templates, [next(self._seqs) for _ in templates.subjects])
            for version in shelf.versions.values():
                for space, projections in version.indexes.values() if not version.is_behind else ():
                    for row in rows:
                        if row.made[version.number].feature is not None:
                            shelf.projected(row, version, space, projections)
            num_retired = 0
            for version in shelf.versions.values():
                is_native = templates.original_space.fingerprint == version.space.fingerprint
                if version.retires and version.state != "building" and is_native:
                    num = shelf.retire(version, frozenset(templates.subjects))
                    num_retired += num if version is shelf.active else 0
            shelf.rows = [row for row in shelf.rows if row not in taken] + rows
            enrolment = Enrolment(tuple(row.template.template_id for row in rows), len(taken), num_retired)
            self._remember(once, enrolment)
            return enrolment

    def templates(self, name: str, *, after: int = 0, limit: int = 100, subject: str | None = None) -> TemplatePage:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            rows = [
                row for row in shelf.rows if row.seq > after and (subject is None or row.template.subject == subject)
            ]
            page = rows[:limit]
            return TemplatePage(tuple(map(shelf.told, page)), page[-1].seq if len(rows) > limit else None)

    def template(self, name: str, template_id: str) -> Template:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            found = [shelf.told(row) for row in shelf.rows if row.template.template_id == template_id]
        if not found:
            raise NotFoundError(f"gallery {name} has no such template")
        return found[0]

    def count_with(self, name: str, fields: Sequence[str]) -> dict[str, int]:
        """See the port."""
        with self._lock:
            rows = self._shelf(name).rows
        return {field: sum(field in row.template.metadata for row in rows) for field in fields}

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

    def ensure_index(
        self, name: str, space: Space, projections: Mapping[str, Project], *, generation: int | None = None
    ) -> None:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            version = shelf.version(generation)
            check_projections(projections, version.space)
            for row in shelf.searched(version):
                try:
                    shelf.projected(row, version, space, projections)
                except InvalidInputError:
                    raise EngineError(
                        f"template {row.template.template_id} has no direction there; remove it"
                    ) from None
            version.indexes.setdefault(space.fingerprint, (space, projections))

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
        generation: int | None = None,
        without_ids: Sequence[str] = (),
        between: Callable[[], None] | None = None,
        density: Density | None = None,
    ) -> SearchResult:
        """See the port."""
        if between is not None:
            between()
        with self._lock:
            shelf = self._shelf(name)
            version = shelf.version(generation)
            rows, indexes = shelf.searched(version), dict(version.indexes)
            feature_by_seq = shelf.features(rows, version)
        own, projections = indexes.get(space.fingerprint, (version.space, None))
        density = density or ONE_FEATURE
        check_probes(probes_BD, space, own, density)
        probes_PMD = probes_of(probes_BD, density)
        rows = [row for row in rows if is_meant(row.template.metadata, where or {})]
        num = len(rows)
        rows = [row for row in rows if row.template.key is None or row.template.key not in without]
        rows = [row for row in rows if row.template.template_id not in without_ids]
        if not rows:
            return SearchResult(version.number, num, ((),) * len(probes_PMD))
        features = [
            shelf.projected(row, version, own, projections) if projections else feature_by_seq[row.seq] for row in rows
        ]
        features_GD = np.stack(features).astype(np.float64)
        everything = np.arange(len(rows))
        parts = [everything]
        if by_origin:
            origins = [origin_of(row, version) for row in rows]
            parts = [
                everything[[other == origin for other in origins]]
                for origin in sorted(set(origins), key=lambda side: (side.space, side.bundles))
            ]
        candidates: list[tuple[Candidate, ...]] = []
        for probe_MD in probes_PMD:
            score_G = exact_scores(probe_MD, features_GD, density.sigma)
            found = [_ranked(score_G[part], [rows[place] for place in part], version, top_k) for part in parts]
            candidates.append(tuple(itertools.chain.from_iterable(found)))
        return SearchResult(version.number, num, tuple(candidates))

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
                self._snapshots[key] = (kept.snapshot(key[1], snapshot.taken_at), kept)
            self._erased |= {(name, subject): next(self._seqs) for subject in subjects}
            erased = [
                Erased(subject, num_of[subject], len(shelf.versions) if shelf else 0, len(touched), 0, 0)
                for subject in subjects
            ]
            self._remember(once, erased)
            return erased

    def take_snapshot(self, name: str, *, once: Once | None = None) -> Snapshot:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            kept = shelf.copy()
            snapshot_id = f"20000101T000000Z-{next(self._seqs):08x}"
            snapshot = kept.snapshot(snapshot_id, timestamp())
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
            now = self._shelves.get(name)
            if now is not None and any(one.state == "building" for one in now.versions.values()):
                raise MigrationInProgressError(f"gallery {name} is being migrated")
            if now is not None and (now.active_number, now.active.space) != (kept.active_number, kept.active.space):
                raise GenerationChangedError("the gallery is in another generation")
            restored = kept.copy()
            restored.rows = [row for row in restored.rows if self._erased.get((name, row.template.subject), 0) < taken]
            versions = {restored.active_number: restored.active}
            if now is not None:
                restored.next_number = now.next_number
                versions |= {one.number: replace(one, is_behind=True, filled_to=0) for one in now.beside}
                _take_over(now, restored, versions.keys())
            restored.versions = versions
            restored.restored_at = timestamp()
            self._shelves[name] = restored
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

    def _shelf(self, name: str) -> Shelf:
        if name not in self._shelves:
            raise NotFoundError("there is no gallery of this name")
        return self._shelves[name]


def _take_over(now: Shelf, restored: Shelf, numbers: Iterable[int]) -> None:
    """What of other generations is known of templates that are put back; where nothing is, they are not in them."""
    before = {row.template.template_id: row.made for row in now.rows}
    for row in restored.rows:
        known = before.get(row.template.template_id, {})
        made = {restored.active_number: row.made[restored.active_number]}
        for number in numbers:
            if number != restored.active_number and row.space.fingerprint != now.versions[number].space.fingerprint:
                made[number] = known.get(number, Made(None))
        row.made = made


def _ranked(scores_G: FloatArray, rows: list[Row], version: Version, top_k: int) -> tuple[Candidate, ...]:
    """The best candidates among `rows`, which are in order of enrolment."""
    best: dict[str, tuple[float, Row]] = {}
    for score, row in zip(scores_G.tolist(), rows, strict=True):
        subject = row.template.subject
        if subject not in best or score > best[subject][0]:
            best[subject] = (score, row)
    ranking = sorted((-score, subject) for subject, (score, _) in best.items())[:top_k]
    return tuple(
        Candidate(subject, -negative, best[subject][1].template.template_id, origin_of(best[subject][1], version))
        for negative, subject in ranking
    )
