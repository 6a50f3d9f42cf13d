"""Rows events: which part of their bytes is which row, and the plan that decodes a table's rows.

A plan is prepared once per table map. For each pattern of NULLs that occurs it compiles a function (`row_code`), in one
of several forms: the columns' values, or what another module makes of their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.events import RowsKind, RowsLayout
from connector.source.binlog.integers import fixed, packed, span
from connector.source.binlog.row_code import Form, Reader, Values, compile_reader
from connector.source.binlog.storage import Convert, Value, converter, storage
from connector.source.binlog.table_map import TableMap

Row = tuple[Value, ...]

# Null patterns kept compiled per table and form. Rows have a handful; past the bound all are forgotten.
_MAX_READERS = 512

_NO_FOREIGN_KEY_CHECKS, _CASCADES_LOGGED = 0x02, 0x10
DUMMY_TABLE_ID = 0xFFFFFF  # of an event without rows that only ends a statement


class PackedForms(NamedTuple):
    """row: everything that is wanted of a row, packed. key: as much of it as tells rows apart, for rows before an
    update. What that is, is for those to know who made the forms and who reads rows in them."""

    row: Form
    key: Form


class RowPlan:
    """How to read rows of one table map, in one form or another. `values`: tuples of the wanted columns' values, in the
    order asked for. `converters`: of the wanted columns, by their place in the table. `packing`: other forms, set by
    whoever made the plan, as is `decode`: what reads the values instead (of UPDATE a row before, then the one after).
    """

    __slots__ = ("_images", "_storage", "columns", "converters", "decode", "packing", "table", "values", "wanted")

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
        self.converters: dict[int, Convert | None] = {at: converter(table.columns[at], table) for at in self.wanted}
        self.values = Values(self.wanted, self.converters)
        self.packing: PackedForms | None = None
        self.decode: Callable[[Rows], list[Row]] | None = None
        self._images: dict[tuple[bytes, Form], _Readers] = {}

    def place(self, name: str) -> int | None:
        """Of a wanted column in the table; None: it is not wanted."""
        return self.wanted[self.columns.index(name)] if name in self.columns else None

    def readers(self, present: bytes, form: Form) -> _Readers:
        """Readers of row images that hold the columns of this bitmap: all that are wanted, whatever the form needs."""
        found = self._images.get((present, form))
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
            found = self._images[present, form] = _Readers(self, columns, form)
        return found

    def compile(self, columns: Sequence[int], nulls: bytes, form: Form) -> Reader:
        return compile_reader(self.table, self._storage, columns, nulls, form)

    def explain(self, data: bytes, pos: int, columns: Sequence[int], nulls: bytes, error: Exception) -> CorruptedLog:
        """The error to raise for a row that a reader could not take: names the first column that is at fault."""
        for at in self.wanted:
            try:
                self.compile(columns, nulls, Values((at,), self.converters))(data, pos)
            except UnicodeDecodeError as failure:
                label = f"column {self.table.columns[at].name} of {self.table.name}"
                return CorruptedLog(f"{label} holds bytes that are no text in its character set: {failure.reason}")
            except (CorruptedLog, ValueError, ArithmeticError, IndexError, struct.error) as failure:
                return CorruptedLog(f"column {self.table.columns[at].name} of {self.table.name}: {failure}")
        return CorruptedLog(f"a row of {self.table.name} does not fit its table map: {error}")


class _Readers(dict[bytes, Reader]):
    """Compiled readers by null bitmap, for row images of the same columns; made when first asked for."""

    __slots__ = ("columns", "form", "null_size", "plan")

    def __init__(self, plan: RowPlan, columns: Sequence[int], form: Form) -> None:
        self.plan = plan
        self.columns = columns
        self.form = form
        self.null_size = (len(columns) + 7) // 8

    def __missing__(self, nulls: bytes) -> Reader:
        if len(nulls) != self.null_size:
            raise CorruptedLog(f"a rows event of {self.plan.table.name} ends inside a null bitmap")
        if len(self) >= _MAX_READERS:
            self.clear()
        reader = self[nulls] = self.plan.compile(self.columns, nulls, self.form)
        return reader

    def read(self, data: bytes, pos: int) -> tuple[Any, int]:
        """The row at `pos`, and the position after it. Raises CorruptedLog naming the column at fault."""
        nulls = data[pos : pos + self.null_size]
        try:
            return self[nulls](data, pos + self.null_size)
        except (IndexError, struct.error, ValueError, ArithmeticError, CorruptedLog) as error:
            if len(nulls) != self.null_size:
                raise
            raise self.plan.explain(data, pos + self.null_size, self.columns, nulls, error) from error


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
        return self.made(self.plan.values) if self.plan.decode is None else self.plan.decode(self)

    def pairs(self) -> list[tuple[Row, Row]]:
        """Of UPDATE: (row before, row after). Raises CorruptedLog, UnsupportedChange."""
        if self.plan.decode is None:
            return self.made_pairs(self.plan.values, self.plan.values)
        halves = iter(self.plan.decode(self))
        return list(zip(halves, halves, strict=True))

    def made(self, form: Form) -> list[Any]:
        """`rows` in another form."""
        assert self.kind is not RowsKind.UPDATE
        readers = self.plan.readers(self.before, form)
        data, pos, end, null_size = self.data, self.start, self.end, readers.null_size
        found: list[Any] = []
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

    def made_pairs(self, old_form: Form, new_form: Form) -> list[tuple[Any, Any]]:
        """`pairs`, each half in a form of its own."""
        assert self.kind is RowsKind.UPDATE
        old, new = self.plan.readers(self.before, old_form), self.plan.readers(self.after, new_form)
        data, pos, end = self.data, self.start, self.end
        found: list[tuple[Any, Any]] = []
        while pos < end:
            before, pos = old.read(data, pos)
            after, pos = new.read(data, pos)
            found.append((before, after))
        self._check_end(pos)
        return found

    def _check_end(self, pos: int) -> None:
        if pos != self.end:
            raise CorruptedLog(f"rows of {self.table.name} end {pos - self.end} bytes after their event")
