"""Writes binlog events as servers do, so that tests can read them. Nothing here is shared with the reader."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.source.binlog.events import EventType

SERVER_ID = 7
TIMESTAMP = 1_700_000_000


def packed(value: int) -> bytes:
    if value < 251:
        return bytes([value])
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def packed_text(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return packed(len(raw)) + raw


@dataclass
class Log:
    """A file being written: `event` returns the bytes of one more event, with its position filled in."""

    position: int = 4
    checksums: bool = True
    timestamp: int = TIMESTAMP

    def event(
        self, kind: int, body: bytes, *, flags: int = 0, log_pos: int | None = None, checksum: bool | None = None
    ) -> bytes:
        checked = self.checksums if checksum is None else checksum
        size = 19 + len(body) + (4 if checked else 0)
        self.position += size
        end = self.position if log_pos is None else log_pos
        data = struct.pack("<IBIIIH", self.timestamp, kind, SERVER_ID, size, end & 0xFFFFFFFF, flags) + body
        return data + struct.pack("<I", zlib.crc32(data)) if checked else data

    def format_of_old(self, version: str, table_map_header: int) -> bytes:
        """As servers of before checksums wrote it."""
        lengths = bytearray(27)
        lengths[EventType.TABLE_MAP - 1] = table_map_header
        body = struct.pack("<H50sIB", 4, version.encode(), 0, 19) + bytes(lengths)
        return self.event(EventType.FORMAT_DESCRIPTION, body, checksum=False)

    def format(self, version: str = "9.7.0", created: int = 0) -> bytes:
        lengths = bytearray(42)
        lengths[EventType.TABLE_MAP - 1] = 8
        body = struct.pack("<H50sIB", 4, version.encode(), created, 19) + bytes(lengths) + bytes([self.checksums])
        return self.event(EventType.FORMAT_DESCRIPTION, body, checksum=True)

    def rotate(self, file: str, position: int = 4, *, artificial: bool = True) -> bytes:
        before = self.position
        body = position.to_bytes(8, "little") + file.encode()
        data = self.event(EventType.ROTATE, body, flags=0x20 if artificial else 0, log_pos=0 if artificial else None)
        if artificial:
            self.position = before
        return data

    def gtid(self, number: int = 1, commit_us: int = 1_700_000_000_123_456, original_us: int | None = None) -> bytes:
        body = b"\0" + bytes(range(16)) + number.to_bytes(8, "little") + b"\2" + bytes(16)
        if original_us is None:
            body += commit_us.to_bytes(7, "little")
        else:
            body += (commit_us | 1 << 55).to_bytes(7, "little") + original_us.to_bytes(7, "little")
        return self.event(EventType.GTID, body + packed(0) + bytes(4))

    def mariadb_gtid(self, sequence: int = 1, flags: int = 0, rest: bytes = b"") -> bytes:
        body = sequence.to_bytes(8, "little") + (3).to_bytes(4, "little") + bytes([flags]) + rest
        return self.event(EventType.MARIADB_GTID, body.ljust(19, b"\0"))

    def query(self, sql: str, db: str = "app", *, status: bytes = b"", error: int = 0) -> bytes:
        return self.event(EventType.QUERY, query_body(sql, db, status=status, error=error))

    def xid(self) -> bytes:
        return self.event(EventType.XID, bytes(8))

    def xa_prepare(self, gtrid: bytes, bqual: bytes = b"", *, one_phase: bool = False) -> bytes:
        body = bytes([one_phase]) + struct.pack("<iII", 1, len(gtrid), len(bqual)) + gtrid + bqual
        return self.event(EventType.XA_PREPARE, body)

    def table_map(self, table: Table) -> bytes:
        return self.event(EventType.TABLE_MAP, table.body())

    def rows(self, kind: int, body: bytes) -> bytes:
        return self.event(kind, body)


def query_body(sql: str, db: str = "app", *, status: bytes = b"", error: int = 0) -> bytes:
    head = struct.pack("<IIBHH", 11, 0, len(db), error, len(status))
    return head + status + db.encode() + b"\0" + sql.encode()


@dataclass(frozen=True)
class Column:
    """type and metadata as they stand in a table map, and the optional metadata of the column."""

    type: int
    metadata: bytes = b""
    nullable: bool = True
    unsigned: bool | None = None  # set exactly for numbers
    collation: int | None = None  # set exactly for character columns
    name: str | None = None


@dataclass(frozen=True)
class Table:
    columns: Sequence[Column]
    db: str = "app"
    name: str = "docs"
    table_id: int = 77
    with_metadata: bool = True
    flags: int = 1
    extra: bytes = field(default=b"")

    def names(self) -> list[str]:
        return [column.name or f"c{at}" for at, column in enumerate(self.columns)]

    def body(self) -> bytes:
        columns = self.columns
        nulls = sum(1 << at for at, column in enumerate(columns) if column.nullable)
        metadata = b"".join(column.metadata for column in columns)
        body = (
            self.table_id.to_bytes(6, "little")
            + self.flags.to_bytes(2, "little")
            + packed_text(self.db)
            + b"\0"
            + packed_text(self.name)
            + b"\0"
            + packed(len(columns))
            + bytes(column.type for column in columns)
            + packed_text(metadata)
            + nulls.to_bytes((len(columns) + 7) // 8, "little")
        )
        return body + (self._optional() if self.with_metadata else b"") + self.extra

    def _optional(self) -> bytes:
        signs = [column.unsigned for column in self.columns if column.unsigned is not None]
        bits = bytearray((len(signs) + 7) // 8)
        for at, unsigned in enumerate(signs):
            bits[at // 8] |= unsigned << (7 - at % 8)
        collations = [column.collation for column in self.columns if column.collation is not None]
        fields = {1: bytes(bits), 3: b"".join(map(packed, collations)), 4: b"".join(map(packed_text, self.names()))}
        return b"".join(bytes([kind]) + packed_text(value) for kind, value in fields.items() if value)


def image(present: Sequence[bool], values: Sequence[bytes | None]) -> bytes:
    """A row image of the columns that are present; None is NULL. Bits past the last column are set, as servers do."""
    held = [value for value, there in zip(values, present, strict=True) if there]
    nulls = sum(1 << at for at, value in enumerate(held) if value is None)
    size = (len(held) + 7) // 8
    nulls |= (1 << 8 * size) - (1 << len(held))
    return nulls.to_bytes(size, "little") + b"".join(value for value in held if value is not None)


def bitmap(present: Sequence[bool]) -> bytes:
    return sum(1 << at for at, there in enumerate(present) if there).to_bytes((len(present) + 7) // 8, "little")


def rows_body(
    width: int,
    images: bytes,
    *,
    table_id: int = 77,
    flags: int = 1,
    present: Sequence[bool] | None = None,
    after: Sequence[bool] | None = None,
    version: int = 2,
    extra: bytes = b"",
) -> bytes:
    everything = [True] * width
    body = table_id.to_bytes(6, "little") + flags.to_bytes(2, "little")
    if version == 2:
        body += (2 + len(extra)).to_bytes(2, "little") + extra
    body += packed(width) + bitmap(everything if present is None else present)
    if after is not None:
        body += bitmap(after)
    return body + images


# Values, by type: (column, bytes in the image)


def decimal_bytes(text: str, precision: int, scale: int) -> bytes:
    """From the description of MySQL's decimal2bin: groups of nine digits, the partial ones outermost."""
    negative = text.startswith("-")
    whole, _, fraction = text.lstrip("-").partition(".")
    whole, fraction = (
        whole.zfill(precision - scale)[-(precision - scale) :] if precision > scale else "",
        fraction.ljust(scale, "0"),
    )
    sizes = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4, 9: 4}
    out = bytearray()
    first = len(whole) % 9
    pieces = [whole[:first], *(whole[at : at + 9] for at in range(first, len(whole), 9))]
    pieces += [fraction[at : at + 9] for at in range(0, len(fraction), 9)]
    for piece in pieces:
        out += int(piece or "0").to_bytes(sizes[len(piece)], "big")
    if negative:
        out = bytearray(octet ^ 0xFF for octet in out)
    out[0] ^= 0x80
    return bytes(out)


def fraction_bytes(micros: int, digits: int) -> bytes:
    size = (digits + 1) // 2
    return (micros // 10 ** (6 - 2 * size)).to_bytes(size, "big") if size else b""


def datetime2_bytes(parts: tuple[int, int, int, int, int, int], micros: int, digits: int) -> bytes:
    year, month, day, hour, minute, second = parts
    number = ((year * 13 + month) << 5 | day) << 17 | hour << 12 | minute << 6 | second
    return (number + 0x8000000000).to_bytes(5, "big") + fraction_bytes(micros, digits)


def time2_bytes(negative: bool, parts: tuple[int, int, int], micros: int, digits: int) -> bytes:
    """As my_time_packed_to_binary does: one number of 24 + 24 bits, negated, then cut into its parts."""
    hour, minute, second = parts
    number = (hour << 12 | minute << 6 | second) << 24 | micros
    if negative:
        number = -number
    whole, rest = number >> 24, abs(number) % (1 << 24) * (-1 if negative else 1)
    size = (digits + 1) // 2
    if size == 3:
        return (number + 0x800000000000).to_bytes(6, "big")
    fraction = abs(rest) // 10 ** (6 - 2 * size) * (-1 if rest < 0 else 1) if size else 0
    return (whole + 0x800000).to_bytes(3, "big") + (fraction % (1 << 8 * size)).to_bytes(size, "big")


def fraction_text(micros: int, digits: int) -> str:
    return f".{micros:06d}"[: digits + 1] if digits else ""


Cell = tuple[Column, Any, bytes]
