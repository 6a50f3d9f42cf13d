"""Reading ahead of the writer: nothing is lost or goes first, and an error comes in its turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.broker import Record
from connector.errors import Unreachable
from connector.replica.ahead import Ahead
from connector.replica.decode import Batch, Batches, Undecodable
from tests.unit.replica.events import LANE
from tests.unit.replica.test_batches import DATA, ids, record

_WAIT_S = 0.1


class Log:
    """What each call of a consumer gives; an empty one: nothing within the time given."""

    def __init__(self, *reads: Sequence[Record] | Exception) -> None:
        self._reads: Iterator[Sequence[Record] | Exception] = iter(reads)
        self.waits: list[float] = []
        self.threads: set[int] = set()

    def consume(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        self.waits.append(timeout_s)
        self.threads.add(threading.get_ident())
        read = next(self._reads, ())
        if isinstance(read, Exception):
            raise read
        assert len(read) <= max_records
        return read


def next_ids(ahead: Ahead) -> list[str] | None:
    batch = ahead.next(_WAIT_S)
    return None if batch is None else ids(batch)


def test_a_batch_is_read_while_another_is_written() -> None:
    log = Log([record(0, "one", True), record(1, "two", True)], [record(2, "three", True)])
    with closing(Ahead(log.consume, Batches(DATA, 2), 2)) as ahead:
        assert next_ids(ahead) == ["0", "1"]
        assert (log.waits, log.threads) == ([_WAIT_S], {threading.get_ident()})
        ahead.begin()
        ahead.begin()
        ahead.join()
        assert log.waits == [_WAIT_S, 0.0, 0.0]  # without waiting, and once
        assert len(log.threads) == 2
        assert next_ids(ahead) == ["2"]
        assert log.waits == [_WAIT_S, 0.0, 0.0]
        assert next_ids(ahead) is None


def test_nothing_at_hand_is_waited_for_in_its_turn() -> None:
    log = Log((), [record(0, "one", True)])
    with closing(Ahead(log.consume, Batches(DATA, 2), 2)) as ahead:
        ahead.begin()
        assert next_ids(ahead) == ["0"]
        assert log.waits == [0.0, _WAIT_S, 0.0]


def test_a_batch_is_filled_as_long_as_something_is_at_hand() -> None:
    log = Log(*([record(n, str(n), True)] for n in range(5)))
    with closing(Ahead(log.consume, Batches(DATA, 3), 3)) as ahead:
        assert [next_ids(ahead) for _ in range(3)] == [["0", "1", "2"], ["3", "4"], None]
        assert log.waits == [_WAIT_S, 0, 0, _WAIT_S, 0, 0, _WAIT_S]


def test_the_rest_of_a_transaction_is_waited_for() -> None:
    log = Log([record(0, "one", False)], (), [record(1, "one", True)])
    with closing(Ahead(log.consume, Batches(DATA, 9), 9)) as ahead:
        assert next_ids(ahead) == ["0", "1"]
        assert log.waits == [_WAIT_S, 0.0, _WAIT_S, 0.0]


def test_a_transaction_without_its_end_is_held_back() -> None:
    log, pending = Log([record(0, "one", False)]), Batches(DATA, 9)
    with closing(Ahead(log.consume, pending, 9)) as ahead:
        assert next_ids(ahead) is None
        (rest,) = pending.rest()
        assert ids(rest) == ["0"]


def test_an_error_comes_behind_what_stands_before_it() -> None:
    broken = Record(*LANE, 1, b"key", b"?", 0)
    log = Log([record(0, "one", True), broken], Unreachable("gone"))
    with closing(Ahead(log.consume, Batches(DATA, 1), 9)) as ahead:
        assert next_ids(ahead) == ["0"]
        ahead.begin()
        ahead.join()
        with pytest.raises(Undecodable, match="at offset 1"):
            ahead.next(_WAIT_S)
        ahead.begin()
        ahead.join()
        with pytest.raises(Unreachable, match="gone"):
            ahead.next(_WAIT_S)


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 6), st.lists(st.booleans(), min_size=60, max_size=60))
def test_nothing_is_lost_or_goes_first(sizes: list[int], most: int, early: list[bool]) -> None:
    total = sum(sizes)
    records = [record(n, str(n), True) for n in range(total)]
    reads = [records[sum(sizes[:n]) : sum(sizes[: n + 1])] for n in range(len(sizes))]
    seen: list[Batch] = []
    with closing(Ahead(Log(*reads).consume, Batches(DATA, most), 9)) as ahead:
        for begins in early:
            if begins:
                ahead.begin()
                ahead.join()
            if (batch := ahead.next(_WAIT_S)) is not None:
                seen.append(batch)
    assert [id for batch in seen for id in ids(batch)] == [str(n) for n in range(total)]
    assert [batch.offsets[LANE].next for batch in seen if batch.records] == [
        sum(batch.records for batch in seen[: n + 1]) for n in range(len(seen))
    ]
