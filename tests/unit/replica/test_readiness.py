"""When a replica may call itself ready: past ends that are not older than the compaction lag."""

from __future__ import annotations

from connector.model import Lane
from connector.replica.readiness import LEAST_LAG_S, Readiness

A, B = Lane("t", 0), Lane("t", 1)


class World:
    def __init__(self, lag_s: float = 100) -> None:
        self.now = 0.0
        self.ends = {A: 10, B: 5}
        self.taken = 0
        self.readiness = Readiness(lag_s, self._take, lambda: self.now)

    def _take(self) -> dict[Lane, int]:
        self.taken += 1
        return dict(self.ends)

    def at(self, now: float, a: int, b: int, refresh_s: float = 5) -> bool:
        self.now = now
        return self.readiness.update({A: a, B: b}, refresh_s)


def test_it_is_ready_past_the_ends_of_every_lane() -> None:
    world = World()
    assert not world.at(1, 9, 5)
    assert not world.at(2, 10, 4)
    assert world.at(3, 10, 5)
    assert world.at(4, 10, 5)
    assert world.taken == 1


def test_an_empty_log_is_reached_at_once() -> None:
    world = World()
    world.ends = {A: 0, B: 0}
    assert Readiness(100, world._take, lambda: 0).update({}, 5)


def test_slower_than_the_compaction_lag_the_ends_are_taken_anew() -> None:
    world = World()
    world.ends = {A: 20, B: 5}
    assert not world.at(101, 10, 5)  # what was missing from the log may have been compacted away meanwhile
    assert world.taken == 2
    assert not world.at(150, 19, 5)
    assert world.at(151, 20, 5)


def test_a_replica_that_falls_behind_is_not_ready_any_more() -> None:
    world = World()
    assert world.at(1, 10, 5)
    world.ends = {A: 100, B: 5}
    assert world.at(7, 10, 5)  # behind, but not for long
    assert world.at(90, 50, 5)
    assert not world.at(101, 60, 5)
    assert world.at(106, 100, 5)
    assert world.taken == 2


def test_once_ready_the_ends_are_asked_for_now_and_then() -> None:
    world = World()
    for now in range(1, 30):
        assert world.at(now, 10, 5)
    assert 4 <= world.taken <= 7


def test_without_a_compaction_lag_there_is_a_least_one() -> None:
    world = World(lag_s=0)
    assert world.at(LEAST_LAG_S - 1, 10, 5)
