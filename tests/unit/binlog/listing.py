"""Decodes a captured binlog into lines of text, one per item."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connector.source.binlog import files
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import RowsKind
from connector.source.binlog.items import Item, StatementItem, TransactionBegin, TransactionEnd
from connector.source.binlog.rows import RowPlan, Rows
from connector.source.binlog.table_map import TableMap

DATA = Path(__file__).parent / "data"
SERVERS = ("mariadb", "mysql")


class Everything:
    def follows(self, db: str, table: str) -> bool:
        return True

    def plan(self, table: TableMap) -> RowPlan:
        return RowPlan(table, [column.name or "?" for column in table.columns])


def listing(path: Path) -> str:
    return "".join(line + "\n" for line in _lines(path))


def _lines(path: Path) -> Iterator[str]:
    decoder = Decoder(Everything(), path.name)
    with path.open("rb") as file:
        for event in files.events(file):
            for item in decoder.feed(event):
                yield from _item(item)


def _item(item: Item) -> Iterator[str]:
    if isinstance(item, TransactionBegin):
        yield f"{item.position} begin {item.gtid} committed {item.commit_us} at {item.original_us} by {item.server_id}"
    elif isinstance(item, TransactionEnd):
        yield f"{item.position} {item.outcome.name.lower()}" + (f" {item.xid}" if item.xid else "")
    elif isinstance(item, Rows):
        checks = " no foreign key checks" if item.no_foreign_key_checks else ""
        yield f"  {item.kind.name.lower()} {item.table.name} {item.plan.columns}{checks}"
        for row in item.pairs() if item.kind is RowsKind.UPDATE else item.rows():
            yield f"    {row}"
    elif isinstance(item, StatementItem):
        named = " ".join(map(str, (*item.statement.tables, *item.statement.renamed_to)))
        yield f"  {item.statement.kind.name.lower()} {named}: {item.query.sql!r}"
    else:
        yield f"  {item}"
