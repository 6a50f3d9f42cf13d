"""Events by which a binlog is known again. Pure.

After a reset file names, offsets and GTIDs begin anew, so a log has to be known by something that no other log says at
the same place:

XID   ends a transaction of a transactional engine. It carries a number that the server never gives twice while it runs.
GTID  of MySQL: begins a transaction, and says to the microsecond when it was committed. (It stands outside of a
      compressed transaction, whose XID does not.)
others, of logs that hold none of these: the text of a statement, with its session and its second.
"""

from __future__ import annotations

from hashlib import sha256

from connector.model import LogMark
from connector.source.binlog.events import EventType
from connector.source.binlog.format import CHECKSUM_SIZE

CERTAIN = frozenset({EventType.XID, EventType.GTID, EventType.ANONYMOUS_GTID, EventType.GTID_TAGGED})
_BETTER_THAN_NOTHING = frozenset({EventType.QUERY, EventType.QUERY_COMPRESSED, EventType.XA_PREPARE})
MARKING = frozenset(int(kind) for kind in CERTAIN | _BETTER_THAN_NOTHING)
_MOST_BYTES = 256
_SIZE_FIELD = slice(9, 13)


class Marks:
    """The best mark among the events seen, the last one of its kind."""

    __slots__ = ("_mark", "_seen")

    def __init__(self, mark: LogMark | None = None) -> None:
        self._mark = mark
        self._seen: tuple[bytes, str, int, bool] | None = None

    def saw(self, event: bytes, file: str, end: int, *, crc32: bool) -> None:
        """An event of a kind in MARKING, which ends there in the file."""
        if event[4] not in CERTAIN:
            known = file if self._seen is not None else self._mark and self._mark.file
            if known == file:
                return  # of one file everything before a mark is proven with it
        self._seen = event, file, end, crc32

    def last(self) -> LogMark | None:
        if self._seen is not None:
            event, file, end, crc32 = self._seen
            self._seen = None
            self._mark = LogMark(file, end - len(event), told(event, crc32=crc32))
        return self._mark


def told(event: bytes, *, crc32: bool) -> bytes:
    """What a mark holds of an event."""
    content = event[: _SIZE_FIELD.start] + event[_SIZE_FIELD.stop : len(event) - CHECKSUM_SIZE * crc32]
    return content if len(content) <= _MOST_BYTES else sha256(content).digest()
