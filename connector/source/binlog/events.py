"""The event header, and what every event type of MySQL 5.7..9.x and MariaDB 10.5..12.x is to this reader.

Sources of the format: MySQL `libs/mysql/binlog/event`, MariaDB `sql/log_event.h`. The tables here decide what may be
passed over: a type that is in none of them stops the reader, unless the server itself flagged it ignorable.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from connector.errors import CorruptedLog

HEADER_SIZE = 19
FILE_MAGIC = b"\xfebin"
ENCRYPTED_FILE_MAGIC = b"\xfdbin"

FLAG_IN_USE = 0x0001  # in a format description: the file was not closed (or is being written)
FLAG_ARTIFICIAL = 0x0020  # made up by the server for this reader; it is not in the file
FLAG_IGNORABLE = 0x0080  # the server promises that a reader which does not know the type may go on


class EventType(IntEnum):
    QUERY = 2
    STOP = 3
    ROTATE = 4
    INTVAR = 5
    APPEND_BLOCK = 9
    DELETE_FILE = 11
    RAND = 13
    USER_VAR = 14
    FORMAT_DESCRIPTION = 15
    XID = 16
    BEGIN_LOAD_QUERY = 17
    EXECUTE_LOAD_QUERY = 18
    TABLE_MAP = 19
    WRITE_ROWS_V1 = 23
    UPDATE_ROWS_V1 = 24
    DELETE_ROWS_V1 = 25
    INCIDENT = 26
    HEARTBEAT = 27
    IGNORABLE = 28
    ROWS_QUERY = 29
    WRITE_ROWS = 30
    UPDATE_ROWS = 31
    DELETE_ROWS = 32
    GTID = 33
    ANONYMOUS_GTID = 34
    PREVIOUS_GTIDS = 35
    TRANSACTION_CONTEXT = 36
    VIEW_CHANGE = 37
    XA_PREPARE = 38
    PARTIAL_UPDATE_ROWS = 39
    TRANSACTION_PAYLOAD = 40
    HEARTBEAT_V2 = 41
    GTID_TAGGED = 42
    # MariaDB
    ANNOTATE_ROWS = 160
    BINLOG_CHECKPOINT = 161
    MARIADB_GTID = 162
    MARIADB_GTID_LIST = 163
    START_ENCRYPTION = 164
    QUERY_COMPRESSED = 165
    WRITE_ROWS_COMPRESSED_V1 = 166
    UPDATE_ROWS_COMPRESSED_V1 = 167
    DELETE_ROWS_COMPRESSED_V1 = 168
    WRITE_ROWS_COMPRESSED = 169
    UPDATE_ROWS_COMPRESSED = 170
    DELETE_ROWS_COMPRESSED = 171
    PARTIAL_ROW_DATA = 172


class RowsKind(IntEnum):
    """What happened to the rows of a rows event. UPDATE events hold pairs: the row before, the row after."""

    WRITE = 0
    UPDATE = 1
    DELETE = 2


class RowsLayout(NamedTuple):
    kind: RowsKind
    has_extra: bool  # version 2: a block of extra data follows the flags
    compressed: bool  # MariaDB's log_bin_compress


_T, _K = EventType, RowsKind
ROWS_EVENTS: dict[int, RowsLayout] = {
    _T.WRITE_ROWS_V1: RowsLayout(_K.WRITE, False, False),
    _T.UPDATE_ROWS_V1: RowsLayout(_K.UPDATE, False, False),
    _T.DELETE_ROWS_V1: RowsLayout(_K.DELETE, False, False),
    _T.WRITE_ROWS: RowsLayout(_K.WRITE, True, False),
    _T.UPDATE_ROWS: RowsLayout(_K.UPDATE, True, False),
    _T.DELETE_ROWS: RowsLayout(_K.DELETE, True, False),
    _T.WRITE_ROWS_COMPRESSED_V1: RowsLayout(_K.WRITE, False, True),
    _T.UPDATE_ROWS_COMPRESSED_V1: RowsLayout(_K.UPDATE, False, True),
    _T.DELETE_ROWS_COMPRESSED_V1: RowsLayout(_K.DELETE, False, True),
    _T.WRITE_ROWS_COMPRESSED: RowsLayout(_K.WRITE, True, True),
    _T.UPDATE_ROWS_COMPRESSED: RowsLayout(_K.UPDATE, True, True),
    _T.DELETE_ROWS_COMPRESSED: RowsLayout(_K.DELETE, True, True),
}

# No row can hide in these. The variables (INTVAR, RAND, USER_VAR) belong to a statement, which is judged itself.
HARMLESS = frozenset(
    {
        _T.STOP,
        _T.INTVAR,
        _T.RAND,
        _T.USER_VAR,
        _T.IGNORABLE,
        _T.ROWS_QUERY,
        _T.PREVIOUS_GTIDS,
        _T.TRANSACTION_CONTEXT,
        _T.VIEW_CHANGE,
        _T.ANNOTATE_ROWS,
        _T.BINLOG_CHECKPOINT,
        _T.MARIADB_GTID_LIST,
        _T.START_ENCRYPTION,
    }
)

# Known, able to carry rows, and not decoded: each with what to tell the operator.
REFUSED: dict[int, str] = {
    _T.APPEND_BLOCK: "LOAD DATA was logged as a statement: set binlog_format=ROW, in every session",
    _T.DELETE_FILE: "LOAD DATA was logged as a statement: set binlog_format=ROW, in every session",
    _T.BEGIN_LOAD_QUERY: "LOAD DATA was logged as a statement: set binlog_format=ROW, in every session",
    _T.EXECUTE_LOAD_QUERY: "LOAD DATA was logged as a statement: set binlog_format=ROW, in every session",
    _T.INCIDENT: "the server lost events here (an INCIDENT event): take a new snapshot",
    _T.PARTIAL_ROW_DATA: "a row event came in fragments: raise binlog_row_event_fragment_threshold",
}


def type_name(event_type: int) -> str:
    try:
        return EventType(event_type).name
    except ValueError:
        return f"type {event_type}"


class EventHeader(NamedTuple):
    """The 19 bytes every event begins with. `log_pos` is the low 32 bits of the event's end in its file."""

    timestamp: int  # seconds since the epoch
    type: int
    server_id: int
    size: int
    log_pos: int
    flags: int


_HEADER = struct.Struct("<IBIIIH")


def parse_header(event: bytes) -> EventHeader:
    """Raises CorruptedLog if the bytes are not exactly one event."""
    if len(event) < HEADER_SIZE:
        raise CorruptedLog(f"{len(event)} bytes cannot hold an event header ({HEADER_SIZE} bytes)")
    header = EventHeader._make(_HEADER.unpack_from(event))
    if header.size != len(event):
        raise CorruptedLog(f"{type_name(header.type)} event says {header.size} bytes and has {len(event)}")
    return header
