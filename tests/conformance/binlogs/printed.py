"""Rows as `mariadb-binlog --verbose` and `mysqlbinlog --verbose` print them: their text taken apart, and ours in it.

Both print what is stored, not what SELECT shows: members by number, TIMESTAMP as a number, FLOAT cut to six
digits. So our values are brought into their form, the poorer one. Their exit codes mean nothing: both end with 0 on
files that they gave up on.
"""

from __future__ import annotations

import re
import struct
import subprocess
from calendar import timegm
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from connector.source.binlog.charsets import charset_name, text_decoder
from connector.source.binlog.events import RowsKind
from connector.source.binlog.rows import Row
from connector.source.binlog.storage import INTEGERS
from connector.source.binlog.table_map import Column, ColumnType, TableMap
from tests.conformance.binlogs.reading import Changed

C = ColumnType
Cells = dict[int, bytes]


class Printed(NamedTuple):
    """One statement of the pseudo-SQL: cells by position, from 1."""

    kind: RowsKind
    table: str
    before: Cells | None
    after: Cells | None


_VERBS = {b"INSERT INTO": RowsKind.WRITE, b"UPDATE": RowsKind.UPDATE, b"DELETE FROM": RowsKind.DELETE}
_STATEMENT = re.compile(rb"### (INSERT INTO|UPDATE|DELETE FROM) `(.*)`\.`(.*)`\Z")
_CELL = re.compile(rb"###   @(\d+)=(.*)\Z", re.DOTALL)


def printed(program: Sequence[str], *arguments: str, timeout_s: float = 60) -> list[Printed]:
    """What the program prints of a file or a server's log, up to where it gave up."""
    command = [*program, "--verbose", "--base64-output=DECODE-ROWS", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    return parse(done.stdout)


def parse(text: bytes) -> list[Printed]:
    found: list[Printed] = []
    kind, table = RowsKind.WRITE, ""
    before: Cells | None = None
    after: Cells | None = None
    cells: Cells = {}

    def end() -> None:
        if table:
            found.append(Printed(kind, table, before, after))

    for line in text.split(b"\n"):
        if not line.startswith(b"###"):
            continue
        if match := _STATEMENT.match(line):
            end()
            kind, table = _VERBS[match[1]], f"{match[2].decode()}.{match[3].decode()}"
            before = after = None
        elif line == b"### WHERE":
            before = cells = {}
        elif line == b"### SET":
            after = cells = {}
        elif match := _CELL.match(line):
            cells[int(match[1])] = _normal(match[2])
    end()
    return found


def _normal(cell: bytes) -> bytes:
    """Newer versions escape a quote inside text, older ones do not; numbers are padded."""
    if cell.startswith(b"'"):
        return b"'" + cell[1:-1].replace(b"'", b"\\x27") + b"'"
    return cell.rstrip(b" ")


def as_printed(rows: Iterable[Changed]) -> list[Printed]:
    """Our rows in that form."""
    return [
        Printed(row.kind, row.table.name, _cells(row.table, row.before), _cells(row.table, row.after)) for row in rows
    ]


def _cells(table: TableMap, row: Row | None) -> Cells | None:
    if row is None:
        return None
    return {at: _cell(column, value) for at, (column, value) in enumerate(zip(table.columns, row, strict=True), 1)}


def _cell(column: Column, value: Any) -> bytes:
    kind = column.type
    if value is None:
        return b"NULL"
    if kind in INTEGERS:
        modulus = 1 << 8 * INTEGERS[kind]
        signed = value - modulus if value >= modulus >> 1 else value
        return f"{signed} ({signed % modulus})".encode() if signed < 0 else b"%d" % signed
    if kind is C.FLOAT:
        return f"{value:g}".encode()
    if kind is C.DOUBLE:
        return f"{value:.20g}".encode()
    if kind is C.BIT:
        return f"b'{value:0{column.meta}b}'".encode()
    if kind is C.YEAR:
        return b"%d" % (value or 1900)
    if kind is C.DATE:
        return _quoted(value.replace("-", ":").encode())
    if kind in (C.TIMESTAMP, C.TIMESTAMP2):
        return _seconds(value)
    if kind is C.ENUM:
        number = value if isinstance(value, int) else (("", *(column.members or ())).index(value))
        return b"%d" % number
    if kind is C.SET:
        return f"b'{_mask(column, value):0{8 * column.meta}b}'".encode()
    if kind is C.VECTOR:
        return b"[" + b",".join(b"%.5e" % number for (number,) in struct.iter_unpack("<f", value)) + b"]"
    if kind is C.NEWDECIMAL:
        return str(value).encode()
    if isinstance(value, bytes):
        # BINARY is stored without the zeros at its end, and printed as stored.
        return _quoted(value.rstrip(b"\0") if kind is C.STRING else value)
    return _quoted(value.encode() if kind is C.JSON else _encoded(value, column.collation))


def _mask(column: Column, value: Any) -> int:
    if isinstance(value, int):
        return value
    members = column.members or ()
    return sum(1 << members.index(member) for member in value.split(",")) if value else 0


def _seconds(value: str) -> bytes:
    whole, dot, fraction = value.partition(".")
    if whole.startswith("0000"):
        return b"0" + (dot + fraction).encode()
    date, time = whole.split(" ")
    moment = timegm((*map(int, date.split("-")), *map(int, time.split(":"))))
    return f"{moment}{dot}{fraction}".encode()


_PYTHON_NAMES = {"utf8mb4": "utf-8", "utf8mb3": "utf-8", "ucs2": "utf-16-be", "utf16": "utf-16-be"}


def _encoded(text: str, collation: int | None) -> bytes:
    """The stored bytes of a text, by way of Python's codecs; 8-bit character sets by turning our table round."""
    charset = charset_name(collation) if collation is not None else "utf8mb4"
    if charset == "utf32":
        return text.encode("utf-32-be")
    if charset in _PYTHON_NAMES:
        return text.encode(_PYTHON_NAMES[charset])
    decode = text_decoder(charset or "")
    assert decode is not None
    try:
        by_character = {decode(bytes([octet])): octet for octet in range(256)}
    except UnicodeDecodeError:
        return text.encode(charset or "")
    return bytes(by_character[character] for character in text)


_ESCAPED = re.compile(rb"[\x00-\x1f'\\]")


def _quoted(raw: bytes) -> bytes:
    return b"'" + _ESCAPED.sub(lambda match: b"\\x%02x" % match[0][0], raw) + b"'"
