"""Topics and offsets of a Kafka cluster. It never deletes or changes a topic that exists."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition, admin

from connector.broker import LeaseState, TopicInfo, TopicSpec
from connector.broker.kafka_errors import UNKNOWN_TOPIC, kafka_error, meaning
from connector.broker.kafka_log import log
from connector.broker.kafka_unanswered import PATIENCE_S, keep
from connector.errors import AuthenticationFailed, CertificateRefused, ForeignLog, Unreachable, VecsyncError
from connector.model import Lane

_SETTLING = UNKNOWN_TOPIC | {
    KafkaError._NOENT,  # the client's "no leaders found"
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}
_SETTLE_S = 0.05
_NO_GROUP = frozenset({KafkaError.GROUP_ID_NOT_FOUND})
_COORDINATOR_SETTLING = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)

_kafka: Any = admin  # its type stubs leave half of it out

_LEADERS_S = 30.0
_STEP_S = 1.0  # between two looks at what the client has to say while an answer is awaited


class KafkaAdmin:
    """Fulfils `connector.broker.Admin`. options: as librdkafka takes them. request_s: how long to wait for answers."""

    def __init__(self, options: Mapping[str, str], request_s: float = 15.0) -> None:
        self._request_s = request_s
        self._refusal: AuthenticationFailed | CertificateRefused | None = None
        self._unanswered = False  # a question to the coordinator of a group
        try:
            self._client = _kafka.AdminClient({**options, "error_cb": self._on_error}, logger=log)
        except KafkaException as error:
            raise meaning(kafka_error(error), "starting a Kafka client") from error

    def create(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        if not topics:
            return []
        wanted = [
            _kafka.NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                replication_factor=spec.replication_factor,
                config=dict(spec.config),
            )
            for spec in topics
        ]
        made: list[str] = []
        for name, future in self._client.create_topics(wanted, request_timeout=self._request_s).items():
            try:
                self._result(future, f"creating topic {name}")
            except _Known as known:
                if known.error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise known.meaning from known.cause
            else:
                made.append(name)
        self._wait_for_leaders(topics)
        return made

    def _wait_for_leaders(self, topics: Sequence[TopicSpec]) -> None:
        """A topic can be used once each partition has a leader; brokers learn of a new one a little later."""
        deadline = time.monotonic() + _LEADERS_S
        while True:
            known = self._metadata().topics
            missing = [
                spec.name
                for spec in topics
                if spec.name not in known
                or not known[spec.name].partitions
                or any(partition.leader < 0 for partition in known[spec.name].partitions.values())
            ]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise Unreachable(f"topic {missing[0]} has partitions without a leader after {_LEADERS_S:.0f} s")
            time.sleep(0.1)

    def describe(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        shapes: dict[str, Any] = {}
        if not names:
            return {}
        for name, future in self._client.describe_topics(
            TopicCollection(list(names)), request_timeout=self._request_s
        ).items():
            try:
                shapes[name] = self._result(future, f"describing topic {name}")
            except _Known as known:
                if known.error.code() not in UNKNOWN_TOPIC:
                    raise known.meaning from known.cause
        configs = self._configs(list(shapes))
        return {
            name: TopicInfo(name, str(shape.topic_id), len(shape.partitions), configs[name])
            for name, shape in shapes.items()
        }

    def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """Every setting of each topic; nothing of a topic whose settings the account may not see."""
        configs: dict[str, Mapping[str, str]] = {}
        if not names:
            return configs
        resources = [_kafka.ConfigResource(_kafka.ConfigResource.Type.TOPIC, name) for name in names]
        for resource, future in self._client.describe_configs(resources, request_timeout=self._request_s).items():
            try:
                entries = self._result(future, f"reading the settings of topic {resource.name}")
            except _Known as known:
                if not isinstance(known.meaning, AuthenticationFailed):
                    raise known.meaning from known.cause
                log.warning("the settings of a topic may not be seen", extra={"topic": resource.name})
                configs[resource.name] = {}
            else:
                configs[resource.name] = {n: entry.value for n, entry in entries.items() if entry.value is not None}
        return configs

    def list(self, prefix: str) -> Sequence[str]:
        return sorted(name for name in self._metadata().topics if name.startswith(prefix))

    def beginning_offsets(self, lanes: Sequence[Lane]) -> Mapping[Lane, int]:
        return self._offsets(lanes, _kafka.OffsetSpec.earliest())

    def end_offsets(self, lanes: Sequence[Lane]) -> Mapping[Lane, int]:
        return self._offsets(lanes, _kafka.OffsetSpec.latest())

    def offsets_at(self, lanes: Sequence[Lane], timestamp_ms: int) -> Mapping[Lane, int]:
        found = self._offsets(lanes, _kafka.OffsetSpec.for_timestamp(timestamp_ms))
        after_all = [lane for lane, offset in found.items() if offset < 0]
        return {**found, **self.end_offsets(after_all)} if after_all else found

    def _offsets(self, lanes: Sequence[Lane], spec: Any) -> dict[Lane, int]:
        """Asks again where a partition is about to get its leader: for a moment after it was made, or moved."""
        offsets: dict[Lane, int] = {}
        deadline = time.monotonic() + self._request_s
        while missing := [lane for lane in lanes if lane not in offsets]:
            wanted = {TopicPartition(lane.topic, lane.partition): spec for lane in missing}
            last: _Known | None = None
            for place, future in self._client.list_offsets(wanted, request_timeout=self._request_s).items():
                try:
                    result = self._result(future, f"asking for offsets of {place.topic}[{place.partition}]")
                except _Known as known:
                    if known.error.code() not in _SETTLING:
                        raise known.meaning from known.cause
                    self._check_exists(place.topic, place.partition)
                    last = known
                else:
                    offsets[Lane(place.topic, place.partition)] = result.offset
            if last is not None:
                if time.monotonic() > deadline:
                    raise last.meaning from last.cause
                time.sleep(_SETTLE_S)
        return offsets

    def _check_exists(self, topic: str, partition: int) -> None:
        known = self._metadata().topics.get(topic)
        if known is None or partition not in known.partitions:
            raise ForeignLog(f"the brokers have no topic {topic} with a partition {partition}")

    def lease_state(self, topic: str) -> LeaseState:
        deadline = time.monotonic() + self._request_s
        while True:
            (future,) = self._client.describe_consumer_groups([topic], request_timeout=PATIENCE_S).values()
            self._unanswered = True
            try:
                members = self._result(future, f"asking who has the lease of {topic}").members
            except _Known as known:
                self._unanswered = False
                if known.error.code() in _NO_GROUP:
                    return LeaseState(None)
                if known.error.code() not in _COORDINATOR_SETTLING or time.monotonic() > deadline:
                    raise known.meaning from known.cause
                time.sleep(_SETTLE_S)
                continue
            self._unanswered = False
            holder = next((m.client_id for m in members if m.assignment.topic_partitions), None)
            waiting = sorted(m.client_id for m in members if not m.assignment.topic_partitions)
            return LeaseState(holder, tuple(waiting))

    def close(self) -> None:
        if self._unanswered:
            keep(self._client)
        del self._client

    def _metadata(self) -> Any:
        deadline = time.monotonic() + self._request_s
        while True:
            try:
                return self._client.list_topics(timeout=_STEP_S)
            except KafkaException as error:
                self._raise_refusal()
                if time.monotonic() > deadline:
                    raise meaning(kafka_error(error), "asking for the cluster's topics") from error

    def _result(self, future: Future[Any], doing: str) -> Any:
        """Raises _Known for what the broker said, Unreachable when it said nothing in time."""
        deadline = time.monotonic() + self._request_s + 5
        while True:
            try:
                return future.result(_STEP_S)
            except KafkaException as error:
                self._raise_refusal()
                inner = kafka_error(error)
                raise _Known(inner, meaning(inner, doing), error) from error
            except TimeoutError as error:
                self._raise_refusal()
                if time.monotonic() > deadline:
                    raise Unreachable(f"{doing}: no answer in {self._request_s:g} s") from error

    def _raise_refusal(self) -> None:
        """A refused account or certificate shows as silence: what the client says about the connection tells."""
        self._client.poll(0)
        if self._refusal is not None:
            raise self._refusal

    def _on_error(self, error: KafkaError) -> None:
        log.debug("client error", extra={"error": error.str()})
        said = meaning(error, "connecting to Kafka")
        if isinstance(said, AuthenticationFailed | CertificateRefused):
            self._refusal = said


class _Known(Exception):
    """The broker's answer to one part of a request, for the caller in this module to judge."""

    def __init__(self, error: KafkaError, meaning: VecsyncError, cause: KafkaException) -> None:
        super().__init__(str(meaning))
        self.error = error
        self.meaning = meaning
        self.cause = cause
