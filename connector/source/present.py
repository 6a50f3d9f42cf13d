"""The present state of single rows: what a repair, or a dead letter sent again, publishes in place of an old version.

It reads; when that state may be published, and on which mark, is for the caller to establish as for a chunk of a
snapshot (`reread.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pymysql

from connector.errors import UnsupportedChange
from connector.model import CommitOrder, DatasetKey, SourceInfo, TableName
from connector.source import Row, RowKey, Rows
from connector.source.binlog_stream import file_number
from connector.source.snapshot import SnapshotPlan, XaName
from connector.source.snapshot_reader import CHUNK_BYTES, SqlSnapshotReader
from connector.source.snapshot_rows import TableRows, size_of
from connector.source.snapshot_visibility import query
from connector.upstream.tables import called

_FIRST_STEP = 4  # rows of 16 MB are met one day; the steps double while they are small


def present_rows(
    connection: pymysql.Connection[Any], rows_of: TableRows, keys: Collection[RowKey]
) -> dict[RowKey, Row]:
    """The rows that exist under exactly these keys; a key that is not in the result has none.

    connection: of `reading_session`. A row whose key is equal only by collation, or that has moved to another dataset,
    is not the row asked for. Raises pymysql.Error, UnsupportedChange.
    """
    if not keys:
        return {}
    parts = [_columns(key) for key in keys]
    found = {}
    try:
        rows = query(connection, rows_of.select(rows_of.among([[part[at] for at in rows_of.key] for part in parts])))
    except UnicodeDecodeError as error:
        raise UnsupportedChange(f"a row of {rows_of.name} holds text that is not in its character set") from error
    for row in rows:
        key, value = rows_of.make(row)
        if key in keys:
            found[key] = value
    return found


def first_rows(
    connection: pymysql.Connection[Any], rows_of: TableRows, keys: Sequence[RowKey], most_bytes: int
) -> tuple[dict[RowKey, Row], Sequence[RowKey]]:
    """As `present_rows`, of as many keys as that many bytes hold, a few at least; and those keys."""
    found: dict[RowKey, Row] = {}
    size, done, step = 0, 0, _FIRST_STEP
    while done < len(keys) and size < most_bytes:
        part = present_rows(connection, rows_of, keys[done : done + step])
        found |= part
        size += sum(map(size_of, part.values()))
        done += step
        step *= 2
    return found, keys[:done]


def _columns(key: RowKey) -> tuple[str, ...]:
    return (key.dataset_id,) if isinstance(key, DatasetKey) else (key.dataset_id, key.id)


class SqlRows:
    """Fulfils `RowReader` for MySQL and MariaDB. plan: as for a snapshot of the same tables."""

    def __init__(self, reader: SqlSnapshotReader, plan: SnapshotPlan) -> None:
        self._reader = reader
        self._plan = plan

    def read(self, table: str, keys: Collection[RowKey], low: CommitOrder, xa: Collection[XaName]) -> Rows | None:
        plan = self._plan
        if any(isinstance(key, DatasetKey) for key in keys):
            table = called(TableName(plan.place(table).db, plan.dataset_table), plan.db)
        wanted, read = list(keys), list[RowKey]()

        def select(connection: pymysql.Connection[Any], rows_of: TableRows) -> dict[RowKey, Row]:
            rows, read[:] = first_rows(connection, rows_of, wanted, CHUNK_BYTES)
            return rows

        chunk = self._reader.read_with(table, low, xa, select)
        if chunk is None:
            return None
        file, position = chunk.high
        at = plan.place(table)
        info = SourceInfo(plan.connector, plan.name, 0, False, *at, plan.server_id, None, file, position, 0)
        # A table that is gone was not read: none of its rows is there.
        return Rows(chunk.rows, read or wanted, CommitOrder(low.epoch, file_number(file), position, 0), info)

    def close(self) -> None:
        self._reader.close()
