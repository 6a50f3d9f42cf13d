"""A change to the records it becomes: lane, key and value. Pure; the partition comes from the dataset alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    PackedRow,
    PackedRows,
    TableName,
    Tombstone,
    TombstoneReason,
)
from connector.topics import TableTopics, partition_of
from connector.wire import (
    DocEncoder,
    Envelope,
    TransactionInfo,
    encode_key,
    encode_tombstone,
    encode_value,
    packed_key,
)

_FLOOR_TOMBSTONES = {
    FloorReason.CASCADE: TombstoneReason.CASCADE,
    FloorReason.TRUNCATE: TombstoneReason.TRUNCATE,
    FloorReason.DROP: TombstoneReason.TRUNCATE,
    FloorReason.SNAPSHOT: TombstoneReason.DELETE,
}

_new = tuple.__new__  # what a named tuple's own constructor calls, after a call of its own
_MOST_KEPT = 100_000  # a bound on memory, not on datasets


class Outgoing(NamedTuple):
    """One record to be sent. `change` is None for tombstones, whose value is ready; others are encoded by `value_of`
    when it is known whether they are the last of their transaction in their lane."""

    lane: Lane
    key: bytes
    order: CommitOrder
    change: Change | None
    value: bytes | None


class OutgoingRow(NamedTuple):
    """One record to be sent, of a row that came packed: what Outgoing is of a change."""

    lane: Lane
    key: bytes
    row: PackedRow
    ordinal: int
    envelope: Envelope

    @property
    def order(self) -> CommitOrder:
        return self.envelope.order_of(self.ordinal)

    @property
    def change(self) -> DocChange:
        return self.envelope.change(self.row, self.ordinal)


class Router:
    """Lanes of one source. tables: each with its topics; partitions: of every one of those topics."""

    def __init__(self, tables: Mapping[TableName, TableTopics], partitions: int) -> None:
        self._tables = tables
        self._partitions = partitions
        self._lanes: dict[tuple[str, str], tuple[Lane, Lane]] = {}
        self._packed_lanes: dict[str, dict[bytes, Lane]] = {}  # by what stands for a dataset in PackedRows
        self._encoder = DocEncoder()

    def lanes(self) -> list[Lane]:
        return [
            Lane(topic, partition)
            for topics in self._tables.values()
            for topic in (topics.data, topics.tombstones)
            for partition in range(self._partitions)
        ]

    def _of(self, topics: TableTopics, dataset_id: str) -> tuple[Lane, Lane]:
        lanes = self._lanes.get((topics.data, dataset_id))
        if lanes is None:
            partition = partition_of(dataset_id, self._partitions)
            lanes = (Lane(topics.data, partition), Lane(topics.tombstones, partition))
            if len(self._lanes) >= _MOST_KEPT:
                self._lanes.clear()
            self._lanes[topics.data, dataset_id] = lanes
        return lanes

    def route(self, change: Change) -> Sequence[Outgoing]:
        """The records of a change, in the order they are sent. Raises UnsupportedChange for an unknown table."""
        if type(change) is DocChange:
            key, order = self._encoder.key(change.key), change.order
            data, tombstones = self._of(self._topics(change), change.key.dataset_id)
            if change.op is not Op.DELETE:
                return (Outgoing(data, key, order, change, None),)
            reason = TombstoneReason.MOVED if change.moved else TombstoneReason.DELETE
            gone = Tombstone(change.key.dataset_id, change.key.id, order, change.scn, reason, change.source.ts_us)
            return (
                Outgoing(data, key, order, change, None),
                Outgoing(tombstones, key, order, None, encode_tombstone(gone)),
            )
        if type(change) is DatasetChange:
            key = encode_key(change.key)
            return [
                Outgoing(self._of(topics, change.key.dataset_id)[0], key, change.order, change, None)
                for (db, _), topics in self._tables.items()
                if db == change.source.db
            ]
        assert type(change) is Floor
        return self._floor(change)

    def route_rows(self, rows: PackedRows, envelope: Envelope) -> Sequence[OutgoingRow]:
        """The records of rows that came packed, one for each. Raises UnsupportedChange for an unknown table."""
        topics = self._topics(rows)
        lanes = self._packed_lanes.setdefault(topics.data, {})
        found = []
        for ordinal, row in enumerate(rows.rows, rows.order.ordinal):
            lane = lanes.get(row[0])
            if lane is None:
                if len(lanes) >= _MOST_KEPT:
                    lanes.clear()
                lane = lanes[row[0]] = self._of(topics, packed_key(row).dataset_id)[0]
            found.append(_new(OutgoingRow, (lane, row[1], row, ordinal, envelope)))
        return found

    def _topics(self, change: DocChange | PackedRows | Floor) -> TableTopics:
        topics = self._tables.get(TableName(change.source.db, change.source.table))
        if topics is None:
            raise UnsupportedChange(f"a change of {change.source.db}.{change.source.table}, which is not followed")
        return topics

    def _floor(self, floor: Floor) -> Sequence[Outgoing]:
        topics, dataset_id = self._topics(floor), floor.key.dataset_id
        tombstone = Tombstone(dataset_id, None, floor.order, 0, _FLOOR_TOMBSTONES[floor.reason], floor.source.ts_us)
        key, value = encode_key(floor.key), encode_tombstone(tombstone)
        if dataset_id is None:
            pairs = [(Lane(topics.data, p), Lane(topics.tombstones, p)) for p in range(self._partitions)]
        else:
            pairs = [self._of(topics, dataset_id)]
        found = []
        for data, tombstones in pairs:
            found.append(Outgoing(data, key, floor.order, floor, None))
            found.append(Outgoing(tombstones, key, floor.order, None, value))
        return found


def value_of(outgoing: Outgoing, encoder: DocEncoder, transaction: TransactionInfo, ts_us: int) -> bytes:
    change = outgoing.change
    if type(change) is DocChange:
        return encoder(change, transaction, ts_us)
    if change is None:
        assert outgoing.value is not None
        return outgoing.value
    return encode_value(change, transaction, ts_us)
