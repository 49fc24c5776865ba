"""A record that an older version wrote is brought up, or left as it is."""

import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from models.documents import canonical_json
from models.space import Space
from service.entities import Answer, Candidate, FloatArray, Side, Translation
from service.errors import StartupError
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import RECORD
from service.galleries.ids import TemplateIds
from service.galleries.schema import row_crc

HERE = Space("here", 4, "external:here")
THERE = Space("there", 3, "external:there")
NEW = Space("new", 5, "external:new")
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
VERSION_2 = """
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_seq INTEGER NOT NULL, next_subject INTEGER NOT NULL, next_op INTEGER NOT NULL);
INSERT INTO counter VALUES (1, 1, 1, 1);
CREATE TABLE space (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, document TEXT NOT NULL);
CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE route (id INTEGER PRIMARY KEY, bundles TEXT NOT NULL UNIQUE);
CREATE TABLE provenance (id INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE);
CREATE TABLE gallery (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, created_at TEXT NOT NULL,
    num_templates INTEGER NOT NULL DEFAULT 0, num_subjects INTEGER NOT NULL DEFAULT 0);
CREATE TABLE generation (
    id INTEGER PRIMARY KEY AUTOINCREMENT, gallery INTEGER NOT NULL, number INTEGER NOT NULL, space TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)), index_kind TEXT NOT NULL DEFAULT 'auto',
    UNIQUE (gallery, number));
CREATE UNIQUE INDEX generation_active ON generation (gallery) WHERE active;
CREATE TABLE subject (
    id INTEGER PRIMARY KEY, gallery INTEGER NOT NULL, name TEXT NOT NULL, num_templates INTEGER NOT NULL,
    UNIQUE (gallery, name));
CREATE TABLE template (
    seq INTEGER PRIMARY KEY, gallery INTEGER NOT NULL, subject INTEGER NOT NULL,
    space INTEGER NOT NULL, key TEXT, enrolled_at INTEGER NOT NULL, norm REAL, provenance INTEGER NOT NULL,
    metadata TEXT, crc INTEGER NOT NULL, original BLOB NOT NULL);
CREATE INDEX template_gallery ON template (gallery);
CREATE INDEX template_subject ON template (subject);
CREATE UNIQUE INDEX template_key ON template (gallery, key) WHERE key IS NOT NULL;
CREATE TABLE attribute (
    gallery INTEGER NOT NULL, name TEXT NOT NULL, value NOT NULL, template INTEGER NOT NULL,
    PRIMARY KEY (gallery, name, value, template)) WITHOUT ROWID;
CREATE INDEX attribute_template ON attribute (template);
CREATE TABLE translated (
    id INTEGER PRIMARY KEY, route INTEGER NOT NULL, confidence REAL, crc INTEGER NOT NULL, feature BLOB NOT NULL);
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, first_op INTEGER NOT NULL,
    first_seq INTEGER NOT NULL);
CREATE TABLE operation (
    op INTEGER PRIMARY KEY, gallery INTEGER NOT NULL, kind TEXT NOT NULL, at INTEGER NOT NULL,
    first_seq INTEGER, last_seq INTEGER, gone BLOB);
CREATE TABLE answered (
    key BLOB PRIMARY KEY, digest BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL
    ) WITHOUT ROWID;
CREATE INDEX answered_at ON answered (at);
CREATE TABLE erasing (op INTEGER PRIMARY KEY, gallery TEXT NOT NULL, pieces BLOB NOT NULL);
CREATE TABLE erased (digest BLOB PRIMARY KEY, at INTEGER NOT NULL, op INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version=2;
"""
KEY, ERASED_KEY, IDENTITY_OF_IT = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
RUN = "0123456789abcdef" * 2


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


NATIVES, ORIGINALS, TRANSLATED = units(3, 4), units(1, 3), units(1, 5)[:, :4]
TRANSLATED /= np.linalg.norm(TRANSLATED)


def write_version_2(folder: Path) -> None:
    """`staff` with ann, and bob twice, one of his translated; `visitors` with eve, who has a key and a field."""
    with sqlite3.connect(folder / RECORD) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(VERSION_2)
        for name, value in (("template-ids", KEY), ("erased", ERASED_KEY), ("identity", IDENTITY_OF_IT)):
            db.execute("INSERT INTO secret VALUES (?, ?)", (name, value))
        db.execute("INSERT INTO run VALUES (1, ?, 1, 1)", (RUN,))
        db.executemany("INSERT INTO route VALUES (?, ?)", [(1, "[]"), (2, '["a-b"]')])
        db.execute("""INSERT INTO provenance VALUES (1, '{"from":"elsewhere"}')""")
        for number, of in enumerate((HERE, THERE), start=1):
            db.execute("INSERT INTO space VALUES (?, ?, ?)", (number, of.fingerprint, document(of)))
        galleries = [(1, "staff", "2026-11-01T10:00:00.000+00:00", 3, 2), (2, "visitors", "2026-11-02", 1, 1)]
        db.executemany("INSERT INTO gallery VALUES (?, ?, ?, ?, ?)", galleries)
        db.executemany(
            "INSERT INTO generation VALUES (?, ?, 1, ?, 1, 'flat')", [(n, n, document(HERE)) for n in (1, 2)]
        )
        subjects = [(1, 1, "ann", 1), (2, 1, "bob", 2), (3, 2, "eve", 1)]
        db.executemany("INSERT INTO subject VALUES (?, ?, ?, ?)", subjects)
        for seq, gallery, subject, space, key, metadata, feature in [
            (1, 1, 1, 1, None, None, NATIVES[0]),
            (2, 1, 2, 1, None, None, NATIVES[1]),
            (3, 1, 2, 2, None, None, ORIGINALS[0]),
            (4, 2, 3, 1, "door-7", '{"camera":"north"}', NATIVES[2]),
        ]:
            blob = feature.astype("<f4").tobytes()
            crc = row_crc(seq, subjects[subject - 1][2].encode(), blob)
            values = (seq, gallery, subject, space, key, 1_793_000_000_000 + seq, 20.5, metadata, crc, blob)
            db.execute("INSERT INTO template VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)", values)
        db.execute("INSERT INTO attribute VALUES (2, 'camera', 'north', 4)")
        blob = TRANSLATED[0].astype("<f4").tobytes()
        crc = row_crc(3, b"bob", blob)
        db.execute("INSERT INTO translated VALUES (?, 2, 0.75, ?, ?)", ((1 << 40) + 3, crc, blob))
        db.execute("INSERT INTO operation VALUES (1, 1, 'enrol', 1793000000000, 1, 3, NULL)")
        db.execute("INSERT INTO operation VALUES (2, 2, 'enrol', 1793000000000, 4, 4, NULL)")
        db.execute("INSERT INTO answered VALUES (?, ?, 201, ?, 1793000000000)", (b"k" * 32, b"d" * 32, b"{}"))
        db.execute("UPDATE counter SET next_seq = 5, next_subject = 4, next_op = 3")
    db.close()


def best(store: EmbeddedGalleryStore, gallery: str, probe_D: FloatArray, space: Space = HERE) -> Candidate:
    found: Candidate = store.search(gallery, probe_D[None], space, 5).candidates[0][0]
    return found


def test_a_record_of_version_2_keeps_all_that_it_holds(tmp_path: Path) -> None:
    write_version_2(tmp_path)
    ids = TemplateIds(KEY, [(1, RUN)]).of([1, 2, 3, 4])
    for _ in range(2):
        store = EmbeddedGalleryStore(tmp_path)
        galleries = [
            (g.name, g.space, g.generation, g.num_templates, g.num_subjects, g.beside) for g in store.list_galleries()
        ]
        assert galleries == [("staff", HERE, 1, 3, 2, ()), ("visitors", HERE, 1, 1, 1, ())]
        templates = [*store.templates("staff").templates, *store.templates("visitors").templates]
        assert [one.template_id for one in templates] == ids
        assert [(t.subject, t.space, t.route, t.confidence) for t in templates] == [
            ("ann", HERE.fingerprint, (), None),
            ("bob", HERE.fingerprint, (), None),
            ("bob", THERE.fingerprint, ("a-b",), 0.75),
            ("eve", HERE.fingerprint, (), None),
        ]
        eve = templates[3]
        assert (eve.key, eve.metadata, eve.norm, eve.provenance) == (
            "door-7",
            {"camera": "north"},
            20.5,
            {"from": "elsewhere"},
        )
        for gallery, row, name, template_id, side in (
            ("staff", NATIVES[1], "bob", ids[1], Side(HERE.fingerprint)),
            ("staff", TRANSLATED[0], "bob", ids[2], Side(THERE.fingerprint, ("a-b",))),
            ("visitors", NATIVES[2], "eve", ids[3], Side(HERE.fingerprint)),
        ):
            found = best(store, gallery, row)
            assert (found.subject, found.template_id, found.origin) == (name, template_id, side)
            assert found.score == pytest.approx(1.0, abs=1e-6)
        assert store.answered(b"k" * 32) == (b"d" * 32, Answer(201, b"{}"))
        assert all(check.is_sound for name in ("staff", "visitors") for check in store.check(name))
        store.close()
    with sqlite3.connect(tmp_path / RECORD) as db:
        secrets = dict(db.execute("SELECT name, value FROM secret").fetchall())
    db.close()
    assert secrets == {"template-ids": KEY, "erased": ERASED_KEY, "identity": IDENTITY_OF_IT}


def test_a_gallery_of_version_2_can_be_migrated(tmp_path: Path) -> None:
    write_version_2(tmp_path)
    ids = TemplateIds(KEY, [(1, RUN)]).of([1, 2, 3])
    store = EmbeddedGalleryStore(tmp_path)
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    chunk = store.generations.chunk("staff", number)
    assert [part.space for part in chunk.parts] == [HERE, THERE]
    np.testing.assert_array_equal(chunk.parts[0].features, NATIVES[:2])
    np.testing.assert_array_equal(chunk.parts[1].features, ORIGINALS)
    assert chunk.parts[1].norm.tolist() == [20.5]
    made = [
        Translation(np.eye(5, dtype=np.float32)[:2], ("h-n",)),
        Translation(np.eye(5, dtype=np.float32)[2:3], ("t-n",)),
    ]
    filled = store.generations.fill("staff", number, chunk, made)
    assert (filled.num, filled.num_missing, filled.is_complete) == (3, 0, True)
    store.generations.activate("staff", number, expected=1, keep_seconds=3600.0)
    for _ in range(2):
        gallery = store.get("staff")
        assert (gallery.generation, gallery.space, gallery.beside[0].number) == (2, NEW, 1)
        assert [one.template_id for one in store.templates("staff").templates] == ids
        for row, subject, route in ((0, "ann", ("h-n",)), (1, "bob", ("h-n",)), (2, "bob", ("t-n",))):
            found = best(store, "staff", np.eye(5, dtype=np.float32)[row], NEW)
            assert (found.subject, found.score, found.template_id) == (subject, 1.0, ids[row])
            assert found.origin.bundles == route
        assert best(store, "visitors", NATIVES[2]).subject == "eve"
        assert all(check.is_sound for check in store.check("staff"))
        store.close()
        store = EmbeddedGalleryStore(tmp_path)
    store.close()


def write_version_3(folder: Path) -> None:
    """An empty one."""
    EmbeddedGalleryStore(folder).close()
    with closing(sqlite3.connect(folder / RECORD)) as db:
        db.execute("ALTER TABLE gallery DROP COLUMN restored_at")
        db.execute("PRAGMA user_version=3")


@pytest.mark.parametrize("write", [write_version_1, write_version_2, write_version_3])
def test_a_record_that_was_brought_up_has_the_tables_of_a_new_one(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    def tables(folder: Path) -> set[tuple[object, ...]]:
        EmbeddedGalleryStore(folder).close()
        with sqlite3.connect(folder / RECORD) as db:
            found = {("version", *db.execute("PRAGMA user_version").fetchone())}
            names = db.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall()
            for kind, name, table in names:
                found.add((kind, name, table))
                columns = db.execute(f"PRAGMA {'table' if kind == 'table' else 'index'}_info({name})").fetchall()
                found |= {(name, *column) for column in columns}
        db.close()
        return found

    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    write(tmp_path / "old")
    assert tables(tmp_path / "old") == tables(tmp_path / "new")
