"""Rows of the binlog decoded by the package mysql-replication, for who prefers it; all else of the log is read as ever.

So transactions, orders and positions are the same whichever of the two decodes, and one may follow on the other. What
the package gives is checked, and never passed on where it is less than what is stored: a table that it reads otherwise
than its table map says, a column of a type or character set that it does not give exactly, a date that it turns into
None or 1970, all raise. Columns that are not wanted may be given wrongly, as long as the wanted ones are found.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from pymysql.protocol import MysqlPacket

from connector.errors import ConfigurationError, CorruptedLog, UnsupportedChange
from connector.source.binlog.charsets import BINARY, charset_name
from connector.source.binlog.events import EventType, RowsKind
from connector.source.binlog.rows import Row, RowPlan, Rows
from connector.source.binlog.storage import INTEGERS, TEXTS, Value
from connector.source.binlog.table_map import Column, TableMap
from connector.source.binlog.table_map import ColumnType as C
from connector.upstream.library_findings import EXACT_CHARSETS

Take = Callable[[Any], Value]

_PACKAGE = "mysql-replication"
_HINT = "Set `source.reader: binlog`, which reads it exactly, and goes on from here."

# Types whose size the package knows, so that the columns after them are found. It takes the metadata of VECTOR for that
# of the next column.
_KNOWN = {*INTEGERS, *TEXTS, C.FLOAT, C.DOUBLE, C.NEWDECIMAL, C.DATE, C.TIME2, C.TIMESTAMP2, C.DATETIME2} | {
    *(C.BIT, C.ENUM, C.SET, C.JSON, C.YEAR)
}

# What it calls the character sets that it reads exactly, and those that it has not heard of.
_ENCODINGS = {"utf8", "ascii"}

_TABLE_ID = 1  # of the one table that a plan is of
_HEAD = struct.Struct("<xIBIIIH")
_ROWS = {
    RowsKind.WRITE: EventType.WRITE_ROWS_V1,
    RowsKind.UPDATE: EventType.UPDATE_ROWS_V1,
    RowsKind.DELETE: EventType.DELETE_ROWS_V1,
}


def library_decoder(*, mariadb: bool) -> Callable[[RowPlan], Callable[[Rows], list[Row]]]:
    """What makes the decoder of a plan's rows. Raises ConfigurationError when the package is not installed."""
    if find_spec("pymysqlreplication") is None:
        raise ConfigurationError(
            f"reader {_PACKAGE!r} needs a package that is not installed",
            hint=f"Run `pip install 'vecsync-connector[{_PACKAGE}]'`, or use the reader `binlog`.",
        )
    return lambda plan: _Library(plan, "mariadb" if mariadb else "mysql").rows


class _Library:
    """The rows of one table map."""

    def __init__(self, plan: RowPlan, dbms: str) -> None:
        """Raises UnsupportedChange for what the package would not give exactly."""
        self._plan = plan
        self._control = SimpleNamespace(charset="utf8mb4", _get_dbms=lambda: dbms)
        self._tables: dict[int, Any] = {}
        table = plan.table
        for column in table.columns:
            if column.type not in _KNOWN:
                raise _refusal(table, column)
        self._takes = [(str(table.columns[at].name), _take(table, table.columns[at])) for at in plan.wanted]
        try:
            event = self._event(EventType.TABLE_MAP, table.logged).event
            self._tables[_TABLE_ID] = event.get_table()
        except Exception as error:  # the package raises whatever its reading runs into
            raise _unreadable(table, error) from error
        for at, (column, theirs) in enumerate(zip(table.columns, event.columns, strict=True)):
            if (theirs.name, theirs.type, theirs.unsigned) != (column.name, column.type, bool(column.unsigned)):
                raise _refusal(table, column)
            text = at in plan.wanted and column.type in TEXTS and column.collation != BINARY
            if text and theirs.character_set_name not in _ENCODINGS:
                raise _refusal(table, column)

    def rows(self, rows: Rows) -> list[Row]:
        """Raises CorruptedLog and UnsupportedChange."""
        plan, table = self._plan, self._plan.table
        for present in (rows.before, rows.after):
            if present:
                plan.readers(present, plan.values)  # raises where a wanted column is missing
        width = len(table.columns)
        size = bytes([width]) if width < 251 else b"\xfc" + width.to_bytes(2, "little")
        body = b"".join(
            (rows.flags.to_bytes(2, "little"), size, rows.before, rows.after, rows.data[rows.start : rows.end])
        )
        try:
            wrapper = self._event(_ROWS[rows.kind], body)
            given = wrapper.event.rows
        except UnicodeDecodeError as error:
            raise CorruptedLog(
                f"a row of {table.name} holds bytes that are no text in its character set: {error.reason}"
            ) from error
        except Exception as error:
            raise _unreadable(table, error) from error
        if wrapper.read_bytes != wrapper.event.event_size:
            raise CorruptedLog(f"rows of {table.name} end elsewhere than their event")
        if rows.kind is not RowsKind.UPDATE:
            return [self._row(row["values"], row["none_sources"]) for row in given]
        return [
            self._row(row[f"{half}_values"], row[f"{half}_none_sources"])
            for row in given
            for half in ("before", "after")
        ]

    def _row(self, values: dict[str, Any], missing: dict[str, str]) -> Row:
        made: list[Value] = []
        for name, take in self._takes:
            value = values[name]
            if value is None and missing[name] == "null":
                made.append(None)
                continue
            try:
                made.append(take(value))
            except _Lossy:
                raise UnsupportedChange(
                    f"column {name} of {self._plan.table.name} holds a value that {_PACKAGE} does not give exactly",
                    hint=_HINT,
                ) from None
        return tuple(made)

    def _event(self, kind: EventType, body: bytes) -> Any:
        """What the package makes of an event: the body after the table's id, with a header and a checksum about it,
        which it takes off unread."""
        from pymysqlreplication.packet import BinLogPacketWrapper
        from pymysqlreplication.row_event import DeleteRowsEvent, TableMapEvent, UpdateRowsEvent, WriteRowsEvent

        head = _HEAD.pack(0, kind, 0, 19 + 6 + len(body) + 4, 0, 0)
        event = b"".join((head, _TABLE_ID.to_bytes(6, "little"), body, bytes(4)))
        return BinLogPacketWrapper(
            MysqlPacket(event, "utf8"),
            self._tables,
            self._control,
            (0, 0, 0),
            use_checksum=True,
            allowed_events=(WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, TableMapEvent),
            only_tables=None,
            ignored_tables=None,
            only_schemas=None,
            ignored_schemas=None,
            freeze_schema=False,
            ignore_decode_errors=False,
            verify_checksum=False,
            optional_meta_data=True,
            enable_logging=False,
        )


class _Lossy(Exception):
    """The value is not the one that is stored."""


def _take(table: TableMap, column: Column) -> Take:
    """What makes our value of the package's. Raises UnsupportedChange where that is not always exact."""
    kind = column.type
    if kind in INTEGERS:
        return _integer
    if kind in TEXTS and column.collation == BINARY and kind is not C.STRING:  # BINARY(n) comes without its zeros
        return _bytes
    if kind in TEXTS and column.collation is not None and charset_name(column.collation) in EXACT_CHARSETS:
        return _text
    if kind in (C.TIMESTAMP2, C.DATETIME2):
        return _moment(column.meta, earliest=1970 if kind is C.TIMESTAMP2 else 0)
    raise _refusal(table, column)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise _Lossy
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Lossy
    return value


def _bytes(value: Any) -> bytes:
    if value == "":  # Python decodes nothing by any codec, also by one that there is none of
        return b""
    if type(value) is not bytes:
        raise _Lossy
    return value


def _moment(digits: int, earliest: int) -> Take:
    def take(value: Any) -> str:
        if value is None or (value.year, value.month, value.day, value.hour, value.minute, value.second) <= (
            *(earliest, 1, 1),
            *(0, 0, 0),
        ):
            raise _Lossy  # a date that Python has not; the zero TIMESTAMP; one after 2038, taken for a negative
        text = (
            f"{value.year:04d}-{value.month:02d}-{value.day:02d} {value.hour:02d}:{value.minute:02d}:{value.second:02d}"
        )
        return f"{text}.{value.microsecond:06d}"[: len(text) + 1 + digits] if digits else text

    return take


def _refusal(table: TableMap, column: Column) -> UnsupportedChange:
    kind = column.type.name
    if column.type in TEXTS and column.collation is not None:
        kind = f"{kind} in the character set {charset_name(column.collation) or column.collation}"
    return UnsupportedChange(
        f"column {column.name} of {table.name} is {kind}, which {_PACKAGE} does not read exactly", hint=_HINT
    )


def _unreadable(table: TableMap, error: Exception) -> UnsupportedChange:
    return UnsupportedChange(
        f"{_PACKAGE} cannot read rows of {table.name}: {type(error).__name__}: {error}", hint=_HINT
    )
