"""The followed tables as they are on the server when reading begins, and which others match a pattern by then.

Reads only. A table counts as gone only where the server proves it (`upstream/presence.py`), and none is passed over
that the account may not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import pymysql

from connector.errors import NotYet, PreflightRefused, TableAppeared
from connector.model import TableName
from connector.settings import SourceSettings
from connector.source.binlog.rows import Row, RowPlan, Rows
from connector.source.binlog_coming import Coming, Place
from connector.source.binlog_following import Following, FollowingAll
from connector.upstream.discover import Column, TableShape
from connector.upstream.presence import matching, present_shape, to_follow
from connector.upstream.tables import Patterns, called, followed_tables, home_of

_T = TypeVar("_T")
Connection: TypeAlias = "pymysql.Connection[Any]"


class Ask(Protocol):
    def __call__(self, question: Callable[[Connection], _T], /) -> _T:
        """What the server answers; its errors as ours."""
        ...


class SourceTables:
    """Of one capture: those that are named or were found by a pattern."""

    def __init__(self, source: SourceSettings, ask: Ask) -> None:
        self.names = followed_tables(source)
        self._source = source
        self._home = home_of(source)
        self._patterns = Patterns(source)
        self._ask = ask

    @property
    def may_come(self) -> bool:
        """Whether there are patterns."""
        return bool(self._patterns)

    def refuse_more(self) -> None:
        """Raises TableAppeared where the catalogue shows tables that match and are not followed yet, PreflightRefused
        where there is none to follow."""
        found = [name for name in self._ask(partial(matching, patterns=self._patterns)) if name not in self.names]
        if found:
            names = [called(name, self._home) for name in found]
            raise TableAppeared(names, "on the source, and matching source.tables")
        if not self.names:
            what = f"no table matches {', '.join(self._source.tables)}, or none that the account may see"
            raise PreflightRefused(what, hint="Make the first one: `vecsync source install --table NAME`.")

    def shapes(self) -> Sequence[TableShape]:
        """Of every followed table; `exists` is False of those that a pattern found and that are gone. Raises
        PreflightRefused when another one does not exist, one may not be read, or one loses rows unlogged: each may have
        become so since the source was checked."""
        found = []
        for name in self.names:
            shape = self._of(name, partial(present_shape, table=name, mapping=self._source.mapping))
            if not shape.exists and not self._patterns.match(name):
                raise PreflightRefused(f"there is no table {name} on the source")
            for key in shape.hidden:
                raise PreflightRefused(
                    f"rows of {key.table} change or go by a foreign key ({key.refers} {key.does}), and are not logged"
                )
            found.append(shape)
        return found

    def following(
        self,
        shapes: Sequence[TableShape],
        looked_up: Place,
        *,
        ignores_case: bool,
        decode: Callable[[RowPlan], Callable[[Rows], list[Row]]] | None,
    ) -> FollowingAll:
        """looked_up: as `Coming` has it."""
        databases = {}
        for db in dict.fromkeys(name.db for name in self.names):
            of_db = [shape for shape in shapes if shape.database == db]
            databases[db] = Following(
                db,
                {shape.table: shape.cascades if shape.exists else None for shape in of_db},
                self._source.mapping,
                renames=any(shape.renames for shape in of_db),
                decode=decode,
                columns=self._columns(of_db),
                ignores_case=ignores_case,
                found=all(self._patterns.match(TableName(db, shape.table)) for shape in of_db),
            )
        if not self._patterns:
            return FollowingAll(databases)
        gone = [TableName(shape.database, shape.table) for shape in shapes if not shape.exists]
        coming = Coming(self._patterns, self.names, gone, looked_up, self._to_follow, self._home)
        return FollowingAll(databases, coming)

    def _to_follow(self, name: TableName) -> bool:
        return self._of(name, partial(to_follow, table=name))

    def _of(self, name: TableName, question: Callable[[Connection], _T]) -> _T:
        """Of one that somebody holds, it says which it is."""
        try:
            return self._ask(question)
        except NotYet as error:
            raise NotYet(f"{name} is held by another session ({error})") from error

    def _columns(self, shapes: Sequence[TableShape]) -> Mapping[str, Sequence[Column]]:
        """For a log that does not name them, if that is allowed. Of tables that are gone nothing is known: none."""
        if self._source.row_metadata == "full":
            return {}
        datasets = {self._source.mapping.dataset_table: shapes[0].dataset_columns}
        return datasets | {shape.table: shape.columns for shape in shapes}
