"""The two logs that the conformance suite runs on, each with the few things that only a test does to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import apsw
from confluent_kafka import Consumer, TopicPartition, admin

from connector.broker import Broker, Producer, Record, TopicSpec
from connector.broker import Consumer as LogConsumer
from connector.broker.embedded import EmbeddedBroker
from connector.broker.kafka import KafkaBroker
from connector.broker.kafka_log import log
from connector.model import Lane
from connector.settings import BrokerSettings

MAX_BYTES = 2**20


class Log(Protocol):
    """A broker under test. All names of topics begin with `prefix`."""

    prefix: str

    @property
    def broker(self) -> Broker:
        """A new one at each call: nothing is shared between the clients of a test."""

    def delete(self, topic: str) -> None:
        """As an operator would, behind the connector's back."""

    def forget_before(self, lane: Lane, offset: int) -> None:
        """Makes the offset the first of the lane, as retention does."""

    def committed(self, group: str, lane: Lane) -> int:
        """What lag tools see."""


@dataclass
class KafkaLog:
    prefix: str
    bootstrap_servers: str
    options: dict[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def broker(self) -> Broker:
        settings = BrokerSettings(bootstrap_servers=self.bootstrap_servers, options=self.options)
        return KafkaBroker(settings, MAX_BYTES)

    @property
    def admin(self) -> Any:
        return admin.AdminClient({"bootstrap.servers": self.bootstrap_servers}, logger=log)

    def delete(self, topic: str) -> None:
        client = self.admin
        client.delete_topics([topic])[topic].result(30)
        deadline = time.monotonic() + 90
        while topic in client.list_topics(timeout=10).topics:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def forget_before(self, lane: Lane, offset: int) -> None:
        place = TopicPartition(lane.topic, lane.partition, offset)
        client = self.admin  # its futures end with it
        client.delete_records([place])[place].result(30)

    def committed(self, group: str, lane: Lane) -> int:
        consumer: Any = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": group}, logger=log)
        try:
            (place,) = consumer.committed([TopicPartition(lane.topic, lane.partition)], timeout=30)
            return int(place.offset)
        finally:
            consumer.close()


@dataclass
class EmbeddedLog:
    prefix: str
    path: Path

    @property
    def broker(self) -> Broker:
        return EmbeddedBroker(self.path)

    def _execute(self, sql: str, *values: object) -> list[Any]:
        connection = apsw.Connection(str(self.path))
        connection.execute("PRAGMA foreign_keys = ON").fetchall()
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def delete(self, topic: str) -> None:
        self._execute("DELETE FROM topic WHERE name = ?", topic)

    def forget_before(self, lane: Lane, offset: int) -> None:
        self._execute(
            "UPDATE lane SET begin = ? WHERE partition = ? AND topic = (SELECT id FROM topic WHERE name = ?)",
            offset,
            lane.partition,
            lane.topic,
        )

    def committed(self, group: str, lane: Lane) -> int:
        rows = self._execute(
            "SELECT g.next FROM group_offset g JOIN lane ON lane.id = g.lane JOIN topic ON topic.id = lane.topic"
            " WHERE g.name = ? AND topic.name = ? AND partition = ?",
            group,
            lane.topic,
            lane.partition,
        )
        return int(rows[0][0]) if rows else -1


def make_topic(log: Log, name: str = "docs", partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
    """Its full name. Deleted by age, unless the configuration says otherwise."""
    topic = f"{log.prefix}.{name}"
    settings = {"cleanup.policy": "delete", "max.message.bytes": str(MAX_BYTES), **(config or {})}
    client = log.broker.admin()
    try:
        client.create([TopicSpec(topic, partitions, config=settings)])
    finally:
        client.close()
    return topic


def send_all(log: Log, records: Sequence[tuple[Lane, bytes | None, bytes | None]]) -> list[tuple[Lane, int]]:
    """Sends with a producer of its own; returns what was acknowledged, in that order."""
    acknowledged: list[tuple[Lane, int]] = []
    producer: Producer = log.broker.producer(lambda lane, offset: acknowledged.append((lane, offset)))
    try:
        for lane, key, value in records:
            producer.send(lane, key, value)
            producer.poll(0)
        producer.flush(60)
    finally:
        producer.close()
    return acknowledged


def read(consumer: LogConsumer, count: int, timeout_s: float = 90) -> list[Record]:
    """Exactly so many records, or fewer when time runs out."""
    records: list[Record] = []
    deadline = time.monotonic() + timeout_s
    while len(records) < count and time.monotonic() < deadline:
        records += consumer.consume(count - len(records), 0.2)
    return records


def read_lanes(log: Log, offsets: Mapping[Lane, int], count: int) -> list[Record]:
    """With a consumer of its own."""
    consumer = log.broker.consumer("readers")
    try:
        consumer.assign(offsets)
        return read(consumer, count)
    finally:
        consumer.close()
