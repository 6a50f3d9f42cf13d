"""The GTIDs of the place where reading begins: exactly those before it, while transactions commit and logs rotate."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from connector.source.binlog.gtid import GtidSet
from connector.source.binlog_source import BinlogSource
from tests.servers.model import SqlDatabase
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section

STARTS = 12


def before(database: SqlDatabase, file: str, position: int) -> GtidSet:
    """As the server tells it, event by event."""
    events = database.server.query(f"SHOW BINLOG EVENTS IN '{file}'")
    (previous,) = [row[5] for row in events if row[2] == "Previous_gtids"]
    given = [row[5].split("'")[1] for row in events if row[2].startswith("Gtid") and row[1] < position]
    return GtidSet.parse(",".join([previous.replace("\n", ""), *given]))


@pytest.fixture
def source(mysql_database: SqlDatabase) -> BinlogSource:
    create_tables(mysql_database)
    mysql_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        "SET gtid_next = 'AUTOMATIC:app'",  # its event is of another type
        "INSERT INTO vec_dataset (dataset_id) VALUES ('e')",
    )
    return BinlogSource(settings(source=source_section(mysql_database)))


def test_while_transactions_commit_and_logs_rotate(mysql_database: SqlDatabase, source: BinlogSource) -> None:
    stop = Event()

    def write(worker: int) -> None:
        connection = mysql_database.connect()
        with connection, connection.cursor() as cursor:
            n = 0
            while not stop.is_set():
                n += 1
                cursor.execute(
                    f"INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', '{worker}.{n}', 'text')"
                )
                connection.commit()
                if not worker and n % 20 == 0:
                    cursor.execute("FLUSH BINARY LOGS")

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, worker) for worker in range(2)]
        try:
            starts = [source.start(1) for _ in range(STARTS)]
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    source.close()
    for at in starts:
        assert GtidSet.parse(at.gtid_set or "") == before(mysql_database, at.file, at.position)


def test_while_somebody_holds_a_gtid_for_long(mysql_database: SqlDatabase, source: BinlogSource) -> None:
    """It is in no log yet; whether those in the log have all been committed can then not be waited for."""
    holder = mysql_database.connect()
    with holder, holder.cursor() as cursor:
        cursor.execute(f"SET gtid_next = '{secrets.token_hex(4)}-71ca-11e1-9e33-c80aa9429562:1'")
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO shadow_vec_docs (dataset_id, id) VALUES ('d', 'held')")
        at = source.start(1)
        holder.rollback()
        cursor.execute("SET gtid_next = 'AUTOMATIC'")
    source.close()
    assert GtidSet.parse(at.gtid_set or "") == before(mysql_database, at.file, at.position)
