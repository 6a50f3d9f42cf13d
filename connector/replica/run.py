"""The replica service: takes the lock, opens the present generation (or makes the first), and follows the topics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import apsw

from connector.broker import Broker
from connector.errors import ReplicaRefused, VecsyncError
from connector.replica import files, schema
from connector.replica.apply import Applier
from connector.replica.connection import file_error, open_writer
from connector.replica.consume import Follower, Progress
from connector.replica.gc import Collected, Collector
from connector.settings import Settings


def run(
    settings: Settings,
    broker: Broker,
    stop: Event,
    *,
    until_current: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Until `stop` is set; with until_current also when everything is applied that the topics held at the start.

    on_progress is called after every batch, and when something changes; keep it short.

    Raises ReplicaRefused (the file is foreign, newer, damaged, full, or has a writer), ForeignLog (a topic was made
    anew or has lost records), CorruptedLog and UnsupportedChange (a record is not understood; everything before it is
    applied), ConfigurationError, Unreachable.
    """
    path = settings.replica.path
    with files.WriterLock(path):
        file = open_present(path)
        return follow(settings, broker, stop, file, until_current=until_current, on_progress=on_progress)


def open_present(path: Path) -> Path:
    """The present generation; the first one is made. The caller holds the writer's lock."""
    file = files.present(path)
    if file is None:
        file = files.next_generation(path)
        make(file)
        files.switch(path, file)
    return file


def make(file: Path) -> None:
    """An empty replica."""
    connection = open_writer(file)
    try:
        schema.prepare(connection, file)
    except apsw.Error as error:
        raise file_error(error, file) from error
    finally:
        connection.close()


def follow(
    settings: Settings,
    broker: Broker,
    stop: Event,
    file: Path,
    *,
    until_current: bool,
    on_progress: Callable[[Progress], None] | None,
) -> Progress:
    """`run` on a file that is known. The caller holds the writer's lock."""
    connection = open_writer(file)
    follower = None
    try:
        schema.prepare(connection, file)
        follower = Follower(settings, broker, connection, file, stop, on_progress)
        done = follower.run(until_current=until_current)
        follower.close(None)
        return done
    except VecsyncError as error:
        if follower is not None:
            follower.close(error)
        raise
    except apsw.Error as error:
        known = file_error(error, file)
        if follower is not None:
            follower.close(known)
        raise known from error
    finally:
        connection.close()


def collect(settings: Settings) -> Collected:
    """One pass of the collector on a replica that nobody writes: sweeps, runs what has been reached, gives space back.

    Raises ReplicaRefused; a running writer collects by itself.
    """
    path = settings.replica.path
    with files.WriterLock(path):
        file = files.present(path)
        if file is None:
            raise ReplicaRefused(f"there is no replica at {path}", hint="Start one with `vecsync replica run`.")
        connection = open_writer(file)
        try:
            schema.prepare(connection, file)
            topics = dict(connection.execute("SELECT DISTINCT topic, shadow_table FROM replica_collection"))
            applier = Applier(connection, file, settings.replica.datasets, settings.replica.models, topics)
            collector = Collector(connection, file, applier)
            return collector.round().plus(collector.sweep()).plus(collector.reclaim_all())
        except apsw.Error as error:
            raise file_error(error, file) from error
        finally:
            connection.close()
