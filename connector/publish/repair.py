"""Keys under which an old record may stand last, and what mends each. Pure.

A writer that outlived its lease appends old records behind new ones. Compaction keeps the last record of a key, so each
key that it touched needs another record, above *everything* that stands in its lane: a row's present state, or the
newest floor once more. Until that record is acknowledged the recorded position must not move, because the next
publisher finds such keys only beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from connector.model import CommitOrder, FloorKey, Lane
from connector.source import RowKey
from connector.wire import decode_key


class Standing(NamedTuple):
    """A record of a lane: what matters of it here."""

    key: bytes
    order: CommitOrder


class RowWanted(NamedTuple):
    """A row to be read again, and published on a mark that is not below `above`."""

    lane: Lane
    key: RowKey
    above: CommitOrder


class Repairs:
    """`pending` is asked before every record that is sent: empty, it costs nothing."""

    __slots__ = ("_floors", "_holding", "_unasked", "pending")

    def __init__(self) -> None:
        self.pending: dict[tuple[Lane, bytes], CommitOrder] = {}
        self._floors: set[tuple[Lane, bytes]] = set()  # of those pending
        self._unasked: list[RowWanted] = []
        self._holding = False

    @property
    def holding(self) -> bool:
        """Whether the recorded position must stay where it is."""
        return self._holding

    def suspect(self, lane: Lane, keys: Iterable[bytes], above: CommitOrder) -> None:
        """above: the greatest order that stands in the lane."""
        for key in keys:
            highest = self.pending[lane, key] = max(above, self.pending.get((lane, key), above))
            self._holding = True
            decoded = decode_key(key)
            if isinstance(decoded, FloorKey):
                self._floors.add((lane, key))
            else:
                self._unasked.append(RowWanted(lane, decoded, highest))

    def foreign(self, lane: Lane, records: Iterable[Standing]) -> None:
        """Records of another writer were found in the lane, beyond what was our own."""
        found = list(records)
        if found:
            self.suspect(lane, {record.key for record in found}, max(record.order for record in found))

    def needs(self, lane: Lane, key: bytes, order: CommitOrder) -> bool:
        """Whether a record of that order, sent now, mends the key."""
        above = self.pending.get((lane, key))
        return above is not None and order >= above

    def sent(self, lane: Lane, key: bytes, order: CommitOrder) -> None:
        if self.needs(lane, key, order):
            self.settled(lane, key)

    def rows_wanted(self) -> list[RowWanted]:
        """Since the last call."""
        found, self._unasked = self._unasked, []
        return found

    def floors_due(self, mark: CommitOrder) -> dict[Lane, set[bytes]]:
        """Keys of floors to be looked at, now that the stream stands at that mark."""
        due: dict[Lane, set[bytes]] = {}
        for lane, key in self._floors:
            if self.pending[lane, key] <= mark:
                due.setdefault(lane, set()).add(key)
        return due

    def settled(self, lane: Lane, key: bytes) -> None:
        """Its last record is its greatest, or will be."""
        self.pending.pop((lane, key), None)
        self._floors.discard((lane, key))

    def acknowledged(self) -> None:
        """Everything that was sent is."""
        self._holding = bool(self.pending)
