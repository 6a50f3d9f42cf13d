"""A source small enough to be explored: a log that is ahead of what SELECT sees, a stream of it, a publisher that
crashes, and a replica; around the snapshotting stream as it is.

A script of numbers decides what happens when, also in the middle of reading a chunk. Whatever it says, afterwards the
world lets everything become visible, streams to the end, and looks whether the promises were kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from connector.model import (
    ZERO_ORDER,
    Change,
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Key,
    Op,
    SnapshotProgress,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    Transaction,
)
from connector.publish.resume import Tail
from connector.source import snapshot
from connector.source.snapshot import Chunk, LogEnd, RowKey, SnapshotPlan, XaName
from tests.system.packed import unpacked
from tests.system.plain_replica import State, applied, compacted

FILE = "binlog.000001"
PLAN = SnapshotPlan("mysql", "p", 1, "db", "sets", ("docs",))
AX, AY, BX = DocKey("A", "x"), DocKey("A", "y"), DocKey("B", "x")
PHANTOM = DocKey("A", "z")  # stands in the log of an earlier time, and vanished while nobody was looking
STEP = 100


class Broken(Exception):
    """A promise was not kept; the message says which."""


class Clock:
    """Goes on by itself, so that nothing waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now


@dataclass(frozen=True)
class Rules:
    """What the world around the stream does right; each can be switched off to see that it matters."""

    low_visible: bool = True
    floor_strict: bool = True


@dataclass
class Script:
    numbers: Sequence[int]
    at: int = 0

    @property
    def over(self) -> bool:
        return self.at >= len(self.numbers)

    def choose(self, among: int) -> int:
        """0 when the script is over."""
        if self.over:
            return 0
        self.at += 1
        return self.numbers[self.at - 1] % among


def end_of(transactions: int) -> int:
    return STEP * transactions


def info(table: str, position: int, row: int) -> SourceInfo:
    return SourceInfo("mysql", "p", 1, False, "db", table, 1, None, FILE, position, row)


def document(text: str) -> Document:
    return Document(text, None, None, None, 1, False)


class Server:
    """hist: changes of each transaction in commit order; none for one of tables that nobody follows. seen: how many
    of them SELECT shows."""

    def __init__(self) -> None:
        self.hist: list[list[Change]] = []
        self.states: list[State] = [{}]
        self.seen = 0

    def commit(self, *ops: tuple[str, Key | None]) -> None:
        position, changes, state = end_of(len(self.hist)), list[Change](), dict(self.states[-1])
        for op, key in ops:
            order = CommitOrder(1, 1, position, len(changes) + 1)
            if op == "u" and isinstance(key, DocKey):
                row = document(f"v{position}.{len(changes)}")
                made = Op.UPDATE if key in state else Op.CREATE
                state[key] = row
                changes.append(DocChange(made, key, 1, row, order, info("docs", position, order.ordinal)))
            elif op == "d" and isinstance(key, DocKey) and key in state:
                del state[key]
                changes.append(DocChange(Op.DELETE, key, 1, None, order, info("docs", position, order.ordinal)))
            elif op == "make" and isinstance(key, DatasetKey):
                dataset = Dataset(f"v{position}", None)
                state[key] = dataset
                where = info("sets", position, order.ordinal)
                changes.append(DatasetChange(Op.CREATE, key, dataset, order, where))
            elif op == "cascade" and isinstance(key, DatasetKey) and key in state:
                state = {k: row for k, row in state.items() if k.dataset_id != key.dataset_id}
                where = info("sets", position, order.ordinal)
                changes.append(DatasetChange(Op.DELETE, key, None, order, where))
                order = order._replace(ordinal=order.ordinal + 1)
                where = info("docs", position, order.ordinal)
                changes.append(Floor(FloorKey(key.dataset_id), order, FloorReason.CASCADE, where))
            elif op == "truncate":
                state = {k: row for k, row in state.items() if isinstance(k, DatasetKey)}
                where = info("docs", position, order.ordinal)
                changes.append(Floor(FloorKey(None), order, FloorReason.TRUNCATE, where))
        self.hist.append(changes)
        self.states.append(state)

    def state_at(self, order: CommitOrder) -> State:
        """Everything below a mark; of the transaction that an order with an ordinal belongs to, all."""
        whole = order.position // STEP
        return self.states[min(whole + 1, len(self.hist)) if order.ordinal else whole]


MENU: Sequence[Sequence[tuple[str, Key | None]]] = (
    (("u", AX),),
    (("d", AX),),
    (("u", AY),),
    (("u", BX),),
    (("cascade", DatasetKey("A")),),
    (("make", DatasetKey("A")),),
    (("truncate", None),),
    (),  # of a table that nobody follows
    (("u", AX), ("d", AY)),
)


class InnerStream:
    """Steps over what nobody follows, sometimes stopping there, as the real one does when its time is up."""

    def __init__(self, server: Server, script: Script, after: SourcePosition) -> None:
        self._server, self._script, self._after = server, script, after
        self.streamed = after.position // STEP

    def next(self, timeout_s: float) -> Transaction | None:
        while self.streamed < len(self._server.hist):
            changes = self._server.hist[self.streamed]
            self.streamed += 1
            if changes:
                return Transaction(str(self.streamed), iter(changes), self.position())
            if self._script.choose(2):
                return None
        return None

    def position(self) -> SourcePosition:
        return SourcePosition(self._after.identity, 1, None, FILE, end_of(self.streamed))

    def reached(self, head: SourcePosition) -> bool:
        return end_of(self.streamed) >= head.position

    def proven(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Reader:
    """One row a chunk. The world goes on between its steps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(
        self,
        table: str,
        after: tuple[str, ...] | None,
        low: CommitOrder,
        xa: Collection[XaName],
        dataset: str | None = None,
    ) -> Chunk | None:
        world, server = self._world, self._world.server
        world.meanwhile()
        if world.rules.low_visible and end_of(server.seen) < low.position:
            return None
        world.meanwhile()
        kind = DatasetKey if table == "sets" else DocKey
        rows = {
            _text(key): (key, row)
            for key, row in server.states[server.seen].items()
            if isinstance(key, kind) and (after is None or _text(key) > after) and dataset in (None, key.dataset_id)
        }
        world.meanwhile()
        high = LogEnd(FILE, end_of(len(server.hist)))
        if not rows:
            return Chunk({}, None, high)
        first = min(rows)
        key, row = rows[first]
        return Chunk({key: row}, first, high)

    def close(self) -> None:
        pass


def _text(key: RowKey) -> tuple[str, ...]:
    return (key.dataset_id,) if isinstance(key, DatasetKey) else (key.dataset_id, key.id)


@dataclass
class World:
    """again: the log already holds everything that is older (a re-snapshot); otherwise it is empty (a first one).
    datasets: of which one is taken again, asked for while the stream goes on."""

    script: Script
    again: bool
    rules: Rules = field(default_factory=Rules)
    server: Server = field(default_factory=Server)
    log: list[Change] = field(default_factory=list)
    datasets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        server = self.server
        server.commit(("make", DatasetKey("A")), ("make", DatasetKey("B")), ("u", AX), ("u", AY))
        server.commit(("u", BX))
        if self.again:
            self.log = [change for changes in server.hist for change in changes]
            gone = CommitOrder(1, 1, 0, 9)
            self.log.insert(1, DocChange(Op.CREATE, PHANTOM, 1, document("gone"), gone, info("docs", 0, 9)))
        start = SourcePosition(SourceIdentity("mysql"), 1, None, FILE, end_of(2))
        if self.datasets is not None:
            mark = CommitOrder(1, 1, end_of(2), 0)
            progress = SnapshotProgress("sets", None, mark, self.datasets, tables=tuple(PLAN.tables))
            start = replace(start, snapshot=progress)
        # In the binlog before reading began, and perhaps not visible yet.
        server.seen = 2
        self.recorded = [(len(self.log), start)]
        self.begin(start, {})

    def begin(self, at: SourcePosition, standing: Mapping[tuple[CommitOrder, Key], int]) -> None:
        self.tail = Tail()
        for (order, key), offset in standing.items():
            self.tail.add(order, repr(key).encode(), offset)
        inner = InnerStream(self.server, self.script, at)
        self.stream = snapshot.SnapshottingStream(inner, Reader(self), at.snapshot, PLAN, patience_s=1)
        self.last = ZERO_ORDER
        self.end = self.recorded[-1][0]

    def meanwhile(self) -> None:
        for _ in range(self.script.choose(3)):
            if self.script.choose(2):
                self.server.commit(*MENU[self.script.choose(len(MENU))])
            else:
                self.server.seen = min(self.server.seen + 1, len(self.server.hist))

    def run(self) -> None:
        """Raises Broken."""
        while not self.script.over:
            what = self.script.choose(12)
            if what < 3:
                self.server.commit(*MENU[self.script.choose(len(MENU))])
            elif what == 3:
                self.server.seen = min(self.server.seen + 1, len(self.server.hist))
            elif what == 4:
                self.server.seen = len(self.server.hist)
            elif what == 5:
                self.crash()
            else:
                self.step()
        self.server.seen = len(self.server.hist)
        head = SourcePosition(SourceIdentity("mysql"), 1, None, FILE, end_of(len(self.server.hist)))
        for _ in range(300):
            if self.stream.reached(head):
                break
            self.step()
        else:
            raise Broken("it does not come to an end")
        for records in (self.log, compacted(self.log)):
            found = self.replica(records)
            if found != self.server.states[-1]:
                raise Broken(f"in the end the replica has {found}, the source {self.server.states[-1]}")

    def crash(self) -> None:
        """What was recorded, and how much of what was sent after it has landed, the script decides."""
        forgotten = self.script.choose(len(self.recorded))
        del self.recorded[len(self.recorded) - forgotten :]
        offset, at = self.recorded[-1]
        del self.log[max(offset, len(self.log) - self.script.choose(4)) :]
        self.begin(at, {(c.order, c.key): offset + n for n, c in enumerate(self.log[offset:])})

    def step(self) -> None:
        transaction = self.stream.next(0.05)
        if transaction is None:
            self.recorded.append((self.end, self.stream.position()))
            return
        greatest = ZERO_ORDER
        for change in unpacked(transaction.changes):
            ends = isinstance(change, Floor) and change.reason is FloorReason.SNAPSHOT
            if not ends:
                if change.order < self.last:
                    raise Broken(f"{change.order} is yielded after {self.last}")
                self.last = max(self.last, change.order)
                greatest = max(greatest, change.order)
            stands = self.tail.stands(change.order, repr(change.key).encode())
            if stands is not None:
                self.end = max(self.end, stands)
            else:
                before = max([c.order for c in self.log if c.key == change.key], default=ZERO_ORDER)
                if change.order < before:
                    raise Broken(f"{change.key} at {change.order} stands after {before}")
                self.log.append(change)
                self.end = len(self.log)
        self.recorded.append((self.end, transaction.after))
        self.check(transaction.after.snapshot_done)

    def check(self, done: bool) -> None:
        """A replica that reads the log now has the source's state of the greatest order that it has seen."""
        if not self.log or not (self.again or done):
            return
        claimed = max(c.order for c in self.log)
        if claimed > max(self.last, CommitOrder(1, 1, end_of(2), 0)) or (
            claimed.ordinal and self.log[-1].order < claimed
        ):
            return  # what stands from before a crash has not been passed yet
        wanted = self.server.state_at(claimed)
        for records in (self.log, compacted(self.log)):
            found = self.replica(records)
            if not done:
                found.pop(PHANTOM, None)
            if found != wanted:
                raise Broken(f"at {claimed} the replica has {found}, the source {wanted}")

    def replica(self, records: Sequence[Change]) -> State:
        return applied(records, floor_strict=self.rules.floor_strict)
