"""What shows that another writer was at work, and which record mends a key: the cores, without a log.

The histories are those in which a log ends wrong when a rule is left out; `integration/test_publish_foreign.py` plays
them on a whole publisher.
"""

from hypothesis import given
from hypothesis import strategies as st

from connector.model import ZERO_ORDER, CommitOrder, DocKey, FloorKey, Key, Lane
from connector.publish.offsets import Foreign, OwnOffsets
from connector.publish.repair import Repairs, RowWanted, Standing
from connector.publish.resume import Tail
from connector.wire import encode_key

LANE, OTHER = Lane("t", 0), Lane("t", 1)
X, Y, FLOOR = DocKey("A", "x"), DocKey("B", "y"), FloorKey("A")


def order(position: int, ordinal: int = 1) -> CommitOrder:
    return CommitOrder(1, 1, position, ordinal)


def tail(*records: tuple[int, Key], mark: int = 0) -> Tail:
    found = Tail(order(mark, 0))
    for offset, (position, key) in enumerate(records):
        found.add(order(position), encode_key(key), offset)
    return found


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1)), max_size=60))
def test_every_foreign_record_is_found_and_none_of_our_own(steps: list[tuple[bool, int]]) -> None:
    """Our own records and those of another land in any order; in the end the lanes are idle and their ends are seen."""
    lanes = [LANE, OTHER]
    own = OwnOffsets({LANE: 0, OTHER: 0})
    log: dict[Lane, list[bool]] = {lane: [] for lane in lanes}
    for ours, number in steps:
        lane = lanes[number]
        if ours:
            own.acknowledged(lane, len(log[lane]))
        log[lane].append(ours)
    own.ended(dict(own.expected), {lane: len(log[lane]) for lane in lanes}, lanes)
    found = own.take()
    for lane in lanes:
        foreign = {offset for offset, ours in enumerate(log[lane]) if not ours}
        assert foreign == {n for part in found if part.lane == lane for n in range(part.begin, part.end)}
    assert own.take() == []


def test_the_end_of_a_lane_says_nothing_while_something_of_ours_may_have_moved_it() -> None:
    own = OwnOffsets({LANE: 5})
    asked = dict(own.expected)
    own.ended(asked, {LANE: 7}, [])
    assert own.take() == [], "something is on its way to it"
    own.acknowledged(LANE, 5)
    own.ended(asked, {LANE: 6}, [LANE])
    assert own.take() == [], "it was acknowledged after the question"
    own.ended(dict(own.expected), {LANE: 7}, [LANE])
    assert own.take() == [Foreign(LANE, 6, 7)]


def test_in_order_and_beyond_the_position_nothing_is_suspect() -> None:
    assert tail((100, X), (100, Y), (200, X), mark=100).suspects() == set()


def test_what_is_older_than_the_position_is_suspect() -> None:
    assert tail((100, X), (300, Y), mark=200).suspects() == {encode_key(X)}
    assert tail((100, X), (300, X), mark=200).suspects() == {encode_key(X)}


def test_a_key_whose_last_record_is_not_its_greatest_is_suspect() -> None:
    assert tail((100, X), (200, Y), (200, X), (100, X)).suspects() == {encode_key(X)}
    assert tail((100, X), (200, X), (100, X), (200, X)).suspects() == set(), "the greatest came again"


def test_a_skipped_change_that_neither_stands_nor_is_superseded_is_missing() -> None:
    """The other writer was ahead in the lane: its record of B.y makes everything up to it count as standing."""
    found = tail((300, Y))
    assert found.stands(order(200), encode_key(X)) == 0
    assert found.missing(order(200), encode_key(X))
    assert not found.missing(order(200), encode_key(Y))


def test_a_row_is_mended_above_all_that_stands_and_not_before() -> None:
    repairs = Repairs()
    repairs.foreign(LANE, [Standing(encode_key(X), order(100)), Standing(encode_key(Y), order(300))])
    assert set(repairs.rows_wanted()) == {RowWanted(LANE, X, order(300)), RowWanted(LANE, Y, order(300))}
    assert repairs.rows_wanted() == [], "asked for once"
    key = encode_key(X)
    assert not repairs.needs(LANE, key, order(200))
    assert not repairs.needs(LANE, key, order(300, 0))
    assert not repairs.needs(OTHER, key, order(400, 0))
    repairs.sent(LANE, key, order(200))
    assert (LANE, key) in repairs.pending
    repairs.sent(LANE, key, order(400, 0))
    repairs.sent(LANE, encode_key(Y), order(300))
    assert not repairs.pending


def test_found_again_it_is_mended_above_what_came_last() -> None:
    repairs = Repairs()
    key = encode_key(X)
    repairs.suspect(LANE, [key], order(100))
    repairs.suspect(LANE, [key], order(300))
    repairs.suspect(LANE, [key], order(200))
    assert repairs.pending == {(LANE, key): order(300)}


def test_the_floor_that_ends_a_snapshot_is_no_old_record() -> None:
    """It carries the order at which the snapshot began, and comes last."""
    found = Tail(order(500, 0), ending=order(100, 0))
    found.add(order(100, 0), encode_key(FLOOR), 7)
    assert found.suspects() == set()
    found.add(order(50, 0), encode_key(FloorKey("B")), 8)
    assert found.suspects() == {encode_key(FloorKey("B"))}


def test_the_position_is_held_until_what_mends_is_acknowledged() -> None:
    repairs = Repairs()
    held = [repairs.holding]
    repairs.suspect(LANE, [encode_key(X)], order(100))
    repairs.acknowledged()
    held.append(repairs.holding)
    repairs.sent(LANE, encode_key(X), order(200, 0))
    held.append(repairs.holding)
    repairs.acknowledged()
    held.append(repairs.holding)
    assert held == [False, True, True, False], "sent is not acknowledged"


def test_floors_are_looked_at_once_the_stream_is_above() -> None:
    repairs = Repairs()
    key = encode_key(FLOOR)
    repairs.suspect(LANE, [key], order(300))
    assert repairs.rows_wanted() == []
    assert repairs.floors_due(order(300, 0)) == {}
    assert repairs.floors_due(order(400, 0)) == {LANE: {key}}
    repairs.settled(LANE, key)
    assert repairs.floors_due(order(400, 0)) == {}
    assert not repairs.needs(LANE, key, max(order(400), ZERO_ORDER))
