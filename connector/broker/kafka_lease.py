"""A lease on a Kafka cluster: the consumer group of a topic with one partition; the member that is assigned it has it.

The group's coordinator decides, and tells a member by heartbeats. A member that stood still (stopped, swapped out, its
machine paused) has missed them: after every such gap it asks the coordinator before it believes that it still leads.
It must never say that a lease is held once a rebalance took it away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from connector.broker.kafka_errors import kafka_error, meaning
from connector.broker.kafka_log import log
from connector.errors import AuthenticationFailed, ConfigurationError, ForeignLog, VecsyncError

_LOOK_S = 0.05  # between two looks at what the client has to say; `held` is asked before every transaction
_STEP_S = 0.1

_OURS_STILL = frozenset({KafkaError.REBALANCE_IN_PROGRESS, KafkaError._WAIT_COORD, KafkaError._IN_PROGRESS})
"""The coordinator neither confirms nor denies: it is asked again."""


def boot_clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class KafkaLease:
    """Fulfils `connector.broker.Lease`. options: as librdkafka takes them, with `session.timeout.ms`."""

    def __init__(self, options: Mapping[str, str], topic: str, clock: Callable[[], float] = boot_clock) -> None:
        self._topic = topic
        self._session_s = int(options["session.timeout.ms"]) / 1000
        self._clock = clock
        self._assigned = self._lost = self._closed = False
        self._looked = clock()
        self._error: VecsyncError | None = None
        # Of the coordinator, to the last question; True: it agreed. An error of the client must not be compared with
        # what is no number: that leaves an exception behind, which surfaces somewhere else.
        self._answer: KafkaError | bool | None = None
        try:
            self._consumer: Any = Consumer(
                {**options, "error_cb": self._on_error, "on_commit": self._on_commit}, logger=log
            )
            self._consumer.subscribe(
                [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
        except KafkaException as error:
            raise meaning(kafka_error(error), "joining the group of the lease") from error

    def wait(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not self._assigned:
            left = deadline - time.monotonic()
            self._serve(max(0.0, min(left, _STEP_S)))
            if left <= 0:
                break
        self._lost = False
        self._looked = self._clock()
        return self._assigned

    def held(self) -> bool:
        now = self._clock()
        away = now - self._looked
        if away >= _LOOK_S and self._assigned:
            self._serve(0)
            if self._assigned and away > self._session_s / 3:
                self._ask()
            self._looked = self._clock()
        return self._assigned and not self._lost

    def close(self) -> None:
        self._assigned = False
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def _ask(self) -> None:
        """The coordinator takes offsets from members of the present generation only."""
        deadline = self._clock() + self._session_s
        while self._assigned and not self._lost:
            self._answer = None
            try:
                self._consumer.commit(offsets=[TopicPartition(self._topic, 0, 0)], asynchronous=True)
            except KafkaException as error:
                self._answer = kafka_error(error)
            answer = self._heard()
            while answer is None and self._clock() < deadline:
                self._serve(_STEP_S)
                answer = self._heard()
            if answer is True:
                return
            doubtful = not isinstance(answer, KafkaError) or answer.code() in _OURS_STILL
            if not doubtful or self._clock() >= deadline:
                log.warning("the lease is not confirmed", extra={"topic": self._topic, "error": str(answer)})
                self._lost = True
            else:
                self._serve(_STEP_S)

    def _heard(self) -> KafkaError | bool | None:
        """Callbacks write it."""
        return self._answer

    def _serve(self, timeout_s: float) -> None:
        """Callbacks run in here. What stands on the topic is of no interest: the partition is paused."""
        message = self._poll(timeout_s)
        while message is not None:
            error = message.error()
            if error is not None:
                self._judge(error)
            message = self._poll(0)
        error_held, self._error = self._error, None
        if error_held is not None:
            raise error_held

    def _poll(self, timeout_s: float) -> Any:
        try:
            return self._consumer.poll(timeout_s)
        except KafkaException as error:
            # Also from a callback: the group went on while it ran, and what it was told is over.
            self._lost = True
            self._error = meaning(kafka_error(error), f"waiting for the lease of {self._topic}")
            return None

    def _judge(self, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._MAX_POLL_EXCEEDED:
            self._lost = True
        elif code == KafkaError.INVALID_SESSION_TIMEOUT:
            self._error = ConfigurationError(
                f"the brokers do not take a session of {self._session_s:g} s for the lease of {self._topic}",
                hint="Set session.timeout.ms in broker.options to a value from the brokers' "
                "group.min.session.timeout.ms to group.max.session.timeout.ms.",
            )
        else:
            said = meaning(error, f"waiting for the lease of {self._topic}")
            if isinstance(said, AuthenticationFailed | ForeignLog | ConfigurationError):
                self._error = said
            else:
                log.debug("client error", extra={"error": error.str()})

    def _on_assign(self, consumer: Any, places: Any) -> None:
        """Others may join while this member holds the partition: then there is nothing new, and nothing to do."""
        paused = [TopicPartition(place.topic, place.partition, OFFSET_END) for place in places]
        consumer.incremental_assign(paused)
        if paused:
            consumer.pause(paused)
            self._assigned = True

    def _on_revoke(self, consumer: Any, places: Any) -> None:  # noqa: ARG002 - as the client calls it
        if places:
            self._lost = self._lost or self._assigned
            self._assigned = False

    def _on_commit(self, error: KafkaError | None, places: Any) -> None:
        first = error or next((place.error for place in places or () if place.error is not None), None)
        self._answer = True if first is None else first

    def _on_error(self, error: KafkaError) -> None:
        log.debug("client error", extra={"error": error.str()})
        said = meaning(error, "connecting to Kafka")
        if isinstance(said, AuthenticationFailed):
            self._error = said
