"""Rows of the binlog to changes: what a row event of a shadow table, or of the datasets, means. Pure.

Documents that are created or updated, nearly everything that a log holds, are handed on packed (`packing`); deletions,
and rows that change their key, as changes.

Ordinals count the changes of a transaction from 1, in the order of execution; a row that changes its key is two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from connector.errors import UnseenRows, UnsupportedChange
from connector.model import (
    Change,
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Op,
    PackedRow,
    PackedRows,
    SourceInfo,
)
from connector.source.binlog.events import RowsKind
from connector.source.binlog.items import StatementItem
from connector.source.binlog.rows import Rows
from connector.source.binlog.statements import StatementKind
from connector.source.binlog_definitions import emptied
from connector.source.binlog_following import Followed, Following

_FLOORS = {
    StatementKind.TRUNCATE: FloorReason.TRUNCATE,
    StatementKind.DROP_TABLE: FloorReason.DROP,
    StatementKind.RENAME: FloorReason.DROP,  # to a name that is not followed
    StatementKind.CREATE: FloorReason.DROP,  # OR REPLACE
    StatementKind.DROP_DATABASE: FloorReason.SNAPSHOT,  # takes the rows of datasets too
}


@dataclass(frozen=True, slots=True)
class TransactionOrigin:
    """What all changes of a transaction share."""

    connector: str
    name: str
    epoch: int
    file: str
    file_number: int
    position: int
    commit_us: int
    server_id: int
    gtid: str | None


def changes(
    entries: Iterable[Rows | StatementItem], origin: TransactionOrigin, followed: Followed
) -> Iterator[Change | PackedRows]:
    """In order of execution. Raises CorruptedLog and UnsupportedChange."""
    ordinal, databases = 0, followed.databases
    for entry in entries:
        if isinstance(entry, StatementItem):
            made: Iterator[Change] = _of_statement(entry, origin, followed, ordinal)
        elif entry.table.table == databases[entry.table.db].names.dataset_table:
            made = _of_datasets(entry, origin, databases[entry.table.db], ordinal)
        else:
            packed = _packed(entry, origin, ordinal)
            if packed is not None:
                yield packed
                ordinal += len(packed.rows)
                continue
            made = _of_documents(entry, origin, databases[entry.table.db], ordinal)
        for change in made:
            ordinal += 1
            yield change


def _packed(rows: Rows, origin: TransactionOrigin, ordinal: int) -> PackedRows | None:
    """None: these rows have to become changes one by one."""
    forms = rows.plan.packing
    if forms is None or rows.kind is RowsKind.DELETE:
        return None
    if rows.kind is RowsKind.WRITE:
        op, made = Op.CREATE, rows.made(forms.row)
    else:
        op, made = Op.UPDATE, list[PackedRow]()
        for (_, key), row in rows.made_pairs(forms.key, forms.row):
            if key != row[1]:
                return None
            made.append(row)
    order = CommitOrder(origin.epoch, origin.file_number, origin.position, ordinal + 1)
    return PackedRows(op, order, _info(origin, rows.table.db, rows.table.table, ordinal + 1), made)


def _info(origin: TransactionOrigin, db: str, table: str, ordinal: int) -> SourceInfo:
    return SourceInfo(
        origin.connector,
        origin.name,
        origin.commit_us,
        False,
        db,
        table,
        origin.server_id,
        origin.gtid,
        origin.file,
        origin.position,
        ordinal,
    )


def _text(value: Any, rows: Rows, column: str) -> str:
    if type(value) is not str:
        raise UnsupportedChange(
            f"column {column} of {rows.table.name} holds {type(value).__name__}, not text",
            hint="Give keys a text type with a character set; binary ids cannot be followed.",
        )
    return value


def _of_documents(rows: Rows, origin: TransactionOrigin, following: Following, ordinal: int) -> Iterator[Change]:
    table = rows.table
    columns = rows.plan.columns
    names = following.names
    created = columns.index(names.created_at) if names.created_at in columns else -1
    updated = columns.index(names.updated_at) if names.updated_at in columns else -1
    epoch, file, position = origin.epoch, origin.file_number, origin.position
    head = (origin.connector, origin.name, origin.commit_us, False, table.db, table.table)
    tail = (origin.server_id, origin.gtid, origin.file, origin.position)

    def key(row: tuple[Any, ...]) -> DocKey:
        dataset_id, id = row[0], row[1]
        if type(dataset_id) is not str or type(id) is not str:
            _text(dataset_id, rows, columns[0])
            _text(id, rows, columns[1])
        return DocKey(dataset_id, id)

    def change(op: Op, of: DocKey, row: tuple[Any, ...], moved: bool = False) -> DocChange:
        nonlocal ordinal
        ordinal += 1
        scn = row[6] or 0
        after = None
        if op is not Op.DELETE:
            after = Document(
                row[2],
                row[3],
                row[4],
                row[5],
                scn,
                bool(row[7]),
                row[created] if created >= 0 else None,
                row[updated] if updated >= 0 else None,
            )
        order = CommitOrder(epoch, file, position, ordinal)
        return DocChange(op, of, scn, after, order, SourceInfo(*head, *tail, ordinal), None, moved)

    if rows.kind is RowsKind.WRITE:
        for row in rows.rows():
            yield change(Op.CREATE, key(row), row)
    elif rows.kind is RowsKind.DELETE:
        for row in rows.rows():
            yield change(Op.DELETE, key(row), row)
    else:
        for before, row in rows.pairs():
            if before[0] == row[0] and before[1] == row[1]:
                yield change(Op.UPDATE, key(row), row)
            else:
                yield change(Op.DELETE, key(before), before, moved=True)
                yield change(Op.CREATE, key(row), row)


def _of_datasets(rows: Rows, origin: TransactionOrigin, following: Following, ordinal: int) -> Iterator[Change]:
    columns = rows.plan.columns
    table = rows.table

    def change(op: Op, row: tuple[Any, ...]) -> DatasetChange:
        nonlocal ordinal
        ordinal += 1
        fields = dict(zip(columns, row, strict=True))
        dataset_id = _text(fields[following.names.dataset_id], rows, columns[0])
        after = None
        if op is not Op.DELETE:
            after = Dataset(fields.get("description"), fields.get("source_uri"), fields.get("last_scn"))
        order = CommitOrder(origin.epoch, origin.file_number, origin.position, ordinal)
        return DatasetChange(op, DatasetKey(dataset_id), after, order, _info(origin, table.db, table.table, ordinal))

    def cascade(gone: DatasetChange) -> Iterator[Floor]:
        """The documents that went with it, which no row event names."""
        nonlocal ordinal
        if rows.no_foreign_key_checks:
            return
        for shadow_table, cascades in following.tables.items():
            if cascades is not False:
                ordinal += 1
                order = gone.order._replace(ordinal=ordinal)
                info = _info(origin, table.db, shadow_table, ordinal)
                yield Floor(FloorKey(gone.key.dataset_id), order, FloorReason.CASCADE, info)

    if rows.kind is RowsKind.WRITE:
        for row in rows.rows():
            yield change(Op.CREATE, row)
    elif rows.kind is RowsKind.DELETE:
        for row in rows.rows():
            gone = change(Op.DELETE, row)
            yield gone
            yield from cascade(gone)
    else:
        for before, row in rows.pairs():
            if before[0] != row[0]:
                if following.renames and not rows.no_foreign_key_checks:
                    raise UnseenRows(
                        f"at {origin.file}:{origin.position} the dataset {before[0]!r} became {row[0]!r}, and its "
                        "documents with it (ON UPDATE CASCADE), of which the binlog says nothing"
                    )
                yield change(Op.DELETE, before)
                yield change(Op.CREATE, row)
            else:
                yield change(Op.UPDATE, row)


def _of_statement(item: StatementItem, origin: TransactionOrigin, followed: Followed, ordinal: int) -> Iterator[Change]:
    """A floor where all rows of a table are gone; nothing where no row is another one than before. Raises UnseenRows
    for anything between."""
    statement = item.statement
    where = f"at {origin.file}:{origin.position}"
    # All of them are looked at before anything is said of one: it may be named in several databases.
    gone = [(db, table) for db, following in followed.databases.items() for table in emptied(item, where, following)]
    reason = _FLOORS.get(statement.kind, FloorReason.DROP)
    for db, table in gone:
        ordinal += 1
        order = CommitOrder(origin.epoch, origin.file_number, origin.position, ordinal)
        yield Floor(FloorKey(None), order, reason, _info(origin, db, table, ordinal))
