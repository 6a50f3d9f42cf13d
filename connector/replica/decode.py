"""Records of the topics to what the applier takes. What cannot be understood stops the reader, with its place named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from connector.broker import Record
from connector.errors import CorruptedLog, DataRefused, UnsupportedChange
from connector.model import Change, Lane, Tombstone
from connector.replica.apply import Offset
from connector.wire import Event, EventDecoder, decode_tombstone

BATCH_BYTES = 8 * 2**20
"""Of values applied in one transaction, at most (one record may be larger): memory stays bounded with large rows."""


@dataclass(slots=True)
class Batch:
    """What goes into one transaction."""

    changes: list[tuple[Lane, Change]] = field(default_factory=list)
    tombstones: list[tuple[Lane, Tombstone]] = field(default_factory=list)
    offsets: dict[Lane, Offset] = field(default_factory=dict)
    bytes: int = 0

    @property
    def records(self) -> int:
        return len(self.changes) + len(self.tombstones)


class Undecodable(Exception):
    """A record that is not understood, after a batch that holds everything before it."""

    def __init__(self, error: DataRefused) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Open:
    """The beginning of a source transaction whose end has not been read yet, in one lane."""

    transaction: str
    changes: list[tuple[Lane, Change]]
    offset: Offset
    bytes: int


class Batches:
    """Puts records into batches that begin and end between two transactions of the source, in every lane.

    So a reader of the replica never sees a part of what a transaction did to a dataset; unless the transaction is
    larger than a batch, or its end does not come. What is held back, `part` gives as far as transactions are whole, and
    `rest` altogether.
    """

    def __init__(self, data_topics: frozenset[str], most_records: int) -> None:
        self._data_topics = data_topics
        self._most_records = most_records
        self._batch = Batch()
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._open: dict[Lane, _Open] = {}
        self._held_bytes = 0
        self._decode = EventDecoder()

    def read(self, records: Sequence[Record]) -> Iterator[Batch]:
        """Records in the order read. Full batches are yielded, the rest is held back. Raises Undecodable at a record
        that is not understood; everything before it was yielded."""
        lanes, decode = self._lanes, self._decode
        for record in records:
            topic, partition, offset, _, value, _, leader_epoch, _ = record
            lane = lanes.get((topic, partition))
            if lane is None:
                lane = lanes[topic, partition] = Lane(topic, partition)
            after = Offset(offset + 1, leader_epoch)
            try:
                if value is None:
                    raise UnsupportedChange("a record has no value; deletions are events of their own here")
                if topic in self._data_topics:
                    self._add(lane, decode(value), after, len(value))
                else:
                    self._batch.tombstones.append((lane, decode_tombstone(value)))
                    self._batch.offsets[lane] = after
                    self._batch.bytes += len(value)
            except (CorruptedLog, UnsupportedChange) as error:
                yield from self.rest()
                place = f"{topic}[{partition}] at offset {offset}, key {record.key!r}"
                raise Undecodable(type(error)(f"{place}: {error}", hint=error.hint)) from error
            if self._batch.records >= self._most_records or self._batch.bytes >= BATCH_BYTES:
                yield self._take()

    def part(self) -> Batch | None:
        """A batch that is not full, of whole transactions; None when there is nothing."""
        return self._take() if self._batch.offsets else None

    def _add(self, lane: Lane, event: Event, after: Offset, size: int) -> None:
        transaction, last = event.transaction.id, event.transaction.last
        held = self._open.get(lane)
        if held is not None and held.transaction != transaction:
            self._release(lane)  # its last record was compacted away
            held = None
        if held is None and last:
            self._batch.changes.append((lane, event.change))
            self._batch.offsets[lane] = after
            self._batch.bytes += size
            return
        if held is None:
            held = self._open[lane] = _Open(transaction, [], after, 0)
        held.changes.append((lane, event.change))
        held.offset = after
        held.bytes += size
        self._held_bytes += size
        if last or len(held.changes) >= self._most_records or self._held_bytes >= BATCH_BYTES:
            self._release(lane)

    def _release(self, lane: Lane) -> None:
        held = self._open.pop(lane)
        self._batch.changes += held.changes
        self._batch.offsets[lane] = held.offset
        self._batch.bytes += held.bytes
        self._held_bytes -= held.bytes

    def _take(self) -> Batch:
        batch, self._batch = self._batch, Batch()
        return batch

    def rest(self) -> Iterator[Batch]:
        """Everything that is held back, as a last batch; none when there is nothing."""
        for lane in list(self._open):
            self._release(lane)
        if self._batch.offsets:
            yield self._take()
