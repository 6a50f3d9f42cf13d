"""Snapshots of real servers: what they read, that it equals what the log says, also while writers go on."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pymysql
import pytest

from connector.model import DocChange, Floor, FloorReason, Op
from tests.servers.model import SqlDatabase
from tests.system.plain_replica import applied, compacted
from tests.system.schema import PrimaryKey, create_tables
from tests.system.snapshot_reading import Snapshot, source_state
from tests.system.workload import DATASETS, Session, Tally

ODD = [
    *(" ", "  two", "'", '"', "\\", "\\'", "%", "_", "\0", "\n", "a\0b", "`", ";--"),
    *("é", "e\u0301", "ß", "日本", "🦆", "\U0010ffff", "Z", "z", "ä"),
]


@pytest.fixture(params=["dataset_and_id", "id"])
def primary_key(request: pytest.FixtureRequest) -> PrimaryKey:
    key: PrimaryKey = request.param
    return key


@pytest.fixture
def tables(sql_database: SqlDatabase, primary_key: PrimaryKey) -> SqlDatabase:
    create_tables(sql_database, primary_key)
    return sql_database


@pytest.fixture
def snapshot_of() -> Iterator[Any]:
    opened: list[Snapshot] = []

    def begin(database: SqlDatabase, **overrides: Any) -> Snapshot:
        opened.append(Snapshot(database, **overrides))
        return opened[-1]

    yield begin
    for found in opened:
        found.close()


def insert(database: SqlDatabase, *rows: tuple[Any, ...], columns: str = "dataset_id, id, content") -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO shadow_vec_docs ({columns}) VALUES ({', '.join(['%s'] * len(columns.split(',')))})", rows
        )


def dataset(database: SqlDatabase, *names: str) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO vec_dataset (dataset_id, description) VALUES (%s, %s)", [(n, n) for n in names])


def test_every_row_once_then_the_floor(tables: SqlDatabase, snapshot_of: Any) -> None:
    dataset(tables, *ODD)
    rows = [(d, f"{n}{d}", f"{n}") for d in ODD for n in range(4)]
    insert(tables, *rows)
    snapshot = snapshot_of(tables)
    snapshot.to_head()
    documents = [c for c in snapshot.log if isinstance(c, DocChange)]
    assert sorted((c.key.dataset_id, c.key.id) for c in documents) == sorted((d, i) for d, i, _ in rows)
    assert {c.op for c in documents} == {Op.READ}
    assert all(c.source.snapshot for c in snapshot.log)
    (floor,) = [c for c in snapshot.log if isinstance(c, Floor)]
    assert snapshot.log[-1] is floor
    assert floor.reason is FloorReason.SNAPSHOT
    assert floor.order.position == snapshot.begin.position
    assert applied(snapshot.log) == source_state(tables)
    assert snapshot.stream.position().snapshot_done


def test_an_empty_database(tables: SqlDatabase, snapshot_of: Any) -> None:
    snapshot = snapshot_of(tables)
    snapshot.to_head()
    assert [type(c) for c in snapshot.log] == [Floor]


def test_no_snapshot_unless_asked_for(tables: SqlDatabase, snapshot_of: Any) -> None:
    dataset(tables, "d")
    snapshot = snapshot_of(tables, snapshot="no_data")
    assert snapshot.to_head() == []


def test_going_on_after_any_transaction(tables: SqlDatabase, snapshot_of: Any) -> None:
    dataset(tables, "d", "e")
    insert(tables, *[("d", f"{n}", "") for n in range(5)], *[("e", f"-{n}", "") for n in range(5)])
    whole = snapshot_of(tables)
    whole.to_head()
    snapshot = snapshot_of(tables)
    for number in range(len(whole.after)):
        transaction = snapshot.one()
        insert(tables, ("d", f"late{number}", ""))
        snapshot.again(transaction.after)
    snapshot.to_head()
    read = [c.key for c in snapshot.log if c.source.snapshot and isinstance(c, DocChange)]
    assert len(read) == len(set(read)), "a finished chunk was read again"
    assert applied(snapshot.log) == source_state(tables)


WIDE = [
    "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    "VARCHAR(191) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
    "VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin",
    "VARCHAR(191) CHARACTER SET utf8mb3 COLLATE utf8mb3_unicode_ci",
    "CHAR(20) CHARACTER SET gbk",
]


@pytest.mark.parametrize("key_type", WIDE)
def test_documents_are_those_of_the_log(sql_database: SqlDatabase, key_type: str, snapshot_of: Any) -> None:
    """Every column, in odd types and character sets: the SELECT gives the very values that the decoder gives."""
    sql_database.execute(
        f"CREATE TABLE vec_dataset (dataset_id {key_type} PRIMARY KEY, source_uri TEXT, last_scn BIGINT UNSIGNED)",
        f"CREATE TABLE shadow_vec_docs (x INT, id {key_type} NOT NULL, scn BIGINT NULL, dataset_id {key_type} NOT NULL,"
        " content TEXT CHARACTER SET cp1251, Meta LONGTEXT, embedding VARBINARY(4000), embedding_model CHAR(30),"
        " archived BIT(3), created_at DATETIME(3) NULL, updated_at TIMESTAMP NULL, PRIMARY KEY (id, dataset_id))",
    )
    log = snapshot_of(sql_database, snapshot="no_data")
    texts = ["a", "B b", "x'y\\", "%_", "0", "-1"] + (
        [] if "ascii" in key_type else ["£" if "latin" in key_type else "я"]
    )
    with sql_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")
        cursor.executemany(
            "INSERT INTO vec_dataset VALUES (%s, %s, %s)", [(t, t, n * 2**60) for n, t in enumerate(texts)]
        )
        vector = struct.pack("<3f", 1.5, float("nan"), -0.0)
        for n, text in enumerate(texts):
            times = ["2024-02-29 23:59:59.123", "2024-06-30 00:00:01"]
            far = ["9999-12-31", "1970-01-01 00:00:01"]
            rows = [
                (1, text, n, text, "Жук", '{"a": "😀"}', vector, "m", n, *times),
                (1, text + "2", None, text, None, None, None, None, None, None, None),
                (1, text + "3", -5, text, "", "", b"", "", 0, "0000-00-00 00:00:00", "0000-00-00 00:00:00"),
                (1, text + "4", 2**63 - 1, text, " x ", "\0\n", b"\0\xff\\'", "  m", 7, *far),
            ]
            cursor.executemany(f"INSERT INTO shadow_vec_docs VALUES ({', '.join(['%s'] * 11)})", rows)
    log.to_head()
    snapshot = snapshot_of(sql_database)
    snapshot.to_head()
    expected = {c.key: c.after for c in log.log}
    found = {c.key: c.after for c in snapshot.log if not isinstance(c, Floor)}
    assert len(found) == 5 * len(texts)
    assert found == expected


class Killer(threading.Thread):
    """Kills every connection that reads the shadow table now and then."""

    def __init__(self, database: SqlDatabase) -> None:
        super().__init__()
        self.database, self.ended, self.killed = database, threading.Event(), 0

    def run(self) -> None:
        pause = 0.03
        with self.database.connect() as connection, connection.cursor() as cursor:
            while not self.ended.wait(pause):
                pause *= 1.03  # on a slow machine no chunk would ever be read between two kills
                cursor.execute(
                    "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = %s AND COMMAND <> 'Binlog Dump'"
                    " AND ID <> CONNECTION_ID()",
                    [self.database.name],
                )
                for (number,) in cursor.fetchall():
                    try:
                        cursor.execute(f"KILL {number}")
                        self.killed += 1
                    except pymysql.err.OperationalError as error:
                        if error.args[0] != 1094:  # it has gone by itself
                            raise


def xa_writer(database: SqlDatabase, id_only: bool, ended: threading.Event) -> None:
    """Documents whose transactions are prepared first; others commit in between."""
    number = 0
    while not ended.is_set():
        with database.connect() as connection, connection.cursor() as cursor:
            try:
                while not ended.is_set():
                    number += 1
                    xa_transaction(cursor, id_only, number)
            except pymysql.err.MySQLError as error:
                if error.args[0] not in (1205, 1213, 1614):  # deadlocks; the connection's end rolls it back
                    raise


def xa_transaction(cursor: pymysql.cursors.Cursor, id_only: bool, number: int) -> None:
    cursor.execute(f"XA START 'x{number}'")
    for name in ("plain", "with space"):
        id = f"{name if id_only else ''}xa{number % 7}"
        cursor.execute("DELETE FROM shadow_vec_docs WHERE dataset_id = %s AND id = %s", [name, id])
        cursor.execute("INSERT IGNORE INTO vec_dataset (dataset_id) VALUES (%s)", [name])
        cursor.execute(
            "INSERT INTO shadow_vec_docs (dataset_id, id, content, scn) VALUES (%s, %s, 'xa', %s)", [name, id, number]
        )
    cursor.execute(f"XA END 'x{number}'")
    cursor.execute(f"XA PREPARE 'x{number}'")
    time.sleep(0.002)
    cursor.execute(f"XA {'ROLLBACK' if number % 5 == 0 else 'COMMIT'} 'x{number}'")


@pytest.mark.parametrize("trouble", ["none", "restarts", "killed connections"])
def test_while_writers_go_on(
    tables: SqlDatabase, primary_key: PrimaryKey, snapshot_of: Any, trouble: str, request: pytest.FixtureRequest
) -> None:
    """Sessions that do everything to the rows, in the middle of reading them; then a compacted log and a whole one must
    give the source's state."""
    id_only = primary_key == "id"
    dataset(tables, *DATASETS)
    seed = random.randrange(2**32)
    print("seed", seed)
    before = Tally()
    Session(tables.server, tables.name, seed, before, id_only=id_only).run(lambda: before.total > 300)
    dataset(tables, "quiet")  # a fast writer touches every other row while a chunk is read, and such rows are left out
    insert(tables, *[("quiet", f"quiet{n}", "") for n in range(50)])
    snapshot: Snapshot = snapshot_of(tables)
    ended, tally = threading.Event(), Tally()
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    sessions = [Session(tables.server, tables.name, seed + 1000 + n, tally, id_only=id_only) for n in range(2)]
    works = [partial(session.run, ended.is_set) for session in sessions]
    works.append(partial(xa_writer, tables, id_only, ended))
    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    killer = Killer(tables)
    if trouble == "killed connections":
        threads = []
    for thread in threads:
        thread.start()
    try:
        pause = 1.3
        restart_at = time.monotonic() + pause
        for _ in snapshot.until(lambda: snapshot.stream.position().snapshot_done):
            if trouble == "killed connections" and not killer.is_alive():
                killer.start()  # rows are being read: connections made before then, for looks at the log, may not break
            if trouble == "restarts" and time.monotonic() > restart_at:
                snapshot.again(snapshot.after[-1])
                pause *= 1.3  # on a slow machine a restart takes longer than the first pause, and nothing would be read
                restart_at = time.monotonic() + pause
    finally:
        ended.set()
        killer.ended.set()
        for thread in [*threads, *([killer] if killer.is_alive() else [])]:
            thread.join()
    assert not failures
    snapshot.to_head()
    read = sum(c.source.snapshot for c in snapshot.log)
    truncated = any(isinstance(c, Floor) and c.reason is FloorReason.TRUNCATE for c in snapshot.log)
    assert read > 50 or truncated
    if trouble == "killed connections":
        assert killer.killed > 3
    else:
        assert len(snapshot.log) - read > 50, "the writers had no turn"
    wanted = source_state(tables)
    assert applied(snapshot.log) == wanted
    assert applied(compacted(snapshot.log)) == wanted


def test_with_the_least_privileges(tables: SqlDatabase, snapshot_of: Any) -> None:
    """Those of deploy/sql, and nothing more."""
    name, server = tables.name, tables.server
    tables.execute(
        f"CREATE USER {name}@'%' IDENTIFIED BY 'secret'",
        f"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {name}@'%'"
        if server.kind == "mysql"
        else f"GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR ON *.* TO {name}@'%'",
        f"GRANT SELECT ON {name}.shadow_vec_docs TO {name}@'%'",
        f"GRANT SELECT ON {name}.vec_dataset TO {name}@'%'",
    )
    dataset(tables, "d")
    insert(tables, *[("d", f"{n}", "") for n in range(10)])
    try:
        url = f"mysql://{name}@{server.host}:{server.port}/{name}"
        snapshot = snapshot_of(tables, url=url, password="secret")
        snapshot.to_head()
        assert applied(snapshot.log) == source_state(tables)
    finally:
        tables.execute(f"DROP USER {name}@'%'")


def test_a_truncation_in_the_middle_stays_the_last_floor(tables: SqlDatabase, snapshot_of: Any) -> None:
    """Also after a restart: the position remembers it."""
    dataset(tables, "d")
    insert(tables, *[("d", f"{n}", "") for n in range(10)])
    snapshot = snapshot_of(tables)
    while not any(isinstance(c, DocChange) for c in snapshot.log):
        snapshot.step(5)
    tables.execute("TRUNCATE TABLE shadow_vec_docs")
    insert(tables, ("d", "new", ""))
    while not any(isinstance(c, Floor) for c in snapshot.log):
        snapshot.step(5)
    snapshot.again(snapshot.after[-1])
    snapshot.to_head()
    assert [c.reason for c in snapshot.log if isinstance(c, Floor)] == [FloorReason.TRUNCATE]
    assert applied(compacted(snapshot.log)) == source_state(tables)
