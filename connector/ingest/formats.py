"""Which files are understood, and how each is decoded and cut. Pure.

Must never guess: bytes that are not text in the encoding the format has are refused.
"""

from __future__ import annotations

import codecs
import io
import tokenize
from collections.abc import Callable
from pathlib import PurePosixPath

from connector.ingest.chunks import Chunk, Span, chunks_of
from connector.ingest.markdown import markdown_spans
from connector.ingest.paragraphs import text_spans
from connector.ingest.python_source import python_spans

Cutter = Callable[[str, str, int], list[Span]]

_CUTTERS: dict[str, Cutter] = {
    ".txt": text_spans,
    ".rst": text_spans,
    ".md": markdown_spans,
    ".py": python_spans,
}

SUFFIXES = tuple(sorted(_CUTTERS))


class NotText(ValueError):
    """The bytes cannot be read as text; the message says why. Never leaves this package."""


def suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def decoded(data: bytes, path: str) -> str:
    """UTF-8 with or without a byte order mark; Python files in the encoding that they declare. Raises NotText."""
    encoding = "utf-8-sig"
    if suffix(path) == ".py":
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        except SyntaxError as error:
            raise NotText(str(error)) from error
    if b"\0" in data and codecs.lookup(encoding).name.startswith("utf-8"):
        raise NotText("is a binary file: it has a zero byte")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotText(f"is not {error.encoding}: {error.reason} at byte {error.start}") from error
    except LookupError as error:  # a codec of Python's that gives no text
        raise NotText(f"declares the encoding {encoding!r}, which is none of text") from error
    if "\0" in text:
        raise NotText("is a binary file: it has a zero character")
    return text


def cut(text: str, path: str, target: int) -> list[Chunk]:
    """The chunks of a file's text; path decides the format, and must have one of SUFFIXES."""
    return chunks_of(text, _CUTTERS[suffix(path)](text, PurePosixPath(path).name, target))
