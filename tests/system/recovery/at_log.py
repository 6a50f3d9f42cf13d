"""Faults of Kafka, and of the network to it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from confluent_kafka import admin

from tests.bench.load import insert
from tests.servers.model import KafkaServer
from tests.system.recovery.line import Line, resident_mb
from tests.system.recovery.outcome import Fault, Outcome
from tests.system.recovery.rig import Scene, Setup

AWAY_S = 30
STALLED_S = 60
ROWS = 30_000
LIMIT = 2_000_000  # more than a batch of small records has


def node_killed(scene: Scene) -> Outcome:
    """Each in its turn. Afterwards all have all records again."""
    line, kafka = scene.line, scene.kafka
    node = kafka.nodes[scene.turns % len(kafka.nodes)]
    mark = line.mark()
    node.kill()
    outcome = Outcome(line.took(mark))
    node.start()
    line.wait(lambda: _copies(kafka, line) == len(kafka.nodes))
    return outcome


def _copies(kafka: KafkaServer, line: Line) -> int:
    """In sync, of the lane that has the fewest."""
    client = admin.AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    topics = client.list_topics(line.lanes[0].topic, timeout=10).topics
    return min(len(partition.isrs) for topic in topics.values() for partition in topic.partitions.values())


def all_stopped(scene: Scene) -> Outcome:
    scene.kafka.stop()
    time.sleep(AWAY_S)
    scene.kafka.start()
    return Outcome(scene.line.took(scene.line.mark()))


def stalled(scene: Scene) -> Outcome:
    line, (node,) = scene.line, scene.kafka.nodes
    before = resident_mb(line.capture)
    node.pause()
    began = time.monotonic()
    insert(line.database, ROWS)
    most = resident_mb(line.capture)
    while time.monotonic() - began < STALLED_S:
        with suppress(KeyError, OSError):  # it is being started again
            most = max(most, resident_mb(line.capture))
        time.sleep(0.2)
    node.resume()
    mark = line.mark()
    took = line.took(mark)
    most = max(most, resident_mb(line.capture))
    return Outcome(took, {"MB that capture had before": before, "MB that it had at most": most})


def silent(scene: Scene) -> Outcome:
    mark = scene.line.mark()
    scene.broker_proxy.fall_silent()
    return Outcome(scene.line.took(mark))


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
        "A node of Kafka is killed, of three, with `min.insync.replicas=2`",
        "Its lanes get other leaders; the coordinator of the lease may be another one, too.",
        "the kill",
        node_killed,
        setup=Setup(several=True),
    ),
    Fault(
        f"All nodes of Kafka are stopped for {AWAY_S} s",
        "Capture and replica wait.",
        "Kafka answers again",
        all_stopped,
    ),
    Fault(
        f"Kafka stands still (SIGSTOP) for {STALLED_S} s, and {ROWS:,} rows of 2.1 KB are written meanwhile",
        "What is on its way is bounded (`publish.in_flight_bytes`). The second time is that of those rows, too.",
        "Kafka goes on",
        stalled,
        times=2,
        setup=Setup(large=True),
        anew=True,
    ),
    Fault(
        "The network between capture and Kafka falls silent",
        "The connections that are open stay so; new ones work.",
        "the silence begins",
        silent,
        setup=Setup(far=True),
    ),
    Fault(
        "Kafka refuses a record in mid-stream",
        "`max.message.bytes` of the topic was lowered. Capture names the document and ends with 7; the limit is put "
        "back, and capture started.",
        "capture is started",
        refused,
    ),
)
