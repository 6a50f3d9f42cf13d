"""Running text, cut between paragraphs. Pure."""

from __future__ import annotations

import re
from itertools import pairwise

from connector.ingest.chunks import Span, trimmed

_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_SENTENCE_END = re.compile(r"[.!?…][\"')\]»”]*(?=\s)|[。！？]")


def text_spans(text: str, name: str, target: int) -> list[Span]:
    """name: of the file, which is all there is for a title."""
    return [Span(start, end, name, "text") for start, end in packed(text, 0, len(text), target)]


def packed(text: str, start: int, end: int, target: int) -> list[tuple[int, int]]:
    """Cuts text[start:end] between paragraphs into parts of at most `target` characters each, as few as a greedy
    walk finds; a longer paragraph is cut after a sentence, else at white space, else anywhere.

    The parts are in order, do not overlap, and leave out nothing but white space.
    """
    borders = [start, *(match.end() for match in _BLANK_LINES.finditer(text, start, end)), end]
    parts: list[tuple[int, int]] = []
    current: tuple[int, int] | None = None
    for begin, finish in (trimmed(text, *border) for border in pairwise(borders)):
        if begin == finish:
            continue
        if current is not None and finish - current[0] <= target:
            current = (current[0], finish)
            continue
        if current is not None:
            parts.append(current)
        *full, current = _cut(text, begin, finish, target)
        parts.extend(full)
    if current is not None:
        parts.append(current)
    return parts


def _cut(text: str, start: int, end: int, target: int) -> list[tuple[int, int]]:
    """A paragraph in parts of at most `target`; at least one, and none is empty."""
    parts = []
    while end - start > target:
        # A part shorter than half of what it aims at would say too little: rather cut a sentence than that.
        least, limit = start + (target + 1) // 2, start + target
        sentences = [match.end() for match in _SENTENCE_END.finditer(text, least, limit + 1)]
        spaces = [match.start() for match in re.finditer(r"\s", text[least : limit + 1])]
        if sentences and sentences[-1] <= limit:
            cut = sentences[-1]
        elif spaces:
            cut = least + spaces[-1]
        else:
            cut = limit
        parts.append(trimmed(text, start, cut))
        start, end = trimmed(text, cut, end)
    parts.append((start, end))
    return parts
