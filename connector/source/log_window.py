"""Which change numbers of a shadow log were read, and which may still come. Pure: numbers and times in, numbers out.

Numbers are given out before a transaction commits, so 12 can be visible before 11, and 11 may never come: it was rolled
back, or belongs to another table. Nothing here waits for a number. What is below the greatest that was read and was not
seen itself is looked for again until it has been missing for the length of the window, and never after that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable


class LogWindow:
    """Of one dataset in one shadow table.

    low     nothing at or below it is looked for any more
    head    the greatest number read; `low` while none was read above it
    """

    __slots__ = ("_ends", "_marks", "_starts", "low")

    def __init__(self, low: int = 0) -> None:
        self.low = low
        # What was read above `low`: ranges that do not touch each other. Numbers mostly follow each other, so that they
        # are few, however many numbers they hold.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._marks: deque[tuple[float, int]] = deque()  # when, and how far had been read then

    @property
    def head(self) -> int:
        return self._ends[-1] if self._ends else self.low

    def __contains__(self, number: int) -> bool:
        """Whether it was read, or is not looked for any more."""
        if number <= self.low:
            return True
        at = bisect_right(self._starts, number)
        return at > 0 and number <= self._ends[at - 1]

    def read(self, numbers: Iterable[int], now: float) -> None:
        """These were visible at a look that began at `now`, in seconds of a clock that never goes back."""
        before = self.head
        for number in numbers:
            self._add(number)
        if self.head > before:
            self._marks.append((now, self.head))

    def gaps(self, most: int) -> list[tuple[int, int]]:
        """First and last of each range that may still come. Where there are more than `most` of them, neighbours are
        given as one, together with what was read between them."""
        ends = [self.low, *self._ends]  # one more than there are gaps: nothing is known to be missing above the head
        found = [(end + 1, start - 1) for end, start in zip(ends, self._starts, strict=False) if start > end + 1]
        size = -(-len(found) // most)
        if size > 1:
            found = [(found[i][0], found[min(i + size, len(found)) - 1][1]) for i in range(0, len(found), size)]
        return found

    def settle(self, before: float) -> bool:
        """Gaps that were known at `before` have been missing for long enough; they must have been looked at after
        that. Whether anything changed."""
        low = self.low
        while self._marks and self._marks[0][0] <= before:
            low = self._marks.popleft()[1]
        if low == self.low:
            return False
        self.low = low
        done = bisect_right(self._ends, low)
        del self._starts[:done], self._ends[:done]
        if self._starts and self._starts[0] <= low:
            self._starts[0] = low + 1
        return True

    def _add(self, number: int) -> None:
        if number in self:
            return
        at = bisect_right(self._starts, number)
        joins_before = at > 0 and self._ends[at - 1] == number - 1
        joins_after = at < len(self._starts) and self._starts[at] == number + 1
        if joins_before and joins_after:
            self._ends[at - 1] = self._ends[at]
            del self._starts[at], self._ends[at]
        elif joins_before:
            self._ends[at - 1] = number
        elif joins_after:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._ends.insert(at, number)
