"""A transaction is in the binlog, and with its readers, before a SELECT sees it; what shows when it does.

Semi-synchronous replication that waits for a replica between the two (there is none, so it waits until it is switched
off) holds a transaction in that gap for as long as a test needs.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pymysql
import pytest

from connector.model import CommitOrder, DocChange, DocKey, Op
from connector.source.binlog_source import BinlogSource
from connector.source.binlog_stream import file_number
from connector.source.snapshot import LogEnd
from connector.source.snapshot_reader import SqlSnapshotReader
from connector.source.snapshot_visibility import MariadbVisibility, MysqlVisibility, Visibility
from tests.servers.fix_provider import server_needed
from tests.servers.fix_sql import fresh_database
from tests.servers.model import Provider, SqlDatabase, SqlKind, SqlServer
from tests.system.plain_replica import applied
from tests.system.schema import SHADOW, create_tables
from tests.system.settings import settings, source_section
from tests.system.several import Several
from tests.system.snapshot_reading import Snapshot, source_state
from tests.system.tenants import running, until_current

HELD_MS = 250_000
KINDS: list[SqlKind] = ["mariadb", "mysql"]


@pytest.fixture(scope="module", params=KINDS)
def waiting_server(request: pytest.FixtureRequest, provider: Provider) -> Iterator[SqlServer]:
    """A server of its own: the tests change its global settings."""
    with server_needed(), provider.sql(request.param) as server:
        if server.kind == "mysql":
            server.query("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
        prefix = semi_sync(server)
        server.query(f"SET GLOBAL {prefix}_timeout = {HELD_MS}")
        server.query(f"SET GLOBAL {prefix}_wait_point = AFTER_SYNC")
        server.query(f"SET GLOBAL {prefix}_wait_no_{'replica' if server.kind == 'mysql' else 'slave'} = ON")
        yield server


@pytest.fixture
def database(waiting_server: SqlServer) -> Iterator[SqlDatabase]:
    with fresh_database(waiting_server) as database:
        create_tables(database)
        database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
        yield database


def semi_sync(server: SqlServer) -> str:
    return f"rpl_semi_sync_{'source' if server.kind == 'mysql' else 'master'}"


@contextmanager
def held_in_the_gap(database: SqlDatabase, *statements: str) -> Iterator[Callable[[], None]]:
    """The last statement is in the log and not yet visible when the block begins; what is yielded ends that."""
    server = database.server
    connection = database.connect()
    with connection.cursor() as cursor:
        for statement in statements[:-1]:
            cursor.execute(statement)
    (end,) = log_end(server)[1:2]
    server.query(f"SET GLOBAL {semi_sync(server)}_enabled = ON")

    def commit() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statements[-1])

    def let_go() -> None:
        server.query(f"SET GLOBAL {semi_sync(server)}_enabled = OFF")
        writer.join()

    writer = threading.Thread(target=commit)
    writer.start()
    try:
        deadline = time.monotonic() + 60
        while log_end(server)[1] == end:
            assert time.monotonic() < deadline
        yield let_go
    finally:
        let_go()
        connection.close()


def log_end(server: SqlServer) -> tuple[str, int]:
    statement = "SHOW BINARY LOG STATUS" if server.kind == "mysql" else "SHOW MASTER STATUS"
    file, position = server.query(statement)[0][:2]
    return file, int(position)


def reader_of(database: SqlDatabase) -> SqlSnapshotReader:
    section = settings(source=source_section(database)).source
    return SqlSnapshotReader(section, BinlogSource(settings(source=source_section(database))).identity())


def mark_of_end(database: SqlDatabase) -> CommitOrder:
    file, position = log_end(database.server)
    return CommitOrder(1, file_number(file), position, 0)


INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id) VALUES ('d', 'x')"


@pytest.mark.parametrize("xa", [False, True], ids=["plain", "xa"])
def test_the_log_is_ahead_and_the_reader_knows(database: SqlDatabase, xa: bool) -> None:
    statements = ["XA START 'g'", INSERT, "XA END 'g'", "XA PREPARE 'g'", "XA COMMIT 'g'"] if xa else [INSERT]
    reader = reader_of(database)
    names = {(b"g", b"", 1)} if xa else set()
    assert reader.read("shadow_vec_docs", None, mark_of_end(database), set()) is not None
    with held_in_the_gap(database, *statements) as let_go:
        low = mark_of_end(database)
        assert database.query("SELECT id FROM shadow_vec_docs") == []
        assert reader.read("shadow_vec_docs", None, low, names) is None
        let_go()
        chunk = reader.read("shadow_vec_docs", None, low, names)
    assert chunk is not None
    assert list(chunk.rows) == [DocKey("d", "x")]
    reader.close()


def test_what_was_streamed_before_it_is_visible_is_not_lost(database: SqlDatabase) -> None:
    """The stream yields a deletion that the SELECT does not know of yet; the row must not come back."""
    database.execute(INSERT)
    snapshot = Snapshot(database)
    try:
        with held_in_the_gap(database, "DELETE FROM shadow_vec_docs"):
            while not any(isinstance(c, DocChange) and c.op is Op.DELETE for c in snapshot.log):
                snapshot.step(0.05)
            for _ in range(10):  # the SELECTs of the snapshot go on
                snapshot.step(0.05)
        snapshot.to_head()
        assert [c.key for c in snapshot.log if isinstance(c, DocChange) and c.op is Op.DELETE] == [DocKey("d", "x")]
        assert applied(snapshot.log) == source_state(database)
        assert DocKey("d", "x") not in applied(snapshot.log)
    finally:
        snapshot.close()


@pytest.mark.parametrize("waiting_server", ["mysql"], indirect=True)
def test_mysql_with_many_owners_and_tags(database: SqlDatabase) -> None:
    """All that are held in the gap at the same time are waited for, tagged ones too."""

    def insert(id: str, tag: str) -> None:
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SET gtid_next = 'AUTOMATIC{tag}'")
            cursor.execute("INSERT INTO shadow_vec_docs (dataset_id, id) VALUES ('d', %s)", [id])

    reader = reader_of(database)
    assert reader.read("shadow_vec_docs", None, mark_of_end(database), set()) is not None
    tags = ["", ":one", "", ":two"]
    threads = [threading.Thread(target=insert, args=(f"{n}", tag)) for n, tag in enumerate(tags)]
    with held_in_the_gap(database, INSERT) as let_go:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while database.server.query("SELECT @@GLOBAL.gtid_owned")[0][0].count("#") < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert reader.read("shadow_vec_docs", None, mark_of_end(database), set()) is None
        let_go()
        for thread in threads:
            thread.join()
        chunk = reader.read("shadow_vec_docs", None, mark_of_end(database), set())
    assert chunk is not None
    assert {key.id for key in chunk.rows if isinstance(key, DocKey)} == {"x", "0", "1", "2", "3"}
    reader.close()


def test_mariadb_lists_a_prepared_transaction_until_the_engine_has_committed_it(mariadb_database: SqlDatabase) -> None:
    """The place in the log that a consistent snapshot names may be ahead of XA commits; the reader asks for them."""
    create_tables(mariadb_database)
    mariadb_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    name = mariadb_database.name
    reader = reader_of(mariadb_database)
    with mariadb_database.connect() as connection, connection.cursor() as cursor:
        xid = f"'{name}', 'b', 7"
        for statement in (f"XA START {xid}", INSERT, f"XA END {xid}", f"XA PREPARE {xid}"):
            cursor.execute(statement)
        low = mark_of_end(mariadb_database)
        # As if its commit had been streamed already: the engine has not committed it.
        assert reader.read("shadow_vec_docs", None, low, {(name.encode(), b"b", 7)}) is None
        deadline = time.monotonic() + 60
        while reader.read("shadow_vec_docs", None, low, {(b"another", b"", 1)}) is None:
            assert time.monotonic() < deadline, "a prepared transaction that was not streamed holds up the snapshot"
        cursor.execute(f"XA COMMIT {xid}")
    chunk = reader.read("shadow_vec_docs", None, low, {(name.encode(), b"b", 7)})
    assert chunk is not None
    assert DocKey("d", "x") in chunk.rows
    reader.close()


WRITERS = 4
ROWS_OF_ONE = 10_000_000


def commit_many(address: dict[str, Any], number: int, xa: bool, enough: Any) -> None:
    """Until the event `enough`."""
    connection = pymysql.connect(**address, autocommit=True)
    row = number * ROWS_OF_ONE
    with connection, connection.cursor() as cursor:
        while not enough.is_set():
            row += 1
            insert = f"INSERT INTO counted VALUES ({number}, {row})"
            for statement in (
                (f"XA START '{row}'", insert, f"XA END '{row}'", f"XA PREPARE '{row}'", f"XA COMMIT '{row}'")
                if xa
                else (insert,)
            ):
                cursor.execute(statement)


def look_often(
    address: dict[str, Any],
    kind: str,
    xa: bool,
    enough: Any,
    seen: Queue[list[tuple[LogEnd, LogEnd, dict[int, int]]]],
) -> None:
    """(end of the log, high mark, rows seen) of SELECTs until each writer has had its turn; every XA transaction that
    was in the log by then is asked for by name."""
    connection = pymysql.connect(**address, autocommit=True)
    visibility: Visibility = (MariadbVisibility if kind == "mariadb" else MysqlVisibility)(connection)
    until = time.monotonic() + 1.2
    found: list[tuple[LogEnd, LogEnd, dict[int, int]]] = []
    rows: dict[int, int] = {}
    with connection, connection.cursor() as cursor:
        while (
            time.monotonic() < until
            or len(found) < 40
            or len(rows) < WRITERS
            or sum(row % ROWS_OF_ONE for row in rows.values()) < 400
        ):
            low = visibility.log_end()
            names = set()
            if xa and kind == "mariadb":
                # A superset of what a stream would have named: all that are listed may have been committed before.
                cursor.execute("XA RECOVER")
                names = {(bytes(row[3]), b"", 1) for row in cursor.fetchall()}
            if not visibility.establish(CommitOrder(1, file_number(low.file), low.position, 0), names):
                continue
            cursor.execute("SELECT writer, MAX(n) FROM counted GROUP BY writer")
            rows = dict(cursor.fetchall())
            visibility.release()
            found.append((low, visibility.log_end(), rows))
    enough.set()
    seen.put(found)


@pytest.mark.parametrize("xa", [False, True], ids=["plain", "xa"])
def test_under_load_every_select_sees_what_it_must_and_nothing_beyond_its_high_mark(
    sql_database: SqlDatabase, xa: bool
) -> None:
    """Many committing sessions, many SELECTs; afterwards the log itself says where each row was committed."""
    sql_database.execute("CREATE TABLE counted (writer INT, n INT PRIMARY KEY, KEY (writer, n)) ENGINE=InnoDB")
    server = sql_database.server
    address: dict[str, Any] = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
    }
    address |= {"database": sql_database.name, "ssl_disabled": True}
    begin = LogEnd(*log_end(server))
    context = multiprocessing.get_context("spawn")
    seen: Queue[Any] = context.Queue()
    enough = context.Event()
    writers = [context.Process(target=commit_many, args=(address, n, xa, enough)) for n in range(1, WRITERS + 1)]
    looker = context.Process(target=look_often, args=(address, server.kind, xa, enough, seen))
    for process in (*writers, looker):
        process.start()
    try:
        looks = seen.get(timeout=150)
    finally:
        enough.set()
    for process in (*writers, looker):
        process.join()
    committed = commits(sql_database, begin)
    assert len(looks) > 20
    assert sum(map(len, committed.values())) > 200
    for writer, places in committed.items():
        ends = [place for _, place in places]  # ascending, as the rows are: a session commits one after the other
        numbers = [n for n, _ in places]
        for low, high, rows in looks:
            must = bisect_right(ends, (file_number(low.file), low.position))
            may = bisect_right(ends, (file_number(high.file), high.position))
            saw = bisect_right(numbers, rows.get(writer, 0))
            assert saw >= must, f"row {numbers[must - 1]} was in the log before {low}, and was not seen"
            assert saw <= may, f"row {numbers[saw - 1]} was seen, and is beyond {high}"


def commits(database: SqlDatabase, begin: LogEnd) -> dict[int, list[tuple[int, tuple[int, int]]]]:
    """Per writer, its rows in order, each with the place in the log after its commit."""
    from connector.source.binlog.connection import dump_from_position
    from connector.source.binlog.decoder import Decoder
    from connector.source.binlog.items import TransactionEnd, XaOutcome
    from connector.source.binlog.rows import RowPlan, Rows

    class Counted:
        def follows(self, db: str, table: str) -> bool:
            return db == database.name and table == "counted"

        def plan(self, table: Any) -> RowPlan:
            return RowPlan(table, ["writer", "n"])

    events = dump_from_position(
        database.connect(), server_id=4711, file=begin.file, position=begin.position, heartbeat_s=1
    )
    decoder = Decoder(Counted(), begin.file, begin.position)
    found: dict[int, list[tuple[int, tuple[int, int]]]] = {}
    prepared: dict[Any, list[tuple[Any, ...]]] = {}
    rows: list[tuple[Any, ...]] = []
    end = log_end(database.server)
    while decoder.position < end and (event := events.read_event(5)) is not None:
        for item in decoder.feed(event):
            if isinstance(item, Rows):
                rows += list(item.rows())
            elif isinstance(item, XaOutcome):
                rows = prepared.pop(item.xid)
            elif isinstance(item, TransactionEnd):
                if item.xid is not None:
                    prepared[item.xid] = rows
                else:
                    for writer, n in rows:
                        found.setdefault(writer, []).append((n, (file_number(item.file), item.position)))
                rows = []
    events.close()
    return found


@pytest.mark.parametrize(
    "statement", ["RENAME TABLE hidden TO docs_x", "CREATE TABLE docs_x LIKE shadow_vec_docs"], ids=["rename", "create"]
)
@pytest.mark.parametrize("begins", ["before", "in the gap"])
def test_a_table_that_is_in_the_log_and_not_in_the_catalogue(
    database: SqlDatabase, tmp_path: Path, statement: str, begins: str
) -> None:
    """It comes to match a pattern, and nothing behind it tells of it: the rows of the one that is renamed are there."""
    database.execute(SHADOW.format(table="hidden", key="dataset_id, id"), INSERT.replace("shadow_vec_docs", "hidden"))
    database.execute(INSERT.replace("'x'", "'y'"))
    capture = Several(database, tmp_path, tables=["shadow_vec_docs", "docs_*"])
    if begins == "before":
        capture.capture()
    with held_in_the_gap(database, statement) as let_go, running(capture):
        soon = threading.Timer(1, let_go)
        soon.start()
        soon.join()  # capture stands in the gap meanwhile
        until_current(capture)
    capture.check_each({database: ["shadow_vec_docs", "docs_x"]})
