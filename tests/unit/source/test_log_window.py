"""Which change numbers are looked for: against a model that knows when each of them became visible."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.source.log_window import LogWindow

WINDOW_S = 10.0


def look(window: LogWindow, visible: set[int], now: float, most: int = 500) -> list[int]:
    """As the reader does: late ones within the gaps, then what is above the head; then what has been missing for long
    enough is given up."""
    late = [n for first, last in window.gaps(most) for n in sorted(visible) if first <= n <= last and n not in window]
    found = late + sorted(n for n in visible if n > window.head)
    window.read(found, now)
    window.settle(now - WINDOW_S)
    return found


# Numbers with the time at which each becomes visible (None: rolled back), and the times of looks.
numbers = st.lists(st.one_of(st.none(), st.integers(0, 60)), min_size=1, max_size=40)
looks = st.lists(st.integers(0, 90), min_size=1, max_size=40, unique=True).map(sorted)


@settings(max_examples=400, deadline=None)
@given(numbers, looks, st.integers(1, 5))
def test_each_number_once_and_whatever_is_late_within_the_window(
    visible_at: list[int | None], times: list[int], most: int
) -> None:
    window = LogWindow()
    found: list[int] = []
    passed: dict[int, float] = {}  # when a look first read a greater number
    for now in times:
        visible = {n for n, at in enumerate(visible_at, 1) if at is not None and at <= now}
        found += look(window, visible, now, most)
        for n in range(1, window.head):
            passed.setdefault(n, now)
        assert window.head == max(found, default=0)
        assert all(n in window for n in found)
        for n in visible - set(found):
            at = visible_at[n - 1]
            assert at is not None
            given_up = [t for t in times if passed[n] + WINDOW_S <= t <= now and t < at]
            assert given_up, f"{n} became visible at {at}, and {passed[n]} was the first look past it"
    assert len(found) == len(set(found))


@given(st.sets(st.integers(1, 200)), st.integers(1, 8))
def test_gaps_are_everything_that_was_not_read(read: set[int], most: int) -> None:
    window = LogWindow()
    window.read(sorted(read), 0.0)
    gaps = window.gaps(most)
    assert len(gaps) <= most
    named = {n for first, last in gaps for n in range(first, last + 1)}
    assert named >= set(range(1, max(read, default=0))) - read
    exact = {n for first, last in window.gaps(1000) for n in range(first, last + 1)}
    assert exact == set(range(1, max(read, default=0))) - read


def test_a_number_that_never_comes_is_given_up() -> None:
    window = LogWindow()
    assert look(window, {1, 3}, 0.0) == [1, 3]
    assert window.gaps(10) == [(2, 2)]
    assert look(window, {1, 3, 5}, 5.0) == [5]
    assert window.gaps(10) == [(2, 2), (4, 4)]
    assert look(window, {1, 3, 5}, 11.0) == []
    assert window.gaps(10) == [(4, 4)]
    assert look(window, {1, 2, 3, 5}, 12.0) == []
    look(window, {1, 3, 5}, 16.0)
    assert (window.gaps(10), window.low, window.head) == ([], 5, 5)


def test_a_reader_that_was_stopped_looks_once_more_before_it_gives_up() -> None:
    window = LogWindow()
    look(window, {1, 3}, 0.0)
    assert look(window, {1, 2, 3}, 1000.0) == [2]
