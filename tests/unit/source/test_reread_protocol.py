"""Rows read again in the small world of the snapshots, with every interleaving: also while a snapshot is taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.model import ZERO_ORDER, CommitOrder, DatasetKey, Key, SourcePosition
from connector.source import RowKey, Rows, XaName, reread, snapshot
from connector.source.reread import RereadingStream, _Pending
from tests.unit.source.snapshot_world import AX, AY, BX, FILE, PHANTOM, Broken, Clock, Script, World, end_of, info

KEYS: tuple[RowKey, ...] = (AX, AY, BX, PHANTOM, DatasetKey("A"))

scripts = st.lists(st.integers(0, 11), max_size=40) | st.lists(st.integers(0, 11), min_size=30, max_size=100)


class RowReader:
    """Two rows at a time. The world goes on between its steps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self, table: str, keys: Collection[RowKey], low: CommitOrder, xa: Collection[XaName]) -> Rows | None:
        world, server = self._world, self._world.server
        world.meanwhile()
        if world.rules.low_visible and end_of(server.seen) < low.position:
            return None
        world.meanwhile()
        read = [*keys][:2]
        rows = {key: row for key, row in server.states[server.seen].items() if key in read}
        world.meanwhile()
        high = end_of(len(server.hist))
        named = "sets" if isinstance(read[0], DatasetKey) else table
        return Rows(rows, read, CommitOrder(0, int(FILE.rsplit(".")[-1]), high, 0), info(named, high, 0))

    def close(self) -> None: ...


class RereadingWorld(World):
    rereading: RereadingStream

    def begin(self, at: SourcePosition, standing: Mapping[tuple[CommitOrder, Key], int]) -> None:
        super().begin(at, standing)
        self.rereading = RereadingStream(self.stream, lambda: RowReader(self))
        self.stream = self.rereading  # type: ignore[assignment]

    def step(self) -> None:
        if not self.script.over and self.script.choose(3) == 0:
            above = max((change.order for change in self.log), default=ZERO_ORDER)
            self.rereading.ask("docs", KEYS[self.script.choose(len(KEYS))], above)
        super().step()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "time", Clock())
    monkeypatch.setattr(reread, "time", Clock())


def broken(numbers: list[int], again: bool) -> str | None:
    try:
        RereadingWorld(Script(numbers), again).run()
    except Broken as failure:
        return str(failure)
    return None


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=scripts, again=st.booleans())
def test_rows_read_again_break_no_promise(numbers: list[int], again: bool) -> None:
    assert broken(numbers, again) is None


# Each rule left out


def nothing_passes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Pending, "passed", lambda self, change: None)


def on_any_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RereadingStream, "_stands_at", lambda self, high: True)


@pytest.mark.parametrize("without", [nothing_passes, on_any_mark])
def test_each_rule_matters(without: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    random = Random(1)
    assert any(
        broken([random.randrange(12) for _ in range(random.randrange(10, 100))], again=bool(seed % 2))
        for seed in range(500)
    )
