"""The full-text entries of documents. FTS5 keeps no copy of the text: to take an entry out it must be given exactly the
text that went in, so entries are removed *before* their documents change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

_INSERT = "INSERT INTO document_text(rowid, collection, id, content) VALUES (?, ?, ?, ?)"
_REMOVE = """INSERT INTO document_text(document_text, rowid, collection, id, content)
             SELECT 'delete', no, collection, id, content FROM replica_text WHERE no = ?"""


def insert(cursor: apsw.Cursor, entries: Iterable[tuple[int, str, str, str | None]]) -> None:
    """entries: number of the document, token of its collection (`token`), id, content."""
    cursor.executemany(_INSERT, entries)


def remove(cursor: apsw.Cursor, documents: Sequence[int]) -> None:
    """Takes out the entries of documents that still stand as they were indexed."""
    cursor.executemany(_REMOVE, ((no,) for no in documents))


def token(collection: int) -> str:
    """The one word of the column `collection`, as the view `replica_text` makes it."""
    return f"c{collection}"
