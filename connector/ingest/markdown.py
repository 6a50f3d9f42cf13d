"""Markdown, cut at its headings: a chunk's title is the path of headings above it. Pure.

Knows ATX and setext headings, fenced code (whose lines are never headings) and front matter, as CommonMark has them.
A section longer than the target is cut between its paragraphs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from connector.ingest.chunks import Span, trimmed
from connector.ingest.paragraphs import packed

_LINE = re.compile(r"[^\n]*\n?")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\r?\n?$")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*\r?\n?$")
_NOT_A_PARAGRAPH = re.compile(r"[ ]{0,3}(?:[-*+>|]|\d+[.)])(?:\s|$)|\t| {4}")
PATH_SEPARATOR = " > "


def markdown_spans(text: str, name: str, target: int) -> list[Span]:
    """name: of the file; the title of what stands above the first heading."""
    headings = _headings(text)
    ends = [heading.start for heading in headings[1:]] + [len(text)]
    spans = [
        Span(a, b, name, "section") for a, b in packed(text, 0, headings[0].start if headings else len(text), target)
    ]
    path: list[_Heading] = []
    waiting: int | None = None  # where headings begin that have nothing below them but the next heading
    for heading, end in zip(headings, ends, strict=False):
        path = [*(part for part in path if part.level < heading.level), heading]
        begin = heading.start if waiting is None else waiting
        first, last = trimmed(text, heading.body, end)
        if first == last and end < len(text):
            waiting = begin
            continue
        waiting = None
        title = PATH_SEPARATOR.join(part.text for part in path if part.text) or name
        spans.extend(Span(a, b, title, "section") for a, b in packed(text, begin, end, target))
    return spans


class _Heading(NamedTuple):
    start: int
    body: int  # where what it heads begins
    level: int
    text: str


def _headings(text: str) -> list[_Heading]:
    found: list[_Heading] = []
    fence = ""
    paragraph: int | None = None  # where the paragraph begins that the present line may underline
    at = _after_front_matter(text)
    while at < len(text):
        line = _LINE.match(text, at)[0]  # type: ignore[index]  # matches everywhere
        after = at + len(line)
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and line.strip() == mark[1]:
                fence = ""
            paragraph = None
        elif mark:
            fence = mark[1]
            paragraph = None
        elif heading := _ATX.match(line):
            found.append(_Heading(at, after, len(heading[1]), (heading[2] or "").strip("# \t")))
            paragraph = None
        elif paragraph is not None and (underline := _SETEXT.match(line)):
            title = " ".join(text[paragraph:at].split())
            found.append(_Heading(paragraph, after, 1 if underline[1][0] == "=" else 2, title))
            paragraph = None
        elif not line.strip() or (paragraph is None and _NOT_A_PARAGRAPH.match(line)):
            paragraph = None
        elif paragraph is None:
            paragraph = at
        at = after
    return found


def _after_front_matter(text: str) -> int:
    """Where the document proper begins, behind a block between two lines of `---` at the very top."""
    match = re.match(r"---[ \t]*\r?\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\r?\n|$)", text)
    return match.end() if match else 0
