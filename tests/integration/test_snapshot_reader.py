"""The reader of chunks on real servers: its bounds, its use of the index, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connector.errors import ConfigurationError, ConnectionLost, ForeignLog, PreflightRefused, UnsupportedChange
from connector.model import CommitOrder, DocKey, Document
from connector.settings import SourceSettings
from connector.source.binlog_source import BinlogSource
from connector.source.present import present_rows
from connector.source.snapshot import Chunk, Row, RowKey
from connector.source.snapshot_reader import SqlSnapshotReader, reading_session
from connector.source.snapshot_rows import document_rows
from connector.upstream.discover import mysql_shape
from tests.servers.fix_sql import StartSqlServer, fresh_database
from tests.servers.model import SqlDatabase
from tests.system.schema import PrimaryKey, create_tables
from tests.system.settings import settings, source_section

LOW = CommitOrder(1, 0, 0, 0)
TABLE = "shadow_vec_docs"


class Reading:
    """A reader, and the settings it was made from."""

    def __init__(self, database: SqlDatabase, chunk_bytes: int = 2**24, **overrides: Any) -> None:
        self.settings: SourceSettings = settings(source=source_section(database, **overrides)).source
        source = BinlogSource(settings(source=source_section(database)))
        self.identity = source.identity()
        source.close()
        self.reader = SqlSnapshotReader(self.settings, self.identity, chunk_bytes)

    def chunk(self, after: tuple[str, ...] | None = None, table: str = TABLE, dataset: str | None = None) -> Chunk:
        for _ in range(50):
            chunk = self.reader.read(table, after, LOW, set(), dataset)
            if chunk is not None:
                return chunk
        raise AssertionError("nothing becomes visible")

    def all(self) -> list[Chunk]:
        chunks = [self.chunk()]
        while chunks[-1].last_key is not None:
            chunks.append(self.chunk(chunks[-1].last_key))
        return chunks

    def handler_reads(self) -> int:
        """Rows that the server's engines have been asked for over the reader's connection."""
        assert self.reader._connection is not None
        with self.reader._connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(value) for _, value in cursor.fetchall())


@pytest.fixture
def opened() -> Iterator[list[Reading]]:
    found: list[Reading] = []
    yield found
    for reading in found:
        reading.reader.close()


def rows_of(chunks: list[Chunk]) -> dict[RowKey, Row]:
    rows: dict[RowKey, Row] = {}
    for chunk in chunks:
        assert not rows.keys() & chunk.rows.keys(), "a row was read twice"
        rows |= chunk.rows
    return rows


KEYS = {
    "dataset_and_id": "dataset_id, id",
    "id_and_dataset": "id, dataset_id",
    "id": "id",
}


@pytest.mark.parametrize("charset", ["utf8mb4 COLLATE utf8mb4_unicode_ci", "latin1", "ascii"])
@pytest.mark.parametrize("key", KEYS)
def test_each_chunk_reads_no_more_rows_than_it_has(
    sql_database: SqlDatabase, key: str, charset: str, opened: list[Reading]
) -> None:
    """However far into the table: the index of the primary key is entered where the last chunk ended."""
    text = f"VARCHAR(60) CHARACTER SET {charset} NOT NULL"
    sql_database.execute(
        f"CREATE TABLE vec_dataset (dataset_id {text}, PRIMARY KEY (dataset_id))",
        f"CREATE TABLE {TABLE} (dataset_id {text}, id {text}, content TEXT, meta TEXT, embedding BLOB,"
        f" embedding_model TEXT, scn INT, archived INT, PRIMARY KEY ({KEYS[key]}), KEY d (dataset_id), KEY i (id))",
    )
    with sql_database.connect() as connection, connection.cursor() as cursor:
        rows = [(f"d{n % 7}", f"{n:05}") for n in range(3000)]
        cursor.executemany(f"INSERT INTO {TABLE} (dataset_id, id) VALUES (%s, %s)", rows)
        cursor.execute(f"ANALYZE TABLE {TABLE}")
        cursor.fetchall()
    reading = Reading(sql_database, snapshot_chunk_rows=100)
    opened.append(reading)
    chunks = [reading.chunk()]
    before = reading.handler_reads()
    while chunks[-1].last_key is not None:
        chunks.append(reading.chunk(chunks[-1].last_key))
    overhead = 12 * len(chunks)  # ends of ranges, and what asking for status and the like reads
    assert reading.handler_reads() - before <= 3000 + overhead
    assert {(k.dataset_id, k.id) for k in rows_of(chunks) if isinstance(k, DocKey)} == set(rows)
    assert max(len(chunk.rows) for chunk in chunks) == 100
    # Of one dataset: that of the primary key, or the one of the dataset column, which has the primary key behind it.
    before = reading.handler_reads()
    chunks = [reading.chunk(dataset="d3")]
    while chunks[-1].last_key is not None:
        chunks.append(reading.chunk(chunks[-1].last_key, dataset="d3"))
    wanted = {row for row in rows if row[0] == "d3"}
    assert {(k.dataset_id, k.id) for k in rows_of(chunks) if isinstance(k, DocKey)} == wanted
    # MariaDB counts some twice where it takes the second; without either, all that follows is read for each chunk.
    assert reading.handler_reads() - before <= 1.5 * len(wanted) + 12 * len(chunks)


def test_chunks_are_bounded_by_bytes(sql_database: SqlDatabase, opened: list[Reading]) -> None:
    create_tables(sql_database)
    sql_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    sizes = [400_000] * 20 + [10] * 60 + [9_000_000] + [400_000] * 3
    with sql_database.connect() as connection, connection.cursor() as cursor:
        for n, size in enumerate(sizes):
            cursor.execute(
                f"INSERT INTO {TABLE} (dataset_id, id, embedding) VALUES ('d', %s, REPEAT('x', %s))", [f"{n:03}", size]
            )
    reading = Reading(sql_database, chunk_bytes=2_000_000, snapshot_chunk_rows=1000)
    opened.append(reading)
    chunks = reading.all()
    rows = rows_of(chunks)
    assert [len(row.embedding or b"") for row in rows.values() if isinstance(row, Document)] == sizes
    for chunk in chunks:
        lengths = [len(row.embedding or b"") for row in chunk.rows.values() if isinstance(row, Document)]
        assert sum(lengths[:-1]) < 2_000_000, "it goes on after the row that filled it"
    assert max(len(chunk.rows) for chunk in chunks) > 20, "it never grows again"


def test_an_altered_table_is_looked_up_again(sql_database: SqlDatabase, opened: list[Reading]) -> None:
    create_tables(sql_database)
    sql_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        f"INSERT INTO {TABLE} (dataset_id, id) VALUES ('d', '1'), ('d', '2'), ('d', '3')",
    )
    reading = Reading(sql_database, snapshot_chunk_rows=1)
    opened.append(reading)
    first = reading.chunk()
    sql_database.execute(f"ALTER TABLE {TABLE} DROP COLUMN created_at, ADD COLUMN more INT FIRST")
    second = reading.chunk(first.last_key)
    (row,) = second.rows.values()
    assert isinstance(row, Document)
    assert row.created_at is None
    assert row.updated_at is not None
    sql_database.execute(f"ALTER TABLE {TABLE} DROP PRIMARY KEY, ADD PRIMARY KEY (id)")
    reading.reader._tables.clear()
    third = reading.chunk(second.last_key)
    assert list(third.rows) == [DocKey("d", "1")], "with another key a table is read from its beginning"
    assert third.last_key == ("1",)
    sql_database.execute(f"DROP TABLE {TABLE}")
    with pytest.raises(ConfigurationError, match="no table shadow_vec_docs"):
        reading.chunk(third.last_key)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("content", "BLOB"),
        ("embedding", "TEXT"),
        ("scn", "VARCHAR(9)"),
        ("id", "VARBINARY(20)"),
        ("meta", "VARBINARY(9)"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(
    sql_database: SqlDatabase, column: str, kind: str, opened: list[Reading]
) -> None:
    create_tables(sql_database)
    sql_database.execute(
        f"ALTER TABLE {TABLE} MODIFY {column} {kind} NOT NULL",
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        f"INSERT INTO {TABLE} (dataset_id, id, content, meta, embedding, scn) VALUES ('d', 'x', 'x', 'x', 'x', 0)",
        f"UPDATE {TABLE} SET {column} = 'x'",
    )
    reading = Reading(sql_database)
    opened.append(reading)
    with pytest.raises(UnsupportedChange, match=rf"column {column} of .*{TABLE}"):
        reading.chunk()


def test_names_from_the_mapping(sql_database: SqlDatabase, opened: list[Reading]) -> None:
    sql_database.execute(
        "CREATE TABLE sets (ds VARCHAR(60) PRIMARY KEY, description TEXT)",
        "CREATE TABLE `my docs` (`the``id` VARCHAR(60) PRIMARY KEY, ds VARCHAR(60), body TEXT, meta TEXT, v BLOB,"
        " embedding_model TEXT, scn INT, archived INT)",
        "INSERT INTO sets VALUES ('d', 'one')",
        "INSERT INTO `my docs` VALUES ('1', 'd', 'text', NULL, 'v', 'm', 7, 1)",
    )
    mapping = {"dataset_id": "ds", "id": "the`id", "content": "body", "embedding": "v", "dataset_table": "sets"}
    reading = Reading(sql_database, tables=["my docs"], mapping=mapping)
    opened.append(reading)
    chunk = reading.chunk(table="my docs")
    assert chunk.rows == {DocKey("d", "1"): Document("text", None, b"v", "m", 7, True)}


def test_tables_without_transactions_are_refused(sql_database: SqlDatabase, opened: list[Reading]) -> None:
    sql_database.execute(
        "CREATE TABLE vec_dataset (dataset_id VARCHAR(60) PRIMARY KEY)",
        f"CREATE TABLE {TABLE} (dataset_id VARCHAR(60), id VARCHAR(60) PRIMARY KEY, content TEXT, meta TEXT,"
        " embedding BLOB, embedding_model TEXT, scn INT, archived INT) ENGINE = MyISAM",
    )
    reading = Reading(sql_database)
    opened.append(reading)
    with pytest.raises(PreflightRefused, match="MyISAM"):
        reading.chunk()


def test_another_server_is_refused(sql_database: SqlDatabase, opened: list[Reading]) -> None:
    create_tables(sql_database)
    reading = Reading(sql_database)
    other = replace(reading.identity, server_id=1, uuid="00000000-0000-0000-0000-000000000000")
    reading.reader = SqlSnapshotReader(reading.settings, other)
    opened.append(reading)
    with pytest.raises(ForeignLog, match="reached server"):
        reading.chunk()


def test_mysql_without_gtids_is_refused(start_sql_server: StartSqlServer, opened: list[Reading]) -> None:
    server = start_sql_server("mysql", {"gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"})
    with fresh_database(server) as database:
        create_tables(database)
        reading = Reading(database)
        opened.append(reading)
        with pytest.raises(PreflightRefused, match="gtid_mode is OFF"):
            reading.chunk()


def test_mysql_vectors(mysql_database: SqlDatabase, opened: list[Reading]) -> None:
    """The type VECTOR holds float32 in little-endian order, as embeddings are."""
    create_tables(mysql_database)
    mysql_database.execute(
        f"ALTER TABLE {TABLE} MODIFY embedding VECTOR(2)",
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        f"INSERT INTO {TABLE} (dataset_id, id, embedding) VALUES ('d', 'x', STRING_TO_VECTOR('[1,-2]'))",
    )
    reading = Reading(mysql_database)
    opened.append(reading)
    (row,) = reading.chunk().rows.values()
    assert isinstance(row, Document)
    assert row.embedding == bytes.fromhex("0000803f000000c0")


@pytest.mark.parametrize("key", ["dataset_and_id", "id"])
def test_present_rows_are_those_of_exactly_these_keys(sql_database: SqlDatabase, key: PrimaryKey) -> None:
    create_tables(sql_database, key)
    sql_database.execute(
        f"ALTER TABLE {TABLE} MODIFY id VARCHAR(191) COLLATE utf8mb4_general_ci NOT NULL",
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d'), ('e')",
        f"INSERT INTO {TABLE} (dataset_id, id, content)"
        " VALUES ('d', 'a', 'one'), ('d', 'B', 'two'), ('e', 'c', 'three')",
    )
    reading = Reading(sql_database)
    connection = reading_session(reading.settings, reading.identity)
    try:
        rows_of = document_rows(mysql_shape(connection, sql_database.name, TABLE, reading.settings.mapping))
        asked = {DocKey("d", "a"), DocKey("d", "b"), DocKey("d", "c"), DocKey("e", "c"), DocKey("x", "\\' OR 1 -- ")}
        found = present_rows(connection, rows_of, asked)
        assert {k: row.content for k, row in found.items() if isinstance(row, Document)} == {
            DocKey("d", "a"): "one",
            DocKey("e", "c"): "three",
        }
        assert present_rows(connection, rows_of, set()) == {}
    finally:
        connection.close()


def test_a_server_that_falls_silent_is_lost_and_found(start_sql_server: StartSqlServer, opened: list[Reading]) -> None:
    server = start_sql_server("mariadb")
    with fresh_database(server) as database:
        create_tables(database)
        reading = Reading(database)
        # Long enough for a server that has no turn on a busy machine.
        reading.reader = SqlSnapshotReader(reading.settings, reading.identity, silence_s=4)
        opened.append(reading)
        reading.chunk()
        server.process.pause()
        with pytest.raises(ConnectionLost):
            reading.chunk()
        server.process.resume()
        assert reading.chunk().last_key is None
