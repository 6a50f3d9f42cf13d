"""The tables of a replica, its public names, and their versions. Queries belong elsewhere.

Public, for any SQLite client with sqlite-vec loaded (all of them read-only to anybody but the applier):

  shadow_vec_docs   view: dataset_id, id, content, meta, embedding, embedding_model, scn, archived, created_at,
                    updated_at. Exactly the source's rows. One view per followed shadow table, under the table's own
                    name; `shadow_vec_docs` itself always exists: where no table has that name it shows all of them.
                    The embedding is read from its vec0 table only when the column is asked for.
  vec_dataset       view: dataset_id, description, source_uri, last_scn. Exactly the source's rows.
  vec_sync_state    view: dataset_id, shadow_table, last_scn, topic, partition, next_offset, position, updated_at.
                    One row per dataset and table. last_scn: the greatest applied; position: the greatest order applied,
                    as epoch:file:position:ordinal.
  vec_lifecycle     view: dataset_id, shadow_table, id, state, attempts, last_attempt, error. State of each document's
                    vector: committed (searchable), failed (document and text stay), pending (to be taken over into an
                    index outside this file), tombstone (deleted, or hidden because it could not be published).
                    Documents without an embedding have no row.
  vector_storage    shadow_table_name, dataset_id, "index": persisted indexes.
  partition_state   the truth about offsets, per topic and partition.

Inside:

  replica_collection   one dataset of one shadow table. `no` stands for it everywhere: in document, in the vec0 tables
                       (partition key `collection`) and in the full text, whose column `collection` holds the one token
                       'c<no>': `document_text MATCH 'collection:c7 AND (...)'` reads only that dataset's entries.
  replica_document     what is searchable. `no` is also the rowid of its vector and of its full-text entry.
                       vectors NULL: the embedding is NULL; 0: it is empty; -1: it is kept in replica_bad_vector;
                       otherwise `no` of replica_vectors, whose table holds it.
  replica_vectors      the vec0 tables: one per (model, dims), named `name`; model '' stands for NULL too. Columns
                       collection (partition key), archived (partition key, 0 or 1), embedding float32, cosine.
                       A table is replaced by one of the next generation when much of it is free; read the name anew in
                       each transaction.
  document_text        FTS5 over (content, id, collection), rowid = document; external content, porter unicode61.
                       The first column costs two bytes less for each word of each document, so it is the long one.
  replica_bad_vector   embeddings that cannot be searched, as the source has them, and why.
  replica_tombstone    keys that are gone, with the order of their deletion. `unpublished`: hidden, not deleted.
  replica_dataset_floor, replica_table_floor   kept for ever; a table's floor counts for its partition only.
  replica_forgotten    per collection the greatest order of a tombstone that was forgotten.
  replica_dataset_row  rows of vec_dataset with their order; `present` 0: deleted.
  gc_queue             what the tombstone topic asks to collect, until its order has been reached.
  replica_state        one row: readiness, heartbeat, what is followed.

Orders are four columns (epoch, file, position, ordinal), compared as row values. There are no foreign keys: nothing
cascades. Times are ISO 8601 in UTC, or milliseconds since the epoch where the name ends in `_ms`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import apsw

from connector.errors import ConfigurationError, ReplicaRefused

APPLICATION_ID = 0x76656373  # "vecs"
VERSION = 1
_CHUNK_BYTES = 49152
"""Size of a vec0 chunk. Every dataset takes at least one, so they are small; three pages, so that little is wasted.
Larger ones are not inserted faster, and an exact search over them is at most a tenth faster."""

NO_VECTOR: None = None
EMPTY_VECTOR = 0
BAD_VECTOR = -1

USUAL_TABLE = "shadow_vec_docs"
_ORDER = "epoch INTEGER NOT NULL, file INTEGER NOT NULL, position INTEGER NOT NULL, ordinal INTEGER NOT NULL"

_TABLES = [
    """CREATE TABLE replica_collection (
         no INTEGER PRIMARY KEY, shadow_table TEXT NOT NULL, dataset_id TEXT NOT NULL,
         topic TEXT NOT NULL, partition INTEGER NOT NULL,
         last_scn INTEGER NOT NULL DEFAULT 0, position TEXT, updated_at TEXT,
         UNIQUE (shadow_table, dataset_id)) STRICT""",
    f"""CREATE TABLE replica_document (
         no INTEGER PRIMARY KEY, collection INTEGER NOT NULL, id TEXT NOT NULL, {_ORDER},
         scn INTEGER NOT NULL, archived INTEGER NOT NULL, vectors INTEGER,
         embedding_model TEXT, created_at TEXT, updated_at TEXT, meta TEXT, content TEXT) STRICT""",
    "CREATE UNIQUE INDEX replica_document_key ON replica_document (collection, id)",
    """CREATE TABLE replica_vectors (
         no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, model TEXT NOT NULL, dims INTEGER NOT NULL,
         generation INTEGER NOT NULL, UNIQUE (model, dims)) STRICT""",
    """CREATE TABLE replica_bad_vector (
         document INTEGER PRIMARY KEY, bytes BLOB NOT NULL, attempts INTEGER NOT NULL, last_attempt TEXT NOT NULL,
         error TEXT NOT NULL) STRICT""",
    f"""CREATE TABLE replica_tombstone (
         collection INTEGER NOT NULL, id TEXT NOT NULL, {_ORDER}, scn INTEGER NOT NULL,
         collected INTEGER NOT NULL, unpublished TEXT, PRIMARY KEY (collection, id)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX replica_tombstone_waiting ON replica_tombstone (collection, id) WHERE collected = 0",
    f"""CREATE TABLE replica_dataset_floor (
         collection INTEGER PRIMARY KEY, {_ORDER}, reason TEXT NOT NULL, collected INTEGER NOT NULL) STRICT""",
    f"""CREATE TABLE replica_table_floor (
         topic TEXT NOT NULL, partition INTEGER NOT NULL, {_ORDER}, reason TEXT NOT NULL,
         collected INTEGER NOT NULL, PRIMARY KEY (topic, partition)) STRICT, WITHOUT ROWID""",
    f"CREATE TABLE replica_forgotten (collection INTEGER PRIMARY KEY, {_ORDER}) STRICT",
    f"""CREATE TABLE replica_dataset_row (
         dataset_id TEXT PRIMARY KEY, {_ORDER}, topic TEXT NOT NULL, partition INTEGER NOT NULL,
         present INTEGER NOT NULL, description TEXT, source_uri TEXT, last_scn INTEGER) STRICT, WITHOUT ROWID""",
    """CREATE TABLE partition_state (
         topic_id TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, partition_count INTEGER NOT NULL,
         next_offset INTEGER NOT NULL, leader_epoch INTEGER, filter TEXT NOT NULL, seen_at TEXT NOT NULL,
         PRIMARY KEY (topic, partition)) STRICT, WITHOUT ROWID""",
    f"""CREATE TABLE gc_queue (
         no INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, dataset_id TEXT, id TEXT,
         {_ORDER}, reason TEXT NOT NULL, queued_at TEXT NOT NULL) STRICT""",
    """CREATE TABLE vector_storage (
         shadow_table_name TEXT NOT NULL, dataset_id TEXT NOT NULL, "index" BLOB,
         PRIMARY KEY (shadow_table_name, dataset_id)) STRICT""",
    """CREATE TABLE replica_state (
         one INTEGER PRIMARY KEY CHECK (one = 1), ready INTEGER NOT NULL, ready_at TEXT, caught_up_at_ms INTEGER,
         heartbeat_at_ms INTEGER, writer INTEGER, ends TEXT NOT NULL, collected INTEGER NOT NULL,
         freed_bytes INTEGER NOT NULL, error TEXT) STRICT""",
    "INSERT INTO replica_state VALUES (1, 0, NULL, NULL, NULL, NULL, '[]', 0, 0, NULL)",
    "CREATE VIEW replica_text AS SELECT no, 'c' || collection AS collection, id, content FROM replica_document",
    """CREATE VIRTUAL TABLE document_text USING fts5 (
         content, id, collection, content='replica_text', content_rowid='no', tokenize='porter unicode61')""",
    """CREATE VIEW vec_dataset AS
         SELECT dataset_id, description, source_uri, last_scn FROM replica_dataset_row WHERE present""",
    """CREATE VIEW vec_sync_state AS
         SELECT c.dataset_id, c.shadow_table, c.last_scn, c.topic, c.partition, p.next_offset, c.position, c.updated_at
         FROM replica_collection c LEFT JOIN partition_state p ON p.topic = c.topic AND p.partition = c.partition""",
    """CREATE VIEW vec_lifecycle AS
         SELECT c.dataset_id, c.shadow_table, d.id, 'committed' AS state, 1 AS attempts, NULL AS last_attempt,
                NULL AS error
         FROM replica_document d JOIN replica_collection c ON c.no = d.collection WHERE d.vectors > 0
         UNION ALL
         SELECT c.dataset_id, c.shadow_table, d.id, 'failed', b.attempts, b.last_attempt, b.error
         FROM replica_bad_vector b JOIN replica_document d ON d.no = b.document
         JOIN replica_collection c ON c.no = d.collection
         UNION ALL
         SELECT c.dataset_id, c.shadow_table, t.id, 'tombstone', 0, NULL, t.unpublished
         FROM replica_tombstone t JOIN replica_collection c ON c.no = t.collection""",
]

# Statements that bring a file of one version to the next: MIGRATIONS[n] leads from version n to n + 1.
MIGRATIONS: dict[int, Sequence[str]] = {}


def quoted(name: str) -> str:
    """As an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """As a string in SQL, where a parameter is not possible (views)."""
    return "'" + text.replace("'", "''") + "'"


def check(connection: apsw.Connection, path: Path) -> None:
    """Raises ReplicaRefused unless the file is a replica of a version that this program reads."""
    mark, version = connection.pragma("application_id"), connection.pragma("user_version")
    if mark != APPLICATION_ID:
        raise ReplicaRefused(f"{path} is not a replica", hint="Check replica.path; other files are never written to.")
    if version > VERSION:
        raise ReplicaRefused(
            f"{path} has version {version}, this program knows versions up to {VERSION}",
            hint="Use the program that wrote it, or a newer one; or replay into a new file.",
        )


def prepare(connection: apsw.Connection, path: Path) -> None:
    """Makes the tables of a new file, or brings an older one up to date, in one transaction.

    Raises ReplicaRefused for a file that is not a replica, or is newer.
    """
    connection.execute("BEGIN IMMEDIATE")
    complete = False
    try:
        if connection.pragma("application_id") == 0 and not list(
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")
        ):
            for statement in _TABLES:
                connection.execute(statement)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", VERSION)
            make_views(connection)
        check(connection, path)
        for version in range(connection.pragma("user_version"), VERSION):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            connection.pragma("user_version", version + 1)
        complete = True
    finally:
        connection.execute("COMMIT" if complete else "ROLLBACK")


def shadow_tables(connection: apsw.Connection) -> list[str]:
    """Names of the tables that documents come from."""
    return [row[0] for row in connection.execute("SELECT DISTINCT shadow_table FROM replica_collection ORDER BY 1")]


def add_vectors(connection: apsw.Connection, model: str, dims: int) -> tuple[int, str]:
    """The number and name of a new vec0 table for a model and dimension; the views read from it too.

    In the caller's transaction.
    """
    no = connection.execute("SELECT coalesce(max(no), 0) + 1 FROM replica_vectors").get
    name = f"replica_vectors_{no}_g1"
    make_vectors(connection, name, dims)
    connection.execute("INSERT INTO replica_vectors VALUES (?, ?, ?, ?, 1)", (no, name, model, dims))
    make_views(connection)
    return no, name


def chunk_rows(dims: int) -> int:
    """Rows that a vec0 chunk allocates at once; vec0 wants a multiple of 8."""
    return max(8, min(128, _CHUNK_BYTES // (4 * dims) // 8 * 8))


def make_vectors(connection: apsw.Connection, name: str, dims: int) -> None:
    """An empty vec0 table."""
    connection.execute(
        f"CREATE VIRTUAL TABLE {quoted(name)} USING vec0("
        "collection INTEGER PARTITION KEY, archived INTEGER PARTITION KEY, "
        f"embedding float[{dims}] distance_metric=cosine, chunk_size={chunk_rows(dims)})"
    )


def make_views(connection: apsw.Connection) -> None:
    """Writes the document views anew, after a vec0 table or a shadow table came or went. In the caller's transaction.

    Raises ConfigurationError when a shadow table has the name of something else in the file.
    """
    tables = shadow_tables(connection)
    names = tables if USUAL_TABLE in tables else [USUAL_TABLE, *tables]
    taken = {
        row[0].lower()
        for row in connection.execute(
            "SELECT name FROM sqlite_schema WHERE NOT (type = 'view' AND sql LIKE '%/*docs*/%')"
        )
    }
    for row in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'view' AND sql LIKE '%/*docs*/%'"
    ).fetchall():
        connection.execute(f"DROP VIEW {quoted(str(row[0]))}")
    for name in names:
        if name.lower() in taken:
            raise ConfigurationError(
                f"a shadow table cannot be called {name}: a replica uses that name, or another table has it",
                hint="Names are compared without regard to case; publish that table under another prefix.",
            )
        taken.add(name.lower())
        connection.execute(_document_view(connection, name, None if name not in tables else name))


def _document_view(connection: apsw.Connection, name: str, shadow_table: str | None) -> str:
    where = "" if shadow_table is None else f" WHERE c.shadow_table = {literal(shadow_table)}"
    return (
        f"CREATE VIEW {quoted(name)} AS /*docs*/ SELECT c.dataset_id, d.id, {document_columns(connection)} "
        f"FROM replica_document d JOIN replica_collection c ON c.no = d.collection{where}"
    )


def document_columns(connection: apsw.Connection) -> str:
    """Those of a document beside its key, for a SELECT from `replica_document d`.

    The embedding is a correlated look-up per vec0 table: SQLite evaluates only the one that applies, and only if it is
    asked for."""
    cases = "".join(
        f" WHEN {no} THEN (SELECT embedding FROM {quoted(vectors)} WHERE rowid = d.no)"
        for no, vectors in connection.execute("SELECT no, name FROM replica_vectors ORDER BY no")
    )
    return (
        f"d.content, d.meta, CASE d.vectors WHEN {EMPTY_VECTOR} THEN x'' WHEN {BAD_VECTOR} THEN "
        f"(SELECT bytes FROM replica_bad_vector WHERE document = d.no){cases} END AS embedding, d.embedding_model, "
        "d.scn, d.archived, d.created_at, d.updated_at"
    )


def filter_text(patterns: Sequence[str]) -> str:
    """The followed datasets as they are recorded: equal texts follow the same datasets."""
    return json.dumps(sorted(set(patterns)), ensure_ascii=False)


def patterns_of(text: str) -> list[str]:
    """What `filter_text` was given."""
    return [str(pattern) for pattern in json.loads(text)]
