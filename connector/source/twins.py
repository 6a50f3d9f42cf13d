"""Names of datasets that the source holds equal and everything else does not: met in the stream, they stop it.

In a table that ignores case, a document may carry `roota` under the dataset `rootA`; deleting that dataset takes the
document too, and the binlog names neither. The check of the source refuses pairs that are there when capture starts;
this finds those that come later. Where keys compare by their bytes there is nothing to check, and nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from connector.errors import UnsupportedChange
from connector.model import Change, DatasetChange, DocChange, PackedRows
from connector.upstream.discover import TableShape
from connector.upstream.findings import ignores_case
from connector.upstream.names import quoted
from connector.wire import packed_key

Ask = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]] | None]
"""All rows of a SELECT on the source; None: a table of it is gone by now, and nothing can be taken along there."""

_MOST = 100_000  # a bound on memory, not on datasets: names are asked for again


class TwinCheck:
    """Lets changes through, and asks the source once about each dataset that it meets."""

    def __init__(self, shapes: Iterable[TableShape], dataset_table: str, ask: Ask) -> None:
        self._ask = ask
        self._queries: dict[str, list[tuple[str, int]]] = {}  # by database, which has datasets of its own
        for shape in shapes:
            if (sql := _query(shape, dataset_table)) is not None:
                self._queries.setdefault(shape.database.casefold(), []).append(sql)
        self._known: set[tuple[str, str]] = set()
        self._packed: set[tuple[str, bytes]] = set()  # the same datasets, as they are in PackedRows

    @property
    def needed(self) -> bool:
        return bool(self._queries)

    def __call__(self, changes: Iterable[Change | PackedRows]) -> Iterator[Change | PackedRows]:
        """Raises UnsupportedChange for a dataset of which the source has two spellings now."""
        for change in changes:
            db = change.source.db
            if isinstance(change, PackedRows):
                for row in change.rows:
                    if (db, row[0]) not in self._packed:
                        self._look(db, packed_key(row).dataset_id)
                        self._packed.add((db, row[0]))
            elif isinstance(change, DocChange | DatasetChange) and change.after is not None:
                self._look(db, change.key.dataset_id)
            yield change

    def _look(self, db: str, dataset_id: str) -> None:
        if (db, dataset_id) in self._known:
            return
        for sql, names in self._queries.get(db.casefold(), ()):
            spellings = sorted({str(row[0]) for row in self._ask(sql, [dataset_id] * names) or ()})
            if len(spellings) > 1:
                raise UnsupportedChange(
                    f"the source holds the datasets {' and '.join(map(repr, spellings))} equal, and they are two: "
                    "deleting one would take the documents of both",
                    hint="Give all rows one spelling; `vecsync source check` says how to find them.",
                )
        if len(self._known) >= _MOST:
            self._known.clear()
            self._packed.clear()
        self._known.add((db, dataset_id))


def _query(shape: TableShape, dataset_table: str) -> tuple[str, int] | None:
    """Every spelling of a dataset, and how often its name is a parameter; None where keys compare by their bytes."""
    key = shape.column_of("dataset_id")
    if key is None or not ignores_case(key, "mysql"):
        return None

    def spellings(table: str, column: str) -> str:
        c = quoted(column, "mysql")
        name = f"{quoted(shape.database, 'mysql')}.{quoted(table, 'mysql')}"
        return f"SELECT MIN({c}) FROM {name} WHERE {c} = %s GROUP BY CAST({c} AS BINARY)"

    owner = next((c for c in shape.dataset_columns if c.name == "dataset_id"), None)
    parts = [spellings(shape.table, key.name)]
    if owner is not None and owner.collation == key.collation:
        parts.append(spellings(dataset_table, owner.name))
    return " UNION ALL ".join(parts), len(parts)
