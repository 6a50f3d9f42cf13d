"""Records in batches: cut between two transactions of the source, bounded, and whole up to what is not understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.broker import Record
from connector.errors import CorruptedLog
from connector.model import Lane
from connector.replica.apply import Offset
from connector.replica.decode import Batch, Batches, Undecodable
from connector.wire import TransactionInfo, encode_tombstone, encode_value
from tests.unit.replica.events import LANE, TOMBSTONES, TOPIC, at, document, put, tombstone

DATA = frozenset([TOPIC])
OTHER = Lane(TOPIC, 1)


def record(offset: int, transaction: str, last: bool, lane: Lane = LANE, content: str = "t") -> Record:
    value = encode_value(put("a", str(offset), at(1), document(content)), TransactionInfo(transaction, 1, last), 0)
    return Record(*lane, offset, b"k", value, 0, 7)


def ids(batch: Batch) -> list[str]:
    return [getattr(change.key, "id", "") for _, change in batch.changes]


def test_an_unfinished_transaction_is_held_back() -> None:
    pending = Batches(DATA, 100)
    assert list(pending.read([record(0, "one", True), record(1, "two", False), record(2, "two", False)])) == []
    first = pending.part()
    assert first is not None
    assert (ids(first), first.offsets) == (["0"], {LANE: Offset(1, 7)})
    assert list(pending.read([record(3, "two", False)])) == []
    assert pending.part() is None
    assert list(pending.read([record(4, "two", True), record(5, "three", False)])) == []
    second = pending.part()
    assert second is not None
    assert (ids(second), second.offsets) == (["1", "2", "3", "4"], {LANE: Offset(5, 7)})
    (rest,) = pending.rest()
    assert (ids(rest), rest.offsets) == (["5"], {LANE: Offset(6, 7)})
    assert list(pending.rest()) == []


def test_lanes_do_not_wait_for_each_other() -> None:
    pending = Batches(DATA, 100)
    records = [record(0, "x", False), record(0, "x", True, OTHER), record(1, "y", True, OTHER)]
    assert list(pending.read(records)) == []
    batch = pending.part()
    assert batch is not None
    assert batch.offsets == {OTHER: Offset(2, 7)}


def test_a_transaction_whose_end_was_compacted_away_ends_where_the_next_begins() -> None:
    pending = Batches(DATA, 100)
    assert list(pending.read([record(0, "one", False), record(5, "two", True)])) == []
    batch = pending.part()
    assert batch is not None
    assert ids(batch) == ["0", "5"]


def test_a_transaction_larger_than_a_batch_is_cut() -> None:
    pending = Batches(DATA, 10)
    batches = [*pending.read([record(i, "one", False) for i in range(25)]), *pending.rest()]
    assert [len(batch.changes) for batch in batches] == [10, 10, 5]


def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.replica.decode.BATCH_BYTES", 10_000)
    pending = Batches(DATA, 1000)
    wide = "x" * 4000
    batches = list(pending.read([record(i, str(i), True, content=wide) for i in range(9)]))
    assert [len(batch.changes) for batch in batches] == [3, 3, 3]
    batches = [*pending.read([record(i, "one", False, content=wide) for i in range(7)]), *pending.rest()]
    assert [len(batch.changes) for batch in batches] == [3, 3, 1]


def test_what_is_not_understood_comes_after_everything_before_it() -> None:
    pending = Batches(DATA, 100)
    found = pending.read([record(0, "one", True), record(1, "two", False), Record(*LANE, 2, b"key", b"?", 0)])
    assert ids(next(found)) == ["0", "1"]
    with pytest.raises(Undecodable, match=r"shadow_vec_docs\[0\] at offset 2, key b'key'") as raised:
        next(found)
    assert isinstance(raised.value.error, CorruptedLog)


@given(
    st.lists(st.tuples(st.sampled_from([LANE, OTHER]), st.integers(1, 6)), max_size=15),
    st.integers(1, 8),
    st.integers(1, 9),
)
def test_nothing_is_lost_or_reordered(transactions: list[tuple[Lane, int]], most: int, read: int) -> None:
    records: list[Record] = []
    ends: dict[Lane, int] = {LANE: 0, OTHER: 0}
    boundaries: dict[Lane, set[int]] = {LANE: {0}, OTHER: {0}}
    for number, (lane, size) in enumerate(transactions):
        for i in range(size):
            records.append(record(ends[lane], str(number), i == size - 1, lane))
            ends[lane] += 1
        boundaries[lane].add(ends[lane])
        records.append(Record(*TOMBSTONES, number, None, encode_tombstone(tombstone("a", "x", at(1))), 0))
    pending = Batches(DATA, most)
    seen: dict[Lane, list[str]] = {LANE: [], OTHER: []}
    tombstones = 0
    for start in range(0, len(records), read):
        batches = list(pending.read(records[start : start + read]))
        assert all(batch.records >= most for batch in batches)
        if (start % 2 or start + read >= len(records)) and (part := pending.part()) is not None:
            batches.append(part)
        for batch in batches:
            tombstones += len(batch.tombstones)
            for lane, change in batch.changes:
                seen[lane].append(getattr(change.key, "id", ""))
            for lane, offset in batch.offsets.items():
                if lane in seen:
                    assert offset.next == len(seen[lane])
                    if most > 6:
                        assert offset.next in boundaries[lane]
    assert list(pending.rest()) == [] or most <= 6
    assert tombstones == len(transactions)
    if most > 6:
        assert seen == {lane: [str(i) for i in range(end)] for lane, end in ends.items()}
