"""Is a replica exactly its source? Read independently of the connector's own readers: plain SELECTs on both sides."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import apsw
import sqlite_vec

from tests.servers.model import SqlServer

Rows = dict[tuple[str, str], tuple[Any, ...]]
COLUMNS = "content, meta, embedding, embedding_model, scn, archived"


def source_rows(server: SqlServer, database: str, table: str = "shadow_vec_docs") -> Rows:
    with server.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(
            f"SELECT dataset_id, id, {COLUMNS}, CAST(created_at AS CHAR), CAST(updated_at AS CHAR) FROM `{table}`"
        )
        return {(row[0], row[1]): tuple(row[2:]) for row in cursor}


def source_datasets(server: SqlServer, database: str) -> dict[str, Any]:
    with server.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT dataset_id, description, source_uri FROM vec_dataset")
        return {row[0]: tuple(row[1:]) for row in cursor}


def open_plainly(replica: Path) -> apsw.Connection:
    """As any program would: SQLite with sqlite-vec loaded, nothing of ours."""
    connection = apsw.Connection(str(replica), flags=apsw.SQLITE_OPEN_READONLY)
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)
    connection.set_busy_timeout(5000)
    return connection


def replica_rows(replica: Path) -> Rows:
    connection = open_plainly(replica)
    try:
        found = connection.execute(
            f"SELECT dataset_id, id, {COLUMNS}, created_at, updated_at FROM shadow_vec_docs"
        ).fetchall()
    finally:
        connection.close()
    rows: Rows = {(str(row[0]), str(row[1])): tuple(row[2:]) for row in found}
    assert len(rows) == len(found), "a document stands twice"
    return rows


def replica_datasets(replica: Path) -> dict[str, Any]:
    connection = open_plainly(replica)
    try:
        return {r[0]: r[1:] for r in connection.execute("SELECT dataset_id, description, source_uri FROM vec_dataset")}
    finally:
        connection.close()


def differences(source: Rows, replica: Rows, most: int = 10) -> list[str]:
    """For people: what differs, at most that many lines. An absent embedding may be NULL or empty alike."""

    def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(v.hex() if isinstance(v, bytes) else v for v in row)

    lines = [f"missing: {key}" for key in source.keys() - replica.keys()]
    lines += [f"should not be there: {key}" for key in replica.keys() - source.keys()]
    for key in source.keys() & replica.keys():
        if source[key] != replica[key]:
            parts = [(a, b) for a, b in zip(plain(source[key]), plain(replica[key]), strict=True) if a != b]
            lines.append(f"{key}: source and replica have {parts}")
    return lines[:most]


def derived_structures_agree(replica: Path) -> None:
    """Full text and vectors against the documents of the same file, entry for entry. On a copy: SQLite's own check of a
    full-text index is an INSERT."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy.db"
        source, target = open_plainly(replica), apsw.Connection(str(copy))
        with target.backup("main", source, "main") as backup:
            backup.step()
        source.close()
        target.enable_load_extension(True)
        target.load_extension(sqlite_vec.loadable_path())
        assert target.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        # rank 1: the entries are compared with the text that they were made from; a difference raises.
        target.execute("INSERT INTO document_text (document_text, rank) VALUES ('integrity-check', 1)")
        for no, name in target.execute("SELECT no, name FROM replica_vectors").fetchall():
            documents = target.execute(
                "SELECT no FROM replica_document WHERE vectors = ? ORDER BY no", (no,)
            ).fetchall()
            assert target.execute(f"SELECT rowid FROM {name} ORDER BY rowid").fetchall() == documents
        target.close()
