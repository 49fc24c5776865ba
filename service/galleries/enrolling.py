"""Enrolling into open galleries: requests that wait for the disk together are recorded and made searchable together, in every
generation.

Shapes: G templates, D dimension.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from models.space import Space
from service.entities import FloatArray, NewTemplates, Once, Side
from service.galleries import operations
from service.galleries.opened import OpenGallery
from service.galleries.operations import Enrolled
from service.galleries.port import Enrolment
from service.galleries.record import Record
from service.galleries.recorded import GalleryRows
from service.galleries.rows import PreparedTemplates
from service.galleries.rules import check_templates, translation_into


class Enroller:
    """Enrols into the galleries of one record."""

    def __init__(self, record: Record, opened: Callable[[str], OpenGallery]) -> None:
        """`opened` gives a gallery by name, or raises `NotFoundError`."""
        self._record = record
        self._opened = opened

    def __call__(self, name: str, templates: NewTemplates, *, replaces: bool, once: Once | None) -> Enrolment:
        """As the port's `enrol`."""
        gallery = self._opened(name)
        beside = gallery.beside
        _check(templates, gallery)
        if not len(templates):
            return Enrolment(())
        told = once and once.through(lambda done: self._told(done, len(templates)))
        request = _Request(gallery, PreparedTemplates(templates, told), replaces, beside)
        # Before anything is recorded: a feature that cannot be projected is refused.
        request.project(gallery)
        if templates.keys and any(key is not None for key in templates.keys):
            return self._record.writer.call(
                lambda db: self._record_all(db, [request])[0], lambda done: self._make_searchable([done])[0]
            )
        kind = ("enrol", gallery.entry.gallery_id)
        return self._record.writer.submit_one_of_many(kind, request, self._record_all, self._make_searchable).result()

    def _record_all(self, db: sqlite3.Connection, requests: "list[_Request]") -> "list[_Recorded]":
        """What several requests put into one gallery; those that have keys come alone."""
        now = self._opened(requests[0].gallery.entry.name)
        for request in requests:
            if now is not request.gallery or now.beside is not request.beside:
                beside = now.beside
                _check(request.prepared.templates, now)
                request.beside = beside
            request.project(now)
        prepared = [request.prepared for request in requests]
        entries = [one.entry for one in now.generations]
        enrolled = operations.enrol(db, entries, prepared, replaces=requests[0].replaces)
        return [_Recorded(now, request, done) for request, done in zip(requests, enrolled, strict=True)]

    def _make_searchable(self, recorded: "list[_Recorded]") -> list[Enrolment]:
        gallery = recorded[0].gallery
        replaced = [seq for one in recorded for seq in one.done.replaced]
        for one in gallery.generations:
            retired = [seq for each in recorded for seq in each.done.retired.get(one.entry.generation, ())]
            gone = [*replaced, *retired]
            if one.is_behind:
                # What is new comes when it is its turn.
                if gone:
                    for projection in one.projections():
                        projection.remove(gone)
            else:
                _put(one, recorded, gone)
        gallery.count(recorded[-1].done.counts)
        first, num = recorded[0].done.first_seq, sum(one.request.prepared.num for one in recorded)
        ids = iter(self._record.ids.of(range(first, first + num)))
        return [
            Enrolment(tuple(islice(ids, one.request.prepared.num)), len(one.done.replaced), one.done.num_retired)
            for one in recorded
        ]

    def _told(self, done: Enrolled, num: int) -> Enrolment:
        ids = self._record.ids.of(range(done.first_seq, done.first_seq + num))
        return Enrolment(tuple(ids), len(done.replaced), done.num_retired)


@dataclass(slots=True)
class _Request:
    """A request to enrol, checked."""

    gallery: OpenGallery
    prepared: PreparedTemplates
    replaces: bool
    beside: tuple[OpenGallery, ...]
    """The other generations when it was checked."""
    projected: dict[tuple[int, str], FloatArray] = field(default_factory=dict)
    """Its features in the other spaces of each generation, by its number and their fingerprints."""

    def project(self, gallery: OpenGallery) -> None:
        """Into those spaces in which the gallery is searchable by now. Raises `EngineError`, and what a projection raises."""
        if gallery is not self.gallery:
            self.gallery, self.projected = gallery, {}
        for one in gallery.generations:
            if one.is_behind:
                continue
            for fingerprint, index in one.indexes.items():
                place = (one.entry.generation, fingerprint)
                present = _Present.of(self.prepared.templates, one.entry.space)
                if present is not None and place not in self.projected:
                    self.projected[place] = index.projected(present.originals, present.side.space, present.features)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A request to enrol that is recorded."""

    gallery: OpenGallery
    request: _Request
    done: Enrolled


@dataclass(frozen=True, slots=True)
class _Present:
    """Those of new templates that are in a generation."""

    rows: Sequence[int]
    subjects: Sequence[str]
    originals: FloatArray
    features: FloatArray
    side: Side

    @classmethod
    def of(cls, templates: NewTemplates, space: Space) -> "_Present | None":
        """Of a generation in `space`; None where there are none."""
        found = translation_into(templates, space)
        if found is None:
            return None
        side = Side(templates.original_space.fingerprint, found.route)
        is_absent = np.isnan(found.features).any(axis=1) if found.route else np.zeros(1, dtype=bool)
        if not is_absent.any():
            return cls(range(len(templates)), templates.subjects, templates.originals, found.features, side)
        rows = np.flatnonzero(~is_absent).tolist()
        subjects = [templates.subjects[row] for row in rows]
        return cls(rows, subjects, templates.originals[rows], found.features[rows], side) if rows else None


def _check(templates: NewTemplates, gallery: OpenGallery) -> None:
    check_templates(templates, gallery.entry.space, [one.entry.space for one in gallery.beside])


def _put(gallery: OpenGallery, recorded: Sequence[_Recorded], gone: Sequence[int]) -> None:
    """Make what several requests brought searchable in one generation."""
    found = [_Present.of(one.request.prepared.templates, gallery.entry.space) for one in recorded]
    pairs = [(one, present) for one, present in zip(recorded, found, strict=True) if present is not None]
    if pairs:
        rows = _new_rows(pairs)
        gallery.projection.put(rows, gone)
        for fingerprint, index in gallery.indexes.items():
            place = (gallery.entry.generation, fingerprint)
            projected = [one.request.projected[place] for one, _ in pairs]
            index.projection.put(replace(rows, features_GD=np.concatenate(projected)), gone)
    elif gone:
        for projection in gallery.projections():
            projection.remove(gone)
    if gone:
        gallery.failed.clear()


def _new_rows(pairs: Sequence[tuple[_Recorded, _Present]]) -> GalleryRows:
    """What several requests put in, one after the other."""
    origins = list(dict.fromkeys(present.side for _, present in pairs))
    places = {origin: place for place, origin in enumerate(origins)}
    is_one = len(pairs) == 1
    first = pairs[0][1]
    return GalleryRows(
        np.concatenate([one.done.first_seq + np.array(present.rows, dtype=np.int64) for one, present in pairs]),
        np.concatenate([one.done.subject_ids[present.rows] for one, present in pairs]),
        first.subjects if is_one else [name for _, present in pairs for name in present.subjects],
        first.features if is_one else np.concatenate([present.features for _, present in pairs]),
        origins,
        np.repeat([places[present.side] for _, present in pairs], [len(present.rows) for _, present in pairs]),
    )
