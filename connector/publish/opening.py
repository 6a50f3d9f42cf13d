"""What a publisher knows of the log before it sends anything: where to go on, and what stands beyond that place.

It reads only, and never before nothing of an earlier publisher can be on its way any more (docs/guarantees.md, "Taking
over").
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event

from connector.broker import Broker
from connector.model import Lane, PublishedPosition, SourcePosition
from connector.publish.failover import Crossing, cross, crosses
from connector.publish.log_state import highest_epoch, present_ends, read_tails, recorded_position
from connector.publish.resume import Tail
from connector.publish.routing import Router
from connector.publish.setup import followed_topics, with_known
from connector.publish.signals import signals_lane
from connector.publish.tables import Come, tables_of, unread_of, with_come
from connector.settings import Settings
from connector.source import Source
from connector.source.marks import mark_of
from connector.topics import dead_letters_topic, positions_topic

log = logging.getLogger("connector.publish")


@dataclass(frozen=True, slots=True)
class LogState:
    position: PublishedPosition
    tails: Mapping[Lane, Tail]
    router: Router
    dead_letters: Lane
    ends: Mapping[Lane, int]  # of all lanes, those of positions and signals too, before the tails were read
    crossing: Crossing | None = None  # what stands was read from another server
    unread: Sequence[str] = ()  # tables, as entries of source.tables: a snapshot has to come before anything else


def open_log(broker: Broker, settings: Settings, stop: Event) -> tuple[PublishedPosition | None, list[Lane]]:
    """The recorded position, once nothing of an earlier publisher can still be on its way; and all lanes."""
    prefix = settings.topics.prefix
    recorded = recorded_position(broker, prefix)
    router = Router(followed_topics(with_known(settings, recorded)), settings.topics.partitions)
    lanes = [*router.lanes(), Lane(dead_letters_topic(prefix), 0)]
    if recorded is not None and not recorded.closed and settings.broker.kind == "kafka":
        log.info("the last publisher did not end in order", extra={"wait_s": settings.publish.takeover_wait_s})
        stop.wait(settings.publish.takeover_wait_s)
        recorded = recorded_position(broker, prefix)
    return recorded, lanes


def open_state(source: Source, broker: Broker, settings: Settings, stop: Event) -> LogState:
    """Waits where it must, then reads the position and what stands beyond it."""
    prefix = settings.topics.prefix
    tables = followed_topics(settings)
    tombstones = frozenset(topics.tombstones for topics in tables.values())
    router = Router(tables, settings.topics.partitions)
    recorded, lanes = open_log(broker, settings, stop)
    dead_letters = lanes[-1]
    if recorded is None:
        # Without a position whatever stands here may be of any source: everything new must sort above it.
        epoch = 1 + highest_epoch(broker, lanes, tombstones)
        ends = present_ends(broker, [*lanes, Lane(positions_topic(prefix), 0), signals_lane(prefix)])
        began = source.claim(source.start(epoch))
        recorded = PublishedPosition(began, {lane: ends[lane] for lane in lanes}, closed=False, ts_us=0)
        return LogState(recorded, {lane: Tail() for lane in lanes}, router, dead_letters, ends)
    come = Come([], [])
    if not settings.source.reads_log:
        recorded, come = tables_of(recorded, settings, broker)
    # Before the tails are read: what an earlier stream of a source that numbers them left there is older than this one.
    recorded = replace(recorded, source=source.claim(recorded.source))
    ends = present_ends(broker, [*lanes, Lane(positions_topic(prefix), 0), signals_lane(prefix)])
    # What stands of tables that the position does not know is superseded before anything of them is published.
    begins = {lane: recorded.ends.get(lane, ends[lane] if come.back else 0) for lane in lanes}
    ending = None if recorded.source.snapshot is None else recorded.source.snapshot.start
    tails: Mapping[Lane, Tail] = read_tails(broker, begins, tombstones, mark_of(recorded.source), ending)
    crossing = None
    if crosses(source.identity(), recorded.source, tails):
        recorded, tails, crossing = cross(source, broker, recorded, begins, tombstones)
    unread = unread_of(come, recorded.source, settings, crossing is not None)
    if not unread:
        recorded = with_come(recorded, come, settings, [lane for lane in lanes if lane not in recorded.ends])
    standing = sum(map(len, tails.values()))
    log.info("resuming", extra={"position": describe(recorded.source), "standing": standing})
    return LogState(recorded, tails, router, dead_letters, ends, crossing, unread)


def describe(position: SourcePosition) -> str:
    """For people: GTIDs where there are some, file and position, or the entry of a trigger log."""
    if position.file:
        return f"{position.file}:{position.position}" + (f" {position.gtid_set}" if position.gtid_set else "")
    if position.of_shadow_log:
        return f"{sum(cursor.scn > 0 for cursor in position.cursors.values())} datasets in the shadow log"
    return f"entry {position.dataset_log_seq} of the change log"
