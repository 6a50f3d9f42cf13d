"""A replica on a real log: resuming, readiness, collection, and what stops it. On the embedded broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from connector.broker import Broker, TopicSpec
from connector.broker.embedded import EmbeddedBroker
from connector.errors import ConfigurationError, CorruptedLog, ForeignLog, ReplicaRefused, UnsupportedChange
from connector.model import Change, DocChange, Lane, Op
from connector.replica import run
from connector.replica.connection import load_vectors, open_reader
from connector.settings import Settings
from connector.topics import partition_of, table_topics
from connector.wire import TransactionInfo, encode_key, encode_tombstone, encode_value
from tests.unit.replica.events import assert_consistent, at, delete, document, floor, put, tombstone, vector

PARTITIONS = 3
TOPICS = table_topics("t", "app", "shadow_vec_docs")


class Log:
    """The topics of one shadow table, written as a publisher would."""

    def __init__(self, broker: Broker, prefix: str = "t", **config: str) -> None:
        self.broker = broker
        self.topics = table_topics(prefix, "app", "shadow_vec_docs")
        self.create(**config)

    def create(self, **config: str) -> None:
        admin = self.broker.admin()
        data = {"cleanup.policy": "compact", "min.compaction.lag.ms": "3600000", **config}
        admin.create([TopicSpec(self.topics.data, PARTITIONS, 1, data), TopicSpec(self.topics.tombstones, PARTITIONS)])
        admin.close()

    def publish(self, *changes: Change) -> None:
        records = []
        for change in changes:
            dataset = change.key.dataset_id
            lanes = range(PARTITIONS) if dataset is None else [partition_of(dataset, PARTITIONS)]
            key = encode_key(change.key)
            value = encode_value(change, TransactionInfo("x", 1, True), 0)
            for p in lanes:
                records.append((Lane(self.topics.data, p), key, value))
                if type(change) is not DocChange:
                    records.append(
                        (Lane(self.topics.tombstones, p), key, encode_tombstone(tombstone(dataset, None, change.order)))
                    )
                elif change.op is Op.DELETE:
                    named = tombstone(change.key.dataset_id, change.key.id, change.order)
                    records.append((Lane(self.topics.tombstones, p), key, encode_tombstone(named)))
        self.send(*records)

    def transaction(self, id: str, *changes: DocChange) -> None:
        """Of one dataset."""
        lane = Lane(self.topics.data, partition_of(changes[0].key.dataset_id, PARTITIONS))
        last = len(changes) - 1
        self.send(
            *(
                (lane, encode_key(change.key), encode_value(change, TransactionInfo(id, i + 1, i == last), 0))
                for i, change in enumerate(changes)
            )
        )

    def send(self, *records: tuple[Lane, bytes | None, bytes | None]) -> None:
        producer = self.broker.producer(lambda _lane, _offset: None)
        for record in records:
            producer.send(*record)
        producer.flush(10)
        producer.close()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(EmbeddedBroker(tmp_path / "events.db"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return configured(tmp_path)


def configured(directory: Path, name: str = "replica.db", prefix: str = "t", **replica: Any) -> Settings:
    sections: dict[str, Any] = {
        "topics": {"prefix": prefix, "partitions": PARTITIONS},
        "replica": {"path": directory / name, "gc_interval_s": 0.05, **replica},
    }
    return Settings(**sections)


def catch_up(settings: Settings, log: Log) -> Any:
    return run(settings, log.broker, threading.Event(), until_current=True)


def rows(settings: Settings, sql: str) -> list[Any]:
    connection = open_reader(settings.replica.path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def ids(settings: Settings) -> list[tuple[str, str]]:
    return rows(settings, "SELECT dataset_id, id FROM shadow_vec_docs ORDER BY 1, 2")


def test_everything_on_the_topics_arrives_and_a_second_run_reads_only_what_is_new(log: Log, settings: Settings) -> None:
    log.publish(*(put(f"d{i % 5}", f"x{i}", at(i + 1)) for i in range(100)), delete("d0", "x0", at(200)))
    done = catch_up(settings, log)
    assert (done.records, done.applied.upserted, done.applied.deleted) == (102, 100, 1)
    assert done.ready
    assert done.caught_up
    assert len(ids(settings)) == 99
    log.publish(put("d1", "new", at(300)))
    done = catch_up(settings, log)
    assert (done.records, done.applied.skipped) == (1, 0)
    assert ("d1", "new") in ids(settings)


def test_floors_reach_every_partition(log: Log, settings: Settings) -> None:
    log.publish(*(put(f"d{i}", "x", at(i + 1)) for i in range(20)), floor(None, at(15, 0)))
    catch_up(settings, log)
    assert ids(settings) == sorted((f"d{i}", "x") for i in range(14, 20))


class Running:
    """A replica that follows in a thread."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self.stop = threading.Event()
        self.changed = threading.Condition()
        self.progress: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(settings, broker))
        self._thread.start()

    def _run(self, settings: Settings, broker: Broker) -> None:
        try:
            run(settings, broker, self.stop, on_progress=self._note)
        except BaseException as error:
            self.error = error
        with self.changed:
            self.changed.notify_all()

    def _note(self, progress: Any) -> None:
        with self.changed:
            self.progress = progress
            self.changed.notify_all()

    def wait(self, condition: Callable[[Any], bool], timeout_s: float = 90) -> None:
        with self.changed:
            assert self.changed.wait_for(
                lambda: self.error is not None or (self.progress is not None and condition(self.progress)), timeout_s
            )
        if self.error is not None:
            raise self.error

    def wait_for_records(self, count: int) -> None:
        self.wait(lambda progress: bool(progress.records == count))

    def end(self) -> None:
        self.stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture
def follow(settings: Settings, log: Log) -> Iterator[Callable[[], Running]]:
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(settings, log.broker))
        return started[-1]

    yield start
    for one in started:
        one.stop.set()
        one._thread.join(90)


def test_it_follows_until_told_to_stop(log: Log, settings: Settings, follow: Callable[[], Running]) -> None:
    running = follow()
    running.wait(lambda p: p.ready)
    for i in range(5):
        log.publish(put("a", f"x{i}", at(i + 1)))
        running.wait_for_records(i + 1)
        assert ("a", f"x{i}") in ids(settings)
    running.end()
    assert rows(settings, "SELECT ready, writer, error FROM replica_state") == [(1, None, None)]


class Arrives:
    """A broker on which something is published just when a thread of the replica reads ahead."""

    def __init__(self, broker: Broker, publish: Callable[[], None]) -> None:
        self._broker = broker
        self._publish = publish
        self._main = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def consumer(self, group: str) -> Any:
        consumer: Any = self._broker.consumer(group)
        consume = consumer.consume

        def consume_and_more(max_records: int, timeout_s: float) -> Any:
            if threading.get_ident() != self._main:
                self._publish()
            return consume(max_records, timeout_s)

        consumer.consume = consume_and_more
        return consumer


def test_what_is_read_ahead_does_not_count_as_applied(log: Log, settings: Settings) -> None:
    """The end of a transaction does not come, so its beginning is applied, and the writer stops right after that."""
    late, stop = [put("a", "late", at(2))], threading.Event()

    def publish() -> None:
        while late:
            log.publish(late.pop())

    lane = Lane(log.topics.data, partition_of("a", PARTITIONS))
    begun = put("a", "begun", at(1))
    log.send((lane, encode_key(begun.key), encode_value(begun, TransactionInfo("x", 2, False), 0)))
    run(
        settings,
        cast(Broker, Arrives(log.broker, publish)),
        stop,
        on_progress=lambda done: stop.set() if done.records else None,
    )
    assert ids(settings) == [("a", "begun")]
    publish()
    catch_up(settings, log)
    assert ids(settings) == [("a", "begun"), ("a", "late")]


def test_a_second_writer_is_refused_and_harms_nobody(
    log: Log, settings: Settings, follow: Callable[[], Running]
) -> None:
    running = follow()
    running.wait(lambda p: p.ready)
    with pytest.raises(ReplicaRefused, match=r"has a writer already \(process \d+\)"):
        catch_up(settings, log)
    log.publish(put("a", "x", at(1)))
    running.wait(lambda p: p.records == 1)
    running.end()


def test_it_waits_for_topics_that_do_not_exist_yet(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "events.db")
    broker.admin().close()
    with pytest.raises(ConfigurationError, match="no topics"):
        run(configured(tmp_path), broker, threading.Event(), until_current=True)
    running = Running(configured(tmp_path), broker)
    running.wait(lambda p: p.problem is not None)
    Log(broker).publish(put("a", "x", at(1)))
    running.wait(lambda p: p.ready)
    running.end()


def test_a_deletion_is_collected_by_its_tombstone(log: Log, settings: Settings) -> None:
    log.publish(put("a", "x", at(1)), put("a", "y", at(2)), delete("a", "x", at(3)))
    done = catch_up(settings, log)
    assert done.collected.collected == 1
    assert rows(settings, "SELECT id, collected FROM replica_tombstone") == [("x", 1)]
    assert rows(settings, "SELECT * FROM gc_queue") == []


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (b"\xc3\x01garbage that is no event", UnsupportedChange, "schema"),
        (b"short", CorruptedLog, "single-object"),
        (None, UnsupportedChange, "no value"),
    ],
)
def test_a_record_that_is_not_understood_stops_it_there(
    log: Log, settings: Settings, value: bytes | None, error: type[Exception], says: str
) -> None:
    lane = Lane(TOPICS.data, partition_of("a", PARTITIONS))
    log.publish(put("a", "before", at(1)))
    log.send((lane, b"the key", value))
    log.publish(put("a", "after", at(2)))
    for _ in range(2):
        with pytest.raises(error, match=rf"shadow_vec_docs\[{lane.partition}\] at offset 1, key b'the key'.*{says}"):
            catch_up(settings, log)
        assert ids(settings) == [("a", "before")]
    assert "the key" in rows(settings, "SELECT error FROM replica_state")[0][0]


def test_a_topic_made_anew_is_noticed(tmp_path: Path, log: Log, settings: Settings) -> None:
    log.publish(put("a", "x", at(1)))
    catch_up(settings, log)
    other = Log(EmbeddedBroker(tmp_path / "other.db"))
    with pytest.raises(ForeignLog, match="made anew"):
        catch_up(settings, other)
    assert ids(settings) == [("a", "x")]


def test_following_other_datasets_later_is_refused(tmp_path: Path, log: Log) -> None:
    log.publish(put("a", "x", at(1)), put("b", "y", at(2)))
    catch_up(configured(tmp_path, datasets=["a"]), log)
    assert ids(configured(tmp_path)) == [("a", "x")]
    with pytest.raises(ReplicaRefused, match="follow") as refused:
        catch_up(configured(tmp_path), log)
    assert "replay" in refused.value.hint


def test_two_replicas_of_one_log_are_equal(tmp_path: Path, log: Log) -> None:
    first, second = configured(tmp_path, "one.db"), configured(tmp_path, "two.db", batch_records=3)
    for i in range(60):
        log.publish(put(f"d{i % 4}", f"x{i % 13}", at(i * 2 + 1)))
        if i % 7 == 0:
            log.publish(delete(f"d{i % 4}", f"x{i % 13}", at(i * 2 + 2)))
        if i % 20 == 10:
            catch_up(first, log)
    catch_up(first, log)
    catch_up(second, log)
    every = "SELECT * FROM shadow_vec_docs ORDER BY 1, 2"
    assert rows(first, every) == rows(second, every)
    assert len(rows(first, every)) > 10


def test_large_rows_are_applied_in_bounded_batches(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path, prefix="big")
    big = "word " * 2_000_000
    log = Log(log.broker, "big", **{"max.message.bytes": str(20 * 2**20)})
    log.publish(*(put("a", f"x{i}", at(i + 1), document(f"{i} {big[:900_000]}", vector(1, 2))) for i in range(30)))
    done = catch_up(settings, log)
    assert done.applied.upserted == 30
    connection = open_reader(settings.replica.path)
    assert connection.execute("SELECT sum(length(content)) FROM shadow_vec_docs").get > 27_000_000
    connection.close()


def test_the_file_is_consistent_after_all_this(log: Log, settings: Settings) -> None:
    log.publish(
        *(put("a", f"x{i}", at(i + 1)) for i in range(300)),
        *(delete("a", f"x{i}", at(400 + i)) for i in range(0, 300, 2)),
        *(put("a", f"x{i}", at(800 + i)) for i in range(0, 300, 3)),
        floor("a", at(100, 0)),
    )
    catch_up(settings, log)
    connection = apsw.Connection(str(settings.replica.path))
    load_vectors(connection)
    assert_consistent(connection)
    connection.close()


def test_a_table_that_is_published_later_is_followed_too(
    log: Log, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.replica.consume._DISCOVER_S", 0.1)
    log.publish(put("a", "x", at(1)))
    running = Running(settings, log.broker)
    try:
        running.wait(lambda p: p.ready)
        other = Log(log.broker)
        other.topics = table_topics("t", "app", "more docs")
        other.create()
        other.publish(put("a", "y", at(2)))
        running.wait(lambda p: p.records == 2 and p.ready)
        assert rows(settings, 'SELECT id FROM "more docs"') == [("y",)]
        assert ids(settings) == [("a", "x")]
        assert rows(settings, "SELECT ready FROM replica_state") == [(1,)]
    finally:
        running.end()


def test_a_replica_follows_one_database_of_several(log: Log, settings: Settings, tmp_path: Path) -> None:
    other = Log(log.broker)
    other.topics = table_topics("t", "another", "shadow_vec_docs")
    other.create()
    log.publish(put("a", "x", at(1)))
    other.publish(put("a", "y", at(2)))
    with pytest.raises(ConfigurationError, match="several databases: another, app"):
        catch_up(settings, log)
    here, there = (configured(tmp_path / name, database=name) for name in ("app", "another"))
    for chosen, found in (here, [("a", "x")]), (there, [("a", "y")]):
        chosen.replica.path.parent.mkdir()
        catch_up(chosen, log)
        assert ids(chosen) == found
    log.publish(put("a", "z", at(3)))
    unsaid = configured(tmp_path / "app")
    catch_up(unsaid, log)  # as before
    assert ids(unsaid) == [("a", "x"), ("a", "z")]
    with pytest.raises(ReplicaRefused, match=r"follow the database app, the configuration says another") as caught:
        catch_up(configured(tmp_path / "app", database="another"), log)
    assert "replica replay" in caught.value.hint


@pytest.mark.parametrize("database", [None, "app", "another"])
def test_a_file_that_follows_two_databases_is_not_cut_to_one(log: Log, tmp_path: Path, database: str | None) -> None:
    """Earlier versions followed every table under a prefix, of whatever database."""
    log.publish(put("a", "x", at(1)))
    catch_up(configured(tmp_path), log)
    connection = apsw.Connection(str(configured(tmp_path).replica.path))
    connection.execute(
        "INSERT INTO partition_state SELECT topic_id, 't.another.notes', partition, partition_count, next_offset, "
        "leader_epoch, filter, seen_at FROM partition_state WHERE topic = ?",
        (log.topics.data,),
    )
    connection.close()
    with pytest.raises(ReplicaRefused, match="follow the database another, app, the configuration says") as caught:
        catch_up(configured(tmp_path, database=database), log)
    assert "replica replay" in caught.value.hint


def test_no_reader_sees_a_part_of_a_transaction(log: Log, tmp_path: Path) -> None:
    settings = configured(tmp_path, batch_records=100)
    for number in range(40):
        log.transaction(f"tx{number}", *(put("a", f"x{i}", at(number + 1, i + 1)) for i in range(30)))
    running = Running(settings, log.broker)
    try:
        running.wait(lambda p: p.records > 0)
        seen: set[int] = set()
        while 40 not in seen:
            (version, fewest, most) = rows(
                settings, "SELECT max(position), min(position), count(*) FROM replica_document WHERE id LIKE 'x%'"
            )[0]
            assert version == fewest
            assert most == 30
            seen.add(version)
        running.wait_for_records(1200)
    finally:
        running.end()
