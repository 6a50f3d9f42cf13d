"""The in-flight window against the plainest statement of what it promises."""

from hypothesis import given
from hypothesis import strategies as st

from connector.model import Lane, SourceIdentity, SourcePosition
from connector.publish.window import Window

LANES = [Lane("t", 0), Lane("t", 1), Lane("t.tombstones", 0)]


def at(n: int) -> SourcePosition:
    return SourcePosition(SourceIdentity("mysql"), file="binlog.000001", position=n)


@given(
    transactions=st.lists(st.lists(st.sampled_from(LANES), max_size=4), max_size=12),
    choices=st.lists(st.integers(0, 5), max_size=120),
)
def test_prefix_and_ends_are_those_of_whole_acknowledged_transactions(
    transactions: list[list[Lane]], choices: list[int]
) -> None:
    window = Window(at(0), dict.fromkeys(LANES, 0))
    log_end = dict.fromkeys(LANES, 0)
    owners: dict[Lane, list[int]] = {lane: [] for lane in LANES}  # per lane, the transactions of its records in order
    acked: dict[Lane, int] = dict.fromkeys(LANES, 0)
    sent_whole = 0
    steps = iter(choices)
    pending = [(number, lane) for number, lanes in enumerate(transactions, 1) for lane in [*lanes, None]]
    cursor, started = 0, 0

    def check() -> None:
        prefix = 0
        for number in range(1, sent_whole + 1):
            if any(owner == number for lane in LANES for owner in owners[lane][acked[lane] :]):
                break
            prefix = number
        assert window.prefix == at(prefix)
        for lane in LANES:
            assert window.ends[lane] == sum(1 for owner in owners[lane] if owner <= prefix)
            assert window.lane_idle(lane) == (acked[lane] == log_end[lane])

    while cursor < len(pending):
        if (next(steps, 5)) < 3:
            ready = [lane for lane in LANES if acked[lane] < log_end[lane]]
            if ready:
                lane = ready[0]
                window.acknowledged(lane, acked[lane])
                acked[lane] += 1
                check()
                continue
        number, lane_or_none = pending[cursor]
        cursor += 1
        if number != started:
            window.begin()
            started = number
        if lane_or_none is None:
            window.complete(at(number))
            sent_whole = number
        else:
            window.sent(lane_or_none, 10)
            owners[lane_or_none].append(number)
            log_end[lane_or_none] += 1
        check()
    for lane in LANES:
        while acked[lane] < log_end[lane]:
            window.acknowledged(lane, acked[lane])
            acked[lane] += 1
            check()
    assert window.idle
    assert window.bytes == window.records == 0


def test_a_transaction_without_end_holds_the_position() -> None:
    window = Window(at(0), {})
    window.begin()
    window.sent(LANES[0], 1)
    window.acknowledged(LANES[0], 0)
    assert window.prefix == at(0)
    window.complete(at(1))
    assert window.prefix == at(1)


def test_a_later_transaction_acknowledged_first_waits() -> None:
    window = Window(at(0), {})
    for number, lane in enumerate(LANES[:2], 1):
        window.begin()
        window.sent(lane, 1)
        window.complete(at(number))
    window.acknowledged(LANES[1], 7)
    assert (window.prefix, window.ends) == (at(0), {})
    window.acknowledged(LANES[0], 3)
    assert (window.prefix, window.ends) == (at(2), {LANES[0]: 4, LANES[1]: 8})


def test_standing_records_count_as_acknowledged() -> None:
    window = Window(at(0), {LANES[0]: 5})
    window.begin()
    window.standing(LANES[0], 9)
    window.complete(at(1))
    assert window.ends == {LANES[0]: 9}


def test_passing_on_counts_only_with_nothing_in_flight() -> None:
    window = Window(at(0), {})
    window.begin()
    window.sent(LANES[0], 1)
    window.complete(at(1))
    window.passed(at(5))
    assert window.prefix == at(0)
    window.acknowledged(LANES[0], 0)
    window.passed(at(5))
    assert window.prefix == at(5)
