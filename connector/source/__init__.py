"""Readers of a source database behind one protocol: the publisher does not know which one it has."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from connector.model import SourceIdentity, SourcePosition, Transaction


class Source(Protocol):
    """A source database that can be read from a position.

    Raises Unreachable, AuthenticationFailed, PositionLost, ForeignLog, PreflightRefused.
    """

    def identity(self) -> SourceIdentity:
        """Of the log that would be read now; compared with the recorded one before resuming."""
        ...

    def head(self) -> SourcePosition:
        """The end of the log at this moment."""
        ...

    def start(self, epoch: int) -> SourcePosition:
        """Where a source without a recorded position begins: the present end of its log, with a snapshot to be taken
        (`snapshot_done` False) unless configured otherwise. Nothing is read yet."""
        ...

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:
        """Where reading goes on after a position of another server's log: in a new epoch, with the same transactions
        dealt with. standing: GTIDs that were published beyond that position. Raises ForeignLog unless this server has
        executed all that was published, and PositionLost when it no longer has what comes next."""
        ...

    def place(self, where: str) -> SourcePosition:
        """A place in the log that a person named: `file:position`, or a GTID set. Raises UsageError for what is none,
        and ForeignLog or PositionLost for what this server does not have."""
        ...

    def stream(self, after: SourcePosition) -> Stream:
        """Everything committed after that position, and whatever of its snapshot is not done."""
        ...

    def close(self) -> None: ...


class Stream(Protocol):
    """Committed transactions in commit order."""

    def next(self, timeout_s: float) -> Transaction | None:
        """The next transaction, or None when there was none within the time (the stream then stands at
        `position()`). A snapshot's rows come as transactions of their own. Raises ConnectionLost (open a new stream at
        the last position dealt with), PositionLost, CorruptedLog, UnsupportedChange."""
        ...

    def position(self) -> SourcePosition:
        """The position after everything that was yielded and everything skipped since."""
        ...

    def reached(self, head: SourcePosition) -> bool:
        """Whether nothing up to `head` is left to yield, and no snapshot is unfinished."""
        ...

    def close(self) -> None: ...
