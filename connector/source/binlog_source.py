"""MySQL and MariaDB as a `Source`: identity, head, and the stream with its snapshot.

Reads only: nothing here writes to the source, takes a lock, or decides where to go on after an error.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import pymysql

from connector.errors import ConnectionLost, ForeignLog, NotYet, PositionLost, PreflightRefused, VecsyncError
from connector.model import SourceIdentity, SourcePosition, TableName
from connector.settings import Settings
from connector.source import Stream
from connector.source.binlog.connection import dump_from_position
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.gtid import GtidSet, MariadbGtidList
from connector.source.binlog.server_errors import from_server
from connector.source.binlog_failover import OtherServer, executed_at
from connector.source.binlog_library import library_decoder
from connector.source.binlog_proof import find_mark, refuse_another_log
from connector.source.binlog_stream import BinlogStream, file_number
from connector.source.binlog_tables import SourceTables
from connector.source.marks import mark_of
from connector.source.present import SqlRows
from connector.source.snapshot import SnapshotPlan, SnapshottingStream
from connector.source.snapshot_reader import SILENCE_S, SqlSnapshotReader
from connector.source.snapshot_visibility import MariadbVisibility, MysqlVisibility
from connector.source.twins import TwinCheck
from connector.upstream.mysql import LOCK_WAIT_S, open_connection
from connector.upstream.presence import rows_or_gone
from connector.upstream.tables import called, home_of

_T = TypeVar("_T")
Connection: TypeAlias = "pymysql.Connection[Any]"

_LOOK_S = 0.05
_VISIBLE_S = 3.0  # for what is being committed; who waits longer looks after other things in between


class BinlogSource:
    """Fulfils `Source`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = settings.source
        self._prefix = settings.topics.prefix
        self._home = home_of(self._source)
        self._tables = SourceTables(self._source, self._answer)
        self._connection: Connection | None = None

    def identity(self) -> SourceIdentity:
        found = self._row("SELECT @@version, @@server_id, @@log_bin_basename")
        version, server_id, base = found
        base_name = None if base is None else str(base).replace("\\", "/").rsplit("/", 1)[-1]
        if "mariadb" in version.lower():
            (domain,) = self._row("SELECT @@gtid_domain_id")
            return SourceIdentity("mariadb", None, base_name, 0, int(server_id), int(domain))
        (uuid,) = self._row("SELECT @@server_uuid")
        return SourceIdentity("mysql", uuid, base_name, 0, int(server_id), 0)

    def head(self) -> SourcePosition:
        identity = self.identity()
        file, position, gtids = binlog_end(self._open(), identity.connector)
        return SourcePosition(identity, file=file, position=position, gtid_set=gtids)

    def start(self, epoch: int) -> SourcePosition:
        at = self.head()
        return SourcePosition(
            at.identity,
            epoch=epoch,
            gtid_set=self._executed_at(at),
            file=at.file,
            position=at.position,
            mark=find_mark(self._connect(), at.file, at.position, self._source.heartbeat_s),
            snapshot_done=self._source.snapshot == "no_data",
        )

    def _executed_at(self, at: SourcePosition) -> str | None:
        """Exactly the GTIDs before the end of the log: MySQL shows the two one after the other."""
        if at.identity.connector == "mariadb" or at.gtid_set is None:
            return at.gtid_set
        with _answers():
            executed = executed_at(self._open(), self._connect, at.file, at.position, self._source.heartbeat_s)
            return executed or self._server().gtids_before(at.file, at.position)

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:
        with _answers():
            return self._server().adopt(recorded, standing)

    def place(self, where: str) -> SourcePosition:
        file, _, position = where.rpartition(":")
        with _answers():
            if position.isdigit() and re.fullmatch(r".+\.\d+", file):
                return self._server().at(file, int(position))
            mariadb = self.identity().connector == "mariadb"
            gtids = str(MariadbGtidList.parse(where) if mariadb else GtidSet.parse(where))
            return self._server().after(gtids)

    def _server(self) -> OtherServer:
        return OtherServer(self._open(), self._connect, self.identity(), self._source.heartbeat_s)

    def claim(self, after: SourcePosition) -> SourcePosition:
        """Orders are the source's own: nothing has to be added."""
        return after

    def stream(self, after: SourcePosition) -> Stream:
        identity = self.identity()
        if identity != after.identity:
            raise ForeignLog(f"the source was {after.identity}, and is {identity} now")
        files = self._refuse_lost(after)
        if self._tables.may_come:
            self._wait_until_visible(after, identity)
            self._tables.refuse_more()
        end = self.head()
        shapes = self._tables.shapes()
        by_library = self._source.reader == "mysql-replication"
        following = self._tables.following(
            shapes,
            (file_number(end.file), end.position),
            ignores_case=bool(self._row("SELECT @@lower_case_table_names")[0]),
            decode=library_decoder(mariadb=identity.connector == "mariadb") if by_library else None,
        )
        there = [shape for shape in shapes if shape.exists]
        twins = TwinCheck(there, self._source.mapping.dataset_table, self._rows_or_gone)
        file = after.open_file or after.file
        position = after.open_position if after.open_file else after.position
        decoder = Decoder(following, file, position, compressed=not by_library)
        reader = dump_from_position(
            self._connect(),
            server_id=self._source.server_id or derived_server_id(self._prefix),
            file=file,
            position=position,
            heartbeat_s=self._source.heartbeat_s,
        )
        stream: Stream = BinlogStream(
            reader,
            decoder,
            following,
            after,
            connector=identity.connector,
            name=self._prefix,
            twins=twins if twins.needed else None,
            prove=lambda: self._refuse_another_log(after, files),
        )
        if after.snapshot_done:
            return stream
        return SnapshottingStream(
            stream,
            SqlSnapshotReader(self._source, identity),
            after.snapshot,
            self._plan(identity),
            patience_s=self._source.reconnect_max_s,
        )

    def behind(self, at: SourcePosition) -> int | None:
        sizes = {str(name): int(size) for name, size, *_ in self._rows("SHOW BINARY LOGS")}
        if at.file not in sizes:
            return None
        later = (size for name, size in sizes.items() if file_number(name) > file_number(at.file))
        return max(0, sizes[at.file] - at.position) + sum(later)

    def rows(self) -> SqlRows:
        identity = self.identity()
        return SqlRows(SqlSnapshotReader(self._source, identity), self._plan(identity))

    def check_snapshot(self, datasets: Sequence[str] | None, tables: Sequence[TableName]) -> None:
        identity = self.identity()
        reader = SqlSnapshotReader(self._source, identity)
        try:
            order = self._plan(identity).order([called(name, self._home) for name in tables])
            reader.check(order, datasets)
        finally:
            reader.close()

    def _plan(self, identity: SourceIdentity) -> SnapshotPlan:
        return SnapshotPlan(
            connector=identity.connector,
            name=self._prefix,
            server_id=identity.server_id,
            db=self._home,
            dataset_table=self._source.mapping.dataset_table,
            tables=[called(name, self._home) for name in self._tables.names],
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> Connection:
        if self._connection is None or not self._connection.open:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        """A server, or a network, that falls silent in the middle of an answer is given up after a while."""
        connection = open_connection(self._source, lock_wait_s=LOCK_WAIT_S)
        connection._read_timeout = SILENCE_S  # type: ignore[attr-defined]
        return connection

    def _row(self, sql: str, *args: Any) -> tuple[Any, ...]:
        """The first row."""
        rows = self._rows(sql, args)
        return rows[0] if rows else ()

    def _rows(self, sql: str, args: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        def question(connection: Connection) -> Sequence[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(sql, args)
                return list(cursor.fetchall())

        return self._answer(question)

    def _rows_or_gone(self, sql: str, args: Sequence[Any]) -> Sequence[tuple[Any, ...]] | None:
        return self._answer(lambda connection: rows_or_gone(connection, sql, args))

    def _answer(self, question: Callable[[Connection], _T]) -> _T:
        """The connection is opened again when it was lost since the last question."""
        for attempt in (0, 1):
            try:
                return question(self._open())
            except pymysql.MySQLError as error:
                self.close()
                failure = _failure(error)
                if attempt or not isinstance(failure, ConnectionLost) or isinstance(failure, NotYet):
                    raise failure from error
        raise AssertionError("unreachable")

    def _refuse_another_log(self, after: SourcePosition, files: Collection[str]) -> None:
        """Where the file of the mark was purged, and that of the position was not, the time at which the latter was
        begun has to do: no transaction of it was seen yet."""
        if after.mark is not None and after.mark.file in files:
            refuse_another_log(self._connect(), after.mark, self._source.heartbeat_s)

    def _refuse_lost(self, after: SourcePosition) -> Collection[str]:
        """A position past the end of its file means that the server lost transactions that were published. Returns the
        files that the server has."""
        file = after.open_file or after.file
        try:
            with self._open().cursor() as cursor:
                cursor.execute("SHOW BINARY LOGS")
                sizes = {row[0]: int(row[1]) for row in cursor.fetchall()}
        except pymysql.MySQLError as error:
            raise _failure(error) from error
        if file not in sizes:
            raise PositionLost(f"the source no longer has {file}, from which reading has to go on")
        if after.file in sizes and after.position > sizes[after.file]:
            raise ForeignLog(
                f"{after.file} ends at {sizes[after.file]} on the source, and was read up to {after.position} before: "
                "the source was reset, or lost transactions in a crash"
            )
        return sizes

    def _wait_until_visible(self, after: SourcePosition, identity: SourceIdentity) -> None:
        """What stands before the place where a snapshot begins is not read in the log. So the catalogue has to show the
        tables that came there, and it may be behind the log (`snapshot_visibility.py`)."""
        if after.snapshot_done or after.snapshot is not None:
            return
        deadline = time.monotonic() + _VISIBLE_S
        with _answers():
            connection = self._open()
            of = MariadbVisibility if identity.connector == "mariadb" else MysqlVisibility
            visibility = of(connection)
            while not visibility.establish(mark_of(after), ()):
                if time.monotonic() > deadline:
                    raise NotYet(f"the source does not show yet what is in its log before {after.position}")
                time.sleep(_LOOK_S)
            visibility.release()


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except pymysql.MySQLError as error:
        raise _failure(error) from error


def _failure(error: pymysql.MySQLError) -> VecsyncError:
    """What PyMySQL found out by itself has no number, or 0."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[-1]) if error.args else str(error)
    return from_server(code, text)


def binlog_end(connection: Connection, connector: str) -> tuple[str, int, str | None]:
    """(file, position, executed GTIDs) at the end of the log. Raises PreflightRefused when there is no binlog.

    SHOW MASTER STATUS is gone from MySQL 8.4, its successor is not in MySQL 5.7 and MariaDB.
    """
    statements = ["SHOW MASTER STATUS", "SHOW BINLOG STATUS"]
    if connector == "mysql":
        statements = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"]
    row = None
    failure: pymysql.MySQLError | None = None
    with connection.cursor() as cursor:
        for statement in statements:
            try:
                cursor.execute(statement)
                row = cursor.fetchone()
                failure = None
                break
            except (pymysql.err.ProgrammingError, pymysql.err.NotSupportedError) as error:
                failure = error
            except pymysql.MySQLError as error:
                raise _failure(error) from error
        if failure is not None:
            raise _failure(failure) from failure
        if row is None:
            raise PreflightRefused("the source writes no binlog", hint="Set log_bin in the server's configuration.")
        # The GTIDs of exactly that place: the log may have grown since.
        if connector == "mariadb":
            cursor.execute("SELECT BINLOG_GTID_POS(%s, %s)", (row[0], row[1]))
            (gtids,) = cursor.fetchone() or ("",)
        else:
            gtids = row[4]
    return row[0], int(row[1]), str(gtids or "").replace("\n", "") or None


def derived_server_id(prefix: str) -> int:
    """The same for the same prefix, and above the ids that people give to servers."""
    return 1_000_000_000 + zlib.crc32(prefix.encode()) % 3_000_000_000
