"""Documents, with their vectors, full-text entries and tombstones, as rows. Always within the applier's transaction.

What is derived from a document is removed before the document changes and written after it. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from connector.model import CommitOrder, DocChange
from connector.replica import fulltext, schema
from connector.replica.chunks import Vector
from connector.replica.collections import Collection
from connector.replica.vectors import Bad, Store
from connector.settings import ModelSettings

Key = tuple[int, str]
"""Number of the collection, and id."""


class Entry:
    """What is held for a key while a batch is worked out. document: its number, None when there is no document."""

    __slots__ = ("change", "collection", "document", "order", "tombstone", "vectors")

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.order: CommitOrder | None = None
        self.document: int | None = None
        self.vectors: int | None = None
        self.tombstone = False
        self.change: DocChange | None = None  # to be written


class Documents:
    def __init__(self, connection: apsw.Connection, models: Mapping[str, ModelSettings]) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._store = Store(connection, models)
        self._next_no = 0
        self._unindexed: list[int] = []
        self.reload()

    def reload(self) -> None:
        """After a rollback, or when a vec0 table was replaced."""
        self._store.reload()
        self._unindexed = []
        # The number of the last document is used again when that one is deleted: nothing refers to it any more.
        self._next_no = self._connection.execute("SELECT coalesce(max(no), 0) + 1 FROM replica_document").get

    def write(self, changed: Sequence[tuple[str, Entry]], now: str) -> int:
        """Ids with entries that have a change; returns how many embeddings are unfit to be searched. Their full text is
        left to `index`."""
        self.index()
        gone: list[tuple[str, Entry]] = []
        upserts: list[tuple[str, Entry]] = []
        for id, entry in changed:
            assert entry.change is not None
            (gone if entry.change.after is None else upserts).append((id, entry))
        standing = [(entry.document, entry.vectors) for _, entry in changed if entry.document is not None]
        indexed = self._same_text(upserts)
        fulltext.remove(self._cursor, [no for no, _ in standing if no not in indexed])
        self._store.remove(standing)
        self._delete(gone)
        return self._upsert(upserts, indexed, now)

    def index(self) -> None:
        """The full text of what was written, before the transaction ends."""
        unindexed, self._unindexed = self._unindexed, []
        fulltext.insert(self._cursor, unindexed)

    def _same_text(self, upserts: Sequence[tuple[str, Entry]]) -> set[int]:
        """Documents whose text stays as it is indexed: archiving one, say, leaves its full-text entry alone."""
        texts = [
            (entry.document, entry.change.after.content)
            for _, entry in upserts
            if entry.document is not None and entry.change is not None and entry.change.after is not None
        ]
        found: Any = self._cursor.executemany("SELECT no FROM replica_document WHERE no = ? AND content IS ?", texts)
        return {row[0] for row in found}

    def remove_derived(self, documents: Sequence[tuple[int, int | None]]) -> None:
        """Full text first: it is found by what the documents still say."""
        self.index()
        fulltext.remove(self._cursor, [no for no, _ in documents])
        self._store.remove(documents)

    def _delete(self, gone: Sequence[tuple[str, Entry]]) -> None:
        cursor = self._cursor
        cursor.executemany(
            "DELETE FROM replica_document WHERE no = ?",
            [(entry.document,) for _, entry in gone if entry.document is not None],
        )
        rows = []
        for id, entry in gone:
            change = entry.change
            assert change is not None
            rows.append((entry.collection.no, id, *change.order, change.scn, change.unpublished))
            entry.document = entry.vectors = None
            entry.tombstone = True
        cursor.executemany("INSERT OR REPLACE INTO replica_tombstone VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)", rows)

    def _upsert(self, written: Sequence[tuple[str, Entry]], indexed: set[int], now: str) -> int:
        vectors: list[Vector] = []
        revived: list[Key] = []
        numbered: list[tuple[int, bool, str, Entry]] = []
        for id, entry in written:
            assert entry.change is not None
            document = entry.change.after
            assert document is not None
            new = entry.document is None
            if entry.document is None:
                entry.document = self._next_no
                self._next_no += 1
            if entry.tombstone:
                revived.append((entry.collection.no, id))
                entry.tombstone = False
            embedding = document.embedding
            if embedding:
                model = document.embedding_model or ""
                vectors.append(Vector(entry.document, entry.collection.no, document.archived, model, embedding))
            numbered.append((entry.document, new, id, entry))
        placed: Mapping[int, Sequence[Vector]]
        bad: Sequence[Bad]
        placed, bad = self._store.place(vectors)
        tables = {v.document: no for no, those in placed.items() for v in those}
        tables.update((b.document, schema.BAD_VECTOR) for b in bad)
        inserted, updated = [], []
        for no, new, id, entry in numbered:
            change = entry.change
            assert change is not None
            assert change.after is not None
            d = change.after
            embedding = d.embedding
            entry.vectors = tables[no] if embedding else schema.NO_VECTOR if embedding is None else schema.EMPTY_VECTOR
            row = (
                *change.order,
                d.scn,
                int(d.archived),
                entry.vectors,
                d.embedding_model,
                d.created_at,
                d.updated_at,
                d.meta,
                d.content,
            )
            if new:
                inserted.append((no, entry.collection.no, id, *row))
            else:
                updated.append((*row, no))
            if no not in indexed:
                self._unindexed.append(no)
        self._write_rows(revived, inserted, updated)
        self._store.insert(placed)
        self._store.keep_bad(bad, now)
        return len(bad)

    def _write_rows(
        self, revived: Sequence[Key], inserted: Sequence[tuple[object, ...]], updated: Sequence[tuple[object, ...]]
    ) -> None:
        cursor = self._cursor
        cursor.executemany("DELETE FROM replica_tombstone WHERE collection = ? AND id = ?", revived)
        cursor.executemany(
            "INSERT INTO replica_document VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", inserted
        )
        cursor.executemany(
            "UPDATE replica_document SET epoch = ?, file = ?, position = ?, ordinal = ?, scn = ?, archived = ?, "
            "vectors = ?, embedding_model = ?, created_at = ?, updated_at = ?, meta = ?, content = ? WHERE no = ?",
            updated,
        )
