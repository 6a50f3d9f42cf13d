"""Asking for a new snapshot: the way out when the log of the source cannot be followed any further.

The publisher must not be running. What it left is superseded: the next run begins at the source's present end, reads
every row again, and removes from replicas what is gone (docs/guarantees.md, "What vanished unseen").
"""

from __future__ import annotations

from dataclasses import replace
from threading import Event

from connector.broker import Broker
from connector.errors import DataRefused
from connector.model import SourcePosition
from connector.publish.moving import moved
from connector.publish.publisher import open_log
from connector.settings import Settings
from connector.source import Source


def request_snapshot(source: Source, broker: Broker, settings: Settings) -> SourcePosition:
    """Records where the next run begins, in a new epoch; returns it.

    Raises DataRefused without a recorded position (the first run takes a snapshot anyhow).
    """
    recorded, lanes = open_log(broker, settings, Event())
    if recorded is None:
        raise DataRefused(
            f"nothing is recorded for prefix {settings.topics.prefix!r}",
            hint="Run `vecsync capture run`: its first run takes a snapshot.",
        )
    # What was changed unseen left no trace in the log: only a new epoch puts the rows above what was published before.
    fresh = replace(source.start(recorded.source.epoch + 1), snapshot=None, snapshot_done=False)
    moved(broker, settings, lanes, fresh)
    return fresh
