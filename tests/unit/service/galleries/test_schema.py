"""A record that an older version wrote is brought up, or left as it is."""

import json
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest

from models.documents import canonical_json
from models.space import Space
from service.entities import FloatArray
from service.errors import StartupError
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import RECORD

HERE = Space("here", 4, "external:here")
THERE = Space("there", 3, "external:there")
VERSION_1 = """
CREATE TABLE space (fingerprint TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE gallery (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);
CREATE TABLE generation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    gallery INTEGER NOT NULL REFERENCES gallery (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    space TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    UNIQUE (gallery, number));
CREATE UNIQUE INDEX generation_active ON generation (gallery) WHERE active;
CREATE TABLE template (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    template_id TEXT NOT NULL UNIQUE,
    gallery INTEGER NOT NULL REFERENCES gallery (id) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    space TEXT NOT NULL REFERENCES space (fingerprint),
    enrolled_at TEXT NOT NULL,
    crc INTEGER NOT NULL,
    original BLOB NOT NULL);
CREATE INDEX template_gallery ON template (gallery);
CREATE INDEX template_subject ON template (gallery, subject);
CREATE TABLE translated (
    generation INTEGER NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
    template INTEGER NOT NULL REFERENCES template (seq) ON DELETE CASCADE,
    route TEXT NOT NULL,
    crc INTEGER NOT NULL,
    feature BLOB NOT NULL,
    PRIMARY KEY (template, generation));
CREATE INDEX translated_generation ON translated (generation);
PRAGMA user_version=1;
"""


def units(num_rows: int, dimension: int) -> FloatArray:
    raw_GD = np.random.default_rng(dimension).standard_normal((num_rows, dimension))
    unit_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return unit_GD


def document(space: Space) -> str:
    return canonical_json(space.to_json()).decode()


def write_version_1(folder: Path, *, flips: bool = False) -> None:
    """Two galleries: `staff` with ann and bob twice, one of his translated; `visitors` is empty. A template was removed."""
    natives, originals, translated = units(3, 4), units(1, 3), units(1, 5)[:, :4]
    translated /= np.linalg.norm(translated)
    with sqlite3.connect(folder / RECORD) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(VERSION_1)
        for space in (HERE, THERE):
            db.execute("INSERT INTO space VALUES (?, ?)", (space.fingerprint, document(space)))
        for number, name in enumerate(("staff", "visitors"), start=1):
            db.execute("INSERT INTO gallery VALUES (?, ?, '2026-11-01T10:00:00.000+00:00')", (number, name))
            db.execute("INSERT INTO generation VALUES (?, ?, 1, ?, 1)", (number, number, document(HERE)))
        for seq, (subject, space, feature) in enumerate(
            [
                ("ann", HERE, natives[0]),
                ("bob", HERE, natives[1]),
                ("bob", THERE, originals[0]),
                ("eve", HERE, natives[2]),
            ],
            start=1,
        ):
            blob = feature.astype("<f4").tobytes()
            crc = zlib.crc32(blob) ^ (flips and seq == 2)
            at = f"2026-11-01T10:00:0{seq}.250+00:00"
            values = (seq, f"{seq:032x}", subject, space.fingerprint, at, crc, blob)
            db.execute("INSERT INTO template VALUES (?, ?, 1, ?, ?, ?, ?, ?)", values)
        blob = translated[0].astype("<f4").tobytes()
        db.execute("INSERT INTO translated VALUES (1, 3, ?, ?, ?)", (json.dumps(["a-b"]), zlib.crc32(blob), blob))
        db.execute("DELETE FROM template WHERE seq = 4")
    db.close()


def test_a_record_of_version_1_keeps_all_that_it_holds(tmp_path: Path) -> None:
    write_version_1(tmp_path)
    for _ in range(2):
        store = EmbeddedGalleryStore(tmp_path)
        galleries = [(g.name, g.space, g.num_templates, g.num_subjects) for g in store.list_galleries()]
        assert galleries == [("staff", HERE, 3, 2), ("visitors", HERE, 0, 0)]
        templates = store.templates("staff").templates
        assert [(t.subject, t.space, t.route, t.enrolled_at) for t in templates] == [
            ("ann", HERE.fingerprint, (), "2026-11-01T10:00:01.250+00:00"),
            ("bob", HERE.fingerprint, (), "2026-11-01T10:00:02.250+00:00"),
            ("bob", THERE.fingerprint, ("a-b",), "2026-11-01T10:00:03.250+00:00"),
        ]
        (candidates,) = store.search("staff", units(3, 4)[1:2], HERE, 5).candidates
        assert (candidates[0].subject, candidates[0].score, candidates[0].template_id) == (
            "bob",
            1.0,
            templates[1].template_id,
        )
        store.close()


def test_numbers_that_version_1_had_given_out_are_not_given_out_again(tmp_path: Path) -> None:
    write_version_1(tmp_path)
    EmbeddedGalleryStore(tmp_path).close()
    with sqlite3.connect(tmp_path / RECORD) as db:
        assert db.execute("SELECT next_seq, next_subject FROM counter").fetchone() == (5, 3)
    db.close()


def test_a_record_of_version_1_with_a_damaged_vector_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    write_version_1(tmp_path, flips=True)
    with pytest.raises(StartupError, match=f"template {2:032x} is damaged"):
        EmbeddedGalleryStore(tmp_path)
    with sqlite3.connect(tmp_path / RECORD) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT COUNT(*) FROM template").fetchone() == (3,)
    db.close()
