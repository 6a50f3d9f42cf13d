"""What already stands in the log beyond the recorded position, and so must not be published again. Pure.

The rule (docs/guarantees.md, "Resuming"): per lane, every re-read change whose order is not above the greatest order
standing there is skipped, because a lane lands without gaps and in commit order. Records on a mark (ordinal 0: snapshot
rows and the floor that ends a snapshot) are made anew by each reading and may carry an order below others that stand;
they are skipped only when that very record, same key and same order, stands.

What stands also shows whether a writer was at work that outlived its lease (docs/guarantees.md, "A writer that outlived
its lease"): a record below the mark of the position, a key whose last record is not its greatest, or a change to be
skipped that neither stands nor is superseded. Such keys are suspect.
"""

from __future__ import annotations

from connector.model import ZERO_ORDER, CommitOrder


class Tail:
    """The records of one lane at or after the end offset that the recorded position names.

    mark: of that position. ending: the order of the floor that ends the snapshot which was not done there, if one was.
    """

    __slots__ = ("_best", "_ending", "_lower", "_mark", "_offsets", "_older", "earliest_epoch", "greatest")

    def __init__(self, mark: CommitOrder = ZERO_ORDER, ending: CommitOrder | None = None) -> None:
        self.greatest: CommitOrder = ZERO_ORDER
        self.earliest_epoch: int | None = None
        self._mark = mark
        self._ending = ending
        self._offsets: dict[tuple[CommitOrder, bytes], int] = {}
        self._best: dict[bytes, CommitOrder] = {}
        self._older: set[bytes] = set()
        self._lower: set[bytes] = set()  # keys whose last record is not their greatest

    def add(self, order: CommitOrder, key: bytes, offset: int) -> None:
        """In the order of offsets."""
        self.greatest = max(self.greatest, order)
        if self.earliest_epoch is None or order.epoch < self.earliest_epoch:
            self.earliest_epoch = order.epoch
        self._offsets[order, key] = offset
        if order < self._mark and order != self._ending:
            self.suspect(key)
        self.saw(order, key)

    def saw(self, order: CommitOrder, key: bytes) -> None:
        """In the order of offsets, all of a lane."""
        if order < self._best.get(key, ZERO_ORDER):
            self._lower.add(key)
        else:
            self._best[key] = order
            self._lower.discard(key)

    def __len__(self) -> int:
        return len(self._offsets)

    def stands(self, order: CommitOrder, key: bytes) -> int | None:
        """None: publish it. Otherwise it is in the log: the offset after it, or 0 when compaction removed it because
        a later record of its key stands (unless `missing` says that none does)."""
        offset = self._offsets.get((order, key))
        if offset is not None:
            return offset + 1
        if order.ordinal != 0 and order <= self.greatest:
            return 0
        return None

    def passed(self, mark: CommitOrder) -> bool:
        """Whether the stream, which stands at that mark, has come by everything that stands."""
        return mark >= self.greatest

    def missing(self, order: CommitOrder, key: bytes) -> bool:
        """Of a change that is to be skipped: neither does it stand, nor anything newer of its key."""
        return order > self._best.get(key, ZERO_ORDER)

    def suspect(self, key: bytes) -> None:
        """A record of it stands there that is older than the position."""
        self._older.add(key)

    def publish_again(self) -> None:
        """Nothing that stands under a name of its own stands for a change any more. Here all is known by its order."""

    def suspects(self) -> set[bytes]:
        return self._older | self._lower
