"""Source and replica compared while both move, one rule at a time and in every interleaving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.model import (
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
    Op,
    SourceInfo,
)
from connector.verify import Comparison, Difference, Kind, Sides
from connector.verify.digests import COLUMNS, dataset_digest, differing, document_digest
from connector.verify.sides import DATASETS, Held, Place
from tests.unit.wire.wire_values import documents

INFO = SourceInfo("mysql", "p", 1, False, "db", "docs", 1, None, "binlog.000001", 0, 1)
KEYS = [DocKey("a", "1"), DocKey("a", "2"), DocKey("b", "1")]


def order(position: int, ordinal: int = 1) -> CommitOrder:
    return CommitOrder(1, 1, position, ordinal)


def text(content: str) -> Document:
    return Document(content, None, None, None, 1, False)


def change(key: DocKey, content: str | None, at: CommitOrder, table: str = "docs", db: str = "db") -> DocChange:
    after = None if content is None else text(content)
    op = Op.DELETE if after is None else Op.UPDATE
    return DocChange(op, key, 1, after, at, INFO._replace(table=table, db=db))


def place(key: DocKey) -> Place:
    return Place("docs", *key)


def held(key: DocKey, content: str | None, version: CommitOrder | None, why: str | None = None) -> Held:
    return Held(place(key), version, None if content is None else document_digest(text(content)), why)


@given(one=documents, other=documents)
def test_equal_rows_have_equal_digests_and_others_differ_by_name(one: Document, other: Document) -> None:
    first, second = document_digest(one), document_digest(other)
    unlike = [name for name in COLUMNS if getattr(one, name) != getattr(other, name)]
    assert differing(first, second) == unlike
    assert (first == second) == (one == other)


def test_nothing_and_empty_are_not_the_same() -> None:
    assert differing(document_digest(text("")), document_digest(Document(None, None, None, None, 1, False))) == [
        "content"
    ]
    assert differing(document_digest(Document("1", None, None, None, 1, False)), document_digest(text("1"))) == []
    assert differing(dataset_digest(Dataset("d", None)), dataset_digest(Dataset("d", "", 0))) == [
        "source_uri",
        "last_scn",
    ]


def test_a_source_is_folded_by_order_and_floors() -> None:
    sides = Sides("db", ["docs"])
    one, two, three = KEYS
    sides.fold([change(one, "old", order(1)), change(two, "x", order(1, 2)), change(three, "z", order(1, 3))])
    sides.fold([change(one, "new", order(3)), change(one, "older", order(2)), change(two, None, order(4))])
    sides.fold(
        [change(one, "of another table", order(9), table="more"), change(one, "elsewhere", order(9), db="other")]
    )
    assert sides.at_source(place(one))[0] == document_digest(text("new"))
    assert sides.at_source(place(two))[0] is None
    sides.fold([Floor(FloorKey("b"), order(2), FloorReason.CASCADE, INFO)])
    assert sides.at_source(place(three)) == (None, 7)
    sides.fold([Floor(FloorKey(None), order(3), FloorReason.TRUNCATE, INFO)])
    assert sides.at_source(place(one))[0] == document_digest(text("new")), "a floor takes what is strictly below it"
    sides.fold([Floor(FloorKey(None), order(5), FloorReason.TRUNCATE, INFO)])
    assert sides.at_source(place(one))[0] is None
    where = INFO._replace(table="sets")
    sides.fold([DatasetChange(Op.CREATE, DatasetKey("a"), Dataset("d", None), order(6), where)])
    assert sides.at_source(Place(DATASETS, "a", ""))[0] == dataset_digest(Dataset("d", None))
    assert sides.counts(lambda _: True) == (0, 1)
    assert sides.counts(lambda name: name != "a") == (0, 0)
    sides.close()


@pytest.mark.parametrize(
    ("source", "replica", "wanted"),
    [
        ("x", "x", None),
        ("x", None, Difference(place(KEYS[0]), Kind.MISSING)),
        (None, "x", Difference(place(KEYS[0]), Kind.EXTRA)),
        ("x", "y", Difference(place(KEYS[0]), Kind.UNEQUAL, ("content",))),
        ("x", "too large", Difference(place(KEYS[0]), Kind.UNPUBLISHED, (), "too large")),
    ],
)
def test_what_a_difference_is_called(source: str | None, replica: str | None, wanted: Difference | None) -> None:
    key = KEYS[0]
    row = held(key, None, order(1), "too large") if replica == "too large" else held(key, replica, order(1))
    sides = Sides("db", ["docs"])
    sides.fold([change(key, source, order(1))])
    comparison = Comparison(sides)
    comparison.first([row], lambda _: row, lambda _: True)
    comparison.again(lambda _: row, sides.folded)
    assert (comparison.found, comparison.undecided) == ([] if wanted is None else [wanted], 0)


@dataclass
class World:
    """A source, a stream of it, and a replica that is right but behind. wrong: a row that the replica has otherwise
    than it should, until the source changes it again."""

    numbers: Sequence[int]
    wrong: DocKey | None = None
    asks_again: bool = True
    at: int = 0
    history: list[list[DocChange | Floor]] = field(default_factory=list)
    streamed: int = 0
    applied: int = 0

    def __post_init__(self) -> None:
        self.sides = Sides("db", ["docs"])
        self.history.append([change(key, f"first {key.id}", order(0, n + 1)) for n, key in enumerate(KEYS[:2])])
        self.rows: dict[DocKey, tuple[CommitOrder, str | None]] = {}
        self.floor: dict[str, CommitOrder] = {}

    def choose(self, among: int) -> int:
        if self.at == len(self.numbers):
            return 0
        self.at += 1
        return self.numbers[self.at - 1] % among

    def commit(self) -> None:
        key, at = KEYS[self.choose(3)], order(len(self.history))
        what = self.choose(4)
        if key == self.wrong or (what == 3 and self.wrong is not None and self.wrong.dataset_id == key.dataset_id):
            return
        if what == 3:
            self.history.append([Floor(FloorKey(key.dataset_id), at, FloorReason.CASCADE, INFO)])
        else:
            self.history.append([change(key, f"text {self.choose(2)}" if what else None, at)])

    def stream(self) -> None:
        """Sometimes more than one transaction at a time."""
        for _ in range(1 + self.choose(3)):
            if self.streamed < len(self.history):
                self.sides.fold(self.history[self.streamed])
                self.streamed += 1

    def apply(self) -> None:
        if self.applied == len(self.history):
            return
        for one in self.history[self.applied]:
            if isinstance(one, Floor):
                of = one.key.dataset_id
                assert of is not None
                self.floor[of] = one.order
                self.rows = {key: row for key, row in self.rows.items() if key.dataset_id != of}
            else:
                content = None if one.after is None else one.after.content
                self.rows[one.key] = (one.order, "wrong" if one.key == self.wrong else content)
        self.applied += 1

    def look(self, at: Place) -> Held:
        key = DocKey(at.dataset_id, at.id)
        version, content = self.rows.get(key, (self.floor.get(key.dataset_id), None))
        return held(key, content, version)

    def meanwhile(self) -> None:
        for _ in range(self.choose(4)):
            (self.commit, self.stream, self.apply)[self.choose(3)]()

    def round(self) -> int:
        head = len(self.history)
        self.meanwhile()
        while self.streamed < head:
            self.stream()
        end = self.sides.folded
        head = len(self.history) if self.asks_again else head
        self.meanwhile()
        while self.applied < head:
            self.apply()
            self.meanwhile()
        return end

    def compared(self) -> Comparison:
        comparison = Comparison(self.sides)
        self.round()
        self.meanwhile()
        comparison.first([self.look(place(key)) for key in self.rows], self.look, lambda _: True)
        for _ in range(4):
            self.meanwhile()
            comparison.again(self.look, self.round())
        return comparison


scripts = st.lists(st.integers(0, 11), max_size=120)


@settings(max_examples=600, deadline=None)
@given(scripts)
def test_a_replica_that_is_only_behind_never_differs(numbers: list[int]) -> None:
    assert World(numbers).compared().found == []


@settings(max_examples=200, deadline=None)
@given(scripts)
def test_a_row_that_stands_still_and_differs_is_found(numbers: list[int]) -> None:
    wanted = Difference(place(KEYS[1]), Kind.UNEQUAL, ("content",))
    assert World(numbers, wrong=KEYS[1]).compared().found == [wanted]


def goes_wrong(*, asks_again: bool = True) -> bool:
    for seed in range(20_000):
        numbers = Random(seed)
        if World([numbers.randrange(12) for _ in range(120)], asks_again=asks_again).compared().found:
            return True
    return False


def test_each_rule_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the version of the round before, or without the end of the log, what is only behind differs."""
    again = Comparison.again
    with monkeypatch.context() as patch:
        patch.setattr(Comparison, "again", lambda self, look, end: again(self, look, 10**9))
        assert goes_wrong()
    assert goes_wrong(asks_again=False)
    with monkeypatch.context() as patch:

        def forgetful(self: Comparison, look: object, end: int) -> None:
            self._suspects = {at: look(at) for at in self._suspects}  # type: ignore[operator]
            again(self, look, end)  # type: ignore[arg-type]

        patch.setattr(Comparison, "again", forgetful)
        assert goes_wrong()
