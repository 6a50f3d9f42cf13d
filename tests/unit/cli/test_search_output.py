"""How hits look: highlighted words, headings that are not said twice, and vectors read from files."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from connector.cli.replica_queries import MARKS, breakdown, read_vector, snippet, title_of
from connector.errors import UsageError
from connector.search import Breakdown, Hit

OPEN, CLOSE = MARKS
HIT = Hit("d", "a.md#0", "# Cats\n\nCats sleep.", None, None, False, "shadow_vec_docs", 1.0, Breakdown(), "")


@pytest.mark.parametrize(
    ("marked", "shown"),
    [
        (f"# Cats {OPEN}Cats{CLOSE} sleep.", "Cats sleep."),
        (f"# {OPEN}Cats{CLOSE} Cats sleep.", "Cats sleep."),
        (f"…Cats {OPEN}sleep{CLOSE}.", "…Cats sleep."),
        ("# Cats", "# Cats"),
    ],
)
def test_a_heading_is_not_said_twice(marked: str, shown: str) -> None:
    assert snippet(replace(HIT, snippet=marked)).plain == shown


def test_matching_words_are_highlighted() -> None:
    text = snippet(replace(HIT, snippet=f"…Cats {OPEN}sleep{CLOSE}."))
    assert [text.plain[span.start : span.end] for span in text.spans if span.style] == ["sleep"]


def test_text_that_begins_otherwise_is_left_alone() -> None:
    assert snippet(replace(HIT, content="Cats sleep.", snippet="# Cats")).plain == "# Cats"


@pytest.mark.parametrize(
    ("meta", "title"),
    [(json.dumps({"title": "A > B"}), "B"), (json.dumps({"title": 3}), None), ("[1]", None), ("{", None), (None, None)],
)
def test_titles_come_from_metadata_that_may_be_anything(meta: str | None, title: str | None) -> None:
    assert title_of(replace(HIT, meta=meta)) == title


def test_the_breakdown_leaves_out_what_the_mode_does_not_use() -> None:
    found = Breakdown(text_rank=2, text_score=3.5, vector_rank=None)
    assert breakdown(found, "hybrid") == "  (words #2 3.50, vector -)"
    assert breakdown(found, "text") == "  (words #2 3.50)"
    assert breakdown(found, "vector") == "  (vector -)"


def test_a_vector_is_read_from_json_and_from_bytes(tmp_path: Path) -> None:
    expected = struct.pack("<3f", 1, -2.5, 0)
    (tmp_path / "v.json").write_text(" [1, -2.5, 0]\n")
    (tmp_path / "v.bin").write_bytes(expected)
    assert read_vector(tmp_path / "v.json") == expected
    assert read_vector(tmp_path / "v.bin") == expected
    bracket = b"[" + expected[1:]
    (tmp_path / "v.bin").write_bytes(bracket)
    assert read_vector(tmp_path / "v.bin") == bracket, "bytes stay bytes, whatever the first one is"


@pytest.mark.parametrize("text", ["[1, ", '["a"]', "[1e999999, 1e39]", "[[1]]"])
def test_a_vector_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(UsageError, match="--vector"):
        read_vector(tmp_path / "v.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        read_vector(tmp_path / "absent")
