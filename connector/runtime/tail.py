"""Reading topics for people: from where, of which dataset and document, decoded. Never commits an offset.

A record that cannot be decoded ends the reading with its place, because what follows it may build on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from threading import Event as Stop
from typing import Literal, NamedTuple

from connector.broker import Admin, Broker, Record
from connector.errors import ConfigurationError, CorruptedLog, UsageError, VecsyncError
from connector.model import DatasetKey, DocKey, FloorKey, Key, Lane, PublishedPosition, TableName, Tombstone
from connector.publish import followed_topics
from connector.settings import Settings
from connector.topics import dead_letters_topic, partition_of, positions_topic, table_topics
from connector.upstream.tables import Patterns, called, home_of, named
from connector.wire import Event, decode_key, decode_position, decode_tombstone, decode_value

Kind = Literal["data", "tombstones", "positions", "dlq"]
_BATCH = 500


class Tailed(NamedTuple):
    """A record and what it says. key is None on the positions topic; body is None for a record without a value."""

    record: Record
    key: Key | None
    body: Event | Tombstone | PublishedPosition | None


class Wanted(NamedTuple):
    """Which records. start: `beginning`, `end`, an offset, or a time (ISO 8601)."""

    kind: Kind = "data"
    dataset: str | None = None
    id: str | None = None
    start: str = "end"
    table: str | None = None


def topic_of(settings: Settings, kind: Kind, table: str | None) -> str:
    """Raises UsageError for a table that is not followed."""
    if kind == "positions":
        return positions_topic(settings.topics.prefix)
    if kind == "dlq":
        return dead_letters_topic(settings.topics.prefix)
    home = home_of(settings.source)
    for name, topics in followed_topics(settings).items():
        if table in (None, called(name, home), str(name)):
            return topics.data if kind == "data" else topics.tombstones
    meant = None if table is None else _named(table, home)
    if meant is not None and Patterns(settings.source).match(meant):
        topics = table_topics(settings.topics.prefix, *meant)
        return topics.data if kind == "data" else topics.tombstones
    has = f"source.tables has {', '.join(settings.source.tables)}."
    if table is None:
        raise UsageError("source.tables has patterns only", hint=f"Name the table: --table. {has}")
    raise UsageError(f"table {table} is not followed", hint=has)


def _named(table: str, home: str) -> TableName | None:
    try:
        return named(table, home)
    except ValueError:
        return None


def tail(
    broker: Broker, settings: Settings, wanted: Wanted, *, until_current: bool, limit: int | None, stop: Stop
) -> Iterator[Tailed]:
    """Records as they come, in offset order within a partition. Ends when stopped, after `limit`, or with
    until_current at the ends that the partitions had when it began.

    Raises ConfigurationError for a topic that does not exist, UsageError for a start that cannot be, CorruptedLog.
    """
    topic = topic_of(settings, wanted.kind, wanted.table)
    admin = broker.admin()
    try:
        info = admin.describe([topic]).get(topic)
        if info is None:
            raise ConfigurationError(
                f"there is no topic {topic}", hint="Run `vecsync topics create`, or check topics.prefix."
            )
        lanes = [Lane(topic, p) for p in range(info.partitions)]
        if wanted.dataset is not None and wanted.kind in ("data", "tombstones"):
            lanes = [Lane(topic, partition_of(wanted.dataset, info.partitions))]
        starts = _starts(admin, lanes, wanted.start)
        ends = admin.end_offsets(lanes)
    finally:
        admin.close()
    left = {lane for lane in lanes if starts[lane] < ends[lane]}
    if (until_current and not left) or limit == 0:
        return
    consumer = broker.consumer("vecsync-tail")
    shown = 0
    try:
        consumer.assign(starts)
        while not stop.is_set():
            for record in consumer.consume(_BATCH, 0.2):
                if until_current and record.offset >= ends[Lane(record.topic, record.partition)]:
                    continue
                read = _decoded(record, wanted.kind)
                if matches(read, wanted):
                    yield read
                    shown += 1
                    if shown == limit:
                        return
            if until_current:
                positions = consumer.positions()
                if all(positions.get(lane, 0) >= ends[lane] for lane in left):
                    return
    finally:
        consumer.close()


def _starts(admin: Admin, lanes: Sequence[Lane], start: str) -> Mapping[Lane, int]:
    if start == "end":
        return admin.end_offsets(lanes)
    begin = admin.beginning_offsets(lanes)
    if start == "beginning":
        return begin
    if re.fullmatch(r"\d+", start):
        if len(lanes) > 1:
            raise UsageError(
                f"--from {start}: an offset counts in one partition, and there are {len(lanes)}",
                hint="Name the dataset too (--dataset), or give a time.",
            )
        end, offset = admin.end_offsets(lanes)[lanes[0]], int(start)
        if not begin[lanes[0]] <= offset <= end:
            raise UsageError(
                f"--from {start}: {lanes[0].topic}[{lanes[0].partition}] holds {begin[lanes[0]]} to {end}",
                hint="Give an offset in that range, or `beginning`.",
            )
        return {lanes[0]: offset}
    return admin.offsets_at(lanes, timestamp_ms(start))


def timestamp_ms(text: str) -> int:
    """Milliseconds of an ISO 8601 time; without a time zone it is UTC. Raises UsageError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--from {text}: neither beginning, end, an offset nor a time",
            hint="A time is written like 2026-03-01T12:00:00Z.",
        ) from error
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _decoded(record: Record, kind: Kind) -> Tailed:
    try:
        if kind == "positions":
            return Tailed(record, None, None if record.value is None else decode_position(record.value))
        key = None if record.key is None else decode_key(record.key)
        if record.value is None:
            return Tailed(record, key, None)
        if kind == "tombstones":
            return Tailed(record, key, decode_tombstone(record.value))
        return Tailed(record, key, decode_value(record.value))
    except VecsyncError as error:
        raise CorruptedLog(
            f"{record.topic}[{record.partition}] offset {record.offset}: {error}", hint=error.hint
        ) from error


def matches(read: Tailed, wanted: Wanted) -> bool:
    """A floor of the whole table concerns every dataset, and one of a dataset every document of it."""
    if wanted.kind == "positions":
        return True
    match read.key:
        case DocKey(dataset_id, id):
            return wanted.dataset in (None, dataset_id) and wanted.id in (None, id)
        case DatasetKey(dataset_id):
            return wanted.dataset in (None, dataset_id) and wanted.id is None
        case FloorKey(dataset):
            return dataset is None or wanted.dataset in (None, dataset)
    return wanted.dataset is None and wanted.id is None
