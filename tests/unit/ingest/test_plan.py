"""The difference between a corpus and what a dataset holds, and what has to go."""

from __future__ import annotations

import json

import pytest

from connector.ingest.chunks import Chunk, chunk_id, chunk_meta, meta_text
from connector.ingest.corpus import Corpus
from connector.ingest.plan import Standing, folded, known, to_retire, unit_plan
from connector.upstream import ListedRow

MODEL = "m-1"


def chunk(text: str, start: int = 0) -> Chunk:
    return Chunk(text, start, start + len(text), "title", "text")


def row(path: str, number: int, text: str, *, archived: bool = False, root: str = "docs", **extra: object) -> ListedRow:
    meta = meta_text(chunk_meta(chunk(text), path, root) | extra)
    return ListedRow(chunk_id(path, number), meta, archived, MODEL, 1)


def corpus(scope: str = "", root: str = "docs") -> Corpus:
    return Corpus(root, None, scope, ())


def test_what_is_new_changed_archived_or_as_it_was() -> None:
    standing = Standing([row("a", 0, "same"), row("a", 1, "old"), row("a", 2, "back", archived=True)])
    plan = unit_plan("a", [chunk("same"), chunk("new"), chunk("back"), chunk("more")], standing, "docs", MODEL)
    assert [write.id for write in plan.new] == ["a#3"]
    assert [write.id for write in plan.changed] == ["a#1"]
    assert plan.reactivate == ("a#2",)
    assert (plan.unchanged, plan.conflicts, plan.idle) == (1, (), False)
    assert unit_plan("a", [chunk("same")], standing, "docs", MODEL).idle


@pytest.mark.parametrize(
    "now",
    [chunk("text", start=5), chunk("text")._replace(title="other"), chunk("text")._replace(kind="code"), chunk("Text")],
)
def test_any_difference_is_a_change(now: Chunk) -> None:
    standing = Standing([row("a", 0, "text")])
    assert len(unit_plan("a", [now], standing, "docs", MODEL).changed) == 1


def test_another_model_is_a_change_and_other_peoples_keys_are_none() -> None:
    standing = Standing([row("a", 0, "text", summary="added by somebody")])
    assert unit_plan("a", [chunk("text")], standing, "docs", MODEL).idle
    assert len(unit_plan("a", [chunk("text")], standing, "docs", "m-2").changed) == 1


@pytest.mark.parametrize("meta", [None, "", "no json", "[]", "5", '{"md5": "x"}', '{"path": 5}'])
def test_what_ingest_did_not_write_is_a_conflict_and_never_retired(meta: str | None) -> None:
    standing = Standing([ListedRow("a#0", meta, False, MODEL, 1)])
    assert unit_plan("a", [chunk("text")], standing, "docs", MODEL).conflicts == ("a#0",)
    assert to_retire(standing, corpus(), {}, (), archived_too=True) == []


def test_another_root_is_a_conflict_and_never_retired() -> None:
    standing = Standing([row("a", 0, "text", root="manual")])
    assert unit_plan("a", [chunk("text")], standing, "docs", MODEL).conflicts == ("a#0",)
    assert to_retire(standing, corpus(), {}, (), archived_too=True) == []


def test_what_goes() -> None:
    standing = Standing(
        [row("a", 0, "x"), row("a", 1, "x"), row("b/c", 0, "x"), row("b/d", 0, "x", archived=True), row("e", 0, "x")]
    )
    counts = {"a": 1, "e": 1}
    assert to_retire(standing, corpus(), counts, (), archived_too=False) == ["a#1", "b/c#0"]
    assert to_retire(standing, corpus(), counts, (), archived_too=True) == ["a#1", "b/c#0", "b/d#0"]
    assert to_retire(standing, corpus("b/"), {}, (), archived_too=False) == ["b/c#0"]
    assert to_retire(standing, corpus("a"), {"a": 0}, (), archived_too=False) == ["a#0", "a#1"]


def test_what_could_not_be_read_stays() -> None:
    standing = Standing([row("a", 0, "x"), row("b/c", 0, "x"), row("b2/c", 0, "x")])
    assert to_retire(standing, corpus(), {}, {"a"}, archived_too=False) == ["b/c#0", "b2/c#0"]
    assert to_retire(standing, corpus(), {}, {"b/"}, archived_too=False) == ["a#0", "b2/c#0"]
    assert to_retire(standing, corpus(), {}, {"./"}, archived_too=False) == []


def test_a_new_spelling_replaces_the_old_one() -> None:
    standing = Standing([row("Café.md", 0, "x"), row("Café.md", 1, "y")])
    plan = unit_plan("cafe.md", [chunk("x")], standing, "docs", MODEL)
    assert [(write.id, write.replaces) for write in plan.changed] == [("cafe.md#0", "Café.md#0")]
    assert to_retire(standing, corpus(), {"cafe.md": 1}, (), archived_too=False) == ["Café.md#1"]


def test_folded() -> None:
    assert folded("ÀÉ.md") == folded("àé.MD") == folded("A\u0300E\u0301.md") == "ae.md"
    assert folded("a.md") != folded("b.md")


def test_meta_is_read_back_whatever_its_order() -> None:
    meta = json.dumps(dict(reversed(chunk_meta(chunk("text"), "a", "docs").items())))
    document = known(ListedRow("a#0", meta, False, MODEL, 1))
    assert document == known(row("a", 0, "text"))
    assert (document.root, document.path) == ("docs", "a")
