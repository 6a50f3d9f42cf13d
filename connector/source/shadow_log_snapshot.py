"""All rows of a SQLite upstream as they stand in one read transaction. Must never begin or end that transaction: the
caller reads in the same one how far the change log goes, so that nothing falls between the two."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import apsw

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
)
from connector.source.shadow_log_entries import source_info
from connector.upstream.discover import TableShape
from connector.upstream.names import REQUIRED, quoted
from connector.upstream.sqlite_schema import CHANGE_LOG

_BATCH_ROWS = 500
_BATCH_BYTES = 4 << 20


def snapshot(
    db: apsw.Connection, shapes: Sequence[TableShape], dataset_table: str, name: str, mark: CommitOrder
) -> Iterator[list[Change]]:
    """Batches of changes at the mark: the datasets, the documents, and at the end a floor per table, below which
    everything is gone. Datasets that were deleted are said to be gone too: an earlier reader may have published them.

    Raises apsw.Error.
    """
    now = time.time_ns() // 1000
    seq = mark.position

    def datasets() -> Iterator[Change]:
        info = source_info(name, dataset_table, seq, now, snapshot=True)
        t = quoted(dataset_table, "sqlite")
        last_scn = "last_scn" if shapes[0].dataset_has_last_scn else "NULL"
        for id, description, uri, scn in db.execute(
            f"SELECT dataset_id, description, source_uri, {last_scn} FROM {t} ORDER BY dataset_id"
        ):
            yield DatasetChange(Op.READ, DatasetKey(id), Dataset(description, uri, scn), mark, info)
        for (id,) in db.execute(
            f"SELECT DISTINCT dataset_id FROM {CHANGE_LOG} WHERE shadow_table IS NULL AND op = 'delete'"
            f" EXCEPT SELECT dataset_id FROM {t}"
        ):
            yield DatasetChange(Op.DELETE, DatasetKey(id), None, mark, info)

    def documents(shape: TableShape) -> Iterator[Change]:
        info = source_info(name, shape.table, seq, now, snapshot=True)
        for row in db.execute(_select(shape)):
            dataset_id, id, content, meta, embedding, model, scn, archived, created_at, updated_at = row
            document = Document(
                content, meta, embedding or None, model, scn or 0, bool(archived), created_at, updated_at
            )
            yield DocChange(Op.READ, DocKey(dataset_id, id), document.scn, document, mark, info)

    yield from _batches(datasets())
    for shape in shapes:
        yield from _batches(documents(shape))
    yield [
        Floor(FloorKey(None), mark, FloorReason.SNAPSHOT, source_info(name, shape.table, seq, now, snapshot=True))
        for shape in shapes
    ]


def _select(shape: TableShape) -> str:
    """The same values that the triggers log: text as text, whatever type it was stored as."""
    parts = []
    for part in (*REQUIRED, "created_at", "updated_at"):
        column = shape.mapped.get(part)
        if column is None:
            parts.append("NULL")
        elif part == "embedding":
            parts.append(f"CAST({quoted(column, 'sqlite')} AS BLOB)")
        elif part in ("scn", "archived"):
            parts.append(f"CAST({quoted(column, 'sqlite')} AS INTEGER)")
        else:
            parts.append(f"CAST({quoted(column, 'sqlite')} AS TEXT)")
    key = ", ".join(quoted(column, "sqlite") for column in shape.primary_key)
    return f"SELECT {', '.join(parts)} FROM {quoted(shape.table, 'sqlite')} ORDER BY {key}"


def _batches(changes: Iterator[Change]) -> Iterator[list[Change]]:
    batch: list[Change] = []
    size = 0
    for change in changes:
        batch.append(change)
        if type(change) is DocChange and change.after is not None:
            after = change.after
            size += len(after.content or "") + len(after.meta or "") + len(after.embedding or b"")
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
