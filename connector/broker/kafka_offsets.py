"""Offsets of a consumer group, published for lag tools. Nothing resumes from them, so nothing waits for them long.

They go by the admin client. A consumer that is asked to commit keeps what it cannot send while its brokers are gone,
and closing it waits for that: 45 seconds as it comes, and once, in a test, without end (librdkafka 2.16).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition, admin

from connector.broker.kafka_errors import kafka_error, meaning
from connector.broker.kafka_log import log
from connector.broker.kafka_unanswered import PATIENCE_S, keep
from connector.model import Lane

_kafka: Any = admin  # its type stubs leave half of it out

_RETRY_S = 1.0


class GroupOffsets:
    """One request at a time: while it is under way newer offsets replace older ones. options: of an admin client."""

    def __init__(self, options: Mapping[str, str], group: str) -> None:
        self._group = group
        self._request: Future[Any] | None = None
        self._asked: Mapping[Lane, int] = {}  # by the request that is under way
        self._wanted: dict[Lane, int] = {}
        self._not_before = 0.0
        self._problem = ""
        try:
            self._client = _kafka.AdminClient(dict(options), logger=log)
        except KafkaException as error:
            raise meaning(kafka_error(error), "starting a Kafka client") from error

    def publish(self, offsets: Mapping[Lane, int]) -> None:
        self._wanted.update(offsets)
        self.poll()

    def poll(self) -> None:
        """Sees to what is left, without waiting. To be called now and then."""
        if self._request is not None or self._wanted:
            self._go_on(0)

    def close(self, wait_s: float) -> None:
        """Waits so long for an answer, at most, to each of what is under way and what comes after it."""
        if wait_s:
            self._go_on(wait_s)
            self._answered(wait_s)
        if self._request is not None:
            keep(self._client)

    def _go_on(self, wait_s: float) -> None:
        if not self._answered(wait_s) or not self._wanted or time.monotonic() < self._not_before:
            return
        self._asked, self._wanted = self._wanted, {}
        places = [TopicPartition(lane.topic, lane.partition, offset) for lane, offset in self._asked.items()]
        wanted = ConsumerGroupTopicPartitions(self._group, places)
        answers = self._client.alter_consumer_group_offsets([wanted], request_timeout=PATIENCE_S)
        self._request = answers[self._group]

    def _answered(self, wait_s: float) -> bool:
        """Whether nothing is under way any more."""
        if self._request is None:
            return True
        try:
            places = self._request.result(wait_s).topic_partitions
            refused = [place.error.str() for place in places if place.error is not None]
        except NotYet:
            return False
        except KafkaException as error:
            refused = [kafka_error(error).str()]
        self._request = None
        if refused:
            self._wanted = {**self._asked, **self._wanted}
            self._not_before = time.monotonic() + _RETRY_S
        problem = refused[0] if refused else ""
        if problem and problem != self._problem:
            log.warning("offsets for lag tools are not published yet: %s", problem)
        self._problem = problem
        return True
