"""How a position says how far a shadow log was read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector.model import (
    CommitOrder,
    DatasetCursor,
    SourceIdentity,
    SourcePosition,
    cursor_key,
    table_and_dataset,
)
from connector.source.log_group import LogGroup
from connector.source.log_table import LogEntry, fingerprint
from connector.source.log_window import LogWindow
from connector.source.marks import mark_of


def entry(scn: int, id: str = "x") -> LogEntry:
    return LogEntry(scn, "insert", id, "2026-01-02 03:04:05.000006")


@given(st.text(), st.text(), st.text(), st.text())
def test_a_cursor_has_a_key_of_its_own(table: str, dataset: str, other: str, third: str) -> None:
    assert table_and_dataset(cursor_key(table, dataset)) == (table, dataset)
    assert (cursor_key(table, dataset) == cursor_key(other, third)) == ((table, dataset) == (other, third))


def test_what_may_come_late_is_read_again_after_a_restart() -> None:
    group = LogGroup.begun("made", None, LogWindow())
    group.read([entry(1), entry(4)], "made", 0.0)
    group.read([entry(6)], "made", 5.0)
    assert group.cursor("made") == DatasetCursor(fingerprint("made", entry(6)), 6, 1, (1, 6))
    group.window.settle(3.0)
    cursor = group.cursor("made")
    assert cursor.missing == (5, 6)
    resumed = LogGroup.resumed(cursor)
    assert (resumed.scn, resumed.window.low, resumed.window.head) == (6, 4, 4)
    group.window.settle(6.0)
    assert group.cursor(None) == DatasetCursor(fingerprint("made", entry(6)), 6, 0, ())


def test_a_late_entry_is_not_the_last_one_read() -> None:
    group = LogGroup.begun("made", entry(6), LogWindow(6))
    group.read([entry(3)], "made", 0.0)
    assert group.cursor("made") == DatasetCursor(fingerprint("made", entry(6)), 6, 1, ())


def test_a_log_is_known_by_its_dataset_and_its_last_entry() -> None:
    prints = {
        fingerprint(None, None),
        fingerprint("", None),
        fingerprint("made", None),
        fingerprint("made", entry(1)),
        fingerprint("made", entry(1, "y")),
        fingerprint("later", entry(1)),
    }
    assert len(prints) == 6
    assert all(0 <= number < 2**63 for number in prints)


def test_a_mark_lies_between_two_looks() -> None:
    """Also above whatever an earlier stream has sent, however long that was."""
    at = SourcePosition(SourceIdentity("mysql", "x"), epoch=2, dataset_log_seq=5, position=8)
    assert CommitOrder(2, 5, 8, 10**6) < mark_of(at) < CommitOrder(2, 5, 10, 0)
    begun = SourcePosition(at.identity, epoch=2, dataset_log_seq=6)
    assert CommitOrder(2, 5, 10**9, 1) < mark_of(begun) < CommitOrder(2, 6, 2, 0)
