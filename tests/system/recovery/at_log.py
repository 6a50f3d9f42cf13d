"""Faults of Kafka."""

from __future__ import annotations

from typing import Any

from confluent_kafka import admin

from tests.servers.model import KafkaServer
from tests.system.recovery.outcome import Fault, Outcome
from tests.system.recovery.rig import Scene

LIMIT = 2_000_000  # more than a batch of small records has


def refused(scene: Scene) -> Outcome:
    line = scene.line
    ended = len(line.supervisor.ended)
    topic, before = line.lanes[0].topic, line.settings().topics.max_message_bytes
    _limit(scene.kafka, topic, LIMIT)
    line.database.execute(
        "INSERT INTO shadow_vec_docs (dataset_id, id, content)"
        f" VALUES ('d1', 'large-{scene.turns}', REPEAT('x', {LIMIT}))"
    )
    line.wait_for_end(line.capture, 7, ended)
    _limit(scene.kafka, topic, before)
    mark = line.mark()
    line.capture.start()
    return Outcome(line.took(mark))


def _limit(kafka: KafkaServer, topic: str, size: int) -> None:
    library: Any = admin
    entry = library.ConfigEntry("max.message.bytes", str(size), incremental_operation=library.AlterConfigOpType.SET)
    resource = library.ConfigResource(library.ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    client = library.AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in client.incremental_alter_configs([resource]).values():
        future.result(30)


FAULTS = (
    Fault(
        "Kafka refuses a record in mid-stream",
        "`max.message.bytes` of the topic was lowered. Capture names the document and ends with 7; the limit is put "
        "back, and capture started.",
        "capture is started",
        refused,
    ),
)
