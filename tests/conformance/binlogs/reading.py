"""A binlog by our decoder, event by event, in the form in which readers are compared. Never looks at another reader.

Tables are followed whether their table maps name the columns or not. What a map leaves out is filled in so that
nothing is lost: names are positions, integers are signed, text is latin1, in which every byte is a character.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import RowsKind
from connector.source.binlog.items import StatementItem, TransactionEnd
from connector.source.binlog.rows import Row, RowPlan, Rows
from connector.source.binlog.table_map import Column, TableMap

LATIN1 = 8


@dataclass(frozen=True, slots=True)
class Changed:
    """One row event's row: `before` is None for WRITE, `after` for DELETE."""

    kind: RowsKind
    table: TableMap
    before: Row | None
    after: Row | None


@dataclass
class Reading:
    """What came of a binlog, up to its end or to the error that stopped the decoder."""

    transactions: int = 0
    statements: int = 0
    rows: list[Changed] = field(default_factory=list)
    events: Counter[int] = field(default_factory=Counter)
    refused: str = ""


class Everything:
    """Follows all tables of which `follows` (database, table) is true, with all of their columns."""

    def __init__(self, follows: Callable[[str, str], bool] = lambda _db, _table: True) -> None:
        self._follows = follows

    def follows(self, db: str, table: str) -> bool:
        return self._follows(db, table)

    def plan(self, table: TableMap) -> RowPlan:
        table = table.described(
            {
                at: Column(column.type, column.meta, column.nullable, f"@{at + 1}", False, LATIN1, None)
                for at, column in enumerate(table.columns)
            }
        )
        return RowPlan(table, [column.name or "?" for column in table.columns])


def read(
    events: Iterable[bytes], file: str, selection: Everything | None = None, until: tuple[str, int] | None = None
) -> Reading:
    """To the end, or `until` that file and position. Never raises what a binlog can be at fault for: that is in
    `refused`."""
    decoder = Decoder(selection or Everything(), file)
    found = Reading()
    try:
        for event in events:
            for item in decoder.feed(event):
                if isinstance(item, Rows):
                    found.rows += _changed(item)
                elif isinstance(item, StatementItem):
                    found.statements += 1
                elif isinstance(item, TransactionEnd):
                    found.transactions += 1
            found.events[event[4]] += 1
            if until is not None and decoder.position >= until:
                break
    except (CorruptedLog, UnsupportedChange) as error:
        found.refused = f"{type(error).__name__}: {error}"
    return found


def _changed(rows: Rows) -> list[Changed]:
    table = rows.table
    if rows.kind is RowsKind.UPDATE:
        return [Changed(rows.kind, table, before, after) for before, after in rows.pairs()]
    if rows.kind is RowsKind.DELETE:
        return [Changed(rows.kind, table, row, None) for row in rows.rows()]
    return [Changed(rows.kind, table, None, row) for row in rows.rows()]
