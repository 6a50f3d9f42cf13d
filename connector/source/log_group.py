"""How far the shadow log of one dataset was read, and how a position says so. Pure.

A position names the last entry that was read (`scn`) with its fingerprint (`incarnation`): a log in which that entry is
another one, or is gone, is not the log that was read. `missing` holds the first and the last number of what could still
come late when it was recorded; a reader that begins there reads all of that again. `ordinal` is 1 for a dataset that
had a row in the table of datasets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.model import DatasetCursor, SourcePosition
from connector.source.log_table import LogEntry, fingerprint
from connector.source.log_window import LogWindow


@dataclass(slots=True)
class LogGroup:
    """scn, print: number of the last entry that was read, and its fingerprint; 0 and that of the dataset's row alone
    where there was none. found: dataset's row and last entry, when a look last found everything read."""

    window: LogWindow
    scn: int
    print: int
    found: tuple[str | None, LogEntry | None] | None = field(default=None, compare=False)

    @classmethod
    def begun(cls, made: str | None, head: LogEntry | None, window: LogWindow) -> LogGroup:
        """From the present end of the log on."""
        return cls(window, head.scn if head else 0, fingerprint(made, head), (made, head))

    @classmethod
    def resumed(cls, cursor: DatasetCursor) -> LogGroup:
        low = cursor.missing[0] - 1 if cursor.missing else cursor.scn
        return cls(LogWindow(low), cursor.scn, cursor.incarnation)

    def cursor(self, made: str | None) -> DatasetCursor:
        late = (self.window.low + 1, self.scn) if self.window.low < self.scn else ()
        return DatasetCursor(self.print, self.scn, int(made is not None), late)

    def read(self, entries: list[LogEntry], made: str | None, now: float) -> None:
        self.window.read([entry.scn for entry in entries], now)
        last = max(entries, default=None, key=lambda entry: entry.scn)
        if last is not None and last.scn > self.scn:
            self.scn, self.print = last.scn, fingerprint(made, last)


def numbers_behind(at: SourcePosition, head: SourcePosition) -> int:
    """How many change numbers lie between, all datasets together."""
    read = {key: cursor.scn for key, cursor in at.cursors.items()}
    return sum(max(0, end.scn - read.get(key, 0)) for key, end in head.cursors.items())
