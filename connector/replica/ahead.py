"""The next batch is read and decoded while the one before it is written.

Two fifths of what a batch costs are two calls into SQLite, for full text and commit, and they do without Python's
interpreter. Reading and decoding need little else: so the two go on side by side, on two cores. Nothing else may use
the consumer between `begin` and `join`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from connector.broker import Record
from connector.replica.decode import Batch, Batches


class Ahead:
    """Batches in the order of the log. At most one is held that has not been handed out. consume: of a consumer, which
    is to be closed later than this.

    `next` raises what the consumer raises, and Undecodable; also for what was read ahead, in its turn.
    """

    def __init__(self, consume: Callable[[int, float], Sequence[Record]], pending: Batches, batch_records: int) -> None:
        self._consume = consume
        self._pending = pending
        self._batch_records = batch_records
        self._batches: Iterator[Batch] = iter(())
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._begun: Future[Batch | None] | None = None

    def next(self, wait_s: float) -> Batch | None:
        """None when nothing came in that time; what came before may be held back in `pending`."""
        begun, self._begun = self._begun, None
        if begun is not None and (batch := begun.result()) is not None:
            return batch
        return self._read(wait_s)

    def begin(self) -> None:
        """Starts with the next batch, of what is at hand; once begun, calling it again changes nothing."""
        if self._begun is None:
            self._begun = self._thread.submit(self._read, 0.0)

    def join(self) -> None:
        if self._begun is not None:
            wait([self._begun])

    def close(self) -> None:
        self._thread.shutdown()

    def _read(self, wait_s: float) -> Batch | None:
        patience = wait_s
        while True:
            for batch in self._batches:
                return batch
            if records := self._consume(self._batch_records, patience):
                self._batches, patience = self._pending.read(records), 0.0
                continue
            # Nothing more is at hand: a batch that is not full is written. The rest of a transaction is waited for.
            part = self._pending.part()
            if part is not None or patience == wait_s:
                return part
            patience = wait_s
