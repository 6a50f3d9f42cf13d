"""Chunks of a table over a connection of its own: the SQL side of snapshots. Reads only, and takes no lock.

A chunk is bounded by rows and by bytes, so that its memory is. After a lost connection the next call opens another;
nothing is remembered of a chunk that was not returned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

import pymysql
from pymysql.cursors import SSCursor

from connector.errors import CorruptedLog, ForeignLog, PreflightRefused, UnsupportedChange, UsageError
from connector.model import CommitOrder, SourceIdentity
from connector.settings import SourceSettings
from connector.source.snapshot import Chunk, XaName
from connector.source.snapshot_rows import Row, RowKey, TableRows, dataset_rows, document_rows, size_of
from connector.source.snapshot_visibility import MariadbVisibility, MysqlVisibility, Visibility, query
from connector.upstream.mysql import LOCK_WAIT_S, mysql_error, open_connection
from connector.upstream.presence import present_shape, there
from connector.upstream.tables import Patterns, followed_tables, home_of, named

Connection: TypeAlias = "pymysql.Connection[Any]"

CHUNK_BYTES = 16 * 2**20
"""A chunk ends with the row that reaches this. Two chunks at a time are in memory at most: one being sent, one read."""

SILENCE_S = 30.0
"""A server that sends nothing for this long in answer to a query is lost. Chunks are read by their key, in far less."""

# The table is not what it was when its shape was looked up: it was altered, dropped or made again in between.
_SHAPE_CHANGED = {
    pymysql.constants.ER.TABLE_DEF_CHANGED,
    pymysql.constants.ER.BAD_FIELD_ERROR,
    pymysql.constants.ER.NO_SUCH_TABLE,
    pymysql.constants.ER.BAD_DB_ERROR,
    pymysql.constants.ER.KEY_DOES_NOT_EXITS,
}
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}  # of the lengths that follow these bytes
_NOT_TRANSACTIONAL = {"myisam", "aria", "memory", "csv", "archive", "blackhole"}


class SqlSnapshotReader:
    """Fulfils `SnapshotReader` for MySQL and MariaDB."""

    def __init__(
        self,
        source: SourceSettings,
        identity: SourceIdentity,
        chunk_bytes: int = CHUNK_BYTES,
        silence_s: float = SILENCE_S,
    ) -> None:
        """identity: of the server whose log is streamed; no other may answer here."""
        self._source = source
        self._identity = identity
        self._chunk_bytes = chunk_bytes
        self._silence_s = silence_s
        self._home = home_of(source)
        self._patterns = Patterns(source)
        self._connection: Connection | None = None
        self._visibility: Visibility | None = None
        self._tables: dict[str, TableRows] = {}
        self._limit = source.snapshot_chunk_rows

    def read(
        self,
        table: str,
        after: tuple[str, ...] | None,
        low: CommitOrder,
        xa: Collection[XaName],
        dataset: str | None = None,
    ) -> Chunk | None:
        last_key: tuple[str, ...] | None = None

        def select(connection: Connection, rows_of: TableRows) -> dict[RowKey, Row]:
            nonlocal last_key
            # A key of other columns than the present ones: the table was altered, and is read from its beginning.
            start = after if after is None or len(after) == len(rows_of.key) else None
            rows, last_key, whole = self._select(connection, rows_of, start, dataset)
            if not whole:
                self.close()
            return rows

        chunk = self.read_with(table, low, xa, select)
        return None if chunk is None else chunk._replace(last_key=last_key)

    def read_with(
        self,
        table: str,
        low: CommitOrder,
        xa: Collection[XaName],
        select: Callable[[Connection, TableRows], dict[RowKey, Row]],
    ) -> Chunk | None:
        """What `select` finds in a state of the table that contains what `SnapshotReader.read` says. It may close the
        connection. Raises as that does."""
        try:
            connection, visibility = self._open()
            rows_of = self._rows_of(connection, table)
            if not visibility.establish(low, xa):
                return None
            rows = {} if rows_of is None else select(connection, rows_of)
            if self._connection is not None:
                visibility.release()
            else:
                visibility = self._open()[1]
            return Chunk(rows, None, visibility.log_end())
        except pymysql.Error as error:
            self.close()
            if error.args and error.args[0] in _SHAPE_CHANGED and self._tables.pop(table, None) is not None:
                return None
            raise mysql_error(error, f"the snapshot of {table}") from error
        except BaseException:
            self.close()
            raise

    def check(self, tables: Sequence[str], datasets: Sequence[str] | None) -> None:
        """Raises as `Source.check_snapshot` does, and Unreachable. tables: that of the datasets among them."""
        try:
            connection, _ = self._open()
            found = [self._rows_of(connection, table) for table in tables]
            for dataset in datasets or ():
                if not any(query(connection, rows_of.has(dataset)) for rows_of in found if rows_of is not None):
                    raise UsageError(
                        f"the source has no dataset {dataset!r}",
                        hint="Names count case. A snapshot of all datasets withdraws one that vanished unseen.",
                    )
        except pymysql.Error as error:
            raise mysql_error(error, "the snapshot") from error

    def close(self) -> None:
        """At once, whatever the server was about to send."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection._force_close()  # type: ignore[attr-defined]

    def _open(self) -> tuple[Connection, Visibility]:
        if self._connection is None:
            self._connection = reading_session(self._source, self._identity, self._silence_s)
            if self._visibility is not None:
                self._visibility.connection = self._connection
        if self._visibility is None:
            of = MariadbVisibility if self._identity.connector == "mariadb" else MysqlVisibility
            self._visibility = of(self._connection)
        return self._connection, self._visibility

    def _rows_of(self, connection: Connection, table: str) -> TableRows | None:
        """None: it was there by a pattern, and is gone: it has no rows."""
        found = self._tables.get(table)
        if found is None:
            mapping, name = self._source.mapping, named(table, self._home)
            if name.table == mapping.dataset_table:
                beside = [other for other in followed_tables(self._source) if other.db == name.db]
                shapes = [present_shape(connection, other, mapping) for other in beside]
                shape = next((shape for shape in shapes if shape.exists), shapes[0])
                if not shape.exists and all(map(self._patterns.match, beside)) and not there(connection, name):
                    return None
                found = dataset_rows(shape, mapping)
            else:
                shape = present_shape(connection, name, mapping)
                if not shape.exists and self._patterns.match(name):
                    return None
                found = document_rows(shape)
                if (shape.engine or "").lower() in _NOT_TRANSACTIONAL:
                    raise PreflightRefused(
                        f"table {table} is stored by {shape.engine}, which shows rows before they are logged",
                        hint=f"ALTER TABLE {table} ENGINE = InnoDB.",
                    )
            self._tables[table] = found
        return found

    def _select(
        self, connection: Connection, rows_of: TableRows, after: tuple[str, ...] | None, dataset: str | None
    ) -> tuple[dict[RowKey, Row], tuple[str, ...] | None, bool]:
        """Rows, the key of the last one (None: the table has no more), and whether the server sent all it had to."""
        rows: dict[RowKey, Row] = {}
        size, taken, limit, last, whole = 0, 0, self._limit, None, True
        cursor = connection.cursor(SSCursor)
        try:
            cursor.execute(rows_of.select(rows_of.following(after, dataset), limit, dataset=dataset))
            read_rows_plainly(cursor)
            for row in iter(cursor.fetchone, None):
                key, value = rows_of.make(row)
                last, taken = row, taken + 1
                if dataset is None or key.dataset_id == dataset:
                    rows[key] = value
                size += size_of(value)
                if size >= self._chunk_bytes and taken < limit:
                    whole = False
                    break
        except UnicodeDecodeError as error:
            abandon(cursor)
            raise UnsupportedChange(f"a row of {rows_of.name} holds text that is not in its character set") from error
        except BaseException:
            abandon(cursor)
            raise
        if not whole:
            abandon(cursor)
            self._limit = taken
        elif size < self._chunk_bytes // 2:
            self._limit = min(limit * 2, self._source.snapshot_chunk_rows)
        more = not whole or taken == limit
        return rows, tuple(last[at] for at in rows_of.key) if more and last is not None else None, whole


def reading_session(source: SourceSettings, identity: SourceIdentity, silence_s: float = SILENCE_S) -> Connection:
    """A connection whose SELECTs give values as `snapshot_rows` takes them, each in one consistent state.

    Raises Unreachable, AuthenticationFailed, ForeignLog when another server than that of `identity` answers, and
    pymysql.Error.
    """
    connection = open_connection(source, lock_wait_s=LOCK_WAIT_S)
    connection._read_timeout = silence_s  # type: ignore[attr-defined]
    try:
        mariadb = identity.connector == "mariadb"
        found = query(connection, f"SELECT {'@@server_id' if mariadb else '@@server_uuid'}")[0][0]
        expected = identity.server_id if mariadb else identity.uuid
        if str(found) != str(expected):
            raise ForeignLog(
                f"the snapshot's connection reached server {found}, and the binlog is that of {expected}",
                hint="Let source.url name one server, not a balancer in front of several.",
            )
        query(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        query(connection, f"SET SESSION {'max_statement_time' if mariadb else 'max_execution_time'} = 0")
    except BaseException:
        connection.close()
        raise
    connection.decoders = {}  # values as they are sent: text as text, bytes as bytes
    return connection


def read_rows_plainly(cursor: SSCursor) -> None:
    """PyMySQL takes a row apart with several calls for each value, which cost more than all else in a snapshot. This
    does the same in one loop (a text row is length-encoded strings; 0xFB is NULL)."""
    result = cursor._result  # type: ignore[attr-defined]
    texts = [encoding is not None for encoding, _ in result.converters]

    def read(packet: Any) -> list[str | bytes | None]:
        data, at = packet.get_all_data(), 0
        row: list[str | bytes | None] = []
        for text in texts:
            size = data[at]
            at += 1
            if size >= 0xFB:
                if size == 0xFB:
                    row.append(None)
                    continue
                width = _WIDTHS[size]
                size = int.from_bytes(data[at : at + width], "little")
                at += width
            value = data[at : at + size]
            at += size
            row.append(value.decode() if text else value)
        if at != len(data):
            raise CorruptedLog(f"a row of {len(data)} bytes has its last value end at {at}")
        return row

    result._read_row_from_packet = read


def abandon(cursor: SSCursor) -> None:
    """Left alone, the cursor would take in everything that the server still sends, up to gigabytes. The caller closes
    the connection instead."""
    result = cursor._result  # type: ignore[attr-defined]
    if result is not None:
        result.unbuffered_active = False
        result.connection = None
    cursor.connection = None  # type: ignore[assignment]
