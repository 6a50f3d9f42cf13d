"""The way from a row to a search, command by command, on real servers."""

from __future__ import annotations

from pathlib import Path

from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.schema import create_tables
from tests.system.site import Site, kafka_log, sql_source


def test_a_row_reaches_the_replica(
    sql_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    create_tables(sql_database)
    sections = {**sql_source(sql_database), **kafka_log(kafka_server, topic_prefix)}
    site = Site(tmp_path, sections, sql_database.server.password)
    sql_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        "INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', '1', 'heron')",
    )
    site.capture()
    site.apply()
    assert site.search("heron", "--mode", "text") == ["1"]
