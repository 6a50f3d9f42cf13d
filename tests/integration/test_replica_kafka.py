"""A replica on real Kafka: following, resuming, compaction, an outage of the broker, a topic made anew."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from connector.broker import Broker
from connector.broker.kafka import KafkaBroker
from connector.errors import ForeignLog, Unreachable
from connector.model import Lane
from connector.replica import digests, open_reader, run
from connector.settings import BrokerSettings, Settings
from connector.topics import partition_of
from tests.conformance.broker_logs import KafkaLog
from tests.integration.test_replica_follow import PARTITIONS, Log, Running, ids, rows
from tests.servers.fix_kafka import StartKafka
from tests.servers.model import KafkaServer
from tests.unit.replica.events import at, delete, floor, put


def broker_of(server: KafkaServer) -> Broker:
    return KafkaBroker(BrokerSettings(bootstrap_servers=server.bootstrap_servers), 2**20)


def configured(directory: Path, prefix: str, name: str = "replica.db", **replica: Any) -> Settings:
    sections: dict[str, Any] = {
        "topics": {"prefix": prefix, "partitions": PARTITIONS},
        "replica": {"path": directory / name, "gc_interval_s": 0.05, "group": f"{prefix}-group", **replica},
    }
    return Settings(**sections)


def catch_up(settings: Settings, broker: Broker) -> Any:
    return run(settings, broker, threading.Event(), until_current=True)


def digests_of(settings: Settings) -> dict[str, str]:
    connection = open_reader(settings.replica.path)
    try:
        return digests(connection)
    finally:
        connection.close()


def test_it_catches_up_resumes_and_follows(tmp_path: Path, kafka_server: KafkaServer, topic_prefix: str) -> None:
    broker = broker_of(kafka_server)
    log = Log(broker, topic_prefix)
    settings = configured(tmp_path, topic_prefix)
    log.publish(
        *(put(f"d{i % 7}", f"x{i}", at(i + 1)) for i in range(500)),
        *(delete(f"d{i % 7}", f"x{i}", at(600 + i)) for i in range(0, 500, 5)),
        floor(None, at(50, 0)),
    )
    done = catch_up(settings, broker)
    assert (done.records, done.applied.upserted, done.ready) == (706, 500, True)
    assert len(ids(settings)) == 500 - 49 - 100 + 10
    log.publish(put("d1", "new", at(2000)))
    done = catch_up(settings, broker)
    assert (done.records, done.applied.skipped) == (1, 0)
    running = Running(settings, broker)
    try:
        running.wait(lambda p: p.ready)
        log.publish(put("d1", "newer", at(2001)))
        running.wait(lambda p: p.records == 1)
        assert ("d1", "newer") in ids(settings)
    finally:
        running.end()
    other = configured(tmp_path, topic_prefix, "other.db", batch_records=11)
    catch_up(other, broker)
    assert digests_of(other) == digests_of(settings)
    lane = Lane(log.topics.data, partition_of("d1", PARTITIONS))
    committed = KafkaLog(topic_prefix, kafka_server.bootstrap_servers).committed(settings.replica.group, lane)
    (stored,) = rows(
        settings,
        f"SELECT next_offset FROM partition_state WHERE topic = '{lane.topic}' AND partition = {lane.partition}",
    )
    assert committed == stored[0]


def test_a_broker_that_goes_away_is_waited_for(tmp_path: Path, start_kafka: StartKafka) -> None:
    server = start_kafka()
    broker = broker_of(server)
    log = Log(broker, "t")
    settings = configured(tmp_path, "t")
    running = Running(settings, broker)
    try:
        running.wait(lambda p: p.ready)
        log.publish(put("a", "x", at(1)))
        running.wait(lambda p: p.records == 1)
        server.stop()
        with pytest.raises(Unreachable):
            catch_up(configured(tmp_path, "t", "other.db"), broker)
        server.start()
        log.publish(put("a", "y", at(2)))
        running.wait(lambda p: p.records == 2)
        assert ids(settings) == [("a", "x"), ("a", "y")]
    finally:
        running.end()


def test_a_topic_made_anew_is_noticed(tmp_path: Path, kafka_server: KafkaServer, topic_prefix: str) -> None:
    broker = broker_of(kafka_server)
    log = Log(broker, topic_prefix)
    settings = configured(tmp_path, topic_prefix)
    log.publish(put("a", "x", at(1)))
    catch_up(settings, broker)
    KafkaLog(topic_prefix, kafka_server.bootstrap_servers).delete(log.topics.data)
    with pytest.raises(ForeignLog, match="does not exist"):
        catch_up(settings, broker)
    log.create()
    log.publish(*(put("a", f"x{i}", at(i + 1)) for i in range(20)))
    with pytest.raises(ForeignLog, match="made anew"):
        catch_up(settings, broker)
    assert ids(settings) == [("a", "x")]


def test_records_deleted_unread_are_noticed(tmp_path: Path, kafka_server: KafkaServer, topic_prefix: str) -> None:
    broker = broker_of(kafka_server)
    log = Log(broker, topic_prefix, **{"cleanup.policy": "delete,compact"})
    settings = configured(tmp_path, topic_prefix)
    log.publish(put("a", "x", at(1)))
    catch_up(settings, broker)
    lane = Lane(log.topics.data, partition_of("a", PARTITIONS))
    log.publish(put("a", "y", at(2)), put("a", "z", at(3)))
    KafkaLog(topic_prefix, kafka_server.bootstrap_servers).forget_before(lane, 2)
    with pytest.raises(ForeignLog, match="records were deleted that it has not read"):
        catch_up(settings, broker)
    assert ids(settings) == [("a", "x")]
