"""Recording a position that no publisher came to: everything that stands in the log is taken for dealt with.

For commands, after `open_log`, in a new epoch: what follows sorts above all that stands.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from connector.broker import Broker
from connector.model import Lane, PublishedPosition, SourcePosition
from connector.publish.log_state import present_ends
from connector.settings import Settings
from connector.topics import positions_topic
from connector.wire import encode_position, position_key

_FLUSH_S = 30


def moved(broker: Broker, settings: Settings, lanes: Sequence[Lane], to: SourcePosition) -> None:
    """Records `to`, with the present ends of the lanes; returns when that is acknowledged."""
    record(broker, settings, to, present_ends(broker, lanes))


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
