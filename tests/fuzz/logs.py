"""Binlog files taken apart and put together, so that damage reaches the code behind the checks of files and positions.

`decoded` is everything that a decoder can be asked, in a form that compares.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from itertools import count

from connector.errors import VecsyncError
from connector.source.binlog import files
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import FILE_MAGIC, HEADER_SIZE, EventType, RowsKind
from connector.source.binlog.rows import Rows
from tests.conformance.binlogs.reading import Everything

_CHECKSUM = 4
_HEADER = struct.Struct("<IBIIIH")


def decoded(content: bytes, *, every: int = 0) -> tuple[list[object], VecsyncError | None]:
    """All items of a file, rows as values, and what stopped it. Anything but a VecsyncError is raised. every: each so
    many-th transaction is passed over as dealt with; 0: none."""
    decoder = Decoder(Everything(), "fuzzed.000001")
    if every:
        begun = count(1)
        decoder.known = lambda _: next(begun) % every == 0
    found: list[object] = []
    try:
        for event in files.events(io.BytesIO(content)):
            for item in decoder.feed(event):
                if isinstance(item, Rows):
                    rows: list[object] = list(item.pairs() if item.kind is RowsKind.UPDATE else item.rows())
                    found.append((item.kind, item.table.name, item.flags, repr(rows)))
                else:
                    found.append(item)
    except VecsyncError as error:
        return found, error
    return found, None


def split(content: bytes) -> list[bytes]:
    """Events of a whole file."""
    return list(files.events(io.BytesIO(content)))


def joined(events: Iterable[bytes]) -> bytes:
    """A file of these events without checksums: sizes and positions are made to fit, whatever stands in them."""
    parts = [FILE_MAGIC]
    position = len(FILE_MAGIC)
    for event in events:
        if len(event) < HEADER_SIZE:
            continue
        timestamp, kind, server_id, _, log_pos, flags = _HEADER.unpack_from(event)
        position += len(event)
        whole = _HEADER.pack(timestamp, kind, server_id, len(event), position if log_pos else 0, flags)
        whole += event[HEADER_SIZE:]
        if kind == EventType.FORMAT_DESCRIPTION and len(whole) > HEADER_SIZE + _CHECKSUM + 1:
            whole = whole[: -_CHECKSUM - 1] + b"\0"
            whole += zlib.crc32(whole).to_bytes(4, "little")
        parts.append(whole)
    return b"".join(parts)


def unchecked(content: bytes) -> bytes:
    """The same log as its server would have written it with checksums off."""
    format_description, *rest = split(content)
    with_checksums = format_description[-_CHECKSUM - 1] == 1
    return joined([format_description, *(event[:-_CHECKSUM] if with_checksums else event for event in rest)])


def repaired(content: bytes) -> bytes:
    """Whatever stands in `content`, cut into events by the sizes it says, and joined again."""
    events: list[bytes] = []
    at = len(FILE_MAGIC)
    while at + HEADER_SIZE <= len(content):
        size = max(HEADER_SIZE, int.from_bytes(content[at + 9 : at + 13], "little"))
        events.append(content[at : at + size])
        at += size
    return joined(events)


def in_payloads(content: bytes) -> bytes:
    """The same log with the content of each GTID's transaction in a transaction payload, stored as it is: the fuzzer
    gets nowhere inside compressed bytes."""
    found: list[bytes] = []
    held: list[bytes] | None = None
    for event in split(unchecked(content)):
        if event[4] in (EventType.GTID, EventType.GTID_TAGGED, EventType.MARIADB_GTID):
            found += [event] if held is None else [_payload(held), event]
            held = []
        elif held is None:
            found.append(event)
        else:
            held.append(event)
    return joined([*found, *([] if held is None else [_payload(held)])])


def _payload(events: list[bytes]) -> bytes:
    plain = b"".join(events)
    fields = ((2, b"\xff"), (3, _packed(len(plain))), (1, _packed(len(plain))))
    body = b"".join(bytes([kind, len(value)]) + value for kind, value in fields) + b"\0" + plain
    return _HEADER.pack(0, EventType.TRANSACTION_PAYLOAD, 1, HEADER_SIZE + len(body), 1, 0) + body


def _packed(value: int) -> bytes:
    return b"\xfe" + value.to_bytes(8, "little")
