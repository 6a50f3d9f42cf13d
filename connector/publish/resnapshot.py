"""Asking for a new snapshot: the way out when the log of the source cannot be followed any further.

The publisher must not be running. What it left is superseded: the next run begins at the source's present end, reads
every row again, and removes from replicas what is gone (docs/guarantees.md, "What vanished unseen").
"""

from __future__ import annotations

from dataclasses import replace

from connector.broker import Broker
from connector.model import SourcePosition
from connector.publish.lease import Leadership
from connector.publish.moving import moved, next_epoch, nobody_publishing
from connector.settings import Settings
from connector.source import Source
from connector.upstream.presence import with_present


def request_snapshot(
    source: Source, broker: Broker, settings: Settings, leadership: Leadership | None = None
) -> SourcePosition:
    """Records where the next run begins, in a new epoch; returns it. leadership: of one who may lead already.

    Raises DataRefused while a capture runs, and without a recorded position (the first run takes a snapshot anyhow).
    """
    # All of their rows are read, so whatever stands of them now is superseded.
    settings = with_present(settings)
    with nobody_publishing(broker, settings, leadership) as (recorded, lanes):
        # What was changed unseen left no trace in the log: only a new epoch puts the rows above what was published
        # before.
        epoch = next_epoch(broker, settings, recorded, lanes)
        fresh = replace(source.start(epoch), snapshot=None, snapshot_done=False)
        moved(broker, settings, recorded, lanes, fresh)
        return fresh
