"""What already stands in the log beyond the recorded position, and so must not be published again. Pure.

The rule (docs/guarantees.md, "Resuming"): per lane, every re-read change whose order is not above the greatest order
standing there is skipped, because a lane lands without gaps and in commit order. Records on a mark (ordinal 0: snapshot
rows and the floor that ends a snapshot) are made anew by each reading and may carry an order below others that stand;
they are skipped only when that very record, same key and same order, stands.
"""

from __future__ import annotations

from connector.model import ZERO_ORDER, CommitOrder


class Tail:
    """The records of one lane at or after the end offset that the recorded position names."""

    __slots__ = ("_offsets", "earliest_epoch", "greatest")

    def __init__(self) -> None:
        self.greatest: CommitOrder = ZERO_ORDER
        self.earliest_epoch: int | None = None
        self._offsets: dict[tuple[CommitOrder, bytes], int] = {}

    def add(self, order: CommitOrder, key: bytes, offset: int) -> None:
        self.greatest = max(self.greatest, order)
        if self.earliest_epoch is None or order.epoch < self.earliest_epoch:
            self.earliest_epoch = order.epoch
        self._offsets[order, key] = offset

    def __len__(self) -> int:
        return len(self._offsets)

    def stands(self, order: CommitOrder, key: bytes) -> int | None:
        """None: publish it. Otherwise it is in the log: the offset after it, or 0 when compaction removed it because
        a later record of its key stands."""
        offset = self._offsets.get((order, key))
        if offset is not None:
            return offset + 1
        if order.ordinal != 0 and order <= self.greatest:
            return 0
        return None
