"""The format description event, and verification of event checksums.

Every binlog file begins with a format description; it says which checksum the file's events end in. A checksum that
does not fit raises CorruptedLog: an event that was damaged on disk or on its way is never decoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from isal.isal_zlib import crc32

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.events import FLAG_IN_USE, HEADER_SIZE, EventType, type_name
from connector.source.binlog.integers import fixed

CHECKSUM_SIZE = 4
_LOG_POS_OFFSET, _FLAGS_OFFSET = 13, 17
_CHECKSUM_OFF, _CHECKSUM_CRC32 = 0, 1
_RESIDUE = 0x2144DF1C  # CRC32 of any bytes with their own CRC32 behind them
# Binlog version (2), server version (50), creation time (4), header length (1).
_FIXED_PART = 57
_ROWS_HEADER_SIZES = {6: 4, 8: 6, 10: 6}


class FormatDescription(NamedTuple):
    """What a file says of its own events."""

    server_version: str
    mariadb: bool
    created: int  # seconds since the epoch; 0 in the copy that is sent when reading starts inside a file
    crc32: bool
    table_id_size: int  # 6, or 4 in files of very old servers
    began: int = 0  # when the file was begun, in seconds since the epoch, also in copies: no two logs share it


# What holds until the first format description arrives: the server's made-up ROTATE comes before it.
BEFORE_FIRST = FormatDescription("", False, 0, False, 6)


def parse_format(event: bytes) -> FormatDescription:
    """Body of a FORMAT_DESCRIPTION event. Its own checksum is there even if the others have none, and is verified.

    Raises CorruptedLog; UnsupportedChange for another binlog version or checksum algorithm.
    """
    if len(event) < HEADER_SIZE + _FIXED_PART + CHECKSUM_SIZE + 1 + EventType.TABLE_MAP:
        raise CorruptedLog("format description event is too short")
    version = fixed(event, HEADER_SIZE, 2)
    if version != 4:
        raise UnsupportedChange(f"binlog version {version} is not supported (only 4 is)")
    server_version = event[HEADER_SIZE + 2 : HEADER_SIZE + 52].split(b"\0", 1)[0].decode("latin-1")
    if event[HEADER_SIZE + _FIXED_PART - 1] != HEADER_SIZE:
        raise UnsupportedChange("binlog events with a header of other than 19 bytes are not supported")
    mariadb = "mariadb" in server_version.lower()
    algorithm = event[-CHECKSUM_SIZE - 1] if _knows_checksums(server_version) else _CHECKSUM_OFF
    if algorithm not in (_CHECKSUM_OFF, _CHECKSUM_CRC32):
        raise UnsupportedChange(f"checksum algorithm {algorithm} is not supported (NONE and CRC32 are)")
    # With checksums off, both servers send the copy for a reader that begins inside a file (position 0) with the
    # checksum of the original, which it no longer fits.
    copied = algorithm == _CHECKSUM_OFF and fixed(event, _LOG_POS_OFFSET, 4) == 0
    if _knows_checksums(server_version) and not copied:
        # A server clears this flag when it closes the file, without computing the checksum anew.
        closed = bytearray(event)
        closed[_FLAGS_OFFSET] &= ~FLAG_IN_USE & 0xFF
        verify(bytes(closed), EventType.FORMAT_DESCRIPTION)
    lengths = HEADER_SIZE + _FIXED_PART - 1  # + event type = its post-header length
    table_map_header = event[lengths + EventType.TABLE_MAP]
    if table_map_header not in _ROWS_HEADER_SIZES:
        raise CorruptedLog(f"format description gives table maps a header of {table_map_header} bytes")
    return FormatDescription(
        server_version=server_version,
        mariadb=mariadb,
        created=fixed(event, HEADER_SIZE + 52, 4),
        crc32=algorithm == _CHECKSUM_CRC32,
        table_id_size=_ROWS_HEADER_SIZES[table_map_header],
        began=fixed(event, 0, 4),
    )


def _knows_checksums(server_version: str) -> bool:
    """Checksums came with MySQL 5.6.1 and MariaDB 5.3."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", server_version)
    if match is None:
        raise CorruptedLog(f"format description names no server version: {server_version!r}")
    version = tuple(map(int, match.groups()))
    return version >= ((5, 3, 0) if "mariadb" in server_version.lower() else (5, 6, 1))


def verify(event: bytes, event_type: int) -> None:
    """Raises CorruptedLog unless the last four bytes are the CRC32 of those before them."""
    if crc32(event) != _RESIDUE:
        stored = int.from_bytes(event[-CHECKSUM_SIZE:], "little")
        computed = crc32(memoryview(event)[:-CHECKSUM_SIZE])
        raise CorruptedLog(
            f"checksum of a {type_name(event_type)} event of {len(event)} bytes is {computed:08x}, "
            f"and it carries {stored:08x}",
            hint="The event was damaged on the server's disk or on its way; check both, then resume.",
        )


def has_checksum(event: bytes) -> bool:
    """For the events before the first format description, which alone says whether events end in a checksum."""
    if len(event) < HEADER_SIZE + CHECKSUM_SIZE:
        return False
    return crc32(memoryview(event)[:-CHECKSUM_SIZE]) == int.from_bytes(event[-CHECKSUM_SIZE:], "little")
