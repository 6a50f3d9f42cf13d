"""What the snapshotting stream does with its reader and its caller, one situation at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from connector.errors import AuthenticationFailed, ConnectionLost, NotYet
from connector.model import (
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    Floor,
    FloorKey,
    FloorReason,
    Op,
    SnapshotProgress,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    Transaction,
)
from connector.source import snapshot
from connector.source.snapshot import Chunk, LogEnd, SnapshotPlan, SnapshottingStream, XaName
from tests.system.packed import unpacked
from tests.unit.source.snapshot_world import AX, AY, FILE, Clock, InnerStream, Script, Server, document, end_of

TABLES = ("docs", "more")
PLAN = SnapshotPlan("mysql", "p", 1, "db", "sets", TABLES)
START = SourcePosition(SourceIdentity("mysql"), 1, None, FILE, 0)


class ScriptedReader:
    """Answers with what it is given, one after the other: a chunk, None, or an error to raise."""

    def __init__(self, *answers: Chunk | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, tuple[str, ...] | None, CommitOrder, set[XaName]]] = []
        self.datasets: list[str | None] = []
        self.closed = 0

    def read(
        self,
        table: str,
        after: tuple[str, ...] | None,
        low: CommitOrder,
        xa: Collection[XaName],
        dataset: str | None = None,
    ) -> Chunk | None:
        self.asked.append((table, after, low, set(xa)))
        self.datasets.append(dataset)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


def nothing_more(position: int = 0) -> Chunk:
    return Chunk({}, None, LogEnd(FILE, position))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(snapshot, "time", clock)
    return clock


def stream_of(
    reader: ScriptedReader, server: Server | None = None, progress: SnapshotProgress | None = None
) -> SnapshottingStream:
    inner = InnerStream(server or Server(), Script([]), START)
    return SnapshottingStream(inner, reader, progress, PLAN, patience_s=5)


def taken(stream: SnapshottingStream, count: int) -> Sequence[Transaction]:
    found: list[Transaction] = []
    for _ in range(1000):
        if len(found) == count:
            return found
        transaction = stream.next(0.05)
        if transaction is not None:
            transaction.changes = list(transaction.changes)
            found.append(transaction)
    raise AssertionError(f"only {len(found)} of {count} transactions came")


def test_tables_in_order_then_a_floor_for_each() -> None:
    rows = Chunk({AX: document("one")}, ("A", "x"), LogEnd(FILE, 0))
    reader = ScriptedReader(Chunk({}, None, LogEnd(FILE, 0)), rows, nothing_more(), nothing_more())
    stream = stream_of(reader)
    assert not stream.reached(START)
    datasets, first, last, end = taken(stream, 4)
    assert [(table, after) for table, after, _, _ in reader.asked] == [
        ("sets", None),
        ("docs", None),
        ("docs", ("A", "x")),
        ("more", None),
    ]
    mark = CommitOrder(1, 1, 0, 0)
    assert datasets.changes == []
    assert datasets.after.snapshot == SnapshotProgress("docs", None, mark, tables=TABLES)
    (change,) = first.changes
    assert isinstance(change, DocChange)
    assert (change.op, change.key, change.after, change.order) == (Op.READ, AX, document("one"), mark)
    assert (change.source.snapshot, change.source.table, change.source.pos) == (True, "docs", 0)
    assert first.after.snapshot == SnapshotProgress("docs", ("A", "x"), mark, tables=TABLES)
    assert last.after.snapshot == SnapshotProgress("more", None, mark, tables=TABLES)
    assert [(type(c), c.source.table, c.order) for c in end.changes] == [(Floor, "docs", mark), (Floor, "more", mark)]
    assert end.after.snapshot is None
    assert end.after.snapshot_done
    assert stream.reached(START)
    assert stream.position().snapshot_done
    assert reader.closed == 1


def test_a_floored_table_gets_no_floor_at_the_end() -> None:
    server = Server()
    progress = SnapshotProgress("more", None, CommitOrder(1, 1, 0, 0), tables=TABLES)
    reader = ScriptedReader(Chunk({}, None, LogEnd(FILE, end_of(1))))
    server.commit(("truncate", None))
    stream = stream_of(reader, server, progress)
    truncation, end = taken(stream, 2)
    assert truncation.after.snapshot is not None
    assert truncation.after.snapshot.floored == ("docs",)
    assert [c.source.table for c in end.changes] == ["more"]


def test_a_chunk_is_void_when_a_transaction_of_its_window_was_not_taken_to_the_end() -> None:
    server = Server()
    server.commit(("u", AX), ("u", AY))
    progress = SnapshotProgress("more", None, CommitOrder(1, 1, 0, 0), tables=TABLES)
    stale = Chunk({AY: document("old")}, ("A", "y"), LogEnd(FILE, end_of(1)))
    reader = ScriptedReader(stale)
    stream = stream_of(reader, server, progress)
    transaction = stream.next(0.05)
    assert transaction is not None
    next(iter(transaction.changes))  # and no further
    reader.answers = [Chunk({AY: document("new")}, None, LogEnd(FILE, end_of(1)))]
    (again,) = taken(stream, 1)
    assert [c.after for c in again.changes if isinstance(c, DocChange)] == [document("new")]


def test_names_of_xa_transactions_are_asked_about_until_a_chunk_was_read() -> None:
    class OfXa(InnerStream):
        def next(self, timeout_s: float) -> Transaction | None:
            transaction = super().next(timeout_s)
            if transaction is not None:
                transaction.xa = (b"name", b"", 1)
            return transaction

    server = Server()
    reader = ScriptedReader()
    stream = SnapshottingStream(OfXa(server, Script([]), START), reader, None, PLAN, patience_s=5)
    server.commit(("u", AX))
    taken(stream, 1)
    for _ in range(20):
        stream.next(0.05)
    assert reader.asked[-1][2:] == (CommitOrder(1, 1, end_of(1), 0), {(b"name", b"", 1)})
    assert reader.asked[0][3] == set()
    reader.answers = [nothing_more(end_of(1)), None]
    taken(stream, 1)
    for _ in range(20):
        stream.next(0.05)
    assert reader.asked[-1][3] == set()


def test_a_lost_connection_is_tried_again() -> None:
    reader = ScriptedReader(ConnectionLost("gone"), ConnectionLost("gone"), nothing_more())
    (transaction,) = taken(stream_of(reader), 1)
    assert transaction.after.snapshot is not None
    assert transaction.after.snapshot.table == "docs"


def test_the_stream_goes_on_while_the_reader_cannot() -> None:
    server = Server()
    server.commit(("make", DatasetKey("A")))
    stream = stream_of(ScriptedReader(ConnectionLost("gone")), server)
    (transaction,) = taken(stream, 1)
    assert [c.key for c in unpacked(transaction.changes)] == [DatasetKey("A")]


def test_patience_ends() -> None:
    stream = stream_of(ScriptedReader(*[ConnectionLost("gone")] * 1000))
    with pytest.raises(ConnectionLost):
        taken(stream, 1)


def test_patience_with_a_table_that_somebody_holds_does_not_end() -> None:
    reader = ScriptedReader(*[NotYet("held")] * 1000)
    stream = stream_of(reader)
    for _ in range(2000):
        assert stream.next(0.05) is None
    assert len(reader.asked) > 5


def test_an_error_that_nobody_can_wait_out_is_raised_at_once() -> None:
    reader = ScriptedReader(AuthenticationFailed("no"))
    with pytest.raises(AuthenticationFailed):
        stream_of(reader).next(0.05)
    assert len(reader.asked) == 1


def test_progress_in_a_table_no_longer_followed_begins_again() -> None:
    reader = ScriptedReader()
    stream = stream_of(reader, progress=SnapshotProgress("gone", ("A",), CommitOrder(1, 1, 0, 0)))
    stream.next(0.05)
    assert reader.asked[0][:2] == ("sets", None)


def test_a_snapshot_goes_on_in_its_own_order() -> None:
    """The settings name the tables in another order now: none may be left out, nor be read twice."""
    progress = SnapshotProgress("more", ("A",), CommitOrder(1, 1, 0, 0), tables=("more", "docs"))
    reader = ScriptedReader(nothing_more(), nothing_more())
    *_, end = taken(stream_of(reader, progress=progress), 2)
    assert [asked[:2] for asked in reader.asked] == [("more", ("A",)), ("docs", None)]
    assert [c.source.table for c in end.changes] == ["more", "docs"]
    assert end.after.snapshot_done


def test_tables_that_nobody_follows_any_more_are_left_out() -> None:
    progress = SnapshotProgress("docs", ("A",), CommitOrder(1, 1, 0, 0), tables=("docs", "gone", "more"))
    reader = ScriptedReader(nothing_more(), nothing_more())
    *_, end = taken(stream_of(reader, progress=progress), 2)
    assert [asked[:2] for asked in reader.asked] == [("docs", ("A",)), ("more", None)]
    assert [c.source.table for c in end.changes] == ["docs", "more"]


def test_a_snapshot_of_some_tables_floors_these_only() -> None:
    mark = CommitOrder(1, 1, 0, 0)
    reader = ScriptedReader(nothing_more(), nothing_more())
    *_, end = taken(stream_of(reader, progress=SnapshotProgress("sets", None, mark, tables=("more",))), 2)
    assert [asked[:2] for asked in reader.asked] == [("sets", None), ("more", None)]
    assert [(c.source.table, c.order) for c in end.changes] == [("more", mark)]
    assert end.after.snapshot_done


def test_one_of_some_tables_stays_so_where_it_begins_again() -> None:
    """The table it was in is gone, with all others of its database."""
    progress = SnapshotProgress("other.docs", ("A",), CommitOrder(1, 1, 0, 0), tables=("other.docs", "more"))
    reader = ScriptedReader(nothing_more(), nothing_more())
    *_, end = taken(stream_of(reader, progress=progress), 2)
    assert [asked[:2] for asked in reader.asked] == [("sets", None), ("more", None)]
    assert [c.source.table for c in end.changes] == ["more"]


def test_one_that_does_not_say_what_it_reads_begins_again() -> None:
    """Earlier versions read the tables in the order of the settings, whatever that was."""
    reader = ScriptedReader()
    stream = stream_of(reader, progress=SnapshotProgress("more", ("A",), CommitOrder(1, 1, 0, 0)))
    stream.next(0.05)
    assert reader.asked[0][:2] == ("sets", None)


def test_single_datasets_begin_again_as_single_ones() -> None:
    reader = ScriptedReader()
    progress = SnapshotProgress("gone", ("A",), CommitOrder(1, 1, 0, 0), ("A", "B"))
    stream = stream_of(reader, progress=progress)
    stream.next(0.05)
    assert (reader.asked[0][:2], reader.datasets[0]) == (("sets", None), "A")
    assert stream.position().snapshot == replace(progress, table="sets", last_key=None, tables=TABLES)


def test_single_datasets_one_after_the_other() -> None:
    """Of the second the row of the dataset is gone, which nobody saw."""
    mark = CommitOrder(1, 1, 0, 0)
    rows = Chunk({DatasetKey("A"): Dataset("a", None)}, None, LogEnd(FILE, 0))
    reader = ScriptedReader(rows, *[nothing_more()] * 5)
    stream = stream_of(reader, progress=SnapshotProgress("sets", None, mark, ("A", "B"), tables=TABLES))
    found = taken(stream, 6)
    assert reader.datasets == ["A"] * 3 + ["B"] * 3
    changes = [change for transaction in found for change in unpacked(transaction.changes)]
    assert [(type(c), c.key.dataset_id, c.order) for c in changes] == [
        (DatasetChange, "A", mark),
        *[(Floor, "A", mark)] * 2,
        (DatasetChange, "B", mark),
        *[(Floor, "B", mark)] * 2,
    ]
    assert [c.op for c in changes if isinstance(c, DatasetChange)] == [Op.READ, Op.DELETE]
    assert found[2].after.snapshot == SnapshotProgress("sets", None, mark, ("B",), tables=TABLES)
    assert found[-1].after.snapshot_done


def test_waiting_for_long_is_said(caplog: pytest.LogCaptureFixture) -> None:
    stream = stream_of(ScriptedReader())
    with caplog.at_level("WARNING"):
        for _ in range(2000):
            stream.next(0.05)
    assert "waits for them" in caplog.text


def test_the_datasets_of_each_database_come_before_its_tables() -> None:
    plan = replace(PLAN, tables=("docs", "other.docs", "other.more", "more"))
    assert plan.order(plan.tables) == ("sets", "docs", "other.sets", "other.docs", "other.more", "more")
    assert [table for table in plan.order(plan.tables) if plan.holds_datasets(table)] == ["sets", "other.sets"]


def test_a_row_of_another_table_or_database_is_another_row() -> None:
    rows = Chunk({AX: document("here"), AY: document("here")}, ("A", "x"), LogEnd(FILE, 0))
    pending = snapshot._Pending("docs", PLAN.place("docs"), rows, None)
    for db, table, key in ("other", "docs", AX), ("db", "more", AX), ("db", "docs", AY):
        info = SourceInfo("mysql", "p", 0, False, db, table, 1, None, FILE, 9, 1)
        pending.drop(DocChange(Op.DELETE, key, 1, None, CommitOrder(1, 1, 9, 1), info, None, False))
    assert list(pending.rows) == [AX]


@pytest.mark.parametrize(("table", "place"), [("sets", "sets"), ("docs", "docs")])
def test_a_database_that_is_dropped_takes_datasets_too(table: str, place: str) -> None:
    """One floor for each shadow table says so; the rows that wait may be those of the datasets beside them."""
    key = DatasetKey("A") if table == "sets" else AX
    row = Dataset(None, None, None) if table == "sets" else document("here")
    for db, left in (("other", [key]), ("db", [])):
        pending = snapshot._Pending(table, PLAN.place(place), Chunk({key: row}, None, LogEnd(FILE, 0)), None)
        info = SourceInfo("mysql", "p", 0, False, db, "more", 1, None, FILE, 9, 1)
        pending.drop(Floor(FloorKey(None), CommitOrder(1, 1, 9, 1), FloorReason.SNAPSHOT, info))
        assert list(pending.rows) == left
    pending = snapshot._Pending("sets", PLAN.place("sets"), Chunk({DatasetKey("A"): row}, None, LogEnd(FILE, 0)), None)
    info = SourceInfo("mysql", "p", 0, False, "db", "more", 1, None, FILE, 9, 1)
    pending.drop(Floor(FloorKey(None), CommitOrder(1, 1, 9, 1), FloorReason.TRUNCATE, info))
    assert list(pending.rows) == [DatasetKey("A")]
