"""One line now and then that says what a service does: rows, rate, lag. Pure but for the clock and the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

EVERY_S = 10.0
QUIET_S = 300.0  # nothing new: still a sign of life, but not six a minute


class ProgressLog:
    """Call `note` as often as you like. It logs when something was done in the last 10 s, or nothing for 5 minutes."""

    def __init__(self, log: logging.Logger, message: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._message = message
        self._clock = clock
        self._done = self._last = self._before = 0
        self._at = clock()

    def note(self, done: int, fields: Mapping[str, object]) -> None:
        """done: since the beginning of the process, or since what it counts began anew."""
        if done < self._last:
            self._before += self._last
        self._last = done
        done += self._before
        passed = self._clock() - self._at
        if passed < (EVERY_S if done != self._done else QUIET_S):
            return
        rate = round((done - self._done) / passed)
        self._log.info(self._message, extra={"total": done, "per_s": rate, **fields})
        self._done, self._at = done, self._clock()
