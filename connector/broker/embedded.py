"""A durable log with partitions in one SQLite file, for one machine: any number of processes produce and consume.

A batch of records commits in one transaction, synced to disk, and is acknowledged only then: a producer that dies
leaves the whole batch or nothing of it. Offsets are never used twice. It must never acknowledge what is not on disk,
and never hand out a record above one that is not committed.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from connector.broker import Acknowledged, Headers, LeaseState, Record, TopicInfo, TopicSpec
from connector.broker.embedded_cleaning import DEFAULT_CONFIG, Cleaner
from connector.broker.embedded_file import OFFSET_BITS, decode_headers, encode_headers, open_log, reporting, writing
from connector.broker.embedded_lease import EmbeddedLease, embedded_lease_state
from connector.errors import ConfigurationError, DeliveryFailed, ForeignLog, UnpublishableRow
from connector.model import Lane

_LEGAL_NAME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")
_OFFSET_MASK = (1 << OFFSET_BITS) - 1

# A batch is committed when it is this large, or when the one before it ended some multiple of its own duration ago, but
# this long at most. Under load hundreds of records share the cost of a sync; a single record hardly waits.
_BATCH_RECORDS = 4000
_BATCH_BYTES = 8 * 2**20
_LINGER_MOST_S = 0.005
_LINGER_COMMITS = 2

_CONSUME_BYTES = 16 * 2**20  # of keys and values handed out by one call, so that memory stays bounded with large rows
_SLEEP_FIRST_S = 0.001
_SLEEP_MOST_S = 0.008


class EmbeddedBroker:
    """The log in the file `path`, made when it is missing. Fulfils `connector.broker.Broker`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def producer(self, acknowledged: Acknowledged) -> EmbeddedProducer:
        return EmbeddedProducer(self._path, acknowledged)

    def consumer(self, group: str) -> EmbeddedConsumer:
        return EmbeddedConsumer(self._path, group)

    def admin(self) -> EmbeddedAdmin:
        return EmbeddedAdmin(self._path)

    def lease(self, topic: str, member: str) -> EmbeddedLease:
        return EmbeddedLease(self._path, topic, member)


def _lane_row(connection: apsw.Connection, lane: Lane) -> tuple[int, int, int]:
    """(id, begin, next). Raises ForeignLog when there is no such topic or partition."""
    for row in connection.execute(
        "SELECT lane.id, begin, next FROM lane JOIN topic ON topic.id = lane.topic WHERE name = ? AND partition = ?",
        (lane.topic, lane.partition),
    ):
        return row[0], row[1], row[2]
    raise ForeignLog(f"the log has no topic {lane.topic} with a partition {lane.partition}")


class _Target(NamedTuple):
    id: int
    max_bytes: int
    keyed: bool


class _Pending(NamedTuple):
    lane: Lane
    lane_id: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: bytes | None


class EmbeddedProducer:
    """`poll` commits what is pending (at once when it may wait, else when the last commit is a few ms old); `flush`
    always does."""

    def __init__(self, path: Path, acknowledged: Acknowledged) -> None:
        self._path = path
        self._acknowledged = acknowledged
        self._connection = open_log(path)
        self._targets: dict[Lane, _Target] = {}
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._due = 0.0  # when the next poll commits
        self._failure: str | None = None
        self._cleaner = Cleaner(path)

    def send(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        self._check()
        target = self._targets.get(lane) or self._target(lane)
        encoded = encode_headers(headers)
        size = len(key or b"") + len(value or b"") + len(encoded or b"")
        if size > target.max_bytes:
            raise UnpublishableRow(
                f"a record of {size} bytes under key {_shown(key)} is larger than {lane.topic} takes "
                f"(max.message.bytes {target.max_bytes})"
            )
        if key is None and target.keyed:
            raise UnpublishableRow(f"{lane.topic} is compacted and takes no record without a key")
        self._pending.append(_Pending(lane, target.id, time.time_ns() // 1_000_000, key, value, encoded))
        self._pending_bytes += size
        if len(self._pending) >= _BATCH_RECORDS or self._pending_bytes >= _BATCH_BYTES:
            self._commit()

    def poll(self, timeout_s: float) -> None:
        self._check()
        if self._pending and (timeout_s > 0 or time.monotonic() >= self._due):
            self._commit()
        elif timeout_s > 0:
            time.sleep(timeout_s)  # nothing is on its way, so nothing can be acknowledged meanwhile

    def hurry(self) -> None:
        self.poll(0)  # what it takes to sync a file decides how long records gather

    def flush(self, timeout_s: float) -> None:  # noqa: ARG002 - a commit ends by itself, within the busy time-out
        self._check()
        if self._pending:
            self._commit()

    def close(self) -> None:
        self._pending = []
        self._failure = self._failure or "it was closed"
        self._cleaner.stop()
        self._connection.close()

    def _check(self) -> None:
        if self._failure is not None:
            raise DeliveryFailed(f"the producer on {self._path} takes no more records: {self._failure}")

    def _target(self, lane: Lane) -> _Target:
        with reporting(self._path):
            lane_id = _lane_row(self._connection, lane)[0]
            config = _config_of(self._connection, lane.topic)
        target = _Target(lane_id, int(config["max.message.bytes"]), "compact" in config["cleanup.policy"])
        self._targets[lane] = target
        return target

    def _commit(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        began = time.monotonic()
        try:
            offsets = self._write(pending)
        except (apsw.Error, ForeignLog) as error:
            self._failure = f"a batch of {len(pending)} records could not be written: {error}"
            raise DeliveryFailed(
                f"{self._path}: {self._failure}",
                hint="Check the disk of broker.path; nothing of the batch was written.",
            ) from error
        ended = time.monotonic()
        self._due = ended + min(_LINGER_MOST_S, _LINGER_COMMITS * (ended - began))
        acknowledged = self._acknowledged
        for record, offset in zip(pending, offsets, strict=True):
            acknowledged(record.lane, offset)
        self._cleaner.now_and_then()

    def _write(self, pending: Sequence[_Pending]) -> Sequence[int]:
        connection = self._connection
        ends: dict[int, int] = {}
        rows: list[tuple[int, int, bytes | None, bytes | None, bytes | None]] = []
        offsets: list[int] = []
        with writing(connection):
            for lane, lane_id, timestamp_ms, key, value, headers in pending:
                offset = ends.get(lane_id)
                if offset is None:
                    offset = self._end(lane, lane_id)
                ends[lane_id] = offset + 1
                offsets.append(offset)
                rows.append((lane_id << OFFSET_BITS | offset, timestamp_ms, key, headers, value))
            rows.sort(key=itemgetter(0))  # neighbours in the file one after the other
            connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
            connection.executemany("UPDATE lane SET next = ? WHERE id = ?", [(end, id) for id, end in ends.items()])
        return offsets

    def _end(self, lane: Lane, lane_id: int) -> int:
        for (end,) in self._connection.execute("SELECT next FROM lane WHERE id = ?", (lane_id,)):
            assert isinstance(end, int)
            return end
        raise ForeignLog(f"topic {lane.topic} was deleted")


def _shown(key: bytes | None) -> str:
    return "none" if key is None else repr(key[:120])


def _config_of(connection: apsw.Connection, topic: str) -> dict[str, str]:
    found = connection.execute(
        "SELECT c.name, c.value FROM topic_config c JOIN topic ON topic.id = c.topic WHERE topic.name = ?", (topic,)
    )
    return DEFAULT_CONFIG | {str(name): str(value) for name, value in found}


class EmbeddedConsumer:
    """Reads in transactions of its own, so it sees whole batches. Quiet lanes cost one look at the file every few
    milliseconds."""

    def __init__(self, path: Path, group: str) -> None:
        self._path = path
        self._group = group
        self._connection = open_log(path)
        self._connection.execute("PRAGMA synchronous = NORMAL").fetchall()  # only committed offsets are written here
        self._lanes: dict[Lane, int] = {}
        self._positions: dict[Lane, int] = {}
        self._order: list[Lane] = []
        self._seen: int | None = None  # the file's version at which everything had been read

    def assign(self, offsets: Mapping[Lane, int], leader_epochs: Mapping[Lane, int] | None = None) -> None:  # noqa: ARG002 - this log has no leaders
        with reporting(self._path):
            lanes = {lane: _lane_row(self._connection, lane)[0] for lane in offsets}
        self._lanes, self._positions, self._order = lanes, dict(offsets), list(offsets)
        self._seen = None

    def consume(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        deadline = time.monotonic() + timeout_s
        sleep_s = _SLEEP_FIRST_S
        while True:
            with reporting(self._path):
                # Taken before reading: a commit in between changes it again.
                version = self._connection.pragma("data_version")
                if version != self._seen:
                    records = self._read(max_records)
                    if records:
                        return records
                    self._seen = version
            left = deadline - time.monotonic()
            if left <= 0:
                return ()
            time.sleep(min(sleep_s, left))
            sleep_s = min(sleep_s * 1.25, _SLEEP_MOST_S)

    def _read(self, max_records: int) -> list[Record]:
        records: list[Record] = []
        connection = self._connection
        # The lanes' ends and their records as of one moment; and nobody can reclaim what is being read.
        connection.execute("BEGIN")
        try:
            size = 0
            for lane in self._order:
                if len(records) >= max_records or size >= _CONSUME_BYTES:
                    break
                size += self._read_lane(lane, records, max_records, _CONSUME_BYTES - size)
        finally:
            connection.execute("COMMIT")
        if len(self._order) > 1:
            self._order.append(self._order.pop(0))  # every lane is first in its turn
        return records

    def _read_lane(self, lane: Lane, records: list[Record], max_records: int, max_bytes: int) -> int:
        """Appends to records; returns the bytes read."""
        lane_id, position = self._lanes[lane], self._positions[lane]
        bounds: list[Any] = self._connection.execute("SELECT begin, next FROM lane WHERE id = ?", (lane_id,)).fetchall()
        if not bounds:
            raise ForeignLog(f"topic {lane.topic} was deleted while it was read")
        begin, end = bounds[0]
        if not begin <= position <= end:
            raise ForeignLog(f"{lane.topic}[{lane.partition}] has offsets {begin} to {end}; {position} was asked for")
        if position == end:
            return 0
        base = lane_id << OFFSET_BITS
        topic, partition = lane
        size = 0
        for place, timestamp_ms, key, headers, value in self._connection.execute(
            "SELECT place, timestamp_ms, key, headers, value FROM record WHERE place >= ? AND place < ?"
            " ORDER BY place LIMIT ?",
            (base + position, base + end, max_records - len(records)),
        ):
            offset = place & _OFFSET_MASK
            extra = decode_headers(headers) if headers is not None else ()
            records.append(Record(topic, partition, offset, key, value, timestamp_ms, None, extra))
            self._positions[lane] = offset + 1
            size += len(key or b"") + len(value or b"")
            if size >= max_bytes:
                return size
        if len(records) < max_records:
            self._positions[lane] = end  # past the gap that compaction left, if there is one
        return size

    def positions(self) -> Mapping[Lane, int]:
        return dict(self._positions)

    def commit(self, offsets: Mapping[Lane, int]) -> None:
        now = time.time_ns() // 1_000_000
        with reporting(self._path):
            rows = [(self._group, _lane_row(self._connection, lane)[0], next, now) for lane, next in offsets.items()]
            with writing(self._connection):
                self._connection.executemany("INSERT OR REPLACE INTO group_offset VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._connection.close()


class EmbeddedAdmin:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_log(path)

    def create(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        for spec in topics:
            _check_spec(spec)
        with reporting(self._path), writing(self._connection):
            return [spec.name for spec in topics if self._create(spec)]

    def _create(self, spec: TopicSpec) -> bool:
        connection = self._connection
        if connection.execute("SELECT 1 FROM topic WHERE name = ?", (spec.name,)).fetchall():
            return False
        connection.execute(
            "INSERT INTO topic (name, topic_id, partitions) VALUES (?, ?, ?)",
            (spec.name, str(uuid.uuid4()), spec.partitions),
        )
        topic = connection.last_insert_rowid()
        connection.executemany(
            "INSERT INTO topic_config VALUES (?, ?, ?)", [(topic, name, value) for name, value in spec.config.items()]
        )
        connection.executemany(
            "INSERT INTO lane (topic, partition) VALUES (?, ?)", [(topic, n) for n in range(spec.partitions)]
        )
        return True

    def describe(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        found: dict[str, TopicInfo] = {}
        with reporting(self._path):
            for name in names:
                for topic_id, partitions in self._connection.execute(
                    "SELECT topic_id, partitions FROM topic WHERE name = ?", (name,)
                ):
                    found[name] = TopicInfo(name, topic_id, partitions, _config_of(self._connection, name))
        return found

    def list(self, prefix: str) -> Sequence[str]:
        with reporting(self._path):
            names = [str(name) for (name,) in self._connection.execute("SELECT name FROM topic ORDER BY name")]
        return [name for name in names if name.startswith(prefix)]

    def beginning_offsets(self, lanes: Sequence[Lane]) -> Mapping[Lane, int]:
        with reporting(self._path):
            return {lane: _lane_row(self._connection, lane)[1] for lane in lanes}

    def end_offsets(self, lanes: Sequence[Lane]) -> Mapping[Lane, int]:
        with reporting(self._path):
            return {lane: _lane_row(self._connection, lane)[2] for lane in lanes}

    def offsets_at(self, lanes: Sequence[Lane], timestamp_ms: int) -> Mapping[Lane, int]:
        offsets: dict[Lane, int] = {}
        with reporting(self._path):
            for lane in lanes:
                lane_id, _, end = _lane_row(self._connection, lane)
                base = lane_id << OFFSET_BITS
                found: list[Any] = self._connection.execute(
                    "SELECT place FROM record WHERE place >= ? AND place < ? AND timestamp_ms >= ?"
                    " ORDER BY place LIMIT 1",
                    (base, base + end, timestamp_ms),
                ).fetchall()
                offsets[lane] = found[0][0] & _OFFSET_MASK if found else end
        return offsets

    def lease_state(self, topic: str) -> LeaseState:
        return embedded_lease_state(self._path, topic)

    def close(self) -> None:
        self._connection.close()


def _check_spec(spec: TopicSpec) -> None:
    """What a Kafka broker refuses too."""
    if not _LEGAL_NAME.fullmatch(spec.name):
        raise ConfigurationError(f"{spec.name!r} cannot be the name of a topic")
    if spec.partitions < 1:
        raise ConfigurationError(f"topic {spec.name} cannot have {spec.partitions} partitions")
    for name in ("max.message.bytes", "retention.ms", "min.compaction.lag.ms"):
        value = spec.config.get(name, "0")
        if not re.fullmatch(r"-?\d+", value):
            raise ConfigurationError(f"topic {spec.name}: {name} is {value!r}, which is no number")
    policy = spec.config.get("cleanup.policy", "delete")
    if not set(policy.split(",")) <= {"compact", "delete"}:
        raise ConfigurationError(f"topic {spec.name}: cleanup.policy {policy!r} is not known")
