"""What the decoder yields: transactions as a begin, what they hold, and an end; and what happens around them.

A transaction is TransactionBegin, then Rows, StatementItem and Savepoint in order of execution, then TransactionEnd.
Rows of an XA transaction come with outcome PREPARED: they count from the transaction whose XaOutcome names the same
xid and commits it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from connector.source.binlog.gtid import Gtid, MariadbGtid
from connector.source.binlog.heads import Xid
from connector.source.binlog.query import Query
from connector.source.binlog.rows import Rows
from connector.source.binlog.statements import Statement


class Outcome(Enum):
    COMMIT = auto()
    ROLLBACK = auto()
    PREPARED = auto()


class TransactionBegin(NamedTuple):
    """position: of the first byte of the transaction (its GTID event) in `file`, 64 bits.

    commit_us: microseconds since the epoch of its commit on the server that sends it; where the log has only whole
    seconds (MariaDB, MySQL 5.7) those. original_us: on the server it came from. xa: its rows may count elsewhere, or
    it decides about those of another one.
    """

    gtid: Gtid | MariadbGtid | None
    file: str
    position: int
    commit_us: int
    original_us: int
    server_id: int
    xa: bool = False


class StatementItem(NamedTuple):
    """A statement that changes tables otherwise than by rows. Those that cannot touch a row are not reported."""

    statement: Statement
    query: Query


class Savepoint(NamedTuple):
    """rollback False: the savepoint is set; True: everything in this transaction since it was set did not happen."""

    name: str
    rollback: bool


class XaOutcome(NamedTuple):
    """The XA transaction of this name, prepared earlier, is committed or rolled back here."""

    xid: Xid
    commit: bool


class TransactionEnd(NamedTuple):
    """position: of the byte after the transaction, in `file`. xid: exactly when the outcome is PREPARED."""

    outcome: Outcome
    file: str
    position: int
    xid: Xid | None = None


class Rotated(NamedTuple):
    """The log goes on in `file` at `position`."""

    file: str
    position: int


class Heartbeat(NamedTuple):
    """Nothing for this reader up to that position."""

    file: str
    position: int


Item = TransactionBegin | Rows | StatementItem | Savepoint | XaOutcome | TransactionEnd | Rotated | Heartbeat
