"""Positions in 64 bits from the 32 that events carry."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connector.errors import CorruptedLog
from connector.source.binlog.events import FLAG_ARTIFICIAL, EventHeader
from connector.source.binlog.position import FilePosition
from tests.unit.binlog.cells import patiently


def header(size: int, end: int, flags: int = 0) -> EventHeader:
    return EventHeader(0, 30, 1, size, end & 0xFFFFFFFF, flags)


@pytest.mark.parametrize("contiguous", [True, False])
def test_an_event_that_ends_at_4_gib_exactly_is_in_the_file(contiguous: bool) -> None:
    at = FilePosition("b.1", 2**32 - 100)
    assert at.advance(header(100, 2**32), contiguous=contiguous) == 2**32 - 100
    assert at.end == 2**32


@patiently
@given(
    start=st.integers(4, 2**33),
    steps=st.lists(st.tuples(st.integers(19, 2**31), st.integers(0, 2**31 - 1) | st.just(0)), max_size=30),
)
def test_ends_beyond_4_gib_are_followed_also_over_gaps(start: int, steps: list[tuple[int, int]]) -> None:
    at, true = FilePosition("b.1", start), start
    for size, gap in steps:
        begins = true + gap
        true = begins + size
        assume(not gap or true & 0xFFFFFFFF)  # behind a gap, 0 is taken for an event that the server made up
        assert at.advance(header(size, true), contiguous=not gap) == begins
        assert at.end == true


@pytest.mark.parametrize("end", [1099, 1101, 1000, 2**32 - 5])
def test_inside_a_transaction_nothing_may_be_missing(end: int) -> None:
    with pytest.raises(CorruptedLog, match="does not follow position 1000"):
        FilePosition("b.1", 1000).advance(header(100, end), contiguous=True)


def test_a_step_back_is_refused_between_transactions_too() -> None:
    with pytest.raises(CorruptedLog):
        FilePosition("b.1", 1000).advance(header(100, 900), contiguous=False)


def test_events_made_up_by_the_server_do_not_move_the_position() -> None:
    at = FilePosition("b.1", 1000)
    assert at.advance(header(100, 0), contiguous=True) == 1000
    assert at.advance(header(100, 5000, FLAG_ARTIFICIAL), contiguous=True) == 1000
    assert at.end == 1000


def test_a_server_that_passed_over_something_says_how_far() -> None:
    at = FilePosition("b.1", 1000)
    at.reach(5 << 32)
    at.reach(7)
    assert at.end == 5 << 32
