"""Whether a SELECT sees what a stream of the same server's binlog has yielded. Reads only; takes no lock.

A transaction is written to the binlog, and sent to its readers, before the storage engine shows it to others. With
semi-synchronous replication that waits for a replica in between (AFTER_SYNC) this takes as long as the replica does.
The end of the binlog therefore says nothing about a SELECT; these do:

MySQL   A transaction owns its GTID from before it is written to the binlog until after the engine has committed it, XA
        transactions included. So whatever was streamed is either visible or in `gtid_owned`; once all of those are in
        `gtid_executed`, a new SELECT sees everything that was streamed.
MariaDB `START TRANSACTION WITH CONSISTENT SNAPSHOT` excludes commits while it opens the snapshot, and
        `binlog_snapshot_file` and `_position` tell the place in the log that it contains everything before. Commits of
        prepared (XA) transactions do not take part: the log, and that place with it, may be ahead of them. Such a
        transaction is listed by XA RECOVER until the engine has committed it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import Any, Protocol, TypeAlias

import pymysql

from connector.errors import PreflightRefused
from connector.model import CommitOrder
from connector.source.binlog_stream import file_number
from connector.source.snapshot import LogEnd, XaName

Connection: TypeAlias = "pymysql.Connection[Any]"

_PATIENCE_S = 0.05  # for what is being committed: usually well under a millisecond. The stream stands still meanwhile.
_SETTLE_S = 1.0
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_OWNER = re.compile(r"#\d+")


class Visibility(Protocol):
    """Of one connection, which must commit each statement by itself; after a loss it goes on over another."""

    connection: Connection

    def establish(self, low: CommitOrder, xa: Collection[XaName]) -> bool:
        """True: SELECTs see everything below that mark, and the transactions of those names, until `release`.
        False: not yet. Raises pymysql.Error, PreflightRefused."""
        ...

    def release(self) -> None: ...

    def log_end(self) -> LogEnd:
        """Where the log ends now. Raises pymysql.Error, PreflightRefused."""
        ...


class MysqlVisibility:
    def __init__(self, connection: Connection) -> None:
        """Raises PreflightRefused without GTIDs."""
        self.connection = connection
        mode = query(connection, "SELECT @@GLOBAL.gtid_mode")[0][0]
        if mode != "ON":
            raise PreflightRefused(
                f"a snapshot cannot tell what it sees: gtid_mode is {mode} on the source",
                hint="Set enforce_gtid_consistency and gtid_mode to ON, or start with `source.snapshot: no_data`.",
            )

    def establish(self, low: CommitOrder, xa: Collection[XaName]) -> bool:  # noqa: ARG002 -- it needs to know neither
        owned = query(self.connection, "SELECT @@GLOBAL.gtid_owned")[0][0]
        if not owned:
            return True
        wait = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{owned_gtids(owned)}', {_PATIENCE_S})"
        late = query(self.connection, wait)[0][0]
        return int(late) == 0

    def release(self) -> None:
        """Nothing is held."""

    def log_end(self) -> LogEnd:
        try:
            return _log_end(self.connection, "SHOW BINARY LOG STATUS")
        except pymysql.err.ProgrammingError:  # before MySQL 8.2
            return _log_end(self.connection, "SHOW MASTER STATUS")


class MariadbVisibility:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._settled_at: float | None = None

    def establish(self, low: CommitOrder, xa: Collection[XaName]) -> bool:
        if not self._xa_visible(xa):
            return False
        query(self.connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        at = {name.lower(): value for name, value in query(self.connection, "SHOW STATUS LIKE 'binlog_snapshot_%'")}
        file, position = at.get("binlog_snapshot_file", ""), at.get("binlog_snapshot_position", "0")
        if file and CommitOrder(low.epoch, file_number(file), int(position), 0) >= low:
            return True
        self.release()
        return False

    def _xa_visible(self, xa: Collection[XaName]) -> bool:
        """Names of transactions that were streamed before this session began are not known. One whose commit was in
        progress then is given time: it is listed here for an instant, a prepared one for longer."""
        if self._settled_at is not None and not xa:
            return True
        listed = {_xa_name(row) for row in query(self.connection, "XA RECOVER")}
        now = time.monotonic()
        if self._settled_at is None:
            self._settled_at = now + _SETTLE_S if listed else now
        return now >= self._settled_at and listed.isdisjoint(xa)

    def release(self) -> None:
        query(self.connection, "COMMIT")

    def log_end(self) -> LogEnd:
        return _log_end(self.connection, "SHOW MASTER STATUS")


def owned_gtids(text: str) -> str:
    """The GTID set in `gtid_owned`, which is no GTID set: each number is followed by `#` and the thread that owns it,
    and nothing separates a thread from the server uuid after it (`...:tag:4#179da6a20e-e59b-...`)."""
    starts = [match.start() for match in _UUID.finditer(text)]
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return ",".join(_OWNER.sub("", part).strip(", \n") for part in parts)


def query(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    """All rows. Raises pymysql.Error."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def _log_end(connection: Connection, sql: str) -> LogEnd:
    rows = query(connection, sql)
    if not rows:
        raise PreflightRefused("the source writes no binlog", hint="Set log_bin in the server's configuration.")
    return LogEnd(rows[0][0], int(rows[0][1]))


def _xa_name(row: tuple[Any, ...]) -> XaName:
    """A row of XA RECOVER: format id, sizes of the two parts of the name, both parts in one."""
    format_id, gtrid_size, bqual_size, data = row
    name = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else bytes(data)
    gtrid = int(gtrid_size)
    return name[:gtrid], name[gtrid : gtrid + int(bqual_size)], int(format_id)
