"""Rows read again while the stream goes on: on which mark, and what takes their place."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from connector.errors import ConnectionLost, ForeignLog
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
    Op,
    PackedRows,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    Transaction,
)
from connector.source import RowKey, Rows, XaName
from connector.source.reread import RereadingStream
from connector.wire import encode_key, packed_key

X, Y = DocKey("A", "x"), DocKey("A", "y")
TABLE = "docs"


def info(at: int) -> SourceInfo:
    return SourceInfo("mysql", "p", 0, False, "app", TABLE, 1, None, "b.000001", at, 1)


def mark(at: int) -> CommitOrder:
    return CommitOrder(1, 1, at, 0)


def up(at: int, key: DocKey) -> Change:
    return DocChange(
        Op.UPDATE, key, at, Document(f"of {at}", None, None, None, at, False), CommitOrder(1, 1, at, 1), info(at)
    )


def packed(at: int, *keys: DocKey) -> PackedRows:
    return PackedRows(Op.UPDATE, CommitOrder(1, 1, at, 1), info(at), [(b"A", encode_key(key), b"") for key in keys])


def truncated(at: int) -> Change:
    return Floor(FloorKey(None), CommitOrder(1, 1, at, 1), FloorReason.TRUNCATE, info(at))


class Inner:
    """Transactions at 100, 200, ... that end where the next one begins."""

    def __init__(self, *changes: Change | PackedRows) -> None:
        self.changes, self.number, self.known = changes, 0, True

    def next(self, timeout_s: float) -> Transaction | None:
        if self.number == len(self.changes):
            return None
        self.number += 1
        return Transaction(f"t:{self.number}", iter([self.changes[self.number - 1]]), self.position())

    def position(self) -> SourcePosition:
        identity = SourceIdentity("mysql")
        return SourcePosition(identity, file="b.000001", position=(self.number + 1) * 100, file_began=1)

    def reached(self, head: SourcePosition) -> bool:
        return self.position().position >= head.position

    def proven(self) -> bool:
        return self.known

    def close(self) -> None: ...


class Reader:
    """Rows as they are, with the end of the log; fails or sees nothing as often as told."""

    def __init__(self, high: int, rows: dict[RowKey, str], troubles: Collection[Exception | None] = ()) -> None:
        self.high, self.rows, self.troubles = high, rows, list(troubles)
        self.asked: list[tuple[set[RowKey], CommitOrder, set[XaName]]] = []
        self.closed = False

    def read(self, table: str, keys: Collection[RowKey], low: CommitOrder, xa: Collection[XaName]) -> Rows | None:
        assert table == TABLE
        if self.troubles:
            trouble = self.troubles.pop()
            if trouble is not None:
                raise trouble
            return None
        self.asked.append((set(keys), low, set(xa)))
        found = {k: Document(self.rows[k], None, None, None, 7, False) for k in keys if k in self.rows}
        return Rows(found, keys, CommitOrder(0, 1, self.high, 0), info(self.high))

    def close(self) -> None:
        self.closed = True


def yielded(stream: RereadingStream, looks: int = 20) -> list[tuple[str, Key, CommitOrder]]:
    found: list[tuple[str, Key, CommitOrder]] = []
    for _ in range(looks):
        transaction = stream.next(0.05)
        if transaction is None:
            continue
        for change in transaction.changes:
            op = str(getattr(change, "op", "floor"))
            if isinstance(change, PackedRows):
                found += [(op, packed_key(row), change.order) for row in change.rows]
            else:
                found.append((op, change.key, change.order))
    return found


def test_a_row_is_yielded_on_the_mark_at_which_it_was_read() -> None:
    stream = RereadingStream(Inner(up(100, Y)), lambda: Reader(200, {X: "now"}))
    stream.ask(TABLE, X, mark(0))
    assert not stream.reached(SourcePosition(SourceIdentity("mysql"), position=0))
    assert yielded(stream, 5) == [("u", Y, CommitOrder(1, 1, 100, 1)), ("r", X, mark(200))]
    assert stream.reached(SourcePosition(SourceIdentity("mysql"), position=0))


def test_one_that_is_gone_is_yielded_as_a_deletion() -> None:
    stream = RereadingStream(Inner(), lambda: Reader(100, {}))
    stream.ask(TABLE, X, mark(0))
    assert yielded(stream, 3) == [("d", X, mark(100))]


def test_nothing_is_read_below_what_it_must_be_above() -> None:
    reader = Reader(400, {X: "now"})
    stream = RereadingStream(Inner(up(100, Y), up(200, Y), up(300, Y)), lambda: reader)
    stream.ask(TABLE, X, CommitOrder(1, 1, 200, 1))
    assert [key for _, key, _ in yielded(stream, 6)] == [Y, Y, Y, X]
    assert reader.asked == [({X}, mark(300), set())]


def test_what_changes_on_the_way_to_the_mark_takes_the_rows_place() -> None:
    stream = RereadingStream(Inner(up(100, X), up(200, X)), lambda: Reader(300, {X: "of 200", Y: "now"}))
    stream.ask(TABLE, X, mark(0))
    stream.ask(TABLE, Y, mark(0))
    assert [(op, key) for op, key, _ in yielded(stream, 5)] == [("u", X), ("u", X), ("r", Y)]


def test_rows_that_come_packed_take_the_rows_place_too() -> None:
    stream = RereadingStream(Inner(packed(100, Y, X)), lambda: Reader(200, {X: "of 100", Y: "of 100"}))
    for key in (X, Y, DocKey("A", "z")):
        stream.ask(TABLE, key, mark(0))
    assert [(op, key) for op, key, _ in yielded(stream, 4)] == [("u", Y), ("u", X), ("d", DocKey("A", "z"))]


def test_the_rows_go_before_packed_ones_that_begin_at_their_mark() -> None:
    stream = RereadingStream(Inner(up(100, Y), packed(200, X)), lambda: Reader(200, {X: "of 100"}))
    stream.ask(TABLE, X, mark(0))
    assert [(op, key) for op, key, _ in yielded(stream, 5)] == [("u", Y), ("r", X), ("u", X)]


def test_a_floor_on_the_way_to_the_mark_leaves_a_deletion() -> None:
    """Its own record hides the row from replicas; the last record under the row's key must still be a newer one."""
    stream = RereadingStream(Inner(truncated(100)), lambda: Reader(200, {X: "read before"}))
    stream.ask(TABLE, X, mark(0))
    assert yielded(stream, 4) == [("floor", FloorKey(None), CommitOrder(1, 1, 100, 1)), ("d", X, mark(200))]


def test_the_floor_that_ends_a_snapshot_takes_no_row_that_was_read_above_it() -> None:
    end = Floor(FloorKey(None), mark(50), FloorReason.SNAPSHOT, info(50))
    stream = RereadingStream(Inner(end), lambda: Reader(200, {X: "now"}))
    stream.ask(TABLE, X, mark(0))
    assert yielded(stream, 4) == [("floor", FloorKey(None), mark(50)), ("r", X, mark(200))]


def test_a_database_that_is_dropped_on_the_way_leaves_deletions_also_of_datasets() -> None:
    dropped = Floor(FloorKey(None), CommitOrder(1, 1, 100, 1), FloorReason.SNAPSHOT, info(100)._replace(table="more"))
    stream = RereadingStream(Inner(dropped), lambda: Reader(200, {X: "read before"}))
    stream.ask(TABLE, X, mark(0))
    assert yielded(stream, 4) == [("floor", FloorKey(None), CommitOrder(1, 1, 100, 1)), ("d", X, mark(200))]


def test_nothing_is_read_of_a_log_that_may_be_another_one() -> None:
    """The recorded position says when its file was begun; that this is the file is known once the log was opened."""
    inner, reader = Inner(), Reader(100, {X: "now"})
    inner.known = False
    stream = RereadingStream(inner, lambda: reader)
    stream.ask(TABLE, X, mark(0))
    assert yielded(stream, 3) == []
    assert reader.asked == []
    inner.known = True
    assert yielded(stream, 3) == [("r", X, mark(100))]


def test_a_log_that_ends_before_the_stream_is_another_one() -> None:
    reader = Reader(50, {X: "of another log"})
    stream = RereadingStream(Inner(), lambda: reader)
    stream.ask(TABLE, X, mark(0))
    assert yielded(stream, 3) == []
    reader.high = 100
    assert yielded(stream, 60) == [("r", X, mark(100))]


def test_rows_that_do_not_fit_are_read_next() -> None:
    class Narrow(Reader):
        def read(self, table: str, keys: Collection[RowKey], low: CommitOrder, xa: Collection[XaName]) -> Rows | None:
            return super().read(table, [*keys][:1], low, xa)

    stream = RereadingStream(Inner(), lambda: Narrow(100, {X: "now"}))
    stream.ask(TABLE, X, mark(0))
    stream.ask(TABLE, Y, mark(0))
    assert yielded(stream, 5) == [("r", X, mark(100)), ("d", Y, mark(100))]


def test_a_position_before_held_rows_is_one_that_the_stream_had() -> None:
    """A stream may amend it when the changes of a transaction have been taken (a snapshot does)."""

    class Amending(Inner):
        def next(self, timeout_s: float) -> Transaction | None:
            transaction = super().next(timeout_s)
            if transaction is not None:
                transaction.after = SourcePosition(transaction.after.identity, file="b.000001", position=1)
            return transaction

    stream = RereadingStream(Amending(up(100, Y), up(300, X)), lambda: Reader(250, {X: "of 100"}))
    stream.ask(TABLE, X, mark(0))
    positions = []
    for _ in range(3):
        transaction = stream.next(0.05)
        assert transaction is not None
        list(transaction.changes)
        positions.append(transaction.after.position)
    assert positions == [1, 200, 1]


def test_what_goes_by_while_nothing_is_wanted_is_not_taken_for_visible() -> None:
    """Names of prepared transactions are kept only meanwhile; a new reader gives those time that it was not told of."""
    readers: list[Reader] = []

    def opened() -> Reader:
        readers.append(Reader(500, {X: "now"}))
        return readers[-1]

    inner = Inner(up(100, Y), up(200, Y))
    stream = RereadingStream(inner, opened)
    for _ in range(2):
        stream.ask(TABLE, X, mark(0))
        for reader in readers:
            reader.high = (inner.number + 1) * 100
        assert [op for op, _, _ in yielded(stream, 1)] == ["r"]
        assert yielded(stream, 1) != []
    assert [reader.closed for reader in readers] == [True, True]


def test_the_rows_go_before_a_transaction_that_begins_at_their_mark() -> None:
    stream = RereadingStream(Inner(up(100, Y), up(200, X)), lambda: Reader(200, {X: "of 100"}))
    stream.ask(TABLE, X, mark(0))
    assert [(op, key, order.ordinal) for op, key, order in yielded(stream, 5)] == [
        ("u", Y, 1),
        ("r", X, 0),
        ("u", X, 1),
    ]
    assert stream.position().position == 300


def test_a_chunk_of_a_snapshot_on_a_mark_below_goes_before_the_rows() -> None:
    """It ends where the stream stands, which may be further on; its rows stand on their mark all the same."""
    chunk = DocChange(Op.READ, X, 1, Document("of 100", None, None, None, 1, False), mark(200), info(200))
    stream = RereadingStream(Inner(up(100, Y), chunk), lambda: Reader(250, {X: "of 100", Y: "of 100"}))
    stream.ask(TABLE, X, mark(0))
    stream.ask(TABLE, Y, mark(0))
    assert [(op, key, order.position) for op, key, order in yielded(stream, 5)] == [("u", Y, 100), ("r", X, 200)]


def test_what_cannot_be_seen_or_reached_yet_is_asked_for_again() -> None:
    stream = RereadingStream(Inner(), lambda: Reader(100, {X: "now"}, [ConnectionLost("gone"), None]))
    stream.ask(TABLE, X, mark(0))
    assert yielded(stream, 60) == [("r", X, mark(100))]


def test_a_transaction_not_taken_to_its_end_has_the_rows_read_again() -> None:
    reader = Reader(200, {X: "now"})
    stream = RereadingStream(Inner(up(100, X)), lambda: reader)
    stream.ask(TABLE, X, mark(0))
    assert stream.next(0.05) is not None
    assert yielded(stream, 3) == [("r", X, mark(200))]
    assert [low for _, low, _ in reader.asked] == [mark(100), mark(200)]


def test_a_source_that_cannot_read_rows_says_the_way_out() -> None:
    stream = RereadingStream(Inner(), lambda: None)
    with pytest.raises(ForeignLog) as refused:
        stream.ask(TABLE, X, mark(0))
    assert "capture snapshot" in refused.value.hint
