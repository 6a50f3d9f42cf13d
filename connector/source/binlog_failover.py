"""Going on with another server of the same replication: whether it may be done, and from where.

It may when everything that was published is on this server too. Otherwise what was published and lost would stay in
replicas, and the numbers of lost transactions may have been given to others. Nothing here writes to either server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pymysql

from connector.errors import DataRefused, ForeignLog, PositionLost, UsageError
from connector.model import SourceIdentity, SourcePosition
from connector.source.binlog.connection import probe_mariadb_gtids
from connector.source.binlog.events import HEADER_SIZE, EventType, parse_header
from connector.source.binlog.format import CHECKSUM_SIZE
from connector.source.binlog.gtid import Gtid, GtidSet, MariadbGtidList
from connector.source.binlog.position import FilePosition
from connector.source.binlog_peek import FIRST, peek
from connector.source.binlog_proof import find_mark
from connector.source.binlog_skip import GTIDS, gtid_of
from connector.source.snapshot_visibility import owned_gtids, query

Connection: TypeAlias = "pymysql.Connection[Any]"

WAYS_OUT = (
    "Let this server catch up, or point source.url at one that has them. If they are lost, run `vecsync capture "
    "snapshot`: the next run reads all rows again and withdraws what only the lost server had."
)
_PURGED = "Point source.url at a server that keeps its binlogs longer, or run `vecsync capture snapshot`."
_SETTLE_S = 1  # usually well under a millisecond
_BOUNDARY = "A position is where an event GTID begins in SHOW BINLOG EVENTS IN '...', or the end of a file."
_BETWEEN = GTIDS | {
    EventType.ANONYMOUS_GTID,
    EventType.PREVIOUS_GTIDS,
    EventType.MARIADB_GTID_LIST,
    EventType.BINLOG_CHECKPOINT,
    EventType.STOP,
}


class OtherServer:
    """The server that is there now. `connect` opens further connections to it, for one look each."""

    def __init__(
        self, connection: Connection, connect: Callable[[], Connection], identity: SourceIdentity, patience_s: float
    ) -> None:
        self._connection = connection
        self._connect = connect
        self._identity = identity
        self._patience_s = patience_s

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:
        """As `Source.adopt`."""
        was, now = recorded.identity, self._identity
        if was.connector != now.connector or not recorded.gtid_set:
            raise ForeignLog(
                f"the source is not the one that was recorded: recorded {was}, found {now}"
                + ("" if recorded.gtid_set else "; without GTIDs nothing tells what it has of the recorded one's log"),
                hint="Point source.url at the recorded server, use another topics.prefix, or run `vecsync capture "
                "snapshot`.",
            )
        return replace(
            self.after(recorded.gtid_set, standing),
            epoch=recorded.epoch + 1,
            skipped=recorded.skipped,
            snapshot_done=recorded.snapshot_done,  # one that was not done begins again
        )

    def after(self, gtids: str, standing: Collection[str] = ()) -> SourcePosition:
        """The position at which exactly these GTIDs were dealt with. Raises ForeignLog and PositionLost."""
        files = [str(row[0]) for row in query(self._connection, "SHOW BINARY LOGS")]
        place = self._on_mariadb if self._identity.connector == "mariadb" else self._on_mysql
        file, bridge = place(gtids, standing, files)
        return SourcePosition(self._identity, gtid_set=gtids, file=file, position=FIRST, bridge=bridge)

    def at(self, file: str, position: int) -> SourcePosition:
        """The position at that place. Raises UsageError unless a transaction begins there, or the log ends."""
        sizes = {str(row[0]): int(row[1]) for row in query(self._connection, "SHOW BINARY LOGS")}
        if file not in sizes:
            raise UsageError(
                f"the source has no binlog {file}", hint=f"It has {min(sizes)} to {max(sizes)}: SHOW BINARY LOGS."
            )
        if not FIRST <= position <= sizes[file]:
            raise UsageError(f"{file} ends at {sizes[file]} on the source, {position} is not in it", hint=_BOUNDARY)
        try:
            first = next(peek(self._connect(), file, position, self._patience_s), None)
        except DataRefused as error:
            raise UsageError(f"no event begins at {file}:{position}: {error}", hint=_BOUNDARY) from error
        if first is not None and first[0][4] not in _BETWEEN:
            raise UsageError(f"{file}:{position} is inside a transaction", hint=_BOUNDARY)
        return SourcePosition(
            self._identity,
            gtid_set=self.gtids_before(file, position),
            file=file,
            position=position,
            mark=find_mark(self._connect(), file, position, self._patience_s),
        )

    def gtids_before(self, file: str, position: int) -> str | None:
        """What the log says of that place itself. MySQL: read up to there, which takes a while in a large file."""
        if self._identity.connector == "mariadb":
            return query(self._connection, f"SELECT BINLOG_GTID_POS('{file}', {position})")[0][0] or None
        executed, at = GtidSet.decode(self._first(file, EventType.PREVIOUS_GTIDS) or bytes(8)), FilePosition(file)
        for event, crc32 in peek(self._connect(), file, FIRST, self._patience_s):
            if at.advance(parse_header(event), contiguous=False) >= position:
                break
            if event[4] in GTIDS and isinstance(gtid := gtid_of(event, crc32=crc32), Gtid):
                executed = executed.add(gtid)
        return str(executed) or None

    def _on_mysql(self, recorded: str, standing: Collection[str], files: Sequence[str]) -> tuple[str, str]:
        """(file to begin with, what of it to pass over)"""
        done = GtidSet.parse(recorded)
        executed, purged = (
            GtidSet.parse(str(text).replace("\n", ""))
            for text in query(self._connection, "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged")[0]
        )
        missing = done.union(GtidSet.parse(",".join(standing))).subtract(executed)
        if missing:
            raise _lacking(str(missing))
        gone = purged.subtract(done)
        if gone:
            raise PositionLost(f"the source purged transactions that were not published yet: {gone}", hint=_PURGED)
        for file in reversed(files):
            before = GtidSet.decode(self._first(file, EventType.PREVIOUS_GTIDS) or bytes(8))
            if before.is_subset(done):
                return file, str(done.subtract(before))
        raise PositionLost("no binlog of the source begins before what was not published yet", hint=_PURGED)

    def _on_mariadb(self, recorded: str, standing: Collection[str], files: Sequence[str]) -> tuple[str, str]:
        done = MariadbGtidList.parse(recorded)
        published = MariadbGtidList([*done, *(gtid for text in standing for gtid in MariadbGtidList.parse(text))])
        at = MariadbGtidList.parse(query(self._connection, "SELECT @@GLOBAL.gtid_binlog_pos")[0][0] or "")
        missing = [gtid for gtid in published if gtid not in at]
        if missing:
            raise _lacking(",".join(map(str, missing)))
        for gtids in (published, done):
            try:
                probe_mariadb_gtids(self._connect(), gtids, self._patience_s)
            except PositionLost:
                raise
            except DataRefused as error:
                raise _lacking(str(gtids), str(error)) from error
        for file in reversed(files):
            before = MariadbGtidList.decode(self._first(file, EventType.MARIADB_GTID_LIST) or bytes(4))
            if done.covers(before):
                return file, str(MariadbGtidList(gtid for gtid in done if before.of(gtid.domain) != gtid))
        raise PositionLost("no binlog of the source begins before what was not published yet", hint=_PURGED)

    def _first(self, file: str, kind: EventType) -> bytes | None:
        """Body of the event of that kind that stands before the first transaction of a file."""
        events = peek(self._connect(), file, FIRST, self._patience_s)
        try:
            for event, crc32 in events:
                if event[4] == kind:
                    return event[HEADER_SIZE : len(event) - CHECKSUM_SIZE * crc32]
                if event[4] != EventType.FORMAT_DESCRIPTION:
                    return None
            return None
        finally:
            events.close()


def executed_at(
    connection: Connection, connect: Callable[[], Connection], file: str, position: int, patience_s: float
) -> str | None:
    """MySQL: exactly the GTIDs that are executed or were purged before that place, which was the end of the log a
    moment ago. None: that cannot be said without reading the file: the log was rotated meanwhile, or somebody holds a
    GTID for long; or there are none.

    A transaction is in the log before it counts as executed, so it is waited for; what came after is taken off.
    """
    owned = query(connection, "SELECT @@GLOBAL.gtid_owned")[0][0]
    if owned and query(connection, f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{owned_gtids(owned)}', {_SETTLE_S})")[0][0]:
        return None
    executed = GtidSet.parse(str(query(connection, "SELECT @@GLOBAL.gtid_executed")[0][0]).replace("\n", ""))
    beyond = GtidSet()
    for event, crc32 in peek(connect(), file, position, patience_s):
        if event[4] in GTIDS and isinstance(gtid := gtid_of(event, crc32=crc32), Gtid):
            beyond = beyond.add(gtid)
    if query(connection, "SHOW BINARY LOGS")[-1][0] != file:
        return None
    return str(executed.subtract(beyond)) or None


def _lacking(gtids: str, why: str = "") -> ForeignLog:
    return ForeignLog(
        f"the source is another server now, and lacks transactions that were published: {gtids}"
        + (f" ({why})" if why else ""),
        hint=WAYS_OUT,
    )
