"""The full-text entries of documents. FTS5 keeps no copy of the text: to take an entry out it reads from the document
what went in, so entries are removed *before* their documents change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

_INSERT = "INSERT INTO document_text(rowid, collection, id, content) VALUES (?, ?, ?, ?)"
_REMOVE = "DELETE FROM document_text WHERE rowid = ?"


def insert(cursor: apsw.Cursor, entries: Iterable[tuple[int, str, str, str | None]]) -> None:
    """entries: number of the document, token of its collection (`token`), id, content."""
    cursor.executemany(_INSERT, sorted(entries))  # FTS5 writes out what it holds in memory whenever a number is lower


def remove(cursor: apsw.Cursor, documents: Sequence[int]) -> None:
    """Takes out the entries of documents that still stand as they were indexed."""
    cursor.executemany(_REMOVE, ((no,) for no in sorted(documents)))


def token(collection: int) -> str:
    """The one word of the column `collection`, as the view `replica_text` makes it."""
    return f"c{collection}"
