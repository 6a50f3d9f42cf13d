"""A stream that takes a snapshot of its tables while it goes on: first snapshots and later ones alike. Pure but for
its clock.

The table is read in chunks by primary key, one at a time, between two transactions of the stream:

1. *Low mark.* The chunk is selected only when everything that the stream has yielded is visible to the SELECT. A
   transaction is in the log before the engine shows it, so the reader has to prove this (`SnapshotReader.read`).
2. *High mark.* After the SELECT the end of the log is asked for: everything that the SELECT saw is before it.
3. *Window.* The stream goes on up to the high mark. What it yields on the way is newer than the chunk, so the rows it
   names are dropped from the chunk, and so are all rows of a dataset or a table that it says is gone.
4. *Publication.* When the stream stands at the high mark, before any later transaction, the rest of the chunk is
   yielded, on the mark of that place: above everything before it, below everything after it.

The snapshot ends with a floor for each table at the mark where the snapshot began (one of single datasets, with a floor
for each of them; they are read one after the other). Rows that exist were published above
it; what is below it vanished while nobody was looking. It follows the last rows, so that nothing is hidden before its
present state stands in the log. A table that was floored meanwhile (TRUNCATE) gets none: its own floor is higher, and
has to stay the last record under its key.

A chunk is never published by half after a restart: the position of its transaction names the next chunk, and until that
is recorded the chunk is read anew. It must never hold more than one chunk, nor keep the stream waiting for a SELECT
that cannot see enough yet.

One module, though a long one: chunk, window and floors are one set of rules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple, Protocol

from connector.errors import NotYet, Unreachable
from connector.model import (
    Change,
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Op,
    PackedRows,
    SnapshotProgress,
    SourceInfo,
    SourcePosition,
    TableName,
    Transaction,
)
from connector.source import Stream
from connector.source.binlog_stream import file_number
from connector.upstream.tables import called, named
from connector.wire import packed_key

log = logging.getLogger("connector.source.snapshot")

RowKey = DocKey | DatasetKey
Row = Document | Dataset
XaName = tuple[bytes, bytes, int]

_LISTEN_S = 0.02  # while a chunk waits for the stream to come to its high mark, or for something to become visible
_LONGEST_PAUSE_S = 1.0  # between two looks whether it is visible; the stream goes on
_PATIENT_S = 10.0
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 0.1, 5.0


class LogEnd(NamedTuple):
    """A place in the log between two transactions."""

    file: str
    position: int


class Chunk(NamedTuple):
    """rows: in the order of the key. last_key: where the next chunk goes on; None: the table has no more rows.
    high: the end of the log, asked for after the rows had been read."""

    rows: Mapping[RowKey, Row]
    last_key: tuple[str, ...] | None
    high: LogEnd


class SnapshotReader(Protocol):
    """Reads chunks over a connection of its own."""

    def read(
        self,
        table: str,
        after: tuple[str, ...] | None,
        low: CommitOrder,
        xa: Collection[XaName],
        dataset: str | None = None,
    ) -> Chunk | None:
        """The rows of a table (of one dataset: exactly of this name) that follow a key (None: the first ones), in a
        state that contains everything below the mark `low`, and the transactions of these names, which were committed
        below it. None: that cannot be seen yet.

        Raises Unreachable and ConnectionLost (the chunk can be read again), and DataRefused or ConfigurationError when
        the table cannot be read as it is now.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SnapshotPlan:
    """What there is to read; its rows are published under `name` (the topic prefix). tables: `table` of the database
    `db`, or `database.table`; dataset_table: in each database."""

    connector: str
    name: str
    server_id: int
    db: str
    dataset_table: str
    tables: Sequence[str]

    def order(self, tables: Sequence[str]) -> tuple[str, ...]:
        """Datasets first: a replica then knows a document's dataset when the document comes."""
        found: dict[str, None] = {}
        for table in tables:
            found.setdefault(called(TableName(self.place(table).db, self.dataset_table), self.db))
            found.setdefault(table)
        return tuple(found)

    def place(self, table: str) -> TableName:
        return named(table, self.db)

    def table(self, source: SourceInfo) -> str:
        """The table that a change is of."""
        return called(TableName(source.db, source.table), self.db)

    def holds_datasets(self, table: str) -> bool:
        return self.place(table).table == self.dataset_table


class _Pending:
    """A chunk that waits for the stream to come to its high mark. A row that is None: the source has none.

    `unread` counts transactions of the window whose changes were not taken to the end: what they hold is not known, so
    a chunk that comes to its mark with any is thrown away and read again.
    """

    __slots__ = ("after", "high", "place", "rows", "table", "unread")

    def __init__(self, table: str, place: TableName, chunk: Chunk, after: SnapshotProgress | None) -> None:
        self.table = table
        self.place = place
        self.rows: dict[RowKey, Row | None] = dict(chunk.rows)
        self.high = chunk.high
        self.after = after
        self.unread = 0

    def drop(self, change: Change | PackedRows) -> None:
        """The stream yielded this change within the window."""
        source = change.source
        if source.db != self.place.db:
            return
        if isinstance(change, Floor) and change.reason is FloorReason.SNAPSHOT:
            self.rows.clear()  # the whole database was dropped
            return
        if source.table != self.place.table:
            return
        if isinstance(change, PackedRows):
            for row in change.rows:
                self.rows.pop(packed_key(row), None)
        elif not isinstance(change, Floor):
            self.rows.pop(change.key, None)
        elif change.key.dataset_id is None:
            self.rows.clear()
        else:
            gone = change.key.dataset_id
            self.rows = {key: row for key, row in self.rows.items() if key.dataset_id != gone}


class SnapshottingStream:
    """Fulfils `Stream`, around one that knows nothing of snapshots.

    patience_s: how long a reader that cannot reach the source is tried again before its error is raised.
    """

    def __init__(
        self,
        inner: Stream,
        reader: SnapshotReader,
        progress: SnapshotProgress | None,
        plan: SnapshotPlan,
        *,
        patience_s: float,
    ) -> None:
        self._inner = inner
        self._reader = reader
        self._plan = plan
        self._patience_s = patience_s
        self._progress = None if progress is None else self._resumed(progress)
        self._done = False
        self._at = inner.position()  # after the last transaction that was yielded, or further when nothing came
        self._held: Transaction | None = None  # begins at or after the high mark of the pending chunk
        self._pending: _Pending | None = None
        self._xa: set[XaName] = set()  # streamed since a SELECT last saw everything
        self._not_before = 0.0
        self._waiting_since: float | None = None
        self._pause_s = _LISTEN_S
        self._failing_since: float | None = None
        self._backoff_s = _FIRST_BACKOFF_S

    def position(self) -> SourcePosition:
        return self._marked(self._at if self._held is not None else self._inner.position())

    def reached(self, head: SourcePosition) -> bool:
        return self._done and self._held is None and self._inner.reached(head)

    def proven(self) -> bool:
        return self._inner.proven()

    def close(self) -> None:
        self._reader.close()
        self._inner.close()

    def next(self, timeout_s: float) -> Transaction | None:
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
            if self._may_read() and self._read():
                continue
            left = deadline - time.monotonic()
            transaction = self._inner.next(left if self._done else max(0.001, min(left, _LISTEN_S)))
            if transaction is None:
                self._at = self._inner.position()
                if left <= 0 and (self._pending is None or not self._stands_at(self._pending.high)):
                    return None
            elif self._pending is not None and _beyond(transaction, self._pending.high):
                # The stream stepped over the high mark on its way to this one; the chunk goes first.
                self._held = transaction
            else:
                return self._passed(transaction)

    def _stands_at(self, high: LogEnd) -> bool:
        if self._held is not None:
            return True
        return self._inner.reached(replace(self._inner.position(), file=high.file, position=high.position))

    def _marked(self, at: SourcePosition) -> SourcePosition:
        return replace(at, snapshot=self._progress, snapshot_done=self._done)

    def _resumed(self, progress: SnapshotProgress) -> SnapshotProgress | None:
        """In its own order, whatever order the tables have now, without those that nobody follows any more. None: it
        begins again, as it does where it is not known what it read."""
        followed = self._plan.tables
        tables = tuple(table for table in progress.tables if table in followed)
        order = self._plan.order(tables or followed)
        if tables and progress.table in order:
            return replace(progress, tables=tables)
        log.warning("snapshot begins again", extra={"table": progress.table})
        if not tables and progress.datasets is None:
            return None
        return replace(progress, table=order[0], last_key=None, tables=tables or tuple(followed))

    # The window

    def _passed(self, transaction: Transaction) -> Transaction:
        """A transaction of the stream goes by; what it changes is noted as it is taken."""
        self._at = after = transaction.after
        transaction.after = self._marked(after)
        if not self._done:
            if transaction.xa is not None:
                self._xa.add(transaction.xa)
            pending = self._pending
            if pending is not None:
                pending.unread += 1
            transaction.changes = self._observed(transaction, transaction.changes, after, pending)
        return transaction

    def _observed(
        self,
        transaction: Transaction,
        changes: Iterable[Change | PackedRows],
        after: SourcePosition,
        pending: _Pending | None,
    ) -> Iterator[Change | PackedRows]:
        for change in changes:
            if pending is not None:
                pending.drop(change)
            if isinstance(change, Floor) and change.key.dataset_id == self._dataset():
                self._floored(self._plan.table(change.source))
                transaction.after = self._marked(after)
            yield change
        if pending is not None:
            pending.unread -= 1

    def _dataset(self) -> str | None:
        """The one that is read; None: all."""
        return self._progress.datasets[0] if self._progress is not None and self._progress.datasets else None

    def _floored(self, table: str) -> None:
        if self._progress is not None and table not in self._progress.floored:
            self._progress = replace(self._progress, floored=(*self._progress.floored, table))

    # Chunks

    def _may_read(self) -> bool:
        return self._pending is None and not self._done and time.monotonic() >= self._not_before

    def _read(self) -> bool:
        """Reads the next chunk; False: not now."""
        at = self._inner.position()
        low = _mark(at.epoch, LogEnd(at.file, at.position))
        progress = self._progress or self._begun(self._plan.tables, low)
        try:
            chunk = self._reader.read(progress.table, progress.last_key, low, self._xa, self._dataset())
        except Unreachable as error:
            now = time.monotonic()
            if isinstance(error, NotYet):  # a table that somebody holds is waited for, however long
                self._failing_since = None
            else:
                self._failing_since = self._failing_since or now
                if not error.retriable or now - self._failing_since >= self._patience_s:
                    raise
            log.warning("chunk will be read again", extra={"table": progress.table, "error": str(error)})
            self._not_before = now + self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, _LAST_BACKOFF_S)
            return False
        self._failing_since, self._backoff_s = None, _FIRST_BACKOFF_S
        if chunk is None:
            self._wait(progress.table)
            return False
        self._waiting_since, self._pause_s = None, _LISTEN_S
        self._xa.clear()
        self._progress = progress
        following = self._following(progress, chunk, low.epoch)
        self._pending = _Pending(progress.table, self._plan.place(progress.table), chunk, following)
        if progress.datasets and self._plan.holds_datasets(progress.table) and progress.last_key is None:
            self._pending.rows.setdefault(DatasetKey(progress.datasets[0]), None)
        return True

    def _wait(self, table: str) -> None:
        """What was streamed is not visible yet. Usually it is in an instant; whoever waits for longer is told."""
        now = time.monotonic()
        self._not_before = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        if self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since >= _PATIENT_S:
            log.warning(
                "transactions stay uncommitted in the engine, or prepared; the snapshot waits for them",
                extra={"table": table},
            )
            self._waiting_since = now

    def _following(self, progress: SnapshotProgress, chunk: Chunk, epoch: int) -> SnapshotProgress | None:
        """What comes after this chunk; None: nothing."""
        if chunk.last_key is not None:
            return replace(progress, last_key=chunk.last_key)
        order = self._plan.order(progress.tables)
        next_table = order.index(progress.table) + 1
        if next_table < len(order):
            return replace(progress, table=order[next_table], last_key=None)
        left = (progress.datasets or ())[1:]
        # The next dataset begins where this one ends: above any floor that it got in the meantime.
        return self._begun(progress.tables, _mark(epoch, chunk.high), left) if left else None

    def _begun(
        self, tables: Sequence[str], start: CommitOrder, datasets: tuple[str, ...] | None = None
    ) -> SnapshotProgress:
        return SnapshotProgress(self._plan.order(tables)[0], None, start, datasets, tables=tuple(tables))

    def _publish(self, pending: _Pending) -> Transaction | None:
        """The stream stands at the high mark of the chunk. None: the chunk cannot be used and will be read again."""
        self._pending = None
        if pending.unread:
            return None
        progress, high = self._progress, pending.high
        assert progress is not None
        if self._held is None:
            self._at = self._inner.position()
        at = self._at
        floors: Iterator[Change] = iter(())
        after = pending.after
        if after is None or after.datasets != progress.datasets:
            floors = self._floors(progress, high)
        else:
            after = replace(after, floored=progress.floored)
        self._progress = after
        if after is None:
            self._done = True
            self._reader.close()
        rows = self._rows(pending, _mark(at.epoch, high))
        return Transaction(f"{high.file}:{high.position}", chain(rows, floors), self._marked(at))

    def _rows(self, pending: _Pending, order: CommitOrder) -> Iterator[Change]:
        info = self._info(pending.table, pending.high)
        for key, row in pending.rows.items():
            if isinstance(row, Document):
                assert isinstance(key, DocKey)
                yield DocChange(Op.READ, key, row.scn, row, order, info)
            else:
                assert isinstance(key, DatasetKey)
                yield DatasetChange(Op.DELETE if row is None else Op.READ, key, row, order, info)

    def _floors(self, progress: SnapshotProgress, end: LogEnd) -> Iterator[Change]:
        dataset = progress.datasets[0] if progress.datasets else None
        for table in progress.tables:
            if table not in progress.floored:
                yield Floor(FloorKey(dataset), progress.start, FloorReason.SNAPSHOT, self._info(table, end))

    def _info(self, table: str, at: LogEnd) -> SourceInfo:
        """Snapshot rows have no time of commit."""
        plan = self._plan
        return SourceInfo(
            plan.connector, plan.name, 0, True, *plan.place(table), plan.server_id, None, at.file, at.position, 0
        )


def _beyond(transaction: Transaction, high: LogEnd) -> bool:
    """Both ends of a transaction are on the same side of a high mark, which is never inside one."""
    at = transaction.after
    return (file_number(at.file), at.position) > (file_number(high.file), high.position)


def _mark(epoch: int, at: LogEnd) -> CommitOrder:
    return CommitOrder(epoch, file_number(at.file), at.position, 0)
