"""Publishing that takes a new snapshot where the source's log does not tell what rows there are: after a statement that
changed a table as a whole, unless `source.snapshot` is `no_data`, and where the log cannot be followed any further, if
it is `when_needed`.

It decides nothing about what was published; the new snapshot supersedes it (docs/guarantees.md, "When needed" and
"Statements without rows"). Anything else stops as always: a topic that was made again, a change that is not understood,
a row that cannot be published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

from connector.broker import Broker
from connector.errors import DataRefused, ForeignLog, ForeignTopic, PositionLost, UnseenRows
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
        except (PositionLost, ForeignLog, UnseenRows) as error:
            # A log that is lost again before anything of the snapshot was published is not helped by another one. A
            # statement is behind the place where the snapshot begins, so the next one is another.
            hopeless = begun_again and not publisher.transactions and not isinstance(error, UnseenRows)
            if not _wanted(error, settings) or stop.is_set() or hopeless:
                raise
            log.warning("the log does not tell what rows there are; a new snapshot begins", extra={"error": str(error)})
            begin = request_snapshot(source, broker, settings, leadership)
            log.info("snapshot begins", extra={"file": begin.file, "position": begin.position, "epoch": begin.epoch})
            begun_again = True


def _wanted(error: DataRefused, settings: Settings) -> bool:
    """Whether a new snapshot is to be taken rather than the error raised."""
    if isinstance(error, UnseenRows):
        return settings.source.snapshot != "no_data"
    return settings.source.snapshot == "when_needed" and not isinstance(error, ForeignTopic)
