"""Vectors written a chunk at a time are stored as vec0 stores them one by one: every byte of its tables is the same."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from connector.replica import schema
from connector.replica.chunks import Chunks, Vector
from connector.replica.connection import open_writer

INSERT = "INSERT INTO {}(rowid, collection, archived, embedding) VALUES (?, ?, ?, ?)"


class Table:
    def __init__(self, path: Path, dims: int) -> None:
        self.connection = open_writer(path)
        schema.prepare(self.connection, path)
        with self.connection:
            _, self.name = schema.add_vectors(self.connection, "m", dims)

    def remove(self, documents: Sequence[int]) -> None:
        with self.connection:
            self.connection.cursor().executemany(
                f"DELETE FROM {self.name} WHERE rowid = ?", [(document,) for document in documents]
            )

    def contents(self) -> list[list[Any]]:
        parts = [f"{self.name}_{part}" for part in ("info", "chunks", "rowids", "vector_chunks00")]
        return [
            *(self.connection.execute(f"SELECT _rowid_, * FROM {part} ORDER BY 1").fetchall() for part in parts),
            self.connection.execute("SELECT * FROM sqlite_sequence ORDER BY 1").fetchall(),
        ]


@pytest.fixture
def tables(tmp_path: Path, dims: int) -> Iterator[tuple[Table, Table]]:
    ours, theirs = Table(tmp_path / "ours", dims), Table(tmp_path / "theirs", dims)
    yield ours, theirs
    ours.connection.close()
    theirs.connection.close()


@pytest.mark.parametrize("dims", [1, 100, 384, 2000])
def test_the_same_bytes_as_one_by_one(tables: tuple[Table, Table], dims: int) -> None:
    ours, theirs = tables
    rng = random.Random(dims)
    chunks = Chunks(ours.connection, ours.name, dims)
    standing: list[int] = []
    for batch in range(20):
        gone = [standing.pop(rng.randrange(len(standing))) for _ in range(min(len(standing), rng.choice([0, 3, 200])))]
        vectors = []
        for document in range(1000 * batch, 1000 * batch + rng.choice([1, 5, 150])):
            embedding = rng.randbytes(4 * dims)
            vectors.append(Vector(document, rng.randrange(1, 4), rng.random() < 0.1, "m", embedding))
            standing.append(document)
        # By partition, in the order in which they come: so vec0 makes its chunks in the same order.
        partitions = list(dict.fromkeys((v.collection, v.archived) for v in vectors))
        one_by_one = sorted(vectors, key=lambda v: partitions.index((v.collection, v.archived)))
        for table in tables:
            table.remove(gone)
        with ours.connection:
            chunks.insert(vectors)
        with theirs.connection:
            theirs.connection.cursor().executemany(
                INSERT.format(theirs.name),
                [(v.document, v.collection, int(v.archived), v.embedding) for v in one_by_one],
            )
        assert ours.contents() == theirs.contents(), f"batch {batch}"
        if batch % 5 == 4:
            chunks = Chunks(ours.connection, ours.name, dims)  # as another process finds them


@pytest.mark.parametrize("dims", [384])
def test_a_document_that_has_a_vector_is_refused(tables: tuple[Table, Table], dims: int) -> None:
    ours, _ = tables
    chunks, vector = Chunks(ours.connection, ours.name, dims), Vector(1, 1, False, "m", bytes(4 * dims))
    with ours.connection:
        chunks.insert([vector])
    with pytest.raises(apsw.ConstraintError), ours.connection:
        chunks.insert([vector])
