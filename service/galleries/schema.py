"""The tables of the record, and how a file of an older version becomes one of this.

What a column means stands beside it. Invariants: `seq` grows with enrolment and is never used twice; each gallery that is
not being dropped has exactly one active generation; counts are those of the rows.
"""

import secrets
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import crc32c

from models.space import Space
from service.entities import IndexKind
from service.errors import StartupError
from service.galleries.ids import KEY_BYTES

SCHEMA_VERSION = 4
TEMPLATE_IDS, ERASED, IDENTITY = "template-ids", "erased", "identity"
"""Names of secrets: the key of template ids, that of what stands for erased subjects, and what no other record is called."""
PAGE_BYTES = 8192
"""Three templates of 512 numbers fit into a page; of SQLite's own size a page holds one, and is half empty."""
RETIRED = -1.0
"""In place of a confidence."""
GENERATION_SHIFT = 40
"""A translated feature's `id` is its generation times 2 to this, plus the template's `seq`: a generation lies together."""

_INDEXES_OF_TRANSLATED = (
    "CREATE INDEX translated_absent ON translated (id) WHERE length(feature) = 0",
    f"CREATE INDEX translated_confidence ON translated (id >> {GENERATION_SHIFT}, confidence) WHERE length(feature) > 0",
)
SCHEMA = (
    """CREATE TABLE counter (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        next_seq INTEGER NOT NULL, next_subject INTEGER NOT NULL, next_op INTEGER NOT NULL)""",
    "INSERT INTO counter VALUES (1, 1, 1, 1)",
    "CREATE TABLE space (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, document TEXT NOT NULL)",
    "CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    # A JSON list of the names of translators, empty for native; and what made a template, as a JSON object.
    "CREATE TABLE route (id INTEGER PRIMARY KEY, bundles TEXT NOT NULL UNIQUE)",
    "CREATE TABLE provenance (id INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE)",
    # Without a name it is being dropped: nobody sees it, and its templates go piece by piece. Numbers of generations are given
    # once.
    """CREATE TABLE gallery (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, created_at TEXT NOT NULL,
        num_templates INTEGER NOT NULL DEFAULT 0, num_subjects INTEGER NOT NULL DEFAULT 0,
        last_generation INTEGER NOT NULL DEFAULT 1, restored_at INTEGER)""",
    # The space's document is here and not by fingerprint: a fingerprint leaves out the name, a gallery keeps its own.
    # `kept_until` counts milliseconds: NULL while it is active or being built, 0 where it is being dropped. `routes`: by which
    # translators templates come into it, a JSON object by the fingerprint of their space. With `retires` a native template takes
    # the place of those of its subject that were translated.
    """CREATE TABLE generation (
        id INTEGER PRIMARY KEY AUTOINCREMENT, gallery INTEGER NOT NULL, number INTEGER NOT NULL, space TEXT NOT NULL,
        active INTEGER NOT NULL CHECK (active IN (0, 1)), index_kind TEXT NOT NULL DEFAULT 'auto',
        job TEXT, routes TEXT, kept_until INTEGER, retires INTEGER NOT NULL DEFAULT 0,
        UNIQUE (gallery, number))""",
    "CREATE UNIQUE INDEX generation_active ON generation (gallery) WHERE active",
    """CREATE TABLE subject (
        id INTEGER PRIMARY KEY, gallery INTEGER NOT NULL, name TEXT NOT NULL, num_templates INTEGER NOT NULL,
        UNIQUE (gallery, name))""",
    # `key` is the sender's own name of it; `enrolled_at` counts milliseconds; `crc` is CRC32C, see `row_crc`.
    """CREATE TABLE template (
        seq INTEGER PRIMARY KEY, gallery INTEGER NOT NULL, subject INTEGER NOT NULL,
        space INTEGER NOT NULL, key TEXT, enrolled_at INTEGER NOT NULL, norm REAL, provenance INTEGER NOT NULL,
        metadata TEXT, crc INTEGER NOT NULL, original BLOB NOT NULL)""",
    # Each index ends in the rowid, which is `seq`: one serves pages of a gallery, the other pages of a subject.
    "CREATE INDEX template_gallery ON template (gallery)",
    "CREATE INDEX template_subject ON template (subject)",
    "CREATE UNIQUE INDEX template_key ON template (gallery, key) WHERE key IS NOT NULL",
    # One row for each field of a template's metadata, so that a search may be among some templates only.
    """CREATE TABLE attribute (
        gallery INTEGER NOT NULL, name TEXT NOT NULL, value NOT NULL, template INTEGER NOT NULL,
        PRIMARY KEY (gallery, name, value, template)) WITHOUT ROWID""",
    "CREATE INDEX attribute_template ON attribute (template)",
    # An empty feature: the template is not in that generation. No route led there when it came (its route has no translators), it
    # has no direction there, or a native template has retired it (its confidence is -1).
    """CREATE TABLE translated (
        id INTEGER PRIMARY KEY, route INTEGER NOT NULL, confidence REAL, crc INTEGER NOT NULL, feature BLOB NOT NULL)""",
    *_INDEXES_OF_TRANSLATED,
    # Every start, and the first operation after it: so what was saved beside the record can be told to be of its own history.
    """CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, first_op INTEGER NOT NULL,
        first_seq INTEGER NOT NULL)""",
    # Answers to requests that may come again, by the SHA-256 of what they call themselves and of what they ask.
    """CREATE TABLE answered (
        key BLOB PRIMARY KEY, digest BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL
        ) WITHOUT ROWID""",
    "CREATE INDEX answered_at ON answered (at)",
    # An erasure is under way: were it left half-way, the next start would end it.
    "CREATE TABLE erasing (op INTEGER PRIMARY KEY, gallery TEXT NOT NULL, pieces BLOB NOT NULL)",
    # Who was erased, as keyed digests: an older snapshot must not bring them back.
    "CREATE TABLE erased (digest BLOB PRIMARY KEY, at INTEGER NOT NULL, op INTEGER NOT NULL) WITHOUT ROWID",
)

_FROM_1 = (
    *(
        f"ALTER TABLE {table} RENAME TO {table}_1"
        for table in ("space", "gallery", "generation", "template", "translated")
    ),
    *(
        f"DROP INDEX {index}"
        for index in ("generation_active", "template_gallery", "template_subject", "translated_generation")
    ),
    *SCHEMA,
    "INSERT INTO space (fingerprint, document) SELECT fingerprint, document FROM space_1",
    "INSERT OR IGNORE INTO route (bundles) SELECT DISTINCT route FROM translated_1",
    "INSERT INTO provenance (document) VALUES ('{}')",
    "INSERT INTO gallery (id, name, created_at) SELECT id, name, created_at FROM gallery_1",
    "INSERT INTO generation (id, gallery, number, space, active) SELECT id, gallery, number, space, active FROM generation_1",
    """INSERT INTO subject (gallery, name, num_templates)
        SELECT gallery, subject, COUNT(*) FROM template_1 GROUP BY gallery, subject ORDER BY MIN(seq)""",
    """INSERT INTO template (seq, gallery, subject, space, enrolled_at, provenance, crc, original)
        SELECT seq, old.gallery, subject.id, space.id, milliseconds(enrolled_at), 1,
            crc_again(template_id, seq, subject.name, original, crc), original
        FROM template_1 old JOIN subject ON subject.gallery = old.gallery AND subject.name = old.subject
        JOIN space ON space.fingerprint = old.space ORDER BY seq""",
    f"""INSERT INTO translated (id, route, crc, feature)
        SELECT (generation << {GENERATION_SHIFT}) + template, route.id,
            crc_again(before.template_id, template.seq, subject.name, feature, old.crc), feature
        FROM translated_1 old JOIN template ON template.seq = old.template JOIN subject ON subject.id = template.subject
        JOIN template_1 before ON before.seq = template.seq
        JOIN route ON route.bundles = old.route ORDER BY 1""",
    """UPDATE gallery SET num_templates = (SELECT COUNT(*) FROM template WHERE gallery = gallery.id),
        num_subjects = (SELECT COUNT(*) FROM subject WHERE gallery = gallery.id)""",
    """UPDATE counter SET next_subject = 1 + (SELECT COALESCE(MAX(id), 0) FROM subject),
        next_seq = 1 + (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'template_1')""",
    *(f"DROP TABLE {table}_1" for table in ("translated", "template", "generation", "gallery", "space")),
)

_FROM_2 = (
    # Nothing ever read it.
    "DROP TABLE operation",
    "ALTER TABLE gallery ADD COLUMN last_generation INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE generation ADD COLUMN job TEXT",
    "ALTER TABLE generation ADD COLUMN routes TEXT",
    "ALTER TABLE generation ADD COLUMN kept_until INTEGER",
    "ALTER TABLE generation ADD COLUMN retires INTEGER NOT NULL DEFAULT 0",
    *_INDEXES_OF_TRANSLATED,
)

_FROM_3 = ("ALTER TABLE gallery ADD COLUMN restored_at INTEGER",)


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """A gallery as recorded, with one of its generations."""

    gallery_id: int
    name: str
    created_at: str
    generation_id: int
    generation: int
    space: Space
    index_kind: IndexKind = "auto"
    is_active: bool = True
    job: str | None = None
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By fingerprint of the space that templates are of."""
    kept_until_ms: int | None = None
    retires: bool = False
    restored_at_ms: int | None = None
    """When the gallery was last put back from a snapshot."""

    @property
    def base(self) -> int:
        """What is added to `seq` to find what a template is in this generation."""
        return self.generation_id << GENERATION_SHIFT


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in a record's history: the run of the service in which it was, and the last operation before it."""

    run: str
    op: int


def row_crc(seq: int, subject: bytes, vector: bytes | memoryview) -> int:
    """CRC32C of a stored vector together with whose it is, so that one in another's place is seen as well."""
    return crc32c.crc32c(vector, crc32c.crc32c(seq.to_bytes(8, "little") + subject))


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or bring those of an older one up, in one transaction.

    Raises `StartupError` for a newer version, and for a damaged vector in an older one.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StartupError(
            f"{path}: was written by a newer Facebridge (schema {version}, this one knows {SCHEMA_VERSION}); start that version"
        )
    if version == SCHEMA_VERSION:
        return
    damaged: list[str] = []
    if version == 1:
        _define_functions(db, damaged)
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in {0: SCHEMA, 1: _FROM_1, 2: (*_FROM_2, *_FROM_3), 3: _FROM_3}[version]:
            db.execute(statement)
        if damaged:
            raise StartupError(
                f"{path}: template {damaged[0]} is damaged (its stored feature does not match its CRC32); restore the file "
                "from a backup"
            )
        for name in (TEMPLATE_IDS, ERASED, IDENTITY):
            db.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, secrets.token_bytes(KEY_BYTES)))
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _define_functions(db: sqlite3.Connection, damaged: list[str]) -> None:
    """What SQL lacks to read a file of version 1; ids of templates whose vectors are not what they were go to `damaged`."""

    def crc_again(template_id: str, seq: int, subject: str, vector: bytes, crc: int) -> int:
        if not isinstance(vector, bytes) or zlib.crc32(vector) != crc:
            damaged.append(template_id)
            return 0
        return row_crc(seq, subject.encode(), vector)

    db.create_function("milliseconds", 1, lambda text: round(datetime.fromisoformat(text).timestamp() * 1000))
    db.create_function("crc_again", 5, crc_again)
