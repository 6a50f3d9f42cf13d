"""A new snapshot is the way out: what vanished unseen goes, what was changed unseen is right again."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from connector.broker.connect import open_broker
from connector.errors import DataRefused, ForeignLog, PositionLost, UnseenRows
from connector.publish import Publisher, recorded_position, request_snapshot
from connector.replica import run
from connector.settings import Settings
from connector.source.binlog_source import BinlogSource
from tests.servers.fix_sql import StartSqlServer, fresh_database
from tests.servers.model import SqlDatabase
from tests.system.compare import derived_structures_agree, differences, replica_datasets, replica_rows, source_datasets
from tests.system.compare import source_rows as rows_of
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section

INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model, scn) VALUES "


class Site:
    """A source, an embedded log, a replica."""

    def __init__(self, database: SqlDatabase, directory: Path) -> None:
        self.database = database
        self.replica = directory / "replica.db"
        self.settings: Settings = settings(
            source=source_section(database, snapshot="initial", snapshot_chunk_rows=3),
            broker={"kind": "embedded", "path": str(directory / "log.db")},
            topics={"partitions": 3},
            replica={"path": str(self.replica)},
        )
        self.broker = open_broker(self.settings)

    def capture(self) -> None:
        source = BinlogSource(self.settings)
        try:
            Publisher(source, self.broker, self.settings, Event()).run(until_current=True)
        finally:
            source.close()

    def ask(self) -> Any:
        source = BinlogSource(self.settings)
        try:
            return request_snapshot(source, self.broker, self.settings)
        finally:
            source.close()

    def check(self) -> None:
        run(self.settings, self.broker, Event(), until_current=True)
        server, name = self.database.server, self.database.name
        assert differences(rows_of(server, name), replica_rows(self.replica)) == []
        assert replica_datasets(self.replica) == source_datasets(server, name)
        derived_structures_agree(self.replica)


@pytest.fixture
def site(sql_database: SqlDatabase, tmp_path: Path) -> Site:
    create_tables(sql_database)
    sql_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('a'), ('b'), ('gone')",
        INSERT + ",".join(f"('{d}','{n}','text {n}',X'0000803F','m',1)" for d in ("a", "b", "gone") for n in range(10)),
    )
    found = Site(sql_database, tmp_path)
    found.capture()
    found.check()
    return found


def test_what_vanished_unseen_goes(site: Site) -> None:
    site.database.execute(
        "SET SESSION sql_log_bin = 0",
        "DELETE FROM shadow_vec_docs WHERE dataset_id = 'a' AND id IN ('1', '2', '3')",
        "UPDATE shadow_vec_docs SET content = 'changed unseen' WHERE dataset_id = 'b' AND id = '4'",
        "DELETE FROM vec_dataset WHERE dataset_id = 'gone'",
    )
    site.capture()
    with pytest.raises(AssertionError):
        site.check()  # nobody could know
    site.ask()
    site.capture()
    site.check()


def test_after_a_statement_that_cannot_be_followed(site: Site) -> None:
    site.database.execute(
        "CREATE TABLE swapped LIKE shadow_vec_docs",
        "RENAME TABLE shadow_vec_docs TO old, swapped TO shadow_vec_docs",
        INSERT + "('b','new','text',NULL,'m',1)",
    )
    with pytest.raises(UnseenRows, match="as a whole"):
        site.capture()
    site.ask()
    site.capture()
    site.check()


def test_without_a_first_run_there_is_nothing_to_ask(sql_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(sql_database)
    site = Site(sql_database, tmp_path)
    site.broker.admin().close()
    with pytest.raises(DataRefused, match="nothing is recorded"):
        site.ask()


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_after_a_reset_of_the_log(start_sql_server: StartSqlServer, tmp_path: Path, kind: Any) -> None:
    server = start_sql_server(kind)
    with fresh_database(server) as database:
        create_tables(database)
        database.execute(
            "INSERT INTO vec_dataset (dataset_id) VALUES ('a')",
            INSERT + ",".join(f"('a','{n}','text {n}',NULL,'m',1)" for n in range(10)),
        )
        site = Site(database, tmp_path)
        site.capture()
        site.check()
        server.query("RESET MASTER" if kind == "mariadb" else "RESET BINARY LOGS AND GTIDS")
        database.execute("DELETE FROM shadow_vec_docs WHERE id = '3'")
        with pytest.raises((ForeignLog, PositionLost)):
            site.capture()
        begin = site.ask()
        assert begin.epoch == 2
        site.capture()
        site.check()
        database.execute("DELETE FROM shadow_vec_docs WHERE id = '4'", INSERT + "('a','11','more',NULL,'m',1)")
        site.capture()
        site.check()
        recorded = recorded_position(site.broker, site.settings.topics.prefix)
        assert recorded is not None
        assert recorded.source.epoch == 2
