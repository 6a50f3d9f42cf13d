"""Publishing through crashes at every point: each record stands in the log once, in commit order; none is missing."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connector.broker import Acknowledged, Admin, Broker, Consumer, Headers, Lease, Producer
from connector.broker.embedded import EmbeddedBroker
from connector.errors import ConnectionLost, DeliveryFailed, ForeignLog, UnpublishableRow, UsageError
from connector.model import (
    Change,
    CommitOrder,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Key,
    Lane,
    Op,
    PackedRows,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    TableName,
    Transaction,
)
from connector.publish import Publisher, recorded_position
from connector.publish.log_state import read_to_end
from connector.settings import Settings
from connector.topics import partition_of, table_topics
from connector.wire import decode_key, decode_value

IDENTITY = SourceIdentity("mysql", "uuid")
PARTITIONS = 3
TOPICS = table_topics("vecsync", "app", "shadow_vec_docs")


def origin(at: int, row: int) -> SourceInfo:
    return SourceInfo("mysql", "vecsync", 0, False, "app", "shadow_vec_docs", 1, None, "b.000001", at, row)


def script(seed: int, transactions: int) -> list[list[Change]]:
    """Random transactions of documents and floors over few keys."""
    rng = random.Random(seed)
    found = []
    for at in range(1, transactions + 1):
        changes: list[Change] = []
        for ordinal in range(1, rng.choice([1, 1, 2, 5]) + 1):
            order, info = CommitOrder(1, 1, at * 100, ordinal), origin(at * 100, ordinal)
            dataset, kind = rng.choice("ABCDEF"), rng.random()
            if kind < 0.1:
                target = None if kind < 0.03 else dataset
                changes.append(Floor(FloorKey(target), order, FloorReason.TRUNCATE, info))
            else:
                key = DocKey(dataset, rng.choice("xyz"))
                row = None if kind < 0.3 else Document(f"{at}.{ordinal}", None, None, None, at, False)
                changes.append(DocChange(Op.UPDATE if row else Op.DELETE, key, at, row, order, info))
        found.append(changes)
    return found


class ScriptedSource:
    """Yields the script from wherever a position stands; may lose its connection."""

    def __init__(self, transactions: list[list[Change]], lose_after: int | None = None) -> None:
        self.transactions = transactions
        self.lose_after = lose_after
        self.streams = 0

    def identity(self) -> SourceIdentity:
        return IDENTITY

    def at(self, number: int, epoch: int = 1) -> SourcePosition:
        return SourcePosition(IDENTITY, epoch, file="b.000001", position=(number + 1) * 100, snapshot_done=True)

    def head(self) -> SourcePosition:
        return self.at(len(self.transactions))

    def start(self, epoch: int) -> SourcePosition:
        return self.at(0, epoch)

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:
        raise ForeignLog("the source is not the one that was recorded")

    def place(self, where: str) -> SourcePosition:
        raise UsageError(where)

    def claim(self, after: SourcePosition) -> SourcePosition:
        return after

    def stream(self, after: SourcePosition) -> ScriptedStream:
        self.streams += 1
        return ScriptedStream(self, after)

    def behind(self, at: SourcePosition) -> None: ...

    def rows(self) -> None: ...

    def check_snapshot(self, datasets: Sequence[str] | None, tables: Sequence[TableName]) -> None: ...

    def close(self) -> None: ...


class ScriptedStream:
    def __init__(self, source: ScriptedSource, after: SourcePosition) -> None:
        self.source, self.number, self.epoch = source, after.position // 100 - 1, after.epoch

    def next(self, timeout_s: float) -> Transaction | None:
        if self.source.lose_after is not None and self.number >= self.source.lose_after and self.source.streams == 1:
            raise ConnectionLost("gone")
        if self.number >= len(self.source.transactions):
            return None
        changes = self.source.transactions[self.number]
        self.number += 1
        return Transaction(f"t:{self.number}", iter(changes), self.position())

    def position(self) -> SourcePosition:
        return self.source.at(self.number, self.epoch)

    def reached(self, head: SourcePosition) -> bool:
        return self.position().position >= head.position

    def proven(self) -> bool:
        return True

    def close(self) -> None: ...


class Crash(BaseException):
    """The process dies here: nothing of the publisher's own ending runs but what Python insists on."""


class CrashingBroker:
    """The embedded broker, with a producer that dies at its nth call, its last batch landed or lost."""

    def __init__(self, broker: Broker, calls: int, landed: bool) -> None:
        self.broker, self.calls, self.landed = broker, calls, landed

    def producer(self, acknowledged: Acknowledged) -> Producer:
        return CrashingProducer(self, self.broker.producer(acknowledged))

    def consumer(self, group: str) -> Consumer:
        return self.broker.consumer(group)

    def admin(self) -> Admin:
        return self.broker.admin()

    def lease(self, topic: str, member: str) -> Lease:
        return self.broker.lease(topic, member)


class CrashingProducer:
    def __init__(self, owner: CrashingBroker, producer: Producer) -> None:
        self.owner, self.producer, self.dead = owner, producer, False

    def step(self) -> None:
        if self.dead:
            raise Crash
        self.owner.calls -= 1
        if self.owner.calls <= 0:
            self.dead = True
            if self.owner.landed:
                self.producer.flush(10)  # it landed, but nobody was told: see `acknowledged` below
            raise Crash

    def send(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        self.step()
        self.producer.send(lane, key, value, headers)

    def poll(self, timeout_s: float) -> None:
        self.step()
        self.producer.poll(timeout_s)

    def hurry(self) -> None:
        self.step()
        self.producer.hurry()

    def flush(self, timeout_s: float) -> None:
        self.step()
        self.producer.flush(timeout_s)

    def close(self) -> None:
        self.producer.close()


def configured(path: Path, **publish: object) -> Settings:
    return Settings.model_validate(
        {
            "broker": {"kind": "embedded", "path": path / "log.db"},
            "topics": {"partitions": PARTITIONS},
            "publish": {"position_interval_s": 0.001, **publish},
        }
    )


def standing(broker: Broker, topic: str) -> list[list[tuple[CommitOrder, Key]]]:
    """Per partition, what stands there."""
    found: list[list[tuple[CommitOrder, Key]]] = [[] for _ in range(PARTITIONS)]
    for record in read_to_end(broker, {Lane(topic, p): 0 for p in range(PARTITIONS)}):
        assert record.value is not None
        assert record.key is not None
        found[record.partition].append((decode_value(record.value).change.order, decode_key(record.key)))
    return found


def expected(transactions: list[list[Change]]) -> list[list[tuple[CommitOrder, Key]]]:
    found: list[list[tuple[CommitOrder, Key]]] = [[] for _ in range(PARTITIONS)]
    for change in (change for changes in transactions for change in changes):
        dataset = change.key.dataset_id
        for p in range(PARTITIONS) if dataset is None else [partition_of(dataset, PARTITIONS)]:
            found[p].append((change.order, change.key))
    return found


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    crashes=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=6),
)
def test_crashes_leave_neither_gap_nor_duplicate(seed: int, crashes: list[tuple[int, bool]]) -> None:
    transactions = script(seed, 25)
    with tempfile.TemporaryDirectory() as name:
        settings = configured(Path(name))
        broker = EmbeddedBroker(settings.broker.path)
        for calls, landed in crashes:
            dying = CrashingBroker(broker, calls, landed)
            try:
                Publisher(ScriptedSource(transactions), dying, settings, Event()).run(until_current=True)
            except Crash:
                continue
        Publisher(ScriptedSource(transactions), broker, settings, Event()).run(until_current=True)
        assert standing(broker, TOPICS.data) == expected(transactions)
        recorded = recorded_position(broker, "vecsync")
        assert recorded is not None
        assert recorded.closed
        assert recorded.source == ScriptedSource(transactions).head()


def test_the_last_record_of_a_transaction_in_its_lane_says_so(directory: Path) -> None:
    transactions = script(5, 30)
    settings = configured(directory)
    broker = EmbeddedBroker(settings.broker.path)
    Publisher(ScriptedSource(transactions), broker, settings, Event()).run(until_current=True)
    for partition in range(PARTITIONS):
        events = [
            decode_value(record.value or b"") for record in read_to_end(broker, {Lane(TOPICS.data, partition): 0})
        ]
        ids = [event.transaction.id for event in events]
        for at, event in enumerate(events):
            assert event.transaction.last == (at + 1 == len(ids) or ids[at + 1] != ids[at])


def test_a_lost_connection_is_resumed(directory: Path) -> None:
    transactions = script(1, 20)
    settings = configured(directory)
    broker = EmbeddedBroker(settings.broker.path)
    source = ScriptedSource(transactions, lose_after=10)
    progress = Publisher(source, broker, settings, Event()).run(until_current=True)
    assert source.streams == 2
    assert standing(broker, TOPICS.data) == expected(transactions)
    assert progress.skipped == 0, "an orderly end of a session leaves nothing to skip"


def test_a_connection_that_stays_lost_is_raised(directory: Path) -> None:
    settings = configured(directory)
    settings = settings.model_copy(update={"source": settings.source.model_copy(update={"reconnect_max_s": 0.3})})

    class Dead(ScriptedSource):
        def stream(self, after: SourcePosition) -> ScriptedStream:
            raise ConnectionLost("gone for good")

    with pytest.raises(ConnectionLost, match="for good"):
        Publisher(Dead(script(1, 3)), EmbeddedBroker(settings.broker.path), settings, Event()).run(until_current=True)


def test_another_source_is_refused(directory: Path) -> None:
    settings = configured(directory)
    broker = EmbeddedBroker(settings.broker.path)
    Publisher(ScriptedSource(script(1, 3)), broker, settings, Event()).run(until_current=True)

    class Other(ScriptedSource):
        def identity(self) -> SourceIdentity:
            return replace(IDENTITY, uuid="another")

    with pytest.raises(ForeignLog, match="not the one"):
        Publisher(Other(script(1, 5)), broker, settings, Event()).run(until_current=True)


def test_without_a_position_the_epoch_is_above_all_that_stands(directory: Path) -> None:
    settings = configured(directory)
    broker = EmbeddedBroker(settings.broker.path)
    Publisher(ScriptedSource(script(1, 3)), broker, settings, Event()).run(until_current=True)
    lane = Lane("vecsync.positions", 0)
    producer = broker.producer(lambda _lane, _offset: None)
    producer.send(lane, b"vecsync-other", b"")
    producer.flush(5)
    producer.close()
    renamed = settings.model_copy(deep=True)
    log = EmbeddedBroker(renamed.broker.path)
    # The positions of this prefix are gone: as if the topic had been made again.
    import apsw

    with apsw.Connection(str(renamed.broker.path)) as connection:
        connection.execute("DELETE FROM record WHERE key = ?", (b"vecsync",))
    assert recorded_position(log, "vecsync") is None
    Publisher(ScriptedSource([]), log, renamed, Event()).run(until_current=True)
    recorded = recorded_position(log, "vecsync")
    assert recorded is not None
    assert recorded.source.epoch == 2


BIG = DocChange(
    Op.UPDATE,
    DocKey("A", "big"),
    9,
    Document("x" * 200_000, None, None, None, 9, False),
    CommitOrder(1, 1, 150, 1),
    origin(150, 1),
)


def limited(path: Path, tolerance: str) -> Settings:
    settings = configured(path, errors_tolerance=tolerance)
    return settings.model_copy(update={"topics": settings.topics.model_copy(update={"max_message_bytes": 100_000})})


def test_a_row_over_the_limit_stops_by_name_and_loses_nothing(directory: Path) -> None:
    settings = limited(directory, "none")
    broker = EmbeddedBroker(settings.broker.path)
    transactions: list[list[Change]] = [*script(2, 1), [BIG]]
    with pytest.raises(UnpublishableRow, match=r"'big'.*'A'.*b\.000001:150"):
        Publisher(ScriptedSource(transactions), broker, settings, Event()).run(until_current=True)
    assert standing(broker, TOPICS.data) == expected(transactions[:1])
    recorded = recorded_position(broker, "vecsync")
    assert recorded is not None
    assert recorded.source == ScriptedSource(transactions).at(1)


def test_a_row_over_the_limit_is_set_aside_when_that_is_wanted(directory: Path) -> None:
    settings = limited(directory, "all")
    broker = EmbeddedBroker(settings.broker.path)
    transactions: list[list[Change]] = [[BIG], *script(2, 4)[1:]]
    Publisher(ScriptedSource(transactions), broker, settings, Event()).run(until_current=True)
    assert standing(broker, TOPICS.data) == expected(transactions)
    lane = Lane(TOPICS.data, partition_of("A", PARTITIONS))
    first = next(read_to_end(broker, {lane: 0}))
    change = decode_value(first.value or b"").change
    assert isinstance(change, DocChange)
    assert change.after is None
    assert change.unpublished
    (letter,) = read_to_end(broker, {Lane("vecsync.dlq", 0): 0})
    headers = dict(letter.headers)
    assert headers["__connect.errors.topic"] == TOPICS.data.encode()
    assert b"UnpublishableRow" in headers["__connect.errors.exception.class.name"]


def test_a_failed_delivery_is_resumed_from_the_recorded_position(directory: Path) -> None:
    transactions = script(3, 20)
    settings = configured(directory)
    broker = EmbeddedBroker(settings.broker.path)

    class Failing(CrashingProducer):
        def step(self) -> None:
            self.owner.calls -= 1
            if self.owner.calls == 0:
                raise DeliveryFailed("refused")

    class FailingOnce(CrashingBroker):
        def producer(self, acknowledged: Acknowledged) -> Producer:
            return Failing(self, self.broker.producer(acknowledged))

    Publisher(ScriptedSource(transactions), FailingOnce(broker, 30, False), settings, Event()).run(until_current=True)
    assert standing(broker, TOPICS.data) == expected(transactions)


def test_a_stop_during_the_wait_closes_nothing(directory: Path) -> None:
    """Whoever comes next has to wait as well: what the dead publisher sent may still land."""
    settings = configured(directory)
    broker = EmbeddedBroker(settings.broker.path)
    with pytest.raises(Crash):
        Publisher(ScriptedSource(script(1, 20)), CrashingBroker(broker, 20, True), settings, Event()).run()
    before = recorded_position(broker, "vecsync")
    assert before is not None
    assert not before.closed
    waits = settings.model_copy(update={"broker": settings.broker.model_copy(update={"kind": "kafka"})})
    stopped = Event()
    stopped.set()
    Publisher(ScriptedSource(script(1, 20)), broker, waits, stopped).run()
    assert recorded_position(broker, "vecsync") == before


class MovingSource(ScriptedSource):
    """The same transactions in the log of one of several servers, at places of its own."""

    def __init__(self, transactions: list[list[Change]], server: int) -> None:
        super().__init__(transactions)
        self.server = server

    def identity(self) -> SourceIdentity:
        return replace(IDENTITY, uuid=f"{self.server:08}-0000-0000-0000-000000000000")

    def at(self, number: int, epoch: int = 1) -> SourcePosition:
        executed = f"{UUID}:1-{number}" if number else None
        position = (number + 1) * (100 + self.server)
        return SourcePosition(self.identity(), epoch, executed, f"b.{9 - self.server:06}", position, snapshot_done=True)

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:
        assert all(int(gtid.rsplit(":")[-1]) <= len(self.transactions) for gtid in standing)
        return self.at(int((recorded.gtid_set or "-0").rsplit("-", 1)[1]), recorded.epoch + 1)

    def stream(self, after: SourcePosition) -> MovedStream:
        return MovedStream(self, after)


def moved(change: Change | PackedRows, order: CommitOrder, gtid: str) -> Change:
    assert not isinstance(change, PackedRows), "the script has none"
    source = change.source._replace(gtid=gtid)
    if isinstance(change, DocChange):
        return change._replace(order=order, source=source)
    return replace(change, order=order, source=source)


class MovedStream(ScriptedStream):
    source: MovingSource

    def __init__(self, source: MovingSource, after: SourcePosition) -> None:
        super().__init__(source, replace(after, position=after.position * 100 // (100 + source.server)))

    def next(self, timeout_s: float) -> Transaction | None:
        transaction = super().next(timeout_s)
        if transaction is None:
            return None
        transaction.id, place = f"{UUID}:{self.number}", self.number * (100 + self.source.server)
        transaction.changes = [
            moved(change, CommitOrder(self.epoch, 9 - self.source.server, place, ordinal), transaction.id)
            for ordinal, change in enumerate(transaction.changes, 1)
        ]
        return transaction


UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    crashes=st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.integers(0, 2)), max_size=7),
)
def test_crashes_and_changes_of_server_leave_neither_gap_nor_duplicate(
    seed: int, crashes: list[tuple[int, bool, int]]
) -> None:
    transactions = script(seed, 25)
    with tempfile.TemporaryDirectory() as name:
        settings = configured(Path(name))
        broker = EmbeddedBroker(settings.broker.path)
        for calls, landed, server in crashes:
            dying = CrashingBroker(broker, calls, landed)
            try:
                Publisher(MovingSource(transactions, server), dying, settings, Event()).run(until_current=True)
            except Crash:
                continue
        Publisher(MovingSource(transactions, 3), broker, settings, Event()).run(until_current=True)
        found: list[list[tuple[int, int, Key]]] = [[] for _ in range(PARTITIONS)]
        orders: list[list[CommitOrder]] = [[] for _ in range(PARTITIONS)]
        for record in read_to_end(broker, {Lane(TOPICS.data, p): 0 for p in range(PARTITIONS)}):
            change = decode_value(record.value or b"").change
            number = int((change.source.gtid or "").rsplit(":")[-1])
            found[record.partition].append((number, change.order.ordinal, change.key))
            orders[record.partition].append(change.order)
        wanted = [
            [(order.position // 100, order.ordinal, key) for order, key in lane] for lane in expected(transactions)
        ]
        assert found == wanted
        assert orders == [sorted(lane) for lane in orders]


def test_bytes_on_their_way_are_bounded(directory: Path) -> None:
    """Also by the record that is sent next; one that is larger than that goes alone."""
    sizes = [700_000] * 6 + [1_500_000] * 2 + [300_000] * 9
    transactions: list[list[Change]] = []
    for at, size in enumerate(sizes, 1):
        order, row = CommitOrder(1, 1, at * 100, 1), Document("x" * size, None, None, None, at, False)
        change = DocChange(Op.CREATE, DocKey("A", f"{at}"), at, row, order, origin(at * 100, 1))
        transactions.append([change])
    settings = configured(directory, in_flight_bytes=2**20)
    waiting: list[int] = []
    most: list[int] = []

    class Weighing(CrashingProducer):
        def step(self) -> None: ...

        def send(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
            super().send(lane, key, value, headers)
            if lane.topic == TOPICS.data:
                waiting.append(len(value or b"") + len(key or b""))
                most.append(sum(waiting))

    class Weighed(CrashingBroker):
        def producer(self, acknowledged: Acknowledged) -> Producer:
            def told(lane: Lane, offset: int) -> None:
                if lane.topic == TOPICS.data:
                    waiting.pop(0)  # of one dataset: one after the other
                acknowledged(lane, offset)

            return Weighing(self, self.broker.producer(told))

    broker = EmbeddedBroker(settings.broker.path)
    Publisher(ScriptedSource(transactions), Weighed(broker, 0, False), settings, Event()).run(until_current=True)
    assert standing(broker, TOPICS.data) == expected(transactions)
    assert len(most) == len(sizes)
    assert max(total for total in most if total < 1_500_000) <= 2**20
    assert max(most) < 1_600_000
    assert any(total > 700_000 for total in most if total < 1_500_000), "more than one at a time"
