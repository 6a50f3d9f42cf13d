"""An event as somebody else reads it: kcat takes it from Kafka, five lines of fastavro and a file decode it."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from threading import Event

import fastavro

from connector.broker.connect import open_broker
from connector.publish import Publisher
from connector.source.binlog_source import BinlogSource
from connector.topics import partition_of, table_topics
from tests.servers.model import KafkaServer, SqlDatabase
from tests.servers.programs import kcat
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section

AVRO = Path(__file__).parents[2] / "avro"


def test_an_event_by_kcat_and_fastavro(
    mariadb_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str
) -> None:
    create_tables(mariadb_database)
    config = settings(
        source=source_section(mariadb_database, snapshot="initial"),
        broker={"kind": "kafka", "bootstrap_servers": kafka_server.bootstrap_servers},
        topics={"prefix": topic_prefix, "partitions": 2},
    )
    vector = bytes(range(8))
    mariadb_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('handbook')",
        "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model, scn) "
        f"VALUES ('handbook', 'intro#0', 'Grüße', X'{vector.hex()}', 'm', 3)",
    )
    source = BinlogSource(config)
    Publisher(source, open_broker(config), config, Event()).run(until_current=True)
    source.close()

    topic = table_topics(topic_prefix, mariadb_database.name, "shadow_vec_docs").data
    command = [kcat(), "-b", kafka_server.bootstrap_servers, "-C", "-q", "-t", topic, "-o", "1", "-c", "1", "-D", ""]
    done = subprocess.run(
        [*command, "-p", str(partition_of("handbook", 2))], capture_output=True, check=True, timeout=60
    )
    data = done.stdout

    schema = fastavro.parse_schema(json.loads((AVRO / "value.avsc").read_text()))
    event = fastavro.schemaless_reader(io.BytesIO(data[10:]), schema, schema)

    assert isinstance(event, dict)
    assert (event["op"], event["dataset_id"], event["id"]) == ("r", "handbook", "intro#0")
    assert event["after"]["content"] == "Grüße"
    assert event["after"]["embedding"] == vector
    assert event["after"]["dims"] == 2
