"""Single rows as they are now, of a source whose shadow log is read: what a repair publishes. Reads only.

There is no log to wait for. A SELECT that begins now sees all that an earlier look of the stream saw, so what it finds
is right on the mark where the stream stands, and the stream's next look is above that.
"""

from __future__ import annotations

from collections.abc import Collection

import pymysql

from connector.model import CommitOrder, DatasetKey, SourceIdentity, SourceInfo
from connector.settings import SourceSettings
from connector.source import Row, RowKey, Rows, XaName
from connector.source.log_table import Connection, LogTable
from connector.source.present import first_rows
from connector.source.snapshot_reader import CHUNK_BYTES, reading_session
from connector.source.snapshot_rows import TableRows, document_rows
from connector.upstream.address import mysql_address
from connector.upstream.discover import mysql_shape
from connector.upstream.mysql import mysql_error


class LogRows:
    """Fulfils `RowReader`. name: the topic prefix."""

    def __init__(self, source: SourceSettings, identity: SourceIdentity, name: str) -> None:
        self._source = source
        self._identity = identity
        self._name = name
        self._database = mysql_address(source.url).database
        self._connection: Connection | None = None
        self._tables: dict[str, TableRows] = {}

    def read(
        self,
        table: str,
        keys: Collection[RowKey],
        low: CommitOrder,
        xa: Collection[XaName],  # noqa: ARG002 -- a look sees committed rows only, whatever was prepared
    ) -> Rows:
        try:
            connection = self._open()
            found: dict[RowKey, Row]
            read: Collection[RowKey]
            if any(isinstance(key, DatasetKey) for key in keys):
                table, read = self._source.mapping.dataset_table, keys
                there = LogTable(connection, self._database, self._source.mapping).datasets()
                found = {DatasetKey(id): row.dataset for id, row in there.items() if DatasetKey(id) in keys}
            else:
                found, read = first_rows(connection, self._rows_of(connection, table), list(keys), CHUNK_BYTES)
        except pymysql.Error as error:
            self.close()  # also what is known of tables: one may have been altered
            raise mysql_error(error, f"rows of {table}") from error
        at = self._identity
        info = SourceInfo(
            at.connector, self._name, 0, False, self._database, table, at.server_id, None, None, low.position, 0
        )
        return Rows(found, read, low, info)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._tables.clear()
        if connection is not None and connection.open:
            connection.close()

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = reading_session(self._source, self._identity)
        return self._connection

    def _rows_of(self, connection: Connection, table: str) -> TableRows:
        found = self._tables.get(table)
        if found is None:
            found = document_rows(mysql_shape(connection, self._database, table, self._source.mapping))
            self._tables[table] = found
        return found
