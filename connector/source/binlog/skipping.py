"""Passing over the beginning of a file, to get to a position that the protocol cannot name. Pure.

COM_BINLOG_DUMP takes 32 bits. Past 4 GiB of a file (a transaction may be that large, and others may follow it in the
same file) the only way is to ask for the file from its beginning and to drop what was read before, unlooked at.
"""

from __future__ import annotations

import struct
from zlib import crc32

from connector.errors import CorruptedLog, ForeignLog
from connector.source.binlog.events import FLAG_ARTIFICIAL, HEADER_SIZE, EventType, parse_header
from connector.source.binlog.format import BEFORE_FIRST, CHECKSUM_SIZE, parse_format
from connector.source.binlog.position import FilePosition


class SkipTo:
    """Give it every event of a stream that begins at the file's first one, until `done`."""

    def __init__(self, file: str, position: int) -> None:
        self._at = FilePosition(file)
        self._position = position
        self._format = BEFORE_FIRST
        self.done = False

    def take(self, event: bytes) -> bytes | None:
        """What a decoder has to be fed instead: the event, nothing, or a rotation to the position once it is reached.

        Raises ForeignLog if the file ends before the position, CorruptedLog if no event ends there.
        """
        header = parse_header(event)
        if header.type == EventType.FORMAT_DESCRIPTION:
            self._format = parse_format(event)
        elif header.type == EventType.ROTATE and self._format is not BEFORE_FIRST:
            raise ForeignLog(
                f"{self._at.file} ends at {self._at.end} on the source, and was read up to {self._position} before",
                hint="The source's log is shorter than what was read from it: it was reset, or lost its end in a "
                "crash. Take a new snapshot.",
            )
        elif header.type in (EventType.ROTATE, EventType.HEARTBEAT, EventType.HEARTBEAT_V2):
            return event
        self._at.advance(header, contiguous=False)
        if self._at.end > self._position:
            raise CorruptedLog(f"no event ends at {self._position} of {self._at.file}: one ends at {self._at.end}")
        if self._at.end < self._position:
            return event if header.type == EventType.FORMAT_DESCRIPTION else None
        self.done = True
        return self._rotation()

    def _rotation(self) -> bytes:
        body = self._position.to_bytes(8, "little") + self._at.file.encode("utf-8", "surrogateescape")
        size = HEADER_SIZE + len(body) + (CHECKSUM_SIZE if self._format.crc32 else 0)
        event = struct.pack("<IBIIIH", 0, EventType.ROTATE, 0, size, 0, FLAG_ARTIFICIAL) + body
        return event + crc32(event).to_bytes(4, "little") if self._format.crc32 else event
