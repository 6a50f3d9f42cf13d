"""Which records a change becomes, and which of them stand already."""

import pytest

from connector.errors import UnsupportedChange
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
    SourceInfo,
    TableName,
    TombstoneReason,
)
from connector.publish.resume import Tail
from connector.publish.routing import Router
from connector.topics import partition_of, table_topics
from connector.wire import decode_key, decode_tombstone

TOPICS = table_topics("p", "app", "shadow_vec_docs")
OTHER = table_topics("p", "app", "more")
ROUTER = Router({TableName("app", "shadow_vec_docs"): TOPICS, TableName("app", "more"): OTHER}, 4)


def source(table: str = "shadow_vec_docs") -> SourceInfo:
    return SourceInfo("mysql", "p", 1, False, "app", table, 1, None, "b.000001", 4, 1)


def doc(op: Op, dataset: str = "d", id: str = "x", *, moved: bool = False, position: int = 4) -> DocChange:
    after = None if op is Op.DELETE else Document("text", None, None, None, 1, False)
    return DocChange(op, DocKey(dataset, id), 1, after, CommitOrder(1, 1, position, 1), source(), moved=moved)


def routed(change: Change) -> list[tuple[str, int]]:
    return [(out.lane.topic, out.lane.partition) for out in ROUTER.route(change)]


def test_a_row_goes_to_its_datasets_partition_and_a_deletion_to_the_tombstones_too() -> None:
    p = partition_of("d", 4)
    assert routed(doc(Op.CREATE)) == [(TOPICS.data, p)]
    assert routed(doc(Op.DELETE)) == [(TOPICS.data, p), (TOPICS.tombstones, p)]


@pytest.mark.parametrize(("moved", "reason"), [(False, TombstoneReason.DELETE), (True, TombstoneReason.MOVED)])
def test_the_tombstone_says_why(moved: bool, reason: TombstoneReason) -> None:
    *_, out = ROUTER.route(doc(Op.DELETE, moved=moved))
    assert out.value is not None
    assert decode_tombstone(out.value).reason is reason


def test_a_table_floor_goes_to_every_partition_and_a_datasets_to_its_own() -> None:
    order = CommitOrder(1, 1, 4, 1)
    table = Floor(FloorKey(None), order, FloorReason.TRUNCATE, source())
    assert {lane for lane in routed(table) if lane[0] == TOPICS.data} == {(TOPICS.data, p) for p in range(4)}
    one = Floor(FloorKey("d"), order, FloorReason.CASCADE, source())
    assert routed(one) == [(TOPICS.data, partition_of("d", 4)), (TOPICS.tombstones, partition_of("d", 4))]


def test_a_dataset_row_goes_to_every_table_of_its_database() -> None:
    change = DatasetChange(
        Op.CREATE, DatasetKey("d"), Dataset(None, None), CommitOrder(1, 1, 4, 1), source("vec_dataset")
    )
    p = partition_of("d", 4)
    assert routed(change) == [(TOPICS.data, p), (OTHER.data, p)]


def test_a_table_that_is_not_followed_is_refused() -> None:
    change = Floor(FloorKey(None), CommitOrder(1, 1, 4, 1), FloorReason.DROP, source("unknown"))
    with pytest.raises(UnsupportedChange, match=r"app\.unknown"):
        list(ROUTER.route(change))


def test_keys_decode_to_themselves() -> None:
    (out,) = ROUTER.route(doc(Op.CREATE, "päd/ 🦆", "a.b#1"))
    assert decode_key(out.key) == DocKey("päd/ 🦆", "a.b#1")


def test_what_is_not_above_the_greatest_order_stands() -> None:
    tail = Tail()
    tail.add(CommitOrder(1, 1, 100, 2), b"x", 10)
    assert tail.stands(CommitOrder(1, 1, 100, 2), b"x") == 11
    # compacted away: a later record of its key stands
    assert tail.stands(CommitOrder(1, 1, 100, 1), b"x") == 0
    assert tail.stands(CommitOrder(1, 1, 100, 3), b"x") is None
    assert tail.stands(CommitOrder(2, 1, 4, 1), b"x") is None


def test_a_record_on_a_mark_stands_only_itself() -> None:
    """A chunk of a snapshot that landed by half: its other rows carry the same mark, and must still be sent. So must
    the floor that ends a snapshot, whose mark lies below all its rows."""
    tail = Tail()
    mark = CommitOrder(1, 1, 100, 0)
    tail.add(mark, b"x", 10)
    assert tail.stands(mark, b"x") == 11
    assert tail.stands(mark, b"y") is None
    assert tail.stands(CommitOrder(1, 1, 50, 0), b"floor") is None
