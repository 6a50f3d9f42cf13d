"""The order guard: its rules one by one, and against a naive idea of truth over every kind of interleaving."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.model import ZERO_ORDER, Change, CommitOrder, DocChange, Floor, FloorReason, Lane
from connector.replica.guard import Verdict, falls, judge
from tests.unit.replica.events import TOPIC, Replica, at, dataset_row, delete, document, floor, hide, put

SKIP, UPSERT, DELETE, FLOOR = Verdict.SKIP, Verdict.UPSERT, Verdict.DELETE, Verdict.FLOOR


@pytest.mark.parametrize(
    ("change", "stored", "floor_at", "forgotten", "verdict"),
    [
        (put("a", "x", at(5)), None, ZERO_ORDER, ZERO_ORDER, UPSERT),
        (put("a", "x", at(5)), at(4), ZERO_ORDER, ZERO_ORDER, UPSERT),
        (put("a", "x", at(5)), at(5), ZERO_ORDER, ZERO_ORDER, SKIP),
        (put("a", "x", at(5)), at(6), ZERO_ORDER, ZERO_ORDER, SKIP),
        (put("a", "x", at(5, 2)), at(5, 1), ZERO_ORDER, ZERO_ORDER, UPSERT),
        (put("a", "x", at(5, 0)), at(4, 9), ZERO_ORDER, ZERO_ORDER, UPSERT),  # a snapshot row on a mark
        (put("a", "x", at(5, 0)), at(5, 1), ZERO_ORDER, ZERO_ORDER, SKIP),  # and the transaction after it
        (put("a", "x", at(1, epoch=2)), at(9, epoch=1), ZERO_ORDER, ZERO_ORDER, UPSERT),
        (put("a", "x", at(5)), None, at(6), ZERO_ORDER, SKIP),
        (put("a", "x", at(5)), None, at(5), ZERO_ORDER, UPSERT),  # a floor refuses strictly lower orders only
        (put("a", "x", at(5)), at(4), at(6), ZERO_ORDER, SKIP),
        (put("a", "x", at(5)), None, ZERO_ORDER, at(5), SKIP),  # the bound itself was a deletion
        (put("a", "x", at(5)), None, ZERO_ORDER, at(4), UPSERT),
        (put("a", "x", at(5)), at(4), ZERO_ORDER, at(7), UPSERT),  # it counts for absent keys only
        (delete("a", "x", at(5)), at(4), ZERO_ORDER, ZERO_ORDER, DELETE),
        (delete("a", "x", at(5)), None, ZERO_ORDER, ZERO_ORDER, DELETE),  # its order must be kept
        (delete("a", "x", at(5)), at(5), ZERO_ORDER, ZERO_ORDER, SKIP),
        (hide("a", "x", at(5)), at(4), ZERO_ORDER, ZERO_ORDER, DELETE),
        (dataset_row("a", at(5), "d"), at(4), ZERO_ORDER, ZERO_ORDER, UPSERT),
        (dataset_row("a", at(5)), at(5), ZERO_ORDER, ZERO_ORDER, SKIP),
        (floor("a", at(1)), None, at(9), ZERO_ORDER, FLOOR),  # again, for what came in between
    ],
)
def test_verdicts(
    change: Change, stored: CommitOrder | None, floor_at: CommitOrder, forgotten: CommitOrder, verdict: Verdict
) -> None:
    assert judge(change, stored, floor_at, forgotten) is verdict


def test_a_floor_takes_strictly_lower_orders() -> None:
    assert falls(at(4, 9), at(5, 0))
    assert not falls(at(5, 0), at(5, 0))
    assert not falls(at(5, 1), at(5, 0))


# -- against truth --------------------------------------------------------------------------------------------------
class Step(NamedTuple):
    """A change at the source, as a test says it: what, which dataset (None: the table), which id."""

    what: str
    dataset: str | None
    id: str = ""


def is_document(step: Step) -> bool:
    return step.what in ("put", "delete", "hide")


steps = st.one_of(
    st.builds(
        Step, st.sampled_from(["put", "put", "put", "delete", "hide"]), st.sampled_from("ab"), st.sampled_from("xyz")
    ),
    st.builds(Step, st.just("floor"), st.sampled_from(["a", "b", None])),
)
scripts = st.lists(st.lists(steps, min_size=1, max_size=3), min_size=1, max_size=8)


def changes_of(script: list[list[Step]], epochs: list[int], prefix: str = "") -> list[Change]:
    """In commit order. epochs: positions at which the source's log begins anew, under a higher epoch."""
    out: list[Change] = []
    epoch, start = 1, 0
    for position, transaction in enumerate(script, 1):
        if position in epochs:
            epoch, start = epoch + 1, position - 1
        for ordinal, step in enumerate(transaction, 1):
            order = CommitOrder(epoch, 1, position - start, ordinal)
            dataset = None if step.dataset is None else prefix + step.dataset
            if step.what == "floor":
                out.append(floor(dataset, order, FloorReason.CASCADE if dataset else FloorReason.TRUNCATE))
                continue
            assert dataset is not None
            if step.what == "put":
                out.append(put(dataset, step.id, order, document(str(tuple(order)))))
            else:
                gone = delete if step.what == "delete" else hide
                out.append(gone(dataset, step.id, order))
    return out


def truth(changes: list[Change]) -> dict[tuple[str, str], str | None]:
    """What the source holds after these changes (hidden rows are not shown): plain application, no guard."""
    docs: dict[tuple[str, str], str | None] = {}
    for change in changes:
        if isinstance(change, Floor):
            dataset = change.key.dataset_id
            docs = {key: text for key, text in docs.items() if dataset is not None and key[0] != dataset}
        elif isinstance(change, DocChange):
            key = (change.key.dataset_id, change.key.id)
            if change.after is None:
                docs.pop(key, None)
            else:
                docs[key] = change.after.content
    return docs


class Naive:
    """The guard with plain dictionaries around it."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], tuple[CommitOrder, str | None]] = {}
        self.floors: dict[str | None, CommitOrder] = {}

    def apply(self, change: Change) -> None:
        if isinstance(change, Floor):
            dataset = change.key.dataset_id
            self.floors[dataset] = max(change.order, self.floors.get(dataset, ZERO_ORDER))
            self.entries = {
                key: entry
                for key, entry in self.entries.items()
                if not (dataset in (None, key[0]) and falls(entry[0], change.order))
            }
            return
        assert isinstance(change, DocChange)
        key = (change.key.dataset_id, change.key.id)
        stored = self.entries.get(key)
        bound = max(self.floors.get(key[0], ZERO_ORDER), self.floors.get(None, ZERO_ORDER))
        if judge(change, stored and stored[0], bound) is not SKIP:
            self.entries[key] = (change.order, None if change.after is None else change.after.content)

    def visible(self) -> dict[tuple[str, str], str | None]:
        return {key: text for key, (_, text) in self.entries.items() if text is not None}


deliveries = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=6)
"""Runs that are delivered again: after how many changes, and how many of those before it."""


def delivered(changes: list[Change], again: list[tuple[int, int]]) -> Iterator[tuple[Change, int]]:
    """Every change in order, with earlier ones in between; with each, how many of the first ones have been seen."""
    for done, change in enumerate(changes, 1):
        yield change, done
        for after, run in again:
            if after == done:
                yield from ((old, done) for old in changes[max(0, done - run) : done])


@given(scripts, st.lists(st.integers(2, 8), max_size=2), deliveries)
@example([[Step("put", "a", "x")], [Step("delete", "a", "x")]], [], [(2, 2)])
@example([[Step("put", "a", "x")], [Step("floor", "a")], [Step("put", "a", "y")]], [], [(2, 2), (3, 3)])
@example([[Step("put", "a", "x")], [Step("put", "a", "x")]], [2], [(2, 2)])
def test_duplicates_and_replays_never_show(
    script: list[list[Step]], epochs: list[int], again: list[tuple[int, int]]
) -> None:
    changes = changes_of(script, epochs)
    replica = Naive()
    for change, done in delivered(changes, again):
        replica.apply(change)
        assert replica.visible() == truth(changes[:done])


@given(scripts, st.lists(st.integers(2, 8), max_size=2), st.data())
def test_a_compacted_log_gives_the_same_end(script: list[list[Step]], epochs: list[int], data: st.DataObject) -> None:
    """Any records that a later one of their key supersedes may be missing; the end is the same."""
    changes = changes_of(script, epochs)
    last = {change.key: i for i, change in enumerate(changes)}
    replica = Naive()
    for i, change in enumerate(changes):
        if last[change.key] == i or data.draw(st.booleans()):
            replica.apply(change)
    assert replica.visible() == truth(changes)


@given(scripts, st.integers(0, 24), st.integers(0, 24), st.data())
def test_a_stale_snapshot_row_loses(script: list[list[Step]], seen: int, late: int, data: st.DataObject) -> None:
    """Rows read at a mark arrive when the stream is past it already; those that are at their mark change nothing."""
    changes = changes_of(script, [])
    seen = min(seen, len(changes))
    mark_position = changes[seen - 1].order.position + 1 if seen else 1
    rows = truth([change for change in changes if change.order.position < mark_position])
    replica = Naive()
    for i, change in enumerate(changes):
        replica.apply(change)
        if i + 1 == min(len(changes), seen + late):
            for (dataset, id), content in rows.items():
                replica.apply(put(dataset, id, at(mark_position, 0), document(content)))
    assert replica.visible() == truth(changes)


# -- the file does what the guard says --------------------------------------------------------------------------------
_worlds = count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    made = Replica(tmp_path_factory.mktemp("guard") / "r.db")
    yield made
    made.check()
    made.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scripts, st.lists(st.integers(2, 8), max_size=2), deliveries, st.lists(st.integers(1, 7), min_size=1, max_size=5)
)
def test_batches_of_any_size_in_a_file_do_the_same(
    shared: Replica, script: list[list[Step]], epochs: list[int], again: list[tuple[int, int]], sizes: list[int]
) -> None:
    number = next(_worlds)
    prefix, lane = f"w{number}-", Lane(TOPIC, 1000 + number)  # each example has a partition and datasets of its own
    changes = changes_of(script, epochs, prefix)
    feed = [change for change, _ in delivered(changes, again)]
    naive, i = Naive(), 0
    for size in sizes * len(feed):
        batch = feed[i : i + size]
        i += size
        if not batch:
            break
        shared.apply_all((lane, change) for change in batch)
        for change in batch:
            naive.apply(change)
        sql = "SELECT dataset_id, id, content FROM shadow_vec_docs WHERE dataset_id IN (?, ?)"
        assert {(row[0], row[1]): row[2] for row in shared.rows(sql, f"{prefix}a", f"{prefix}b")} == naive.visible()
    assert naive.visible() == truth(changes)


# -- counterexamples: each breaks an implementation that leaves a rule out
def traced(text: str) -> list[tuple[Lane, Change]]:
    """`u A.x@1.1 p0 | t *@2.1 p1`: op, dataset and id, position.ordinal, partition."""
    out: list[tuple[Lane, Change]] = []
    for part in text.split("|"):
        op, key, order_text, partition = part.replace("@", " ").split()
        position, ordinal = map(int, order_text.split("."))
        order = CommitOrder(1, 1, position, ordinal)
        change: Change
        if op == "t":
            change = floor(None if key == "*" else key, order)
        else:
            dataset, id = key.split(".")
            change = put(dataset, id, order) if op == "u" else delete(dataset, id, order)
        out.append((Lane(TOPIC, int(partition[1:])), change))
    return out


TRACES: Mapping[str, tuple[str, dict[str, str]]] = {
    "order guard": (
        "u A.x@1.1 p0 | u B.y@2.1 p0 | d A.x@3.1 p0 | u A.x@4.1 p0 | u A.x@1.1 p0",
        {"A.x": "x 4", "B.y": "y 2"},
    ),
    "a deletion leaves a row": ("u A.x@1.1 p0 | u B.y@2.1 p0 | d A.x@3.1 p0 | u A.x@1.1 p0", {"B.y": "y 2"}),
    "scope of a table's floor": ("u A.x@1.1 p0 | u B.y@1.2 p1 | t *@2.1 p0", {"B.y": "y 1"}),
    "floors are kept": ("u A.x@1.1 p0 | t *@2.1 p0 | u A.x@1.1 p0", {}),
    "a floor lets its own order in": ("t A@2.1 p0 | u A.x@2.1 p0", {"A.x": "x 2"}),
}


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("size", [1, 100])
def test_counterexamples(tmp_path: Path, name: str, restart: bool, size: int) -> None:
    text, wanted = TRACES[name]
    replica = Replica(tmp_path / "r.db", partitions=2)
    feed = traced(text)
    for i in range(0, len(feed), size):
        replica.apply_all(feed[i : i + size])
        if restart:
            replica.close()
            replica = Replica(tmp_path / "r.db", partitions=2)
    assert replica.contents() == wanted
    replica.check()
    replica.close()
