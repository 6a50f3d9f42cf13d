"""How a replica is, read from its file and, where a broker is given, from the ends of the topics. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

import apsw

from connector.broker import Broker
from connector.model import Lane
from connector.replica import files, lanes, schema, state
from connector.replica.connection import file_bytes, file_error, open_reader

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """lag: records (offsets, with the gaps of compaction) between next_offset and the end; None: no broker asked."""

    topic: str
    partition: int
    next_offset: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """documents: visible ones, archived ones among them; vectors by their state."""

    dataset_id: str
    shadow_table: str
    documents: int
    archived: int
    vectors_committed: int
    vectors_failed: int
    tombstones: int
    hidden: int
    last_scn: int
    position: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """ready: what the writer said last; alive: a writer's heart beats. lag: over all data topics; None: unknown.
    database: that of the source whose tables are followed; None: nothing was read yet."""

    path: str
    file: str
    generation: int | None
    version: int
    ready: bool
    ready_at: str | None
    alive: bool
    writer: int | None
    error: str | None
    database: str | None
    follows: Sequence[str]
    file_bytes: int
    lag: int | None
    gc_waiting: int
    uncollected: int
    collected: int
    freed_bytes: int
    partitions: Sequence[PartitionStatus]
    datasets: Sequence[DatasetStatus]

    def as_json(self) -> dict[str, Any]:
        """Plain values, as they are printed with --json."""
        return asdict(self)


def status(path: Path, broker: Broker | None = None) -> Status:
    """Of the replica at path (the link, or a file). Raises ReplicaRefused; Unreachable when a broker is given."""
    file = files.present(path) or path
    connection = open_reader(path)
    try:
        schema.check(connection, path)
        connection.execute("BEGIN")  # one state for all that is read; it ends with the connection
        return _read(connection, path, file, broker)
    except apsw.Error as error:
        raise file_error(error, path) from error
    finally:
        connection.close()


def _read(connection: apsw.Connection, path: Path, file: Path, broker: Broker | None) -> Status:
    now = state.read(connection)
    have = lanes.recorded(connection)
    ends = _ends(broker, list(have)) if broker is not None else {}
    partitions = [
        PartitionStatus(*lane, known.next_offset, max(0, ends[lane] - known.next_offset) if lane in ends else None)
        for lane, known in sorted(have.items())
    ]
    data = {row[0] for row in connection.execute("SELECT DISTINCT topic FROM replica_collection")}
    data |= {lane.topic for lane in have if not lane.topic.endswith(".tombstones")}
    lag = sum(p.lag or 0 for p in partitions if p.topic in data) if broker is not None else None
    filters = [str(row[0]) for row in connection.execute("SELECT DISTINCT filter FROM partition_state")]
    return Status(
        path=str(path),
        file=str(file),
        generation=files.generation(path, file),
        version=connection.pragma("user_version"),
        ready=now.ready,
        ready_at=now.ready_at,
        alive=now.alive,
        writer=now.writer,
        error=now.error,
        database=", ".join(sorted(lanes.databases_of(have))) or None,
        follows=schema.patterns_of(filters[0]) if filters else [],
        file_bytes=file_bytes(file),
        lag=lag,
        gc_waiting=connection.execute("SELECT count(*) FROM gc_queue").get,
        uncollected=connection.execute("SELECT count(*) FROM replica_tombstone WHERE collected = 0").get,
        collected=now.collected,
        freed_bytes=now.freed_bytes,
        partitions=partitions,
        datasets=_datasets(connection),
    )


def _datasets(connection: apsw.Connection) -> list[DatasetStatus]:
    documents: dict[int, Any] = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT collection, count(*), sum(archived), sum(vectors > 0), sum(vectors = -1) "
            "FROM replica_document GROUP BY collection"
        )
    }
    gone: dict[int, Any] = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT collection, sum(unpublished IS NULL), sum(unpublished IS NOT NULL) "
            "FROM replica_tombstone GROUP BY collection"
        )
    }
    found: list[DatasetStatus] = []
    rows: Any = connection.execute(
        "SELECT no, dataset_id, shadow_table, last_scn, position, updated_at FROM replica_collection ORDER BY 2, 3"
    )
    for no, dataset_id, shadow_table, last_scn, position, updated_at in rows:
        count, archived, committed, failed = documents.get(no, (0, 0, 0, 0))
        tombstones, hidden = gone.get(no, (0, 0))
        found.append(
            DatasetStatus(
                dataset_id,
                shadow_table,
                count,
                archived,
                committed or 0,
                failed or 0,
                tombstones,
                hidden,
                last_scn,
                position,
                updated_at,
            )
        )
    return found


def _ends(broker: Broker, of: Sequence[Lane]) -> Mapping[Lane, int]:
    admin = broker.admin()
    try:
        return admin.end_offsets(of)
    finally:
        admin.close()


def wait(
    path: Path,
    stop: Event,
    *,
    dataset_id: str | None = None,
    scn: int | None = None,
    offsets: Mapping[Lane, int] | None = None,
    timeout_s: float | None = None,
) -> bool:
    """Until the replica is ready, and in addition: has applied `scn` of `dataset_id` (in every followed table that has
    the dataset), and everything before `offsets`. False when time ran out or `stop` was set.

    The replica need not exist yet. Raises ReplicaRefused for a file that is not a replica.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        if path.exists() and _reached(path, dataset_id, scn, offsets or {}):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
        if stop.wait(_POLL_S):
            return False


def _reached(path: Path, dataset_id: str | None, scn: int | None, offsets: Mapping[Lane, int]) -> bool:
    connection = open_reader(path)
    try:
        schema.check(connection, path)
        connection.execute("BEGIN")
        if not state.read(connection).ready:
            return False
        have = lanes.recorded(connection)
        if any(lane not in have or have[lane].next_offset < offset for lane, offset in offsets.items()):
            return False
        if dataset_id is None:
            return True
        sql = "SELECT last_scn FROM replica_collection WHERE dataset_id = ?"
        found: list[Any] = [row[0] for row in connection.execute(sql, (dataset_id,))]
        return bool(found) and (scn is None or all(last >= scn for last in found))
    except apsw.Error as error:
        raise file_error(error, path) from error
    finally:
        connection.close()
