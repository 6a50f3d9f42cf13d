"""Rows of a vec0 table, a whole batch at once, as vec0 itself would store them one by one.

For each row vec0 parses a statement that goes through its chunks from the last one back, and opens four blobs. Here
each chunk is written once for all rows of the batch that it takes. It must never leave anything in vec0's tables that
vec0 would not have left there: a test holds the two to the same bytes, and the version of sqlite-vec is pinned for it.
Removing rows and searching are vec0's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from connector.replica import schema


class Vector(NamedTuple):
    """An embedding on its way in. document: its number; model: '' stands for NULL."""

    document: int
    collection: int
    archived: bool
    model: str
    embedding: bytes


_Partition = tuple[int, int]  # collection, archived


class Chunks:
    """Of one vec0 table, for its writer; within the caller's transaction. To be made anew after a rollback."""

    def __init__(self, connection: apsw.Connection, table: str, dims: int) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._blobs = f"{table}_vector_chunks00"
        chunks, vectors, rowids = (schema.quoted(f"{table}_{part}") for part in ("chunks", "vector_chunks00", "rowids"))
        self._vector_bytes = 4 * dims
        self._rows = schema.chunk_rows(dims)
        self._find = f"SELECT max(chunk_id) FROM {chunks} WHERE partition00 = ? AND partition01 = ?"
        self._read = f"SELECT validity, rowids FROM {chunks} WHERE chunk_id = ?"
        self._update = f"UPDATE {chunks} SET validity = ?, rowids = ? WHERE chunk_id = ?"
        self._add = (
            f"INSERT INTO {chunks}(size, partition00, partition01, validity, rowids) VALUES (?, ?, ?, ?, ?) "
            "RETURNING chunk_id"
        )
        self._add_vectors = f"INSERT INTO {vectors}(_rowid_, rowid, vectors) VALUES (?, ?, ?)"
        self._place = f"INSERT INTO {rowids}(rowid, chunk_id, chunk_offset) VALUES (?, ?, ?)"
        # vec0 fills only the last chunk of a partition. The one that is held may have gone since, with its last row.
        self._last: dict[_Partition, int] = {
            (collection, archived): last
            for collection, archived, last in connection.execute(
                f"SELECT partition00, partition01, max(chunk_id) FROM {chunks} GROUP BY 1, 2"
            )
        }

    def insert(self, vectors: Sequence[Vector]) -> None:
        """In the order of their numbers; none of them may have a row in the table."""
        partitions: dict[_Partition, list[Vector]] = {}
        for vector in vectors:
            partitions.setdefault((vector.collection, int(vector.archived)), []).append(vector)
        places: list[tuple[int, int, int]] = []
        for partition, those in partitions.items():
            rest = those[self._fill(partition, those, places) :]
            for start in range(0, len(rest), self._rows):
                self._new(partition, rest[start : start + self._rows], places)
        places.sort()
        self._cursor.executemany(self._place, places)

    def _fill(self, partition: _Partition, vectors: Sequence[Vector], places: list[tuple[int, int, int]]) -> int:
        """Into the free places of the partition's last chunk; returns how many there were room for."""
        chunk = self._last.get(partition)
        if chunk is None:
            return 0
        found: Any = self._cursor.execute(self._read, (chunk,)).fetchall()
        if not found:
            chunk = self._cursor.execute(self._find, partition).get
            if chunk is None:
                del self._last[partition]
                return 0
            self._last[partition] = chunk
            found = self._cursor.execute(self._read, (chunk,)).fetchall()
        validity, numbers = found[0]
        used = int.from_bytes(validity, "little")
        free = [slot for slot in range(self._rows) if not used >> slot & 1]
        taken = list(zip(free, vectors, strict=False))
        if not taken:
            return 0
        rowids = bytearray(numbers)
        with self._connection.blob_open("main", self._blobs, "vectors", chunk, True) as blob:
            for slot, vector in taken:
                used |= 1 << slot
                rowids[8 * slot : 8 * slot + 8] = vector.document.to_bytes(8, "little")
                blob.seek(slot * self._vector_bytes)
                blob.write(vector.embedding)
                places.append((vector.document, chunk, slot))
        self._cursor.execute(self._update, (used.to_bytes(self._rows // 8, "little"), bytes(rowids), chunk))
        return len(taken)

    def _new(self, partition: _Partition, vectors: Sequence[Vector], places: list[tuple[int, int, int]]) -> None:
        used = (1 << len(vectors)) - 1
        rowids = b"".join([vector.document.to_bytes(8, "little") for vector in vectors])
        chunk = self._cursor.execute(
            self._add,
            (self._rows, *partition, used.to_bytes(self._rows // 8, "little"), rowids.ljust(8 * self._rows, b"\0")),
        ).get
        stored = b"".join([vector.embedding for vector in vectors])
        self._cursor.execute(self._add_vectors, (chunk, chunk, stored.ljust(self._vector_bytes * self._rows, b"\0")))
        places += [(vector.document, chunk, slot) for slot, vector in enumerate(vectors)]
        self._last[partition] = chunk
