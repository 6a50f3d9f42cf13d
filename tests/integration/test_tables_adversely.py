"""What may go wrong with tables that a pattern finds, or an entry brings: each is read, or refused by name."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ForeignLog, PositionLost, PreflightRefused, UnseenRows
from connector.model import (
    Change,
    CommitOrder,
    DocKey,
    Floor,
    FloorReason,
    Lane,
    PackedRows,
    SourcePosition,
    TableName,
    Transaction,
)
from connector.publish import recorded_position, request_snapshot, set_position, when_needed
from connector.source import Stream
from connector.source.binlog_source import BinlogSource
from connector.topics import table_topics
from connector.upstream.preflight import require_in_time
from tests.servers.fix_replicas import ReplicaPair, purge, reset
from tests.servers.fix_sql import StartSqlServer, fresh_database
from tests.servers.model import SqlDatabase
from tests.system.several import INSERT, Several
from tests.system.tenants import DOCS, END_S, Tenants, capture_of, docs, rows, running, tenants_beside, until_current

# What does not depend on the server.
on_one = pytest.mark.parametrize("sql_server", ["mariadb"], indirect=True)

LATE = f"UPDATE {DOCS} SET content = 'late', scn = scn + 1"


@pytest.fixture
def tenants(sql_database: SqlDatabase) -> Iterator[Tenants]:
    with tenants_beside(sql_database) as found:
        yield found


@contextmanager
def reading_only(database: SqlDatabase, *tables: str) -> Iterator[dict[str, Any]]:
    """What a source section needs for an account that may read these tables, one by one."""
    user, server = f"u_{database.name}", database.server
    monitor = "BINLOG MONITOR, SLAVE MONITOR" if server.kind == "mariadb" else "REPLICATION CLIENT"
    database.execute(
        f"CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'",
        f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO '{user}'@'%'",
        *(f"GRANT SELECT ON `{database.name}`.{table} TO '{user}'@'%'" for table in tables),
    )
    try:
        yield {"url": database.url.replace(f"//{server.user}@", f"//{user}@"), "password": "pw"}
    finally:
        database.execute(f"DROP USER '{user}'@'%'")


def published(capture: Several, table: str) -> int:
    """Records on the topic of a table of the first database."""
    topic = table_topics("vecsync", capture.database.name, table).data
    admin = capture.broker.admin()
    try:
        if not admin.describe([topic]):
            return 0
        return sum(admin.end_offsets([Lane(topic, partition) for partition in range(3)]).values())
    finally:
        admin.close()


def test_a_grant_that_is_revoked_is_no_drop(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    with reading_only(first, DOCS, "docs_a", "vec_dataset") as account:
        capture = capture_of(tenants, tmp_path, **account)
        capture.capture()
        before = published(capture, "docs_a")
        grant = f"SELECT ON `{first.name}`.docs_a {{}} '{account['url'].split('//')[1].split('@')[0]}'@'%'"
        first.execute("REVOKE " + grant.format("FROM"), rows("docs_a", "unseen").replace("'d','", "'d','u"))
        for again in (False, True):
            with pytest.raises(PreflightRefused, match="may not read docs_a"):
                capture.capture()
            assert published(capture, "docs_a") == before
            if not again:  # nor is it by a snapshot that reads it
                source = BinlogSource(capture.settings(tables=[DOCS, "docs_a", "docs_*"]))
                with pytest.raises(PreflightRefused, match="may not read"):
                    source.check_snapshot(None, [TableName(first.name, "docs_a")])
                source.close()
        first.execute("GRANT " + grant.format("TO"))
        capture.capture()
        capture.check_each({first: [DOCS, "docs_a"]})


def test_a_grant_that_is_revoked_while_it_runs(tenants: Tenants, tmp_path: Path) -> None:
    """Rows are read again, by a snapshot or because an old record stands last."""
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    with reading_only(first, DOCS, "docs_a", "vec_dataset") as account:
        user = account["url"].split("//")[1].split("@")[0]
        settings = capture_of(tenants, tmp_path, **account, snapshot="initial").settings()
        tables = [DOCS, "docs_a", "docs_*"]
        settings = settings.model_copy(update={"source": settings.source.model_copy(update={"tables": tables})})
        source = BinlogSource(settings)
        reader = source.rows()
        first.execute(f"REVOKE SELECT ON `{first.name}`.docs_a FROM '{user}'@'%'")
        with pytest.raises(PreflightRefused, match="may not read"):
            reader.read("docs_a", [DocKey("d", "1")], CommitOrder(1, 0, 0, 0), set())
        reader.close()
        with pytest.raises(PreflightRefused, match="may not read"):
            source.stream(source.start(1))
        source.close()


@on_one
@pytest.mark.parametrize("tables", [[DOCS, "docs_*"], [DOCS, "docs_a"]], ids=["pattern", "name"])
def test_one_that_is_taken_off_and_put_back(tenants: Tenants, tmp_path: Path, tables: list[str]) -> None:
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    capture = Several(first, tmp_path, tables=tables)
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a"]})
    first.execute("DELETE FROM docs_a WHERE id = '2'", LATE)
    capture.capture(tables=[DOCS])
    first.execute("UPDATE docs_a SET content = 'missed'", "DELETE FROM docs_a WHERE id = '3'", LATE)
    capture.capture(tables=[DOCS])
    first.execute("UPDATE docs_a SET content = 'read' WHERE id = '1'")
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a"]})


@on_one
def test_one_that_is_put_back_while_a_snapshot_is_under_way(tenants: Tenants, tmp_path: Path) -> None:
    """The records of it that stand are of the same snapshot, whose floor is below them."""
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"), MANY)
    capture = Several(first, tmp_path, tables=["docs_a", DOCS])
    interrupted(capture)
    first.execute("DELETE FROM docs_a WHERE id = '3'")
    interrupted(capture, tables=[DOCS])
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a"]})


MANY = rows(DOCS, "many", 600).replace("'d','", "'d','m")


class Stopping:
    """A `Stream` that tells its capture to stop, behind some chunks of the first table."""

    def __init__(self, inner: Stream, stop: threading.Event, seen: set[tuple[str, ...]]) -> None:
        self._inner = inner
        self._stop = stop
        self._seen = seen
        self.position, self.reached = inner.position, inner.reached
        self.proven, self.close = inner.proven, inner.close

    def next(self, timeout_s: float) -> Transaction | None:
        if len(self._seen) > 3:
            self._stop.set()  # all that was yielded is dealt with
            return None
        transaction = self._inner.next(timeout_s)
        progress = None if transaction is None else transaction.after.snapshot
        if progress is not None and progress.table == DOCS and progress.last_key is not None:
            self._seen.add(progress.last_key)
        return transaction


def interrupted(capture: Several, **overrides: Any) -> None:
    """Ends in order, in the middle of a snapshot: behind a few of 200 chunks of the first table."""
    stop, seen, stream = threading.Event(), set[tuple[str, ...]](), BinlogSource.stream
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BinlogSource, "stream", lambda source, after: Stopping(stream(source, after), stop, seen))
        capture.capture(stop, **overrides)
    recorded = recorded_position(capture.broker, "vecsync")
    assert recorded is not None
    assert not recorded.source.snapshot_done
    assert recorded.source.snapshot is not None


@on_one
def test_without_snapshots_one_that_is_put_back_is_refused(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    first.execute("DELETE FROM vec_dataset", docs("docs_a"))
    capture = Several(first, tmp_path, tables=[DOCS, "docs_*"], snapshot="no_data")
    capture.capture()
    first.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')", rows("docs_a", "a"), rows(DOCS, "first"))
    capture.capture()
    first.execute("DELETE FROM docs_a WHERE id = '1'")
    capture.capture(tables=[DOCS])
    with pytest.raises(UnseenRows, match="docs_a: followed before"):
        capture.capture()
    ask(capture)
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a"]})


def ask(capture: Several) -> None:
    source = BinlogSource(capture.settings())
    try:
        request_snapshot(source, capture.broker, capture.settings())
    finally:
        source.close()


@on_one
def test_a_position_that_is_set_does_not_make_one_known(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    capture = Several(first, tmp_path, tables=[DOCS])
    capture.capture()
    added = Several(first, tmp_path, tables=[DOCS, "docs_a"])
    source = BinlogSource(added.settings())
    head = source.head()
    set_position(source, added.broker, added.settings(), f"{head.file}:{head.position}", dry_run=False)
    source.close()
    added.capture()
    added.check_each({first: [DOCS, "docs_a"]})


def test_dropped_while_its_rows_are_read_late(tenants: Tenants, tmp_path: Path) -> None:
    """Names that the table would hold equal are asked about when a dataset is met; by then it is gone."""
    first = tenants.first
    key = "dataset_id VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"
    first.execute(f"CREATE TABLE docs_a LIKE {DOCS}", f"ALTER TABLE docs_a MODIFY {key}", rows("docs_a", "a"))
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    recorded = recorded_position(capture.broker, "vecsync")
    assert recorded is not None
    settings = capture.settings(tables=[DOCS, "docs_a", "docs_*"])
    source = BinlogSource(settings)
    stream = source.stream(recorded.source)
    first.execute(rows("docs_a", "late").replace("'d',", "'other',"), "DROP TABLE docs_a", LATE)
    assert len(all_of(stream, source.head())) >= 3
    stream.close()
    source.close()
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a"]})


@on_one
@pytest.mark.parametrize("snapshot", ["initial", "no_data"])
def test_one_that_came_and_went_again_while_nobody_read(tenants: Tenants, tmp_path: Path, snapshot: str) -> None:
    """Nobody can tell any more which foreign keys the one had that is gone, and it does not matter."""
    first = tenants.first
    first.execute("DELETE FROM vec_dataset", docs("docs_a"), docs("docs_b"))
    capture = capture_of(tenants, tmp_path, snapshot=snapshot)
    capture.capture()
    first.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')", rows(DOCS, "first"), rows("docs_a", "a"))
    capture.capture()
    without = docs("docs_b").replace("ON DELETE CASCADE", "")
    first.execute("DROP TABLE docs_a", docs("docs_a"), rows("docs_a", "again"), "DROP TABLE docs_a")
    first.execute("DROP TABLE docs_b", without, rows("docs_b", "b"), "DROP TABLE docs_b", LATE)
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a", "docs_b"]})
    # It is found at its beginning, and dropped before it is looked at.
    recorded = recorded_position(capture.broker, "vecsync")
    assert recorded is not None
    first.execute(docs("docs_c"), rows("docs_c", "c"), "DROP TABLE docs_c", LATE)
    source = BinlogSource(capture.settings(tables=[DOCS, "docs_c", "docs_*"]))
    stream, head = source.stream(recorded.source), source.head()
    assert len(all_of(stream, head)) >= 2  # rows of docs_c, and its end
    stream.close()
    source.close()
    assert capture.epoch() == 1


def all_of(stream: Stream, head: SourcePosition) -> list[Change | PackedRows]:
    found: list[Change | PackedRows] = []
    deadline = time.monotonic() + 60
    while not stream.reached(head):
        assert time.monotonic() < deadline
        transaction = stream.next(0.2)
        found += [] if transaction is None else list(transaction.changes)
    return found


@on_one
def test_a_deletion_of_a_dataset_in_one_that_is_gone(tenants: Tenants, tmp_path: Path) -> None:
    """At no position are there documents of a dataset that had been deleted."""
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    first.execute("DELETE FROM vec_dataset WHERE dataset_id = 'd'", "DROP TABLE docs_a")
    recorded = recorded_position(capture.broker, "vecsync")
    assert recorded is not None
    source = BinlogSource(capture.settings(tables=[DOCS, "docs_a", "docs_*"]))
    stream, head = source.stream(recorded.source), source.head()
    floors = [change for change in all_of(stream, head) if isinstance(change, Floor)]
    found = [(floor.key.dataset_id, floor.reason) for floor in floors if floor.source.table == "docs_a"]
    assert found == [("d", FloorReason.CASCADE), (None, FloorReason.DROP)]
    stream.close()
    source.close()
    capture.capture()
    assert capture.epoch() == 1
    capture.check_each({first: [DOCS, "docs_a"]})


@on_one
def test_one_that_is_made_again_is_checked_again(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    epoch = capture.epoch()
    with running(capture):
        for text in ("again", "and again"):
            first.execute("DROP TABLE docs_a", docs("docs_a"), rows("docs_a", text))
            until_current(capture)
    capture.check_each({first: [DOCS, "docs_a"]})
    assert capture.epoch() == epoch  # all of its rows are in the log

    def made_wrong() -> None:
        with running(capture) as thread:
            first.execute(LATE)
            until_current(capture)  # it has begun
            first.execute("DROP TABLE docs_a", "CREATE TABLE docs_a (id INT PRIMARY KEY)")
            thread.join(END_S)

    with pytest.raises(PreflightRefused, match="docs_a has no column"):
        made_wrong()
    first.execute("DROP TABLE docs_a")
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a"]})


@on_one
def test_tables_that_come_one_after_the_other_do_not_keep_a_snapshot_from_its_end(
    tenants: Tenants, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their names are in no order. What was read stays read, also when the capture begins again in between."""
    first = tenants.first
    first.execute(docs("docs_m"), rows("docs_m", "m", 60), MANY)
    capture = capture_of(tenants, tmp_path)
    names = [DOCS, "docs_m"]
    interrupted(capture)
    for name in ("docs_z", "docs_a", "docs_p", "docs_b"):
        names.append(name)
        first.execute(docs(name), rows(name, name, 10))
        interrupted(capture)
    capture.capture()
    capture.check_each({first: names})
    assert capture.epoch() == 1
    caplog.clear()
    with caplog.at_level(logging.INFO):
        capture.capture()
    assert capture.epoch() == 1
    assert not [record for record in caplog.records if "not followed" in str(record.__dict__)]


@on_one
def test_one_that_is_named_while_a_snapshot_is_under_way(tenants: Tenants, tmp_path: Path) -> None:
    """Its rows are in no log, and its name comes before those that were read."""
    first = tenants.first
    first.execute(docs("early"), rows("early", "e"), docs("notes"), rows("notes", "n"), MANY)
    capture = Several(first, tmp_path, tables=["notes", DOCS])
    interrupted(capture)
    more = ["early", "notes", DOCS]
    interrupted(capture, tables=more)
    capture.capture(tables=more)
    capture.check_each({first: [DOCS, "notes", "early"]})
    assert capture.epoch() == 1


def test_one_that_comes_by_renaming_while_a_snapshot_is_under_way(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    first.execute(docs("hidden"), rows("hidden", "moved"), MANY)
    first.execute(docs("docs_x"), rows("docs_x", "x"))
    capture = capture_of(tenants, tmp_path)
    interrupted(capture)
    first.execute("RENAME TABLE docs_x TO away, hidden TO docs_a")
    capture.capture()
    first.execute("RENAME TABLE docs_a TO docs_b, away TO docs_a")
    capture.capture()
    capture.check_each({first: [DOCS, "docs_a", "docs_b", "docs_x"]})


def seeded() -> random.Random:
    """Another one each time; its seed is shown with a failure."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.parametrize("chunk_rows", [2, 50])
def test_a_database_that_is_dropped_while_a_snapshot_is_under_way(
    tenants: Tenants, tmp_path: Path, chunk_rows: int
) -> None:
    first, one, two = tenants.first, tenants.make("t1"), tenants.make("t2")
    for tenant in (one, two):
        tenant.execute(*(f"INSERT INTO vec_dataset (dataset_id) VALUES ('x{n}')" for n in range(20)))
    capture = capture_of(tenants, tmp_path, snapshot_chunk_rows=chunk_rows)
    chance = seeded()
    with running(capture):
        deadline = time.monotonic() + END_S
        while not published(capture, DOCS):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        two.server.query(f"DROP DATABASE `{two.name}`")
        one.execute("DROP TABLE shadow_vec_docs")
        first.execute(LATE)
        until_current(capture)
    capture.check_each({first: [DOCS], one: [DOCS], two: [DOCS]})


@on_one
def test_datasets_stay_when_the_only_table_beside_them_goes(tenants: Tenants, tmp_path: Path) -> None:
    first, one = tenants.first, tenants.make("t1")
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    one.execute(f"DROP TABLE {DOCS}", "INSERT INTO vec_dataset (dataset_id, description) VALUES ('e', 'later')")
    capture.capture()
    capture.check_each({first: [DOCS], one: [DOCS]})
    ask(capture)
    capture.capture()
    capture.check_each({first: [DOCS], one: [DOCS]})


def test_without_snapshots_and_a_position_that_is_lost(start_sql_server: StartSqlServer, tmp_path: Path) -> None:
    with fresh_database(start_sql_server("mariadb")) as database, tenants_beside(database) as tenants:
        capture = capture_of(tenants, tmp_path, snapshot="no_data")
        capture.capture()
        database.execute(docs("docs_a"), rows("docs_a", "a"))
        purge(database.server)
        with pytest.raises(PositionLost):
            capture.capture()
        ask(capture)
        capture.capture()
        capture.check_each({database: [DOCS, "docs_a"]})


@pytest.mark.parametrize("found", ["by pattern", "by name"])
def test_a_log_that_is_another_one_is_not_read_for_a_table_that_came(
    start_sql_server: StartSqlServer, tmp_path: Path, found: str
) -> None:
    """A snapshot would take the place of all that was published, and nobody asked for it."""
    with fresh_database(start_sql_server("mariadb")) as database, tenants_beside(database) as tenants:
        Several(database, tmp_path, tables=[DOCS]).capture()
        reset(database.server)
        database.execute(docs("docs_a"), rows("docs_a", "a"), "DELETE FROM shadow_vec_docs WHERE id = '1'")
        for n in range(30):
            tenants.first.execute(f"UPDATE {DOCS} SET content = '{n}{'x' * 200}'")
        capture = Several(database, tmp_path, tables=[DOCS, "docs_*" if found == "by pattern" else "docs_a"])
        before = published(capture, DOCS)
        with pytest.raises(ForeignLog):
            capture.capture()
        assert published(capture, DOCS) == before


def test_a_server_that_takes_names_for_those_in_lower_case(start_sql_server: StartSqlServer, tmp_path: Path) -> None:
    with (
        fresh_database(start_sql_server("mariadb", {"lower_case_table_names": 1})) as database,
        tenants_beside(database) as tenants,
    ):
        capture = capture_of(tenants, tmp_path)
        capture.capture()
        database.execute("CREATE TABLE Docs_A LIKE Shadow_Vec_Docs", rows("DOCS_A", "a"))
        capture.capture()
        database.execute("DROP TABLE DOCS_a", docs("DOCS_A"), rows("docs_A", "again"))
        capture.capture()
        capture.check_each({database: [DOCS, "docs_a"]})


def test_a_log_that_names_no_columns_of_a_database_that_is_gone(
    start_sql_server: StartSqlServer, tmp_path: Path
) -> None:
    server = start_sql_server("mariadb", {"binlog_row_metadata": "MINIMAL"})
    with fresh_database(server) as database, tenants_beside(database) as tenants:
        one, two = tenants.make("t1"), tenants.make("t2")
        capture = capture_of(tenants, tmp_path, row_metadata="minimal")
        capture.capture()
        for tenant in (one, two):
            tenant.execute(rows(DOCS, "late").replace("'d','", "'d','l"), "UPDATE vec_dataset SET description = 'late'")
        server.query(f"DROP DATABASE `{one.name}`")
        two.execute(f"DROP TABLE {DOCS}", "INSERT INTO vec_dataset (dataset_id, description) VALUES ('e', 'last')")
        capture.capture()
        capture.check_each({database: [DOCS], one: [DOCS], two: [DOCS]})


def test_what_has_such_a_name_and_is_no_table(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    first.execute(f"CREATE VIEW docs_view AS SELECT * FROM {DOCS}", f"CREATE VIEW other AS SELECT * FROM {DOCS}")
    first.execute("RENAME TABLE other TO docs_other", LATE)
    if first.server.kind == "mariadb":
        first.execute("CREATE SEQUENCE docs_numbers", "SELECT NEXT VALUE FOR docs_numbers", LATE)
    capture.capture()
    capture.check_each({first: [DOCS]})
    if first.server.kind == "mariadb":  # rows of the past, that nobody deleted: it cannot be followed
        first.execute("CREATE TABLE docs_past (id INT PRIMARY KEY) WITH SYSTEM VERSIONING")
        with pytest.raises(PreflightRefused, match="docs_past"):
            capture.capture()


def test_rows_decoded_by_mysql_replication(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    capture = capture_of(tenants, tmp_path, reader="mysql-replication")
    capture.capture()
    first.execute(docs("docs_b"), rows("docs_b", "b"))
    tenant = tenants.make("t1")
    capture.capture()
    first.execute("UPDATE docs_b SET content = 'since' WHERE id = '1'", "DROP TABLE docs_b", docs("docs_b"))
    first.execute(rows("docs_b", "again"), "UPDATE docs_b SET content = 'since' WHERE id = '1'")
    capture.capture()
    capture.check_each({first: [DOCS, "docs_b"], tenant: [DOCS]})


def test_on_another_server(replica_pair: ReplicaPair, tmp_path: Path) -> None:
    """One was found on the old server, one comes on the new one, and goes."""
    with fresh_database(replica_pair.primary) as database, tenants_beside(database) as tenants:
        capture = capture_of(tenants, tmp_path)
        capture.capture()
        database.execute(docs("docs_z"), rows("docs_z", "z"))
        capture.capture()
        replica_pair.catch_up()
        replica_pair.promote()
        moved = SqlDatabase(replica_pair.replica, database.name)
        moved.execute(docs("docs_a"), rows("docs_a", "a"), "DELETE FROM docs_z WHERE id = '1'", LATE)
        there = Several(moved, tmp_path, tables=capture.settings().source.tables)
        there.capture()
        there.check_each({moved: [DOCS, "docs_z", "docs_a"]})
        moved.execute("DROP TABLE docs_z", LATE)
        there.capture()
        there.check_each({moved: [DOCS, "docs_z", "docs_a"]})


@on_one
def test_one_that_may_be_read_later(tenants: Tenants, tmp_path: Path) -> None:
    """Nobody can tell of it before; from then on its first row does, or a new start."""
    first = tenants.first
    first.execute(docs("docs_a"), rows("docs_a", "a"), docs("docs_b"), rows("docs_b", "b"))
    with reading_only(first, DOCS, "vec_dataset") as account:
        user = account["url"].split("//")[1].split("@")[0]
        capture = capture_of(tenants, tmp_path, **account)
        capture.capture()
        with running(capture):
            first.execute(f"GRANT SELECT ON `{first.name}`.docs_a TO '{user}'@'%'", LATE)
            until_current(capture)
            first.execute("UPDATE docs_a SET content = 'first row' WHERE id = '1'")
            until_current(capture)
        capture.check_each({first: [DOCS, "docs_a"]})
        first.execute(f"GRANT SELECT ON `{first.name}`.docs_b TO '{user}'@'%'")
        capture.capture()
        capture.check_each({first: [DOCS, "docs_a", "docs_b"]})


@on_one
def test_rows_of_one_that_is_made_unlogged(tenants: Tenants, tmp_path: Path) -> None:
    """Its first incarnation was passed over; the same table map has to be looked at again."""
    first = tenants.first
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    first.execute(docs("docs_a"), INSERT.format("docs_a") + "('d','1','x',NULL,NULL,'m',1)", "DROP TABLE docs_a")
    with running(capture):
        until_current(capture)
        connection = first.connect()
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_log_bin = 0")
            cursor.execute(docs("docs_a"))
            cursor.execute(rows("docs_a", "unlogged"))
            cursor.execute("SET SESSION sql_log_bin = 1")
            cursor.execute(INSERT.format("docs_a") + "('d','x','x',NULL,NULL,'m',1)")
        connection.commit()
        connection.close()
        until_current(capture)
    capture.check_each({first: [DOCS, "docs_a"]})


def test_tables_and_databases_that_come_and_go_all_the_time(tenants: Tenants, tmp_path: Path) -> None:
    """Whatever capture looks at may be gone an instant later, and be there again after another."""
    first, chance = tenants.first, seeded()
    capture = capture_of(tenants, tmp_path)
    done = threading.Event()

    def churn() -> None:
        for number in range(12):
            table = f"docs_{chance.randrange(3)}"
            first.execute(f"DROP TABLE IF EXISTS {table}", docs(table), rows(table, f"{number}"))
            tenant = tenants.make("t1")
            first.execute(LATE, f"UPDATE {table} SET content = 'again'")
            tenant.server.query(f"DROP DATABASE `{tenant.name}`")
        done.set()

    with running(capture):
        until_current(capture)
        writer = threading.Thread(target=churn, daemon=True)
        writer.start()
        writer.join(END_S)
        assert done.is_set()
        until_current(capture)
    assert capture.epoch() == 1  # the log has all of it
    capture.check_each({first: [DOCS, "docs_0", "docs_1", "docs_2"]})
    tenants.made.clear()


def test_one_that_somebody_holds(tenants: Tenants, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As whoever loads a dump does, from right after it is made."""
    first = tenants.first
    capture = capture_of(tenants, tmp_path, reconnect_max_s=1)
    capture.capture()
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    holder = first.connect()
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLES docs_a WRITE")
        for ends in (True, False):
            caplog.clear()
            with running(capture):
                heard(caplog, "waits for a table")
                time.sleep(3)  # longer than it is patient with a server that is away
                assert not published(capture, "docs_a")
                if ends:
                    began = time.monotonic()
                else:
                    holder.close()
                    until_current(capture)
            if ends:
                assert time.monotonic() - began < 20
    finally:
        if holder.open:
            holder.close()
    capture.check_each({first: [DOCS, "docs_a"]})


def test_a_log_that_is_lost_again_after_a_table_came(
    start_sql_server: StartSqlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was published between the two losses was published before the table came."""
    with fresh_database(start_sql_server("mariadb")) as database, tenants_beside(database) as tenants:
        capture = capture_of(tenants, tmp_path, snapshot="when_needed")
        capture.capture()
        reset(database.server)
        database.execute(LATE)

        def lost(*args: Any) -> Any:
            reset(database.server)
            return require_in_time(*args)

        monkeypatch.setattr(when_needed, "require_in_time", lost)
        with running(capture):
            for epoch in (2, 3):
                deadline = time.monotonic() + 60
                while capture.epoch() < epoch:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                until_current(capture)
                if epoch == 2:
                    database.execute(docs("docs_a"), rows("docs_a", "a"))
        capture.check_each({database: [DOCS, "docs_a"]})


def heard(caplog: pytest.LogCaptureFixture, what: str) -> None:
    deadline = time.monotonic() + 60
    while not any(what in record.message for record in list(caplog.records)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
