"""Rows events: which part of their bytes is which row, and the plan that decodes a table's rows.

A plan is prepared once per table map. For each pattern of NULLs that occurs it compiles a function with every offset
worked out beforehand, which cuts the wanted columns out and steps over the others: that is where the speed comes
from. Generated code consists of numbers and names made here; nothing a server sent ever becomes code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.events import RowsKind, RowsLayout
from connector.source.binlog.integers import fixed, packed, span
from connector.source.binlog.storage import INTEGERS, Convert, Storage, Value, converter, storage
from connector.source.binlog.table_map import ColumnType, TableMap

Row = tuple[Value, ...]
Reader = Callable[[bytes, int], tuple[Row, int]]

# Null patterns kept compiled per table. Rows of a table have a handful; past the bound all are forgotten.
_MAX_READERS = 512

_NO_FOREIGN_KEY_CHECKS, _CASCADES_LOGGED = 0x02, 0x10
DUMMY_TABLE_ID = 0xFFFFFF  # of an event without rows that only ends a statement
_INTEGER_CODES = {1: "bB", 2: "hH", 4: "iI", 8: "qQ"}


class RowPlan:
    """How to read rows of one table map: tuples of the wanted columns' values, in the order asked for."""

    __slots__ = ("_converters", "_images", "_storage", "columns", "table", "wanted")

    def __init__(self, table: TableMap, columns: Sequence[str]) -> None:
        """Raises UnsupportedChange if a wanted column is not in the table, or could not be decoded exactly."""
        assert columns, "a row image without columns has no end"
        by_name = {column.name.lower(): at for at, column in enumerate(table.columns) if column.name is not None}
        if not by_name:
            raise UnsupportedChange(
                f"the log does not name the columns of {table.name}",
                hint="SET GLOBAL binlog_row_metadata = FULL on the source, and let writers reconnect.",
            )
        missing = [name for name in columns if name.lower() not in by_name]
        if missing:
            raise UnsupportedChange(
                f"{table.name} has no column {', '.join(missing)} (it has {', '.join(by_name)})",
                hint="Name the columns in source.mapping, or give the table the columns it had.",
            )
        self.table = table
        self.columns = tuple(columns)
        self.wanted = tuple(by_name[name.lower()] for name in columns)
        self._storage = [storage(column, table.name) for column in table.columns]
        self._converters = {at: converter(table.columns[at], table) for at in self.wanted}
        self._images: dict[bytes, _Readers] = {}

    def readers(self, present: bytes) -> _Readers:
        """Readers of row images that hold the columns of this bitmap."""
        found = self._images.get(present)
        if found is None:
            bits = int.from_bytes(present, "little")
            columns = [at for at in range(len(self.table.columns)) if bits >> at & 1]
            absent = [self.table.columns[at].name or "?" for at in self.wanted if not bits >> at & 1]
            if absent:
                raise UnsupportedChange(
                    f"rows of {self.table.name} came without their column {', '.join(absent)}",
                    hint="A session wrote with binlog_row_image other than FULL: set it globally, and let no "
                    "session change it; then take a new snapshot of the table.",
                )
            found = self._images[present] = _Readers(self, columns)
        return found

    def explain(self, data: bytes, pos: int, columns: Sequence[int], nulls: bytes, error: Exception) -> CorruptedLog:
        """The error to raise for a row that a reader could not take: names the first column that is at fault."""
        for at in self.wanted:
            try:
                _compile(self.table, self._storage, self._converters, columns, nulls, (at,))(data, pos)
            except UnicodeDecodeError as failure:
                label = f"column {self.table.columns[at].name} of {self.table.name}"
                return CorruptedLog(f"{label} holds bytes that are no text in its character set: {failure.reason}")
            except (CorruptedLog, ValueError, ArithmeticError, IndexError, struct.error) as failure:
                return CorruptedLog(f"column {self.table.columns[at].name} of {self.table.name}: {failure}")
        return CorruptedLog(f"a row of {self.table.name} does not fit its table map: {error}")


class _Readers(dict[bytes, Reader]):
    """Compiled readers by null bitmap, for row images of the same columns; made when first asked for."""

    __slots__ = ("columns", "null_size", "plan")

    def __init__(self, plan: RowPlan, columns: Sequence[int]) -> None:
        self.plan = plan
        self.columns = columns
        self.null_size = (len(columns) + 7) // 8

    def __missing__(self, nulls: bytes) -> Reader:
        if len(nulls) != self.null_size:
            raise CorruptedLog(f"a rows event of {self.plan.table.name} ends inside a null bitmap")
        if len(self) >= _MAX_READERS:
            self.clear()
        plan = self.plan
        reader = _compile(plan.table, plan._storage, plan._converters, self.columns, nulls, plan.wanted)
        self[nulls] = reader
        return reader

    def read(self, data: bytes, pos: int) -> tuple[Row, int]:
        """The row at `pos`, and the position after it. Raises CorruptedLog naming the column at fault."""
        nulls = data[pos : pos + self.null_size]
        try:
            return self[nulls](data, pos + self.null_size)
        except (IndexError, struct.error, ValueError, ArithmeticError, CorruptedLog) as error:
            if len(nulls) != self.null_size:
                raise
            raise self.plan.explain(data, pos + self.null_size, self.columns, nulls, error) from error


def _compile(
    table: TableMap,
    layouts: Sequence[Storage],
    converters: dict[int, Convert | None],
    columns: Sequence[int],
    nulls: bytes,
    wanted: Sequence[int],
) -> Reader:
    """Code for row images that hold `columns`, of which those flagged in `nulls` are NULL.

    Runs of columns of fixed size become one struct; a column of variable size costs its length, and a copy if wanted.
    """
    null_bits = int.from_bytes(nulls, "little")
    names: dict[str, object] = {}
    lines: list[str] = []
    value_of: dict[int, str] = {}
    offset = 0  # of the next column, from p
    run_format, run_values, run_offset = "", list[str](), 0

    def end_run() -> None:
        nonlocal run_format
        if run_values:
            name = f"unpack{len(names)}"
            names[name] = struct.Struct("<" + run_format).unpack_from
            lines.append(f"{', '.join(run_values)}, = {name}(d, p + {run_offset})")
            run_values.clear()
        run_format = ""

    for rank, at in enumerate(columns):
        column, layout = table.columns[at], layouts[at]
        if null_bits >> rank & 1:
            if not column.nullable:
                raise CorruptedLog(f"NULL in column {column.name} of {table.name}, which is NOT NULL")
            value_of[at] = "None"
            continue
        convert = converters[at] if at in wanted else None
        if not layout.length_size:
            if not run_format:
                run_offset = offset
            offset += layout.size
            code, direct = _fixed_code(table, at, layout.size)
            if at not in wanted:
                run_format += f"{layout.size}x"
                continue
            run_format += code
            run_values.append(f"v{at}")
            value_of[at] = f"v{at}"
            if convert is not None and not direct:
                names[f"c{at}"] = convert
                value_of[at] = f"c{at}(v{at})"
            continue
        end_run()
        start, length = offset + layout.length_size, _length_code(offset, layout.length_size, names)
        if at in wanted:
            lines.append(f"a = p + {start}; p = a + {length}; v{at} = d[a:p]")
            value_of[at] = f"v{at}"
            if convert is bytes.decode:
                value_of[at] = f"v{at}.decode()"
            elif convert is not None:
                names[f"c{at}"] = convert
                value_of[at] = f"c{at}(v{at})"
        else:
            lines.append(f"p += {start} + {length}")
        offset = 0
    end_run()
    result = "".join(f"{value_of[at]}, " for at in wanted)
    body = "".join(f"    {line}\n" for line in lines)
    source = f"def read(d, p):\n{body}    return ({result}), p + {offset}\n"
    exec(source, names)  # noqa: S102 -- made of numbers and of names from this function only
    reader: Reader = names["read"]  # type: ignore[assignment]
    return reader


def _fixed_code(table: TableMap, at: int, size: int) -> tuple[str, bool]:
    """Struct code of a column of fixed size, and whether the struct gives the value itself."""
    column = table.columns[at]
    if column.type in INTEGERS and size in _INTEGER_CODES:
        return _INTEGER_CODES[size][bool(column.unsigned)], True
    if column.type is ColumnType.FLOAT:
        return "f", True
    if column.type is ColumnType.DOUBLE:
        return "d", True
    return f"{size}s", False


def _length_code(offset: int, size: int, names: dict[str, object]) -> str:
    if size == 1:
        return f"d[p + {offset}]"
    if size == 2:
        return f"(d[p + {offset}] | d[p + {offset + 1}] << 8)"
    if size == 4:
        names["u4"] = struct.Struct("<I").unpack_from
        return f"u4(d, p + {offset})[0]"
    return f"(d[p + {offset}] | d[p + {offset + 1}] << 8 | d[p + {offset + 2}] << 16)"


class RowsHead(NamedTuple):
    """What stands before the rows of an event. `rows` is where they begin; `after` is empty unless UPDATE."""

    table_id: int
    flags: int
    width: int
    before: bytes
    after: bytes
    rows: int


def parse_rows_head(data: bytes, pos: int, layout: RowsLayout, table_id_size: int) -> RowsHead:
    """`pos`: where the post-header begins in `data`."""
    table_id = fixed(data, pos, table_id_size)
    pos += table_id_size
    flags = fixed(data, pos, 2)
    pos += 2
    if layout.has_extra:
        extra = fixed(data, pos, 2)  # its own two bytes count
        if extra < 2:
            raise CorruptedLog(f"a rows event has extra data of {extra} bytes")
        pos += extra
    width, pos = packed(data, pos)
    size = (width + 7) // 8
    before = span(data, pos, size)
    pos += size
    after = b""
    if layout.kind is RowsKind.UPDATE:
        after = span(data, pos, size)
        pos += size
    return RowsHead(table_id, flags, width, before, after, pos)


class Rows(NamedTuple):
    """The rows of one event of a followed table, not decoded yet: `rows()` or `pairs()` does that.

    data[start:end] are the row images, for whoever wants to read them in another way.
    """

    plan: RowPlan
    kind: RowsKind
    flags: int
    before: bytes  # bitmap of the columns in an image (of the image before, for UPDATE)
    after: bytes
    data: bytes
    start: int
    end: int

    @property
    def table(self) -> TableMap:
        return self.plan.table

    @property
    def no_foreign_key_checks(self) -> bool:
        """The session had foreign_key_checks off: no cascade followed from these rows."""
        return bool(self.flags & _NO_FOREIGN_KEY_CHECKS)

    @property
    def cascades_logged(self) -> bool:
        """MySQL 9.6 and later: what cascades from these rows is in the log, as rows before them."""
        return bool(self.flags & _CASCADES_LOGGED)

    def rows(self) -> list[Row]:
        """Of WRITE the new rows, of DELETE the old ones. Raises CorruptedLog, UnsupportedChange."""
        assert self.kind is not RowsKind.UPDATE
        readers = self.plan.readers(self.before)
        data, pos, end, null_size = self.data, self.start, self.end, readers.null_size
        found: list[Row] = []
        try:
            while pos < end:
                at = pos + null_size
                row, pos = readers[data[pos:at]](data, at)
                found.append(row)
        except (IndexError, struct.error, ValueError, ArithmeticError, CorruptedLog):
            readers.read(data, pos)  # raises with the column's name
            raise
        self._check_end(pos)
        return found

    def pairs(self) -> list[tuple[Row, Row]]:
        """Of UPDATE: (row before, row after). Raises CorruptedLog, UnsupportedChange."""
        assert self.kind is RowsKind.UPDATE
        old, new = self.plan.readers(self.before), self.plan.readers(self.after)
        data, pos, end = self.data, self.start, self.end
        found: list[tuple[Row, Row]] = []
        while pos < end:
            before, pos = old.read(data, pos)
            after, pos = new.read(data, pos)
            found.append((before, after))
        self._check_end(pos)
        return found

    def _check_end(self, pos: int) -> None:
        if pos != self.end:
            raise CorruptedLog(f"rows of {self.table.name} end {pos - self.end} bytes after their event")
