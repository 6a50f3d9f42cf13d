"""Tables of several databases in one capture: nothing of one is taken for something of another, though everything in
them has the same names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from connector.errors import PreflightRefused
from connector.model import ZERO_ORDER, DatasetChange, DocChange, Floor, FloorReason, SnapshotProgress
from connector.publish import moving, publish, recorded_position, send_signal
from connector.settings import Settings
from connector.source.binlog_source import BinlogSource
from connector.upstream import UpstreamRow, connect
from connector.upstream.findings import Severity
from connector.upstream.install import install
from connector.upstream.preflight import check
from connector.wire import SnapshotSignal
from tests.servers.fix_sql import fresh_database
from tests.servers.model import SqlDatabase, SqlServer
from tests.system.compare import source_rows
from tests.system.schema import SHADOW, create_tables
from tests.system.settings import settings, source_section
from tests.system.several import INSERT, Several

DOCS = "shadow_vec_docs"


@pytest.fixture
def two(sql_server: SqlServer) -> Iterator[tuple[SqlDatabase, SqlDatabase]]:
    with fresh_database(sql_server) as one, fresh_database(sql_server) as other:
        yield one, other


def filled(database: SqlDatabase, text: str) -> None:
    """The same datasets and ids wherever it is asked for, with other texts."""
    create_tables(database)
    database.execute(
        SHADOW.format(table="notes", key="id"),
        f"INSERT INTO vec_dataset (dataset_id, description) VALUES ('d', '{text}'), ('e', '{text}')",
        INSERT.format(DOCS)
        + ",".join(f"('{d}','{n}','{text} {n}','{{}}',X'0000803F','m',{n})" for d in "de" for n in range(5)),
        INSERT.format("notes") + f"('d','n','{text} note',NULL,NULL,'m',1)",
    )


def followed(two: tuple[SqlDatabase, SqlDatabase], directory: Path, **overrides: Any) -> Several:
    one, other = two
    tables = [DOCS, f"{other.name}.{DOCS}", f"{one.name}.notes", f"{other.name}.notes"]
    return Several(one, directory, tables=tables, **overrides)


@pytest.mark.parametrize("reader", ["binlog", "mysql-replication"])
def test_two_databases_with_the_same_names(two: tuple[SqlDatabase, SqlDatabase], tmp_path: Path, reader: str) -> None:
    one, other = two
    both = {one: [DOCS, "notes"], other: [DOCS, "notes"]}
    filled(one, "one")
    filled(other, "other")
    capture = followed(two, tmp_path, reader=reader)
    capture.capture()
    capture.check_each(both)
    there = f"`{other.name}`.{DOCS}"
    with one.connect() as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.execute(f"UPDATE {DOCS} SET content = 'both', scn = 9 WHERE id = '1'")
        cursor.execute(f"UPDATE {there} SET content = 'as well', scn = 8 WHERE id = '1'")
        cursor.execute(f"DELETE FROM {there} WHERE dataset_id = 'e' AND id = '2'")
        cursor.execute(INSERT.format(DOCS) + "('d','new','here only',NULL,NULL,'m',10)")
        connection.commit()
    one.execute("DELETE FROM vec_dataset WHERE dataset_id = 'e'")  # takes documents along, of this database
    capture.capture()
    capture.check_each(both)
    one.execute(f"TRUNCATE TABLE `{other.name}`.notes", f"ALTER TABLE {there} ADD COLUMN more INT FIRST")
    other.execute(INSERT.format(DOCS) + "('d','newer','there only',NULL,X'0000803F','m',11)")
    other.execute("UPDATE vec_dataset SET description = 'changed' WHERE dataset_id = 'd'")
    capture.capture()
    assert capture.epoch() == 1
    capture.check_each(both)
    other.execute(
        "CREATE TABLE copy LIKE notes",
        INSERT.format("copy") + "('d','c','copied',NULL,NULL,'m',1)",
        "RENAME TABLE notes TO old, copy TO notes",
    )
    capture.capture()
    assert capture.epoch() == 2
    capture.check_each(both)


def test_what_changed_unseen_is_read_again_in_each(two: tuple[SqlDatabase, SqlDatabase], tmp_path: Path) -> None:
    one, other = two
    both = {one: [DOCS, "notes"], other: [DOCS, "notes"]}
    filled(one, "one")
    filled(other, "other")
    capture = followed(two, tmp_path)
    capture.capture()
    for database in two:
        database.execute(
            "SET SESSION sql_log_bin = 0",
            f"DELETE FROM {DOCS} WHERE dataset_id = 'd' AND id = '0'",
            f"UPDATE {DOCS} SET content = 'unseen' WHERE dataset_id = 'd' AND id = '3'",
        )
    other.execute("SET SESSION sql_log_bin = 0", "DELETE FROM vec_dataset WHERE dataset_id = 'e'")
    one.execute(f"UPDATE {DOCS} SET content = 'seen' WHERE dataset_id = 'd' AND id = '4'")
    send_signal(capture.broker, capture.settings(), SnapshotSignal(("d", "e")))
    capture.capture()
    assert capture.epoch() == 2
    capture.check_each(both)


def test_going_on_after_each_transaction_of_a_snapshot(two: tuple[SqlDatabase, SqlDatabase], tmp_path: Path) -> None:
    one, other = two
    filled(one, "one")
    filled(other, "other")
    capture = followed(two, tmp_path)
    chosen = capture.settings()
    done = 0
    while not done or not capture.is_current():
        stop = Event()
        source = BinlogSource(chosen)

        def one_more(_: Any, stop: Event = stop) -> None:
            stop.set()

        try:
            publish(source, capture.broker, chosen, stop, one_more, until_current=False)
        finally:
            source.close()
        done += 1
        assert done < 100
        if done < 8:
            one.execute(f"UPDATE {DOCS} SET scn = scn + 1, content = 'round {done}' WHERE id = '{done % 5}'")
    capture.check_each({one: [DOCS, "notes"], other: [DOCS, "notes"]})


def test_a_table_that_is_named_later_is_read(two: tuple[SqlDatabase, SqlDatabase], tmp_path: Path) -> None:
    one, other = two
    filled(one, "one")
    filled(other, "other")
    capture = followed(two, tmp_path)
    capture.capture(tables=[DOCS])
    capture.check_each({one: [DOCS]})
    capture.capture()
    assert capture.epoch() == 1  # the others are not read again
    capture.check_each({one: [DOCS, "notes"], other: [DOCS, "notes"]})


def test_a_source_check_of_each_database(two: tuple[SqlDatabase, SqlDatabase]) -> None:
    one, other = two
    chosen = settings(source=source_section(one, tables=[DOCS, f"{other.name}.{DOCS}"]))
    what = [f.what for f in check(chosen) if f.severity is Severity.ERROR]
    assert what == [f"there is no table {DOCS}", f"in database {other.name}: there is no table {DOCS}"]
    install(chosen.source)
    assert not [f for f in check(chosen) if f.severity is Severity.ERROR]
    assert install(chosen.source) == []
    writer = connect(chosen.source, f"{other.name}.{DOCS}")
    writer.ensure_dataset("d", "written")
    writer.upsert("d", [UpstreamRow("a", "text", None, None, None)])
    writer.close()
    assert other.query(f"SELECT dataset_id, id FROM {DOCS}") == [("d", "a")]
    assert one.query(f"SELECT count(*) FROM {DOCS}") == [(0,)]

    other.execute(f"ALTER TABLE {DOCS} MODIFY embedding MEDIUMTEXT")
    (wrong,) = [f for f in check(chosen) if f.severity is Severity.ERROR]
    assert wrong.what.startswith(f"in database {other.name}: column embedding of {DOCS} is mediumtext")
    one.execute(*(statement for statement in wrong.mend_sql.split(";") if statement.strip()))
    assert not [f for f in check(chosen) if f.severity is Severity.ERROR]

    server, user = one.server, f"u_{one.name}"
    monitor = "BINLOG MONITOR, SLAVE MONITOR" if server.kind == "mariadb" else "REPLICATION CLIENT"
    tables = [f"`{db.name}`.{table}" for db in two for table in (DOCS, "vec_dataset")]
    one.execute(
        f"CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'",
        f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO '{user}'@'%'",
        *(f"GRANT SELECT ON {table} TO '{user}'@'%'" for table in tables[:2]),
    )
    try:
        url = one.url.replace(f"//{server.user}@", f"//{user}@")
        least: Settings = settings(source=source_section(one, tables=chosen.source.tables, url=url, password="pw"))
        mends = [f.mend_sql for f in check(least) if f.code == "privilege_select"]
        assert len(mends) == 2
        assert all(mend.startswith(f"GRANT SELECT ON `{other.name}`.") for mend in mends)
        one.execute(*mends)
        assert not [f for f in check(least) if f.severity is Severity.ERROR]
    finally:
        one.execute(f"DROP USER '{user}'@'%'")


def test_a_database_that_is_gone_stops_by_name(two: tuple[SqlDatabase, SqlDatabase], tmp_path: Path) -> None:
    one, other = two
    filled(one, "one")
    filled(other, "other")
    capture = followed(two, tmp_path)
    capture.capture()
    one.execute(f"DROP DATABASE `{other.name}`")
    with pytest.raises(PreflightRefused, match=rf"no table {other.name}\.{DOCS}"):
        capture.capture()


def test_a_snapshot_keeps_its_order(two: tuple[SqlDatabase, SqlDatabase], tmp_path: Path) -> None:
    """It ended in its first table; after the restart the settings name that table last."""
    one, other = two
    filled(one, "one")
    filled(other, "other")
    capture = followed(two, tmp_path)
    capture.capture()
    other.execute("SET SESSION sql_log_bin = 0", "UPDATE notes SET content = 'unseen'")
    recorded = recorded_position(capture.broker, "vecsync")
    assert recorded is not None
    at = replace(recorded.source, epoch=2, snapshot_done=False)
    tables = (DOCS, f"{other.name}.{DOCS}", "notes", f"{other.name}.notes")
    at = replace(at, snapshot=SnapshotProgress(DOCS, None, ZERO_ORDER, tables=tables))
    moving.record(capture.broker, capture.settings(), at, recorded.ends)
    turned = Several(one, tmp_path, tables=["notes", f"{other.name}.notes", f"{other.name}.{DOCS}", DOCS])
    turned.capture()
    turned.check_each({one: [DOCS, "notes"], other: [DOCS, "notes"]})


@pytest.mark.parametrize("some_datasets", [False, True])
def test_some_tables_are_read_again(
    two: tuple[SqlDatabase, SqlDatabase], tmp_path: Path, *, some_datasets: bool
) -> None:
    """What changed unseen is seen there and nowhere else; then in all."""
    one, other = two
    both = {one: [DOCS, "notes"], other: [DOCS, "notes"]}
    filled(one, "one")
    filled(other, "other")
    capture = followed(two, tmp_path)
    capture.capture()
    unseen = [f"UPDATE {DOCS} SET content = 'unseen' WHERE dataset_id = 'd'", f"DELETE FROM {DOCS} WHERE id = '3'"]
    for database in two:
        database.execute("SET SESSION sql_log_bin = 0", *unseen, "DELETE FROM notes")
    datasets = ("d",) if some_datasets else None
    send_signal(capture.broker, capture.settings(), SnapshotSignal(datasets, (f"{other.name}.{DOCS}",)))
    capture.capture()
    since = [change for change in capture.written() if change.order.epoch == 2]
    documents = [(c.source.db, c.source.table) for c in since if not isinstance(c, DatasetChange)]
    assert {*documents} == {(other.name, DOCS)}
    rows = [(c.key.dataset_id, c.key.id) for c in since if isinstance(c, DocChange)]
    expected = source_rows(other.server, other.name, DOCS)
    assert sorted(rows) == sorted(key for key in expected if key[0] == "d" or not some_datasets)
    assert {c.reason for c in since if isinstance(c, Floor)} == {FloorReason.SNAPSHOT}
    send_signal(capture.broker, capture.settings(), SnapshotSignal())
    capture.capture()
    assert capture.epoch() == 3
    capture.check_each(both)
