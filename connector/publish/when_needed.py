"""Publishing that takes a new snapshot where the source's log cannot be followed any further (`source.snapshot:
when_needed`).

It decides nothing about what was published; the new snapshot supersedes it (docs/guarantees.md, "When needed").
Anything but a log that is lost or foreign stops as always: a topic that was made again, a change that is not
understood, a row that cannot be published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

from connector.broker import Broker
from connector.errors import ForeignLog, ForeignTopic, PositionLost
from connector.publish.lease import Leadership
from connector.publish.publisher import Progress, Publisher
from connector.publish.resnapshot import request_snapshot
from connector.settings import Settings
from connector.source import Source

log = logging.getLogger("connector.publish")


def publish(
    source: Source,
    broker: Broker,
    settings: Settings,
    stop: Event,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    until_current: bool = False,
) -> Progress:
    """As `Publisher.run`."""
    # Kept while the snapshot is asked for: a standby would only find the same log.
    leadership = Leadership(broker, settings.topics.prefix, stop)
    try:
        return _publish(source, broker, settings, stop, on_progress, leadership, until_current)
    finally:
        leadership.close()


def _publish(
    source: Source,
    broker: Broker,
    settings: Settings,
    stop: Event,
    on_progress: Callable[[Progress], None] | None,
    leadership: Leadership,
    until_current: bool,
) -> Progress:
    begun_again = False
    while True:
        publisher = Publisher(source, broker, settings, stop, on_progress, leadership)
        try:
            return publisher.run(until_current=until_current)
        except (PositionLost, ForeignLog) as error:
            wanted = settings.source.snapshot == "when_needed" and not isinstance(error, ForeignTopic)
            # A log that is lost again before anything of the snapshot was published is not helped by another one.
            if not wanted or stop.is_set() or (begun_again and not publisher.transactions):
                raise
            log.warning("the log cannot be followed; a new snapshot begins", extra={"error": str(error)})
            begin = request_snapshot(source, broker, settings, leadership)
            log.info("snapshot begins", extra={"file": begin.file, "position": begin.position, "epoch": begin.epoch})
            begun_again = True
