"""`reader: mysql-replication` on live servers: the same changes in the same order as by the default reader, either of
them going on where the other stopped; and what the package does not give exactly is refused, never passed on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.errors import PreflightRefused, UnsupportedChange
from connector.model import Change, SourcePosition
from connector.source import Source, Stream
from connector.source.binlog_source import BinlogSource
from connector.upstream.preflight import require
from tests.servers.fix_sql import StartSqlServer, fresh_database
from tests.servers.model import SqlDatabase
from tests.system.packed import unpacked
from tests.system.schema import PrimaryKey, create_tables
from tests.system.settings import settings, source_section
from tests.system.site import Site, embedded_log, sql_source
from tests.system.workload import Session, Tally

LIBRARY = "mysql-replication"
INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model, scn) VALUES "

Read = list[tuple[str, SourcePosition, list[Change]]]


class Readers:
    """Both readers of one database."""

    def __init__(self, database: SqlDatabase) -> None:
        self.database = database
        self.ours, self.library = (self._open(reader) for reader in ("binlog", LIBRARY))
        self.begin = self.ours.start(epoch=1)

    def _open(self, reader: str) -> Source:
        return BinlogSource(settings(source=source_section(self.database, reader=reader)))

    def read(self, source: Source, after: SourcePosition | None = None, most: int | None = None) -> Read:
        """What is committed by now (at most so many transactions), as it is published but for its bytes."""
        stream: Stream = source.stream(after or self.begin)
        head, deadline, found = source.head(), time.monotonic() + 60, Read()
        try:
            while not stream.reached(head) and len(found) != most:
                assert time.monotonic() < deadline, f"the stream stays at {stream.position()}, the head is {head}"
                transaction = stream.next(0.2)
                if transaction is not None:
                    found.append((transaction.id, transaction.after, list(unpacked(transaction.changes))))
        finally:
            stream.close()
        return found

    def refused(self) -> str:
        """What the library's reader says, where the other one reads everything."""
        assert self.read(self.ours)
        with pytest.raises(UnsupportedChange) as refusal:
            self.read(self.library)
        assert "source.reader: binlog" in refusal.value.hint
        return str(refusal.value)

    def close(self) -> None:
        self.ours.close()
        self.library.close()


Open = Callable[[SqlDatabase], Readers]


@pytest.fixture
def open_readers() -> Iterator[Open]:
    opened: list[Readers] = []

    def start(database: SqlDatabase) -> Readers:
        opened.append(Readers(database))
        return opened[-1]

    yield start
    for readers in opened:
        readers.close()


@pytest.mark.parametrize(("key", "seed"), [("dataset_and_id", 31), ("id", 32)])
def test_both_readers_give_the_same_changes(
    sql_database: SqlDatabase, open_readers: Open, key: PrimaryKey, seed: int
) -> None:
    create_tables(sql_database, key)
    sql_database.execute("ALTER TABLE shadow_vec_docs MODIFY created_at DATETIME(3) NULL")
    readers = open_readers(sql_database)
    tally = Tally()
    Session(sql_database.server, sql_database.name, seed, tally, id_only=key == "id").run(lambda: tally.total > 600)
    sql_database.execute(
        "INSERT INTO vec_dataset VALUES ('d', 'ä', 'fs://x', 3), ('gone', NULL, NULL, 0)",
        INSERT + "('d', '1', NULL, NULL, NULL, 0), ('d', '2', '', '', '', -1), ('gone', '3', '🦆', X'00ff', 'm', 9)",
        "XA START 'x'",
        INSERT + "('d', 'in xa', 'x', X'0000803f', 'm', 1)",
        "XA END 'x'",
        "XA PREPARE 'x'",
        "XA COMMIT 'x'",
        "FLUSH LOGS",
        "UPDATE shadow_vec_docs SET scn = ABS(scn) % 100000",
        "ALTER TABLE shadow_vec_docs ADD COLUMN n SMALLINT UNSIGNED NOT NULL DEFAULT 65535 FIRST, ADD COLUMN late TIME,"
        " ADD COLUMN y YEAR FIRST",
        "UPDATE shadow_vec_docs SET late = '-01:02:03', scn = 4294967295, created_at = '2026-01-02 03:04:05.678'"
        " WHERE dataset_id = 'd'",
        "UPDATE shadow_vec_docs SET dataset_id = 'd', id = 'moved' WHERE dataset_id = 'gone'",
        "DELETE FROM vec_dataset WHERE dataset_id = 'gone'",
        "DELETE FROM shadow_vec_docs WHERE id = 'moved'",
        "TRUNCATE shadow_vec_docs",
    )
    expected = readers.read(readers.ours)
    assert sum(len(changes) for _, _, changes in expected) > 600
    assert readers.read(readers.library) == expected
    # Either goes on where the other stopped, at once and in the middle.
    middle = len(expected) // 2
    for first, then in ((readers.ours, readers.library), (readers.library, readers.ours)):
        begun = readers.read(first, most=middle)
        assert begun + readers.read(then, begun[-1][1]) == expected


def test_a_session_that_compresses_stops_it(mysql_database: SqlDatabase, open_readers: Open) -> None:
    create_tables(mysql_database)
    readers = open_readers(mysql_database)
    mysql_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    plain = readers.read(readers.library)
    mysql_database.execute(
        "SET SESSION binlog_transaction_compression = ON",
        INSERT + "('d', '1', REPEAT('long ', 9999), NULL, NULL, 1)",
    )
    said = readers.refused()
    assert "compressed event (TRANSACTION_PAYLOAD)" in said
    gtid = readers.read(readers.ours)[-1][0]
    assert f"(transaction {gtid})" in said  # by which it can be left out
    assert readers.read(readers.ours)[0] == plain[0]


def test_a_server_that_compresses_stops_it(start_sql_server: StartSqlServer, open_readers: Open) -> None:
    """The check before names both servers' settings: `test_source_check.py`."""
    server = start_sql_server("mariadb", {"log_bin_compress": "ON"})
    with fresh_database(server) as database:
        create_tables(database)
        require(settings(source=source_section(database)))
        with pytest.raises(PreflightRefused, match="SET GLOBAL log_bin_compress = OFF"):
            require(settings(source=source_section(database, reader=LIBRARY)))
        readers = open_readers(database)
        database.execute(
            "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
            INSERT + "('d', '1', REPEAT('long ', 9999), NULL, NULL, 1)",
        )
        assert "compressed event" in readers.refused()


@pytest.mark.parametrize(
    ("alter", "what"),
    [
        ("MODIFY content TEXT CHARACTER SET utf16", "content"),
        ("MODIFY embedding_model TEXT CHARACTER SET latin1", "embedding_model"),
        ("MODIFY meta ENUM('', 'm')", "meta"),
        ("MODIFY archived BIT", "archived"),
        ("MODIFY embedding BINARY(8)", "embedding"),
        ("ADD COLUMN p POINT FIRST", "p"),
    ],
)
def test_columns_that_it_gives_otherwise_are_refused(
    sql_database: SqlDatabase, open_readers: Open, alter: str, what: str
) -> None:
    create_tables(sql_database)
    sql_database.execute(f"ALTER TABLE shadow_vec_docs {alter}")
    readers = open_readers(sql_database)
    sql_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        INSERT + "('d', '1', 'x', NULL, 'm', 1)",
    )
    assert f"column {what} of {sql_database.name}.shadow_vec_docs is " in readers.refused()
    found = require(settings(source=source_section(sql_database))) if what not in ("embedding",) else []
    assert "mysql_replication" not in {finding.code for finding in found}
    with pytest.raises(PreflightRefused, match=rf"column {what} of shadow_vec_docs is .*"):
        require(settings(source=source_section(sql_database, reader=LIBRARY)))


def test_vectors_and_json_of_mysql_are_refused(mysql_database: SqlDatabase, open_readers: Open) -> None:
    create_tables(mysql_database)
    readers = open_readers(mysql_database)
    mysql_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    for column in ("meta JSON", "embedding VECTOR(2)"):
        mysql_database.execute(f"ALTER TABLE shadow_vec_docs MODIFY {column}")
        readers.begin = readers.ours.head()
        mysql_database.execute(
            "INSERT INTO shadow_vec_docs (dataset_id, id, meta) VALUES ('d', UUID(), '{\"a\": 1.50}')",
        )
        assert f"column {column.split()[0]} of" in readers.refused()


@pytest.mark.parametrize(
    ("column", "value"),
    [("created_at", "0000-00-00 00:00:00"), ("d", "0000-00-00 00:00:00"), ("d", "2026-02-00 01:02:03")],
)
def test_dates_that_python_has_not_stop_it(
    sql_database: SqlDatabase, open_readers: Open, column: str, value: str
) -> None:
    create_tables(sql_database)
    if column == "d":
        column = "updated_at"
        sql_database.execute("ALTER TABLE shadow_vec_docs MODIFY updated_at DATETIME(6) NULL")
    readers = open_readers(sql_database)
    sql_database.execute(
        "SET sql_mode = ''",
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        f"INSERT INTO shadow_vec_docs (dataset_id, id, {column}) VALUES ('d', '1', '{value}')",
    )
    assert f"column {column} of" in readers.refused()


def more_than(tally: Tally, rows: int) -> Callable[[], bool]:
    return lambda: tally.total > rows


def test_killed_it_goes_on_and_so_does_the_other(mysql_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(mysql_database)
    readers = Readers(mysql_database)
    sections = {
        **sql_source(mysql_database, reader=LIBRARY, snapshot="no_data"),
        **embedded_log(tmp_path),
        "publish": {"takeover_wait_s": 0.3, "position_interval_s": 0.1},
    }
    site = Site(tmp_path, sections, secret=mysql_database.server.password)
    site.capture()
    tally = Tally()
    for kill in range(2):
        with site.service("capture", "run") as capture:
            Session(mysql_database.server, mysql_database.name, 33 + kill, tally).run(
                more_than(tally, 300 * (kill + 1))
            )
            capture.wait_until_working()
            capture.kill()
    site.capture()
    mysql_database.execute("DELETE FROM vec_dataset")
    site.change(source={"reader": "binlog"})
    site.capture()
    stand = [json.dumps(event["value"]["order"]) for event in site.events()]
    expected = [
        json.dumps(change.order._asdict()) for _, _, changes in readers.read(readers.ours) for change in changes
    ]
    readers.close()
    assert len(expected) > 600
    assert sorted(stand) == sorted(expected)
