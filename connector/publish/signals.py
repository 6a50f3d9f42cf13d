"""Signals: records on `<prefix>.signals` by which a running capture is asked to read rows again.

A signal is dealt with when no snapshot is under way, one after the other in the order of the log; until then it waits
there. It is acted on once: the offset after it is recorded in the same record of the position that begins its snapshot
(docs/guarantees.md, "Asked for while streaming"). One that cannot be acted on is refused with its offset in the log of
the process, and never stops capture.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from connector.broker import Broker, Record
from connector.errors import Unreachable, UsageError, VecsyncError
from connector.model import Lane, PublishedPosition, SnapshotProgress, SourcePosition, TableName
from connector.publish.log_state import read_between
from connector.publish.resume import Tail
from connector.settings import Settings
from connector.source import Source
from connector.source.marks import mark_of
from connector.topics import signals_topic
from connector.upstream.tables import called, followed_tables, home_of
from connector.wire import SnapshotSignal, decode_signal, encode_signal, signal_key

log = logging.getLogger("connector.publish.signals")

_AGAIN_S = 5.0  # a source that does not answer is asked again about a signal
_FLUSH_S = 30


class Asked(NamedTuple):
    """end: the offset after it."""

    signal: SnapshotSignal
    end: int


def signals_lane(prefix: str) -> Lane:
    return Lane(signals_topic(prefix), 0)


def dealt_with(ends: Mapping[Lane, int], prefix: str) -> dict[Lane, int]:
    """Of the ends of a recorded position, the one of the signals: it stays, also where the others begin anew."""
    lane = signals_lane(prefix)
    return {lane: ends[lane]} if lane in ends else {}


def may_begin(at: SourcePosition, tails: Iterable[Tail]) -> bool:
    """Whether a snapshot may, at that place: none is under way, and the stream has come by everything that stood beyond
    the recorded position when it began. What stands was published in an earlier epoch, and must not be once more."""
    mark = mark_of(at)
    return at.snapshot_done and all(tail.passed(mark) for tail in tails)


class Signals:
    """Of one session. recorded: the ends of its position; present: those of the topics."""

    def __init__(
        self,
        broker: Broker,
        source: Source,
        settings: Settings,
        recorded: Mapping[Lane, int],
        present: Mapping[Lane, int],
    ) -> None:
        self._broker = broker
        self._source = source
        self._settings = settings
        self.lane = signals_lane(settings.topics.prefix)
        self._end = present[self.lane]
        self._known = self.lane in recorded
        self._done = recorded.get(self.lane, 0)
        if self._done > self._end:
            log.warning(
                "the topic of signals was made anew",
                extra={"topic": self.lane.topic, "end": self._end, "was": self._done},
            )
            self._done = 0
        self._read = self._done
        self._records: deque[Record] = deque()
        self._not_before = 0.0

    @property
    def dealt_with(self) -> Mapping[Lane, int]:
        """For the position; nothing before the first signal."""
        return {self.lane: self._done} if self._done or self._known else {}

    def moved(self, ends: Mapping[Lane, int]) -> bool:
        return self._done != ends.get(self.lane, 0)

    def _bounds(self) -> tuple[int, int]:
        admin = self._broker.admin()
        try:
            first, end = admin.beginning_offsets([self.lane]), admin.end_offsets([self.lane])
            return first[self.lane], end[self.lane]
        finally:
            admin.close()

    def ends(self, end: int) -> None:
        """The topic, as was found now."""
        self._end = max(self._end, end)

    @property
    def waiting(self) -> bool:
        """Whether to ask for the next one."""
        return bool(self._records or self._read < self._end) and time.monotonic() >= self._not_before

    def next(self) -> Asked | None:
        """The next one to be acted on, which is dealt with when `begun` is recorded. Raises Unreachable when the broker
        does not answer."""
        if self._read < self._end:
            first, self._end = self._bounds()  # old ones may have been deleted since
            start = min(max(self._read, first), self._end)
            self._records.extend(read_between(self._broker, {self.lane: start}, {self.lane: self._end}))
            self._read = self._end
        while self._records:
            record = self._records[0]
            try:
                signal = self._judged(record)
            except Unreachable as error:
                log.warning("signal waits for the source", extra={"offset": record.offset, "error": str(error)})
                self._not_before = time.monotonic() + _AGAIN_S
                return None
            self._records.popleft()
            if signal is not None:
                return Asked(signal, record.offset + 1)
            self._done = record.offset + 1
        return None

    def begun(self, position: PublishedPosition, asked: Asked) -> PublishedPosition:
        """The same place with that snapshot ahead, in an epoch of its own: rows that were changed unseen have to sort
        above everything, also above an earlier reading on the same mark."""
        at, signal = replace(position.source, epoch=position.source.epoch + 1), asked.signal
        progress, source, chosen = None, self._settings.source, chosen_tables(self._settings, asked.signal.tables)
        if signal.datasets is not None or len(chosen) < len(followed_tables(source)):
            tables = tuple(called(name, home_of(source)) for name in chosen)
            # Readers of the shadow log publish datasets with each look, not with a snapshot.
            first = chosen[0] if at.of_shadow_log else TableName(chosen[0].db, source.mapping.dataset_table)
            progress = SnapshotProgress(
                called(first, home_of(source)), None, mark_of(at), signal.datasets, tables=tables
            )
        return replace(
            position,
            source=replace(at, snapshot=progress, snapshot_done=False),
            ends={**position.ends, self.lane: asked.end},
        )

    def _judged(self, record: Record) -> SnapshotSignal | None:
        try:
            if record.key not in (None, signal_key(self._settings.topics.prefix)):
                raise UsageError(f"its key is {record.key!r}, not the prefix")
            signal = decode_signal(record.value)
            self._source.check_snapshot(signal.datasets, chosen_tables(self._settings, signal.tables))
        except Unreachable:
            raise
        except VecsyncError as error:
            log.error(
                "signal refused",
                extra={"topic": record.topic, "offset": record.offset, "error": str(error), "hint": error.hint},
            )
            return None
        log.info(
            "snapshot asked for",
            extra={
                "offset": record.offset,
                "id": signal.id,
                "datasets": signal.datasets or "all",
                "tables": signal.tables or "all",
            },
        )
        return signal


def chosen_tables(settings: Settings, tables: Sequence[str]) -> Sequence[TableName]:
    """Those that are meant, as `database.table` or as `source.tables` names them, in the order in which they are
    followed; none: all. Raises UsageError for one that is not followed."""
    home, followed = home_of(settings.source), followed_tables(settings.source)
    names = {called(name, home): name for name in followed} | {str(name): name for name in followed}
    for table in tables:
        if table not in names:
            hint = f"Followed are {', '.join(called(name, home) for name in followed)}. Names count case."
            raise UsageError(f"table {table!r} is not followed", hint=hint)
    chosen = {names[table] for table in tables} or set(followed)
    return [name for name in followed if name in chosen]


def send_signal(broker: Broker, settings: Settings, signal: SnapshotSignal) -> int:
    """The offset that it got, once it is acknowledged. Raises ForeignLog where there is no such topic."""
    offsets: list[int] = []
    producer = broker.producer(lambda _lane, offset: offsets.append(offset))
    prefix = settings.topics.prefix
    try:
        producer.send(signals_lane(prefix), signal_key(prefix), encode_signal(signal))
        producer.flush(_FLUSH_S)
    finally:
        producer.close()
    return offsets[0]
