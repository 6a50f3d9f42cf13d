"""A stream that reads single rows again while it goes on: the rows whose last record in the log may be an old one.

It is the way a chunk of a snapshot is published (`snapshot.py`), for rows that are named: they are selected when the
SELECT sees everything that the stream has yielded, the end of the log after the SELECT is their mark, what the stream
yields on the way there takes their place, and the rest is yielded when the stream stands at the mark. A row that is
gone is yielded as a deletion. Nothing is read before the stream has passed everything that the repair must be above.
Pure but for its clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from connector.errors import ForeignLog, Unreachable
from connector.model import (
    Change,
    CommitOrder,
    Dataset,
    DatasetChange,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorReason,
    Op,
    PackedRows,
    SourcePosition,
    Transaction,
)
from connector.source import RowKey, RowReader, Rows, Stream, XaName
from connector.source.marks import mark_of
from connector.wire import packed_key

log = logging.getLogger("connector.source.reread")

_ROWS = 500  # read at a time
_LISTEN_S = 0.02  # while rows wait for the stream to come to their mark
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 1.0  # before what cannot be seen yet is asked for again


class _Pending:
    """Rows that wait for the stream to come to their mark. None: gone.

    `unread` counts transactions on the way whose changes were not taken to the end: what they hold is not known, so the
    rows are read again.
    """

    __slots__ = ("high", "info", "keys", "low", "rows", "table", "unread")

    def __init__(self, table: str, low: CommitOrder, found: Rows) -> None:
        self.table = table
        self.keys = found.keys
        self.low = low
        self.rows = {key: found.rows.get(key) for key in found.keys}
        self.high = found.high._replace(epoch=low.epoch)
        self.info = found.info
        self.unread = 0

    def passed(self, change: Change | PackedRows) -> None:
        """The stream yielded this change on the way."""
        of, here = change.source, self.info
        if of.db != here.db:
            return
        if isinstance(change, PackedRows):
            if of.table == here.table:
                for row in change.rows:
                    self.rows.pop(packed_key(row), None)
        elif not isinstance(change, Floor):
            if isinstance(change, DatasetChange) or of.table == here.table:
                self.rows.pop(change.key, None)
        elif change.reason is FloorReason.SNAPSHOT and change.order > self.low:
            self.rows = dict.fromkeys(self.rows)  # the whole database was dropped
        elif of.table == here.table and change.order > self.low:
            # The floor that ends a snapshot is a lower one: what was read here stands above it.
            for key in self.rows:
                if isinstance(key, DocKey) and change.key.dataset_id in (None, key.dataset_id):
                    self.rows[key] = None


class RereadingStream:
    """Fulfils `Stream`, around another one. open_rows: None where the source has nothing to read rows with."""

    def __init__(self, inner: Stream, open_rows: Callable[[], RowReader | None]) -> None:
        self._inner = inner
        self._open_rows = open_rows
        self._reader: RowReader | None = None
        self._wanted: dict[tuple[str, RowKey], CommitOrder] = {}
        self._pending: _Pending | None = None
        self._held: Transaction | None = None  # begins at or after the mark of the pending rows
        self._at = inner.position()  # before the transaction that is held
        self._xa: set[XaName] = set()  # streamed since the rows were last read, or the reader was opened
        self._none_below: CommitOrder | None = None  # no row that is wanted may be read below this mark
        self._not_before = 0.0
        self._pause_s = _FIRST_PAUSE_S

    def ask(self, table: str, key: RowKey, above: CommitOrder) -> None:
        """Has a row yielded again, on a mark that is not below `above`. Raises ForeignLog when that cannot be done."""
        if self._reader is None:
            self._reader = self._open_rows()
            if self._reader is None:
                raise ForeignLog(
                    f"an old record may stand last under {key}, and this source has no way to read its row again",
                    hint="End every capture of this prefix, then run `vecsync capture snapshot` and start one again.",
                )
        self._wanted[table, key] = max(above, self._wanted.get((table, key), above))
        self._none_below = None

    def position(self) -> SourcePosition:
        return self._at if self._held is not None else self._inner.position()

    def reached(self, head: SourcePosition) -> bool:
        return not (self._wanted or self._pending or self._held) and self._inner.reached(head)

    def proven(self) -> bool:
        return self._inner.proven()

    def close(self) -> None:
        self._close_reader()
        self._inner.close()

    def _close_reader(self) -> None:
        """A reader is told of every prepared transaction that was streamed since it began; others, not."""
        reader, self._reader = self._reader, None
        self._xa.clear()
        if reader is not None:
            reader.close()

    def next(self, timeout_s: float) -> Transaction | None:
        if not (self._wanted or self._pending or self._held):
            if self._reader is not None:
                self._close_reader()
            return self._inner.next(timeout_s)
        deadline = time.monotonic() + timeout_s
        while True:
            pending = self._pending
            if pending is not None and self._stands_at(pending.high):
                transaction = self._publish(pending)
                if transaction is not None:
                    return transaction
            if self._held is not None:
                transaction, self._held = self._held, None
                return self._passed(transaction)
            if self._pending is None and time.monotonic() >= self._not_before and self._read():
                continue
            left = deadline - time.monotonic()
            at = self._inner.position()
            transaction = self._inner.next(max(0.001, min(left, _LISTEN_S)))
            pending = self._pending
            if transaction is None:
                if left <= 0 and (pending is None or not self._stands_at(pending.high)):
                    return None
            elif pending is not None and _begins_above(transaction, pending.high):
                # The stream stepped over the mark on its way to this one; the rows go first.
                self._held, self._at = transaction, at
            else:
                return self._passed(transaction)

    def _stands_at(self, high: CommitOrder) -> bool:
        return self._held is not None or mark_of(self._inner.position()) >= high

    def _passed(self, transaction: Transaction) -> Transaction:
        if transaction.xa is not None:
            self._xa.add(transaction.xa)
        pending = self._pending
        if pending is not None:
            pending.unread += 1
            transaction.changes = _observed(transaction.changes, pending)
        return transaction

    def _read(self) -> bool:
        """The next rows that may be read now; False: none."""
        low = mark_of(self._inner.position())
        if not self._wanted or not self._inner.proven() or (self._none_below is not None and low < self._none_below):
            return False
        due = [place for place, above in self._wanted.items() if above <= low]
        if not due:
            self._none_below = min(self._wanted.values())
            return False
        table = due[0][0]
        kind = type(due[0][1])
        keys = [key for of, key in due if of == table and type(key) is kind][:_ROWS]
        assert self._reader is not None
        try:
            found = self._reader.read(table, keys, low, self._xa)
        except Unreachable as error:
            if not error.retriable:
                raise
            log.warning("rows will be read again", extra={"table": table, "error": str(error)})
            found, self._pause_s = None, _LONGEST_PAUSE_S
        if found is None or found.high[1:] < low[1:]:  # a log that ends before the stream is another one
            self._not_before = time.monotonic() + self._pause_s
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
            return False
        self._pause_s = _FIRST_PAUSE_S
        self._xa.clear()
        self._pending = _Pending(table, low, found)
        for key in found.keys:
            del self._wanted[table, key]  # asked for again meanwhile, it is read again
        return True

    def _publish(self, pending: _Pending) -> Transaction | None:
        """The stream stands at the mark. None: what was read cannot be used and will be read again."""
        self._pending = None
        if pending.unread:
            for key in pending.keys:
                self._wanted.setdefault((pending.table, key), pending.low)
            self._none_below = None
            return None
        high = pending.high
        return Transaction(f"{pending.info.file or high.file}:{high.position}", _changes(pending), self.position())


def _begins_above(transaction: Transaction, high: CommitOrder) -> bool:
    """By the order of its first change: where it ends does not tell it from a chunk of a snapshot, which stands on a
    mark before that."""
    changes = iter(transaction.changes)
    first = next(changes, None)
    transaction.changes = () if first is None else chain((first,), changes)
    return first is not None and first.order > high


def _observed(changes: Iterable[Change | PackedRows], pending: _Pending) -> Iterator[Change | PackedRows]:
    for change in changes:
        pending.passed(change)
        yield change
    pending.unread -= 1


def _changes(pending: _Pending) -> Iterator[Change]:
    order, info = pending.high, pending.info
    for key, row in pending.rows.items():
        op = Op.DELETE if row is None else Op.READ
        if isinstance(key, DocKey):
            assert row is None or isinstance(row, Document)
            yield DocChange(op, key, 0 if row is None else row.scn, row, order, info)
        else:
            assert row is None or isinstance(row, Dataset)
            yield DatasetChange(op, key, row, order, info)
