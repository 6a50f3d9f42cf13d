"""What of a binlog is followed: which tables of which databases, and by which names their columns are known. Pure.

Each database is followed by itself: its shadow tables belong to the table of datasets beside them, and to no other.
Nothing here may take a table of one database for one of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from connector.errors import UnseenRows
from connector.model import TableName
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.rows import Row, RowPlan, Rows
from connector.source.binlog.statements import Statement
from connector.source.binlog.table_map import TableMap
from connector.source.binlog_coming import Coming, Place
from connector.source.binlog_names import named, refuse_members
from connector.source.packing import DocumentColumns, packing
from connector.upstream.discover import Column as Declared


class Followed(Protocol):
    """Everything that is followed. A `Selection` for the decoder."""

    @property
    def databases(self) -> Mapping[str, Following]:
        """By name."""
        ...

    def follows(self, db: str, table: str) -> bool | None: ...

    def plan(self, table: TableMap) -> RowPlan: ...

    def look(self, statement: Statement, at: Place) -> None:
        """At every statement, with the place where its transaction begins. Raises TableAppeared if it brings a table
        that has to be followed and is not yet."""
        ...


@dataclass(frozen=True, slots=True)
class Following:
    """What is followed in one database, and by which names. Fulfils `Followed`.

    tables: shadow table to whether the deletion of its dataset's row takes its documents with it (a foreign key
    that cascades: the binlog hides those deletions). None: it is gone by now, and nobody can tell; its end is in the
    log. It counts as one that cascades. renames: whether a change of a dataset's name changes that of its documents,
    which the binlog hides too. decode: makes what reads the values of a plan's rows; rows are not packed then. columns:
    of these tables as they are now, for a log that does not name them, none of a table that is gone; empty: such a log
    is refused.
    ignores_case: names of tables in statements may be written in any case; here, and in table maps, they are in lower
    case then. found: each of these tables is there by a pattern, and may go as it came.
    """

    db: str
    tables: Mapping[str, bool | None]
    names: ColumnNames
    renames: bool = False
    decode: Callable[[RowPlan], Callable[[Rows], list[Row]]] | None = None
    columns: Mapping[str, Sequence[Declared]] = field(default_factory=dict)
    ignores_case: bool = False
    found: bool = False

    @property
    def databases(self) -> Mapping[str, Following]:
        return {self.db: self}

    def look(self, statement: Statement, at: Place) -> None:
        """No other table is followed, whatever it is called."""

    def follows(self, db: str, table: str) -> bool:
        return db == self.db and (table in self.tables or table == self.names.dataset_table)

    def plan(self, table: TableMap) -> RowPlan:
        """Raises UnsupportedChange when a column that every shadow table has is not there, and UnseenRows where the log
        does not name the columns and the table is gone."""
        if not self.columns or any(column.name is not None for column in table.columns):
            return self._plan(table)
        if not self.columns[table.table]:
            raise UnseenRows(f"the log does not name the columns of {table.name}, and the table is gone by now")
        plan = self._plan(named(table, self.columns[table.table]))
        refuse_members(plan.table, plan.wanted)
        return plan

    def _plan(self, table: TableMap) -> RowPlan:
        there = {column.name.lower() for column in table.columns if column.name is not None}
        if table.table == self.names.dataset_table:
            wanted = [n for n in _dataset_columns(self.names) if n in there or n == self.names.dataset_id]
            plan = RowPlan(table, wanted)
            plan.decode = None if self.decode is None else self.decode(plan)
            return plan
        required, optional = document_columns(self.names)
        plan = RowPlan(table, [*required, *(name for name in optional if name.lower() in there)])
        if self.decode is not None:
            plan.decode = self.decode(plan)
            return plan
        created, updated = (plan.place(name) for name in optional)
        plan.packing = packing(plan, DocumentColumns._make((*plan.wanted[: len(required)], created, updated)))
        return plan


def document_columns(names: ColumnNames) -> tuple[list[str], list[str]]:
    """Those that must be there, and those that may be missing, in the order in which they are decoded."""
    required = [
        names.dataset_id,
        names.id,
        names.content,
        names.meta,
        names.embedding,
        names.embedding_model,
        names.scn,
        names.archived,
    ]
    return required, [names.created_at, names.updated_at]


def _dataset_columns(names: ColumnNames) -> list[str]:
    return [names.dataset_id, "description", "source_uri", "last_scn"]


@dataclass(frozen=True, slots=True)
class FollowingAll:
    """Several databases, by name. Fulfils `Followed`. coming: the tables that a pattern may bring."""

    databases: Mapping[str, Following]
    coming: Coming | None = None

    def follows(self, db: str, table: str) -> bool | None:
        """Raises TableAppeared."""
        of = self.databases.get(db)
        if of is not None and of.follows(db, table):
            return True
        name = TableName(db, table)
        if self.coming is None or not self.coming.matches(name):
            return False
        self.coming.met(name)
        return None

    def plan(self, table: TableMap) -> RowPlan:
        """As `Following.plan`."""
        return self.databases[table.db].plan(table)

    def look(self, statement: Statement, at: Place) -> None:
        if self.coming is not None:
            ignores_case = any(of.ignores_case for of in self.databases.values())
            self.coming.look(statement, at, ignores_case=ignores_case)
