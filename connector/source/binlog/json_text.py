"""MySQL's binary JSON as the text that SELECT shows. Pure.

Format: MySQL `sql-common/json_binary.h`. Offsets are relative to the value they stand in; nothing outside the given
bytes is ever read. No byte is shown twice: members that share their bytes, which no server writes, would make a text
without bound. (MariaDB stores JSON as text.)
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from decimal import Decimal

from connector.errors import CorruptedLog
from connector.source.binlog.table_map import ColumnType
from connector.source.binlog.values import decimal

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING = range(5, 13)
_OPAQUE = 15
_INTEGERS = {_INT16: (2, True), _UINT16: (2, False), _INT32: (4, True), _UINT32: (4, False)}
_INTEGERS |= {_INT64: (8, True), _UINT64: (8, False)}
_LITERALS = {0: "null", 1: "true", 2: "false"}
_MAX_DEPTH = 110  # the server allows 100


def json_text(raw: bytes) -> str:
    """Raises CorruptedLog. Nothing at all (an invalid value that was let in with IGNORE) is null, as on the server."""
    return _value(raw[0], memoryview(raw)[1:], 0, _Budget(len(raw))) if raw else "null"


class _Budget:
    """How many bytes may still be shown. Numbers are not counted: each stands in, or belongs to, an entry that is."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, data: memoryview, pos: int, size: int) -> memoryview:
        self.left -= size
        if self.left < 0:
            raise CorruptedLog("JSON value shows more than its bytes")
        return _span(data, pos, size)


def _span(data: memoryview, pos: int, size: int) -> memoryview:
    """Exactly `size` bytes at `pos`, which are not copied."""
    found = data[pos : pos + size]
    if len(found) != size:
        raise CorruptedLog(f"JSON value ends inside a field of {size} bytes")
    return found


def _fixed(data: memoryview, pos: int, size: int) -> int:
    return int.from_bytes(_span(data, pos, size), "little")


def _value(kind: int, data: memoryview, depth: int, budget: _Budget) -> str:
    if depth > _MAX_DEPTH:
        raise CorruptedLog("JSON value is nested too deeply")
    if kind <= _LARGE_ARRAY:
        return _container(kind, data, depth, budget)
    if kind == _LITERAL:
        literal = _LITERALS.get(_fixed(data, 0, 1))
        if literal is None:
            raise CorruptedLog(f"JSON value holds the unknown literal {data[0]}")
        return literal
    if kind in _INTEGERS:
        size, signed = _INTEGERS[kind]
        return str(int.from_bytes(_span(data, 0, size), "little", signed=signed))
    if kind == _DOUBLE:
        return _double(struct.unpack("<d", _span(data, 0, 8))[0])
    if kind == _STRING:
        size, pos = _length(data, 0)
        return _quoted(budget.take(data, pos, size))
    if kind == _OPAQUE:
        size, pos = _length(data, 1)
        return _opaque(_fixed(data, 0, 1), budget.take(data, pos, size))
    raise CorruptedLog(f"JSON value of the unknown type {kind}")


def _container(kind: int, data: memoryview, depth: int, budget: _Budget) -> str:
    is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
    wide = 4 if kind in (_LARGE_OBJECT, _LARGE_ARRAY) else 2
    count, size = _fixed(data, 0, wide), _fixed(data, wide, wide)
    data = _span(data, 0, size)
    keys_at = 2 * wide
    values_at = keys_at + count * (wide + 2) if is_object else keys_at
    members_at = values_at + count * (1 + wide)
    if members_at > size:
        raise CorruptedLog(f"JSON value of {size} bytes says that it has {count} members")
    budget.take(data, 0, members_at)
    parts: list[str] = []
    for number in range(count):
        entry = values_at + number * (1 + wide)
        member = data[entry]
        inline = member == _LITERAL or (member in _INTEGERS and _INTEGERS[member][0] <= wide)
        at = entry + 1 if inline else _fixed(data, entry + 1, wide)
        if not inline and not members_at <= at < size:
            raise CorruptedLog(f"JSON value of {size} bytes has a member at {at}")
        text = _value(member, data[at:], depth + 1, budget)
        if is_object:
            key = keys_at + number * (wide + 2)
            name = budget.take(data, _fixed(data, key, wide), _fixed(data, key + wide, 2))
            text = f"{_quoted(name)}: {text}"
        parts.append(text)
    return f"{{{', '.join(parts)}}}" if is_object else f"[{', '.join(parts)}]"


def _length(data: memoryview, pos: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the high bit says that more follow: (length, position after it)."""
    value = 0
    for number in range(5):
        octet = _fixed(data, pos + number, 1)
        value |= (octet & 0x7F) << 7 * number
        if not octet & 0x80:
            return value, pos + number + 1
    raise CorruptedLog("JSON value has a length of more than 32 bits")


def _quoted(raw: memoryview) -> str:
    """As the server does: only quotes, backslashes and control characters are escaped."""
    return json.dumps(str(raw, "utf-8"), ensure_ascii=False)


def _double(value: float) -> str:
    """As `my_gcvt` does: shortest digits that read back as the value; an exponent instead of 15 zeros and more."""
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    if not isinstance(exponent, int):
        raise CorruptedLog(f"JSON value holds {value}, which is no number in JSON")
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + exponent if text != "0" else 1
    if not -15 < point <= max(15, len(text) - 1):
        mantissa = f"{text[0]}.{text[1:]}" if len(text) > 1 else text
        body = f"{mantissa}e{point - 1}"
    elif point <= 0:
        body = f"0.{'0' * -point}{text}"
    else:
        body = f"{text[:point].ljust(point, '0')}.{text[point:] or '0'}"
    return f"-{body}" if sign else body


def _opaque(kind: int, raw: memoryview) -> str:
    if kind == ColumnType.NEWDECIMAL:
        return decimal(_fixed(raw, 0, 1), _fixed(raw, 1, 1))(bytes(raw[2:]))
    shown = _MOMENTS.get(kind)
    if shown is not None:
        return f'"{shown(int.from_bytes(_span(raw, 0, 8), "little", signed=True))}"'
    return f'"base64:type{kind}:{base64.b64encode(raw).decode()}"'


def _datetime(packed: int) -> str:
    whole, micros = packed >> 24, packed & 0xFFFFFF
    time = whole & 0x1FFFF
    return f"{_date(packed)} {time >> 12:02d}:{time >> 6 & 63:02d}:{time & 63:02d}.{micros:06d}"


def _date(packed: int) -> str:
    day = packed >> 41
    year, month = divmod(day >> 5, 13)
    return f"{year:04d}-{month:02d}-{day & 31:02d}"


def _time(packed: int) -> str:
    size = abs(packed)
    whole, micros = size >> 24, size & 0xFFFFFF
    text = f"{whole >> 12 & 1023:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}.{micros:06d}"
    return f"-{text}" if packed < 0 else text


_MOMENTS: dict[int, Callable[[int], str]] = {
    ColumnType.DATE: _date,
    ColumnType.TIME: _time,
    ColumnType.DATETIME: _datetime,
    ColumnType.TIMESTAMP: _datetime,
}
