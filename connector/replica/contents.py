"""What a replica holds, row by row, with the order of each: for whoever compares it with its source.

Reads only, in whatever transaction the connection is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from connector.model import CommitOrder, Dataset, DatasetKey, DocKey, Document
from connector.replica.schema import document_columns

_FROM = "FROM replica_document d JOIN replica_collection c ON c.no = d.collection"
_ORDER = "d.epoch, d.file, d.position, d.ordinal"

_GONE = f"""
    WITH c AS (SELECT no, topic, partition FROM replica_collection WHERE shadow_table = ?1 AND dataset_id = ?2)
    SELECT {_ORDER}, d.unpublished FROM c JOIN replica_tombstone d ON d.collection = c.no WHERE d.id = ?3
    UNION ALL SELECT {_ORDER}, NULL FROM c JOIN replica_dataset_floor d ON d.collection = c.no
    UNION ALL SELECT {_ORDER}, NULL FROM c JOIN replica_table_floor d ON (d.topic, d.partition) = (c.topic, c.partition)
    UNION ALL SELECT {_ORDER}, NULL FROM c JOIN replica_forgotten d ON d.collection = c.no"""


class Content(NamedTuple):
    """table: the shadow table's name; of a row of `vec_dataset` empty. order: of the record that made it;
    of one that is gone, the greatest that may have taken it, floors too; None: there never was one. row: None: there is
    none. unpublished: why it is hidden, where that is so."""

    table: str
    key: DocKey | DatasetKey
    order: CommitOrder | None
    row: Document | Dataset | None
    unpublished: str | None = None


def contents(connection: apsw.Connection) -> Iterator[Content]:
    """Every row that there is."""
    columns = document_columns(connection)
    rows: Any = connection.execute(f"SELECT c.shadow_table, c.dataset_id, d.id, {_ORDER}, {columns} {_FROM}")
    for table, dataset, id, *rest in rows:
        yield Content(table, DocKey(dataset, id), CommitOrder(*rest[:4]), _document(rest[4:]))
    rows = connection.execute(
        "SELECT dataset_id, epoch, file, position, ordinal, description, source_uri, last_scn"
        " FROM replica_dataset_row WHERE present"
    )
    for dataset, *rest in rows:
        yield Content("", DatasetKey(dataset), CommitOrder(*rest[:4]), Dataset(*rest[4:]))


def content(connection: apsw.Connection, table: str, key: DocKey | DatasetKey) -> Content:
    """What there is of one row, or was."""
    row: Any
    if isinstance(key, DatasetKey):
        row = connection.execute(
            "SELECT epoch, file, position, ordinal, present, description, source_uri, last_scn"
            " FROM replica_dataset_row WHERE dataset_id = ?",
            (key.dataset_id,),
        ).fetchone()
        if row is None:
            return Content(table, key, None, None)
        return Content(table, key, CommitOrder(*row[:4]), Dataset(*row[5:]) if row[4] else None)
    row = connection.execute(
        f"SELECT {_ORDER}, {document_columns(connection)} {_FROM}"
        " WHERE c.shadow_table = ? AND c.dataset_id = ? AND d.id = ?",
        (table, key.dataset_id, key.id),
    ).fetchone()
    if row is not None:
        return Content(table, key, CommitOrder(*row[:4]), _document(row[4:]))
    gone: Any = connection.execute(_GONE, (table, key.dataset_id, key.id)).fetchall()
    if not gone:
        return Content(table, key, None, None)
    orders = [CommitOrder(*row[:4]) for row in gone]
    return Content(table, key, max(orders), None, next((row[4] for row in gone if row[4]), None))


def _document(values: Any) -> Document:
    content, meta, embedding, model, scn, archived, created, updated = values
    return Document(content, meta, embedding, model, scn, bool(archived), created, updated)
