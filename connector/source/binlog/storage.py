"""How each column type lies in a row image, and what turns its bytes into a value. Pure.

Source: MySQL `log_event_field_length` and MariaDB `Log_event::log_event_print_value`. The size of every type is
known here even when its value is not decoded, so that a column which nobody wants never hides those after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from connector.errors import UnsupportedChange
from connector.source.binlog import values
from connector.source.binlog.charsets import BINARY, charset_name, text_decoder
from connector.source.binlog.json_text import json_text
from connector.source.binlog.table_map import Column, TableMap
from connector.source.binlog.table_map import ColumnType as C

Value = int | float | str | bytes | None
Convert = Callable[[bytes], Value]
_T = TypeVar("_T")


class Storage(NamedTuple):
    """Either `size` bytes, or a little-endian length of `length_size` bytes and then as many as it says."""

    size: int
    length_size: int = 0


_FIXED = {
    C.TINY: 1,
    C.SHORT: 2,
    C.INT24: 3,
    C.LONG: 4,
    C.LONGLONG: 8,
    C.FLOAT: 4,
    C.DOUBLE: 8,
    C.YEAR: 1,
    C.DATE: 3,
    C.NEWDATE: 3,
    C.TIME: 3,
    C.TIMESTAMP: 4,
    C.DATETIME: 8,
}
_FRACTIONAL = {C.TIME2: 3, C.TIMESTAMP2: 4, C.DATETIME2: 5}
_SHORT_STRINGS = frozenset({C.VARCHAR, C.VAR_STRING, C.STRING, C.VARCHAR_COMPRESSED})
_BLOBS = frozenset(
    {
        *(C.TINY_BLOB, C.BLOB, C.MEDIUM_BLOB, C.LONG_BLOB, C.BLOB_COMPRESSED),
        *(C.JSON, C.GEOMETRY, C.VECTOR),
    }
)
INTEGERS = {C.TINY: 1, C.SHORT: 2, C.INT24: 3, C.LONG: 4, C.LONGLONG: 8}
TEXTS = frozenset({C.VARCHAR, C.VAR_STRING, C.STRING, C.TINY_BLOB, C.BLOB, C.MEDIUM_BLOB, C.LONG_BLOB})


def storage(column: Column, table: str) -> Storage:
    """Raises UnsupportedChange for a type that row images of known servers never hold."""
    kind, meta = column.type, column.meta
    if kind in _FIXED:
        return Storage(_FIXED[kind])
    if kind in _FRACTIONAL:
        return Storage(_FRACTIONAL[kind] + values.fraction_size(meta))
    if kind in _SHORT_STRINGS:
        return Storage(0, 2 if meta > 255 else 1)
    if kind in _BLOBS and 1 <= meta <= 4:
        return Storage(0, meta)
    if kind is C.NEWDECIMAL:
        return Storage(values.decimal_size(meta >> 8, meta & 0xFF))
    if kind is C.BIT:
        return Storage((meta + 7) // 8)
    if (kind is C.ENUM and 1 <= meta <= 2) or (kind is C.SET and 1 <= meta <= 8):
        return Storage(meta)
    raise UnsupportedChange(f"{table} has a column of type {kind.name} ({meta}), whose size is not known")


def converter(column: Column, table: TableMap) -> Convert | None:
    """What makes a value of the bytes; None: the bytes are the value.

    Text and JSON become str, binary stays bytes; GEOMETRY stays as the server stores it. ENUM and SET become the
    text of their members where the metadata has them, their number otherwise. Raises UnsupportedChange where the
    value could not be exact: no metadata, or a character set without an exact decoder.
    """
    kind, meta = column.type, column.meta
    if kind in INTEGERS:
        return values.integer(unsigned=_known(column.unsigned, column, table, "its sign"))
    if kind in TEXTS:
        return _text(column, table)
    if kind in (C.VARCHAR_COMPRESSED, C.BLOB_COMPRESSED):
        return values.compressed(_text(column, table))
    if kind is C.ENUM:
        return values.member(column.members) if column.members is not None else values.integer(unsigned=True)
    if kind is C.SET:
        if column.members is None:
            return values.integer(unsigned=True)
        return values.member_set(column.members)
    if kind is C.NEWDECIMAL:
        return values.decimal(meta >> 8, meta & 0xFF)
    by_digits = {C.TIME2: values.time2, C.TIMESTAMP2: values.timestamp2, C.DATETIME2: values.datetime2}
    if kind in by_digits:
        return by_digits[kind](meta)
    return _PLAIN.get(kind)


def _text(column: Column, table: TableMap) -> Convert | None:
    collation = _known(column.collation, column, table, "its character set")
    if collation == BINARY:
        return values.fixed_binary(column.meta) if column.type is C.STRING else None
    charset = charset_name(collation)
    decode = text_decoder(charset or "")
    if decode is None:
        raise UnsupportedChange(
            f"text of {_label(column, table)} is in the character set {charset or f'of collation {collation}'}, "
            "which this reader cannot convert exactly",
            hint=f"ALTER TABLE {table.name} CONVERT TO CHARACTER SET utf8mb4, or leave the column out.",
        )
    return decode


_PLAIN: dict[C, Convert] = {
    C.FLOAT: values.float32,
    C.DOUBLE: values.float64,
    C.YEAR: values.year,
    C.DATE: values.date,
    C.NEWDATE: values.date,
    C.TIME: values.old_time,
    C.TIMESTAMP: values.old_timestamp,
    C.DATETIME: values.old_datetime,
    C.BIT: values.bits,
    C.JSON: json_text,
}


def _label(column: Column, table: TableMap) -> str:
    return f"column {column.name} of {table.name}"


def _known(value: _T | None, column: Column, table: TableMap, what: str) -> _T:
    if value is None:
        raise UnsupportedChange(
            f"the log does not say {what} for {_label(column, table)}",
            hint="SET GLOBAL binlog_row_metadata = FULL on the source, and let writers reconnect.",
        )
    return value
