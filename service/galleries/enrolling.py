"""Enrolling into open galleries: requests that wait for the disk together are recorded and made searchable together.

Shapes: G templates, D dimension.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from service.entities import FloatArray, NewTemplates
from service.galleries import operations
from service.galleries.opened import OpenGallery
from service.galleries.operations import Enrolled
from service.galleries.port import Enrolment, Once
from service.galleries.record import GalleryRows, Record
from service.galleries.rows import PreparedTemplates
from service.galleries.rules import check_templates, gallery_features


class Enroller:
    """Enrols into the galleries of one record."""

    def __init__(self, record: Record, opened: Callable[[str], OpenGallery]) -> None:
        """`opened` gives a gallery by name, or raises `NotFoundError`."""
        self._record = record
        self._opened = opened

    def __call__(self, name: str, templates: NewTemplates, *, replaces: bool, once: Once | None) -> Enrolment:
        """As the port's `enrol`."""
        gallery = self._opened(name)
        check_templates(templates, gallery.entry.space)
        if not len(templates):
            return Enrolment(())
        told = once and once.through(lambda done: self._told(done, len(templates)))
        request = _Request(gallery, PreparedTemplates(templates, told), replaces)
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
            if now is not request.gallery:
                check_templates(request.prepared.templates, now.entry.space)
            request.project(now)
        prepared = [request.prepared for request in requests]
        enrolled = operations.enrol(db, now.entry, prepared, replaces=requests[0].replaces)
        return [_Recorded(now, request, done) for request, done in zip(requests, enrolled, strict=True)]

    def _make_searchable(self, recorded: "list[_Recorded]") -> list[Enrolment]:
        gallery = recorded[0].gallery
        rows = _new_rows(recorded)
        replaced = [seq for one in recorded for seq in one.done.replaced]
        gallery.projection.put(rows, replaced)
        for fingerprint, index in gallery.indexes.items():
            projected = [one.request.projected[fingerprint] for one in recorded]
            index.projection.put(replace(rows, features_GD=np.concatenate(projected)), replaced)
        if replaced:
            gallery.failed.clear()
        gallery.counts = recorded[-1].done.counts
        ids = iter(self._record.ids.of(rows.seqs.tolist()))
        return [Enrolment(tuple(islice(ids, one.request.prepared.num)), len(one.done.replaced)) for one in recorded]

    def _told(self, done: Enrolled, num: int) -> Enrolment:
        ids = self._record.ids.of(range(done.first_seq, done.first_seq + num))
        return Enrolment(tuple(ids), len(done.replaced))


@dataclass(slots=True)
class _Request:
    """A request to enrol, checked."""

    gallery: OpenGallery
    prepared: PreparedTemplates
    replaces: bool
    projected: dict[str, FloatArray] = field(default_factory=dict)
    """Its features in the gallery's other spaces, by their fingerprints."""

    def project(self, gallery: OpenGallery) -> None:
        """Into those spaces in which the gallery is searchable by now. Raises `EngineError`, and what a projection raises."""
        if gallery is not self.gallery:
            self.gallery, self.projected = gallery, {}
        for fingerprint, index in gallery.indexes.items():
            if fingerprint not in self.projected:
                self.projected[fingerprint] = index.projected(self.prepared.templates)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A request to enrol that is recorded."""

    gallery: OpenGallery
    request: _Request
    done: Enrolled


def _new_rows(recorded: Sequence[_Recorded]) -> GalleryRows:
    """What several requests put in, one after the other."""
    templates = [one.request.prepared.templates for one in recorded]
    origins = list(dict.fromkeys(one.side for one in templates))
    places = {origin: place for place, origin in enumerate(origins)}
    nums = [len(one) for one in templates]
    first, is_one = recorded[0].done.first_seq, len(recorded) == 1
    return GalleryRows(
        np.arange(first, first + sum(nums), dtype=np.int64),
        np.concatenate([one.done.subject_ids for one in recorded]),
        templates[0].subjects if is_one else [name for one in templates for name in one.subjects],
        gallery_features(templates[0]) if is_one else np.concatenate([gallery_features(one) for one in templates]),
        origins,
        np.repeat([places[one.side] for one in templates], nums),
    )
