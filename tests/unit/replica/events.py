"""Short ways to say events in tests of replicas, and to read a replica as any program would."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw

from connector.model import (
    Change,
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Lane,
    Op,
    SourceInfo,
    Tombstone,
    TombstoneReason,
)
from connector.replica import lanes, schema
from connector.replica.apply import Applied, Applier, Offset
from connector.replica.connection import open_writer
from connector.settings import ModelSettings

TOPIC = "t.app.shadow_vec_docs"
LANE = Lane(TOPIC, 0)
TOMBSTONES = Lane(f"{TOPIC}.tombstones", 0)
SOURCE = SourceInfo("mysql", "t", 0, False, "app", "shadow_vec_docs", 1, None, "bin.000001", 4, 1)


def at(position: int, ordinal: int = 1, epoch: int = 1) -> CommitOrder:
    return CommitOrder(epoch, 1, position, ordinal)


def vector(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def document(content: str | None = "text", embedding: bytes | None = None, **fields: Any) -> Document:
    values: dict[str, Any] = {
        "content": content,
        "meta": None,
        "embedding": embedding,
        "embedding_model": "m",
        "scn": 1,
        "archived": False,
    }
    return Document(**(values | fields))


def put(dataset: str, id: str, order: CommitOrder, after: Document | None = None, scn: int = 1) -> DocChange:
    after = after if after is not None else document(f"{id} {order.position}", vector(1, order.position, 0, 0))
    return DocChange(Op.UPDATE, DocKey(dataset, id), scn, after, order, SOURCE)


def delete(dataset: str, id: str, order: CommitOrder, scn: int = 1) -> DocChange:
    return DocChange(Op.DELETE, DocKey(dataset, id), scn, None, order, SOURCE)


def hide(dataset: str, id: str, order: CommitOrder, reason: str = "too large") -> DocChange:
    return DocChange(Op.UPDATE, DocKey(dataset, id), 1, None, order, SOURCE, reason)


def floor(dataset: str | None, order: CommitOrder, reason: FloorReason = FloorReason.CASCADE) -> Floor:
    return Floor(FloorKey(dataset), order, reason, SOURCE)


def dataset_row(dataset: str, order: CommitOrder, description: str | None = None) -> DatasetChange:
    row = None if description is None else Dataset(description, f"fs://{dataset}", 1)
    return DatasetChange(Op.UPDATE if row else Op.DELETE, DatasetKey(dataset), row, order, SOURCE)


def tombstone(dataset: str | None, id: str | None, order: CommitOrder) -> Tombstone:
    return Tombstone(dataset, id, order, 1, TombstoneReason.DELETE, 0)


class Replica:
    """A replica that is fed by hand, with one or more partitions."""

    def __init__(
        self,
        path: Path,
        patterns: Sequence[str] = ("*",),
        models: dict[str, ModelSettings] | None = None,
        partitions: int = 1,
    ) -> None:
        self.path = path
        self.connection = open_writer(path)
        schema.prepare(self.connection, path)
        for topic in (TOPIC, TOMBSTONES.topic):
            for partition in range(partitions):
                self.connection.execute(
                    "INSERT OR IGNORE INTO partition_state VALUES ('id', ?, ?, ?, 0, NULL, '[\"*\"]', '')",
                    (topic, partition, partitions),
                )
        self.applier = Applier(self.connection, path, patterns, models or {}, {TOPIC: "shadow_vec_docs"})

    def apply(self, *changes: Change, lane: Lane = LANE, next_offset: int = 1) -> Applied:
        return self.applier.apply([(lane, change) for change in changes], [], {lane: Offset(next_offset)})

    def apply_all(self, changes: Iterable[tuple[Lane, Change]]) -> Applied:
        return self.applier.apply(list(changes), [], {})

    def queue(self, *tombstones: Tombstone) -> Applied:
        return self.applier.apply([], [(TOMBSTONES, one) for one in tombstones], {TOMBSTONES: Offset(1)})

    def rows(self, sql: str, *args: Any) -> list[Any]:
        return self.connection.execute(sql, args).fetchall()

    def documents(self) -> dict[tuple[str, str], Any]:
        return {
            (row[0], row[1]): row[2:]
            for row in self.rows("SELECT dataset_id, id, content, embedding, scn FROM shadow_vec_docs")
        }

    def contents(self) -> dict[str, str]:
        """`dataset.id` to content."""
        return {f"{dataset}.{id}": row[0] for (dataset, id), row in self.documents().items()}

    def next_offset(self, lane: Lane = LANE) -> int:
        return lanes.recorded(self.connection)[lane].next_offset

    def matching(self, query: str) -> list[str]:
        return [
            row[0]
            for row in self.rows(
                "SELECT d.id FROM document_text t JOIN replica_document d ON d.no = t.rowid "
                "WHERE document_text MATCH ? ORDER BY d.id",
                query,
            )
        ]

    def nearest(self, dataset: str, query: bytes, k: int = 10, table: int = 1) -> list[str]:
        (name,) = self.rows("SELECT name FROM replica_vectors WHERE no = ?", table)[0]
        return [
            row[0]
            for row in self.rows(
                f"SELECT d.id FROM {name} v JOIN replica_document d ON d.no = v.rowid WHERE v.embedding MATCH ? "
                "AND k = ? AND v.collection = (SELECT no FROM replica_collection WHERE dataset_id = ?) "
                "ORDER BY v.distance",
                query,
                k,
                dataset,
            )
        ]

    def check(self) -> None:
        """Everything derived agrees with the documents."""
        assert_consistent(self.connection)

    def close(self) -> None:
        self.connection.close()


def assert_consistent(connection: apsw.Connection) -> None:
    run = connection.execute
    assert run("PRAGMA integrity_check").fetchall() == [("ok",)]
    run("INSERT INTO document_text(document_text, rank) VALUES ('integrity-check', 1)")
    indexed: set[int] = set()
    tables: list[Any] = run("SELECT no, name, dims FROM replica_vectors").fetchall()
    for no, name, dims in tables:
        stored = {row[0]: row[1:] for row in run(f"SELECT rowid, collection, archived, length(embedding) FROM {name}")}
        wanted = {
            row[0]: (row[1], row[2], dims * 4)
            for row in run("SELECT no, collection, archived FROM replica_document WHERE vectors = ?", (no,))
        }
        assert stored == wanted
        indexed |= stored.keys()
    bad = {row[0] for row in run("SELECT document FROM replica_bad_vector")}
    assert bad == {row[0] for row in run("SELECT no FROM replica_document WHERE vectors = -1")}
    assert not bad & indexed
    both = run(
        "SELECT 1 FROM replica_document d JOIN replica_tombstone t ON t.collection = d.collection AND t.id = d.id"
    ).fetchall()
    assert not both
