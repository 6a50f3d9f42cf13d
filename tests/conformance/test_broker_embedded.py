"""What only the embedded log has: a file that processes share, die over and clean."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.broker import Record, TopicSpec
from connector.broker.connect import open_broker
from connector.broker.embedded import EmbeddedBroker
from connector.broker.embedded_cleaning import Cleaner, clean
from connector.broker.embedded_file import decode_headers, encode_headers, open_log
from connector.errors import ConfigurationError, CorruptedLog, DeliveryFailed, ForeignLog, Unreachable
from connector.model import Lane
from connector.settings import BrokerSettings, Settings
from tests.conformance.broker_logs import EmbeddedLog, make_topic, read, read_lanes, send_all

PRODUCER = Path(__file__).parent / "embedded_producer.py"
ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000


@pytest.fixture
def log(tmp_path: Path) -> EmbeddedLog:
    return EmbeddedLog("t", tmp_path / "events.db")


def _start(log: EmbeddedLog, topic: str, partitions: int, count: int, *limit: int) -> subprocess.Popen[str]:
    arguments = [str(log.path), topic, str(partitions), str(count), *map(str, limit)]
    return subprocess.Popen(
        [sys.executable, str(PRODUCER), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_one_process_reads_what_another_writes(log: EmbeddedLog) -> None:
    topic = make_topic(log, partitions=3)
    consumer = log.broker.consumer("g")
    consumer.assign({Lane(topic, n): 0 for n in range(3)})
    other = _start(log, topic, 3, 6000)
    output, errors = "", ""

    def drain() -> None:  # what it prints is more than a pipe holds
        nonlocal output, errors
        output, errors = other.communicate(timeout=60)

    draining = threading.Thread(target=drain)
    draining.start()
    try:
        records = read(consumer, 6000, 60)
        draining.join()
    finally:
        other.kill()
        other.wait()
        consumer.close()
    assert (other.returncode, errors) == (0, "")
    for partition in range(3):
        mine = [r for r in records if r.partition == partition]
        assert [r.offset for r in mine] == list(range(2000))
        assert [r.key for r in mine] == [b"%d" % n for n in range(partition, 6000, 3)]
    assert len(output.splitlines()) == 6000


def test_a_producer_that_is_killed_leaves_a_contiguous_beginning(log: EmbeddedLog) -> None:
    topic = make_topic(log, partitions=2)
    with _start(log, topic, 2, 10_000_000) as other:
        assert other.stdout is not None
        lines = [other.stdout.readline() for _ in range(500)]  # it is in the middle of its work
        other.kill()
        # Not by communicate(): that passes over what has been read ahead of the lines.
        lines += [line for line in other.stdout if line.endswith("\n")]
    acknowledged = [tuple(map(int, line.split())) for line in lines]
    assert other.returncode == -9
    admin = log.broker.admin()
    ends = admin.end_offsets([Lane(topic, 0), Lane(topic, 1)])
    admin.close()
    records = read_lanes(log, {Lane(topic, 0): 0, Lane(topic, 1): 0}, sum(ends.values()))
    stood = {(r.partition, r.offset): int(r.key or b"") for r in records}
    for partition in range(2):
        end = ends[Lane(topic, partition)]
        assert [stood[partition, offset] for offset in range(end)] == list(range(partition, 2 * end, 2))
    # Everything acknowledged is there, and both lanes end where one batch ended.
    assert acknowledged
    assert all(stood[partition, offset] == number for partition, offset, number in acknowledged)
    assert abs(ends[Lane(topic, 0)] - ends[Lane(topic, 1)]) <= 1
    # Whoever comes next goes on behind it.
    assert send_all(log, [(Lane(topic, 0), b"next", b"v")]) == [(Lane(topic, 0), ends[Lane(topic, 0)])]


def test_two_processes_write_one_lane(log: EmbeddedLog) -> None:
    topic = make_topic(log)
    both = [_start(log, topic, 1, 2000) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [errors for _, errors in outputs] == ["", ""]
    offsets = [[int(line.split()[1]) for line in output.splitlines()] for output, _ in outputs]
    assert sorted(offsets[0] + offsets[1]) == list(range(4000))
    records = read_lanes(log, {Lane(topic, 0): 0}, 4000)
    for mine in offsets:
        assert mine == sorted(mine)
        assert [int(records[offset].key or b"") for offset in mine] == list(range(2000))


def test_a_full_disk_fails_the_batch_and_loses_nothing_acknowledged(log: EmbeddedLog) -> None:
    topic = make_topic(log)
    lane = Lane(topic, 0)
    other = _start(log, topic, 1, 100_000, 3_000_000)
    output, errors = other.communicate(timeout=120)
    assert other.returncode == 6, errors
    assert errors.startswith("DeliveryFailed: ")
    admin = log.broker.admin()
    end = admin.end_offsets([lane])[lane]
    admin.close()
    assert end == len(output.splitlines()) > 0
    records = read_lanes(log, {lane: 0}, end)
    assert [int(r.key or b"") for r in records] == list(range(end))
    assert send_all(log, [(lane, b"next", b"v")]) == [(lane, end)]


def test_a_producer_waits_for_the_lock_and_a_failed_one_stays_failed(log: EmbeddedLog) -> None:
    lane = Lane(make_topic(log), 0)
    acknowledged: list[int] = []
    producer = log.broker.producer(lambda lane, offset: acknowledged.append(offset))
    blocker = open_log(log.path)
    blocker.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: blocker.execute("COMMIT"))
    release.start()
    producer.send(lane, b"k", b"v")
    producer.flush(30)
    release.join()
    assert acknowledged == [0]
    log.delete(lane.topic)
    producer.send(lane, b"k", b"v")
    with pytest.raises(DeliveryFailed, match="deleted"):
        producer.flush(30)
    with pytest.raises(DeliveryFailed, match="deleted"):
        producer.send(lane, b"k", b"v")
    with pytest.raises(DeliveryFailed, match="deleted"):
        producer.poll(0)
    blocker.close()
    producer.close()


def test_a_topic_deleted_while_it_is_read(log: EmbeddedLog) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")] * 3)
    consumer = log.broker.consumer("g")
    consumer.assign({lane: 0})
    assert len(read(consumer, 3)) == 3
    log.delete(lane.topic)
    make_topic(log)  # under the same name, with nothing in it
    with pytest.raises(ForeignLog, match=lane.topic):
        consumer.consume(10, 5)
    consumer.close()


def test_large_records_come_in_several_portions(log: EmbeddedLog) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", bytes(1_000_000))] * 40)
    consumer = log.broker.consumer("g")
    consumer.assign({lane: 0})
    sizes: list[int] = []
    while sum(sizes) < 40:
        sizes.append(len(consumer.consume(4000, 10)))
    consumer.close()
    assert max(sizes) <= 17


def _compacted(log: EmbeddedLog, lag_ms: int = 0) -> Lane:
    return Lane(make_topic(log, config={"cleanup.policy": "compact", "min.compaction.lag.ms": str(lag_ms)}), 0)


def test_compaction_keeps_the_last_record_under_a_key(log: EmbeddedLog) -> None:
    lane = _compacted(log)
    sent = [(lane, f"{n % 7}".encode(), str(n).encode()) for n in range(5000)]
    send_all(log, [*sent, (lane, b"3", None)])
    removed = clean(log.path, now_ms=_now_ms() + 1)
    assert removed == 5001 - 7
    records = read_lanes(log, {lane: 0}, 7)
    assert [(r.offset, r.key) for r in records] == [(n, b"%d" % (n % 7)) for n in range(4993, 5000) if n % 7 != 3] + [
        (5000, b"3")
    ]
    assert clean(log.path, now_ms=_now_ms() + 1) == 0
    # What was read once is looked at again with what came after it.
    send_all(log, [(lane, b"0", b"new")] * 1000)
    assert clean(log.path, now_ms=_now_ms() + 1) == 1000


def test_compaction_waits_for_the_lag(log: EmbeddedLog) -> None:
    lane = _compacted(log, lag_ms=3_600_000)
    send_all(log, [(lane, b"k", b"v")] * 2000)
    assert clean(log.path, now_ms=_now_ms() + 3_500_000) == 0
    assert clean(log.path, now_ms=_now_ms() + 3_700_000) == 1999


def test_a_record_within_the_lag_supersedes_nothing(log: EmbeddedLog) -> None:
    lane = _compacted(log, lag_ms=1000)
    send_all(log, [(lane, b"k", b"old")] * 1500)
    middle = _now_ms()
    time.sleep(0.1)
    send_all(log, [(lane, b"k", b"new")] * 1500)
    assert clean(log.path, now_ms=middle + 1050) == 1499
    records = read_lanes(log, {lane: 0}, 1501)
    assert [r.offset for r in records] == list(range(1499, 3000))


def test_positions_pass_gaps(log: EmbeddedLog) -> None:
    lane = _compacted(log)
    send_all(log, [(lane, b"k", b"v")] * 1500)
    clean(log.path, now_ms=_now_ms() + 1)
    consumer = log.broker.consumer("g")
    consumer.assign({lane: 10})
    assert [r.offset for r in read(consumer, 1)] == [1499]
    assert consumer.positions() == {lane: 1500}
    # A gap up to the end, as when a reader stands between the kept record and the end of what was compacted.
    connection = open_log(log.path)
    connection.execute("DELETE FROM record")
    connection.close()
    consumer.assign({lane: 10})
    assert not consumer.consume(10, 0)
    assert consumer.positions() == {lane: 1500}
    consumer.close()


def test_retention_takes_the_oldest_and_never_an_offset_twice(log: EmbeddedLog) -> None:
    lane = Lane(make_topic(log, config={"retention.ms": "1000"}), 0)
    send_all(log, [(lane, b"k", b"old")] * 3)
    middle = _now_ms()
    time.sleep(0.1)
    send_all(log, [(lane, b"k", b"new")] * 3)
    consumer = log.broker.consumer("g")
    consumer.assign({lane: 2})
    admin = log.broker.admin()
    assert clean(log.path, now_ms=middle + 1050) == 3
    assert (admin.beginning_offsets([lane]), admin.end_offsets([lane])) == ({lane: 3}, {lane: 6})
    with pytest.raises(ForeignLog, match="3 to 6; 2 was asked for"):
        consumer.consume(10, 0)
    assert clean(log.path, now_ms=_now_ms() + 5000) == 3
    assert (admin.beginning_offsets([lane]), admin.end_offsets([lane])) == ({lane: 6}, {lane: 6})
    assert admin.offsets_at([lane], 0) == {lane: 6}
    assert send_all(log, [(lane, b"k", b"v")]) == [(lane, 6)]
    consumer.assign({lane: 6})
    assert [r.offset for r in read(consumer, 1)] == [6]
    consumer.close()
    admin.close()


def test_retention_asked_for_never(log: EmbeddedLog) -> None:
    lane = Lane(make_topic(log, config={"retention.ms": "-1"}), 0)
    send_all(log, [(lane, b"k", b"v")] * 3)
    assert clean(log.path, now_ms=_now_ms() + 10_000 * DAY_MS) == 0


def test_retention_is_a_week_unless_said(log: EmbeddedLog) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", b"v")] * 3)
    assert clean(log.path, now_ms=_now_ms() + 6 * DAY_MS) == 0
    assert clean(log.path, now_ms=_now_ms() + 8 * DAY_MS) == 3


def test_cleaning_beside_a_producer(log: EmbeddedLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lane = _compacted(log)
    send_all(log, [(lane, b"k", b"v")] * 3000)
    cleaner = Cleaner(log.path, interval_s=3600)
    cleaner.now_and_then()
    cleaner.stop()
    assert len(read_lanes(log, {lane: 0}, 3000)) == 3000
    cleaner = Cleaner(log.path, interval_s=0)
    cleaner.now_and_then()
    deadline = time.monotonic() + 90
    while "the log was cleaned" not in caplog.messages and time.monotonic() < deadline:
        time.sleep(0.01)
    cleaner.stop()
    assert [r.offset for r in read_lanes(log, {lane: 0}, 1)] == [2999]


def test_cleaning_is_broken_off_and_begun_again(log: EmbeddedLog, caplog: pytest.LogCaptureFixture) -> None:
    lane = _compacted(log)
    send_all(log, [(lane, b"k%d" % (n % 50), bytes(200)) for n in range(30_000)])
    for delay_s in (0, 0.005, 0.02):
        cleaner = Cleaner(log.path, interval_s=0)
        cleaner.now_and_then()
        time.sleep(delay_s)
        cleaner.stop()
    assert not caplog.messages
    clean(log.path, now_ms=_now_ms() + 1)
    assert [r.offset for r in read_lanes(log, {lane: 0}, 50)] == list(range(29_950, 30_000))


def test_cleaning_that_fails_says_so_and_leaves_the_producer_alone(
    log: EmbeddedLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.path.write_text("not a log, " * 1000)
    cleaner = Cleaner(log.path, interval_s=0)
    cleaner.now_and_then()
    deadline = time.monotonic() + 90
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.01)
    cleaner.stop()
    assert caplog.messages == ["the log was not cleaned"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b""]), st.booleans()), max_size=60), st.integers(0, 60))
def test_compaction_never_takes_a_last_record(sent: list[tuple[bytes, bool]], start: int) -> None:
    """True cleanings at random moments, on a log in memory of this test's own making."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        log = EmbeddedLog("t", Path(directory) / "events.db")
        lane = _compacted(log)
        last: dict[bytes, int] = {}
        acknowledged: list[int] = []
        producer = log.broker.producer(lambda lane, offset: acknowledged.append(offset))
        for offset, (key, cleaning) in enumerate(sent):
            producer.send(lane, key, str(offset).encode())
            last[key] = offset
            if cleaning:
                producer.flush(30)
                clean(log.path, now_ms=_now_ms() + 1, min_dirty=0)
        producer.flush(30)
        producer.close()
        assert acknowledged == list(range(len(sent)))
        consumer = log.broker.consumer("g")
        start = min(start, len(sent))
        consumer.assign({lane: start})
        records: list[Record] = []
        while consumer.positions()[lane] < len(sent):
            records += consumer.consume(7, 0)
        consumer.close()
        offsets = [r.offset for r in records]
        assert offsets == sorted(set(offsets))
        assert all(r.value == str(r.offset).encode() for r in records)
        assert {o for o in last.values() if o >= start} <= set(offsets)


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.binary())))
def test_headers_round_trip(headers: list[tuple[str, bytes]]) -> None:
    assert list(decode_headers(encode_headers(headers))) == headers


@given(st.binary())
def test_damaged_headers_are_told(data: bytes) -> None:
    try:
        headers = decode_headers(data)
    except CorruptedLog:
        return
    assert (encode_headers(headers) or b"") == data


def test_another_applications_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ForeignLog, match="another application"):
        EmbeddedBroker(path).admin()
    assert path.read_bytes() == before
    text = tmp_path / "notes.txt"
    text.write_text("not a database, " * 1000)
    with pytest.raises(ForeignLog, match="not a log"):
        EmbeddedBroker(text).consumer("g")


def test_a_newer_format_is_refused(log: EmbeddedLog) -> None:
    make_topic(log)
    connection = apsw.Connection(str(log.path))
    connection.pragma("user_version", 99)
    connection.close()
    with pytest.raises(ForeignLog, match="format 99"):
        log.broker.producer(lambda lane, offset: None)


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no directory"):
        EmbeddedBroker(tmp_path / "missing" / "events.db").admin()
    with pytest.raises(Unreachable):
        EmbeddedBroker(tmp_path).admin()


def test_a_damaged_file_is_told(log: EmbeddedLog) -> None:
    lane = Lane(make_topic(log), 0)
    send_all(log, [(lane, b"k", bytes(1000))] * 500)
    data = bytearray(log.path.read_bytes())
    for page in range(10 * 16384, len(data), 16384):
        data[page : page + 100] = b"\xff" * 100
    log.path.write_bytes(bytes(data))
    with pytest.raises((CorruptedLog, ForeignLog)):
        read_lanes(log, {lane: 0}, 500)


def test_the_configuration_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    broker = open_broker(Settings(broker=BrokerSettings(kind="embedded", path=path)))
    admin = broker.admin()
    assert list(admin.create([TopicSpec("x", 2)])) == ["x"]
    admin.close()
    assert path.is_file()


def test_many_processes_make_the_file_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from connector.broker.embedded import EmbeddedBroker;"
        "from connector.broker import TopicSpec; a = EmbeddedBroker(Path(sys.argv[1])).admin();"
        "print(list(a.create([TopicSpec('x', 3)])))"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "events.db")]
    processes = [subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(outputs) == ["['x']"] + ["[]"] * 5
