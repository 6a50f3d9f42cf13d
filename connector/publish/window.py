"""What has been sent and not yet acknowledged, and how far the contiguous prefix reaches. Pure.

Invariant: `prefix` stands only for transactions that were sent whole and acknowledged whole, and so were all before
them; `ends` holds, per lane, the offset after the last record of exactly that prefix, never the log's end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from connector.model import Lane, SourcePosition


@dataclass(slots=True)
class _InFlight:
    after: SourcePosition | None = None  # None until the transaction has been sent whole
    outstanding: int = 0  # runs
    ends: dict[Lane, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Run:
    """Records of one transaction that follow each other in a lane."""

    transaction: _InFlight
    left: int = 0


class _Queue:
    """What is on its way in one lane. sizes: of the records, in the order of sending."""

    __slots__ = ("end", "last", "runs", "sizes")

    def __init__(self, end: int) -> None:
        self.end = end
        self.sizes: deque[int] = deque()
        self.runs: deque[_Run] = deque()
        self.last: _Run | None = None


class Window:
    """Call `begin`, then `sent` or `standing` per record, then `complete`; `acknowledged` at any time.

    Acknowledgements of a lane arrive in the order of sending (an idempotent, gapless producer's promise), so a queue
    per lane tells whose record an acknowledgement is; an offset that does not rise breaks that promise and is refused.
    """

    def __init__(self, start: SourcePosition, ends: dict[Lane, int]) -> None:
        self.prefix = start
        self.ends = dict(ends)
        self.bytes = 0
        self.records = 0
        self._transactions: deque[_InFlight] = deque()
        self._lanes: dict[Lane, _Queue] = {}

    @property
    def idle(self) -> bool:
        return not self._transactions

    def lane_idle(self, lane: Lane) -> bool:
        """Nothing of ours is on its way there."""
        queue = self._lanes.get(lane)
        return queue is None or not queue.sizes

    def begin(self) -> None:
        self._transactions.append(_InFlight())

    def sent(self, lane: Lane, size: int) -> None:
        """A record of `size` bytes of the transaction begun last was handed to the producer."""
        transaction = self._transactions[-1]
        queue = self._lanes.get(lane)
        if queue is None:
            queue = self._lanes[lane] = _Queue(self.ends.get(lane, 0))
        run = queue.last
        if run is None or not run.left or run.transaction is not transaction:
            run = queue.last = _Run(transaction)
            queue.runs.append(run)
            transaction.outstanding += 1
        run.left += 1
        queue.sizes.append(size)
        self.bytes += size
        self.records += 1

    def standing(self, lane: Lane, end: int) -> None:
        """A record of the transaction begun last stands in the log already; `end` is the offset after it."""
        ends = self._transactions[-1].ends
        ends[lane] = max(end, ends.get(lane, 0))

    def complete(self, after: SourcePosition) -> None:
        self._transactions[-1].after = after
        self._advance()

    def acknowledged(self, lane: Lane, offset: int) -> None:
        queue = self._lanes[lane]
        run = queue.runs[0]
        if offset < queue.end or offset < run.transaction.ends.get(lane, 0):
            raise AssertionError(f"{lane} acknowledged offset {offset} after a greater one")
        queue.end = offset + 1
        self.bytes -= queue.sizes.popleft()
        self.records -= 1
        run.left -= 1
        if not run.left:
            transaction = run.transaction
            transaction.ends[lane] = offset + 1
            queue.runs.popleft()
            transaction.outstanding -= 1
            if not transaction.outstanding:
                self._advance()

    def passed(self, position: SourcePosition) -> None:
        """The stream went on to `position` without anything to publish; counts when nothing is in flight."""
        if self.idle:
            self.prefix = position

    def _advance(self) -> None:
        transactions = self._transactions
        while transactions and transactions[0].after is not None and transactions[0].outstanding == 0:
            done = transactions.popleft()
            assert done.after is not None
            self.prefix = done.after
            for lane, end in done.ends.items():
                if end > self.ends.get(lane, 0):
                    self.ends[lane] = end
