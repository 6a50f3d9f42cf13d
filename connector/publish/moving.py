"""Recording a position that no publisher came to: everything that stands in the log is taken for dealt with.

For commands, in a new epoch: what follows sorts above all that stands. Never beside a publisher.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event

from connector.broker import Broker
from connector.errors import DataRefused
from connector.model import Lane, PublishedPosition, SourcePosition
from connector.publish.lease import Leadership
from connector.publish.log_state import order_of, present_ends, read_between, recorded_position
from connector.publish.opening import open_log
from connector.publish.setup import create_topics, followed_topics, with_known
from connector.publish.signals import dealt_with
from connector.settings import Settings
from connector.topics import positions_topic
from connector.wire import encode_position, position_key

_FLUSH_S = 30


@contextmanager
def nobody_publishing(
    broker: Broker, settings: Settings, leadership: Leadership | None = None
) -> Iterator[tuple[PublishedPosition, list[Lane]]]:
    """The recorded position and all lanes, while no capture runs and none can begin. leadership: of one who may lead
    already. Raises DataRefused while one runs, and without a recorded position."""
    prefix = settings.topics.prefix
    last = recorded_position(broker, prefix)
    if last is None:
        raise DataRefused(f"nothing is recorded for prefix {prefix!r}", hint="Run `vecsync capture run` first.")
    admin = broker.admin()
    try:
        create_topics(admin, with_known(settings, last))
    finally:
        admin.close()
    leading = leadership or Leadership(broker, prefix, Event())
    try:
        leading.acquire(standby=False)
        recorded, lanes = open_log(broker, settings, Event())
        assert recorded is not None
        yield recorded, lanes
    finally:
        if leading is not leadership:
            leading.close()


def next_epoch(broker: Broker, settings: Settings, recorded: PublishedPosition, lanes: Sequence[Lane]) -> int:
    """Above all that stands beyond the position, too: a position of an earlier epoch may have been written late, by a
    writer that outlived its lease."""
    ends = present_ends(broker, lanes)
    begins = {lane: min(recorded.ends.get(lane, 0), end) for lane, end in ends.items()}
    tombstones = frozenset(topics.tombstones for topics in followed_topics(with_known(settings, recorded)).values())
    epochs = (order_of(record, tombstones).epoch for record in read_between(broker, begins, ends))
    return 1 + max(recorded.source.epoch, max(epochs, default=0))


def moved(
    broker: Broker, settings: Settings, recorded: PublishedPosition, lanes: Sequence[Lane], to: SourcePosition
) -> None:
    """Records `to`, with the present ends of the lanes; returns when that is acknowledged. Signals wait on."""
    ends = dealt_with(recorded.ends, settings.topics.prefix) | dict(present_ends(broker, lanes))
    record(broker, settings, to, ends)


def record(broker: Broker, settings: Settings, source: SourcePosition, ends: Mapping[Lane, int]) -> None:
    """A closed position; returns when it is acknowledged."""
    producer = broker.producer(lambda _lane, _offset: None)
    try:
        position = PublishedPosition(source, ends, closed=True, ts_us=time.time_ns() // 1000)
        lane = Lane(positions_topic(settings.topics.prefix), 0)
        producer.send(lane, position_key(settings.topics.prefix), encode_position(position))
        producer.flush(_FLUSH_S)
    finally:
        producer.close()
