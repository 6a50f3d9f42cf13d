"""The producer on a Kafka cluster: idempotent and gapless. After a failed delivery it takes and writes nothing more.

It must never acknowledge what all in-sync replicas do not have, and never give a record up in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from confluent_kafka import KafkaError, KafkaException, Producer

from connector.broker import Acknowledged, Admin, Headers
from connector.broker.kafka_errors import kafka_error, meaning
from connector.broker.kafka_log import log
from connector.broker.kafka_options import largest_record
from connector.errors import ConfigurationError, DeliveryFailed, ForeignLog, UnpublishableRow
from connector.model import Lane

STALLED_S = 120.0
"""Records waiting this long without any acknowledgement: the brokers are not there."""

_HURRY_S = 0.001
"""Only while the client's flush() runs does it send what it holds; it returns as soon as everything is acknowledged."""

_REASON_S = 2.0
"""A client that has failed for good refuses records from that moment on, and tells a moment later why."""

_CLOSED = "it was closed"
_CLOSE_S = 5.0

Delivered = Callable[[KafkaError | None, Any], None]


class _Target(NamedTuple):
    """A topic that records are sent to. delivered: called for each record of a partition. limit: bytes of key, value
    and headers together."""

    delivered: Sequence[Delivered]
    limit: int
    keyed: bool


class KafkaProducer:
    """Fulfils `connector.broker.Producer`. options: as librdkafka takes them.

    Sizes are compared with the topic's max.message.bytes as it was when the producer first sent to it. Where the broker
    refuses a record all the same, that is a failed delivery like any other: the next producer knows the new limit.
    """

    def __init__(
        self,
        options: Mapping[str, str],
        max_message_bytes: int,
        acknowledged: Acknowledged,
        open_admin: Callable[[], Admin],
        stalled_s: float = STALLED_S,
    ) -> None:
        self._acknowledged = acknowledged
        self._max_message_bytes = max_message_bytes
        self._batch_bytes = int(options["batch.size"])
        self._open_admin = open_admin
        self._stalled_s = stalled_s
        self._targets: dict[str, _Target] = {}
        self._in_flight = 0
        self._progress = 0.0  # when something was last acknowledged, or the first of what is in flight was sent
        self._failure: str | None = None
        self._last_error = ""
        try:
            self._producer: Any = Producer({**options, "error_cb": self._on_error}, logger=log)
        except KafkaException as error:
            raise meaning(kafka_error(error), "starting a Kafka producer") from error

    def send(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        if self._failure is not None:
            self._refuse()
        topic, partition = lane
        target = self._targets.get(topic) or self._target(topic)
        size = len(key or b"") + len(value or b"")
        if headers:
            size += sum(len(name.encode()) + len(content) + 10 for name, content in headers)
        if size > target.limit:
            raise UnpublishableRow(
                f"a record of {size} bytes under key {_shown(key)} is larger than {topic} takes ({target.limit} bytes)"
            )
        if key is None and target.keyed:
            raise UnpublishableRow(f"{topic} is compacted and takes no record without a key")
        if not 0 <= partition < len(target.delivered):
            raise ForeignLog(f"topic {topic} has {len(target.delivered)} partitions, and no partition {partition}")
        if not self._in_flight:
            self._progress = time.monotonic()
        while True:
            try:
                if headers:
                    self._producer.produce(
                        topic, value, key, partition, target.delivered[partition], headers=list(headers)
                    )
                else:
                    self._producer.produce(topic, value, key, partition, target.delivered[partition])
            except BufferError:
                self.poll(0.02)
                continue
            except KafkaException as error:
                if kafka_error(error).code() == KafkaError._FATAL:
                    self._await_reason()
                self._failed(f"{topic}[{partition}]: {kafka_error(error).str()}")
                self._refuse()
            self._in_flight += 1
            return

    def poll(self, timeout_s: float) -> None:
        self._serve(timeout_s)
        if self._in_flight and time.monotonic() - self._progress > self._stalled_s:
            self._failed(f"nothing was acknowledged for {self._stalled_s:g} s. {self._last_error}")
        if self._failure is not None:
            self._refuse()

    def hurry(self) -> None:
        if self._in_flight:
            self._run(self._producer.flush, _HURRY_S)
        self.poll(0)

    def flush(self, timeout_s: float) -> None:
        # Not the client's flush() alone: a fatal error in it leaves callbacks running with an exception pending.
        deadline = time.monotonic() + timeout_s
        while self._in_flight and self._failure is None:
            left = deadline - time.monotonic()
            if left < 0:
                self._failed(f"{self._in_flight} records not acknowledged within {timeout_s:g} s. {self._last_error}")
            else:
                self._run(self._producer.flush, _HURRY_S)
                self._serve(min(left, 0.1))
        if self._failure is not None:
            self._refuse()

    def close(self) -> None:
        self._failed(_CLOSED)
        self._give_up()
        deadline = time.monotonic() + _CLOSE_S
        while self._in_flight and time.monotonic() < deadline:  # that each was given up is reported one by one
            self._serve(0.05)
        self._serve(0)
        self._producer.close()

    def _target(self, topic: str) -> _Target:
        admin = self._open_admin()
        try:
            info = admin.describe([topic]).get(topic)
        finally:
            admin.close()
        if info is None:
            raise ForeignLog(f"the brokers have no topic {topic}")
        # Without sight of the topic's settings it is taken to be as the connector would make it.
        max_bytes = min(self._max_message_bytes, int(info.config.get("max.message.bytes", self._max_message_bytes)))
        if max_bytes < self._batch_bytes:
            raise ConfigurationError(
                f"topic {topic} takes {max_bytes} bytes at once (max.message.bytes), less than a batch of "
                f"{self._batch_bytes}",
                hint=f"Raise max.message.bytes of the topic, or set batch.size in broker.options to {max_bytes}.",
            )
        target = _Target(
            [self._delivery(Lane(topic, partition)) for partition in range(info.partitions)],
            largest_record(max_bytes),
            "compact" in info.config.get("cleanup.policy", ""),
        )
        self._targets[topic] = target
        return target

    def _delivery(self, lane: Lane) -> Delivered:
        """One for each lane: of a message only its offset has to be asked for then."""
        acknowledged = self._acknowledged

        def delivered(error: KafkaError | None, message: Any) -> None:
            self._in_flight -= 1
            if error is not None:
                self._failed(f"{lane.topic}[{lane.partition}]: {error.str()} ({error.name()})")
            else:
                acknowledged(lane, message.offset())

        return delivered

    def _on_error(self, error: KafkaError) -> None:
        log.debug("client error", extra={"error": error.str()})
        self._last_error = error.str()

    def _serve(self, timeout_s: float) -> None:
        self._run(self._producer.poll, timeout_s)

    def _run(self, serve: Callable[[float], object], timeout_s: float) -> None:
        """The client raises its fatal errors here, and goes on serving when called again."""
        in_flight = self._in_flight
        try:
            serve(timeout_s)
        except KafkaException as error:
            inner = kafka_error(error)
            self._failed(f"{inner.str()} ({inner.name()})")
        if self._in_flight != in_flight:
            self._progress = time.monotonic()

    def _await_reason(self) -> None:
        deadline = time.monotonic() + _REASON_S
        while self._failure is None and time.monotonic() < deadline:
            self._serve(0.05)

    def _failed(self, why: str) -> None:
        """The first reason counts: the others follow from it."""
        if self._failure is None:
            self._failure = why
            if why != _CLOSED:
                log.error("delivery failed", extra={"error": why, "in_flight": self._in_flight})

    def _refuse(self) -> NoReturn:
        self._give_up()
        raise DeliveryFailed(f"the producer takes no more records: {self._failure}")

    def _give_up(self) -> None:
        """What waits must not be written now. What is on its way may be: who comes next has to wait for it."""
        if self._in_flight:
            self._producer.purge()
            self._serve(0)


def _shown(key: bytes | None) -> str:
    return "none" if key is None else repr(key[:120])
