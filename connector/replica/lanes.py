"""Which lanes a replica reads, and whether the log is still the one that its offsets were recorded against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apsw

from connector.broker import Admin, TopicInfo
from connector.errors import ConfigurationError, ForeignLog, ReplicaRefused
from connector.model import Lane
from connector.topics import table_of_topic

_TOMBSTONES = ".tombstones"
_REBUILD = "Rebuild it with `vecsync replica replay`, once the topics are known to be the right ones."


@dataclass(frozen=True, slots=True)
class FollowedTopics:
    """shadow_tables: by data topic. compaction_lag_s: how long every version stays readable in all data topics."""

    data: Sequence[TopicInfo]
    tombstones: Sequence[TopicInfo]
    shadow_tables: Mapping[str, str]
    compaction_lag_s: float

    @property
    def topics(self) -> Sequence[TopicInfo]:
        return [*self.data, *self.tombstones]

    @property
    def data_lanes(self) -> list[Lane]:
        return lanes_of(self.data)

    @property
    def lanes(self) -> list[Lane]:
        return lanes_of(self.topics)


def lanes_of(topics: Iterable[TopicInfo]) -> list[Lane]:
    return [Lane(topic.name, p) for topic in topics for p in range(topic.partitions)]


def data_topic_of(tombstones: str) -> str:
    """The data topic that a tombstone topic stands beside."""
    return tombstones.removesuffix(_TOMBSTONES)


def find_topics(admin: Admin, prefix: str, database: str | None) -> FollowedTopics:
    """The topics of every table of a database under a prefix; none when nothing was published there yet. database:
    None where there is only one. Raises Unreachable, ConfigurationError."""
    names = [*admin.list(f"{prefix}.")]
    tables = {name: table for name in names if (table := table_of_topic(prefix, name)) is not None}
    databases = sorted({db for db, _ in tables.values()})
    if database is None and len(databases) > 1:
        raise ConfigurationError(
            f"under the prefix {prefix} there are tables of several databases: {', '.join(databases)}",
            hint="Set replica.database to one of them; the datasets of another are others, though named alike.",
        )
    tables = {name: table for name, table in tables.items() if database in (None, table[0])}
    beside = [f"{name}{_TOMBSTONES}" for name in tables]
    found = admin.describe([*tables, *(name for name in beside if name in names)])
    data = [found[name] for name in sorted(tables) if name in found]
    lags = [float(topic.config.get("min.compaction.lag.ms", "0")) / 1000 for topic in data]
    return FollowedTopics(
        data,
        [found[name] for name in sorted(beside) if name in found],
        {name: table for name, (_, table) in tables.items()},
        min(lags, default=0.0),
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of `partition_state`."""

    topic_id: str
    partition_count: int
    next_offset: int
    leader_epoch: int | None


def recorded(connection: apsw.Connection) -> dict[Lane, Recorded]:
    rows: Any = connection.execute(
        "SELECT topic, partition, topic_id, partition_count, next_offset, leader_epoch FROM partition_state"
    )
    return {Lane(row[0], row[1]): Recorded(*row[2:]) for row in rows}


def followed_database(connection: apsw.Connection, prefix: str, wanted: str | None) -> str | None:
    """The database that the file follows; None: it has none yet, and the configuration names none. Raises
    ReplicaRefused when the configuration names another."""
    topics = {data_topic_of(lane.topic) for lane in recorded(connection)}
    have = {table[0] for topic in topics if (table := table_of_topic(prefix, topic)) is not None}
    if len(have) > 1 or (wanted is not None and have - {wanted}):
        says = "nothing" if wanted is None else wanted
        raise ReplicaRefused(
            f"the replica was built to follow the database {', '.join(sorted(have))}, the configuration says {says}",
            hint="Set replica.database, then run `vecsync replica replay`: it builds a file that follows it.",
        )
    return next(iter(have), wanted)


def databases_of(lanes: Iterable[Lane]) -> set[str]:
    """Those whose tables have these lanes; more than one only in a file that has to be built anew."""
    found = set()
    for lane in lanes:
        topic = data_topic_of(lane.topic)
        if (table := table_of_topic(topic.split(".", 1)[0], topic)) is not None:
            found.add(table[0])
    return found


def check_filter(connection: apsw.Connection, wanted: str) -> None:
    """Raises ReplicaRefused when the file follows other datasets than the configuration says."""
    for (have,) in connection.execute("SELECT DISTINCT filter FROM partition_state WHERE filter <> ?", (wanted,)):
        raise ReplicaRefused(
            f"the replica was built to follow the datasets {have}, the configuration says {wanted}",
            hint="Run `vecsync replica replay`: it builds a file that follows what the configuration says.",
        )


def start_offsets(
    topics: FollowedTopics,
    have: Mapping[Lane, Recorded],
    begin: Mapping[Lane, int],
    end: Mapping[Lane, int],
) -> dict[Lane, int]:
    """Where each lane is read from. Pure. Raises ForeignLog when what is recorded is of another log."""
    offsets: dict[Lane, int] = {}
    data = {topic.name for topic in topics.data}
    present = {topic.name for topic in topics.topics}
    for lane in have:
        if lane.topic not in present:
            raise ForeignLog(f"topic {lane.topic}, which the replica has read, does not exist", hint=_REBUILD)
    for topic in topics.topics:
        for lane in lanes_of([topic]):
            state = have.get(lane)
            if state is None:
                if any(known.topic == topic.name for known in have):
                    raise ForeignLog(
                        f"topic {topic.name} has more partitions than when the replica was made", hint=_REBUILD
                    )
                offsets[lane] = begin[lane]
                continue
            _check_lane(topic, lane, state, end[lane])
            if state.next_offset < begin[lane] and topic.name in data:
                raise ForeignLog(
                    f"{lane.topic}[{lane.partition}] begins at offset {begin[lane]}, the replica needs "
                    f"{state.next_offset}: records were deleted that it has not read",
                    hint=_REBUILD,
                )
            # Tombstones are kept for a while only; the sweep collects what they would have named.
            offsets[lane] = max(state.next_offset, begin[lane])
    return offsets


def _check_lane(topic: TopicInfo, lane: Lane, state: Recorded, end: int) -> None:
    if state.topic_id != topic.topic_id:
        raise ForeignLog(
            f"topic {lane.topic} was made anew: it is {topic.topic_id}, the replica has read {state.topic_id}",
            hint=_REBUILD,
        )
    if state.partition_count != topic.partitions:
        raise ForeignLog(
            f"topic {lane.topic} has {topic.partitions} partitions, it had {state.partition_count}", hint=_REBUILD
        )
    if end < state.next_offset:
        raise ForeignLog(
            f"{lane.topic}[{lane.partition}] ends at offset {end}, the replica has read up to {state.next_offset}: "
            "the log has lost records",
            hint=_REBUILD,
        )


def record_new(connection: apsw.Connection, topics: FollowedTopics, offsets: Mapping[Lane, int], datasets: str) -> None:
    """A row for every lane that has none, in a transaction of its own."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    rows = [
        (topic.topic_id, *lane, topic.partitions, offsets[lane], datasets, now)
        for topic in topics.topics
        for lane in lanes_of([topic])
    ]
    with connection:
        connection.cursor().executemany(
            "INSERT INTO partition_state(topic_id, topic, partition, partition_count, next_offset, filter, seen_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            rows,
        )
