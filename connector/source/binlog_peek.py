"""A look into a binlog file beside the stream that is followed: its events up to the present end, and no further.

It takes no other reader's place on the server, and must never take an interruption for the end.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias

import pymysql

from connector.errors import ConnectionLost
from connector.source.binlog.connection import peek_from_position
from connector.source.binlog.events import FLAG_ARTIFICIAL, EventType, parse_header
from connector.source.binlog.format import BEFORE_FIRST, parse_format

Connection: TypeAlias = "pymysql.Connection[Any]"

FIRST = 4  # where the first event of a file stands
_AROUND = frozenset({EventType.ROTATE, EventType.HEARTBEAT, EventType.HEARTBEAT_V2, EventType.START_ENCRYPTION})


def peek(connection: Connection, file: str, position: int, patience_s: float) -> Generator[tuple[bytes, bool]]:
    """Events of one file up to its present end, without those that only say where the stream is; each with whether it
    ends in a checksum. Closes the connection. Raises Unreachable, and what the server says of a place it lacks."""
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
