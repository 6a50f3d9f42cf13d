"""Rows of a shadow table, cut from the log straight into the wire's form: no value is made of a column, and text that
is UTF-8 already is only searched for bytes that are none.

`connector.wire.events` is the definition of the bytes; tests hold this to it over every type of column. Tables with
columns of other types than those known here are not packed: their rows become changes, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from connector.source.binlog.charsets import BINARY
from connector.source.binlog.row_code import Stored
from connector.source.binlog.rows import PackedForms, RowPlan
from connector.source.binlog.storage import INTEGERS, TEXTS, Convert
from connector.source.binlog.table_map import Column
from connector.source.binlog.table_map import ColumnType as C
from connector.wire.avro import BRANCH_1, FALSE, NULL, TRUE, Kept, counted, long_bytes
from connector.wire.events import DOC_KEY_HEAD

_STRINGS = TEXTS | {C.VARCHAR_COMPRESSED, C.BLOB_COMPRESSED}
_SHOWN_AS_TEXT = frozenset(
    {C.JSON, C.DATE, C.NEWDATE, C.TIME, C.TIMESTAMP, C.DATETIME, C.TIME2, C.TIMESTAMP2, C.DATETIME2}
)


def _dims(size: int) -> bytes:
    return NULL if size & 3 else BRANCH_1 + long_bytes(size >> 2)


_LENGTHS = 1 << 14  # kept at most
_LENGTH: Kept[int] = Kept(long_bytes, _LENGTHS)
_SOME: Kept[int] = Kept(lambda size: BRANCH_1 + long_bytes(size), _LENGTHS)
_DIMS: Kept[int] = Kept(_dims, _LENGTHS)


class DocumentColumns(NamedTuple):
    """Of a shadow table, by their place in it."""

    dataset_id: int
    id: int
    content: int
    meta: int
    embedding: int
    embedding_model: int
    scn: int
    archived: int
    created_at: int | None
    updated_at: int | None


def packing(plan: RowPlan, at: DocumentColumns) -> PackedForms | None:
    """None: a column is of a type whose rows are not packed."""
    columns = plan.table.columns
    keys = [columns[at.dataset_id], columns[at.id]]
    texts = [
        columns[n] for n in (at.content, at.meta, at.embedding_model, at.created_at, at.updated_at) if n is not None
    ]
    if (
        not all(_is_text(column) for column in (*keys, *texts))
        or any(column.nullable for column in keys)
        or not _is_binary(columns[at.embedding])
        or columns[at.scn].type not in INTEGERS
        or columns[at.archived].type not in INTEGERS
    ):
        return None
    table = _Table(at, plan.converters)
    return PackedForms(_Row(table), _Key(table))


def _is_text(column: Column) -> bool:
    return column.collation != BINARY if column.type in _STRINGS else column.type in _SHOWN_AS_TEXT


def _is_binary(column: Column) -> bool:
    return column.collation == BINARY if column.type in _STRINGS else column.type is C.VECTOR


def _to_utf8(convert: Convert | None) -> Callable[[bytes], bytes]:
    assert convert is not None, "text always has a converter"

    def utf8(raw: bytes) -> bytes:
        text = convert(raw)
        assert isinstance(text, str)
        return text.encode()

    return utf8


class _Table:
    """What the code for all patterns of NULLs shares: values that repeat from row to row, encoded, by their bytes."""

    def __init__(self, at: DocumentColumns, converters: Mapping[int, Convert | None]) -> None:
        self.at = at
        self.converters = converters
        self._kept: dict[int, Kept[bytes]] = {}

    def kept(self, at: int, head: bytes) -> Kept[bytes]:
        found = self._kept.get(at)
        if found is None:
            utf8 = _to_utf8(self.converters[at])
            found = self._kept[at] = Kept(lambda raw: head + counted(utf8(raw)))
        return found


class _Code:
    """Code in the making, for one pattern of NULLs: statements, and expressions of one field or several each."""

    def __init__(self, table: _Table, stored: Mapping[int, Stored], names: dict[str, object]) -> None:
        self.statements: list[str] = []
        self._table = table
        self._stored = stored
        self._names = names
        names.update(length=_LENGTH, some=_SOME, dims=_DIMS, long=long_bytes)
        names.update(null=NULL, branch_1=BRANCH_1, true=TRUE, false=FALSE)

    def key(self) -> str:
        """What stands for the dataset, and the key."""
        dataset, id = self._table.at[:2]
        self._names["datasets"] = self._table.kept(dataset, DOC_KEY_HEAD)
        text = self._utf8(id)
        self.statements.append(f"dataset = datasets[{self._stored[dataset].name}]")
        return f"dataset, dataset + length[len({text})] + {text}"

    def text(self, at: int) -> str:
        if self._stored[at].name is None:
            return "null"
        text = self._utf8(at)
        return f"some[len({text})], {text}"

    def repeated_text(self, at: int | None) -> str:
        if at is None or self._stored[at].name is None:
            return "null"
        self._names[f"kept_{at}"] = self._table.kept(at, BRANCH_1)
        return f"kept_{at}[{self._stored[at].name}]"

    def embedding(self, at: int) -> str:
        """And its dimensions."""
        name, convert = self._stored[at].name, self._table.converters[at]
        if name is None:
            return "null, null"
        if convert is not None:
            self._names[f"bytes_{at}"] = convert
            self.statements.append(f"vector_{at} = bytes_{at}({name})")
            name = f"vector_{at}"
        return f"some[len({name})], {name}, dims[len({name})]"

    def number(self, at: int) -> str:
        name, is_value = self._stored[at]
        if name is None or is_value:
            return name or "0"
        self._names[f"number_{at}"] = self._table.converters[at]
        return f"number_{at}({name})"

    def _utf8(self, at: int) -> str:
        """A variable that holds the text in UTF-8, which has been checked."""
        name, convert = self._stored[at].name, self._table.converters[at]
        if convert is bytes.decode:
            self.statements.append(f"{name}.isascii() or {name}.decode()")
            return str(name)
        self._names[f"to_utf8_{at}"] = _to_utf8(convert)
        self.statements.append(f"utf8_{at} = to_utf8_{at}({name})")
        return f"utf8_{at}"


class _Key:
    """Fulfils `Form`: the key's columns as they are in a PackedRow."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        self.columns: Sequence[int] = table.at[:2]

    def code(self, stored: Mapping[int, Stored], names: dict[str, object]) -> tuple[Sequence[str], str]:
        code = _Code(self._table, stored, names)
        key = code.key()
        return code.statements, f"({key})"


class _Row:
    """Fulfils `Form`: a PackedRow."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        self.columns: Sequence[int] = [at for at in table.at if at is not None]

    def code(self, stored: Mapping[int, Stored], names: dict[str, object]) -> tuple[Sequence[str], str]:
        """The rest of the row: the fields of a DocChange from `scn` to `after`, in the order of the schema."""
        at, code = self._table.at, _Code(self._table, stored, names)
        key = code.key()
        fields = [
            "scn",
            "branch_1",
            code.text(at.content),
            code.text(at.meta),
            code.embedding(at.embedding),
            code.repeated_text(at.embedding_model),
            "scn",
            f"true if {code.number(at.archived)} else false",
            code.repeated_text(at.created_at),
            code.repeated_text(at.updated_at),
        ]
        code.statements.append(f"scn = long({code.number(at.scn)})")
        return code.statements, f"({key}, b''.join(({', '.join(fields)})))"
