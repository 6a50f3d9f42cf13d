"""A capture of tables in several databases, and a replica of each database beside its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from connector.model import Change, Lane
from connector.publish import followed_topics
from connector.publish.log_state import read_to_end
from connector.replica import run
from connector.settings import Settings
from connector.wire import decode_value
from tests.servers.model import SqlDatabase
from tests.system.compare import (
    COLUMNS,
    Rows,
    derived_structures_agree,
    differences,
    open_plainly,
    replica_datasets,
    source_datasets,
    source_rows,
)
from tests.system.followed import Followed

INSERT = "INSERT INTO {} (dataset_id, id, content, meta, embedding, embedding_model, scn) VALUES "


class Several(Followed):
    """Of the first database, whose name goes without saying, and others."""

    def check_each(self, tables: Mapping[SqlDatabase, Sequence[str]]) -> None:
        """A replica of each database has the rows of these tables and no other, and that database's datasets."""
        for database, names in tables.items():
            settings = self.replica_of(database.name)
            run(settings, self.broker, Event(), until_current=True)
            path = settings.replica.path
            for table in names:
                expected = source_rows(database.server, database.name, table) if exists(database, table) else {}
                wrong = differences(expected, rows_of(path, table))
                assert wrong == [], (database.name, table, wrong)
            connection = open_plainly(path)
            found = {row[0] for row in connection.execute("SELECT DISTINCT shadow_table FROM vec_sync_state")}
            connection.close()
            assert found <= {*names}
            there = exists(database, "vec_dataset")
            assert replica_datasets(path) == (source_datasets(database.server, database.name) if there else {})
            derived_structures_agree(path)

    def written(self) -> Sequence[Change]:
        """All that stands on the data topics."""
        chosen = self.settings()
        topics = [of.data for of in followed_topics(chosen).values()]
        starts = {Lane(topic, partition): 0 for topic in topics for partition in range(chosen.topics.partitions)}
        records = read_to_end(self.broker, starts)
        return [decode_value(record.value).change for record in records if record.value is not None]

    def replica_of(self, database: str) -> Settings:
        chosen = self.settings()
        path = self.directory / f"{database}.db"
        return chosen.model_copy(
            update={"replica": chosen.replica.model_copy(update={"path": path, "database": database})}
        )


def exists(database: SqlDatabase, table: str) -> bool:
    sql = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
    return bool(database.server.query(sql, [database.name, table]))


def rows_of(replica: Path, table: str) -> Rows:
    """None where the replica has heard of no such table."""
    connection = open_plainly(replica)
    try:
        views = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
        if table not in views:
            return {}
        sql = f'SELECT dataset_id, id, {COLUMNS}, created_at, updated_at FROM "{table}"'
        found: list[Any] = connection.execute(sql).fetchall()
        return {(row[0], row[1]): tuple(row[2:]) for row in found}
    finally:
        connection.close()
