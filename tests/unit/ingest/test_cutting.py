"""Chunks are exact slices that lose nothing but white space, cut where the format says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.ingest import formats
from connector.ingest.chunks import Chunk, chunk_meta, embedded_text
from connector.ingest.paragraphs import packed

MARKDOWNISH = st.lists(
    st.sampled_from(
        [
            "# One",
            "## Two ##",
            "Title\n===",
            "under\n---",
            "```",
            "~~~",
            "- item",
            "words and more words.",
            "",
            "",
            "    code",
            "---",
            "#",
            "\t",
            "\r",
            "Ünïcode 文書。次",
            "# in code?",
        ]
    ),
    max_size=40,
).map("\n".join)
PYTHONISH = st.lists(
    st.sampled_from(
        [
            "def f(x):\n    return x",
            "class A:\n    '''Doc.'''\n\n    def m(self):\n        pass\n\n    x = 1",
            "# comment",
            "x = 1",
            "@decorated\ndef g(): pass",
            "",
            "",
            "async def h():\n    '''é'''",
            "a = 1; b = 2",
            "if x:\n    def inner(): pass",
            "\x0c",
        ]
    ),
    max_size=30,
).map("\n".join)


def check(text: str, chunks: list[Chunk], target: int) -> None:
    last = 0
    for chunk in chunks:
        assert chunk.content == text[chunk.start : chunk.end]
        assert chunk.content == chunk.content.strip() != ""
        assert text[last : chunk.start].strip() == "", "only white space may be left out"
        assert len(chunk.content) <= target
        assert chunk.title
        last = chunk.end
    assert text[last:].strip() == ""


@given(st.text(alphabet=st.sampled_from("ab .!?\n\r\t。é\u2028"), max_size=400), st.integers(1, 60))
def test_text_is_cut_without_loss(text: str, target: int) -> None:
    check(text, formats.cut(text, "a/notes.txt", target), target)


@given(MARKDOWNISH, st.integers(10, 200))
def test_markdown_is_cut_without_loss(text: str, target: int) -> None:
    check(text, formats.cut(text, "notes.md", target), target)


@given(PYTHONISH, st.integers(10, 200), st.sampled_from(["\n", "\r\n", "\r"]))
def test_python_is_cut_without_loss(text: str, target: int, newline: str) -> None:
    text = text.replace("\n", newline)
    check(text, formats.cut(text, "module.py", target), target)


def test_paragraphs_are_packed_up_to_the_target() -> None:
    text = "aaaa\n\nbbbb\n  \ncccc\n\ndddddddddddd"
    assert [text[a:b] for a, b in packed(text, 0, len(text), 12)] == ["aaaa\n\nbbbb", "cccc", "dddddddddddd"]


def test_a_long_paragraph_is_cut_after_a_sentence_then_at_a_space_then_anywhere() -> None:
    text = "One is here. Two is there. Three"
    assert [text[a:b] for a, b in packed(text, 0, len(text), 26)] == ["One is here. Two is there.", "Three"]
    text = "one two three four"
    assert [text[a:b] for a, b in packed(text, 0, len(text), 9)] == ["one two", "three", "four"]
    assert packed("x" * 10, 0, 10, 4) == [(0, 4), (4, 8), (8, 10)]


def titles(chunks: list[Chunk]) -> list[str]:
    return [chunk.title for chunk in chunks]


def test_markdown_titles_are_the_path_of_headings() -> None:
    text = """---
title: front matter
---
Before.

# Guide

Intro.

## Install ##

Steps.

```
# not a heading
```

Setext too
----------
Text.

# Other
#### Deep
Body.
"""
    chunks = formats.cut(text, "docs/guide.md", 500)
    assert titles(chunks) == ["guide.md", "Guide", "Guide > Install", "Guide > Setext too", "Other > Deep"]
    assert "# not a heading" in chunks[2].content
    assert chunks[4].content.startswith("# Other\n#### Deep"), "a heading without a body goes with the next"


def test_markdown_keeps_a_heading_at_the_very_end() -> None:
    assert titles(formats.cut("# A\n\ntext\n\n# B\n", "x.md", 100)) == ["A", "B"]


@pytest.mark.parametrize(
    "text", ["####### seven", "#none", "- a\n---", "> q\n---", "a\n\n---", "```\n# x", "    # code"]
)
def test_what_is_no_heading(text: str) -> None:
    assert set(titles(formats.cut(text, "x.md", 100))) == {"x.md"}


def test_python_is_cut_at_definitions() -> None:
    text = '''"""What this module is for."""

import os

X = 1


# Above f.
@cache
def f(x):
    """Doc."""
    return x


class Small:
    y = 1


if X:
    def inner(): pass
'''
    chunks = formats.cut(text, "pkg/mod.py", 500)
    assert [(c.title, c.kind) for c in chunks] == [
        ("mod.py", "module"), ("f", "function"), ("Small", "class"), ("mod.py", "module"),
    ]  # fmt: skip
    assert chunks[1].content.startswith("# Above f.\n@cache\ndef f")


def test_a_large_class_is_cut_at_its_methods() -> None:
    text = 'class Big:\n    """Doc of the class."""\n\n    def one(self):\n        return 1\n'
    text += "\n    def two(self):\n        return 2\n"
    chunks = formats.cut(text, "m.py", 60)
    assert [(c.title, c.kind) for c in chunks] == [("Big", "class"), ("Big.one", "method"), ("Big.two", "method")]


def test_offsets_are_characters_not_bytes() -> None:
    text = '"""Größe"""\ndef f(): return "é"\n\n\ndef g(): pass\n'
    chunks = formats.cut(text, "m.py", 100)
    assert [c.content for c in chunks] == ['"""Größe"""', 'def f(): return "é"', "def g(): pass"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["def broken(:\n    pass", "print 'old'", "x = (" + "(" * 5000, "\\"])
def test_what_is_not_python_is_cut_as_text(text: str) -> None:
    assert {c.kind for c in formats.cut(text, "m.py", 100)} == {"text"}


def test_a_doubtful_escape_in_python_is_not_ours_to_complain_about() -> None:
    assert titles(formats.cut('def f(): return "\\d"', "m.py", 100)) == ["f"]


def test_decoding() -> None:
    assert formats.decoded("\ufeffgrün".encode(), "a.txt") == "grün"
    assert formats.decoded("# -*- coding: latin-1 -*-\nx = 'ü'".encode("latin-1"), "a.py").endswith("'ü'")
    assert formats.decoded(b"a\r\nb", "a.txt") == "a\r\nb", "offsets count what is there"


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        (b"\x89PNG\x00", "a.txt", "binary"),
        (b"caf\xe9", "a.md", "not utf-8.* at byte 3"),
        (b"# coding: nonsense\n", "a.py", "unknown encoding"),
        (b"# coding: rot13\n", "a.py", "none of text"),
        ("a".encode("utf-16"), "a.txt", "not utf-8|binary"),
    ],
)
def test_what_is_not_text_is_refused(data: bytes, path: str, reason: str) -> None:
    with pytest.raises(formats.NotText, match=reason):
        formats.decoded(data, path)


def test_meta_and_the_text_to_embed() -> None:
    chunk = Chunk("content", 3, 10, "Guide > Part", "section")
    assert chunk_meta(chunk, "a/b.md", "docs") == {
        "path": "a/b.md", "root": "docs", "md5": "9a0364b9e99bb480dd25e1f0284c8555", "start": 3, "end": 10,
        "title": "Guide > Part", "tags": ["section"],
    }  # fmt: skip
    assert embedded_text(chunk) == "Guide > Part\ncontent"
    assert embedded_text(chunk._replace(title="content")) == "content"
