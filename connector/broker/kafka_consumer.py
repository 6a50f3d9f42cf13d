"""The consumer on a Kafka cluster: lanes assigned by hand, from offsets that the caller keeps.

It must never go to another offset by itself, and never leave out a record that stands.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connector.broker import Record
from connector.broker.kafka_errors import UNKNOWN_TOPIC, kafka_error, meaning
from connector.broker.kafka_log import log
from connector.broker.kafka_offsets import GroupOffsets
from connector.broker.kafka_options import admin_options
from connector.errors import AuthenticationFailed, CertificateRefused, ForeignLog, VecsyncError
from connector.model import Lane

_STEP_S = 1.0
_LAST_OFFSETS_S = 2.0


class KafkaConsumer:
    """Fulfils `connector.broker.Consumer`. options: as librdkafka takes them. request_s: patience with answers."""

    def __init__(self, options: Mapping[str, str], request_s: float = 15.0) -> None:
        self._request_s = request_s
        self._positions: dict[Lane, int] = {}
        self._lanes: dict[str, dict[int, Lane]] = {}
        # What the client said of the connection, and of what is assigned: each raised once the records read before it
        # have been handed out. The second stays until there is another assignment.
        self._held: VecsyncError | None = None
        self._refusal: VecsyncError | None = None
        self._refused: set[Lane] = set()
        # Lanes read from one record early, with where they shall begin, and the leader epoch that record must have.
        self._unproven: dict[Lane, tuple[int, int]] = {}
        self._lost = False  # the client has lost every broker; it may have found one again since
        self._doubted = False  # the client has said that a topic is not there
        self._ahead: list[Any] = []  # messages that came while only the client's errors were asked for
        self._closed = False
        self._offsets: GroupOffsets | None = None  # made when there are some to publish
        self._options = options
        try:
            self._consumer: Any = Consumer({**options, "error_cb": self._on_error}, logger=log)
        except KafkaException as error:
            raise meaning(kafka_error(error), "starting a Kafka consumer") from error

    def assign(self, offsets: Mapping[Lane, int], leader_epochs: Mapping[Lane, int] | None = None) -> None:
        self._check_lanes(offsets)
        unproven = {
            lane: (offsets[lane], epoch) for lane, epoch in (leader_epochs or {}).items() if offsets.get(lane, 0) > 0
        }
        places = [
            TopicPartition(lane.topic, lane.partition, offset - 1, leader_epoch=unproven[lane][1])
            if lane in unproven
            else TopicPartition(lane.topic, lane.partition, offset)
            for lane, offset in offsets.items()
        ]
        try:
            self._consumer.assign(places)
        except KafkaException as error:
            raise meaning(kafka_error(error), "assigning partitions") from error
        self._unproven = unproven
        self._positions = dict(offsets)
        self._held = self._refusal = None
        self._refused = set()
        self._lanes = {}
        for lane in offsets:
            self._lanes.setdefault(lane.topic, {})[lane.partition] = lane

    def _check_lanes(self, offsets: Mapping[Lane, int]) -> None:
        """The client itself does not say that there is no such partition, or only after half a minute."""
        for topic in {lane.topic for lane in offsets}:
            known = self._metadata(topic).topics[topic]
            if known.error is not None:
                raise meaning(known.error, f"asking for topic {topic}")
            for lane in offsets:
                if lane.topic == topic and lane.partition not in known.partitions:
                    raise ForeignLog(f"the brokers have no topic {topic} with a partition {lane.partition}")

    def _metadata(self, topic: str) -> Any:
        """Raises AuthenticationFailed and CertificateRefused as soon as the client says so, Unreachable when the time
        is up."""
        deadline = time.monotonic() + self._request_s
        while True:
            try:
                return self._consumer.list_topics(topic, timeout=_STEP_S)
            except KafkaException as error:
                message = self._consumer.poll(0)  # what the client has to say comes only this way
                if message is not None:
                    self._ahead.append(message)
                if self._held is not None:
                    self._raise_held()
                if time.monotonic() > deadline:
                    raise meaning(kafka_error(error), f"asking for topic {topic}") from error

    def consume(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        self._raise_held()
        messages, self._ahead = self._ahead, []
        # The client's consume() waits until it has all it was asked for: so wait for the first, and take what is there.
        if not messages:
            first = self._consumer.poll(timeout_s)
            if first is None:
                if self._offsets is not None:
                    self._offsets.poll()
                self._raise_held()
                self._make_sure()
                return ()
            messages.append(first)
        if max_records > len(messages):
            messages += self._consumer.consume(max_records - len(messages), 0)
        self._lost = False
        records = self._records(messages)
        if not records:
            self._raise_held()
        return records

    def _records(self, messages: Sequence[Any]) -> list[Record]:
        records: list[Record] = []
        lanes, positions = self._lanes, self._positions
        for message in messages:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            error = message.error()
            lane = lanes.get(topic, {}).get(partition)
            if lane is None:
                if error is not None:
                    self._hold(meaning(error, "reading"))
                continue  # of an assignment that has been replaced
            if error is not None:
                self._judge(lane, error, offset)
                continue
            if self._unproven and lane in self._unproven:
                self._prove(lane, offset, message.leader_epoch())
            if offset < positions[lane] or lane in self._refused:
                continue  # read for its epoch only, or read ahead for an assignment that has been replaced
            positions[lane] = offset + 1
            records.append(
                Record(
                    topic,
                    partition,
                    offset,
                    message.key(),
                    message.value(),
                    message.timestamp()[1],
                    message.leader_epoch(),
                    message.headers() or (),
                )
            )
        return records

    def _judge(self, lane: Lane, error: KafkaError, offset: int) -> None:
        """What came instead of a record."""
        if error.code() == KafkaError._PARTITION_EOF:
            self._positions[lane] = max(self._positions[lane], offset)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET and lane in self._unproven:
            # The record before is gone, by retention it may be. Whether the lane's own offset is there shows next.
            start, _ = self._unproven.pop(lane)
            self._consumer.incremental_unassign([TopicPartition(lane.topic, lane.partition)])
            self._consumer.incremental_assign([TopicPartition(lane.topic, lane.partition, start)])
        else:
            self._refuse(lane, meaning(error, f"reading {lane.topic}[{lane.partition}] at {self._positions[lane]}"))

    def _prove(self, lane: Lane, offset: int, epoch: int | None) -> None:
        """Offsets alone cannot tell a log that lost its last records, and got others, from the one that was read. The
        client checks epochs when a leader changes, and not where reading begins."""
        start, expected = self._unproven.pop(lane)
        if offset == start - 1 and epoch != expected:
            self._refuse(
                lane,
                ForeignLog(
                    f"{lane.topic}[{lane.partition}] holds a record of leader epoch {epoch} at offset {offset}, where "
                    f"one of epoch {expected} was read before: the log lost records to an unclean election",
                    hint="Rebuild the replica with `vecsync replica replay`, and set unclean.leader.election.enable "
                    "to false.",
                ),
            )

    def _refuse(self, lane: Lane, error: VecsyncError) -> None:
        self._refused.add(lane)
        if self._refusal is None:
            self._refusal = error

    def positions(self) -> Mapping[Lane, int]:
        return dict(self._positions)

    def commit(self, offsets: Mapping[Lane, int]) -> None:
        if not offsets:
            return
        if self._offsets is None:
            self._offsets = GroupOffsets(admin_options(self._options), self._options["group.id"])
        self._offsets.publish(offsets)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._offsets is not None:
                self._offsets.close(0 if self._lost else _LAST_OFFSETS_S)
            self._consumer.close()

    def _hold(self, error: VecsyncError) -> None:
        if self._held is None:
            self._held = error

    def _raise_held(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        held, self._held = self._held, None
        if held is not None:
            raise held

    def _make_sure(self) -> None:
        """Nothing came: asks whether that is for want of brokers or topics. Raises Unreachable, ForeignLog."""
        if self._lost or self._doubted:
            self._check_lanes(self._positions)
            self._lost = self._doubted = False

    def _on_error(self, error: KafkaError) -> None:
        log.debug("client error", extra={"error": error.str()})
        said = meaning(error, "connecting to Kafka")
        if isinstance(said, AuthenticationFailed | CertificateRefused):
            self._hold(said)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._lost = True
        elif error.code() in UNKNOWN_TOPIC:
            self._doubted = True
