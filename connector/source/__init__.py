"""Readers of a source database behind one protocol: the publisher does not know which one it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from connector.model import (
    CommitOrder,
    Dataset,
    DatasetKey,
    DocKey,
    Document,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    TableName,
    Transaction,
)

RowKey = DocKey | DatasetKey
Row = Document | Dataset
XaName = tuple[bytes, bytes, int]


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

    def claim(self, after: SourcePosition) -> SourcePosition:
        """The position under which a new stream goes on after that one: it is recorded before anything of that stream
        is published. Most sources have nothing to add; one whose orders say when something was read gives each stream
        a number."""
        ...

    def stream(self, after: SourcePosition) -> Stream:
        """Everything committed after that position, and whatever of its snapshot is not done."""
        ...

    def behind(self, at: SourcePosition) -> int | None:
        """Bytes of log (of a trigger log: entries) from a position to the end at this moment; None: it is not in it."""
        ...

    def rows(self) -> RowReader | None:
        """Reads single rows again while a stream goes on; None where the source has no such way."""
        ...

    def check_snapshot(self, datasets: Sequence[str] | None, tables: Sequence[TableName]) -> None:
        """Whether a stream could take a snapshot of these datasets now (None: of all) in these of its tables. Raises
        UsageError for a dataset that the source does not have there, or where it cannot read single ones, or some of
        its tables only; PreflightRefused, ConfigurationError or DataRefused where it cannot be read so."""
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

    def proven(self) -> bool:
        """Whether the log is known to be the one of the position that this began at. Nothing is yielded before."""
        ...

    def close(self) -> None: ...


class Rows(NamedTuple):
    """rows: those that exist under `keys`, the keys that were looked for: as many of those asked for as fit into memory
    at a time, one at least. high: the end of the log, asked for after that; its epoch says nothing. Without a log to
    wait for it is the mark that they were asked for at. info: where they were read."""

    rows: Mapping[RowKey, Row]
    keys: Collection[RowKey]
    high: CommitOrder
    info: SourceInfo


class RowReader(Protocol):
    """Reads rows by their keys, over a connection of its own."""

    def read(self, table: str, keys: Collection[RowKey], low: CommitOrder, xa: Collection[XaName]) -> Rows | None:
        """In a state that contains everything below the mark `low`, and the transactions of these names. Keys that are
        of datasets are read from the table of datasets. None: that cannot be seen yet.

        Raises Unreachable and ConnectionLost (they can be read again), and DataRefused or ConfigurationError.
        """
        ...

    def close(self) -> None: ...
