"""Rows of shadow tables and of the table of datasets as a SELECT gives them: the same values, to the byte, as the
binlog decoder makes of their row events.

The session must be in utf8mb4 with time zone +00:00, and must not convert values: texts arrive as str, binary columns
as bytes, everything else as the text that the server shows. Nothing here opens a connection or decides what to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from connector.errors import UnsupportedChange
from connector.model import Dataset, DatasetKey, DocKey, Document
from connector.settings import Mapping
from connector.upstream.discover import TableShape
from connector.upstream.names import OPTIONAL, REQUIRED, quoted

RowKey = DocKey | DatasetKey
Row = Document | Dataset

_DATASET = 0  # the place of the dataset's column among those that are selected
_DATASET_PARTS = ("description", "source_uri", "last_scn")


class TableRows(NamedTuple):
    """How to select rows of one table and what to make of them.

    name, columns: quoted. shown: what is selected for each column, nearly always the column itself. key: positions,
    among the columns, of those that make the key that rows are read by.
    forced: the key is the primary key, and no other index may be used in its place.
    """

    name: str
    columns: tuple[str, ...]
    shown: tuple[str, ...]
    key: tuple[int, ...]
    forced: bool
    make: Callable[[Sequence[Any]], tuple[RowKey, Row]]

    def select(self, where: str, limit: int | None = None, *, dataset: str | None = None) -> str:
        """Rows in the order of the key. dataset: of that one only, and of those that are equal to it by collation."""
        index = " FORCE INDEX (PRIMARY)" if self.forced else ""
        order = ", ".join(self.columns[at] for at in self._tells_apart(dataset)) or "NULL"
        if dataset is not None:
            where = f"{self._of(dataset)} AND ({where})"
            if self.key[0] != _DATASET:
                index = ""  # that of the dataset column has the primary key behind it, in this order
        sql = f"SELECT {', '.join(self.shown)} FROM {self.name}{index} WHERE {where} ORDER BY {order}"  # noqa: S608 -- quoted
        return sql if limit is None else f"{sql} LIMIT {limit}"

    def has(self, dataset: str) -> str:
        """Finds a row if there are any of exactly this dataset."""
        exactly = f"HEX(CONVERT({self.columns[_DATASET]} USING utf8mb4)) = '{dataset.encode().hex().upper()}'"
        return f"SELECT 1 FROM {self.name} WHERE {self._of(dataset)} AND {exactly} LIMIT 1"  # noqa: S608 -- quoted

    def _tells_apart(self, dataset: str | None) -> Sequence[int]:
        """Of the key, what differs between rows of that dataset. With a column that does not, MariaDB sorts all that
        follows in some collations, for each chunk again."""
        return [at for at in self.key if dataset is None or at != _DATASET]

    def _of(self, dataset: str) -> str:
        return f"{self.columns[_DATASET]} = {text_literal(dataset)}"

    def following(self, after: Sequence[str] | None, dataset: str | None = None) -> str:
        """The condition for rows after a key. Spelled out, because servers do not use an index for (a, b) > (x, y).

        Literals adopt the collation of the column that they are compared with."""
        if after is None:
            return "TRUE"
        apart = self._tells_apart(dataset)
        names = [self.columns[at] for at in apart]
        after = [value for at, value in zip(self.key, after, strict=True) if at in apart]
        ways = []
        for last in range(len(names)):
            equal = [f"{name} = {text_literal(value)}" for name, value in zip(names[:last], after, strict=False)]
            ways.append(" AND ".join([*equal, f"{names[last]} > {text_literal(after[last])}"]))
        return " OR ".join(f"({way})" for way in ways) or "FALSE"

    def among(self, keys: Sequence[Sequence[str]]) -> str:
        """The condition for rows that have one of these keys."""
        names = [self.columns[at] for at in self.key]
        return " OR ".join(
            "(" + " AND ".join(f"{n} = {text_literal(v)}" for n, v in zip(names, key, strict=True)) + ")"
            for key in keys
        )


def text_literal(text: str) -> str:
    """Right under every sql_mode and character set: nothing in it can be an escape."""
    return f"_utf8mb4 X'{text.encode().hex()}'"


def document_rows(shape: TableShape) -> TableRows:
    """Raises ConfigurationError unless the table can be read."""
    shape.must_be_readable()
    parts = [*REQUIRED, *(part for part in OPTIONAL if part in shape.mapped)]
    created = parts.index("created_at") if "created_at" in parts else -1
    updated = parts.index("updated_at") if "updated_at" in parts else -1
    table = f"{shape.database}.{shape.table}"

    def make(row: Sequence[Any]) -> tuple[RowKey, Row]:
        dataset_id, id, content, meta, embedding, model, scn, archived = row[:8]
        key = DocKey(_key_text(dataset_id, table, parts[0]), _key_text(id, table, parts[1]))
        document = Document(
            _text(content, table, "content"),
            _text(meta, table, "meta"),
            _bytes(embedding, table, "embedding"),
            _text(model, table, "embedding_model"),
            _integer(scn, table, "scn") or 0,
            bool(_integer(archived, table, "archived")),
            _text(row[created], table, "created_at") if created >= 0 else None,
            _text(row[updated], table, "updated_at") if updated >= 0 else None,
        )
        return key, document

    columns = [shape.mapped[part] for part in parts]
    names = tuple(quoted(name, "mysql") for name in columns)
    embedding_type = next(column.type for column in shape.columns if column.name == shape.mapped["embedding"])
    # MySQL's type VECTOR is unknown to PyMySQL; its bytes are what is wanted.
    as_bytes = f"CAST({names[4]} AS BINARY)" if embedding_type.startswith("vector") else names[4]
    return TableRows(
        _qualified(shape.database, shape.table),
        names,
        (*names[:4], as_bytes, *names[5:]),
        tuple(columns.index(name) for name in shape.primary_key),
        True,
        make,
    )


def dataset_rows(shape: TableShape, mapping: Mapping) -> TableRows:
    """Of the datasets that the shadow table belongs to, or belonged to. Raises ConfigurationError unless they can be
    read."""
    if shape.exists or not shape.dataset_table_exists:
        shape.must_be_readable()
    there = {column.name.lower(): column.name for column in shape.dataset_columns}
    parts = [part for part in _DATASET_PARTS if part in there]
    table = f"{shape.database}.{mapping.dataset_table}"

    def make(row: Sequence[Any]) -> tuple[RowKey, Row]:
        fields = dict(zip(parts, row[1:], strict=True))
        dataset = Dataset(
            _text(fields.get("description"), table, "description"),
            _text(fields.get("source_uri"), table, "source_uri"),
            _integer(fields.get("last_scn"), table, "last_scn"),
        )
        return DatasetKey(_key_text(row[0], table, mapping.dataset_id)), dataset

    columns = [there.get(mapping.dataset_id.lower(), mapping.dataset_id), *(there[part] for part in parts)]
    names = tuple(quoted(name, "mysql") for name in columns)
    return TableRows(
        _qualified(shape.database, mapping.dataset_table),
        names,
        names,
        (0,),
        False,
        make,
    )


def size_of(row: Row) -> int:
    """Bytes of its values, roughly: what bounds the memory of a chunk."""
    if isinstance(row, Dataset):
        return len(row.description or "") + len(row.source_uri or "")
    return len(row.content or "") + len(row.meta or "") + len(row.embedding or b"")


def _qualified(database: str, table: str) -> str:
    return f"{quoted(database, 'mysql')}.{quoted(table, 'mysql')}"


def _key_text(value: Any, table: str, column: str) -> str:
    if type(value) is not str:
        raise UnsupportedChange(
            f"column {column} of {table} holds {type(value).__name__}, not text",
            hint="Give keys a text type with a character set; binary ids cannot be followed.",
        )
    return value


def _text(value: Any, table: str, column: str) -> str | None:
    if value is not None and type(value) is not str:
        raise UnsupportedChange(
            f"column {column} of {table} holds {type(value).__name__}, not text",
            hint="Give the column a text type with a character set, or name another one in source.mapping.",
        )
    return value


def _bytes(value: Any, table: str, column: str) -> bytes | None:
    if value is not None and type(value) is not bytes:
        raise UnsupportedChange(
            f"column {column} of {table} holds text, not bytes",
            hint="Give the column a binary type (LONGBLOB), with float32 values in little-endian order.",
        )
    return value


def _integer(value: Any, table: str, column: str) -> int | None:
    """Integers come as text, BIT as big-endian bytes."""
    if value is None:
        return None
    if type(value) is bytes:
        return int.from_bytes(value, "big")
    try:
        return int(value)
    except ValueError:
        raise UnsupportedChange(
            f"column {column} of {table} holds {value!r}, which is no integer",
            hint="Give the column an integer type, or name another one in source.mapping.",
        ) from None
