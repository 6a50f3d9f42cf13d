"""Tables that match a pattern and come while the log is read: made, renamed to such a name, or first met by a row.

Nothing of such a table, and nothing behind it, may be yielded before it is followed. Pure but for its question to the
server, which is asked about a name only when the log brings it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from connector.errors import TableAppeared
from connector.model import TableName
from connector.source.binlog.statements import Statement, StatementKind
from connector.upstream.tables import Patterns, called

log = logging.getLogger("connector.source.binlog")

Place = tuple[int, int]
"""Number of a file, and position in it."""


class Coming:
    """followed: every table. gone: of these, those that were not there when their shapes were looked up. looked_up: the
    end of the log before that: what was made before it is known as it is, or gone again. there: asks the server whether
    there is such a table, after everything that the log has told; one that may not be seen counts."""

    def __init__(
        self,
        patterns: Patterns,
        followed: Collection[TableName],
        gone: Collection[TableName],
        looked_up: Place,
        there: Callable[[TableName], bool],
        home: str,
    ) -> None:
        self._patterns = patterns
        self._followed = frozenset(followed)
        self._gone = set(gone)
        self._looked_up = looked_up
        self._there = there
        self._home = home
        self._passed: set[TableName] = set()

    def matches(self, name: TableName) -> bool:
        return self._patterns.match(name)

    def met(self, name: TableName) -> None:
        """The log brings this table, which is not followed. Raises TableAppeared unless it is gone by now: the log has
        its end, too, and whatever comes by that name afterwards."""
        if not self.matches(name):
            return
        if self._there(name):
            raise TableAppeared([called(name, self._home)], "it matches source.tables, and is met in the log")
        if name not in self._passed:
            self._passed.add(name)
            log.info("table passed over: it is gone again", extra={"table": str(name)})

    def look(self, statement: Statement, at: Place, *, ignores_case: bool) -> None:
        """at: where its transaction begins. Raises TableAppeared, also for a followed table that went, by whatever way,
        and is made again: it is another one, to be checked and looked up as such."""
        kind, K = statement.kind, StatementKind
        tables, came, db = statement.tables, statement.renamed_to, statement.db
        if ignores_case:
            tables, came = (tuple(TableName(d.lower(), t.lower()) for d, t in names) for names in (tables, came))
            db = db.lower()
        if kind is K.DROP_DATABASE:
            self._gone |= {name for name in self._followed if name.db == db and self.matches(name)}
        elif kind is K.DROP_TABLE or came:
            self._gone |= {name for name in tables if name in self._followed and self.matches(name)}
        for name in tables if kind is K.CREATE else came:
            if name not in self._followed:
                self.met(name)
            elif kind is K.CREATE and name in self._gone:
                if at >= self._looked_up and self._there(name):
                    raise TableAppeared([called(name, self._home)], "it was dropped, and is made again")
                self._gone.discard(name)
