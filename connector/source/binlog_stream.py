"""Committed transactions out of a stream of binlog events: the glue between connection, decoder and publisher.

Rows are held back until their transaction has committed, on disk when they are many, and decoded when they are taken.
Rows of a prepared (XA) transaction are held until it is committed, and count there; the position then remembers where
the earliest open one begins, because that is where reading has to go on after a restart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from connector.errors import CorruptedLog, DataRefused, ForeignLog, TableAppeared, UnsupportedChange
from connector.model import Change, PackedRows, SourcePosition, Transaction
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import EventType
from connector.source.binlog.gtid import Gtid, GtidSet, MariadbGtid, MariadbGtidList
from connector.source.binlog.heads import Xid
from connector.source.binlog.items import (
    Item,
    Outcome,
    Savepoint,
    StatementItem,
    TransactionBegin,
    TransactionEnd,
    XaOutcome,
)
from connector.source.binlog.marks import MARKING, Marks
from connector.source.binlog.rows import Rows
from connector.source.binlog_bridge import Bridge
from connector.source.binlog_changes import TransactionOrigin, changes
from connector.source.binlog_following import Followed
from connector.source.binlog_skip import GTIDS, Skip
from connector.source.row_buffer import RowBuffer
from connector.source.twins import TwinCheck

log = logging.getLogger("connector.source.binlog")


class EventReader(Protocol):
    """The connection: raw events, one at a time."""

    def read_event(self, timeout: float) -> bytes | None:
        """None when there was none within the time. Raises ConnectionLost, PositionLost, DuplicateServerId."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Prepared:
    rows: RowBuffer
    file: str
    position: int


def file_number(name: str) -> int:
    """Of a binlog file: `binlog.000017` is 17. Raises CorruptedLog."""
    try:
        return int(name.rsplit(".", 1)[1])
    except (IndexError, ValueError):
        raise CorruptedLog(f"binlog file name {name!r} does not end in a number") from None


def _in_transaction(error: DataRefused, gtid: object) -> DataRefused:
    """The same, with the name under which the transaction can be left out."""
    return type(error)(f"{error} (transaction {gtid})", hint=error.hint)


class BinlogStream:
    """Fulfils `Stream`; without snapshots."""

    def __init__(
        self,
        reader: EventReader,
        decoder: Decoder,
        following: Followed,
        after: SourcePosition,
        *,
        connector: str,
        name: str,
        twins: TwinCheck | None = None,
        prove: Callable[[], None] = lambda: None,
    ) -> None:
        """The reader begins at `after.open_file` and `open_position` where these are set, else at file and position.
        twins: where datasets may be equal to the source that are not to others. prove: called once, when the server
        has opened the log and nothing of it was looked at yet; raises ForeignLog unless it is the one that was read."""
        self._twins = twins
        self._prove = prove
        self._heard = self._proven = False
        self._marks = Marks(after.mark)
        self._bridge = Bridge(after.bridge, connector)
        self._skip = Skip(after.skipped)
        self._reader = reader
        self._decoder = decoder
        decoder.known = self._known
        self._following = following
        self._connector = connector
        self._name = name
        self._at = after
        self._dealt_with = (file_number(after.file), after.position)
        self._gtids: GtidSet | MariadbGtidList = (MariadbGtidList if connector == "mariadb" else GtidSet).parse(
            after.gtid_set or ""
        )
        self._prepared: dict[Xid, _Prepared] = {}
        self._begin: TransactionBegin | None = None
        self._new = True  # that transaction, which was not dealt with before
        self._xid: Xid | None = None  # of the prepared transaction that the present one commits
        self._rows = RowBuffer()
        self._items: Iterator[Item] = iter(())

    def position(self) -> SourcePosition:
        if not self._decoder.in_transaction and self._begin is None and not self._skip.inside:
            self._move(*self._decoder.position)
        return self._at

    def reached(self, head: SourcePosition) -> bool:
        at = self.position()
        if not self.proven() or not at.file_began:
            return False  # it is not known yet whether this is the log that was recorded
        return (file_number(at.file), at.position) >= (file_number(head.file), head.position)

    def proven(self) -> bool:
        return self._proven

    def close(self) -> None:
        self._reader.close()
        self._rows.close()
        for prepared in self._prepared.values():
            prepared.rows.close()

    def next(self, timeout_s: float) -> Transaction | None:
        try:
            return self._next(timeout_s)
        except TableAppeared:
            raise
        except (UnsupportedChange, CorruptedLog) as error:
            gtid = self._begin.gtid if self._begin is not None else self._decoder.transaction
            if not gtid:
                raise
            raise _in_transaction(error, gtid) from error

    def _next(self, timeout_s: float) -> Transaction | None:
        deadline = time.monotonic() + timeout_s
        left = timeout_s
        while True:
            for item in self._items:
                transaction = self._take(item)
                if transaction is not None:
                    return transaction
            # Only here, where every item of the last event was taken, may `position` be asked for.
            if left <= 0 < timeout_s and self._begin is None:
                return None
            event = self._reader.read_event(max(left, 0.0))
            if event is None:
                return None
            if self._skip and self._skip.takes(event, crc32=self._decoder.format.crc32):
                self._leave_out(event)
                left = deadline - time.monotonic()
                continue
            self._items = iter(self._decoder.feed(event))
            kind = event[4]
            if kind in MARKING:
                self._marks.saw(event, *self._decoder.position, crc32=self._decoder.format.crc32)
            elif kind == EventType.FORMAT_DESCRIPTION:
                self._refuse_another_log()
            left = deadline - time.monotonic()

    def _leave_out(self, event: bytes) -> None:
        gtid = self._skip.left_out
        if event[4] in GTIDS and self._is_new(gtid, *self._decoder.position):
            log.warning("transaction left out, as recorded", extra={"gtid": str(gtid)})
            self._add(gtid)
        self._decoder.pass_over(event)

    def _refuse_another_log(self) -> None:
        """Positions and GTIDs begin anew after a reset, and may look as if the log just went on."""
        at, decoder = self._at, self._decoder
        if not self._heard:
            # Not before: a log that is reset now does not become the one that the server has opened already.
            self._heard = True
            self._prove()
        if decoder.position[0] != at.file or not decoder.file_began:
            return
        self._proven = True
        if not at.file_began:
            self._at = replace(at, file_began=decoder.file_began)
        elif at.file_began != decoder.file_began:
            began, recorded = (datetime.fromtimestamp(t, UTC).isoformat() for t in (decoder.file_began, at.file_began))
            raise ForeignLog(
                f"{at.file} was begun at {began} on the source, and the one that was read before at {recorded}: "
                "the source was reset, or is another server"
            )

    def _take(self, item: Item) -> Transaction | None:
        if isinstance(item, Rows | StatementItem):
            if self._new and isinstance(item, StatementItem) and self._begin is not None:
                self._following.look(item.statement, (file_number(self._begin.file), self._begin.position))
            self._rows.add(item)
        elif isinstance(item, TransactionBegin):
            self._begin = item
        elif isinstance(item, Savepoint):
            if item.rollback:
                self._rows.roll_back_to(item.name)
            else:
                self._rows.savepoint(item.name)
        elif isinstance(item, XaOutcome):
            self._end_prepared(item)
        elif isinstance(item, TransactionEnd):
            return self._end(item)
        return None

    def _end_prepared(self, outcome: XaOutcome) -> None:
        prepared = self._prepared.pop(outcome.xid, None)
        if prepared is None:
            if outcome.commit and self._new:
                raise UnsupportedChange(
                    f"XA transaction {outcome.xid} is committed, and was prepared before reading began",
                    hint="Run `vecsync capture snapshot`: it reads all rows again.",
                )
            return
        if outcome.commit:
            self._rows.close()
            self._rows = prepared.rows
            self._xid = outcome.xid
        else:
            prepared.rows.close()

    def _known(self, begin: TransactionBegin) -> bool:
        self._new = self._is_new(begin.gtid, begin.file, begin.position)
        return not self._new

    def _is_new(self, gtid: Gtid | MariadbGtid | None, file: str, position: int) -> bool:
        """False for what is read again only to find the transactions that were prepared in it, and for what was dealt
        with on another server."""
        if (file_number(file), position) < self._dealt_with:
            return False
        return not (self._bridge and self._bridge.passes(gtid, file, position))

    def _end(self, end: TransactionEnd) -> Transaction | None:
        begin, rows = self._begin, self._rows
        if begin is None:
            raise CorruptedLog(f"a transaction ends at {end.file}:{end.position} that never began")
        self._begin, self._rows = None, RowBuffer()
        xid, self._xid = self._xid, None
        if end.outcome is Outcome.PREPARED:
            assert end.xid is not None
            self._prepared[end.xid] = _Prepared(rows, begin.file, begin.position)
        if not self._new:
            if end.outcome is not Outcome.PREPARED:
                rows.close()
            return None
        self._add(begin.gtid)
        self._move(end.file, end.position)
        if end.outcome is Outcome.PREPARED:
            return None
        if end.outcome is Outcome.ROLLBACK or not len(rows):
            rows.close()
            return None
        origin = TransactionOrigin(
            self._connector,
            self._name,
            self._at.epoch,
            begin.file,
            file_number(begin.file),
            begin.position,
            begin.commit_us,
            begin.server_id,
            None if begin.gtid is None else str(begin.gtid),
        )
        return Transaction(origin.gtid or f"{begin.file}:{begin.position}", self._changes(rows, origin), self._at, xid)

    def _changes(self, rows: RowBuffer, origin: TransactionOrigin) -> Iterator[Change | PackedRows]:
        try:
            made = changes(rows.drain(), origin, self._following)
            yield from made if self._twins is None else self._twins(made)
        except (UnsupportedChange, CorruptedLog) as error:
            if not origin.gtid:
                raise
            raise _in_transaction(error, origin.gtid) from error
        finally:
            rows.close()

    def _add(self, gtid: Gtid | MariadbGtid | None) -> None:
        gtids = self._gtids
        if isinstance(gtid, Gtid):
            assert isinstance(gtids, GtidSet), "MySQL's GTIDs from a server that is not MySQL"
            self._gtids = gtids.add(gtid)
        elif isinstance(gtid, MariadbGtid):
            assert isinstance(gtids, MariadbGtidList), "MariaDB's GTIDs from a server that is not MariaDB"
            self._gtids = gtids.add(gtid)

    def _move(self, file: str, position: int) -> None:
        at = self._at
        if at.file == file and at.position == position:
            return
        if (file_number(file), position) < self._dealt_with:
            return
        first = min(self._prepared.values(), key=lambda p: (file_number(p.file), p.position), default=None)
        self._at = replace(
            at,
            file=file,
            position=position,
            file_began=self._decoder.file_began if self._decoder.position[0] == file else 0,
            gtid_set=str(self._gtids) or None,
            mark=self._marks.last(),
            bridge=str(self._bridge) if self._bridge else "",
            open_file=first.file if first else "",
            open_position=first.position if first else 0,
        )
