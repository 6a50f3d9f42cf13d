"""Whether a server's binlog is the one that was read: finds an event to know it by, and looks for it again.

Looks by a stream of its own, beside the one that is read, and takes nothing from it but that event: the transaction
around it may have a million rows. It must never take silence, or an end, for a proof.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pymysql

from connector.errors import DataRefused, ForeignLog
from connector.model import LogMark
from connector.source.binlog.events import HEADER_SIZE, parse_header
from connector.source.binlog.marks import CERTAIN, MARKING, Marks, told
from connector.source.binlog.position import FilePosition
from connector.source.binlog_peek import FIRST, peek

Connection: TypeAlias = "pymysql.Connection[Any]"

_FAR_ENOUGH = 64 * 2**20  # into a file that begins with a large transaction


def find_mark(connection: Connection, file: str, before: int, patience_s: float) -> LogMark | None:
    """An event near the beginning of the file, before that position; the log up to there is known by it. None: there is
    none. Closes the connection. Raises Unreachable, PositionLost, CorruptedLog."""
    marks, at = Marks(), FilePosition(file)
    for event, crc32 in peek(connection, file, FIRST, patience_s):
        at.advance(parse_header(event), contiguous=False)
        if at.end > before:
            break
        if event[4] in MARKING:
            marks.saw(event, file, at.end, crc32=crc32)
            if event[4] in CERTAIN:
                break
        if at.end > _FAR_ENOUGH:
            break
    return marks.last()


def refuse_another_log(connection: Connection, mark: LogMark, patience_s: float) -> None:
    """Raises ForeignLog unless the log has exactly that event there; Unreachable when that cannot be asked."""
    try:
        event, crc32 = next(peek(connection, mark.file, mark.position, patience_s), (b"", False))
    except ForeignLog:
        raise
    except DataRefused as error:  # no event begins there
        raise _another(mark, str(error)) from error
    if len(event) < HEADER_SIZE or told(event, crc32=crc32) != mark.event:
        raise _another(mark, "another one stands there" if event else "the log ends there")


def _another(mark: LogMark, why: str) -> ForeignLog:
    return ForeignLog(
        f"the source's log is not the one that was read: at {mark.file}:{mark.position} it does not have the event "
        f"that was read there ({why}): the source was reset, or is another server"
    )
