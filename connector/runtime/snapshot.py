"""Asking for a new snapshot, of single datasets or of all, and following it in the recorded positions.

Of a capture that runs it is asked by a signal. Where none runs, single datasets wait as a signal for the next run; all
of them are where the next run begins, because that also leads out of a log that cannot be followed any further.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from threading import Event
from typing import Any, NamedTuple
from uuid import uuid4

from connector.broker import Broker
from connector.errors import ConfigurationError, DataRefused, UsageError
from connector.model import Lane, PublishedPosition, SourcePosition
from connector.publish import chosen_tables, recorded_position, send_signal, signals_lane, with_known
from connector.registry import open_broker
from connector.runtime.capture import ask_for_snapshot
from connector.runtime.events import source_position_json
from connector.settings import Settings
from connector.source.connect import open_source
from connector.topics import positions_topic
from connector.wire import SnapshotSignal, decode_position, position_key

_LISTEN_S = 0.2


class Asked(NamedTuple):
    """datasets: None: all. offset: of the signal, where there is one; otherwise the next run begins at `begin`.
    leader: the capture that will read it now; None: the next run does. seen: positions that were recorded before.
    tables: as `database.table`; empty: all."""

    datasets: Sequence[str] | None
    offset: int | None
    begin: SourcePosition | None
    leader: str | None
    seen: int
    tables: Sequence[str] = ()


class State(StrEnum):
    WAITING = "waiting"
    READING = "reading"
    DONE = "done"
    REFUSED = "refused"


class Stage(NamedTuple):
    state: State
    at: SourcePosition


def ask_again(settings: Settings, datasets: Sequence[str], tables: Sequence[str] = ()) -> Asked:
    """None named: all. Raises ConfigurationError where topics are missing, DataRefused without a recorded position, and
    what `chosen_tables`, `Source.check_snapshot` and `request_snapshot` raise."""
    prefix, names = settings.topics.prefix, tuple(dict.fromkeys(datasets)) or None
    broker = open_broker(settings)
    lane, positions = signals_lane(prefix), Lane(positions_topic(prefix), 0)
    admin = broker.admin()
    try:
        there = admin.describe([lane.topic, positions.topic])
        missing = [topic for topic in (positions.topic, lane.topic) if topic not in there]
        if missing:
            raise ConfigurationError(
                f"there is no topic {' and no topic '.join(missing)}",
                hint="Run `vecsync capture run`, which makes it and begins with a snapshot, or check topics.prefix.",
            )
        leader = admin.lease_state(lane.topic).holder
        seen = admin.end_offsets([positions])[positions]
    finally:
        admin.close()
    if names is None and not tables and leader is None:
        return Asked(None, None, ask_for_snapshot(settings), None, seen)
    recorded = recorded_position(broker, prefix)
    if recorded is None:
        raise DataRefused(
            f"nothing is recorded for prefix {prefix!r}", hint="Run `vecsync capture run` first: it reads every row."
        )
    settings = with_known(settings, recorded)
    chosen = chosen_tables(settings, tables)
    of = tuple(map(str, chosen)) if tables else ()
    source = open_source(settings)
    try:
        source.check_snapshot(names, chosen)
    finally:
        source.close()
    offset = send_signal(broker, settings, SnapshotSignal(names, of, str(uuid4())))
    return Asked(names, offset, None, leader, seen, of)


def follow(settings: Settings, asked: Asked, stop: Event) -> Iterator[Stage]:
    """How far it is, whenever that was recorded, until it is done. Ends early when stopped.

    Raises UsageError when the capture refused the signal.
    """
    prefix = settings.topics.prefix
    key, begun = position_key(prefix), False
    for position in _positions(open_broker(settings), prefix, asked.seen, stop):
        if position[0] != key or position[1] is None:
            continue
        recorded = decode_position(position[1])
        state = stage_of(asked, recorded, signals_lane(prefix), begun=begun)
        if state is State.REFUSED:
            raise UsageError(
                f"the capture refused the signal at offset {asked.offset} of {signals_lane(prefix).topic}",
                hint="Its log says why, with that offset.",
            )
        begun = state is not State.WAITING
        yield Stage(state, recorded.source)
        if state is State.DONE:
            return


def stage_of(asked: Asked, recorded: PublishedPosition, signals: Lane, *, begun: bool) -> State:
    """begun: an earlier position says that it is under way. Signals are dealt with one after the other, so what comes
    after this one is dealt with when its snapshot has ended. Pure."""
    at = recorded.source
    if asked.offset is None:
        assert asked.begin is not None
        if at.epoch < asked.begin.epoch:
            return State.WAITING
        return State.DONE if at.epoch > asked.begin.epoch or at.snapshot_done else State.READING
    end = recorded.ends.get(signals, 0)
    if end <= asked.offset:
        return State.WAITING
    reading = end == asked.offset + 1 and not at.snapshot_done
    if reading:
        return State.READING
    return State.DONE if begun else State.REFUSED


def _positions(broker: Broker, prefix: str, start: int, stop: Event) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Keys and values of the positions from that offset on, as they come."""
    consumer = broker.consumer("vecsync-snapshot")
    try:
        consumer.assign({Lane(positions_topic(prefix), 0): start})
        while not stop.is_set():
            for record in consumer.consume(100, _LISTEN_S):
                yield record.key, record.value
    finally:
        consumer.close()


def asked_json(asked: Asked, *, done: bool | None) -> dict[str, Any]:
    """done: None: it was not waited for."""
    return {
        "datasets": None if asked.datasets is None else list(asked.datasets),
        "tables": list(asked.tables) or None,
        "by": "next run" if asked.leader is None else "running capture",
        "capture": asked.leader,
        "offset": asked.offset,
        "position": None if asked.begin is None else source_position_json(asked.begin),
        "done": done,
    }
