"""Everything on a data topic, by the time at which it could be read: so it was acknowledged by then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from connector.model import CommitOrder, DocChange, Op
from connector.wire import decode_value

_quiet = logging.getLogger("tests.system.recovery.topic")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Seen(NamedTuple):
    at: float  # of the monotonic clock
    partition: int
    key: bytes
    value: bytes


class Reading(NamedTuple):
    """Of a whole topic. repeated: changes that stand more than once. late: records behind a newer one of their key.
    wrong: keys whose last record is not their newest."""

    records: int
    repeated: int
    late: int
    wrong: Sequence[bytes]


def judged(seen: Sequence[Seen]) -> Reading:
    """A change is known by key, kind and number, because another server gives it another order."""
    last: dict[tuple[int, bytes], CommitOrder] = {}
    best: dict[tuple[int, bytes], CommitOrder] = {}
    changes: set[tuple[int, bytes, Op, int]] = set()
    orders: set[tuple[int, bytes, CommitOrder]] = set()
    repeated = late = 0
    for record in seen:
        change, where = decode_value(record.value).change, (record.partition, record.key)
        again = (*where, change.order) in orders
        orders.add((*where, change.order))
        if isinstance(change, DocChange) and change.order.ordinal:
            known = (*where, change.op, change.scn)
            again = again or known in changes
            changes.add(known)
        repeated += again
        last[where] = change.order
        late += change.order < best.get(where, change.order)
        best[where] = max(change.order, best.get(where, change.order))
    wrong = [key for (partition, key), order in last.items() if order != best[partition, key]]
    return Reading(len(seen), repeated, late, wrong)


class Topic(threading.Thread):
    """Reads it from its beginning, for as long as it is let."""

    def __init__(self, bootstrap_servers: str, name: str, partitions: int) -> None:
        super().__init__(daemon=True)
        self.name = name
        self.seen: list[Seen] = []
        self._enough = threading.Event()
        self._error: BaseException | None = None
        options: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{name}-looked-at",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
            "reconnect.backoff.max.ms": 200,  # this one's own recovery is not what is measured
            "socket.timeout.ms": 3000,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        self._consumer = Consumer(options, logger=_quiet)
        self._consumer.assign([TopicPartition(name, partition, 0) for partition in range(partitions)])
        self._lanes = partitions

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                self._read()
        except BaseException as error:
            self._error = error

    def _read(self) -> None:
        for message in self._consumer.consume(500, 0.02):
            error = message.error()
            if error is not None:
                assert error.code() != KafkaError.OFFSET_OUT_OF_RANGE, error
                continue
            key, value, partition = message.key(), message.value(), message.partition()
            assert isinstance(key, bytes)
            assert isinstance(value, bytes)
            assert partition is not None
            self.seen.append(Seen(time.monotonic(), partition, key, value))

    def first_after(self, number: int, begin: int) -> float | None:
        """When the first record stood, among those from index `begin`, of a transaction after that number."""
        for record in self._from(begin):
            change = decode_value(record.value).change
            if not isinstance(change, DocChange) or change.after is None or not change.order.ordinal:
                continue  # a deletion has the number of what it deletes, and a snapshot reads what is old
            if change.scn > number:
                return record.at
        return None

    def _from(self, begin: int) -> Iterator[Seen]:
        for index in range(begin, len(self.seen)):
            yield self.seen[index]

    def finish(self) -> None:
        self._enough.set()
        if self.is_alive():
            self.join(30)
        self._consumer.close()
        if self._error is not None:
            raise self._error

    def is_read(self, end_offsets: int) -> bool:
        """Whether everything up to the ends of its lanes, whose offsets have this sum, was read. Nothing is compacted
        as early as this."""
        if self._error is not None:
            raise self._error
        return len(self.seen) >= end_offsets
