"""MySQL and MariaDB as a `Source` that reads the shadow log, for accounts that may not read the binlog and servers that
write none. Needs SELECT only. Nothing here writes to the source or takes a lock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pymysql

from connector.errors import ForeignLog, PreflightRefused, UsageError
from connector.model import DatasetCursor, SourceIdentity, SourcePosition, TableName, cursor_key
from connector.settings import Settings
from connector.source import Stream
from connector.source.log_changes import LogChanges
from connector.source.log_group import numbers_behind
from connector.source.log_rows import LogRows
from connector.source.log_stream import LogStream, cursors_at
from connector.source.log_table import Connection, LogTable
from connector.source.snapshot_reader import reading_session
from connector.source.twins import TwinCheck
from connector.upstream.address import mysql_address
from connector.upstream.discover import TableShape, mysql_shape
from connector.upstream.install import unlogged_events
from connector.upstream.mysql import mysql_error, mysql_errors, open_connection


class LogSource:
    """Fulfils `Source`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = settings.source
        self._db = mysql_address(self._source.url).database
        self._connection: Connection | None = None

    def identity(self) -> SourceIdentity:
        log = f"{self._db}.{self._source.mapping.log_table}"
        version, server_id = self._rows("SELECT @@version, @@server_id")[0]
        if "mariadb" in version.lower():
            return SourceIdentity("mariadb", None, log, 0, int(server_id))
        return SourceIdentity("mysql", self._rows("SELECT @@server_uuid")[0][0], log, 0, int(server_id))

    def head(self) -> SourcePosition:
        """`position` is the source's clock: everything committed before that is in every look that begins later."""
        identity = self.identity()
        connection = reading_session(self._source, identity)
        try:
            with mysql_errors(self._source.mapping.log_table):
                log = LogTable(connection, self._db, self._source.mapping)
                clock_us = log.begin()
                heads = log.heads(self._source.tables)
        finally:
            connection.close()
        cursors = {cursor_key(*group): DatasetCursor(0, entry.scn) for group, entry in heads.items()}
        return SourcePosition(identity, position=clock_us, cursors=cursors, snapshot_done=True)

    def start(self, epoch: int) -> SourcePosition:
        identity = self.identity()
        if self._source.snapshot != "no_data":
            return SourcePosition(identity, epoch=epoch)
        connection = reading_session(self._source, identity)
        try:
            with mysql_errors(self._source.mapping.log_table):
                log = LogTable(connection, self._db, self._source.mapping)
                log.begin()
                cursors = cursors_at(log.datasets(), log.heads(self._source.tables), self._source.tables)
        finally:
            connection.close()
        return SourcePosition(identity, epoch=epoch, cursors=cursors, snapshot_done=True)

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:  # noqa: ARG002
        """Never: numbers of entries say nothing of what another log held."""
        raise ForeignLog(
            f"the source is not the one that was recorded: recorded {recorded.identity}, found {self.identity()}",
            hint="Point source.url at the recorded server, or run `vecsync capture snapshot`.",
        )

    def place(self, where: str) -> SourcePosition:  # noqa: ARG002
        raise UsageError(
            "the position in a shadow log cannot be set",
            hint="Run `vecsync capture snapshot`: it reads all rows again.",
        )

    def claim(self, after: SourcePosition) -> SourcePosition:
        """Each stream has a number: what it reads sorts above all that an earlier one read, however far that came."""
        return replace(after, dataset_log_seq=after.dataset_log_seq + 1, position=0)

    def stream(self, after: SourcePosition) -> Stream:
        identity = self.identity()
        if identity != after.identity:
            raise ForeignLog(f"the source was {after.identity}, and is {identity} now")
        shapes = self._shapes()
        twins = TwinCheck(shapes, self._source.mapping.dataset_table, self._rows)
        changes = LogChanges(
            identity, self._settings.topics.prefix, self._db, self._source.mapping.dataset_table, shapes
        )
        connection = reading_session(self._source, identity)
        try:
            # Rows are sent as fast as the broker takes them, which may be slow.
            with mysql_errors("the session"), connection.cursor() as cursor:
                cursor.execute("SET SESSION net_write_timeout = 3600")
            return LogStream(connection, changes, self._source, self._db, after, twins if twins.needed else None)
        except BaseException:
            connection.close()
            raise

    def behind(self, at: SourcePosition) -> int:
        """Change numbers, which not all stand for entries."""
        return numbers_behind(at, self.head())

    def rows(self) -> LogRows:
        return LogRows(self._source, self.identity(), self._settings.topics.prefix)

    def check_snapshot(
        self,
        datasets: Sequence[str] | None,
        tables: Sequence[TableName],  # noqa: ARG002 -- some are as good as all
    ) -> None:
        """Rows of all datasets are read, each dataset in a look of its own."""
        if datasets is not None:
            raise UsageError(
                "a snapshot by the shadow log reads all datasets, not single ones",
                hint="Name no dataset: all rows are read again, while the log is followed.",
            )

    def close(self) -> None:
        if self._connection is not None:
            if self._connection.open:
                self._connection.close()
            self._connection = None

    def _rows(self, sql: str, args: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        """The connection is opened again when it was lost since the last question."""
        for attempt in (0, 1):
            try:
                with self._open().cursor() as cursor:
                    cursor.execute(sql, args or None)
                    return list(cursor.fetchall())
            except pymysql.Error as error:
                self.close()
                if attempt:
                    raise mysql_error(error, "the source") from error
        raise AssertionError("unreachable")

    def _open(self) -> Connection:
        if self._connection is None or not self._connection.open:
            self._connection = open_connection(self._source)
        return self._connection

    def _shapes(self) -> Sequence[TableShape]:
        """Of the followed tables. Raises PreflightRefused when one does not exist, or is seen not to be logged."""
        found = []
        for table in self._source.tables:
            with mysql_errors(table):
                shape = mysql_shape(self._open(), self._db, table, self._source.mapping)
            if not shape.exists:
                raise PreflightRefused(f"there is no table {self._db}.{table} on the source")
            missing = unlogged_events(shape, self._source.mapping)
            if shape.triggers and missing:
                raise PreflightRefused(
                    f"no trigger of {table} logs {' and '.join(missing)}", hint="Run `vecsync source install`."
                )
            found.append(shape)
        return found
