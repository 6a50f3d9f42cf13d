"""Snapshots in a small world with every interleaving of commits, visibility, streaming and crashes; and each rule left
out, to see that the world notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.model import Change, CommitOrder, Floor, SnapshotProgress, SourcePosition, Transaction
from connector.source import snapshot
from connector.source.snapshot import Chunk, LogEnd, SnapshottingStream, _Pending
from tests.unit.source.snapshot_world import PLAN, Broken, Clock, Rules, Script, World

Patch = Callable[[pytest.MonkeyPatch], None]

scripts = st.lists(st.integers(0, 11), max_size=40) | st.lists(st.integers(0, 11), min_size=30, max_size=100)
RULES = Rules()
SINGLE: Sequence[tuple[str, ...]] = (("A",), ("A", "B"), ("B", "A"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "time", Clock())


def broken(
    numbers: Sequence[int], again: bool, rules: Rules = RULES, datasets: tuple[str, ...] | None = None
) -> str | None:
    try:
        World(Script(numbers), again, rules, datasets=datasets).run()
    except Broken as failure:
        return str(failure)
    return None


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=scripts, again=st.booleans())
def test_promises_are_kept(numbers: list[int], again: bool) -> None:
    assert broken(numbers, again) is None


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=scripts, datasets=st.sampled_from(SINGLE))
def test_promises_are_kept_when_single_datasets_are_read_again(numbers: list[int], datasets: tuple[str, ...]) -> None:
    assert broken(numbers, again=True, datasets=datasets) is None


# Each rule left out


def nothing_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Pending, "drop", lambda self, change: None)


def without_floors_of(table: bool) -> Patch:
    """The window drops keys, but not what a floor of the table (or of a dataset) covers."""
    drop = _Pending.drop

    def partly(self: _Pending, change: Change) -> None:
        if not isinstance(change, Floor) or (change.key.dataset_id is None) != table:
            drop(self, change)

    return lambda patch: patch.setattr(_Pending, "drop", partly)


def published_late(patch: pytest.MonkeyPatch) -> None:
    """The transaction that steps over the high mark goes first."""
    patch.setattr(snapshot, "_beyond", lambda transaction, high: False)


def published_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SnapshottingStream, "_stands_at", lambda self, high: True)


def mark_ties(patch: pytest.MonkeyPatch) -> None:
    """Marks are not below the transaction that begins there."""
    patch.setattr(snapshot, "_mark", lambda epoch, at: CommitOrder(epoch, 1, at.position, 1))


def no_floor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SnapshottingStream, "_floors", lambda self, progress, end: iter(()))


def floor_at_end(patch: pytest.MonkeyPatch) -> None:
    floors = SnapshottingStream._floors

    def later(self: SnapshottingStream, progress: SnapshotProgress, end: LogEnd) -> Iterator[Change]:
        return floors(self, replace(progress, start=CommitOrder(1, 1, end.position, 0)), end)

    patch.setattr(SnapshottingStream, "_floors", later)


def floor_first(patch: pytest.MonkeyPatch) -> None:
    rows = SnapshottingStream._rows

    def after_floors(self: SnapshottingStream, pending: _Pending, order: CommitOrder) -> Iterator[Change]:
        assert self._progress is not None or self._done
        progress = self._progress or SnapshotProgress("docs", None, order, tables=tuple(PLAN.tables))
        return chain(self._floors(progress, pending.high), rows(self, pending, order))

    patch.setattr(SnapshottingStream, "_rows", after_floors)


def floor_under_truncation(patch: pytest.MonkeyPatch) -> None:
    """The last floor is published although the table got a higher one meanwhile."""
    patch.setattr(SnapshottingStream, "_floored", lambda self, table: None)


def start_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A snapshot that goes on after a restart begins anew in its own eyes."""
    begin = SnapshottingStream.__init__

    def forgetful(self: SnapshottingStream, inner: Any, reader: Any, progress: Any, plan: Any, **more: Any) -> None:
        if progress is not None:
            at: SourcePosition = inner.position()
            progress = replace(progress, start=CommitOrder(1, 1, at.position, 0))
        begin(self, inner, reader, progress, plan, **more)

    patch.setattr(SnapshottingStream, "__init__", forgetful)


def floored_forgotten(patch: pytest.MonkeyPatch) -> None:
    begin = SnapshottingStream.__init__

    def forgetful(self: SnapshottingStream, inner: Any, reader: Any, progress: Any, plan: Any, **more: Any) -> None:
        begin(self, inner, reader, progress and replace(progress, floored=()), plan, **more)

    patch.setattr(SnapshottingStream, "__init__", forgetful)


def progress_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    """Positions name the next chunk before the present one was published."""

    def ahead(self: SnapshottingStream, at: SourcePosition) -> SourcePosition:
        progress = (self._pending.after if self._pending else None) or self._progress
        return replace(at, snapshot=progress, snapshot_done=self._done)

    patch.setattr(SnapshottingStream, "_marked", ahead)


def position_of_the_held(patch: pytest.MonkeyPatch) -> None:
    """While a transaction is held back, the position is where the inner stream stands: behind that transaction."""
    publish = SnapshottingStream._publish

    def too_far(self: SnapshottingStream, pending: _Pending) -> Transaction | None:
        transaction = publish(self, pending)
        if transaction is not None:
            transaction.after = self._marked(self._inner.position())
        return transaction

    patch.setattr(SnapshottingStream, "_publish", too_far)


def next_begins_with_the_first(patch: pytest.MonkeyPatch) -> None:
    """Every dataset of a snapshot begins where the first did."""
    following = SnapshottingStream._following

    def earlier(
        self: SnapshottingStream, progress: SnapshotProgress, chunk: Chunk, epoch: int
    ) -> SnapshotProgress | None:
        after = following(self, progress, chunk, epoch)
        return after and replace(after, start=progress.start)

    patch.setattr(SnapshottingStream, "_following", earlier)


LEFT_OUT: dict[str, tuple[Patch | None, Rules]] = {
    "keys touched in the window are dropped": (nothing_dropped, RULES),
    "a dataset's floor drops its rows": (without_floors_of(table=False), RULES),
    "a table's floor drops all rows": (without_floors_of(table=True), RULES),
    "what was streamed is visible to the SELECT": (None, replace(RULES, low_visible=False)),
    "published before any later transaction": (published_late, RULES),
    "published when the stream has come to the high mark": (published_early, RULES),
    "marks are below what begins there": (mark_ties, RULES),
    "a floor ends it": (no_floor, RULES),
    "the floor stands where the snapshot began": (floor_at_end, RULES),
    "the floor follows the rows": (floor_first, RULES),
    "floors remove strictly lower orders": (None, replace(RULES, floor_strict=False)),
    "no lower floor after a truncation's": (floor_under_truncation, RULES),
    "a restart keeps where the snapshot began": (start_forgotten, RULES),
    "a restart keeps which tables were floored": (floored_forgotten, RULES),
    "positions name a chunk until it is published": (progress_runs_ahead, RULES),
    "positions are before a transaction held back": (position_of_the_held, RULES),
}


@pytest.mark.parametrize("rule", LEFT_OUT)
def test_each_rule_matters(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, rules = LEFT_OUT[rule]
    if patch is not None:
        patch(monkeypatch)
    for seed in range(20_000):
        numbers = Random(seed)
        script = [numbers.randrange(12) for _ in range(numbers.randrange(100))]
        if broken(script, again=bool(seed % 2), rules=rules) is not None:
            return
    pytest.fail(f"nothing goes wrong without: {rule}")


LEFT_OUT_OF_SINGLE: dict[str, Patch] = {
    "keys touched in the window are dropped": nothing_dropped,
    "a dataset's floor drops its rows": without_floors_of(table=False),
    "a floor ends each": no_floor,
    "the floor stands where its part began": floor_at_end,
    "no lower floor after that of a cascade": floor_under_truncation,
    "a restart keeps what was floored": floored_forgotten,
    "a later part begins where the former ended": next_begins_with_the_first,
}


@pytest.mark.parametrize("rule", LEFT_OUT_OF_SINGLE)
def test_each_rule_matters_to_single_datasets(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    LEFT_OUT_OF_SINGLE[rule](monkeypatch)
    for seed in range(20_000):
        numbers = Random(seed)
        script = [numbers.randrange(12) for _ in range(numbers.randrange(100))]
        if broken(script, again=True, datasets=SINGLE[seed % 3]) is not None:
            return
    pytest.fail(f"nothing goes wrong without: {rule}")
