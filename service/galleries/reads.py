"""Reads of the record that belong together: all of one moment, at which what is searched was what is recorded."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from service.galleries.port import Where
from service.galleries.rows import matching_query
from service.galleries.schema import GENERATION_SHIFT, GalleryEntry
from service.galleries.segments import SeqArray


class Reads:
    """On a connection that nobody else uses meanwhile. Everything raises `sqlite3.Error`."""

    def __init__(self, db: sqlite3.Connection, agreement: threading.Lock) -> None:
        """`agreement` is had while what is searched is what is recorded."""
        self._db = db
        self._agreement = agreement

    @contextmanager
    def begun(self) -> Iterator[None]:
        """The moment; nothing is written while it lasts, so be quick. Whoever writes just now is waited for."""
        with self._agreement:
            self._db.execute("BEGIN")
            # SQLite settles what is seen at the first read.
            self._db.execute("SELECT next_op FROM counter").fetchone()
            yield

    def matching(self, entry: GalleryEntry, where: Where) -> SeqArray:
        """The numbers of the templates in a generation that meet all conditions, ascending."""
        found: SeqArray | None = None
        for name, condition in where.items():
            if not condition.or_missing:
                seqs = self._seqs(*matching_query(entry.gallery_id, name, condition))
                found = seqs if found is None else np.intersect1d(found, seqs, assume_unique=True)
        if found is None:
            found = self._seqs("SELECT seq FROM template WHERE gallery = ?", [entry.gallery_id])
        for name, condition in where.items():
            if condition.or_missing:
                failing = self._seqs(*matching_query(entry.gallery_id, name, condition, is_met=False))
                found = np.setdiff1d(found, failing, assume_unique=True)
        query = "SELECT id - ?1 FROM translated WHERE id >= ?1 AND id < ?2 AND length(feature) = 0"
        absent = self._seqs(query, [entry.base, entry.base + (1 << GENERATION_SHIFT)])
        return np.setdiff1d(found, absent, assume_unique=True) if len(absent) else found

    def seqs_of_keys(self, entry: GalleryEntry, keys: Sequence[str]) -> SeqArray:
        """The numbers of templates of these keys, ascending."""
        query = "SELECT seq FROM template WHERE gallery = ? AND key IN (SELECT value FROM json_each(?))"
        return self._seqs(query, [entry.gallery_id, json.dumps(list(keys))])

    def _seqs(self, query: str, values: Sequence[object]) -> SeqArray:
        rows = self._db.execute(query, values).fetchall()
        return np.unique(np.fromiter((seq for (seq,) in rows), dtype=np.int64, count=len(rows)))
