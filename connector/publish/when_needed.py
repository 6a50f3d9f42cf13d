"""Publishing that takes a new snapshot where the source's log does not tell what rows there are: after a statement that
changed a table as a whole, unless `source.snapshot` is `no_data`, and where the log cannot be followed any further, if
it is `when_needed`.

It decides nothing about what was published; the new snapshot supersedes it (docs/guarantees.md, "When needed" and
"Statements without rows"). Anything else stops as always: a topic that was made again, a change that is not understood,
a row that cannot be published.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event

from connector.broker import Broker
from connector.errors import (
    DataRefused,
    ForeignLog,
    ForeignTopic,
    PositionLost,
    TableAppeared,
    Unreachable,
    UnseenRows,
)
from connector.model import TableName
from connector.publish.lease import Leadership
from connector.publish.publisher import Progress, Publisher
from connector.publish.resnapshot import request_snapshot
from connector.settings import Settings
from connector.source import Source
from connector.source.connect import open_source
from connector.upstream.preflight import require_in_time
from connector.upstream.tables import home_of, named, with_tables

log = logging.getLogger("connector.publish")

_AGAIN_S = 0.5


def publish(
    source: Source,
    broker: Broker,
    settings: Settings,
    stop: Event,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    until_current: bool = False,
) -> Progress:
    """As `Publisher.run`; also of tables that are new to the position, or that patterns find on the way. Raises
    PreflightRefused for one of them that cannot be followed."""
    with ExitStack() as ending:
        # Kept while the snapshot is asked for: a standby would only find the same log.
        leadership = Leadership(broker, settings.topics.prefix, stop)
        ending.callback(leadership.close)
        return _publish(source, broker, settings, stop, on_progress, leadership, ending, until_current)


def _publish(
    source: Source,
    broker: Broker,
    settings: Settings,
    stop: Event,
    on_progress: Callable[[Progress], None] | None,
    leadership: Leadership,
    ending: ExitStack,
    until_current: bool,
) -> Progress:
    begun_again = False
    while True:
        publisher = Publisher(source, broker, settings, stop, on_progress, leadership)
        try:
            return publisher.run(until_current=until_current)
        except TableAppeared as error:
            if stop.is_set():
                return publisher.so_far()
            home = home_of(settings.source)
            came = [named(table, home) for table in error.tables]
            settings = with_tables(settings, came)
            log.info("tables are followed from here on", extra={"tables": error.tables, "why": str(error)})
            # What a snapshot published before this one came tells that its log was not lost again at once.
            begun_again = begun_again and not publisher.transactions
            if not _check(settings, came, stop, leadership):
                return publisher.so_far()
            source.close()
            source = open_source(settings)
            ending.callback(source.close)
            if error.unread:
                _begin_snapshot(source, broker, settings, leadership, error)
                begun_again = True
        except (PositionLost, ForeignLog, UnseenRows) as error:
            # A log that is lost again before anything of the snapshot was published is not helped by another one. A
            # statement is behind the place where the snapshot begins, so the next one is another.
            hopeless = begun_again and not publisher.transactions and not isinstance(error, UnseenRows)
            if not _wanted(error, settings) or stop.is_set() or hopeless:
                raise
            _begin_snapshot(source, broker, settings, leadership, error)
            begun_again = True


def _check(settings: Settings, came: Sequence[TableName], stop: Event, leadership: Leadership) -> bool:
    """The source, again, with tables that came. False: told to stop. A connection that breaks meanwhile is no reason to
    end, nor is a table that somebody holds; that another capture takes over is."""
    until = time.monotonic() + settings.source.reconnect_max_s

    def held() -> None:
        """It answers: that it was away before does not count."""
        nonlocal until
        until = time.monotonic() + settings.source.reconnect_max_s
        leadership.acquire()

    while True:
        try:
            return require_in_time(settings, stop, came, held) is not None
        except Unreachable as error:
            if not error.retriable or time.monotonic() > until or stop.wait(_AGAIN_S):
                raise
            log.warning("the source will be checked again", extra={"error": str(error)})


def _begin_snapshot(
    source: Source, broker: Broker, settings: Settings, leadership: Leadership, why: DataRefused
) -> None:
    log.warning("the log does not tell what rows there are; a new snapshot begins", extra={"error": str(why)})
    begin = request_snapshot(source, broker, settings, leadership)
    log.info("snapshot begins", extra={"file": begin.file, "position": begin.position, "epoch": begin.epoch})


def _wanted(error: DataRefused, settings: Settings) -> bool:
    """Whether a new snapshot is to be taken rather than the error raised."""
    if isinstance(error, UnseenRows):
        return settings.source.snapshot != "no_data"
    return settings.source.snapshot == "when_needed" and not isinstance(error, ForeignTopic)
