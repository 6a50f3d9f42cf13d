"""The collector: erases what deleted vectors leave behind, and gives their space back.

Applying a deletion takes document, full-text entry and vector out at once. What remains are bytes in free pages and
free places of vec0 chunks. The tombstone topic says what to collect; an entry waits until the order of its document,
floor or forgotten bound has reached its own, so that it can never run before the deletion it belongs to, nor touch a
version above it. A sweep finds what no entry named, so a lost tombstone is harmless.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from connector.model import ZERO_ORDER, CommitOrder, Lane
from connector.replica import schema, state
from connector.replica.apply import Applier
from connector.replica.connection import BUSY_MS, file_error
from connector.replica.lanes import data_topic_of

_ENTRIES = 5000  # looked at in one round
_SWEEP_S = 600.0
_EMPTY_LOG_S = 60.0  # emptying the log waits for the disk
_PAGES = 256  # given back to the file system in one round: the applier waits meanwhile
_REBUILD_BYTES = 4 * 2**20  # less is not worth writing a vec0 table anew
_LIVE_RATIO = 0.5


class Collected(NamedTuple):
    """collected: tombstones and floors whose vectors are erased; freed_bytes: given back to the file system."""

    collected: int = 0
    freed_bytes: int = 0

    def plus(self, other: Collected) -> Collected:
        return Collected(self.collected + other.collected, self.freed_bytes + other.freed_bytes)


class Collector:
    """Runs between two batches, on the writer's connection."""

    def __init__(self, connection: apsw.Connection, file: Path, applier: Applier) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._file = file
        self._applier = applier
        self._after = 0  # where the next round goes on in the queue, so that waiting entries hold up nobody
        self._swept_at = time.monotonic()
        self._reclaiming = False
        self._emptied_at = time.monotonic()

    def round(self) -> Collected:
        """A bounded piece of work. Raises ReplicaRefused when the file cannot be written."""
        try:
            collected = self._run_queue()
            if time.monotonic() - self._swept_at >= _SWEEP_S:
                collected += self._sweep()
            if not (self._reclaiming or collected):
                return Collected()
            freed = self._give_back(_PAGES)
            self._reclaiming = bool(freed or collected)
            if collected and not freed:
                self._rebuild_sparse()
            if not self._reclaiming and time.monotonic() - self._emptied_at >= _EMPTY_LOG_S:
                self._empty_log()
            return self._report(collected, freed)
        except apsw.Error as error:
            raise file_error(error, self._file) from error

    def sweep(self) -> Collected:
        """Collects every tombstone and floor that stands uncollected, named or not."""
        try:
            collected = self._sweep()
            self._reclaiming = self._reclaiming or bool(collected)
            return self._report(collected, 0)
        except apsw.Error as error:
            raise file_error(error, self._file) from error

    def reclaim_all(self) -> Collected:
        """Gives everything back that is free, and empties the write-ahead log unless a reader needs it."""
        try:
            self._rebuild_sparse()
            freed = 0
            while step := self._give_back(_PAGES):
                freed += step
            self._reclaiming = False
            report = self._report(0, freed)
            self._empty_log()
            return report
        except apsw.Error as error:
            raise file_error(error, self._file) from error

    def _empty_log(self) -> None:
        """The write-ahead log holds old pages until it is written over. A reader in the way puts it off."""
        self._emptied_at = time.monotonic()
        self._connection.set_busy_timeout(0)
        try:
            with contextlib.suppress(apsw.BusyError):
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            self._connection.set_busy_timeout(BUSY_MS)

    def waiting(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM gc_queue").get)

    def _report(self, collected: int, freed: int) -> Collected:
        if collected or freed:
            state.collected(self._connection, collected, freed)
        return Collected(collected, freed)

    # -- what the topic named ---------------------------------------------------------------------------------------
    def _run_queue(self) -> int:
        entries: list[Any] = self._cursor.execute(
            "SELECT no, topic, partition, dataset_id, id, epoch, file, position, ordinal FROM gc_queue "
            "WHERE no > ? ORDER BY no LIMIT ?",
            (self._after, _ENTRIES),
        ).fetchall()
        self._after = entries[-1][0] if len(entries) == _ENTRIES else 0
        if not entries:
            return 0
        done: list[tuple[int]] = []
        documents: list[tuple[Any, ...]] = []
        datasets: list[tuple[Any, ...]] = []
        tables: list[tuple[Any, ...]] = []
        for no, topic, partition, dataset_id, id, *columns in entries:
            order, lane = CommitOrder(*columns), Lane(data_topic_of(topic), partition)
            collection = None if dataset_id is None else self._applier.collections.known(lane.topic, dataset_id)
            if dataset_id is None:
                if self._applier.collections.table_floor(lane) < order:
                    continue
                tables.append((*lane, *order))
            elif collection is None:
                continue
            elif id is None:
                if max(collection.floor, collection.forgotten) < order:
                    continue
                datasets.append((collection.no, *order))
            else:
                if max(collection.floor, collection.forgotten) < order and self._stored(collection.no, id) < order:
                    continue
                documents.append((collection.no, id, *order))
            done.append((no,))
        if not done:
            return 0
        below = "(epoch, file, position, ordinal) <= (?, ?, ?, ?) AND collected = 0"
        before = self._connection.total_changes()
        with self._connection:
            run = self._cursor.executemany
            run(f"UPDATE replica_tombstone SET collected = 1 WHERE collection = ? AND id = ? AND {below}", documents)
            run(f"UPDATE replica_dataset_floor SET collected = 1 WHERE collection = ? AND {below}", datasets)
            run(f"UPDATE replica_table_floor SET collected = 1 WHERE topic = ? AND partition = ? AND {below}", tables)
            collected = self._connection.total_changes() - before
            run("DELETE FROM gc_queue WHERE no = ?", done)
        return collected

    def _stored(self, collection: int, id: str) -> CommitOrder:
        for table in ("replica_document", "replica_tombstone"):
            for row in self._cursor.execute(
                f"SELECT epoch, file, position, ordinal FROM {table} WHERE collection = ? AND id = ?", (collection, id)
            ):
                return CommitOrder(*row)
        return ZERO_ORDER

    def _sweep(self) -> int:
        self._swept_at = time.monotonic()
        before = self._connection.total_changes()
        with self._connection:
            self._cursor.execute("UPDATE replica_tombstone SET collected = 1 WHERE collected = 0")
            self._cursor.execute("UPDATE replica_dataset_floor SET collected = 1 WHERE collected = 0")
            self._cursor.execute("UPDATE replica_table_floor SET collected = 1 WHERE collected = 0")
        return self._connection.total_changes() - before

    # -- space ------------------------------------------------------------------------------------------------------
    def _give_back(self, pages: int) -> int:
        """Moves pages from the end into free places and cuts the file; returns bytes."""
        free = self._connection.pragma("freelist_count")
        if not free:
            return 0
        self._cursor.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        return int((free - self._connection.pragma("freelist_count")) * self._connection.pragma("page_size"))

    def _rebuild_sparse(self) -> None:
        """vec0 gives a chunk back only when it is wholly empty. A table that could do with half of its chunks is
        written anew as the next generation, and takes its place in the same transaction."""
        tables: list[Any] = self._cursor.execute("SELECT no, name, dims, generation FROM replica_vectors").fetchall()
        for no, name, dims, generation in tables:
            chunk_rows = schema.chunk_rows(dims)
            chunk_bytes = chunk_rows * dims * 4
            chunks = self._connection.execute(f'SELECT count(*) FROM "{name}_chunks"').get
            if chunks * chunk_bytes < _REBUILD_BYTES:
                continue
            needed = self._connection.execute(
                "SELECT coalesce(sum((rows + ?1 - 1) / ?1), 0) FROM "
                "(SELECT count(*) AS rows FROM replica_document WHERE vectors = ?2 GROUP BY collection, archived)",
                (chunk_rows, no),
            ).get
            if needed < chunks * _LIVE_RATIO and (chunks - needed) * chunk_bytes >= _REBUILD_BYTES:
                self._rebuild(no, name, dims, generation)

    def _rebuild(self, no: int, name: str, dims: int, generation: int) -> None:
        new = f"replica_vectors_{no}_g{generation + 1}"
        with self._connection:
            schema.make_vectors(self._connection, new, dims)
            self._cursor.execute(
                f"INSERT INTO {new}(rowid, collection, archived, embedding) "
                f"SELECT v.rowid, d.collection, d.archived, v.embedding FROM {name} v "
                "JOIN replica_document d ON d.no = v.rowid"
            )
            self._cursor.execute(
                "UPDATE replica_vectors SET name = ?, generation = ? WHERE no = ?", (new, generation + 1, no)
            )
            schema.make_views(self._connection)
            self._cursor.execute(f"DROP TABLE {name}")
        self._applier.reload()
        self._reclaiming = True
