"""The present state of single rows: what a repair, or a dead letter sent again, publishes in place of an old version.

It reads; when that state may be published, and on which mark, is for the caller to establish as for a chunk of a
snapshot.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pymysql

from connector.model import DocKey, Document
from connector.source.snapshot_rows import document_rows
from connector.source.snapshot_visibility import query
from connector.upstream.discover import TableShape


def present_rows(
    connection: pymysql.Connection[Any], shape: TableShape, keys: Collection[DocKey]
) -> dict[DocKey, Document]:
    """The rows that exist under exactly these keys; a key that is not in the result has none.

    connection: of `reading_session`. A row whose key is equal only by collation, or that has moved to another dataset,
    is not the row asked for. Raises pymysql.Error, ConfigurationError, UnsupportedChange.
    """
    if not keys:
        return {}
    rows_of = document_rows(shape)
    parts = [tuple((key.dataset_id, key.id)[at] for at in rows_of.key) for key in keys]
    found: dict[DocKey, Document] = {}
    for row in query(connection, rows_of.select(rows_of.among(parts))):
        key, document = rows_of.make(row)
        if isinstance(key, DocKey) and isinstance(document, Document) and key in keys:
            found[key] = document
    return found
