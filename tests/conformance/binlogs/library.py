"""Rows as mysql-replication decodes them: its values, and ours in the form that it gives them.

It gives less than is stored: dates that Python has no type for are None, an empty SET is None, the zero TIMESTAMP is
1970, and bytes that happen to be text are text. So our values are brought into its form, the poorer one. Events of
types that it does not know (compressed ones among them) it passes over in silence.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, NamedTuple

from pymysql.protocol import MysqlPacket
from pymysqlreplication.event import FormatDescriptionEvent
from pymysqlreplication.packet import BinLogPacketWrapper
from pymysqlreplication.row_event import DeleteRowsEvent, TableMapEvent, UpdateRowsEvent, WriteRowsEvent

from connector.source.binlog.events import ROWS_EVENTS, RowsKind
from connector.source.binlog.events import EventType as T
from connector.source.binlog.format import CHECKSUM_SIZE, has_checksum
from connector.source.binlog.table_map import Column, ColumnType
from tests.conformance.binlogs.reading import Changed

C = ColumnType
Values = tuple[Any, ...]
_EVENTS = (WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, TableMapEvent, FormatDescriptionEvent)

# Event types with rows in them that it passes over.
UNKNOWN_TO_IT = frozenset({T.TRANSACTION_PAYLOAD, *(kind for kind, layout in ROWS_EVENTS.items() if layout.compressed)})


class Given(NamedTuple):
    """One row, its values by position."""

    kind: RowsKind
    table: str
    before: Values | None
    after: Values | None


def given(event: Any) -> Iterator[Given]:
    """The rows of one of its row events."""
    table = f"{event.schema}.{event.table}"
    for row in event.rows:
        if isinstance(event, UpdateRowsEvent):
            yield Given(RowsKind.UPDATE, table, _plain(row["before_values"]), _plain(row["after_values"]))
        elif isinstance(event, DeleteRowsEvent):
            yield Given(RowsKind.DELETE, table, _plain(row["values"]), None)
        else:
            yield Given(RowsKind.WRITE, table, None, _plain(row["values"]))


def given_by_file(events: Iterable[bytes]) -> tuple[list[Given], str]:
    """Rows of a file's events, fed to its packet reader one by one, and the error that ended that, if one did."""
    found: list[Given] = []
    tables: dict[int, Any] = {}
    checksums, mariadb, lengths, version = False, False, None, (0, 0, 0)
    for number, event in enumerate(events):
        if number == 0:
            mariadb = b"mariadb" in event[:80].lower()
            checksums = event[-CHECKSUM_SIZE - 1] == 1 and has_checksum(event)
        control = SimpleNamespace(
            charset="utf8mb4", _get_dbms=lambda mariadb=mariadb: "mariadb" if mariadb else "mysql"
        )
        try:
            wrapper = BinLogPacketWrapper(
                MysqlPacket(b"\0" + event, "utf8"),
                tables,
                control,
                version,
                checksums,
                _EVENTS,
                *(None, None, None, None),  # tables and schemas: all
                freeze_schema=False,
                ignore_decode_errors=False,
                verify_checksum=True,
                optional_meta_data=True,
                enable_logging=False,
                post_header_lengths=lengths,
            )
            theirs = wrapper.event
            if isinstance(theirs, FormatDescriptionEvent):
                version, lengths = theirs.mysql_version, theirs.post_header_len
            elif isinstance(theirs, TableMapEvent):
                tables[theirs.table_id] = theirs.get_table()
            elif theirs is not None:
                found += given(theirs)
        except Exception as error:
            return found, f"{type(error).__name__}: {error}"
    return found, ""


def as_given(rows: Iterable[Changed]) -> list[Given]:
    """Our rows in that form."""

    def values(row: Changed, image: Values | None) -> Values | None:
        if image is None:
            return None
        return tuple(_value(column, value) for column, value in zip(row.table.columns, image, strict=True))

    return [Given(row.kind, row.table.name, values(row, row.before), values(row, row.after)) for row in rows]


def _plain(values: dict[str, Any]) -> Values:
    return tuple(_comparable(value) for value in values.values())


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        return _text_only(value)
    return value


def _text_only(value: Any) -> Any:
    """JSON with its strings, which it leaves as bytes, as text."""
    if isinstance(value, dict):
        return {_text_only(key): _text_only(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_text_only(member) for member in value]
    return value.decode() if isinstance(value, bytes) else value


def _value(column: Column, value: Any) -> Any:
    kind = column.type
    if value is None:
        return None
    if kind is C.NEWDECIMAL:
        return Decimal(value)
    if kind is C.BIT:
        return f"{value:0{column.meta}b}".encode()
    if kind is C.YEAR:
        return value or 1900
    if kind in (C.DATE, C.DATETIME, C.DATETIME2):
        return _moment(value)
    if kind in (C.TIMESTAMP, C.TIMESTAMP2):
        return _moment(value) or datetime(1970, 1, 1)  # noqa: DTZ001 -- as it has them, without a zone
    if kind in (C.TIME, C.TIME2):
        return _duration(value)
    if kind is C.ENUM and column.members is None:
        return None
    if kind is C.SET:
        return set(value.split(",")) if column.members is not None and value else None
    if kind is C.STRING and isinstance(value, bytes):
        return value.rstrip(b"\0")
    if kind is C.JSON:
        return _comparable(json.loads(value))
    if kind is C.FLOAT:
        return f"{struct.unpack('<f', struct.pack('<f', value))[0]:.6g}"
    return _comparable(value)


def _moment(text: str) -> date | datetime | None:
    try:
        return datetime.fromisoformat(text) if " " in text else date.fromisoformat(text)
    except ValueError:
        return None


def _duration(text: str) -> timedelta:
    hours, minutes, seconds = text.lstrip("-").split(":")
    whole, _, fraction = seconds.partition(".")
    micros = int(fraction.ljust(6, "0")) if fraction else 0
    duration = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(whole), microseconds=micros)
    return -duration if text.startswith("-") else duration
