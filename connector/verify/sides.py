"""The two sides of a comparison in one private database, which SQLite keeps in a file that has no name: the rows of a
source as its stream tells them, and those of a replica; a digest stands for each.

A source's rows are folded as a replica would: a change counts if its order is above what is held, a floor takes what is
strictly below it. What is gone stays as a row without a digest, with the number of the change that took it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import apsw

from connector.errors import DataRefused
from connector.model import Change, CommitOrder, DatasetChange, DocChange, Floor, PackedRows
from connector.verify.digests import dataset_digest, document_digest
from connector.wire import Envelope

_TABLES = """
    CREATE TABLE source (
        tab TEXT, dataset TEXT, id TEXT, epoch INTEGER, file INTEGER, position INTEGER, ordinal INTEGER,
        seq INTEGER, digest BLOB, PRIMARY KEY (tab, dataset, id)) WITHOUT ROWID;
    CREATE TABLE replica (
        tab TEXT, dataset TEXT, id TEXT, digest BLOB,
        PRIMARY KEY (tab, dataset, id)) WITHOUT ROWID;
"""
_HERE = "excluded.epoch, excluded.file, excluded.position, excluded.ordinal"
_THERE = "epoch, file, position, ordinal"
_FOLD = (
    "INSERT INTO source VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET (epoch, file, position, ordinal, "
    f"seq, digest) = ({_HERE}, excluded.seq, excluded.digest) WHERE ({_HERE}) > ({_THERE})"
)
_BATCH = 500

DATASETS = ""
"""Stands where a table's name does, for rows of `vec_dataset`; their `id` is empty."""


class Place(NamedTuple):
    """What a row goes by on both sides."""

    table: str
    dataset_id: str
    id: str


class Held(NamedTuple):
    """A row of a replica. version: of the record that made it, or took it; None: there never was any. digest: None: it
    has no such row, because (why) it could not be published, if that is so."""

    place: Place
    version: CommitOrder | None
    digest: bytes | None
    why: str | None = None


class Sides:
    """tables: shadow tables that are compared, of `database`."""

    def __init__(self, database: str, tables: Collection[str]) -> None:
        self._database, self._tables = database, tables
        self._db = apsw.Connection("")
        self._db.execute(_TABLES)
        self.folded = 0  # changes

    def close(self) -> None:
        self._db.close()

    def fold(self, changes: Iterable[Change | PackedRows]) -> None:
        """Of one transaction. Those of other tables are passed over."""
        rows: list[tuple[Any, ...]] = []
        with self._writing():
            for change in _unpacked(changes):
                source = change.source
                if source.db != self._database:
                    continue
                if isinstance(change, DatasetChange):
                    digest = None if change.after is None else dataset_digest(change.after)
                    rows.append((DATASETS, change.key.dataset_id, "", *change.order, self._next(), digest))
                elif source.table not in self._tables:
                    continue
                elif isinstance(change, DocChange):
                    digest = None if change.after is None else document_digest(change.after)
                    rows.append((source.table, *change.key, *change.order, self._next(), digest))
                else:
                    self._flush(rows)
                    self._floor(change)
                if len(rows) == _BATCH:
                    self._flush(rows)
            self._flush(rows)

    def take(self, rows: Iterable[Held]) -> None:
        """All rows of the replica, in place of those that were taken before."""
        with self._writing():
            self._db.execute("DELETE FROM replica")
            self._db.executemany("INSERT INTO replica VALUES (?, ?, ?, ?)", ((*row.place, row.digest) for row in rows))

    def unlike(self, follows: Callable[[str], bool], most: int) -> Sequence[Place]:
        """Rows of datasets that are followed that are not alike, in no particular order; not more than that many."""
        found: Any = self._db.execute(
            "SELECT tab, dataset, id FROM source s LEFT JOIN replica r USING (tab, dataset, id)"
            " WHERE s.digest IS NOT r.digest"
            " UNION ALL SELECT tab, dataset, id FROM replica r LEFT JOIN source s USING (tab, dataset, id)"
            " WHERE s.tab IS NULL AND r.digest IS NOT NULL "
        )
        return list(islice((Place(*row) for row in found if follows(row[1])), most))

    def at_source(self, place: Place) -> tuple[bytes | None, int]:
        """The digest, and the number of the change that left it so; 0: it was never there."""
        row: Any = self._db.execute(
            "SELECT digest, seq FROM source WHERE tab = ? AND dataset = ? AND id = ?", place
        ).fetchone()
        return row or (None, 0)

    def counts(self, follows: Callable[[str], bool]) -> tuple[int, int]:
        """Documents and rows of `vec_dataset` that the source has, of datasets that are followed."""
        rows: Any = self._db.execute(
            "SELECT tab = ?, dataset, count(*) FROM source WHERE digest IS NOT NULL GROUP BY 1, 2", (DATASETS,)
        )
        found = [0, 0]
        for of_datasets, dataset, count in rows:
            found[of_datasets] += count if follows(dataset) else 0
        return found[0], found[1]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except apsw.Error as error:
            raise DataRefused(
                f"the temporary file of the comparison cannot be written: {error}",
                hint="Free space in the directory for temporary files, or name another one in SQLITE_TMPDIR.",
            ) from error

    def _next(self) -> int:
        self.folded += 1
        return self.folded

    def _flush(self, rows: list[tuple[Any, ...]]) -> None:
        self._db.executemany(_FOLD, rows)
        rows.clear()

    def _floor(self, floor: Floor) -> None:
        dataset = floor.key.dataset_id
        of = "" if dataset is None else " AND dataset = ?"
        self._db.execute(
            f"UPDATE source SET digest = NULL, seq = ? WHERE digest IS NOT NULL AND ({_THERE}) < (?, ?, ?, ?)"
            f" AND tab = ?{of}",
            (self._next(), *floor.order, floor.source.table, *([] if dataset is None else [dataset])),
        )


def _unpacked(changes: Iterable[Change | PackedRows]) -> Iterator[Change]:
    for change in changes:
        if isinstance(change, PackedRows):
            envelope = Envelope.of(change, "", 0)
            for ordinal, row in enumerate(change.rows, change.order.ordinal):
                yield envelope.change(row, ordinal)
        else:
            yield change
