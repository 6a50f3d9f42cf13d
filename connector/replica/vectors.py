"""Embeddings in their vec0 tables: which are fit to be searched, and where each is kept.

An embedding that cannot be searched is never lost and never guessed at: its bytes are kept as the source has them,
beside the reason, and the document and its text stay searchable.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import apsw

from connector.replica import schema
from connector.replica.chunks import Chunks, Vector
from connector.settings import ModelSettings

MAX_DIMS = 8192  # vec0's own limit


class Bad(NamedTuple):
    document: int
    embedding: bytes
    error: str


class Store:
    """The vec0 tables of one replica, for its writer. Every call is part of the caller's transaction."""

    def __init__(self, connection: apsw.Connection, models: Mapping[str, ModelSettings]) -> None:
        self._connection = connection
        self._dims = {name: model.dims for name, model in models.items() if model.dims is not None}
        self._tables: dict[tuple[str, int], tuple[int, str]] = {}
        self._names: dict[int, str] = {}
        self._chunks: dict[int, Chunks] = {}
        self.reload()

    def reload(self) -> None:
        """After a rollback, or when a table was replaced."""
        self._tables = {
            (model, dims): (no, name)
            for no, name, model, dims in self._connection.execute("SELECT no, name, model, dims FROM replica_vectors")
        }
        self._names = dict(self._tables.values())
        self._chunks = {}

    def place(self, vectors: Sequence[Vector]) -> tuple[dict[int, list[Vector]], list[Bad]]:
        """Sorts vectors by the number of the table that takes them (made if need be), and those that are unfit."""
        shaped: list[Vector] = []
        bad: list[Bad] = []
        for vector in vectors:
            error = self._misshapen(vector)
            if error is None:
                shaped.append(vector)
            else:
                bad.append(Bad(vector.document, vector.embedding, error))
        placed: dict[int, list[Vector]] = {}
        unfit = self._unfit(shaped)
        for place, vector in enumerate(shaped, 1):
            if place in unfit:
                bad.append(Bad(vector.document, vector.embedding, _flaw(vector.embedding)))
                continue
            key = (vector.model, len(vector.embedding) >> 2)
            table = self._tables.get(key)
            if table is None:
                table = self._tables[key] = schema.add_vectors(self._connection, *key)
                self._names[table[0]] = table[1]
            placed.setdefault(table[0], []).append(vector)
        return placed, bad

    def _misshapen(self, vector: Vector) -> str | None:
        size = len(vector.embedding)
        if size & 3:
            return f"{size} bytes are no whole number of float32 values"
        dims = size >> 2
        if dims > MAX_DIMS:
            return f"{dims} dimensions, at most {MAX_DIMS} can be searched"
        wanted = self._dims.get(vector.model)
        if wanted is not None and dims != wanted:
            return f"{dims} dimensions, model {vector.model} is configured to have {wanted}"
        return None

    def _unfit(self, vectors: Sequence[Vector]) -> set[int]:
        """Their places, from 1. The distance of a vector to itself is undefined exactly when it is undefined to others
        too: a value is no number or infinite, or the length is zero or beyond what float32 can hold when squared."""
        if not vectors:
            return set()
        found = self._connection.execute(
            "SELECT rowid FROM carray(?) WHERE vec_distance_cosine(value, value) IS NULL",
            (apsw.carray(tuple([vector.embedding for vector in vectors])),),
        )
        return {row[0] for row in found}

    def insert(self, placed: Mapping[int, Sequence[Vector]]) -> None:
        for no, vectors in placed.items():
            chunks = self._chunks.get(no)
            if chunks is None:
                dims = len(vectors[0].embedding) >> 2
                chunks = self._chunks[no] = Chunks(self._connection, self._names[no], dims)
            chunks.insert(vectors)

    def keep_bad(self, bad: Iterable[Bad], now: str) -> None:
        """What was kept of the document before has been removed: the attempt counted is that of this version."""
        self._connection.cursor().executemany(
            "INSERT INTO replica_bad_vector(document, bytes, attempts, last_attempt, error) VALUES (?, ?, 1, ?, ?)",
            [(b.document, b.embedding, now, b.error) for b in bad],
        )

    def remove(self, documents: Iterable[tuple[int, int | None]]) -> None:
        """documents: number, and what `replica_document.vectors` says of it."""
        by_table: dict[int, list[tuple[int]]] = {}
        for document, vectors in documents:
            if vectors:
                by_table.setdefault(vectors, []).append((document,))
        cursor = self._connection.cursor()
        for no, rows in by_table.items():
            if no == schema.BAD_VECTOR:
                cursor.executemany("DELETE FROM replica_bad_vector WHERE document = ?", rows)
            else:
                cursor.executemany(f"DELETE FROM {self._names[no]} WHERE rowid = ?", rows)


def _flaw(embedding: bytes) -> str:
    """Why the cosine to a well-shaped vector is undefined."""
    values = struct.unpack(f"<{len(embedding) >> 2}f", embedding)
    for i, value in enumerate(values):
        if math.isnan(value):
            return f"value {i} is not a number"
        if math.isinf(value):
            return f"value {i} is infinite"
    length = math.hypot(*values)
    if length == 0:
        return "all values are zero: the vector has no direction"
    return f"its length {length:.3g} cannot be squared in float32: its direction is lost"
