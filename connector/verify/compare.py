"""Which rows of a replica are not those of its source, exactly, though neither side stands still. Pure.

A source is followed by its stream, so what it holds is known at each of its positions; a replica is looked at now and
then. A *round* is: the end of the source's log is asked for; the stream comes to it; capture and replica come to it;
the replica is looked at. What differs then may only be newer on one side. It is a difference if the replica has the
same version of it as it had in the round before, and the source changed it last before that end:

    the replica was looked at (round n)  <  the end of the log (round n + 1)  <  the replica was looked at (round n + 1)

As its version did not change between the two looks, it is what the replica had at that end, where the source had
another. Not more than a hundred thousand rows that differ are looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from connector.verify.digests import differing
from connector.verify.sides import Held, Place, Sides

Look = Callable[[Place], Held]
"""At one row of a replica, as it is now."""


_MOST = 100_000


class Kind(StrEnum):
    MISSING = "missing"  # the source has it
    EXTRA = "extra"  # the replica has it
    UNEQUAL = "unequal"
    UNPUBLISHED = "unpublished"  # the replica hides it: it could not be published


class Difference(NamedTuple):
    """columns: in which the rows differ, where both have one. why: it could not be published."""

    place: Place
    kind: Kind
    columns: tuple[str, ...] = ()
    why: str | None = None


@dataclass
class Comparison:
    """Round by round. found: differences; undecided: rows that changed in each round so far; more: others differed in
    the first round, and were not looked into."""

    sides: Sides
    found: list[Difference] = field(default_factory=list)
    more: bool = False
    _suspects: dict[Place, Held] = field(default_factory=dict)

    @property
    def undecided(self) -> int:
        return len(self._suspects)

    def first(self, rows: Iterable[Held], look: Look, follows: Callable[[str], bool]) -> None:
        """The first round. rows: all of the replica. follows: whether it has a dataset of this name."""
        self.sides.take(row for row in rows if follows(row.place.dataset_id))
        unlike = self.sides.unlike(follows, _MOST + 1)
        self.more = len(unlike) > _MOST
        self._suspects = {place: look(place) for place in unlike[:_MOST]}

    def again(self, look: Look, end: int) -> None:
        """Another round. end: how many changes of the source were folded when its stream stood at the end of the log
        that this round asked for, or before."""
        left: dict[Place, Held] = {}
        for place, before in self._suspects.items():
            held = look(place)
            digest, changed = self.sides.at_source(place)
            if digest == held.digest:
                continue
            if changed <= end and before.version == held.version:
                self.found.append(_difference(place, digest, held))
            else:
                left[place] = held
        self._suspects = left


def _difference(place: Place, digest: bytes | None, held: Held) -> Difference:
    if digest is None:
        return Difference(place, Kind.EXTRA)
    if held.digest is not None:
        return Difference(place, Kind.UNEQUAL, tuple(differing(digest, held.digest)))
    return Difference(place, Kind.MISSING if held.why is None else Kind.UNPUBLISHED, (), held.why)
