"""What the log itself says when a publisher starts: the recorded position, and what stands beyond it.

Reads only. The waiting that must come first (docs/guarantees.md, "Taking over") is the publisher's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from connector.broker import Broker, Record
from connector.errors import CorruptedLog, ForeignTopic, Unreachable
from connector.model import ZERO_ORDER, CommitOrder, Lane, PublishedPosition
from connector.publish.resume import Tail
from connector.topics import positions_topic
from connector.wire import decode_position, decode_tombstone, decode_value, position_key

_PATIENCE_S = 60.0  # a broker that serves nothing for this long while records stand there is not serving
_BATCH = 2000


def present_ends(broker: Broker, lanes: Iterable[Lane]) -> dict[Lane, int]:
    admin = broker.admin()
    try:
        return dict(admin.end_offsets(list(lanes)))
    finally:
        admin.close()


def read_to_end(broker: Broker, starts: Mapping[Lane, int]) -> Iterator[Record]:
    """Every record from those offsets to the end offsets of this moment. Raises Unreachable and ForeignTopic."""
    return read_between(broker, starts, present_ends(broker, starts))


def read_between(broker: Broker, starts: Mapping[Lane, int], ends: Mapping[Lane, int]) -> Iterator[Record]:
    """Every record from those offsets up to and without the others. Raises Unreachable and ForeignTopic."""
    for lane, start in starts.items():
        if start > ends[lane]:
            raise ForeignTopic(
                f"{lane.topic}[{lane.partition}] ends at offset {ends[lane]}, and {start} was acknowledged before: "
                "the topic was made again, or lost records",
            )
    left = {lane: end for lane, end in ends.items() if lane in starts and starts[lane] < end}
    if not left:
        return
    consumer = broker.consumer("vecsync-publisher")
    try:
        consumer.assign({lane: starts[lane] for lane in left})
        silent = 0.0
        while left:
            records = consumer.consume(_BATCH, 0.5)
            silent = 0.0 if records else silent + 0.5
            for record in records:
                if record.offset < ends[Lane(record.topic, record.partition)]:
                    yield record
            for lane, position in consumer.positions().items():
                if lane in left and position >= left[lane]:
                    del left[lane]
            if silent >= _PATIENCE_S:
                raise Unreachable(f"{next(iter(left))} holds records that the broker did not serve in {_PATIENCE_S} s")
    finally:
        consumer.close()


def recorded_position(broker: Broker, prefix: str) -> PublishedPosition | None:
    """The last position that was recorded for this prefix. Raises CorruptedLog."""
    lane = Lane(positions_topic(prefix), 0)
    admin = broker.admin()
    try:
        if not admin.describe([lane.topic]):
            return None
        begin = admin.beginning_offsets([lane])
    finally:
        admin.close()
    key, last = position_key(prefix), None
    for record in read_to_end(broker, begin):
        if record.key == key:
            last = record.value
    return None if last is None else decode_position(last)


def order_of(record: Record, tombstones: frozenset[str]) -> CommitOrder:
    """Of a record of a data, tombstone or dead-letter topic. Raises CorruptedLog naming topic, partition, offset."""
    if record.value is None:
        raise CorruptedLog(
            f"{record.topic}[{record.partition}] offset {record.offset} has no value; nothing of ours writes such"
        )
    if record.topic in tombstones:
        return decode_tombstone(record.value).order
    return decode_value(record.value).change.order


def read_tails(
    broker: Broker,
    ends: Mapping[Lane, int],
    tombstones: frozenset[str],
    mark: CommitOrder = ZERO_ORDER,
    ending: CommitOrder | None = None,
) -> dict[Lane, Tail]:
    """What stands in each lane at or after the recorded end offsets. mark, ending: as `Tail` has them."""
    tails = {lane: Tail(mark, ending) for lane in ends}
    for record in read_to_end(broker, ends):
        lane = Lane(record.topic, record.partition)
        tails[lane].add(order_of(record, tombstones), record.key or b"", record.offset)
    return tails


def newest_commit(broker: Broker, ends: Mapping[Lane, int]) -> int:
    """When the newest of the last changes of these data lanes was committed, in us; 0 where none says."""
    lasts = {lane: end - 1 for lane, end in ends.items() if end > 0}
    return max(
        (decode_value(r.value).change.source.ts_us for r in read_between(broker, lasts, ends) if r.value is not None),
        default=0,
    )


def highest_epoch(broker: Broker, lanes: Sequence[Lane], tombstones: frozenset[str]) -> int:
    """Of everything that stands in these lanes; 0 when they are empty. For a source that has no recorded position."""
    admin = broker.admin()
    try:
        begin = admin.beginning_offsets(lanes)
    finally:
        admin.close()
    highest = 0
    for record in read_to_end(broker, begin):
        highest = max(highest, order_of(record, tombstones).epoch)
    return highest
