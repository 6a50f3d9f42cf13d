"""Which datasets the source is asked about, and what two spellings lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from connector.errors import UnsupportedChange
from connector.model import (
    Change,
    CommitOrder,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Op,
    PackedRows,
)
from connector.model import SourceInfo as Info
from connector.source.twins import TwinCheck
from connector.upstream.discover import Column, TableShape
from connector.wire import encode_key

INFO = Info("mysql", "vecsync", 0, False, "app", "docs", 1, None, "b.000001", 100, 1)
ORDER = CommitOrder(1, 1, 100, 1)


def shape(collation: str, owner: str = "utf8mb4_bin") -> TableShape:
    key = Column("dataset_id", "varchar(191)", False, "utf8mb4", collation, False)
    owned = Column("dataset_id", "varchar(191)", False, "utf8mb4", owner, False)
    return TableShape("app", "docs", True, (key,), mapped={"dataset_id": "dataset_id"}, dataset_columns=(owned,))


def doc(dataset: str, op: Op = Op.CREATE, db: str = "app") -> Change:
    after = None if op is Op.DELETE else Document("text", None, None, None, 1, False)
    return DocChange(op, DocKey(dataset, "x"), 1, after, ORDER, INFO._replace(db=db))


def packed(*datasets: str) -> PackedRows:
    return PackedRows(Op.CREATE, ORDER, INFO, [(d.encode(), encode_key(DocKey(d, "x")), b"") for d in datasets])


class Source:
    """Spellings as a source would hold them equal; notes what it is asked."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked: list[tuple[str, int]] = []

    def __call__(self, sql: str, args: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        self.asked.append((args[0], len(args)))
        return [(name,) for name in self.names if name.casefold() == args[0].casefold()]


def test_keys_that_compare_by_bytes_are_not_asked_about() -> None:
    source = Source("a", "A")
    check = TwinCheck([shape("utf8mb4_bin")], "vec_dataset", source)
    assert not check.needed
    assert len(list(check([doc("a"), doc("A")]))) == 2
    assert source.asked == []


def test_each_dataset_is_asked_about_once() -> None:
    source = Source("a", "b")
    check = TwinCheck([shape("utf8mb4_general_ci")], "vec_dataset", source)
    changes = [doc("a"), doc("a"), doc("b"), doc("c", Op.DELETE), Floor(FloorKey(None), ORDER, FloorReason.DROP, INFO)]
    assert list(check(changes)) == changes
    assert list(check([doc("b")])) == [doc("b")]
    assert source.asked == [("a", 1), ("b", 1)]


def test_databases_have_datasets_of_their_own() -> None:
    """One spelling here and another there are legal, and say nothing of what is in this one."""
    source = Source("a")
    other = replace(shape("utf8mb4_general_ci"), database="other")
    check = TwinCheck([shape("utf8mb4_general_ci"), other], "vec_dataset", source)
    there = doc("A", db="other")
    assert list(check([doc("a"), there])) == [doc("a"), there]
    assert source.asked == [("a", 1), ("A", 1)]
    source.names = ("a", "A")
    with pytest.raises(UnsupportedChange, match=r"'A' and 'a' equal"):
        list(check([doc("A")]))


def test_two_spellings_stop_it_before_the_second_is_let_through() -> None:
    check = TwinCheck([shape("utf8mb4_general_ci", "utf8mb4_general_ci")], "vec_dataset", source := Source("a"))
    assert list(check([doc("a")])) == [doc("a")]
    source.names = ("a", "A")
    passing = iter(check([doc("a"), doc("A"), doc("b")]))
    assert next(passing) == doc("a")
    with pytest.raises(UnsupportedChange, match=r"'A' and 'a' equal"):
        next(passing)
    assert source.asked[-1] == ("A", 2), "the table of datasets is asked too where its keys compare alike"


def test_rows_that_came_packed_are_looked_at_too() -> None:
    source = Source("a", "b")
    check = TwinCheck([shape("utf8mb4_general_ci")], "vec_dataset", source)
    changes = [packed("a", "b", "a"), doc("b"), packed("b")]
    assert list(check(changes)) == changes
    assert source.asked == [("a", 1), ("b", 1)]
    source.names = ("c", "C")
    with pytest.raises(UnsupportedChange, match=r"'C' and 'c' equal"):
        list(check([packed("a", "c")]))


def test_a_table_that_is_gone_by_now_holds_nothing_equal() -> None:
    check = TwinCheck([shape("utf8mb4_general_ci")], "vec_dataset", lambda _sql, _args: None)
    assert list(check([doc("a"), doc("A")])) == [doc("a"), doc("A")]
