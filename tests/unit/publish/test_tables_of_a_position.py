"""How tables that came are read: by the snapshot that is under way, one of their own, or one of all. Pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from connector.broker.embedded import EmbeddedBroker
from connector.model import CommitOrder, Lane, PublishedPosition, SnapshotProgress, SourceIdentity, SourcePosition
from connector.publish import create_topics
from connector.publish.tables import Come, tables_of, unread_of, with_come
from connector.settings import Settings
from connector.source.marks import mark_of
from connector.source.snapshot import SnapshotPlan
from tests.system.settings import settings

START = CommitOrder(2, 1, 50, 0)
UNDER_WAY = SnapshotProgress("docs_m", ("d", "1"), START, tables=("docs_m", "docs"))
AT = SourcePosition(SourceIdentity("mysql"), 2, None, "b.000003", 100)
DONE = replace(AT, snapshot_done=True)
KNOWN, LANE = Lane("p.app.docs", 0), Lane("p.app.docs_a", 0)
PLAN = SnapshotPlan("mysql", "p", 1, "app", "vec_dataset", ("docs",))
NEW, BACK = Come(["docs_z", "docs_a"], []), Come(["docs_z"], ["docs_a"])


def chosen(mode: str = "initial") -> Settings:
    return settings(source={"url": "mysql://u@h/app", "tables": ["docs", "docs_*"], "snapshot": mode})


def come(at: SourcePosition, what: Come = NEW, mode: str = "initial") -> PublishedPosition:
    return with_come(PublishedPosition(at, {KNOWN: 7}, False, 0), what, chosen(mode), [LANE])


def test_one_of_their_own_in_the_same_epoch() -> None:
    found = come(DONE)
    assert found.ends == {KNOWN: 7, LANE: 0}
    expected = SnapshotProgress("vec_dataset", None, mark_of(DONE), tables=("docs_z", "docs_a"))
    assert found.source == replace(DONE, snapshot=expected, snapshot_done=False)


def test_of_another_database_its_datasets_come_first() -> None:
    found = come(DONE, Come(["t1.docs"], []))
    assert found.source.snapshot is not None
    assert found.source.snapshot.table == "t1.vec_dataset"


def test_the_one_that_is_under_way_takes_them_in_at_its_end() -> None:
    found = come(replace(AT, snapshot=UNDER_WAY))
    assert found.source.snapshot == replace(UNDER_WAY, tables=("docs_m", "docs", "docs_z", "docs_a"))
    for covers_all in (None, replace(UNDER_WAY, tables=())):
        at = replace(AT, snapshot=covers_all)
        assert come(at) == PublishedPosition(at, {KNOWN: 7, LANE: 0}, False, 0)


def test_one_that_was_put_back_is_read_once() -> None:
    """A position of a start without it may still name it."""
    twice = replace(AT, snapshot=replace(UNDER_WAY, tables=("docs_m", "docs_z", "docs")))
    found = come(twice).source.snapshot
    assert found is not None
    assert found.tables == ("docs_m", "docs_z", "docs", "docs_a")
    assert PLAN.order(("docs", "docs_z", "docs")) == ("vec_dataset", "docs", "docs_z")


def test_what_is_not_followed_goes_from_the_position(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "log.db")
    snapshot = replace(UNDER_WAY, tables=("docs_m", "docs", "gone"))
    ends = {KNOWN: 7, Lane("vecsync.app.gone", 0): 3}
    only = settings(source={"url": "mysql://u@h/app", "tables": ["docs", "docs_m"], "snapshot": "no_data"})
    admin = broker.admin()
    create_topics(admin, only)
    admin.close()
    recorded, _ = tables_of(PublishedPosition(replace(AT, snapshot=snapshot), ends, False, 0), only, broker)
    assert recorded.source.snapshot is not None
    assert recorded.source.snapshot.tables == ("docs_m", "docs")
    assert recorded.ends == {}


def test_nothing_that_came_changes_nothing() -> None:
    assert come(DONE, Come([], [])).source == DONE


def test_without_snapshots_only_one_that_was_asked_for_reads_them() -> None:
    assert come(DONE, mode="no_data").source == DONE
    assert come(replace(AT, snapshot=UNDER_WAY), mode="no_data").source.snapshot != UNDER_WAY


@pytest.mark.parametrize("crossing", [False, True])
def test_what_only_a_snapshot_of_all_can_bring(crossing: bool) -> None:
    under_way, single = replace(AT, snapshot=UNDER_WAY), replace(UNDER_WAY, datasets=("d",))
    every, both = ["docs_z", "docs_a"], chosen()
    assert list(unread_of(NEW, DONE, both, crossing)) == (every if crossing else [])
    assert list(unread_of(NEW, under_way, both, crossing)) == (every if crossing else [])
    assert list(unread_of(BACK, DONE, both, crossing)) == every
    assert list(unread_of(NEW, replace(AT, snapshot=single), both, crossing)) == every
    assert list(unread_of(Come([], []), DONE, both, crossing)) == []
    assert list(unread_of(NEW, DONE, chosen("no_data"), crossing)) == []
