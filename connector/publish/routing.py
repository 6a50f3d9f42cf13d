"""A change to the records it becomes: lane, key and value. Pure; the partition comes from the dataset alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from connector.errors import UnsupportedChange
from connector.model import (
    Change,
    CommitOrder,
    DatasetChange,
    DocChange,
    Floor,
    FloorReason,
    Lane,
    Op,
    Tombstone,
    TombstoneReason,
)
from connector.topics import TableTopics, partition_of
from connector.wire import DocEncoder, TransactionInfo, encode_key, encode_tombstone, encode_value

_FLOOR_TOMBSTONES = {
    FloorReason.CASCADE: TombstoneReason.CASCADE,
    FloorReason.TRUNCATE: TombstoneReason.TRUNCATE,
    FloorReason.DROP: TombstoneReason.TRUNCATE,
    FloorReason.SNAPSHOT: TombstoneReason.DELETE,
}


class Outgoing(NamedTuple):
    """One record to be sent. `change` is None for tombstones, whose value is ready; others are encoded by `value_of`
    when it is known whether they are the last of their transaction in their lane."""

    lane: Lane
    key: bytes
    order: CommitOrder
    change: Change | None
    value: bytes | None


class Router:
    """Lanes of one source. tables: (database, table) to its topics; partitions: of every one of those topics."""

    def __init__(self, tables: Mapping[tuple[str, str], TableTopics], partitions: int) -> None:
        self._tables = tables
        self._partitions = partitions
        self._lanes: dict[tuple[TableTopics, str], tuple[Lane, Lane]] = {}

    def lanes(self) -> list[Lane]:
        return [
            Lane(topic, partition)
            for topics in self._tables.values()
            for topic in (topics.data, topics.tombstones)
            for partition in range(self._partitions)
        ]

    def _of(self, topics: TableTopics, dataset_id: str) -> tuple[Lane, Lane]:
        lanes = self._lanes.get((topics, dataset_id))
        if lanes is None:
            partition = partition_of(dataset_id, self._partitions)
            lanes = (Lane(topics.data, partition), Lane(topics.tombstones, partition))
            if len(self._lanes) >= 100_000:  # a bound on memory, not on datasets
                self._lanes.clear()
            self._lanes[topics, dataset_id] = lanes
        return lanes

    def route(self, change: Change) -> Iterator[Outgoing]:
        """The records of a change, in the order they are sent. Raises UnsupportedChange for an unknown table."""
        key, order = encode_key(change.key), change.order
        if type(change) is DatasetChange:
            for (db, _), topics in self._tables.items():
                if db == change.source.db:
                    yield Outgoing(self._of(topics, change.key.dataset_id)[0], key, order, change, None)
            return
        topics_of_table = self._tables.get((change.source.db, change.source.table))
        if topics_of_table is None:
            raise UnsupportedChange(f"a change of {change.source.db}.{change.source.table}, which is not followed")
        if type(change) is DocChange:
            data, tombstones = self._of(topics_of_table, change.key.dataset_id)
            yield Outgoing(data, key, order, change, None)
            if change.op is Op.DELETE:
                reason = TombstoneReason.MOVED if change.moved else TombstoneReason.DELETE
                tombstone = Tombstone(
                    change.key.dataset_id, change.key.id, order, change.scn, reason, change.source.ts_us
                )
                yield Outgoing(tombstones, key, order, None, encode_tombstone(tombstone))
            return
        assert type(change) is Floor
        dataset_id = change.key.dataset_id
        tombstone = Tombstone(dataset_id, None, order, 0, _FLOOR_TOMBSTONES[change.reason], change.source.ts_us)
        value = encode_tombstone(tombstone)
        if dataset_id is None:
            pairs = [
                (Lane(topics_of_table.data, p), Lane(topics_of_table.tombstones, p)) for p in range(self._partitions)
            ]
        else:
            pairs = [self._of(topics_of_table, dataset_id)]
        for data, tombstones in pairs:
            yield Outgoing(data, key, order, change, None)
            yield Outgoing(tombstones, key, order, None, value)


def value_of(outgoing: Outgoing, encoder: DocEncoder, transaction: TransactionInfo, ts_us: int) -> bytes:
    change = outgoing.change
    if type(change) is DocChange:
        return encoder(change, transaction, ts_us)
    if change is None:
        assert outgoing.value is not None
        return outgoing.value
    return encode_value(change, transaction, ts_us)
