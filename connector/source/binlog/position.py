"""Where an event stands in its file, in 64 bits. Pure.

Events carry only the low 32 bits of their end. Files grow past 4 GiB when one transaction is that large, so the upper
bits are kept here, by adding up. A jump is legal between transactions only, where a server passes over what this
reader already has; inside one it means that events are missing.
"""

from __future__ import annotations

from connector.errors import CorruptedLog
from connector.source.binlog.events import FLAG_ARTIFICIAL, EventHeader, type_name

_LOW = 0xFFFFFFFF


class FilePosition:
    """`file`, and `end` of the last event of it."""

    __slots__ = ("end", "file")

    def __init__(self, file: str = "", end: int = 4) -> None:
        self.file = file
        self.end = end

    def advance(self, header: EventHeader, *, contiguous: bool) -> int:
        """Takes an event in, and returns the position of its first byte.

        contiguous: the event must begin where the last one ended. Raises CorruptedLog if it does not.
        """
        start = self.end
        follows = header.log_pos == (start + header.size) & _LOW
        if header.flags & FLAG_ARTIFICIAL or (header.log_pos == 0 and not follows):
            return start  # made up by the server: not in the file; 0 is also where a file passes a multiple of 4 GiB
        if not follows:
            start = self._jump(header, contiguous)
        self.end = start + header.size
        return start

    def _jump(self, header: EventHeader, contiguous: bool) -> int:
        beyond = (header.log_pos - header.size - self.end) & _LOW
        if contiguous or beyond > _LOW // 2:  # the latter is a step back, not a step over 2 GiB
            raise CorruptedLog(
                f"a {type_name(header.type)} event of {header.size} bytes that ends at {header.log_pos} (modulo "
                f"2^32) does not follow position {self.end} of {self.file}"
            )
        return self.end + beyond

    def reach(self, end: int) -> None:
        """The server says that nothing up to there concerns this reader."""
        self.end = max(self.end, end)
