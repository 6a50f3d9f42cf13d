"""The full-text entries of documents. FTS5 keeps no copy of the text: it reads from the document what goes in, and when
an entry is taken out what went in. So entries are removed *before* their documents change, and written after.

Those of a batch are one statement: SQLite works on it without Python's interpreter, for which `connector.replica.ahead`
has a use.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import apsw

_INSERT = (
    "INSERT INTO document_text(rowid, collection, id, content) SELECT t.no, t.collection, t.id, t.content "
    "FROM carray(?) k CROSS JOIN replica_text t ON t.no = k.value"
)
_REMOVE = "DELETE FROM document_text WHERE rowid = ?"


def insert(cursor: apsw.Cursor, documents: Iterable[int]) -> None:
    """documents: their numbers; as `replica_document` now holds them."""
    # In order: FTS5 writes out what it holds in memory whenever a number is lower than the one before.
    numbers = array("q", sorted(documents))
    if numbers:
        cursor.execute(_INSERT, (apsw.carray(numbers, flags=apsw.SQLITE_CARRAY_INT64),))


def remove(cursor: apsw.Cursor, documents: Iterable[int]) -> None:
    """Takes out the entries of documents that still stand as they were indexed."""
    cursor.executemany(_REMOVE, ((no,) for no in sorted(documents)))


def token(collection: int) -> str:
    """The one word of the column `collection`, as the view `replica_text` makes it."""
    return f"c{collection}"
