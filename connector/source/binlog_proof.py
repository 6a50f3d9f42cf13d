"""Whether a server's binlog is the one that was read: finds an event to know it by, and looks for it again.

Looks by a stream of its own, beside the one that is read, and takes nothing from it but that event: the transaction
around it may have a million rows. It must never take silence, or an end, for a proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import pymysql

from connector.errors import ConnectionLost, DataRefused, ForeignLog
from connector.model import LogMark
from connector.source.binlog.connection import peek_from_position
from connector.source.binlog.events import FLAG_ARTIFICIAL, HEADER_SIZE, EventType, parse_header
from connector.source.binlog.format import BEFORE_FIRST, parse_format
from connector.source.binlog.marks import CERTAIN, MARKING, Marks, told
from connector.source.binlog.position import FilePosition

Connection: TypeAlias = "pymysql.Connection[Any]"

_FIRST = 4
_FAR_ENOUGH = 64 * 2**20  # into a file that begins with a large transaction
_AROUND = frozenset({EventType.ROTATE, EventType.HEARTBEAT, EventType.HEARTBEAT_V2, EventType.START_ENCRYPTION})


def find_mark(connection: Connection, file: str, before: int, patience_s: float) -> LogMark | None:
    """An event near the beginning of the file, before that position; the log up to there is known by it. None: there is
    none. Closes the connection. Raises Unreachable, PositionLost, CorruptedLog."""
    marks, at = Marks(), FilePosition(file)
    for event, crc32 in _peek(connection, file, _FIRST, patience_s):
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
        event, crc32 = next(_peek(connection, mark.file, mark.position, patience_s), (b"", False))
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


def _peek(connection: Connection, file: str, position: int, patience_s: float) -> Iterator[tuple[bytes, bool]]:
    """Events of the file up to its present end, without those that only say where the stream is; each with whether it
    ends in a checksum."""
    try:
        reader = peek_from_position(connection, file=file, position=position, patience_s=patience_s)
    except BaseException:
        connection.close()
        raise
    form = BEFORE_FIRST
    try:
        while True:
            try:
                event = reader.read_event(patience_s)
            except ConnectionLost:
                if reader.ended:
                    return
                raise
            if event is None:
                continue  # silence for longer than a few heartbeats raises
            header = parse_header(event)
            kind = header.type
            if kind == EventType.FORMAT_DESCRIPTION:
                form = parse_format(event)
            elif kind == EventType.ROTATE and not header.flags & FLAG_ARTIFICIAL:
                return
            elif kind not in _AROUND:
                yield event, form.crc32
    finally:
        reader.close()
