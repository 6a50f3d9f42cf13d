"""Records of the topics to what the applier takes. What cannot be understood stops the reader, with its place named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from connector.broker import Record
from connector.errors import CorruptedLog, DataRefused, UnsupportedChange
from connector.model import Change, Lane, Tombstone
from connector.replica.apply import Offset
from connector.wire import decode_tombstone, decode_value

BATCH_BYTES = 16 * 2**20
"""Of values applied in one transaction, at most (one record may be larger): memory stays bounded with large rows."""


@dataclass(slots=True)
class Batch:
    """What goes into one transaction."""

    changes: list[tuple[Lane, Change]] = field(default_factory=list)
    tombstones: list[tuple[Lane, Tombstone]] = field(default_factory=list)
    offsets: dict[Lane, Offset] = field(default_factory=dict)
    bytes: int = 0


class Undecodable(Exception):
    """A record that is not understood, after a batch that holds everything before it."""

    def __init__(self, error: DataRefused) -> None:
        super().__init__(str(error))
        self.error = error


def batches(records: Sequence[Record], data_topics: frozenset[str], most_records: int) -> Iterator[Batch]:
    """In the order read. Raises Undecodable at a record that is not understood; what came before was yielded."""
    batch = Batch()
    lanes: dict[tuple[str, int], Lane] = {}
    count = 0
    for record in records:
        topic, partition, offset, _, value, _, leader_epoch, _ = record
        lane = lanes.get((topic, partition))
        if lane is None:
            lane = lanes[topic, partition] = Lane(topic, partition)
        try:
            if value is None:
                raise UnsupportedChange("a record has no value; deletions are events of their own here")
            if topic in data_topics:
                batch.changes.append((lane, decode_value(value).change))
            else:
                batch.tombstones.append((lane, decode_tombstone(value)))
        except (CorruptedLog, UnsupportedChange) as error:
            if batch.offsets:
                yield batch
            place = f"{topic}[{partition}] at offset {offset}, key {record.key!r}"
            raise Undecodable(type(error)(f"{place}: {error}", hint=error.hint)) from error
        batch.offsets[lane] = Offset(offset + 1, leader_epoch)
        batch.bytes += len(value)
        count += 1
        if count >= most_records or batch.bytes >= BATCH_BYTES:
            yield batch
            batch, count = Batch(), 0
    if batch.offsets:
        yield batch
