"""Moving the recorded position by command: to another place in the source's log, or past one transaction.

The publisher must not be running. Both are a person's decision to leave something out or to publish it again, so both
are recorded and logged; nothing here decides by itself.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from connector.broker import Broker
from connector.errors import ForeignLog, UsageError
from connector.model import SourcePosition
from connector.publish.moving import moved, next_epoch, nobody_publishing, record
from connector.publish.opening import describe
from connector.settings import Settings
from connector.source import Source
from connector.source.binlog.gtid import GtidSet, MariadbGtidList

log = logging.getLogger("connector.publish")


def set_position(
    source: Source, broker: Broker, settings: Settings, where: str, *, dry_run: bool
) -> tuple[SourcePosition, SourcePosition]:
    """(what was recorded, where the next run begins). In a new epoch: what is read again sorts above what stands.

    where: `file:position` or a GTID set. Raises UsageError, ForeignLog and PositionLost for a place that the source
    does not have, DataRefused without a recorded position.
    """
    place = source.place(where)
    with nobody_publishing(broker, settings) as (recorded, lanes):
        at, epoch = recorded.source, next_epoch(broker, settings, recorded, lanes)
        new = replace(place, epoch=epoch, skipped=at.skipped, snapshot_done=at.snapshot_done)
        if not dry_run:
            # A table that was never read stays new to the position.
            known = {lane.topic for lane in recorded.ends}
            moved(broker, settings, recorded, [lane for lane in lanes if lane.topic in known], new)
            log.warning("position set by command", extra={"was": describe(at), "position": describe(new)})
        return at, new


def skip_transaction(source: Source, broker: Broker, settings: Settings, gtid: str, *, dry_run: bool) -> SourcePosition:
    """Records that this transaction is left out; returns the position, which stays where it is.

    Raises UsageError for what is no GTID of one transaction or was dealt with, DataRefused without a recorded position.
    """
    with nobody_publishing(broker, settings) as (recorded, _):
        at = recorded.source
        if source.identity() != at.identity:
            raise ForeignLog("the source is not the one that was recorded", hint="Run capture on it first.")
        if not at.file:
            raise UsageError("what is read are a log's entries, which have no GTID", hint="Mend or delete the row.")
        name = _one(gtid, at)
        new = replace(at, skipped=(*at.skipped, name))
        if not dry_run:
            record(broker, settings, new, recorded.ends)
            log.warning("transaction will be left out, by command", extra={"gtid": name, "position": describe(at)})
        return new


def _one(text: str, at: SourcePosition) -> str:
    """As the log names it."""
    kind = MariadbGtidList if at.identity.connector == "mariadb" else GtidSet
    given = kind.parse(text)
    if given.single is None:
        raise UsageError(f"{text!r} is not the GTID of one transaction", hint="The error that stops capture names it.")
    name = str(given.single)
    if kind.parse(at.gtid_set or "").has(name):
        raise UsageError(f"{name} was dealt with already", hint="`vecsync capture position show` prints what was.")
    if name in at.skipped:
        raise UsageError(f"{name} is left out already", hint="`vecsync capture position show` prints what is.")
    return name
