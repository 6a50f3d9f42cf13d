"""Hypothesis strategies for columns of every type, each with a value as it is stored and as it must be read."""

from __future__ import annotations

import struct

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from connector.source.binlog.table_map import ColumnType as C
from tests.unit.binlog.writer import (
    Cell,
    Column,
    datetime2_bytes,
    decimal_bytes,
    fraction_text,
    time2_bytes,
)

UTF8MB4, LATIN1, BINARY = 255, 8, 63

# The machine may be busy with servers: slowness is no failure here.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def integers(draw: st.DrawFn) -> Cell:
    kind, size = draw(st.sampled_from([(C.TINY, 1), (C.SHORT, 2), (C.INT24, 3), (C.LONG, 4), (C.LONGLONG, 8)]))
    unsigned = draw(st.booleans())
    bits = 8 * size
    low, high = (0, (1 << bits) - 1) if unsigned else (-(1 << bits - 1), (1 << bits - 1) - 1)
    value = draw(st.integers(low, high) | st.sampled_from([low, high, 0]))
    return Column(kind, unsigned=unsigned), value, (value % (1 << bits)).to_bytes(size, "little")


@st.composite
def reals(draw: st.DrawFn) -> Cell:
    wide = draw(st.booleans())
    value = draw(st.floats(width=64 if wide else 32, allow_nan=False))
    column = Column(C.DOUBLE, b"\x08", unsigned=False) if wide else Column(C.FLOAT, b"\x04", unsigned=False)
    return column, value, struct.pack("<d" if wide else "<f", value)


@st.composite
def decimals(draw: st.DrawFn) -> Cell:
    precision = draw(st.integers(1, 65))
    scale = draw(st.integers(0, min(30, precision)))
    whole = draw(st.integers(0, 10 ** (precision - scale) - 1))
    text = str(whole)
    if scale:
        text += f".{draw(st.integers(0, 10**scale - 1)):0{scale}d}"
    if text.strip("0.") and draw(st.booleans()):
        text = f"-{text}"
    column = Column(C.NEWDECIMAL, bytes([precision, scale]), unsigned=False)
    return column, text, decimal_bytes(text, precision, scale)


def _length(size: int, raw: bytes) -> bytes:
    return len(raw).to_bytes(size, "little") + raw


@st.composite
def strings(draw: st.DrawFn, *collations: int) -> Cell:
    """VARCHAR, CHAR and BLOB types, as text in two character sets and as bytes, unless said."""
    collation = draw(st.sampled_from(collations or (UTF8MB4, LATIN1, BINARY)))
    if collation == BINARY:
        raw = draw(st.binary(max_size=600))
        value: str | bytes = raw
    else:
        value = draw(st.text(max_size=150) if collation == UTF8MB4 else st.text("aé€ž~\n", max_size=150))
        raw = value.encode("utf-8" if collation == UTF8MB4 else "cp1252")
    kind = draw(st.sampled_from([C.VARCHAR, C.STRING, C.BLOB]))
    if kind is C.BLOB:
        size = draw(st.integers(1 if len(raw) < 256 else 2, 4))
        return Column(C.BLOB, bytes([size]), collation=collation), value, _length(size, raw)
    longest = draw(st.integers(max(1, len(raw)), 1000))
    size = 2 if longest > 255 else 1
    if kind is C.VARCHAR:
        return Column(C.VARCHAR, longest.to_bytes(2, "little"), collation=collation), value, _length(size, raw)
    if collation == BINARY:
        value = raw.ljust(longest, b"\0")
    metadata = bytes([0xFE ^ (longest >> 4 & 0x30), longest & 0xFF])
    return Column(C.STRING, metadata, collation=collation), value, _length(size, raw)


@st.composite
def opaque(draw: st.DrawFn) -> Cell:
    """Types whose bytes are handed on as they are."""
    kind = draw(st.sampled_from([C.VECTOR, C.GEOMETRY]))
    raw = draw(st.binary(max_size=40))
    return Column(kind, b"\x04", collation=BINARY if kind is C.VECTOR else None), raw, _length(4, raw)


@st.composite
def bits(draw: st.DrawFn) -> Cell:
    count = draw(st.integers(1, 64))
    value = draw(st.integers(0, (1 << count) - 1))
    return Column(C.BIT, bytes([count % 8, count // 8])), value, value.to_bytes((count + 7) // 8, "big")


@st.composite
def members(draw: st.DrawFn) -> Cell:
    """ENUM and SET without their members in the metadata: numbers."""
    if draw(st.booleans()):
        size = draw(st.integers(1, 2))
        value = draw(st.integers(0, 256**size - 1))
        return Column(C.STRING, bytes([C.ENUM, size])), value, value.to_bytes(size, "little")
    size = draw(st.integers(1, 8))
    value = draw(st.integers(0, 256**size - 1))
    return Column(C.STRING, bytes([C.SET, size])), value, value.to_bytes(size, "little")


_CLOCK = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))


@st.composite
def moments(draw: st.DrawFn) -> Cell:
    """DATE, TIME, DATETIME, TIMESTAMP and YEAR, in the forms of before and after MySQL 5.6."""
    digits = draw(st.integers(0, 6))
    micros = draw(st.integers(0, 10**digits - 1)) * 10 ** (6 - digits)
    fraction = fraction_text(micros, digits)
    year, month, day = draw(st.integers(0, 9999)), draw(st.integers(0, 12)), draw(st.integers(0, 31))
    hour, minute, second = draw(_CLOCK)
    date, clock = f"{year:04d}-{month:02d}-{day:02d}", f"{hour:02d}:{minute:02d}:{second:02d}"
    kind = draw(st.sampled_from([C.DATE, C.YEAR, C.DATETIME2, C.DATETIME, C.TIMESTAMP2, C.TIMESTAMP, C.TIME2, C.TIME]))
    if kind is C.DATE:
        return Column(kind), date, (year << 9 | month << 5 | day).to_bytes(3, "little")
    if kind is C.YEAR:
        number = draw(st.integers(0, 255))
        return Column(kind), 1900 + number if number else 0, bytes([number])
    if kind is C.DATETIME2:
        raw = datetime2_bytes((year, month, day, hour, minute, second), micros, digits)
        return Column(kind, bytes([digits])), f"{date} {clock}{fraction}", raw
    if kind is C.DATETIME:
        number = int(f"{year:04d}{month:02d}{day:02d}{hour:02d}{minute:02d}{second:02d}")
        return Column(kind), f"{date} {clock}", number.to_bytes(8, "little")
    if kind in (C.TIMESTAMP2, C.TIMESTAMP):
        days = draw(st.integers(0, 24_000))
        seconds = days * 86_400 + hour * 3600 + minute * 60 + second
        text = f"{_civil(days)} {clock}" if seconds else "0000-00-00 00:00:00"
        if kind is C.TIMESTAMP:
            return Column(kind), text, seconds.to_bytes(4, "little")
        size = (digits + 1) // 2
        raw = seconds.to_bytes(4, "big") + (micros // 10 ** (6 - 2 * size)).to_bytes(size, "big")
        return Column(kind, bytes([digits])), text + fraction, raw
    hours = draw(st.integers(0, 838))
    text = f"{hours:02d}:{minute:02d}:{second:02d}"
    negative = draw(st.booleans()) and bool(hours or minute or second)
    sign = "-" if negative else ""
    if kind is C.TIME:
        number = int(f"{hours}{minute:02d}{second:02d}") * (-1 if negative else 1)
        return Column(kind), sign + text, (number % (1 << 24)).to_bytes(3, "little")
    return (
        Column(kind, bytes([digits])),
        sign + text + fraction,
        time2_bytes(negative, (hours, minute, second), micros, digits),
    )


def _civil(days: int) -> str:
    """Calendar date of a day since 1970, by counting: nothing in common with the reader's way."""
    year = 1970
    while days >= (length := 366 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 365):
        days -= length
        year += 1
    months = [31, 29 if length == 366 else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    month = 0
    while days >= months[month]:
        days -= months[month]
        month += 1
    return f"{year:04d}-{month + 1:02d}-{days + 1:02d}"


cells = st.one_of(integers(), reals(), decimals(), strings(), opaque(), bits(), members(), moments())
