"""What was dealt with on another server is passed over unlooked at; all that follows is as if it were looked into."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pymysql

from connector.errors import ConnectionLost, UnsupportedChange
from connector.model import SourceIdentity, SourcePosition
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.connection import peek_from_position
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.gtid import Gtid, GtidSet, MariadbGtid, MariadbGtidList
from connector.source.binlog_following import Following
from connector.source.binlog_peek import FIRST
from connector.source.binlog_skip import GTIDS, gtid_of
from connector.source.binlog_stream import BinlogStream
from tests.servers.model import SqlDatabase
from tests.system.kept_events import Kept, look_into_all
from tests.system.packed import unpacked
from tests.system.schema import create_tables

_UNKNOWN_XID = 1397
INSERT = (
    "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding) VALUES ('d', '{}', 'text', REPEAT('x', 3000))"
)


class Log(NamedTuple):
    connector: str
    database: str
    file: str
    events: Sequence[bytes]
    gtids: Sequence[Gtid | MariadbGtid]

    def bridged(self, dealt_with: int) -> SourcePosition:
        """As `OtherServer.after` gives it: that many transactions of the file were dealt with."""
        done: GtidSet | MariadbGtidList = GtidSet() if self.connector == "mysql" else MariadbGtidList()
        for gtid in self.gtids[:dealt_with]:
            done = done.add(gtid)  # type: ignore[arg-type]
        identity = SourceIdentity(self.connector, None)
        return SourcePosition(identity, 1, str(done) or None, self.file, FIRST, snapshot_done=True, bridge=str(done))


class Came(NamedTuple):
    """What a stream gave: each transaction with its changes, or the error it ended by; the positions after each event;
    and how many events of rows were looked into."""

    transactions: list[Any]
    positions: list[SourcePosition]
    looked_at: int


class Counting(Decoder):
    looked_at = 0

    def _rows(self, *args: Any) -> Any:
        self.looked_at += 1
        return super()._rows(*args)


def read(log: Log, after: SourcePosition, *, look: bool) -> Came:
    """look: also into what was dealt with."""
    following = Following(log.database, {"shadow_vec_docs": True}, ColumnNames())
    decoder = Counting(following, after.file, FIRST)
    stream = BinlogStream(Kept(log.events), decoder, following, after, connector=log.connector, name="t")
    if look:
        look_into_all(decoder)
    transactions: list[Any] = []
    positions = []
    try:
        while True:
            transaction = stream.next(0)
            if transaction is not None:
                changes = list(unpacked(transaction.changes))
                transactions.append((transaction.id, transaction.after, transaction.xa, changes))
            positions.append(stream.position())
    except UnsupportedChange as error:
        transactions.append(str(error))
    except ConnectionLost:
        pass
    finally:
        stream.close()
    return Came(transactions, positions, decoder.looked_at)


def everything_that_may_cross(database: SqlDatabase) -> None:
    """Transactions of every shape, and XA ones that are open over several others."""
    compressed = compression(database)
    database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')", INSERT.format("a"), INSERT.format("b"))
    for xid in ("one", "two", "three"):
        xa(database, f"XA START '{xid}'", INSERT.format(f"xa {xid}"), f"XA END '{xid}'", f"XA PREPARE '{xid}'")
        database.execute(f"UPDATE shadow_vec_docs SET content = 'after {xid}' WHERE dataset_id = 'd' AND id = 'a'")
        if xid != "two":
            xa(database, f"XA COMMIT '{xid}'")
        database.execute(*compressed, "BEGIN", *(INSERT.format(f"{xid} {n}") for n in range(5)), "COMMIT")
    xa(database, "XA ROLLBACK 'two'")
    database.execute(
        "XA START 'at once'", INSERT.format("at once"), "XA END 'at once'", "XA COMMIT 'at once' ONE PHASE",
        "BEGIN", INSERT.format("kept"), "SAVEPOINT s", INSERT.format("gone"), "ROLLBACK TO s", INSERT.format("c"),
        "COMMIT",
        "ALTER TABLE shadow_vec_docs ADD COLUMN first INT FIRST, DROP COLUMN archived",
        "ALTER TABLE shadow_vec_docs ADD COLUMN archived TINYINT NOT NULL DEFAULT 0, MODIFY content LONGTEXT",
        INSERT.format("wider"), "CREATE TABLE other (n INT PRIMARY KEY)", "INSERT INTO other VALUES (1), (2)",
        "TRUNCATE TABLE shadow_vec_docs", INSERT.format("d"),
        *compressed, INSERT.format("e"), "DELETE FROM shadow_vec_docs", INSERT.format("f"),
    )  # fmt: skip


def compression(database: SqlDatabase) -> list[str]:
    return ["SET SESSION binlog_transaction_compression = ON"] if database.server.kind == "mysql" else []


def xa(database: SqlDatabase, *statements: str) -> None:
    """In a session of its own; the one that prepared it may still be going."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return database.execute(*statements)
        except pymysql.err.OperationalError as error:
            if error.args[0] != _UNKNOWN_XID or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def logged(database: SqlDatabase, *statements: str) -> Log:
    """A file of the log with what these do, or everything that may cross a border."""
    create_tables(database)
    database.execute("FLUSH BINARY LOGS")
    file = str(database.query("SHOW BINARY LOGS")[-1][0])
    try:
        if statements:
            database.execute(*statements)
        else:
            everything_that_may_cross(database)
    finally:  # the database could not be dropped otherwise
        for *_, xid in database.query("XA RECOVER"):
            xa(database, f"XA ROLLBACK '{xid}'")
    reader = peek_from_position(database.connect(), file=file, position=FIRST, patience_s=30)
    events: list[bytes] = []
    try:
        while True:
            event = reader.read_event(30)
            events += [] if event is None else [event]
    except ConnectionLost:
        assert reader.ended
    finally:
        reader.close()
    gtids = [gtid for event in events if event[4] in GTIDS and (gtid := gtid_of(event, crc32=True)) is not None]
    return Log(database.server.kind, database.name, file, events, gtids)


def test_from_every_border_on_it_is_as_if_looked_into(sql_database: SqlDatabase) -> None:
    log = logged(sql_database)
    assert len(log.gtids) > 20
    for border in range(len(log.gtids) + 1):
        after = log.bridged(border)
        passed, looked = read(log, after, look=False), read(log, after, look=True)
        assert passed.transactions == looked.transactions
        assert passed.positions == looked.positions
        assert passed.looked_at <= looked.looked_at
    assert passed.transactions == []
    assert passed.positions[-1].bridge == ""
    # Those of XA transactions, which might have counted from a commit behind the border on.
    assert 3 <= passed.looked_at <= 4 < looked.looked_at


def test_what_cannot_be_followed_is_passed_over_where_it_was_dealt_with(sql_database: SqlDatabase) -> None:
    log = logged(
        sql_database,
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        "CREATE TABLE other (n INT PRIMARY KEY)",
        "INSERT INTO other VALUES (1)",
        "SET SESSION binlog_format = 'STATEMENT'",
        "UPDATE other SET n = n + 10",
        "SET SESSION binlog_format = 'ROW', binlog_row_image = 'MINIMAL'",
        "UPDATE vec_dataset SET description = 'some'",
        "SET SESSION binlog_row_image = 'FULL'",
        *compression(sql_database),
        INSERT.format("a"),
    )
    assert isinstance(read(log, log.bridged(3), look=False).transactions[-1], str)
    behind = log.bridged(len(log.gtids) - 1)
    assert isinstance(read(log, behind, look=True).transactions[-1], str)
    (only,) = read(log, behind, look=False).transactions
    assert [change.key.id for change in only[-1]] == ["a"]
