"""When a replica may say that it is ready. Pure but for the clock that it is given.

A log that is compacted shows a state that never was until the reader is past what superseded the missing records. So a
replica is ready once it is past the ends of the log that were taken when it began; but only if they were taken less
than the compaction lag ago, for otherwise it has to take them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from connector.model import Lane

# Where the topics allow compaction at once, the promise cannot be kept to the letter; this much delay is allowed then.
LEAST_LAG_S = 60.0


class Readiness:
    """take_ends: asks for the present end of every data lane. clock: seconds, monotonic."""

    def __init__(
        self, compaction_lag_s: float, take_ends: Callable[[], Mapping[Lane, int]], clock: Callable[[], float]
    ) -> None:
        self._lag_s = max(compaction_lag_s, LEAST_LAG_S)
        self._take_ends = take_ends
        self._clock = clock
        self._ends: Mapping[Lane, int] | None = None
        self._taken_at = 0.0
        self._caught_up_at: float | None = None
        self.ready = False
        self._take()

    def _take(self) -> None:
        self._taken_at = self._clock()
        self._ends = self._take_ends()

    def update(self, positions: Mapping[Lane, int], refresh_s: float) -> bool:
        """With how far every lane has been applied; returns whether the replica is ready now. The ends are taken anew
        `refresh_s` after they were reached."""
        now = self._clock()
        if self._ends is None and now - self._taken_at >= refresh_s:
            self._take()
        if self._ends is not None and all(positions.get(lane, 0) >= end for lane, end in self._ends.items()):
            if now - self._taken_at <= self._lag_s:
                self._ends, self._caught_up_at = None, self._taken_at
            else:
                self._take()
        elif self._ends is not None and now - self._taken_at > self._lag_s:
            self._take()
        self.ready = self._caught_up_at is not None and now - self._caught_up_at <= self._lag_s
        return self.ready
