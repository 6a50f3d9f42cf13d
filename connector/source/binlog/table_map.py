"""Table maps: which table the rows that follow belong to, and how its columns are stored. Pure.

A table map always says the storage types. Signedness, character sets, names, members and keys are optional metadata:
all of it with binlog_row_metadata=FULL, some with MINIMAL, none from older servers and MariaDB's NO_LOG; what is
missing is None here, and may be filled in from a description of the table with `described`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.charsets import charset_name, text_decoder
from connector.source.binlog.integers import fixed, packed, packed_span, span


class ColumnType(IntEnum):
    """Storage types, as MySQL's `enum_field_types` numbers them; 140 and 141 are MariaDB's COLUMN ... COMPRESSED."""

    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    NULL = 6
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    NEWDATE = 14
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    BLOB_COMPRESSED = 140
    VARCHAR_COMPRESSED = 141
    VECTOR = 242
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


_C = ColumnType
_ONE_BYTE_OF_METADATA = frozenset(
    {
        *(_C.FLOAT, _C.DOUBLE, _C.TIMESTAMP2, _C.DATETIME2, _C.TIME2, _C.BLOB_COMPRESSED, _C.VECTOR, _C.JSON),
        *(_C.TINY_BLOB, _C.MEDIUM_BLOB, _C.LONG_BLOB, _C.BLOB, _C.GEOMETRY),
    }
)
_TWO_BYTES_OF_METADATA = frozenset(
    {_C.VARCHAR, _C.BIT, _C.VARCHAR_COMPRESSED, _C.NEWDECIMAL, _C.ENUM, _C.SET, _C.VAR_STRING, _C.STRING}
)
_MAX_COLUMNS = 4096  # of both servers
_NUMERIC = frozenset({_C.TINY, _C.SHORT, _C.INT24, _C.LONG, _C.LONGLONG, _C.NEWDECIMAL, _C.FLOAT, _C.DOUBLE, _C.YEAR})
_CHARACTER = frozenset(
    {
        *(_C.STRING, _C.VAR_STRING, _C.VARCHAR, _C.TINY_BLOB, _C.BLOB, _C.MEDIUM_BLOB, _C.LONG_BLOB),
        *(_C.BLOB_COMPRESSED, _C.VARCHAR_COMPRESSED),
    }
)
_MEMBERS = frozenset({_C.ENUM, _C.SET})


class Column(NamedTuple):
    """One column of a table map.

    meta      by type: maximal bytes of CHAR and VARCHAR, bytes of the length of a BLOB and of an ENUM or SET,
              bits of BIT, fraction digits of temporal types, precision * 256 + scale of DECIMAL
    collation of character columns and of ENUM and SET; 63 is binary
    """

    type: ColumnType
    meta: int
    nullable: bool
    name: str | None = None
    unsigned: bool | None = None
    collation: int | None = None
    members: tuple[str, ...] | None = None
    visible: bool = True


class TableMap(NamedTuple):
    table_id: int
    db: str
    table: str
    columns: tuple[Column, ...]
    primary_key: tuple[int, ...] | None  # positions of its columns; None: not in the metadata
    logged: bytes = b""  # as it stands in the log after the table's id, for who reads it in another way

    @property
    def name(self) -> str:
        """`db.table`, for messages."""
        return f"{self.db}.{self.table}"

    def described(self, columns: Mapping[int, Column]) -> TableMap:
        """The same table with what its metadata leaves out (names, signedness, collations, members) filled in."""
        filled = tuple(
            column._replace(
                name=given.name if column.name is None else column.name,
                unsigned=given.unsigned if column.unsigned is None else column.unsigned,
                collation=given.collation if column.collation is None else column.collation,
                members=given.members if column.members is None else column.members,
            )
            if (given := columns.get(at)) is not None
            else column
            for at, column in enumerate(self.columns)
        )
        return self._replace(columns=filled)


def parse_names(body: bytes, table_id_size: int) -> tuple[int, str, str]:
    """Only (table id, database, table): enough to pass over a table that nobody follows."""
    table_id = fixed(body, 0, table_id_size)
    pos = table_id_size + 2
    db, pos = packed_span(body, pos)
    table, _ = packed_span(body, pos + 1)
    return table_id, _name(db), _name(table)


def _name(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise CorruptedLog(f"table map holds a name that is no UTF-8: {raw!r}") from None


def parse_table_map(body: bytes, table_id_size: int = 6, *, mariadb: bool = False) -> TableMap:
    """Body of a TABLE_MAP event, without header and checksum.

    Raises CorruptedLog, and UnsupportedChange for a column type of no known server: its size is unknown, so that no
    column after it could be found.
    """
    table_id, db, table = parse_names(body, table_id_size)
    pos = table_id_size + 2
    for _ in range(2):
        size, pos = packed(body, pos)
        pos += size + 1  # and a zero byte
    count, pos = packed(body, pos)
    if not 0 < count <= _MAX_COLUMNS:
        raise CorruptedLog(f"table map of {db}.{table} has {count} columns")
    types = span(body, pos, count)
    metadata, pos = packed_span(body, pos + count)
    null_bits = int.from_bytes(span(body, pos, (count + 7) // 8), "little")
    columns: list[Column] = []
    at = 0
    for number, code in enumerate(types):
        try:
            kind = ColumnType(code)
        except ValueError:
            raise UnsupportedChange(f"column {number + 1} of {db}.{table} has the unknown type {code}") from None
        size = 1 if kind in _ONE_BYTE_OF_METADATA else 2 if kind in _TWO_BYTES_OF_METADATA else 0
        try:
            kind, meta = _real_type(kind, span(metadata, at, size))
        except ValueError:
            raise CorruptedLog(f"column {number + 1} of {db}.{table} has metadata of no known type") from None
        columns.append(Column(kind, meta, bool(null_bits >> number & 1)))
        at += size
    if at != len(metadata):
        raise CorruptedLog(f"table map of {db}.{table} has {len(metadata)} bytes of metadata, not {at}")
    found = TableMap(table_id, db, table, tuple(columns), None, body[table_id_size:])
    return _with_optional(found, body[pos + (count + 7) // 8 :], mariadb)


def _real_type(kind: ColumnType, meta: bytes) -> tuple[ColumnType, int]:
    """CHAR, ENUM and SET share a type, and hide the real one (and two bits of the length) in their metadata."""
    if kind in (_C.STRING, _C.ENUM, _C.SET):
        if meta[0] & 0x30 != 0x30:
            return ColumnType(meta[0] | 0x30), meta[1] | ((meta[0] & 0x30) ^ 0x30) << 4
        return ColumnType(meta[0]), meta[1]
    if kind is _C.NEWDECIMAL:
        return kind, meta[0] << 8 | meta[1]
    if kind is _C.BIT:
        return kind, meta[0] + 8 * meta[1]
    return kind, int.from_bytes(meta, "little")


_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _NAMES, _SET_MEMBERS, _ENUM_MEMBERS = range(1, 7)
_SIMPLE_KEY, _PREFIX_KEY, _MEMBERS_DEFAULT_CHARSET, _MEMBERS_CHARSET, _VISIBILITY = range(8, 13)


def _with_optional(table: TableMap, data: bytes, mariadb: bool) -> TableMap:
    """Optional metadata: fields of a type byte, a length and a value. Unknown ones only add to what is known."""
    fields: dict[int, bytes] = {}
    pos = 0
    while pos < len(data):
        kind = data[pos]
        fields[kind], pos = packed_span(data, pos + 1)
    if not fields:
        return table
    columns = list(table.columns)

    def those(kinds: frozenset[ColumnType]) -> list[int]:
        return [number for number, column in enumerate(columns) if column.type in kinds]

    numbers = those(_NUMERIC)
    # MariaDB counts GEOMETRY among the character columns, MySQL its VECTOR.
    characters = _CHARACTER | {_C.GEOMETRY if mariadb else _C.VECTOR}
    if (value := fields.get(_SIGNEDNESS)) is not None:
        for number, unsigned in zip(numbers, _bits(value), strict=False):
            columns[number] = columns[number]._replace(unsigned=unsigned)
    for kinds, default_field, each_field in (
        (characters, _DEFAULT_CHARSET, _COLUMN_CHARSET),
        (_MEMBERS, _MEMBERS_DEFAULT_CHARSET, _MEMBERS_CHARSET),
    ):
        counted = those(kinds)
        if (value := fields.get(each_field)) is not None and (given := sum(1 for _ in _packed_all(value))) != len(
            counted
        ):
            raise CorruptedLog(f"table map of {table.name} has {given} collations for {len(counted)} columns")
        for number, collation in _collations(counted, fields.get(default_field), fields.get(each_field)):
            columns[number] = columns[number]._replace(collation=collation)
    if (value := fields.get(_NAMES)) is not None:
        names = list(_strings(value))
        if len(names) != len(columns):
            raise CorruptedLog(f"table map of {table.name} names {len(names)} of its {len(columns)} columns")
        columns = [column._replace(name=_name(name)) for column, name in zip(columns, names, strict=True)]
    for kind, field in ((_C.SET, _SET_MEMBERS), (_C.ENUM, _ENUM_MEMBERS)):
        if (value := fields.get(field)) is not None:
            pos = 0
            for number in those(frozenset({kind})):
                members, pos = _member_texts(value, pos, columns[number], table.name)
                columns[number] = columns[number]._replace(members=members)
    if (value := fields.get(_VISIBILITY)) is not None:
        visible = _bits(value)
        columns = [column._replace(visible=next(visible, True)) for column in columns]
    primary_key: tuple[int, ...] | None = None
    if (value := fields.get(_SIMPLE_KEY)) is not None:
        primary_key = tuple(_packed_all(value))
    elif (value := fields.get(_PREFIX_KEY)) is not None:
        primary_key = tuple(_packed_all(value))[::2]
    elif _NAMES in fields:
        primary_key = ()
    return table._replace(columns=tuple(columns), primary_key=primary_key)


def _bits(value: bytes) -> Iterator[bool]:
    return (bool(octet >> bit & 1) for octet in value for bit in range(7, -1, -1))


def _packed_all(value: bytes) -> Iterator[int]:
    pos = 0
    while pos < len(value):
        number, pos = packed(value, pos)
        yield number


def _strings(value: bytes) -> Iterator[bytes]:
    pos = 0
    while pos < len(value):
        text, pos = packed_span(value, pos)
        yield text


def _collations(columns: list[int], default: bytes | None, each: bytes | None) -> Iterator[tuple[int, int]]:
    """Either one collation for each column, or a default and the exceptions, which count among these columns."""
    if each is not None:
        yield from zip(columns, _packed_all(each), strict=False)
    elif default is not None:
        values = list(_packed_all(default))
        by_rank = dict(zip(values[1::2], values[2::2], strict=False))
        if len(values) % 2 == 0 or any(rank >= len(columns) for rank in by_rank):
            raise CorruptedLog(f"table map has a default collation and exceptions that make no sense: {values}")
        first = values[0]
        for rank, column in enumerate(columns):
            yield column, by_rank.get(rank, first)


def _member_texts(value: bytes, pos: int, column: Column, table: str) -> tuple[tuple[str, ...] | None, int]:
    """Members of the next ENUM or SET column; None if this reader has no exact decoder for their character set."""
    count, pos = packed(value, pos)
    raw: list[bytes] = []
    for _ in range(count):
        text, pos = packed_span(value, pos)
        raw.append(text)
    charset = charset_name(column.collation) if column.collation is not None else None
    decode = text_decoder(charset or "")
    if decode is None:
        return None, pos
    try:
        return tuple(decode(text) for text in raw), pos
    except UnicodeDecodeError:
        raise CorruptedLog(f"table map of {table} has ENUM or SET members that are not {charset}") from None
