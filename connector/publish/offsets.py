"""Which offsets of a lane are not our own: what a writer leaves that outlived its lease. Pure.

Records of one writer stand at one offset after the other. So an acknowledgement that skips offsets, and an end of the
log beyond what was acknowledged while nothing is under way, both say that somebody else wrote there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from connector.model import Lane


class Foreign(NamedTuple):
    """Offsets from `begin` up to and without `end` that another writer's records stand at."""

    lane: Lane
    begin: int
    end: int


class OwnOffsets:
    """expected: per lane the offset that our next record would have if nobody else wrote."""

    __slots__ = ("_foreign", "expected")

    def __init__(self, ends: Mapping[Lane, int]) -> None:
        self.expected = dict(ends)
        self._foreign: list[Foreign] = []

    def acknowledged(self, lane: Lane, offset: int) -> None:
        expected = self.expected.get(lane, offset)
        if offset >= expected:
            if offset > expected:
                self._foreign.append(Foreign(lane, expected, offset))
            self.expected[lane] = offset + 1

    def ended(self, asked: Mapping[Lane, int], ends: Mapping[Lane, int], idle: Iterable[Lane]) -> None:
        """The ends of the log, asked for when `asked` was expected. Only lanes tell anything that were idle then and
        still are: of others the end may be that of our own records."""
        for lane in idle:
            expected = asked.get(lane)
            if expected is not None and expected == self.expected[lane] and ends.get(lane, 0) > expected:
                self._foreign.append(Foreign(lane, expected, ends[lane]))
                self.expected[lane] = ends[lane]

    def take(self) -> list[Foreign]:
        """What was found since the last call."""
        found, self._foreign = self._foreign, []
        return found
