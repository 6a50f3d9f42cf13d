"""What the binlog of a real server becomes: every kind of change, in order, with its key, its row and its order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from connector.errors import ForeignLog, PositionLost
from connector.model import (
    Change,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Floor,
    FloorKey,
    FloorReason,
    Op,
    SourcePosition,
    Transaction,
)
from connector.source import Stream
from connector.source.binlog_source import BinlogSource
from tests.servers.model import SqlDatabase
from tests.system.packed import unpacked
from tests.system.schema import PrimaryKey, create_tables
from tests.system.settings import settings, source_section


class Reading:
    """A source followed from now on."""

    def __init__(self, database: SqlDatabase, **overrides: Any) -> None:
        self.source = BinlogSource(settings(source=source_section(database, **overrides)))
        self.begin = self.source.start(epoch=1)
        self.stream: Stream = self.source.stream(self.begin)

    def transactions(self, stream: Stream | None = None) -> list[tuple[Transaction, list[Change]]]:
        """All that is committed by now, its changes taken."""
        stream = stream or self.stream
        head = self.source.head()
        found = []
        deadline = time.monotonic() + 90
        while not stream.reached(head):
            assert time.monotonic() < deadline, f"the stream stays at {stream.position()}, the head is {head}"
            transaction = stream.next(0.2)
            if transaction is not None:
                found.append((transaction, list(unpacked(transaction.changes))))
        return found

    def changes(self) -> list[Change]:
        return [change for _, changes in self.transactions() for change in changes]

    def close(self) -> None:
        self.stream.close()
        self.source.close()


@pytest.fixture(params=["dataset_and_id", "id", "mysql-replication"])
def reading(sql_database: SqlDatabase, request: pytest.FixtureRequest) -> Iterator[Reading]:
    """Both shapes of primary key, and one of them by the other reader."""
    reader = "mysql-replication" if request.param == "mysql-replication" else "binlog"
    key: PrimaryKey = "dataset_and_id" if reader == "mysql-replication" else request.param
    create_tables(sql_database, key)
    sql_database.execute("INSERT INTO vec_dataset (dataset_id, description) VALUES ('d', 'one'), ('e', 'two')")
    found = Reading(sql_database, reader=reader)
    yield found
    found.close()


def short(changes: list[Change]) -> list[tuple[Any, ...]]:
    """(letter, key parts...)"""
    found: list[tuple[Any, ...]] = []
    for change in changes:
        if isinstance(change, DocChange):
            found.append((change.op.value, change.key.dataset_id, change.key.id))
        elif isinstance(change, DatasetChange):
            found.append((change.op.value, change.key.dataset_id))
        else:
            found.append(("floor", change.key.dataset_id, change.reason.value))
    return found


INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model, scn) VALUES "


def test_rows_come_with_every_column(reading: Reading, sql_database: SqlDatabase) -> None:
    vector = bytes(range(16))
    connection = sql_database.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO shadow_vec_docs (dataset_id, id, content, meta, embedding, embedding_model, scn, archived, "
            "created_at, updated_at) VALUES ('d', 'ü/🦆', 'text\\n', '{\"a\": 1}', %s, 'm', 7, 1, "
            "'2026-02-03 04:05:06.789012', '2026-02-03 04:05:06')",
            (vector,),
        )
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute("SELECT CAST(created_at AS CHAR), CAST(updated_at AS CHAR) FROM shadow_vec_docs")
        times = cursor.fetchone()
    (change,) = reading.changes()
    assert isinstance(change, DocChange)
    assert (change.op, change.key, change.scn) == (Op.CREATE, DocKey("d", "ü/🦆"), 7)
    row = change.after
    assert row is not None
    assert (row.content, row.meta, row.embedding, row.embedding_model) == ("text\n", '{"a": 1}', vector, "m")
    assert (row.scn, row.archived) == (7, True)
    assert (row.created_at, row.updated_at) == times
    assert change.source.db == sql_database.name
    assert change.source.table == "shadow_vec_docs"
    assert change.source.ts_us > 1_700_000_000_000_000


def test_every_kind_of_statement(reading: Reading, sql_database: SqlDatabase) -> None:
    sql_database.execute(
        INSERT + "('d','a','1','','m',1), ('d','b','1',NULL,'m',1)",
        "UPDATE shadow_vec_docs SET content = 'x' WHERE dataset_id = 'd'",
        INSERT + "('d','a','2','','m',2) ON DUPLICATE KEY UPDATE content = VALUES(content)",
        "UPDATE shadow_vec_docs SET id = 'c' WHERE id = 'a'",
        "UPDATE shadow_vec_docs SET dataset_id = 'e' WHERE id = 'b'",
        "DELETE FROM shadow_vec_docs WHERE id = 'c'",
    )
    found = reading.transactions()
    assert [short(changes) for _, changes in found] == [
        [("c", "d", "a"), ("c", "d", "b")],
        [("u", "d", "a"), ("u", "d", "b")],
        [("u", "d", "a")],
        [("d", "d", "a"), ("c", "d", "c")],
        [("d", "d", "b"), ("c", "e", "b")],
        [("d", "d", "c")],
    ]
    moved = [change.moved for _, changes in found for change in changes if isinstance(change, DocChange)]
    assert moved == [False] * 5 + [True, False, True, False, False]


def test_orders_rise_and_ordinals_count_from_one(reading: Reading, sql_database: SqlDatabase) -> None:
    sql_database.execute(*[INSERT + f"('d','{n}','','','m',1), ('e','e{n}','','','m',1)" for n in range(5)])
    found = reading.transactions()
    orders = [change.order for _, changes in found for change in changes]
    assert orders == sorted(orders)
    assert len(set(orders)) == 10
    assert [order.ordinal for order in orders] == [1, 2] * 5
    assert all(order.epoch == 1 for order in orders)
    positions = [reading.begin.position, *(t.after.position for t, _ in found)]
    assert [order.position for order in orders[::2]] == positions[:-1] or orders[0].position >= positions[0]


def test_a_dataset_and_its_cascade(reading: Reading, sql_database: SqlDatabase) -> None:
    sql_database.execute(
        INSERT + "('d','a','1','','m',1)",
        "UPDATE vec_dataset SET description = 'new' WHERE dataset_id = 'd'",
        "DELETE FROM vec_dataset WHERE dataset_id = 'd'",
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
    )
    found = [short(changes) for _, changes in reading.transactions()]
    assert found[:2] == [[("c", "d", "a")], [("u", "d")]]
    assert ("d", "d") in found[2]
    assert ("floor", "d", "cascade") in found[2]
    assert found[3] == [("c", "d")]


def test_no_floor_when_foreign_keys_were_not_checked(reading: Reading, sql_database: SqlDatabase) -> None:
    sql_database.execute(
        INSERT + "('d','a','1','','m',1)",
        "SET foreign_key_checks = 0",
        "DELETE FROM vec_dataset WHERE dataset_id = 'd'",
    )
    assert short(reading.changes()) == [("c", "d", "a"), ("d", "d")]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("TRUNCATE TABLE shadow_vec_docs", "truncate"),
        ("truncate /* all */ `shadow_vec_docs`", "truncate"),
        ("DROP TABLE shadow_vec_docs", "drop"),
        ("RENAME TABLE shadow_vec_docs TO elsewhere", "drop"),
        ("ALTER TABLE shadow_vec_docs RENAME TO elsewhere", "drop"),
    ],
)
def test_statements_that_remove_all_rows(
    reading: Reading, sql_database: SqlDatabase, statement: str, reason: str
) -> None:
    sql_database.execute(INSERT + "('d','a','1','','m',1)", statement)
    insert, floor = reading.changes()
    assert isinstance(floor, Floor)
    assert (floor.key, floor.reason) == (FloorKey(None), FloorReason(reason))
    assert floor.order > insert.order
    assert floor.order.ordinal == 1


def test_rollback_and_savepoints(reading: Reading, sql_database: SqlDatabase) -> None:
    connection = sql_database.connect(autocommit=False)
    with connection, connection.cursor() as cursor:
        cursor.execute(INSERT + "('d','gone','1','','m',1)")
        connection.rollback()
        cursor.execute(INSERT + "('d','kept','1','','m',1)")
        cursor.execute("SAVEPOINT s")
        cursor.execute(INSERT + "('d','undone','1','','m',1)")
        cursor.execute("ROLLBACK TO SAVEPOINT s")
        cursor.execute(INSERT + "('d','last','1','','m',1)")
        connection.commit()
    assert [short(changes) for _, changes in reading.transactions()] == [[("c", "d", "kept"), ("c", "d", "last")]]


def test_tables_that_are_not_followed_are_passed_over(reading: Reading, sql_database: SqlDatabase) -> None:
    sql_database.execute("CREATE TABLE other (a INT)", "INSERT INTO other VALUES (1)")
    before = reading.stream.position()
    assert reading.changes() == []
    after = reading.stream.position()
    assert after.position > before.position
    assert after.gtid_set != before.gtid_set


def test_xa_counts_where_it_commits(reading: Reading, sql_database: SqlDatabase) -> None:
    connection = sql_database.connect()
    with connection, connection.cursor() as cursor:
        for xid in ("'kept'", "'dropped'"):
            cursor.execute(f"XA START {xid}")
            cursor.execute(INSERT + f"('d',{xid},'1','','m',1)")
            cursor.execute(f"XA END {xid}")
            cursor.execute(f"XA PREPARE {xid}")
            if xid == "'kept'":
                sql_database.execute(INSERT + "('d','between','1','','m',1)")
                held = reading.transactions()
                assert [short(changes) for _, changes in held] == [[("c", "d", "between")]]
                position = held[-1][0].after
                assert position.open_file
                cursor.execute("XA COMMIT 'kept'")
            else:
                cursor.execute("XA ROLLBACK 'dropped'")
    ((transaction, changes),) = reading.transactions()
    assert short(changes) == [("c", "d", "kept")]
    assert changes[0].order.position > position.open_position
    assert reading.stream.position().open_file == ""
    # Resuming where it was open gives the same again, and nothing twice.
    again = reading.source.stream(position)
    ((same, same_changes),) = reading.transactions(again)
    again.close()
    assert (same.id, same_changes) == (transaction.id, changes)


def test_resuming_anywhere_gives_the_rest(reading: Reading, sql_database: SqlDatabase) -> None:
    sql_database.execute(*[INSERT + f"('d','{n}','','','m',1)" for n in range(8)], "FLUSH LOGS")
    sql_database.execute(*[INSERT + f"('e','e{n}','','','m',1)" for n in range(3)])
    found = reading.transactions()
    assert len(found) == 11
    for at in range(len(found)):
        stream = reading.source.stream(found[at][0].after)
        rest = reading.transactions(stream)
        stream.close()
        assert [(t.id, t.after, changes) for t, changes in rest] == [
            (t.id, t.after, changes) for t, changes in found[at + 1 :]
        ]


def test_a_purged_log_is_refused(reading: Reading) -> None:
    gone = SourcePosition(reading.begin.identity, file="binlog.000000", position=4)
    name = reading.begin.file.rsplit(".", 1)[0] + ".999999"
    with pytest.raises(PositionLost, match="no longer has"):
        reading.source.stream(gone)
    with pytest.raises(PositionLost, match="no longer has"):
        reading.source.stream(SourcePosition(reading.begin.identity, file=name, position=4))


def test_a_log_that_lost_its_end_is_refused(reading: Reading) -> None:
    beyond = SourcePosition(reading.begin.identity, file=reading.begin.file, position=reading.begin.position + 10**6)
    with pytest.raises(ForeignLog, match="lost transactions"):
        reading.source.stream(beyond)


def test_datasets_have_their_rows(reading: Reading, sql_database: SqlDatabase) -> None:
    sql_database.execute("INSERT INTO vec_dataset (dataset_id, description, source_uri) VALUES ('f', 'ä', 'fs://x')")
    (change,) = reading.changes()
    assert isinstance(change, DatasetChange)
    assert change.key == DatasetKey("f")
    assert change.after is not None
    assert (change.after.description, change.after.source_uri) == ("ä", "fs://x")
