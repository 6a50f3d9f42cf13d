"""Code that reads rows: made for one table, one set of columns in the image, one pattern of NULLs and one form. Pure.

Every offset that can be is worked out beforehand; wanted columns are cut out, the others stepped over: that is where
the speed comes from. Generated code consists of numbers and names made here and by the form; nothing that a server sent
ever becomes code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from connector.errors import CorruptedLog
from connector.source.binlog.storage import INTEGERS, Convert, Storage
from connector.source.binlog.table_map import ColumnType, TableMap

Reader = Callable[[bytes, int], tuple[Any, int]]
"""From the bytes and where a row begins in them, behind its NULLs, to what its form makes of it and where it ends."""

_INTEGER_CODES = {1: "bB", 2: "hH", 4: "iI", 8: "qQ"}


class Stored(NamedTuple):
    """A column that was cut out. name: of the variable that holds it; None: it is NULL. number: it holds the value
    itself, otherwise its bytes as they are stored."""

    name: str | None
    number: bool = False


class Form(Protocol):
    """What is made of a row. `columns`: those that are needed, by their place in the table map."""

    @property
    def columns(self) -> Sequence[int]: ...

    def code(self, stored: Mapping[int, Stored], names: dict[str, object]) -> tuple[Sequence[str], str]:
        """Statements, and the expression of what is made. Whatever they mention is in `stored`, a variable of theirs or
        put into `names`; names that are one letter, or one and a number, are taken."""
        ...


class Values:
    """The form of plain values: a tuple, in the order of `columns`."""

    __slots__ = ("_converters", "columns")

    def __init__(self, columns: Sequence[int], converters: Mapping[int, Convert | None]) -> None:
        self.columns = columns
        self._converters = converters

    def code(self, stored: Mapping[int, Stored], names: dict[str, object]) -> tuple[Sequence[str], str]:
        def value(at: int) -> str:
            name, number = stored[at]
            convert = self._converters[at]
            if name is None:
                return "None"
            if number or convert is None:
                return name
            if convert is bytes.decode:
                return f"{name}.decode()"
            names[f"c{at}"] = convert
            return f"c{at}({name})"

        return [], f"({''.join(f'{value(at)}, ' for at in self.columns)})"


def compile_reader(
    table: TableMap, layouts: Sequence[Storage], columns: Sequence[int], nulls: bytes, form: Form
) -> Reader:
    """For row images that hold `columns`, of which those flagged in `nulls` are NULL.

    Runs of columns of fixed size become one struct; a column of variable size costs its length, and a copy if wanted.
    """
    wanted = frozenset(form.columns)
    null_bits = int.from_bytes(nulls, "little")
    names: dict[str, object] = {}
    lines: list[str] = []
    stored: dict[int, Stored] = {}
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
            stored[at] = Stored(None)
            continue
        if not layout.length_size:
            if not run_format:
                run_offset = offset
            offset += layout.size
            if at not in wanted:
                run_format += f"{layout.size}x"
                continue
            code, number = _fixed_code(table, at, layout.size)
            run_format += code
            run_values.append(f"v{at}")
            stored[at] = Stored(f"v{at}", number)
            continue
        end_run()
        start, length = offset + layout.length_size, _length_code(offset, layout.length_size, names)
        if at in wanted:
            lines.append(f"a = p + {start}; p = a + {length}; v{at} = d[a:p]")
            stored[at] = Stored(f"v{at}")
        else:
            lines.append(f"p += {start} + {length}")
        offset = 0
    end_run()
    statements, result = form.code(stored, names)
    body = "".join(f"    {line}\n" for line in (*lines, *statements))
    source = f"def read(d, p):\n{body}    return {result}, p + {offset}\n"
    exec(source, names)  # noqa: S102 -- made of numbers and of names from here and the form only
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
    at = f"p + {offset}" if offset else "p"
    if size == 1:
        return f"d[{at}]"
    if size == 2:
        return f"(d[{at}] | d[p + {offset + 1}] << 8)"
    if size == 4:
        names["u4"] = struct.Struct("<I").unpack_from
        return f"u4(d, {at})[0]"
    return f"(d[{at}] | d[p + {offset + 1}] << 8 | d[p + {offset + 2}] << 16)"
