"""What every broker does, whichever it is: one suite, run on Kafka and on the embedded log."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.broker import Lease, LeaseState, Record, TopicSpec
from connector.errors import ConfigurationError, DeliveryFailed, ForeignLog, UnpublishableRow
from connector.model import Lane
from tests.conformance.broker_logs import (
    MAX_BYTES,
    EmbeddedLog,
    KafkaLog,
    Log,
    make_topic,
    read,
    read_lanes,
    send_all,
)
from tests.conformance.lease_holder import LeaseHolder


@pytest.fixture(params=["embedded", "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path, topic_prefix: str) -> Log:
    if request.param == "embedded":
        return EmbeddedLog(topic_prefix, tmp_path / "events.db")
    return KafkaLog(topic_prefix, request.getfixturevalue("kafka_server").bootstrap_servers)


def test_records_are_acknowledged_and_read_in_the_order_sent(log: Log) -> None:
    topic = make_topic(log, partitions=5)
    sent = [(Lane(topic, n * n % 5), f"key {n}".encode(), f"value {n}".encode() * 20) for n in range(10_000)]
    acknowledged = send_all(log, sent)
    lanes = {Lane(topic, partition) for partition in range(5)}
    assert len(acknowledged) == len(sent)
    records = read_lanes(log, dict.fromkeys(lanes, 0), len(sent))
    for lane in lanes:
        mine = [(key, value) for to, key, value in sent if to == lane]
        assert [offset for to, offset in acknowledged if to == lane] == list(range(len(mine)))
        read_back = [r for r in records if (r.topic, r.partition) == lane]
        assert [r.offset for r in read_back] == list(range(len(mine)))
        assert [(r.key, r.value) for r in read_back] == mine


def test_acknowledgements_come_from_within_the_producers_calls(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    threads: list[int] = []
    producer = log.broker.producer(lambda lane, offset: threads.append(threading.get_ident()))
    try:
        producer.send(lane, b"k", b"v")
        producer.flush(30)
    finally:
        producer.close()
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("hurried", [False, True])
def test_a_single_record_is_acknowledged_by_polling(log: Log, hurried: bool) -> None:
    lane = Lane(make_topic(log), 0)
    acknowledged: list[int] = []
    producer = log.broker.producer(lambda lane, offset: acknowledged.append(offset))
    try:
        producer.send(lane, b"k", b"v")
        deadline = time.monotonic() + 90
        while not acknowledged and time.monotonic() < deadline:
            if hurried:
                producer.hurry()
            else:
                producer.poll(0)
    finally:
        producer.close()
    assert acknowledged == [0]


def test_reading_resumes_at_the_offset_that_is_given(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", str(n).encode()) for n in range(100)])
    assert [r.value for r in read_lanes(log, {lane: 63}, 37)] == [str(n).encode() for n in range(63, 100)]


def test_an_assignment_replaces_the_one_before(log: Log) -> None:
    topic = make_topic(log, partitions=2)
    first, second = Lane(topic, 0), Lane(topic, 1)
    send_all(log, [(lane, None, b"x" * 100) for lane in (first, second) for _ in range(500)])
    consumer = log.broker.consumer("g")
    try:
        consumer.assign({first: 0})
        assert {r.partition for r in read(consumer, 10)} == {0}
        consumer.assign({second: 490})
        assert [(r.partition, r.offset) for r in read(consumer, 10)] == [(1, n) for n in range(490, 500)]
        assert consumer.positions() == {second: 500}
        consumer.assign({first: 20})
        assert [(r.partition, r.offset) for r in read(consumer, 5)] == [(0, n) for n in range(20, 25)]
    finally:
        consumer.close()


def test_consume_takes_no_more_than_it_is_asked_for_and_ends_when_nothing_comes(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, None, b"v") for _ in range(25)])
    consumer = log.broker.consumer("g")
    try:
        consumer.assign({lane: 0})
        sizes: list[int] = []
        while sum(sizes) < 25:
            sizes.append(len(consumer.consume(10, 10)))
        assert max(sizes) <= 10
        began = time.monotonic()
        assert not consumer.consume(10, 0.3)
        assert 0.2 < time.monotonic() - began < 5
    finally:
        consumer.close()


def test_consume_returns_as_soon_as_there_is_something(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    consumer = log.broker.consumer("g")
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        send_all(log, [(lane, b"k", b"late")])

    late = threading.Timer(0.5, send)
    try:
        consumer.assign({lane: 0})
        late.start()
        records: list[Record] = []
        while not records:
            records = list(consumer.consume(4000, 60))
        took = time.monotonic() - sent[0]
        assert [r.value for r in records] == [b"late"]
        assert took < 30
    finally:
        late.join()
        consumer.close()


def test_offsets_of_the_ends(log: Log) -> None:
    topic = make_topic(log, partitions=3)
    lanes = [Lane(topic, partition) for partition in range(3)]
    admin = log.broker.admin()
    try:
        assert admin.end_offsets(lanes) == dict.fromkeys(lanes, 0)
        send_all(log, [(lanes[1], b"k", b"v")] * 7)
        assert admin.beginning_offsets(lanes) == dict.fromkeys(lanes, 0)
        assert admin.end_offsets(lanes) == {lanes[0]: 0, lanes[1]: 7, lanes[2]: 0}
        log.forget_before(lanes[1], 5)
        assert admin.beginning_offsets([lanes[1]]) == {lanes[1]: 5}
        assert admin.end_offsets([]) == {}
    finally:
        admin.close()


def test_offsets_by_time(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, None, b"early")] * 5)
    time.sleep(0.05)
    between = time.time_ns() // 1_000_000
    time.sleep(0.05)
    send_all(log, [(lane, None, b"late")] * 5)
    admin = log.broker.admin()
    try:
        assert admin.offsets_at([lane], 0) == {lane: 0}
        assert admin.offsets_at([lane], between) == {lane: 5}
        assert admin.offsets_at([lane], between + 3_600_000) == {lane: 10}
    finally:
        admin.close()
    (record,) = read_lanes(log, {lane: 5}, 1)
    assert between < record.timestamp_ms < between + 60_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (bytes(range(256)), bytes(range(256))),
        (b"", b""),
        (b"k", None),
        (None, b"v"),
        (None, None),
        ("ключ 🔑".encode(), b"\0\r\n"),
    ],
)
def test_keys_and_values_come_back_as_they_were(log: Log, key: bytes | None, value: bytes | None) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, key, value)])
    (record,) = read_lanes(log, {lane: 0}, 1)
    assert (record.key, record.value) == (key, value)
    assert not record.headers


def test_headers_come_back_in_their_order(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    headers = [("b", b"\0\xff"), ("a", b""), ("b", b"again"), ("__connect.errors.topic", "тема".encode())]
    producer = log.broker.producer(lambda lane, offset: None)
    try:
        producer.send(lane, b"k", b"v", headers)
        producer.flush(30)
    finally:
        producer.close()
    (record,) = read_lanes(log, {lane: 0}, 1)
    assert list(record.headers) == headers


@pytest.mark.parametrize("with_headers", [False, True])
def test_records_are_refused_just_above_what_the_topic_takes(log: Log, with_headers: bool) -> None:
    lane = Lane(make_topic(log), 0)
    headers = [("name", b"x" * 1000)] if with_headers else []
    acknowledged: list[int] = []
    producer = log.broker.producer(lambda lane, offset: acknowledged.append(offset))
    messages: list[str] = []
    body = random.Random(7).randbytes(MAX_BYTES + 1)
    try:
        producer.send(lane, b"small", b"before")
        fits, refused = 0, MAX_BYTES + 1
        while refused - fits > 1:  # the limit itself is the broker's affair, that it is exact is what counts
            size = (fits + refused) // 2
            try:
                producer.send(lane, b"key", body[:size], headers)
            except UnpublishableRow as error:
                messages.append(str(error))
                refused = size
            else:
                producer.flush(30)
                fits = size
        producer.send(lane, b"small", b"after")
        producer.flush(30)
    finally:
        producer.close()
    assert fits > MAX_BYTES - 3000
    assert all("b'key'" in message and str(MAX_BYTES)[:3] in message for message in messages)
    records = read_lanes(log, {lane: 0}, len(acknowledged))
    assert max(len(r.value or b"") for r in records) == fits
    assert records[-1].value == b"after"
    assert acknowledged == list(range(len(acknowledged)))


def test_a_compacted_topic_takes_no_record_without_a_key(log: Log) -> None:
    lane = Lane(make_topic(log, config={"cleanup.policy": "compact"}), 0)
    producer = log.broker.producer(lambda lane, offset: None)
    try:
        with pytest.raises(UnpublishableRow, match="key"):
            producer.send(lane, None, b"v")
        producer.send(lane, b"k", b"v")
        producer.flush(30)
    finally:
        producer.close()
    assert len(read_lanes(log, {lane: 0}, 1)) == 1


def test_a_topic_that_is_not_there(log: Log) -> None:
    known = make_topic(log)
    admin = log.broker.admin()
    consumer = log.broker.consumer("g")
    producer = log.broker.producer(lambda lane, offset: None)
    try:
        for lane in (Lane(f"{log.prefix}.missing", 0), Lane(known, 1)):
            with pytest.raises(ForeignLog, match=lane.topic):
                producer.send(lane, b"k", b"v")
            with pytest.raises(ForeignLog, match=lane.topic):
                consumer.assign({lane: 0})
            with pytest.raises(ForeignLog, match=lane.topic):
                admin.end_offsets([lane])
            with pytest.raises(ForeignLog, match=lane.topic):
                admin.beginning_offsets([lane])
            with pytest.raises(ForeignLog, match=lane.topic):
                admin.offsets_at([lane], 0)
        assert list(admin.describe([known, f"{log.prefix}.missing"])) == [known]
        assert admin.describe([]) == {}
    finally:
        producer.close()
        consumer.close()
        admin.close()


def test_a_topic_made_again_is_told_from_the_one_before(log: Log) -> None:
    topic = make_topic(log, partitions=2)
    lane = Lane(topic, 0)
    send_all(log, [(lane, b"k", b"v")] * 5)
    admin = log.broker.admin()
    try:
        before = admin.describe([topic])[topic]
        assert admin.describe([topic])[topic].topic_id == before.topic_id
        log.delete(topic)
        assert admin.describe([topic]) == {}
        make_topic(log, partitions=2)
        after = admin.describe([topic])[topic]
        assert after.topic_id != before.topic_id
        assert admin.end_offsets([lane]) == {lane: 0}
    finally:
        admin.close()


@pytest.mark.parametrize("offset", [3, 11])
def test_an_offset_out_of_range_is_refused(log: Log, offset: int) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")] * 10)
    log.forget_before(lane, 4)
    consumer = log.broker.consumer("g")
    try:
        consumer.assign({lane: offset})
        with pytest.raises(ForeignLog, match=lane.topic):
            read(consumer, 1)
        consumer.assign({lane: 4})
        assert [r.offset for r in read(consumer, 6)] == list(range(4, 10))
        consumer.assign({lane: 10})
        assert not consumer.consume(10, 1)
        assert consumer.positions() == {lane: 10}
    finally:
        consumer.close()


def test_many_partitions(log: Log) -> None:
    topic = make_topic(log, partitions=100)
    lanes = [Lane(topic, partition) for partition in range(100)]
    acknowledged = send_all(log, [(lane, str(lane.partition).encode(), b"v") for lane in lanes for _ in range(3)])
    assert len(acknowledged) == 300
    consumer = log.broker.consumer("g")
    try:
        consumer.assign(dict.fromkeys(lanes, 0))
        records = read(consumer, 300)
        assert {(r.partition, r.offset) for r in records} == {(n, offset) for n in range(100) for offset in range(3)}
        assert all(r.key == str(r.partition).encode() for r in records)
        assert consumer.positions() == dict.fromkeys(lanes, 3)
    finally:
        consumer.close()


def test_topics_are_made_once(log: Log) -> None:
    admin = log.broker.admin()
    try:
        name = f"{log.prefix}.made"
        first = TopicSpec(name, 3, config={"cleanup.policy": "compact", "max.message.bytes": "200000"})
        assert list(admin.create([first])) == [name]
        second = TopicSpec(f"{log.prefix}.made2", 1)
        assert list(admin.create([TopicSpec(name, 5), second])) == [second.name]
        assert list(admin.create([])) == []
        found = admin.describe([name])[name]
        assert (found.name, found.partitions) == (name, 3)
        assert found.config["cleanup.policy"] == "compact"
        assert found.config["max.message.bytes"] == "200000"
        assert list(admin.list(f"{log.prefix}.")) == [name, second.name]
        assert list(admin.list(f"{log.prefix}.made2")) == [second.name]
    finally:
        admin.close()


@pytest.mark.parametrize(
    "spec",
    [
        TopicSpec("has a space", 1),
        TopicSpec("..", 1),
        TopicSpec("x" * 250, 1),
        TopicSpec("none", 0),
        TopicSpec("odd-config", 1, config={"max.message.bytes": "many"}),
        TopicSpec("odd-policy", 1, config={"cleanup.policy": "shred"}),
    ],
    ids=lambda spec: spec.name[:12],
)
def test_impossible_topics_are_refused(log: Log, spec: TopicSpec) -> None:
    admin = log.broker.admin()
    try:
        with pytest.raises(ConfigurationError):
            admin.create([spec])
    finally:
        admin.close()


def test_committed_offsets_are_for_others_to_see(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")] * 10)
    group = f"{log.prefix}-group"
    consumer = log.broker.consumer(group)
    try:
        consumer.assign({lane: 0})
        read(consumer, 10)
        for offset in (4, 7):
            consumer.commit({lane: offset})
        consumer.commit({})
        deadline = time.monotonic() + 90
        while log.committed(group, lane) != 7 and time.monotonic() < deadline:
            consumer.consume(1, 0.1)
        assert log.committed(group, lane) == 7
    finally:
        consumer.close()
    again = log.broker.consumer(group)
    try:
        again.assign({lane: 2})
        assert read(again, 1)[0].offset == 2
    finally:
        again.close()


def test_a_closed_producer_takes_nothing(log: Log) -> None:
    lane = Lane(make_topic(log), 0)
    producer = log.broker.producer(lambda lane, offset: None)
    producer.flush(1)
    producer.close()
    with pytest.raises(DeliveryFailed, match="closed"):
        producer.send(lane, b"k", b"v")
    with pytest.raises(DeliveryFailed, match="closed"):
        producer.flush(1)


def lease_state(log: Log, topic: str) -> LeaseState:
    client = log.broker.admin()
    try:
        return client.lease_state(topic)
    finally:
        client.close()


@pytest.fixture
def leases() -> Iterator[list[Lease]]:
    found: list[Lease] = []
    yield found
    for lease in found:
        lease.close()


def test_a_lease_has_one_holder_and_passes_on_when_it_is_given_up(log: Log, leases: list[Lease]) -> None:
    topic = make_topic(log, "signals")
    assert lease_state(log, topic).holder is None
    first = log.broker.lease(topic, "host-a:1")
    leases.append(first)
    assert first.wait(60)
    assert first.held()
    assert lease_state(log, topic).holder == "host-a:1"
    second = log.broker.lease(topic, "host-b:2")
    leases.append(second)
    looking, joined = time.monotonic(), False
    while time.monotonic() - looking < 1.5 or not joined:
        assert not second.wait(0.2)
        assert first.held(), "one who joins takes nothing away"
        joined = joined or lease_state(log, topic).holder == "host-a:1"  # for a moment nobody, while it joins
        assert time.monotonic() - looking < 60
    assert not second.held()
    first.close()
    assert not first.held()
    assert second.wait(60)
    assert second.held()
    assert lease_state(log, topic).holder == "host-b:2"


def test_leases_of_two_topics_have_nothing_to_do_with_each_other(log: Log, leases: list[Lease]) -> None:
    for name in ("one.signals", "two.signals"):
        lease = log.broker.lease(make_topic(log, name), "host:1")
        leases.append(lease)
        assert lease.wait(60)


def test_a_killed_holder_is_followed_by_whoever_waits(log: Log, leases: list[Lease]) -> None:
    topic = make_topic(log, "signals")
    holder = LeaseHolder(log, topic)
    try:
        holder.wait_until_held()
        lease = log.broker.lease(topic, "standby:2")
        leases.append(lease)
        assert not lease.wait(1)
    finally:
        holder.kill()
    assert lease.wait(60)
    assert lease.held()
    assert lease_state(log, topic) == LeaseState("standby:2")
