"""Events into a replica: one batch, one transaction, with everything that belongs together.

Documents, vectors, full text, tombstones, floors, watermarks and the offsets that stand for them are committed at once
or not at all. It must never change anything outside such a transaction, and never judge by anything but orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from connector.model import (
    Change,
    CommitOrder,
    DatasetChange,
    DocChange,
    Floor,
    FloorReason,
    Lane,
    Tombstone,
)
from connector.replica.collections import Collection, Collections
from connector.replica.connection import file_error
from connector.replica.documents import Documents, Entry, Key
from connector.replica.guard import Verdict, judge
from connector.settings import ModelSettings


class Offset(NamedTuple):
    """How far a lane has been read: the next offset, and the leader epoch of the last record (None: unknown)."""

    next: int
    leader_epoch: int | None = None


@dataclass(slots=True)
class Applied:
    """What became of a batch. skipped: known already or overtaken; unfollowed: of datasets that are not followed."""

    upserted: int = 0
    deleted: int = 0
    skipped: int = 0
    unfollowed: int = 0
    floors: int = 0
    datasets: int = 0
    failed_vectors: int = 0
    queued: int = 0

    def add(self, other: Applied) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


# Of all ids of a collection at once: most are new, and cost no row. As bytes, because an array of texts takes no NUL.
_FIND_DOCUMENTS = (
    "SELECT d.id, d.epoch, d.file, d.position, d.ordinal, d.no, d.vectors FROM carray(?) k "
    "CROSS JOIN replica_document d ON d.collection = ? AND d.id = CAST(k.value AS TEXT)"
)
_FIND_TOMBSTONES = (
    "SELECT t.id, t.epoch, t.file, t.position, t.ordinal FROM carray(?) k "
    "CROSS JOIN replica_tombstone t ON t.collection = ? AND t.id = CAST(k.value AS TEXT)"
)


class Applier:
    """The writer's side of a replica. connection: of `open_writer`, whose schema is prepared.

    shadow_tables: the table that each data topic carries; it may grow while the applier lives.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        patterns: Sequence[str],
        models: Mapping[str, ModelSettings],
        shadow_tables: Mapping[str, str],
    ) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._path = path
        self._collections = Collections(connection, patterns, shadow_tables)
        self._documents = Documents(connection, models)
        self._now = ""
        self._entries: dict[Key, Entry] = {}
        self._applied = Applied()

    @property
    def collections(self) -> Collections:
        return self._collections

    def reload(self) -> None:
        """After a rollback, or when something else changed the file through this connection."""
        self._collections.reload()
        self._documents.reload()

    def apply(
        self,
        changes: Sequence[tuple[Lane, Change]],
        tombstones: Sequence[tuple[Lane, Tombstone]],
        offsets: Mapping[Lane, Offset],
        meanwhile: Callable[[], None] | None = None,
    ) -> Applied:
        """One transaction. changes: within a lane in the order of the log; offsets: of every lane that was read.
        meanwhile: called once, where the interpreter is hardly needed until the return; for what else is to be done.

        Raises ReplicaRefused when the file cannot be written: nothing of the batch stands then.
        """
        self._now = timestamp()
        self._applied = Applied()
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            try:
                self._apply(changes)
                self._queue(tombstones)
                self._collections.save(self._now)
                self._cursor.executemany(
                    "UPDATE partition_state SET next_offset = ?, leader_epoch = coalesce(?, leader_epoch), seen_at = ? "
                    "WHERE topic = ? AND partition = ?",
                    [(o.next, o.leader_epoch, self._now, *lane) for lane, o in offsets.items()],
                )
                if meanwhile is not None:
                    meanwhile()
                # From here on few and long calls: each gives the interpreter away, and may wait to have it back.
                self._documents.index()
                self._cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self.reload()
                raise
        except apsw.Error as error:
            raise file_error(error, self._path) from error
        finally:
            self._entries = {}
        return self._applied

    # -- working out ------------------------------------------------------------------------------------------------
    def _apply(self, changes: Sequence[tuple[Lane, Change]]) -> None:
        self._load(changes)
        entries, applied, of = self._entries, self._applied, self._collections.of
        for lane, change in changes:
            if type(change) is not DocChange:
                self._flush()
                if type(change) is DatasetChange:
                    self._dataset(lane, change)
                else:
                    assert type(change) is Floor
                    self._floor(lane, change)
                continue
            collection = of(lane, change.key.dataset_id)
            if collection is None:
                applied.unfollowed += 1
                continue
            entry = entries[collection.no, change.key.id]
            verdict = judge(change, entry.order, collection.floor, collection.forgotten)
            if verdict is Verdict.SKIP:
                applied.skipped += 1
                continue
            if verdict is Verdict.UPSERT:
                applied.upserted += 1
            else:
                applied.deleted += 1
            entry.order = change.order
            entry.change = change
            self._reached(collection, change.order, change.scn)
        self._flush()

    def _reached(self, collection: Collection, order: CommitOrder, scn: int) -> None:
        if order > collection.position:
            collection.position = order
        if scn > collection.last_scn:
            collection.last_scn = scn
        self._collections.touch(collection)

    def _load(self, changes: Sequence[tuple[Lane, Change]]) -> None:
        """An entry for every key of the batch, with what stands of it."""
        of, entries = self._collections.of, self._entries
        ids: dict[int, list[str]] = {}
        for lane, change in changes:
            if type(change) is DocChange:
                dataset_id, id = change.key
                collection = of(lane, dataset_id)
                if collection is not None and (key := (collection.no, id)) not in entries:
                    entries[key] = Entry(collection)
                    ids.setdefault(collection.no, []).append(id)
        for no, id, *order, document, vectors in self._find(_FIND_DOCUMENTS, ids):
            entry = entries[no, id]
            entry.order = CommitOrder(*order)
            entry.document = document
            entry.vectors = vectors
        if not list(self._cursor.execute("SELECT 1 FROM replica_tombstone LIMIT 1")):
            return
        missing = {no: [id for id in those if entries[no, id].document is None] for no, those in ids.items()}
        for no, id, *order in self._find(_FIND_TOMBSTONES, missing):
            entry = entries[no, id]
            entry.order = CommitOrder(*order)
            entry.tombstone = True

    def _find(self, statement: str, ids: Mapping[int, Sequence[str]]) -> Iterator[tuple[Any, ...]]:
        """What stands under those ids, by collection; each row after the number of its collection."""
        for no, those in ids.items():
            if those:
                keys = apsw.carray(tuple([id.encode() for id in those]))
                for row in self._cursor.execute(statement, (keys, no)):
                    yield (no, *row)

    # -- writing ----------------------------------------------------------------------------------------------------
    def _flush(self) -> None:
        """Writes what has been worked out; afterwards the file says what the entries say."""
        changed = [(key[1], entry) for key, entry in self._entries.items() if entry.change is not None]
        if not changed:
            return
        self._applied.failed_vectors += self._documents.write(changed, self._now)
        for _, entry in changed:
            entry.change = None

    # -- datasets, floors, tombstones -------------------------------------------------------------------------------
    def _dataset(self, lane: Lane, change: DatasetChange) -> None:
        dataset_id, order, row = change.key.dataset_id, change.order, change.after
        if not self._collections.follows(dataset_id):
            self._applied.unfollowed += 1
            return
        stored = [
            CommitOrder(*found)
            for found in self._cursor.execute(
                "SELECT epoch, file, position, ordinal FROM replica_dataset_row WHERE dataset_id = ?", (dataset_id,)
            )
        ]
        if judge(change, stored[0] if stored else None) is Verdict.SKIP:
            self._applied.skipped += 1
            return
        fields = (None, None, None) if row is None else (row.description, row.source_uri, row.last_scn)
        self._cursor.execute(
            "INSERT OR REPLACE INTO replica_dataset_row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (dataset_id, *order, *lane, int(row is not None), *fields),
        )
        self._applied.datasets += 1

    def _floor(self, lane: Lane, floor: Floor) -> None:
        dataset_id = floor.key.dataset_id
        if dataset_id is None:
            self._collections.raise_table_floor(lane, floor)
            fallen = list(self._collections.in_lane(lane))
            if floor.reason is FloorReason.SNAPSHOT:
                # It read the rows of vec_dataset too: those that it did not see are gone.
                self._cursor.execute(
                    "UPDATE replica_dataset_row SET present = 0, description = NULL, source_uri = NULL, "
                    "last_scn = NULL WHERE topic = ? AND partition = ? "
                    "AND (epoch, file, position, ordinal) < (?, ?, ?, ?)",
                    (*lane, *floor.order),
                )
        else:
            collection = self._collections.of(lane, dataset_id)
            if collection is None:
                self._applied.unfollowed += 1
                return
            self._collections.raise_dataset_floor(collection, floor)
            fallen = [collection]
        for collection in fallen:
            self._take_below(collection, floor.order)
            if floor.reason is FloorReason.CASCADE and floor.order > collection.position:
                collection.last_scn = 0  # a dataset made anew under this name counts from the beginning
            self._reached(collection, floor.order, 0)
        self._applied.floors += 1

    def _take_below(self, collection: Collection, floor: CommitOrder) -> None:
        """Documents and tombstones strictly below; everything worked out so far has been written."""
        below = (collection.no, *floor)
        where = "collection = ? AND (epoch, file, position, ordinal) < (?, ?, ?, ?)"
        documents: list[Any] = self._cursor.execute(
            f"SELECT no, vectors FROM replica_document WHERE {where}", below
        ).fetchall()
        if documents:
            self._documents.remove_derived(documents)
            self._cursor.execute(f"DELETE FROM replica_document WHERE {where}", below)
        self._cursor.execute(f"DELETE FROM replica_tombstone WHERE {where}", below)
        self._applied.deleted += len(documents)
        for (no, _), entry in self._entries.items():
            if no == collection.no and entry.order is not None and entry.order < floor:
                entry.order = entry.document = entry.vectors = None
                entry.tombstone = False

    def _queue(self, tombstones: Sequence[tuple[Lane, Tombstone]]) -> None:
        """For the collector. Of a dataset that is not followed there is nothing to collect."""
        rows = [
            (*lane, t.dataset_id, t.id, *t.order, t.reason.value, self._now)
            for lane, t in tombstones
            if t.dataset_id is None or self._collections.follows(t.dataset_id)
        ]
        self._cursor.executemany(
            "INSERT INTO gc_queue(topic, partition, dataset_id, id, epoch, file, position, ordinal, reason, queued_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._applied.queued += len(rows)


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
