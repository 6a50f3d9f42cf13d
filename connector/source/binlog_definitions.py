"""What statements about whole tables mean for their documents: all gone, as they were, or something between. Pure.

The log shows no row of what TRUNCATE, RENAME or ALTER do. Where every row of a table is gone, that can be said. Where
each is as it was, nothing has to be. In all other cases only reading the table again can tell (docs/guarantees.md,
"Statements without rows"); nothing here may guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from connector.errors import UnseenRows, UnsupportedChange
from connector.model import TableName
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.items import StatementItem
from connector.source.binlog.statements import Statement, StatementKind
from connector.upstream.discover import Column as Declared

_TEXTS = frozenset({"TEXT", "MEDIUMTEXT", "LONGTEXT"})
_INTEGERS = frozenset({"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT"})
_NONE: frozenset[str] = frozenset()

# Types that a column takes on without changing a value, in a session that refuses what does not fit. VARCHAR is not
# among them: it cuts spaces off without refusing. Nor are times: what they are converted by is the session's time zone.
_LOSSLESS = {
    "dataset_id": _TEXTS,
    "id": _TEXTS,
    "content": _TEXTS,
    "meta": _TEXTS,
    "embedding": frozenset({"BLOB", "MEDIUMBLOB", "LONGBLOB"}),
    "embedding_model": _TEXTS,
    "scn": frozenset({"BIGINT"}),
    "archived": _INTEGERS,
    "created_at": _NONE,
    "updated_at": _NONE,
}
_LOSSLESS_OF_DATASETS = {
    "dataset_id": _TEXTS,
    "description": _TEXTS,
    "source_uri": _TEXTS,
    "last_scn": frozenset({"BIGINT"}),
}
_OPTIONAL = frozenset({"created_at", "updated_at", "description", "source_uri", "last_scn"})


class Followed(Protocol):
    """What is followed in one database. tables: shadow table to whether the deletion of a dataset's row takes its
    documents with it; None: it is gone by now, and its end is in the log. columns: of these tables, for a log that does
    not name them; empty: it does. ignores_case: the server takes names in statements for those in lower case. found:
    the tables may go, and the database with them."""

    @property
    def db(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, bool | None]: ...

    @property
    def names(self) -> ColumnNames: ...

    @property
    def columns(self) -> Mapping[str, Sequence[Declared]]: ...

    @property
    def ignores_case(self) -> bool: ...

    @property
    def found(self) -> bool: ...


def emptied(item: StatementItem, where: str, followed: Followed) -> list[str]:
    """The shadow tables of which no row is left. Raises UnseenRows where rows came, went or changed in another way, and
    UnsupportedChange where a column is gone without which there are no documents."""
    statement, datasets = item.statement, followed.names.dataset_table
    kind, K = statement.kind, StatementKind
    if kind is K.DROP_DATABASE:
        if _same(statement.db, followed) == followed.db:
            if followed.found:
                return sorted(followed.tables)
            raise _unseen({datasets, *followed.tables}, item, where, followed)
        return []
    touched, came = _followed(statement.tables, followed), _followed(statement.renamed_to, followed)
    if not touched | came:
        return []
    if came or (kind is K.ALTER and statement.removes_rows):
        raise _unseen(touched | came, item, where, followed)
    renamed = kind is K.RENAME or bool(statement.renamed_to)
    if kind in (K.TRUNCATE, K.DROP_TABLE) or renamed or statement.removes_rows:
        if datasets in touched or _cascades_changed(statement, touched if kind is K.CREATE else set(), followed):
            raise _unseen(touched, item, where, followed)
        return sorted(touched)
    if kind is K.ALTER:
        for table in touched:
            _columns(table, item, where, followed)
    if followed.columns and (kind is K.CREATE or statement.columns or statement.converts):
        # What the columns were called before, or are called behind this, is not known.
        raise _unseen(touched, item, where, followed)
    if _cascades_changed(statement, touched, followed):
        raise UnseenRows(
            f"{where} the foreign keys of {_list(touched, followed)} changed, and with them what the deletion of a "
            f"dataset takes along: {item.query.sql[:200]}"
        )
    return []


def _cascades_changed(statement: Statement, touched: set[str], followed: Followed) -> bool:
    """Whether deletions of datasets may take other documents with them than those before. In a table that is gone by
    now that is not known of any, before or after, and its end takes all of its documents."""
    known = [followed.tables[table] for table in touched if followed.tables.get(table) is not None]
    if statement.kind is StatementKind.ALTER:
        return statement.relates and bool(known)
    cascades = followed.names.dataset_table in (_same(name, followed) for name in statement.cascades_from)
    return any(was != cascades for was in known)


def _followed(tables: tuple[TableName, ...], followed: Followed) -> set[str]:
    named = {_same(name.table, followed) for name in tables if _same(name.db, followed) == followed.db}
    return named & {followed.names.dataset_table, *followed.tables}


def _same(name: str, followed: Followed) -> str:
    return name.lower() if followed.ignores_case else name


def _columns(table: str, item: StatementItem, where: str, followed: Followed) -> None:
    """Raises unless every row of the table has the values that it had."""
    statement, names = item.statement, followed.names
    if table == names.dataset_table:
        lossless, parts = _LOSSLESS_OF_DATASETS, {part: part for part in _LOSSLESS_OF_DATASETS}
        parts["dataset_id"] = names.dataset_id
    else:
        lossless, parts = _LOSSLESS, {part: getattr(names, part) for part in _LOSSLESS}
    by_name = {name.lower(): part for part, name in parts.items()}
    changes = [(change, by_name[change.name]) for change in statement.columns if change.name in by_name]
    lost = [parts[part] for change, part in changes if change.gone and part not in _OPTIONAL]
    if lost:
        raise UnsupportedChange(
            f"{where} {followed.db}.{table} lost its column {', '.join(lost)}: {item.query.sql[:200]}",
            hint="Name the column that holds it now in source.mapping. Or give the table a column of that name again, "
            "and run `vecsync capture snapshot`.",
        )
    strict = item.query.strict
    if any(not (strict and change.to in lossless[part]) for change, part in changes) or (
        statement.converts and not strict
    ):
        raise _unseen({table}, item, where, followed)


def _unseen(tables: set[str], item: StatementItem, where: str, followed: Followed) -> UnseenRows:
    return UnseenRows(
        f"{where} a statement changed {_list(tables, followed)} as a whole, and the log does not say which rows: "
        f"{item.query.sql[:200]}"
    )


def _list(tables: set[str], followed: Followed) -> str:
    return ", ".join(f"{followed.db}.{table}" for table in sorted(tables))
