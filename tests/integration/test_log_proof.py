"""A log that looks like the one that was read, and is not, is refused; the one that was read is known again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connector.errors import ForeignLog
from connector.model import SourcePosition
from connector.source.binlog_source import BinlogSource
from tests.servers.fix_provider import server_needed
from tests.servers.fix_sql import fresh_database
from tests.servers.model import Provider, SqlDatabase, SqlKind
from tests.system.packed import unpacked
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section

RESET: dict[SqlKind, str] = {"mariadb": "RESET MASTER", "mysql": "RESET BINARY LOGS AND GTIDS"}
INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', '{}', '{}')"


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def own_server(request: pytest.FixtureRequest, provider: Provider) -> Iterator[Any]:
    """A server whose logs these tests may reset and purge."""
    with server_needed():
        starting = provider.sql(request.param)
        server = starting.__enter__()
    yield server
    starting.__exit__(None, None, None)


@pytest.fixture
def database(own_server: Any) -> Iterator[SqlDatabase]:
    with fresh_database(own_server) as found:
        create_tables(found)
        found.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
        yield found


@pytest.fixture
def source(database: SqlDatabase) -> Iterator[BinlogSource]:
    found = BinlogSource(settings(source=source_section(database)))
    yield found
    found.close()


def reset(database: SqlDatabase) -> None:
    database.server.query(RESET[database.server.kind])


def put(database: SqlDatabase, *ids: str, content: str = "text") -> None:
    database.execute(*(INSERT.format(id, content) for id in ids))


def read(source: BinlogSource, after: SourcePosition) -> tuple[list[str], SourcePosition]:
    """(ids of the documents, position) up to the present end."""
    stream, head = source.stream(after), source.head()
    found: list[str] = []
    deadline = time.monotonic() + 90
    try:
        while not stream.reached(head):
            assert time.monotonic() < deadline
            transaction = stream.next(0.2)
            if transaction is not None:
                found += [change.key.id for change in unpacked(transaction.changes)]  # type: ignore[union-attr]
        return found, stream.position()
    finally:
        stream.close()


def as_if_in_the_same_second(source: BinlogSource, recorded: SourcePosition) -> SourcePosition:
    """What would be recorded had the log that stands there now been begun in the second of the one that was read."""
    _, now = read(source, replace(source.start(1), mark=None))
    assert now.file == recorded.file
    assert now.file_began
    return replace(recorded, file_began=now.file_began)


@pytest.mark.parametrize("begin", ["read on", "just begun"])
@pytest.mark.parametrize("then", ["the same", "more"])
def test_a_log_reset_within_the_same_second(database: SqlDatabase, source: BinlogSource, then: str, begin: str) -> None:
    reset(database)
    if begin == "read on":
        start = source.start(1)
        put(database, "a", "b")
        ids, recorded = read(source, start)
        assert ids == ["a", "b"]
    else:
        put(database, "a", "b")
        recorded = source.start(1)
    assert recorded.mark is not None
    put(database, "lost")  # committed in the old log, and never read
    reset(database)
    put(database, *{"the same": "cd", "more": "cdef"}[then])
    with pytest.raises(ForeignLog, match="reset"):
        read(source, as_if_in_the_same_second(source, recorded))


def test_a_log_that_was_not_reset_is_known_again(database: SqlDatabase, source: BinlogSource) -> None:
    """After rotation, a restart of the server, statements that are no transactions, and nothing at all."""
    put(database, "a")
    at = source.start(1)
    for step in (
        lambda: put(database, "b"),
        lambda: None,
        lambda: database.execute("CREATE TABLE other (id INT) ENGINE=MyISAM", "INSERT INTO other VALUES (1)"),
        lambda: database.server.query("FLUSH BINARY LOGS"),
        lambda: None,
        lambda: put(database, "c"),
        lambda: database.server.restart() if database.server.kind == "mariadb" else None,  # MySQL takes its time
        lambda: put(database, "d"),
    ):
        step()
        ids, at = read(source, at)
        assert at.mark is not None
    assert ids == ["d"]


def test_a_large_transaction_is_proven_by_one_event(database: SqlDatabase, source: BinlogSource) -> None:
    """Also where it is compressed, and has no event but its first and its last."""
    start = source.start(1)
    connection = database.connect()
    with connection, connection.cursor() as cursor:
        if database.server.kind == "mysql":
            cursor.execute("SET SESSION binlog_transaction_compression = ON")
        cursor.execute("BEGIN")
        for n in range(50):
            cursor.execute(INSERT.format(n, "x" * 100_000))
        cursor.execute("COMMIT")
    ids, at = read(source, start)
    assert len(ids) == 50
    assert at.mark is not None
    assert len(at.mark.event) <= 256
    assert read(source, at)[0] == []
    assert at.mark.position >= start.position


def test_the_file_of_the_mark_may_be_purged(database: SqlDatabase, source: BinlogSource) -> None:
    start = source.start(1)
    put(database, "a")
    database.server.query("FLUSH BINARY LOGS")
    ids, at = read(source, start)
    assert ids == ["a"]
    assert at.mark is not None
    assert at.mark.file != at.file
    deadline = time.monotonic() + 90
    while database.server.query("SHOW BINARY LOGS")[0][0] != at.file:  # a file that is being read stays
        assert time.monotonic() < deadline
        database.server.query(f"PURGE BINARY LOGS TO '{at.file}'")
        time.sleep(0.1)
    put(database, "b")
    assert read(source, at)[0] == ["b"]


def test_a_position_without_a_mark_goes_on_and_gets_one(database: SqlDatabase, source: BinlogSource) -> None:
    """As versions wrote it that knew of none."""
    at = replace(source.start(1), mark=None)
    put(database, "a")
    ids, after = read(source, at)
    assert ids == ["a"]
    assert after.mark is not None


def test_statements_mark_a_log_that_holds_no_transactions(database: SqlDatabase, source: BinlogSource) -> None:
    reset(database)
    database.execute("CREATE TABLE one (id INT)")
    at = source.start(1)
    assert at.mark is not None
    assert read(source, at)[0] == []
    reset(database)
    database.execute("CREATE TABLE two (id INT)", "CREATE TABLE three (id INT)")
    with pytest.raises(ForeignLog, match="reset"):
        read(source, as_if_in_the_same_second(source, at))
