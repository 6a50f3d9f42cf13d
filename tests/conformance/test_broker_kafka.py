"""What only a Kafka cluster can do to the connector: refuse records, go away, compact, refuse an account."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, admin
from pydantic import SecretStr

from connector.broker import Record, TopicSpec
from connector.broker.kafka import KafkaBroker
from connector.broker.kafka_admin import KafkaAdmin
from connector.broker.kafka_consumer import KafkaConsumer
from connector.broker.kafka_lease import KafkaLease, boot_clock
from connector.broker.kafka_log import log as client_log
from connector.broker.kafka_options import common_options, consumer_options, lease_options, producer_options
from connector.broker.kafka_producer import KafkaProducer
from connector.errors import (
    AuthenticationFailed,
    ConfigurationError,
    DeliveryFailed,
    ForeignLog,
    UnpublishableRow,
    Unreachable,
)
from connector.model import Lane
from connector.settings import BrokerSettings
from connector.topics import partition_of
from tests.conformance.broker_logs import MAX_BYTES, KafkaLog, make_topic, read, read_lanes, send_all
from tests.conformance.lease_holder import LeaseHolder
from tests.servers.fix_kafka import StartKafka
from tests.servers.model import KafkaServer
from tests.servers.ports import claimed_ports

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(kafka_server: KafkaServer, topic_prefix: str) -> KafkaLog:
    return KafkaLog(topic_prefix, kafka_server.bootstrap_servers)


def _set(log: KafkaLog, topic: str, name: str, value: str) -> None:
    kafka: Any = admin
    entry = kafka.ConfigEntry(name, value, incremental_operation=kafka.AlterConfigOpType.SET)
    resource = kafka.ConfigResource(kafka.ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    client = log.admin
    for future in client.incremental_alter_configs([resource]).values():
        future.result(30)


def _until_refused(log: KafkaLog, lane: Lane, value: bytes) -> None:
    """A broker follows a change of settings a moment after it has been accepted."""
    errors: list[KafkaError | None] = []
    client: Any = Producer({"bootstrap.servers": log.bootstrap_servers}, logger=client_log)
    deadline = time.monotonic() + 90
    while not errors or errors[-1] is None:
        assert time.monotonic() < deadline
        client.produce(lane.topic, value, partition=lane.partition, on_delivery=lambda error, _: errors.append(error))
        client.flush(30)
    assert errors[-1].code() == KafkaError.MSG_SIZE_TOO_LARGE


@pytest.mark.parametrize("hurried", [False, True])
@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_nothing_lands_behind_a_record_that_the_broker_refuses(
    log: KafkaLog, batch: int, hurried: bool, caplog: pytest.LogCaptureFixture
) -> None:
    log.options = {"batch.num.messages": batch}  # one behind the other in several requests, or all in one
    lane = Lane(make_topic(log, partitions=2), 0)
    other = Lane(make_topic(log, "other"), 0)
    large = random.Random(1).randbytes(100_000)
    acknowledged: list[tuple[Lane, int]] = []
    producer = log.broker.producer(lambda lane, offset: acknowledged.append((lane, offset)))
    try:
        producer.send(lane, b"first", b"v")  # the limit is known from here on
        producer.send(other, b"first", b"v")
        producer.flush(30)
        _set(log, lane.topic, "max.message.bytes", "20000")
        _until_refused(log, Lane(lane.topic, 1), large)
        producer.send(lane, b"large", large)
        with pytest.raises(DeliveryFailed, match=r"MSG_SIZE_TOO_LARGE|GAPLESS"):  # noqa: PT012 - at one of them
            for n in range(99):
                producer.send(lane, str(n).encode(), b"behind")
                if hurried:
                    producer.hurry()
            producer.flush(30)
        with pytest.raises(DeliveryFailed):
            producer.hurry()
        with pytest.raises(DeliveryFailed):
            producer.send(other, b"k", b"v")
        with pytest.raises(DeliveryFailed):
            producer.poll(0)
        with pytest.raises(DeliveryFailed):
            producer.flush(1)
    finally:
        producer.close()
    assert sorted(acknowledged) == [(lane, 0), (other, 0)]
    assert "delivery failed" in caplog.messages
    time.sleep(0.5)  # for what might still be on its way
    client = log.broker.admin()
    try:
        assert client.end_offsets([lane, other]) == {lane: 1, other: 1}
    finally:
        client.close()


class _TellsLate:
    """The client, which tells nothing in the first moments after it has refused a record: its threads had no turn."""

    def __init__(self, client: Any, late_s: float) -> None:
        self._client = client
        self._late_s = late_s
        self._tells = 0.0
        self.refused: list[KafkaError] = []

    def produce(self, *record: Any, **headers: Any) -> None:
        try:
            self._client.produce(*record, **headers)
        except KafkaException as error:
            self.refused.append(error.args[0])
            self._tells = time.monotonic() + self._late_s
            raise

    def poll(self, timeout_s: float) -> int:
        silent_s = self._tells - time.monotonic()
        if silent_s > 0:
            time.sleep(min(timeout_s, silent_s))
            return 0
        return int(self._client.poll(timeout_s))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_refusal_names_the_reason_though_the_client_tells_it_a_moment_later(log: KafkaLog) -> None:
    lane = Lane(make_topic(log, partitions=2), 0)
    large = random.Random(1).randbytes(100_000)
    producer = log.broker.producer(lambda lane, offset: None)
    assert isinstance(producer, KafkaProducer)
    try:
        producer.send(lane, b"first", b"v")  # the limit is known from here on
        producer.flush(30)
        _set(log, lane.topic, "max.message.bytes", "20000")
        _until_refused(log, Lane(lane.topic, 1), large)
        client = _TellsLate(producer._producer, late_s=0.3)
        producer._producer = client
        producer.send(lane, b"large", large)
        deadline = time.monotonic() + 90
        with pytest.raises(DeliveryFailed, match=r"MSG_SIZE_TOO_LARGE|GAPLESS"):  # noqa: PT012 - at one of them
            while time.monotonic() < deadline:
                producer.send(lane, b"k", b"behind")
                time.sleep(0.01)
        assert [error.code() for error in client.refused] == [KafkaError._FATAL]
    finally:
        producer.close()


def test_what_is_hurried_does_not_wait_for_company(log: KafkaLog) -> None:
    log.options = {"linger.ms": 20_000}
    lane = Lane(make_topic(log), 0)
    acknowledged: list[int] = []
    producer = log.broker.producer(lambda _, offset: acknowledged.append(offset))
    try:
        began = time.monotonic()
        for n in range(3):
            producer.send(lane, b"k", b"v")
            while len(acknowledged) <= n:
                producer.hurry()
                assert time.monotonic() - began < 15
    finally:
        producer.close()


def test_a_limit_that_was_lowered_is_known_to_the_next_producer(log: KafkaLog) -> None:
    lane = Lane(make_topic(log), 0)
    _set(log, lane.topic, "max.message.bytes", "20000")
    log.options = {"batch.size": 20000}
    producer = log.broker.producer(lambda lane, offset: None)
    try:
        with pytest.raises(UnpublishableRow, match="19872"):
            producer.send(lane, b"k", bytes(20000))
        producer.send(lane, b"k", b"v")
        producer.flush(30)
    finally:
        producer.close()


def test_a_topic_that_cannot_take_a_batch_is_refused(log: KafkaLog) -> None:
    lane = Lane(make_topic(log), 0)
    _set(log, lane.topic, "max.message.bytes", "20000")
    producer = log.broker.producer(lambda lane, offset: None)
    try:
        with pytest.raises(ConfigurationError, match=r"takes 20000 bytes") as refused:
            producer.send(lane, b"k", b"v")
        assert "batch.size" in refused.value.hint
    finally:
        producer.close()


def test_positions_pass_what_only_the_broker_sees(log: KafkaLog) -> None:
    """The end of a transaction takes an offset, and no record comes for it."""
    lane = Lane(make_topic(log), 0)
    other: Any = Producer(
        {"bootstrap.servers": log.bootstrap_servers, "transactional.id": f"{log.prefix}-tx"}, logger=client_log
    )
    other.init_transactions(30)
    other.begin_transaction()
    other.produce(lane.topic, b"v", b"k", 0)
    other.commit_transaction(30)
    consumer = log.broker.consumer("g")
    try:
        consumer.assign({lane: 0})
        assert [r.offset for r in read(consumer, 1)] == [0]
        deadline = time.monotonic() + 90
        while consumer.positions()[lane] < 2 and time.monotonic() < deadline:
            assert not consumer.consume(10, 0.1)
        assert consumer.positions() == {lane: 2}
    finally:
        consumer.close()


def test_compaction_leaves_gaps_that_are_read_over(start_kafka: StartKafka, topic_prefix: str) -> None:
    server = start_kafka(options={"log.cleaner.backoff.ms": 100, "log.retention.check.interval.ms": 200})
    log = KafkaLog(topic_prefix, server.bootstrap_servers)
    config = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"}
    lane = Lane(make_topic(log, config=config), 0)
    for value in range(5):
        send_all(log, [(lane, key, str(value).encode()) for key in (b"a", b"b", b"c")])
    deadline = time.monotonic() + 60
    while True:
        time.sleep(0.5)
        acknowledged = send_all(log, [(lane, b"filler", b"")])  # the segment before it becomes cleanable
        end = acknowledged[0][1] + 1
        consumer = log.broker.consumer("g")
        consumer.assign({lane: 0})
        records: list[Record] = []
        while consumer.positions()[lane] < end:
            records += consumer.consume(100, 0.2)
        consumer.close()
        kept = [(r.key, r.value) for r in records if r.key != b"filler"]
        if kept == [(b"a", b"4"), (b"b", b"4"), (b"c", b"4")]:
            break
        assert kept[-3:] == [(b"a", b"4"), (b"b", b"4"), (b"c", b"4")]
        assert time.monotonic() < deadline
    assert [r.offset for r in records][:3] == [12, 13, 14]


def test_datasets_are_where_other_clients_look_for_them(log: KafkaLog) -> None:
    topic = make_topic(log, partitions=12)
    placed: dict[str, int] = {}

    def delivered(error: object, message: Any) -> None:
        assert error is None
        placed[message.key().decode()] = message.partition()

    other: Any = Producer({"bootstrap.servers": log.bootstrap_servers, "partitioner": "murmur2"}, logger=client_log)
    datasets = ["d", "21", "foobar", "root/A", "наборы", "x" * 191, *(f"dataset-{n}" for n in range(200))]
    for dataset in datasets:
        other.produce(topic, b"v", dataset, on_delivery=delivered)
    assert other.flush(30) == 0
    assert placed == {dataset: partition_of(dataset, 12) for dataset in datasets}


def test_a_leader_epoch_comes_with_records_and_may_be_given_back(log: KafkaLog) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")] * 3)
    consumer = log.broker.consumer("g")
    try:
        consumer.assign({lane: 0})
        epoch = read(consumer, 3)[0].leader_epoch
        assert epoch is not None
        consumer.assign({lane: 2}, {lane: epoch})
        assert [r.offset for r in read(consumer, 1)] == [2]
        consumer.assign({lane: 0}, {lane: epoch})
        assert [r.offset for r in read(consumer, 3)] == [0, 1, 2]
        consumer.assign({lane: 3}, {lane: epoch})
        assert not consumer.consume(10, 1)
        assert consumer.positions() == {lane: 3}
        log.forget_before(lane, 2)  # the record before is gone, and that is nothing bad
        consumer.assign({lane: 2}, {lane: epoch})
        assert [r.offset for r in read(consumer, 1)] == [2]
        consumer.assign({lane: 2}, {lane: epoch + 1})
        assert [r.offset for r in read(consumer, 1)] == [2]
        consumer.assign({lane: 1}, {lane: epoch})
        with pytest.raises(ForeignLog, match=lane.topic):
            read(consumer, 1)
        consumer.assign({lane: 3}, {lane: epoch + 1})
        for _ in range(2):  # and not only once
            with pytest.raises(ForeignLog, match=f"epoch {epoch} at offset 2, where one of epoch {epoch + 1}"):
                read(consumer, 1)
    finally:
        consumer.close()


def wait_for_controller(log: KafkaLog, topic: str) -> None:
    """The node that was killed may have been it; until there is another one a topic's settings cannot be asked for, and
    a client that was told of the dead one goes on waiting for that."""
    deadline = time.monotonic() + 120
    while True:
        admin = log.broker.admin()
        try:
            admin.describe([topic])
            return
        except Unreachable:
            assert time.monotonic() < deadline
        finally:
            admin.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_log_that_lost_records_to_an_unclean_election_is_told(start_kafka: StartKafka, topic_prefix: str) -> None:
    """The new leader never saw the last records, and has others at their offsets: only the epoch tells."""
    server = start_kafka(nodes=3)
    log = KafkaLog(topic_prefix, server.bootstrap_servers)
    topic = f"{topic_prefix}.docs"
    config = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    topics = log.broker.admin()
    topics.create([TopicSpec(topic, 1, replication_factor=2, config=config)])
    topics.close()
    client, lane = log.admin, Lane(topic, 0)
    partition = client.list_topics(topic, timeout=30).topics[topic].partitions[0]
    leader = partition.leader
    (follower,) = set(partition.replicas) - {leader}
    send_all(log, [(lane, b"k", b"both")] * 3)
    server.nodes[follower - 1].kill()
    wait_for_controller(log, topic)
    send_all(log, [(lane, b"k", b"first only")] * 5)
    running = log.broker.consumer("g")
    running.assign({lane: 0})
    records = read(running, 8, 60)
    assert [r.value for r in records] == [b"both"] * 3 + [b"first only"] * 5
    epoch = records[-1].leader_epoch
    assert epoch is not None
    server.nodes[leader - 1].kill()
    server.nodes[follower - 1].start()
    deadline = time.monotonic() + 120
    while client.list_topics(topic, timeout=30).topics[topic].partitions[0].leader != follower:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    wait_for_controller(log, topic)
    send_all(log, [(lane, b"k", b"second only")] * 9)
    with pytest.raises(ForeignLog, match=topic):
        read(running, 1, 60)
    running.close()
    consumer = log.broker.consumer("g")
    try:
        consumer.assign({lane: 8}, {lane: epoch})
        with pytest.raises(ForeignLog, match=topic):
            read(consumer, 1, 60)
        consumer.assign({lane: 8})  # without the epoch nothing seems wrong
        assert read(consumer, 1)[0].value == b"second only"
    finally:
        consumer.close()


def test_brokers_that_never_answer() -> None:
    with claimed_ports(1) as (port,):
        settings = BrokerSettings(bootstrap_servers=f"127.0.0.1:{port}")
        client = KafkaAdmin(common_options(settings), request_s=1.0)
        with pytest.raises(Unreachable):
            client.list("x")
        with pytest.raises(Unreachable):
            client.describe(["x"])
        client.close()
        consumer = KafkaConsumer(consumer_options(settings, "g", MAX_BYTES), request_s=1.0)
        with pytest.raises(Unreachable):
            consumer.assign({Lane("x", 0): 0})
        consumer.close()


def test_a_broker_that_goes_away_and_comes_back(start_kafka: StartKafka, topic_prefix: str) -> None:
    server = start_kafka()
    log = KafkaLog(topic_prefix, server.bootstrap_servers)
    lane = Lane(make_topic(log), 0)
    assert len(send_all(log, [(lane, b"k", b"before")])) == 1
    settings = BrokerSettings(bootstrap_servers=server.bootstrap_servers)
    consumer = KafkaConsumer(consumer_options(settings, "g", MAX_BYTES))
    patient, hasty = log.broker.producer(lambda lane, offset: None), log.broker.producer(lambda lane, offset: None)
    try:
        consumer.assign({lane: 0})
        assert read(consumer, 1)[0].value == b"before"
        consumer._request_s = 2.0
        for producer in (patient, hasty):
            producer.send(lane, b"k", b"warm")
            producer.flush(30)
        read(consumer, 2)
        server.kill()
        hasty.send(lane, b"k", b"never")
        with pytest.raises(DeliveryFailed, match="not acknowledged within 1 s"):
            hasty.flush(1)
        patient.send(lane, b"k", b"kept")
        deadline = time.monotonic() + 60
        with pytest.raises(Unreachable):  # noqa: PT012 - it takes the client a while to notice
            while time.monotonic() < deadline:
                assert not consumer.consume(10, 0.2)
        server.start()
        patient.flush(60)
        assert [r.value for r in read(consumer, 1, 60)] == [b"kept"]
    finally:
        patient.close()
        hasty.close()
        consumer.close()
    assert [r.value for r in read_lanes(log, {lane: 0}, 4)] == [b"before", b"warm", b"warm", b"kept"]


def test_a_consumer_closes_soon_though_its_broker_has_gone(start_kafka: StartKafka, topic_prefix: str) -> None:
    """Offsets that cannot be published any more are not waited for: a replica has to go on, or to end when told."""
    server = start_kafka()
    log = KafkaLog(topic_prefix, server.bootstrap_servers)
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")])
    settings = BrokerSettings(bootstrap_servers=server.bootstrap_servers)
    consumer = KafkaConsumer(consumer_options(settings, "g", MAX_BYTES))
    try:
        consumer.assign({lane: 0})
        assert len(read(consumer, 1)) == 1
        consumer._request_s = 1.0
        # So that the client has a coordinator to lose.
        deadline, committed = time.monotonic() + 60, -1
        while committed != 1:
            assert time.monotonic() < deadline
            consumer.commit({lane: 1})
            consumer.consume(1, 0.1)
            with suppress(KafkaException):  # a new cluster has none at first
                committed = log.committed("g", lane)
        server.kill()
        for _ in range(5):  # before it is noticed, and after
            consumer.commit({lane: 1})
            with suppress(Unreachable):
                consumer.consume(1, 0.1)
    finally:
        began = time.monotonic()
        consumer.close()
        assert time.monotonic() - began < 5


_ASKS = """
import sys, time
from contextlib import suppress
from connector.broker.kafka_admin import KafkaAdmin
from connector.broker.kafka_offsets import GroupOffsets
from connector.broker.kafka_options import common_options
from connector.errors import Unreachable
from connector.model import Lane
from connector.settings import BrokerSettings

options, lane = common_options(BrokerSettings(bootstrap_servers=sys.argv[1])), Lane(sys.argv[2], 0)
print("asking", flush=True)
while True:
    offsets = GroupOffsets(options, "asks")
    end = time.monotonic() + 6
    while time.monotonic() < end:
        offsets.publish({lane: 0})
        time.sleep(0.1)
    offsets.close(0.1)
    admin = KafkaAdmin(options, request_s=1)
    with suppress(Unreachable):
        admin.lease_state(lane.topic)
    admin.close()
"""


def test_brokers_that_stood_still_do_not_end_the_process(start_kafka: StartKafka, topic_prefix: str) -> None:
    """The client has an assertion that fails when a coordinator answers behind the patience of who asked."""
    server = start_kafka()
    topic = make_topic(KafkaLog(topic_prefix, server.bootstrap_servers))
    with subprocess.Popen(
        [sys.executable, "-c", _ASKS, server.bootstrap_servers, topic],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "asking\n"
            time.sleep(4)
            server.nodes[0].pause()
            time.sleep(15)
            assert process.poll() is None
            server.nodes[0].resume()
            time.sleep(8)
            assert process.poll() is None
        finally:
            server.nodes[0].resume()
            process.kill()
            _, errors = process.communicate(timeout=60)
    assert "Assertion" not in errors, errors


def test_a_producer_whose_records_stand_still_gives_up(start_kafka: StartKafka, topic_prefix: str) -> None:
    server = start_kafka()
    log = KafkaLog(topic_prefix, server.bootstrap_servers)
    lane = Lane(make_topic(log), 0)
    settings = BrokerSettings(bootstrap_servers=server.bootstrap_servers)
    producer = KafkaProducer(
        producer_options(settings, MAX_BYTES), MAX_BYTES, lambda lane, offset: None, log.broker.admin, stalled_s=1.0
    )
    try:
        producer.send(lane, b"k", b"v")
        producer.flush(30)
        server.nodes[0].pause()
        time.sleep(1.1)  # waiting with nothing in flight is no failure
        producer.poll(0)
        producer.send(lane, b"k", b"v")
        began = time.monotonic()
        with pytest.raises(DeliveryFailed, match="nothing was acknowledged for 1 s"):  # noqa: PT012 - takes a while
            while time.monotonic() - began < 30:
                producer.poll(0.1)
    finally:
        began = time.monotonic()
        producer.close()
        assert time.monotonic() - began < 10
        server.nodes[0].resume()


def test_a_refused_account_is_named_as_such(
    log: KafkaLog, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic = make_topic(log)
    broker = KafkaBroker(
        BrokerSettings(
            bootstrap_servers=log.bootstrap_servers,
            options={"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": "somebody"},
            password=SecretStr("s3cret-word"),
        ),
        MAX_BYTES,
    )
    consumer = broker.consumer("g")
    client = broker.admin()
    try:
        with pytest.raises(AuthenticationFailed):
            consumer.assign({Lane(topic, 0): 0})
        with pytest.raises(AuthenticationFailed):
            client.list("x")
        with pytest.raises(AuthenticationFailed):
            client.end_offsets([Lane(topic, 0)])
    finally:
        consumer.close()
        client.close()
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "s3cret-word" not in caplog.text
    assert "s3cret-word" not in repr(broker.__dict__)
    assert any(r.name == "connector.broker.kafka" for r in caplog.records)


def test_the_client_prints_nothing_and_says_nothing_about_what_is_intended(
    log: KafkaLog, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    log.options = {"linger.ms": 0, "fetch.wait.max.ms": 100}
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")])
    assert read_lanes(log, {lane: 0}, 1)
    assert capfd.readouterr().err == ""
    assert "CONFWARN" not in caplog.text


def test_an_option_that_the_client_does_not_know(log: KafkaLog) -> None:
    log.options = {"linger.months": 1}
    for make in (
        lambda: log.broker.producer(lambda lane, offset: None),
        lambda: log.broker.consumer("g"),
        log.broker.admin,
    ):
        with pytest.raises(ConfigurationError, match=r"linger\.months"):
            make()


def test_a_topic_deleted_while_it_is_read(log: KafkaLog) -> None:
    log.options = {"topic.metadata.propagation.max.ms": 1000}  # the client waits for half a minute otherwise
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")] * 3)
    consumer = log.broker.consumer("g")
    try:
        consumer.assign({lane: 0})
        read(consumer, 3)
        log.delete(lane.topic)
        deadline = time.monotonic() + 90
        with pytest.raises(ForeignLog, match=lane.topic):  # noqa: PT012 - it takes the client a while to notice
            while time.monotonic() < deadline:
                assert not consumer.consume(10, 0.2)
    finally:
        consumer.close()


def test_a_holder_that_stood_still_finds_out_before_it_goes_on(log: KafkaLog) -> None:
    topic = make_topic(log, "signals")
    holder = LeaseHolder(log, topic)
    try:
        holder.wait_until_held()
        lease = log.broker.lease(topic, "standby:2")
        try:
            assert not lease.wait(1)
            holder.pause()
            began = time.monotonic()
            assert lease.wait(60), "nobody takes over from one who stands still"
            assert time.monotonic() - began < 40
            holder.resume()
            assert holder.said() == "lost"
            assert holder.process.wait(60) == 0
            assert lease.held()
        finally:
            lease.close()
    finally:
        holder.kill()


def test_a_holder_that_was_away_for_a_while_keeps_what_is_still_its_own(log: KafkaLog) -> None:
    topic = make_topic(log, "signals")
    settings = BrokerSettings(bootstrap_servers=log.bootstrap_servers, options={"session.timeout.ms": 30_000})
    slept_s = 0.0
    lease = KafkaLease(lease_options(settings, topic, "host:1"), topic, lambda: boot_clock() + slept_s)
    try:
        assert lease.wait(60)
        slept_s = 20.0
        assert lease.held()
        assert lease._answer is True, "nobody was asked"
    finally:
        lease.close()


def test_a_session_that_the_brokers_do_not_take_is_named(log: KafkaLog) -> None:
    log.options = {"session.timeout.ms": 50}
    lease = log.broker.lease(make_topic(log, "signals"), "host:1")
    try:
        with pytest.raises(ConfigurationError, match=r"a session of 0\.05 s"):
            lease.wait(30)
    finally:
        lease.close()


def test_a_lease_on_brokers_that_nobody_told_anything(start_kafka: StartKafka, topic_prefix: str) -> None:
    """They let a group that was empty wait for others to join, and take no sessions below 6 s; the run's broker does
    neither. Only who begins has to wait for that."""
    defaults = {"group.initial.rebalance.delay.ms": None, "group.min.session.timeout.ms": None}
    log = KafkaLog(topic_prefix, start_kafka(options=defaults).bootstrap_servers)
    topic = make_topic(log, "signals")
    first, second = (log.broker.lease(topic, member) for member in ("host-a:1", "host-b:2"))
    try:
        began = time.monotonic()
        assert first.wait(60)
        print(f"\nhad after {time.monotonic() - began:.1f} s")
        assert not second.wait(1)
        first.close()
        began = time.monotonic()
        assert second.wait(60)
        print(f"passed on after {time.monotonic() - began:.1f} s")
    finally:
        first.close()
        second.close()
