"""The collections of a replica (a dataset of one shadow table each) with what guards them, in memory for its writer.

The memory is only ever ahead of the file within a transaction: after a rollback it is loaded anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import apsw

from connector.model import ZERO_ORDER, CommitOrder, Floor, Lane
from connector.replica import schema


def follows(patterns: Sequence[str], dataset_id: str) -> bool:
    """Does a replica with these shell patterns follow the dataset? Case counts."""
    return any(fnmatchcase(dataset_id, pattern) for pattern in patterns)


class Collection:
    __slots__ = ("dataset_floor", "floor", "forgotten", "lane", "last_scn", "no", "position", "touched")

    def __init__(self, no: int, lane: Lane, last_scn: int, position: CommitOrder) -> None:
        self.no = no
        self.lane = lane
        self.last_scn = last_scn
        self.position = position  # the greatest order applied
        self.dataset_floor = ZERO_ORDER
        self.floor = ZERO_ORDER  # the greater of the dataset's own and that of its partition
        self.forgotten = ZERO_ORDER
        self.touched = False


class Collections:
    """By lane of the data topic and dataset. shadow_tables: the table that each data topic carries."""

    def __init__(self, connection: apsw.Connection, patterns: Sequence[str], shadow_tables: Mapping[str, str]) -> None:
        self._connection = connection
        self._patterns = tuple(patterns)
        self._shadow_tables = shadow_tables
        self._all: dict[tuple[str, str], Collection] = {}
        self._touched: list[Collection] = []
        self._ignored: set[str] = set()
        self._table_floors: dict[Lane, CommitOrder] = {}
        self._viewed: set[str] = set()  # shadow tables that have their views
        self.reload()

    def reload(self) -> None:
        """From the file. Datasets that became followed or unfollowed are not the file's business."""
        run = self._connection.execute
        self._table_floors = {
            Lane(topic, partition): CommitOrder(*order)
            for topic, partition, *order in run(
                "SELECT topic, partition, epoch, file, position, ordinal FROM replica_table_floor"
            )
        }
        self._viewed = set(schema.shadow_tables(self._connection))
        self._all = {}
        self._touched = []
        by_no: dict[int, Collection] = {}
        for no, dataset_id, topic, partition, last_scn, position in run(
            "SELECT no, dataset_id, topic, partition, last_scn, position FROM replica_collection"
        ):
            lane = Lane(topic, partition)
            found = by_no[no] = Collection(no, lane, last_scn, order_from_text(position))
            found.floor = self._table_floors.get(lane, ZERO_ORDER)
            self._all[topic, dataset_id] = found
        for no, *order in run("SELECT collection, epoch, file, position, ordinal FROM replica_dataset_floor"):
            by_no[no].dataset_floor = CommitOrder(*order)
            by_no[no].floor = max(by_no[no].floor, by_no[no].dataset_floor)
        for no, *order in run("SELECT collection, epoch, file, position, ordinal FROM replica_forgotten"):
            by_no[no].forgotten = CommitOrder(*order)

    def of(self, lane: Lane, dataset_id: str) -> Collection | None:
        """Made if need be; None for a dataset that is not followed."""
        found = self._all.get((lane.topic, dataset_id))
        return found if found is not None else self._new(lane, dataset_id)

    def known(self, topic: str, dataset_id: str) -> Collection | None:
        return self._all.get((topic, dataset_id))

    def follows(self, dataset_id: str) -> bool:
        return follows(self._patterns, dataset_id)

    def _new(self, lane: Lane, dataset_id: str) -> Collection | None:
        if dataset_id in self._ignored:
            return None
        if not follows(self._patterns, dataset_id):
            if len(self._ignored) >= 100_000:  # a bound on memory, not on datasets
                self._ignored.clear()
            self._ignored.add(dataset_id)
            return None
        shadow_table = self._shadow_tables[lane.topic]
        no = self._connection.execute(
            "INSERT INTO replica_collection(shadow_table, dataset_id, topic, partition) VALUES (?, ?, ?, ?) "
            "RETURNING no",
            (shadow_table, dataset_id, *lane),
        ).get
        if shadow_table not in self._viewed:
            schema.make_views(self._connection)
            self._viewed.add(shadow_table)
        collection = Collection(no, lane, 0, ZERO_ORDER)
        collection.floor = self._table_floors.get(lane, ZERO_ORDER)
        self._all[lane.topic, dataset_id] = collection
        return collection

    def table_floor(self, lane: Lane) -> CommitOrder:
        return self._table_floors.get(lane, ZERO_ORDER)

    def in_lane(self, lane: Lane) -> Iterator[Collection]:
        return (c for c in self._all.values() if c.lane == lane)

    def raise_table_floor(self, lane: Lane, floor: Floor) -> None:
        """Records a table's floor; it counts for the collections of that lane only. Lower ones change nothing."""
        self._connection.execute(
            "INSERT INTO replica_table_floor VALUES (?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET "
            "epoch = excluded.epoch, file = excluded.file, position = excluded.position, ordinal = excluded.ordinal, "
            "reason = excluded.reason, collected = 0 "
            "WHERE (excluded.epoch, excluded.file, excluded.position, excluded.ordinal) "
            "> (replica_table_floor.epoch, replica_table_floor.file, replica_table_floor.position, "
            "replica_table_floor.ordinal)",
            (*lane, *floor.order, floor.reason.value),
        )
        self._table_floors[lane] = max(floor.order, self._table_floors.get(lane, ZERO_ORDER))
        for collection in self.in_lane(lane):
            collection.floor = max(collection.floor, floor.order)

    def raise_dataset_floor(self, collection: Collection, floor: Floor) -> None:
        if floor.order <= collection.dataset_floor:
            return
        self._connection.execute(
            "INSERT OR REPLACE INTO replica_dataset_floor VALUES (?, ?, ?, ?, ?, ?, 0)",
            (collection.no, *floor.order, floor.reason.value),
        )
        collection.dataset_floor = floor.order
        collection.floor = max(collection.floor, floor.order)

    def touch(self, collection: Collection) -> None:
        """Its watermarks have changed."""
        if not collection.touched:
            collection.touched = True
            self._touched.append(collection)

    def save(self, now: str) -> None:
        """Writes watermarks of the collections touched since the last call."""
        touched, self._touched = self._touched, []
        self._connection.cursor().executemany(
            "UPDATE replica_collection SET last_scn = ?, position = ?, updated_at = ? WHERE no = ?",
            [(c.last_scn, order_text(c.position), now, c.no) for c in touched],
        )
        for collection in touched:
            collection.touched = False


def order_text(order: CommitOrder) -> str:
    return ":".join(map(str, order))


def order_from_text(text: str | None) -> CommitOrder:
    return CommitOrder(*map(int, text.split(":"))) if text else ZERO_ORDER
