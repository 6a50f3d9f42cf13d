"""The shadow log of a MySQL or MariaDB source as a stream: what the log names is read as it is now.

Each look is one consistent read: the datasets, what the log holds that was not read yet, and the rows that it names. So
after a look everything published is the source as it was at one moment, and no row is ever published older than before:
orders are (epoch, number of the stream, number of the look, ordinal), whatever order the entries were committed in.

Where a dataset's log is not the one that was read (it was deleted, perhaps made again, or its entries were removed) its
rows are read anew, ended by a floor. Must never wait for an entry that may never come, nor write to the source.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pymysql

from connector.errors import ConnectionLost, UnsupportedChange
from connector.model import (
    Change,
    DatasetCursor,
    Floor,
    FloorKey,
    FloorReason,
    PackedRows,
    SnapshotProgress,
    SourcePosition,
    Transaction,
    cursor_key,
    table_and_dataset,
)
from connector.settings import SourceSettings
from connector.source.log_changes import LogChanges, Look
from connector.source.log_group import LogGroup
from connector.source.log_table import Connection, DatasetRow, Group, LogEntry, LogTable, fingerprint
from connector.source.log_window import LogWindow
from connector.source.twins import TwinCheck
from connector.upstream.mysql import mysql_error

log = logging.getLogger("connector.source.log_stream")

_MOST_ENTRIES = 10_000  # read in one look: what bounds its memory, and how long one consistent read stays open
_REBUILD_COST = 100  # of those, for a dataset that is read anew
_TRAILING = 10_000
"""Where reading begins, so many of the last entries of each dataset are told from those that come late. What had its
number before them and commits after that is found by a snapshot only."""

_MOST_RANGES = 500  # in one question for late entries
_LATE_LOOK_S = 0.2  # between two looks for late entries: they were late before
_LONGEST_PAUSE_S = 0.25  # between two looks when nothing happens
_BUSY = 4  # a look is followed by a pause of at least so many times its length: the source has other things to do
_CHANGED = {1412, 1054, 1146}  # the table is not what it was when the look began


class LogStream:
    """Fulfils `Stream`. connection: of `reading_session`, for this stream alone, which closes it."""

    def __init__(
        self,
        connection: Connection,
        changes: LogChanges,
        source: SourceSettings,
        database: str,
        after: SourcePosition,
        twins: TwinCheck | None,
    ) -> None:
        self._connection = connection
        self._changes = changes
        self._twins = twins
        self._tables = source.tables
        self._chunk_rows = source.snapshot_chunk_rows
        self._window_s = source.late_commit_window_s
        self._interval_s = source.poll_interval_s
        self._position = after
        self._cursors: dict[str, DatasetCursor] = dict(after.cursors)
        self._groups: dict[Group, LogGroup] = {
            table_and_dataset(key): LogGroup.resumed(cursor)
            for key, cursor in after.cursors.items()
            if table_and_dataset(key)[0] in source.tables
        }
        self._datasets: dict[str, DatasetRow | None] = {  # None: was there, and is to be said again
            table_and_dataset(key)[1]: None for key, cursor in after.cursors.items() if cursor.ordinal
        }
        self._turn: Group | None = None  # where the next look goes on: the last one did not get that far
        self._complete_at_us = 0  # the source's clock before the last look that left nothing
        self._next_look = self._next_late = 0.0
        self._pause_s = self._interval_s
        self._making: Iterator[Change] | None = None
        with self._errors():
            self._log = LogTable(connection, database, source.mapping)

    def next(self, timeout_s: float) -> Transaction | None:
        deadline = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            if began >= self._next_look:
                with self._errors():
                    transaction = self._look(began)
                self._pause(began, found=transaction is not None or self._turn is not None)
                if transaction is not None:
                    return transaction
            if self._position.snapshot is not None:
                return self._chunk(self._position.snapshot)
            now = time.monotonic()
            if now >= deadline:
                return None
            time.sleep(max(0.0, min(deadline, self._next_look) - now))

    def position(self) -> SourcePosition:
        return self._position

    def reached(self, head: SourcePosition) -> bool:
        return self._position.snapshot_done and self._complete_at_us > head.position

    def proven(self) -> bool:
        """It was, when this was made; each dataset's log is compared before anything of it is yielded."""
        return True

    def close(self) -> None:
        if self._making is not None:
            self._making.close()  # type: ignore[attr-defined]  # a generator
            self._making = None
        if self._connection.open:
            self._connection.close()

    def _pause(self, began: float, *, found: bool) -> None:
        now = time.monotonic()
        self._pause_s = self._interval_s if found else min(self._pause_s * 2, max(_LONGEST_PAUSE_S, self._interval_s))
        self._next_look = now + max(self._pause_s, 0.0 if self._turn is not None else _BUSY * (now - began))

    # A look

    def _look(self, now: float) -> Transaction | None:
        clock_us = self._log.begin()
        datasets, heads = self._log.datasets(), self._log.heads(self._tables)
        first = not self._position.snapshot_done and self._position.snapshot is None
        late = now >= self._next_late
        look = self._next()
        self._compare(look, datasets, first=first)
        self._turn = self._read(look, datasets, heads, now, first=first, late=late)
        if late:
            self._next_late = now + _LATE_LOOK_S
        if self._cursors != self._position.cursors:
            self._position = replace(self._position, cursors=dict(self._cursors))
        if first:
            progress = SnapshotProgress(self._tables[0], None, look.mark, tables=tuple(self._tables))
            self._position = replace(self._position, snapshot=progress)
            log.info("snapshot begins", extra={"datasets": len(datasets)})
        if not look.holds_anything and not first:
            self._log.end()
            self._looked(clock_us)
            return None
        self._position = replace(self._position, position=look.number)
        return Transaction(look.id, self._take(look, clock_us), self._position)

    def _next(self) -> Look:
        """By twos: the numbers between are those of rows that are read again (`marks.py`)."""
        return Look(self._position.epoch, self._position.dataset_log_seq, self._position.position + 2)

    def _looked(self, clock_us: int) -> None:
        if self._turn is None:
            self._complete_at_us = clock_us

    def _take(self, look: Look, clock_us: int) -> Iterator[Change | PackedRows]:
        """The changes of a look, read as they are taken; the consistent read ends with them."""
        made: Iterator[Change] = self._changes.of(look, self._connection)
        self._making = made
        yield from self._checked(made)
        with self._errors():
            self._log.end()
        self._making = None
        self._looked(clock_us)

    def _checked(self, made: Iterator[Change]) -> Iterator[Change | PackedRows]:
        with self._errors():
            yield from made if self._twins is None else self._twins(made)

    def _compare(self, look: Look, datasets: Mapping[str, DatasetRow], *, first: bool) -> None:
        """The datasets with what was published of them."""
        for id, row in datasets.items():
            known = self._datasets.get(id)
            if known is None or known.dataset != row.dataset:
                look.datasets.append((id, row.dataset, "r" if first else "u" if id in self._datasets else "c"))
        look.gone = [id for id in self._datasets if id not in datasets]
        self._datasets = dict(datasets)

    def _read(
        self,
        look: Look,
        datasets: Mapping[str, DatasetRow],
        heads: Mapping[Group, LogEntry],
        now: float,
        *,
        first: bool,
        late: bool,
    ) -> Group | None:
        """What the log holds that was not read yet. Returns where to go on when it was too much for one look."""
        groups = {(table, id) for table in self._tables for id in datasets} | heads.keys() | self._groups.keys()
        ordered = sorted(groups)
        if self._turn is not None:
            ordered = [g for g in ordered if g >= self._turn] + [g for g in ordered if g < self._turn]
        left = _MOST_ENTRIES
        for group in ordered:
            if left <= 0 and not first:
                return group
            row, head, known = datasets.get(group[1]), heads.get(group), self._groups.get(group)
            made = row and row.made
            if known is not None and known.found == (made, head) and not (late and known.window.low < known.scn):
                continue
            if known is None or not self._goes_on(group, known, made, head):
                self._begin(group, made, head, now)
                if not first:
                    left -= _REBUILD_COST
                    look.rebuilt.append((group, known is not None, row is not None))
                    if known is not None:
                        log.warning("dataset is read anew", extra={"table": group[0], "dataset": group[1]})
                continue
            entries = self._entries(group, known, head, left, late=late)
            look.touch(group, entries)
            left -= len(entries)
            known.read(entries, made, now)
            if head is None or known.window.head >= head.scn:
                known.found = (made, head)
            if late:
                known.window.settle(now - self._window_s)
            self._cursors[cursor_key(*group)] = known.cursor(made)
        return None

    def _goes_on(self, group: Group, known: LogGroup, made: str | None, head: LogEntry | None) -> bool:
        """Whether the log is the one that was read: the last entry that was read stands, and is the same."""
        if known.scn == 0:
            return fingerprint(made, None) == known.print
        if head is None or head.scn < known.scn:
            return False
        last = head if head.scn == known.scn else self._log.entry(group, known.scn)
        return last is not None and fingerprint(made, last) == known.print

    def _entries(
        self, group: Group, known: LogGroup, head: LogEntry | None, limit: int, *, late: bool
    ) -> list[LogEntry]:
        window, entries = known.window, []
        gaps = window.gaps(_MOST_RANGES) if late else []
        if gaps:
            entries = [entry for entry in self._log.within(group, gaps) if entry.scn not in window]
        if head is not None and head.scn > window.head:
            entries += self._log.after(group, window.head, max(1, limit))
        return entries

    def _begin(self, group: Group, made: str | None, head: LogEntry | None, now: float) -> None:
        """Reading goes on after the present end of a dataset's log."""
        if made is None and head is None:
            self._groups.pop(group, None)
            self._cursors.pop(cursor_key(*group), None)
            return
        numbers = self._log.last_numbers(group, _TRAILING + 1) if head is not None else []
        window = LogWindow(numbers.pop() if len(numbers) > _TRAILING else 0)
        window.read(numbers, now)
        window.settle(now - self._window_s)
        self._groups[group] = begun = LogGroup.begun(made, head, window)
        self._cursors[cursor_key(*group)] = begun.cursor(made)

    # A chunk of a snapshot

    def _chunk(self, progress: SnapshotProgress) -> Transaction:
        """Rows are as they are now, and above everything read before, as those of a look; so nothing has to be dropped
        from them."""
        tables = tuple(table for table in progress.tables if table in self._tables) or tuple(self._tables)
        if progress.table not in tables or not progress.tables:
            progress = replace(progress, table=tables[0], last_key=None)
        progress = replace(progress, tables=tables)
        look = self._next()
        self._position = replace(self._position, position=look.number)
        transaction = Transaction(f"{look.id}:{progress.table}", (), self._position)

        def changes() -> Iterator[Change | PackedRows]:
            rows = self._changes.chunk(look, self._connection, progress, self._chunk_rows)
            self._making = rows
            yield from self._checked(rows)
            self._making = None
            following = self._following(progress, self._changes.last_key)
            self._position = replace(self._position, snapshot=following, snapshot_done=following is None)
            if self._position.snapshot_done:
                yield from self._floors(progress)
                log.info("snapshot ends")
            transaction.after = self._position

        transaction.changes = changes()
        return transaction

    def _following(self, progress: SnapshotProgress, last_key: tuple[str, ...] | None) -> SnapshotProgress | None:
        if last_key is not None:
            return replace(progress, last_key=last_key)
        next_table = progress.tables.index(progress.table) + 1
        if next_table == len(progress.tables):
            return None
        return replace(progress, table=progress.tables[next_table], last_key=None)

    def _floors(self, progress: SnapshotProgress) -> Iterable[Change]:
        order = progress.start
        for table in progress.tables:
            yield Floor(FloorKey(None), order, FloorReason.SNAPSHOT, self._changes.info(table, order, 0, snapshot=True))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            if error.args and error.args[0] in _CHANGED:
                raise ConnectionLost(f"a table was altered while it was read: {error.args[-1]}") from error
            raise mysql_error(error, "the shadow log") from error
        except UnicodeDecodeError as error:
            raise UnsupportedChange("a row holds text that is not in its character set") from error


def cursors_at(
    datasets: Mapping[str, DatasetRow], heads: Mapping[Group, LogEntry], tables: Sequence[str]
) -> dict[str, DatasetCursor]:
    """The present end of the log, of every dataset: nothing before it is looked for."""
    groups = {(table, id) for table in tables for id in datasets} | heads.keys()
    found = {}
    for group in groups:
        row, head = datasets.get(group[1]), heads.get(group)
        made = row and row.made
        begun = LogGroup.begun(made, head, LogWindow(head.scn if head else 0))
        found[cursor_key(*group)] = begun.cursor(made)
    return found
