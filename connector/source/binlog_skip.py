"""Transactions that are left out by command: found by their GTID, and not even looked into. Pure.

Whatever made them impossible to follow, the decoder must not meet it again, after no restart.
"""

from __future__ import annotations

from collections.abc import Iterable

from connector.source.binlog.events import HEADER_SIZE, EventType, parse_header
from connector.source.binlog.format import CHECKSUM_SIZE
from connector.source.binlog.gtid import Gtid, MariadbGtid
from connector.source.binlog.heads import parse_gtid, parse_mariadb_gtid, parse_tagged_gtid

GTIDS = frozenset({EventType.GTID, EventType.GTID_TAGGED, EventType.MARIADB_GTID})
# What can follow a transaction, and never stands in one.
_AROUND = frozenset(
    {
        EventType.ANONYMOUS_GTID,
        EventType.ROTATE,
        EventType.FORMAT_DESCRIPTION,
        EventType.STOP,
        EventType.HEARTBEAT,
        EventType.HEARTBEAT_V2,
        EventType.BINLOG_CHECKPOINT,
    }
)


class Skip:
    """False, when tested, if nothing is left out."""

    __slots__ = ("_gtids", "inside", "left_out")

    def __init__(self, gtids: Iterable[str]) -> None:
        self._gtids = frozenset(gtids)
        self.inside = False  # the last event belongs to a transaction that is left out
        self.left_out: Gtid | MariadbGtid | None = None  # the last one

    def __bool__(self) -> bool:
        return bool(self._gtids)

    def takes(self, event: bytes, *, crc32: bool) -> bool:
        """Whether the event belongs to such a transaction. Ask once for each, in the order of the log."""
        kind = event[4]
        if kind in GTIDS:
            gtid = gtid_of(event, crc32=crc32)
            self.inside = str(gtid) in self._gtids
            if self.inside:
                self.left_out = gtid
        elif kind in _AROUND:
            self.inside = False
        return self.inside


def gtid_of(event: bytes, *, crc32: bool) -> Gtid | MariadbGtid | None:
    """Of an event of one of the kinds in GTIDS."""
    body = event[HEADER_SIZE : len(event) - CHECKSUM_SIZE * crc32]
    if event[4] == EventType.MARIADB_GTID:
        return parse_mariadb_gtid(body, parse_header(event).server_id).gtid
    if event[4] == EventType.GTID_TAGGED:
        return parse_tagged_gtid(body).gtid
    return parse_gtid(body, anonymous=False).gtid
