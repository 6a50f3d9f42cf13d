"""What a text is cut into, and what is kept of each part. Pure.

A chunk's content is always an exact slice of the text it came from: `content == text[start:end]`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Span(NamedTuple):
    """A part of a text, offsets in characters, and what it is about."""

    start: int
    end: int
    title: str
    kind: str


class Chunk(NamedTuple):
    """start, end: where the content stands in the text, in characters. kind: what it is (`text`, `function`, ...)."""

    content: str
    start: int
    end: int
    title: str
    kind: str


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends; empty when there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def chunks_of(text: str, spans: Iterable[Span]) -> list[Chunk]:
    """The spans as chunks, without white space around them; what is only white space is left out."""
    found = []
    for span in spans:
        start, end = trimmed(text, span.start, span.end)
        if start < end:
            found.append(Chunk(text[start:end], start, end, span.title, span.kind))
    return found


def chunk_id(path: str, number: int) -> str:
    """The document's id. number: of the chunk in its file, from 0."""
    return f"{path}#{number}"


def chunk_meta(chunk: Chunk, path: str, root: str) -> dict[str, object]:
    """What is kept beside the content. md5: of the content's UTF-8, to tell whether it changed."""
    return {
        "path": path,
        "root": root,
        "md5": hashlib.md5(chunk.content.encode(), usedforsecurity=False).hexdigest(),
        "start": chunk.start,
        "end": chunk.end,
        "title": chunk.title,
        "tags": [chunk.kind],
    }


def meta_text(meta: Mapping[str, object]) -> str:
    return json.dumps(meta, ensure_ascii=False)


def embedded_text(chunk: Chunk) -> str:
    """What the vector is made of: the title helps where the content does not have it."""
    return chunk.content if chunk.title in chunk.content else f"{chunk.title}\n{chunk.content}"
