"""Names for the columns of a log that gives none (binlog_row_metadata other than FULL): those of the table as it is
now, if it is the one that the log describes. Pure.

All that a table map does say is compared: how many columns there are, how each is stored, whether it takes NULL, and
where it is told, sign and character set. One difference, and none of its names is taken. What no table map tells is
that two columns of one type changed places or names: that is for the statements in the log to say
(`binlog_definitions`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from connector.errors import UnsupportedChange
from connector.source.binlog.charsets import charset_name, collation_of
from connector.source.binlog.table_map import Column, TableMap
from connector.source.binlog.table_map import ColumnType as C
from connector.upstream.discover import Column as Declared

_STORED: dict[str, tuple[C, ...]] = {
    "tinyint": (C.TINY,),
    "smallint": (C.SHORT,),
    "mediumint": (C.INT24,),
    "int": (C.LONG,),
    "bigint": (C.LONGLONG,),
    "float": (C.FLOAT,),
    "double": (C.DOUBLE,),
    "decimal": (C.NEWDECIMAL,),
    "bit": (C.BIT,),
    "year": (C.YEAR,),
    "date": (C.DATE, C.NEWDATE),
    "time": (C.TIME2, C.TIME),
    "datetime": (C.DATETIME2, C.DATETIME),
    "timestamp": (C.TIMESTAMP2, C.TIMESTAMP),
    "char": (C.STRING,),
    "binary": (C.STRING,),
    "varchar": (C.VARCHAR, C.VARCHAR_COMPRESSED),
    "varbinary": (C.VARCHAR, C.VARCHAR_COMPRESSED),
    "enum": (C.ENUM,),
    "set": (C.SET,),
    "json": (C.JSON,),
} | {size + kind: (C.BLOB, C.BLOB_COMPRESSED) for size in ("tiny", "", "medium", "long") for kind in ("text", "blob")}
_LENGTHS = {"tiny": 1, "": 2, "medium": 3, "long": 4}
_WIDTHS = {"utf8mb4": 4, "utf8mb3": 3, "utf8": 3, "latin1": 1, "ascii": 1, "ucs2": 2, "utf16": 4, "utf32": 4}
_WITH_DIGITS = frozenset({C.TIME2, C.DATETIME2, C.TIMESTAMP2, C.BIT})


def named(table: TableMap, declared: Sequence[Declared]) -> TableMap:
    """The same table with names, and with what else its table map leaves out. Raises UnsupportedChange at the first
    difference."""
    if len(table.columns) != len(declared):
        raise _differs(table, f"it has {len(declared)} columns, and the log {len(table.columns)}")
    for column, as_declared in zip(table.columns, declared, strict=True):
        difference = _difference(column, as_declared)
        if difference:
            raise _differs(table, f"its column {as_declared.name} is {as_declared.type}, and the log has {difference}")
    return table.described({at: _described(column) for at, column in enumerate(declared)})


def refuse_members(table: TableMap, wanted: Sequence[int]) -> None:
    """Raises UnsupportedChange if one of these columns is an ENUM or SET whose members the log does not name."""
    for at in wanted:
        column = table.columns[at]
        if column.type in (C.ENUM, C.SET) and column.members is None:
            raise UnsupportedChange(
                f"the log does not name the members of column {column.name} of {table.name}",
                hint="SET GLOBAL binlog_row_metadata = FULL on the source, and let writers reconnect; or make it text.",
            )


def _differs(table: TableMap, what: str) -> UnsupportedChange:
    return UnsupportedChange(
        f"the log does not name the columns of {table.name}, and it was another table then: {what}",
        hint="Run `vecsync capture snapshot`, and SET GLOBAL binlog_row_metadata = FULL on the source: then rows are "
        "read by their own names.",
    )


def _described(declared: Declared) -> Column:
    collation = collation_of("binary" if declared.charset is None else declared.charset)
    # Type and so on are not filled in; the table map always has them.
    return Column(C.NULL, 0, declared.nullable, declared.name, "unsigned" in declared.type, collation)


def _difference(column: Column, declared: Declared) -> str:
    """What the log has instead; empty: nothing else."""
    kind = re.split(r"[ (]", declared.type, maxsplit=1)[0]
    stored = _STORED.get(kind)
    if stored is None:
        return ""  # a type of its own (geometry, vector, inet6): its rows are passed over by what the log says
    if column.type not in stored:
        return f"{column.type.name}"
    expected = _meta(kind, column, declared)
    if expected is not None and column.meta != expected:
        return f"{column.type.name} of {column.meta}, not {expected}"
    if column.nullable != declared.nullable:
        return f"one that takes {'' if column.nullable else 'no '}NULL"
    if column.type is not C.YEAR and column.unsigned not in (None, "unsigned" in declared.type):
        return f"{'an unsigned' if column.unsigned else 'a signed'} one"
    charset = None if column.collation is None else charset_name(column.collation)
    if charset is not None and charset != _charset(declared.charset):
        return f"text in {charset}"
    return ""


def _charset(name: str | None) -> str:
    return "binary" if name is None else "utf8mb3" if name == "utf8" else name


def _meta(kind: str, column: Column, declared: Declared) -> int | None:
    """What a table map has as metadata for that type; None: that is not known."""
    numbers = [int(number) for number in re.findall(r"\d+", declared.type.partition("(")[2].partition(")")[0])]
    if column.type is C.BLOB:
        return _LENGTHS[kind.removesuffix("text").removesuffix("blob")]
    if column.type in _WITH_DIGITS:
        return numbers[0] if numbers else 0
    if column.type is C.NEWDECIMAL:
        return numbers[0] << 8 | numbers[1]
    if column.type in (C.VARCHAR, C.STRING) and numbers:
        width = 1 if declared.charset is None else _WIDTHS.get(declared.charset)
        return None if width is None else numbers[0] * width
    return None
