"""A writer that outlived its lease writes into the log beside its successor: whatever it leaves is found and mended.

Each test is a way in which the log ends wrong when a rule is left out. The other writer is a producer that asks nobody.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from threading import Event

import pytest

from connector.broker.embedded import EmbeddedBroker
from connector.errors import ForeignLog, LeaseLost, LeaseTaken
from connector.model import (
    Change,
    CommitOrder,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Lane,
    Op,
    PublishedPosition,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    TableName,
    Transaction,
)
from connector.publish import Publisher, create_topics, followed_topics, recorded_position, request_snapshot
from connector.publish.lease import Leadership
from connector.publish.log_state import read_to_end
from connector.publish.routing import Router, value_of
from connector.settings import Settings
from connector.source import RowKey, Rows, XaName
from connector.topics import table_topics
from connector.wire import DocEncoder, TransactionInfo, decode_position, decode_value
from tests.system.plain_replica import State, applied, compacted

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
PARTITIONS = 2
TABLE = "shadow_vec_docs"
TOPICS = table_topics("vecsync", "app", TABLE)
END_S = 90.0


def origin(at: int, row: int = 1) -> SourceInfo:
    return SourceInfo("mysql", "vecsync", 0, False, "app", TABLE, 1, f"{UUID}:{at}", "b.000001", at * 100, row)


def up(at: int, key: str, text: str | None = None) -> Change:
    """The row `key` (dataset and id, one letter each) as transaction `at` left it."""
    row = Document(text or f"{key} of {at}", None, None, None, at, False)
    return DocChange(Op.UPDATE, DocKey(key[0], key[1]), at, row, CommitOrder(1, 1, at * 100, 1), origin(at))


def gone(at: int, key: str) -> Change:
    return DocChange(Op.DELETE, DocKey(key[0], key[1]), at, None, CommitOrder(1, 1, at * 100, 1), origin(at))


def floor(at: int, dataset: str | None) -> Change:
    return Floor(FloorKey(dataset), CommitOrder(1, 1, at * 100, 1), FloorReason.TRUNCATE, origin(at))


class LiveSource:
    """Transactions that are committed one by one; the stream yields them up to `shown`, a SELECT sees all."""

    def __init__(self) -> None:
        self.committed: list[Change] = []
        self.shown: int | None = None
        self.blind = False  # nothing that was streamed becomes visible
        self.selects = 0
        self.server = 1  # another one has the same transactions, in an epoch of its own

    def commit(self, *make: Callable[[int], Change]) -> None:
        for one in make:
            self.committed.append(one(len(self.committed) + 1))

    def identity(self) -> SourceIdentity:
        return SourceIdentity("mysql", f"uuid {self.server}")

    def at(self, number: int, epoch: int = 1) -> SourcePosition:
        executed = f"{UUID}:1-{number}" if number else None
        position = (number + 1) * 100
        return SourcePosition(self.identity(), epoch, executed, "b.000001", position, file_began=1, snapshot_done=True)

    def head(self) -> SourcePosition:
        return self.at(len(self.committed))

    def start(self, epoch: int) -> SourcePosition:
        return self.at(0, epoch)

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:
        return self.at(recorded.position // 100 - 1, recorded.epoch + 1)

    def place(self, where: str) -> SourcePosition:
        raise AssertionError(f"nobody moves the position to {where} here")

    def claim(self, after: SourcePosition) -> SourcePosition:
        return after

    def stream(self, after: SourcePosition) -> LiveStream:
        return LiveStream(self, after)

    def behind(self, at: SourcePosition) -> None: ...

    def rows(self) -> LiveRows | None:
        return LiveRows(self)

    def check_snapshot(self, datasets: Sequence[str] | None, tables: Sequence[TableName]) -> None: ...

    def close(self) -> None: ...

    def state(self) -> State:
        return applied(self.committed)


class LiveStream:
    def __init__(self, source: LiveSource, after: SourcePosition) -> None:
        self.source, self.number, self.epoch = source, after.position // 100 - 1, after.epoch

    def next(self, timeout_s: float) -> Transaction | None:
        source = self.source
        if self.number >= len(source.committed if source.shown is None else source.committed[: source.shown]):
            time.sleep(min(timeout_s, 0.002))
            return None
        change = source.committed[self.number]
        order = change.order._replace(epoch=self.epoch)
        change = change._replace(order=order) if isinstance(change, DocChange) else replace(change, order=order)
        self.number += 1
        return Transaction(f"{UUID}:{self.number}", iter([change]), self.position())

    def position(self) -> SourcePosition:
        return self.source.at(self.number, self.epoch)

    def reached(self, head: SourcePosition) -> bool:
        return self.position().position >= head.position

    def proven(self) -> bool:
        return True

    def close(self) -> None: ...


class LiveRows:
    def __init__(self, source: LiveSource) -> None:
        self.source = source

    def read(self, table: str, keys: Collection[RowKey], low: CommitOrder, xa: Collection[XaName]) -> Rows | None:
        assert table == TABLE
        if self.source.blind:
            return None
        self.source.selects += 1
        number = len(self.source.committed)
        state = applied(self.source.committed[:number])
        rows = {key: state[key] for key in keys if key in state}
        return Rows(rows, keys, CommitOrder(0, 1, (number + 1) * 100, 0), origin(number + 1, 0))

    def close(self) -> None: ...


class Publishing:
    """A log, a source, and publishers that come and go."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings.model_validate(
            {
                "broker": {"kind": "embedded", "path": directory / "log.db"},
                "topics": {"partitions": PARTITIONS},
                "publish": {"position_interval_s": 0.01},
            }
        )
        self.broker = EmbeddedBroker(self.settings.broker.path)
        admin = self.broker.admin()
        create_topics(admin, self.settings)
        admin.close()
        self.source = LiveSource()
        self.router = Router(followed_topics(self.settings), PARTITIONS)
        self.stop = Event()
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def start(self) -> None:
        self.stop = stop = Event()

        def work() -> None:
            try:
                Publisher(self.source, self.broker, self.settings, stop).run()
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join(END_S)
            assert not self.thread.is_alive()
            self.thread = None
        if self.error is not None:
            raise self.error

    def catch_up(self) -> None:
        Publisher(self.source, self.broker, self.settings, Event()).run(until_current=True)

    def land(self, *changes: Change) -> None:
        """What the other writer had on its way."""
        producer = self.broker.producer(lambda _lane, _offset: None)
        try:
            for change in changes:
                for out in self.router.route(change):
                    value = value_of(out, DocEncoder(), TransactionInfo("foreign", 1, True), 0)
                    producer.send(out.lane, out.key, value)
            producer.flush(10)
        finally:
            producer.close()

    def standing(self) -> list[Change]:
        """Both partitions, each in its order."""
        found: list[Change] = []
        for partition in range(PARTITIONS):
            for record in read_to_end(self.broker, {Lane(TOPICS.data, partition): 0}):
                assert record.value is not None
                found.append(decode_value(record.value).change)
        return found

    def wrong(self) -> list[str]:
        """What a replica would get wrong, from the whole log or from what compaction leaves of it."""
        found = []
        for partition in range(PARTITIONS):
            last: dict[object, CommitOrder] = {}
            best: dict[object, CommitOrder] = {}
            for record in read_to_end(self.broker, {Lane(TOPICS.data, partition): 0}):
                assert record.value is not None
                change = decode_value(record.value).change
                last[change.key] = change.order
                best[change.key] = max(change.order, best.get(change.key, change.order))
            found += [f"{key} ends with {order}, not {best[key]}" for key, order in last.items() if order < best[key]]
        standing = self.standing()
        if applied(standing) != self.source.state():
            found.append("a replica is not the source")
        if not found and applied(compacted(standing)) != self.source.state():
            found.append("a replica of what compaction leaves is not the source")
        return found

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + END_S
        while not reached():
            assert self.error is None, self.error
            assert time.monotonic() < deadline, self.wrong()
            time.sleep(0.01)

    def position(self) -> int:
        recorded = recorded_position(self.broker, "vecsync")
        return 0 if recorded is None else recorded.source.position

    def positions(self) -> list[int]:
        """Every one that was recorded."""
        records = read_to_end(self.broker, {Lane("vecsync.positions", 0): 0})
        return [decode_position(record.value).source.position for record in records if record.value is not None]

    def position_again(self, which: Callable[[PublishedPosition], bool]) -> None:
        """The first such one is the last again: what followed was never recorded, or was written over."""
        lane = Lane("vecsync.positions", 0)
        values = [record.value for record in read_to_end(self.broker, {lane: 0}) if record.value is not None]
        producer = self.broker.producer(lambda _lane, _offset: None)
        producer.send(lane, b"vecsync", next(value for value in values if which(decode_position(value))))
        producer.flush(10)
        producer.close()

    def until_published(self, count: int) -> None:
        self.until(lambda: len(self.standing()) >= count)

    def until_right(self) -> None:
        self.until(lambda: not self.wrong())


@pytest.fixture
def publishing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publishing]:
    monkeypatch.setattr("connector.publish.foreign.EVERY_S", 0.05)
    with tempfile.TemporaryDirectory() as name:
        found = Publishing(Path(name))
        yield found
        found.end()


def rows(*keys: str) -> Sequence[Callable[[int], Change]]:
    return [lambda at, key=key: up(at, key) for key in keys]  # type: ignore[misc]


class LosesLease(Leadership):
    """Has the lease once, until told that it is lost."""

    lost = taken = False

    def acquire(self, *, standby: bool = True) -> bool:
        if self.lost:
            self.taken = True
            raise LeaseTaken("another one has taken over")
        return True

    def check(self) -> None:
        if self.lost:
            raise LeaseLost("lost")


class LongTransaction(LiveSource):
    """One of five thousand rows; the lease is lost at the six hundredth."""

    def __init__(self, leadership: LosesLease) -> None:
        super().__init__()
        self.leadership = leadership
        self.commit(*rows("Ax"))

    def stream(self, after: SourcePosition) -> LiveStream:
        stream, make = LiveStream(self, after), self._changes

        def one(timeout_s: float) -> Transaction | None:
            return Transaction(f"{UUID}:1", make(), self.at(1))

        stream.next = one  # type: ignore[method-assign]
        return stream

    def _changes(self) -> Iterator[Change]:
        for ordinal in range(1, 5001):
            if ordinal == 600:
                self.leadership.lost = True
            change = up(1, f"A{chr(ordinal + 0x4E00)}")
            assert isinstance(change, DocChange)
            yield change._replace(order=change.order._replace(ordinal=ordinal))


def test_a_lease_that_is_lost_within_a_transaction_ends_it(publishing: Publishing) -> None:
    """However long it is: who publishes now must not find thousands of records behind its own."""
    leadership = LosesLease(publishing.broker, "vecsync", publishing.stop)
    publishing.source = LongTransaction(leadership)
    publisher = Publisher(
        publishing.source, publishing.broker, publishing.settings, publishing.stop, leadership=leadership
    )
    with pytest.raises(LeaseTaken):
        publisher.run()
    assert leadership.taken
    assert len(publishing.standing()) <= 1000
    assert publishing.position() == publishing.source.at(0).position


def test_an_idle_publisher_finds_what_another_left(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.start()
    publishing.until_published(2)
    publishing.land(up(1, "Ax"))
    publishing.until_right()
    assert publishing.source.selects == 1
    # Before anybody else can look it may be mended: that it was wrong is seen from what stands.
    marks = [change.order.position for change in publishing.standing()]
    assert marks == [100, 200, 100, 300]


def test_acknowledged_offsets_with_a_gap_are_looked_into(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.publish.foreign.EVERY_S", 1000.0)
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.start()
    publishing.until_published(2)
    publishing.land(up(1, "Ax"))
    time.sleep(0.3)
    assert publishing.wrong(), "nobody looks at the ends of lanes in this test"
    publishing.source.commit(*rows("Ay"))
    publishing.until_right()


def test_a_row_that_is_gone_is_mended_by_a_deletion(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax"), lambda at: gone(at, "Ax"))
    publishing.start()
    publishing.until_published(2)
    publishing.land(up(1, "Ax"))
    publishing.until_right()
    last = publishing.standing()[-1]
    assert isinstance(last, DocChange)
    assert (last.op, last.order) == (Op.DELETE, CommitOrder(1, 1, 300, 0))


def test_nothing_is_mended_below_what_stands(publishing: Publishing) -> None:
    """The other writer was ahead: the row's state belongs on a mark above that, which the stream has yet to reach."""
    publishing.source.commit(*rows("Ax", "Ax", "Ay", "Ax"))
    publishing.source.shown = 2
    publishing.start()
    publishing.until_published(2)
    publishing.land(up(1, "Ax"), up(4, "Ax"))
    time.sleep(0.5)
    assert publishing.source.selects == 0
    assert len(publishing.standing()) == 4
    publishing.source.shown = None
    publishing.until_right()
    orders = [change.order for change in publishing.standing() if change.key == DocKey("A", "x")]
    assert orders[:4] == [CommitOrder(1, 1, at * 100, 1) for at in (1, 2, 1, 4)]
    assert orders[-1] >= orders[3]


def test_a_row_that_changes_meanwhile_is_not_shown_early(publishing: Publishing) -> None:
    """The SELECT sees more than the stream has yielded: its row goes on the mark of that state, or not at all."""
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.source.shown = 2
    publishing.start()
    publishing.until_published(2)
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.land(up(1, "Ax"))
    publishing.until(lambda: publishing.source.selects > 0)
    publishing.source.shown = None
    publishing.until_right()
    seen = [c.after.content for c in publishing.standing() if isinstance(c, DocChange) and c.after is not None]
    assert seen == ["Ax of 1", "Ax of 2", "Ax of 1", "Ax of 3", "Ax of 4"]


def test_the_position_waits_until_everything_is_mended(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.start()
    publishing.until_published(2)
    publishing.source.blind = True
    publishing.land(up(1, "Ax"))
    time.sleep(0.3)
    publishing.source.commit(*rows("Ay", "Ay", "Ay"))
    publishing.until_published(6)
    time.sleep(0.2)
    recorded = recorded_position(publishing.broker, "vecsync")
    assert recorded is not None
    assert recorded.source.position <= 300
    publishing.end()
    recorded = recorded_position(publishing.broker, "vecsync")
    assert recorded is not None
    assert recorded.closed
    assert recorded.source.position <= 300, "also one who ends in order leaves it to the next"
    assert publishing.wrong()
    publishing.source.blind = False
    publishing.catch_up()
    assert not publishing.wrong()


def test_what_was_left_between_two_publishers_is_mended_at_the_start(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ax", "Bx"))
    publishing.catch_up()
    publishing.land(up(1, "Ax"))
    assert publishing.wrong()
    publishing.catch_up()
    assert not publishing.wrong()
    stood = len(publishing.standing())
    publishing.catch_up()
    assert len(publishing.standing()) == stood, "mended once"


def test_a_mended_key_is_mended_again_on_the_same_mark(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.catch_up()
    for _ in range(2):
        publishing.land(up(1, "Ax"))
        publishing.catch_up()
        assert not publishing.wrong()


@pytest.mark.parametrize("dataset", ["A", None])
def test_the_newest_floor_is_sent_again(publishing: Publishing, dataset: str | None) -> None:
    publishing.source.commit(
        lambda at: floor(at, dataset), *rows("Ax"), lambda at: floor(at, dataset), *rows("Ay", "By")
    )
    publishing.start()
    publishing.until(lambda: not publishing.wrong())
    publishing.land(floor(1, dataset))
    publishing.until_right()
    marks = [change.order.position for change in publishing.standing() if isinstance(change, Floor)]
    assert marks == [100, 300, 100, 300] * (1 if dataset else PARTITIONS)


def test_the_newest_floor_is_found_by_a_publisher_that_never_saw_it(publishing: Publishing) -> None:
    publishing.source.commit(lambda at: floor(at, "A"), *rows("Ax"), lambda at: floor(at, "A"), *rows("Ay", "By"))
    publishing.catch_up()
    publishing.land(floor(1, "A"))
    publishing.catch_up()
    assert not publishing.wrong()


def test_a_floor_that_was_skipped_and_does_not_stand_is_sent(publishing: Publishing) -> None:
    """What stands of the other writer is ahead of the position: everything up to it counts as published."""
    publishing.source.commit(*rows("Ax", "Ay"), lambda at: floor(at, "A"), *rows("Ay"))
    publishing.source.shown = 1
    publishing.start()
    publishing.until_published(1)
    publishing.end()
    publishing.land(publishing.source.committed[3])
    publishing.source.shown = None
    publishing.catch_up()
    assert publishing.wrong() == []


def test_another_writers_position_is_written_over(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax"))
    publishing.start()
    publishing.until_published(1)
    publishing.until(lambda: publishing.position() == 200)
    publishing.source.commit(*rows("Ay", "Ay"))
    publishing.until(lambda: publishing.position() == 400)
    publishing.position_again(lambda at: at.source.position == 200)
    publishing.until(lambda: publishing.position() == 400)
    assert [at for at, _ in groupby(publishing.positions())][-3:] == [400, 200, 400]


def test_a_writer_of_a_newer_epoch_is_not_written_over(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.start()
    publishing.until_published(2)
    newer = up(1, "Ax")
    assert isinstance(newer, DocChange)
    publishing.land(DocChange(newer.op, newer.key, 1, newer.after, newer.order._replace(epoch=2), newer.source))
    assert publishing.thread is not None
    publishing.thread.join(END_S)
    error, publishing.error = publishing.error, None
    assert isinstance(error, ForeignLog)
    assert "epoch 2" in str(error)
    assert request_snapshot(publishing.source, publishing.broker, publishing.settings).epoch == 3, (
        "above all that stands"
    )


def test_a_source_without_a_way_to_read_rows_again_stops(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ax"))
    publishing.catch_up()
    publishing.land(up(1, "Ax"))
    publishing.source.rows = lambda: None  # type: ignore[method-assign]
    with pytest.raises(ForeignLog, match="no way to read") as refused:
        publishing.catch_up()
    assert "capture snapshot" in refused.value.hint


def epochs(publishing: Publishing, key: DocKey) -> list[int]:
    return [change.order.epoch for change in publishing.standing() if change.key == key]


def test_a_writer_that_read_another_server_is_mended_like_any_other(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ay"))
    publishing.catch_up()
    publishing.source.server = 2
    publishing.source.commit(*rows("Ax"))
    publishing.start()
    publishing.until_published(3)
    publishing.land(up(1, "Ax"))
    publishing.until_right()
    publishing.end()
    publishing.land(up(1, "Ax"))
    publishing.catch_up()
    assert publishing.wrong() == []
    assert epochs(publishing, DocKey("A", "x")) == [1, 2, 1, 2, 1, 2]
    assert epochs(publishing, DocKey("A", "y")) == [1]


def test_what_stands_under_the_names_of_another_server_is_not_suspect(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ay", "Ax", "By", "By"))
    publishing.source.shown = 1
    publishing.start()
    publishing.until(lambda: publishing.position() == 200)
    publishing.source.shown = None
    publishing.until_published(5)
    publishing.end()
    publishing.position_again(lambda at: at.source.position == 200)
    publishing.source.server = 2
    publishing.source.rows = lambda: None  # type: ignore[method-assign]
    publishing.catch_up()
    assert len(publishing.standing()) == 5
    assert publishing.wrong() == []


def test_what_ends_wrong_before_another_server_is_read_is_mended(publishing: Publishing) -> None:
    publishing.source.commit(*rows("Ax", "Ax", "Ax"))
    publishing.source.shown = 1
    publishing.start()
    publishing.until(lambda: publishing.position() == 200)
    publishing.source.shown = None
    publishing.until_published(3)
    publishing.end()
    publishing.position_again(lambda at: at.source.position == 200)
    publishing.land(up(2, "Ax"))
    publishing.source.server = 2
    publishing.catch_up()
    assert publishing.wrong() == []


@pytest.mark.parametrize("blind", [False, True])
def test_what_mends_a_key_is_of_the_later_epoch_and_so_is_what_follows(publishing: Publishing, blind: bool) -> None:
    """Both ways to mend it: the row as it is, or its next change. Its later ones stand in the earlier epoch."""
    publishing.source.commit(*rows("Ax", "Ay", "Ax", "Ax"))
    publishing.source.shown = 1
    publishing.start()
    publishing.until(lambda: publishing.position() == 200)
    publishing.source.shown = None
    publishing.until_published(4)
    publishing.end()
    publishing.position_again(lambda at: at.source.position == 200)
    publishing.source.server, publishing.source.shown, publishing.source.blind = 2, 2, blind
    publishing.start()
    publishing.until(lambda: publishing.position() == 300)
    publishing.land(up(1, "Ax"))
    publishing.until(lambda: publishing.source.selects > 0) if not blind else time.sleep(0.3)
    publishing.source.shown = None
    publishing.until_right()


def test_what_another_servers_writer_left_late_does_not_stand_for_a_change(publishing: Publishing) -> None:
    """The floor that was published meanwhile is of a later epoch: replicas take nothing of an earlier one after it."""
    publishing.source.commit(*rows("Ay"))
    publishing.catch_up()
    publishing.source.server = 2
    publishing.source.commit(lambda at: floor(at, "A"), *rows("Ax"))
    publishing.source.shown = 2
    publishing.start()
    publishing.until_published(2)
    publishing.end()
    publishing.position_again(lambda at: at.source.epoch == 2)
    assert publishing.position() == 200
    publishing.land(publishing.source.committed[2])
    publishing.source.shown = None
    publishing.catch_up()
    assert publishing.wrong() == []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_lands_at_any_time_is_mended(publishing: Publishing, seed: int) -> None:
    """Publishers come and go in order while another writer's records land: old ones, and some that are ahead."""
    rng = random.Random(seed)
    source = publishing.source

    def some(at: int) -> Change:
        kind, dataset = rng.random(), rng.choice("AD")
        if kind < 0.1:
            return floor(at, rng.choice([dataset, None]))
        return gone(at, dataset + rng.choice("xy")) if kind < 0.3 else up(at, dataset + rng.choice("xy"))

    publishing.start()
    publishing.until(lambda: recorded_position(publishing.broker, "vecsync") is not None)
    for _ in range(25):
        source.commit(*[some] * rng.choice([0, 1, 3]))
        if rng.random() < 0.3:
            source.shown = None if source.shown is not None else len(source.committed)
        if rng.random() < 0.5 and source.committed:
            begin = rng.randrange(len(source.committed))
            publishing.land(*source.committed[begin : begin + rng.choice([1, 2, 4])])
        if rng.random() < 0.1:
            publishing.end()
            publishing.start()
        if rng.random() < 0.04:
            publishing.end()
            source.server += 1
            publishing.start()
        time.sleep(rng.choice([0, 0.01, 0.1]))
    source.shown = None
    publishing.until_right()
    publishing.end()
    publishing.catch_up()
    assert publishing.wrong() == []
