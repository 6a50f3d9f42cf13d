"""Python source, cut at its top-level definitions: module head, functions, classes. Parsed, never run. Pure.

A class longer than the target is cut between its methods, a long function between its paragraphs. Comments directly
above a definition belong to it. What Python cannot parse is cut as text.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

from connector.ingest.chunks import Span
from connector.ingest.paragraphs import packed, text_spans

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def python_spans(text: str, name: str, target: int) -> list[Span]:
    """name: of the file. Titles are qualified names; the module's own parts are called `name`."""
    tree = parsed(text)
    if tree is None:
        return text_spans(text, name, target)
    return list(_body(text, Lines(text), tree.body, (0, len(text)), name, "module", "", target))


def parsed(text: str) -> ast.Module | None:
    """None: this is not Python as the running version knows it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the source does; it is not ours to mend
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last: nested too deeply, as documented
        return None


class Lines:
    """Where the lines of a text begin: after LF, CRLF or CR, as Python's own parser counts them."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
        self._text = text

    def start(self, number: int) -> int:
        """Offset where line `number` (from 1) begins; the end of the text for the line past the last."""
        return self._starts[number - 1] if number <= len(self._starts) else len(self._text)

    def is_comment(self, number: int) -> bool:
        return number >= 1 and self._text[self.start(number) : self.start(number + 1)].lstrip().startswith("#")


def _body(
    text: str,
    lines: Lines,
    statements: Sequence[ast.stmt],
    bounds: tuple[int, int],
    title: str,
    kind: str,
    prefix: str,
    target: int,
) -> Iterator[Span]:
    """The whole of `bounds` in spans: definitions, and what stands between them under `title`."""
    done = bounds[0]
    for node in statements:
        if not isinstance(node, _Definition):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        while lines.is_comment(first - 1) and lines.start(first - 1) >= done:
            first -= 1
        begin, end = lines.start(first), min(lines.start((node.end_lineno or node.lineno) + 1), bounds[1])
        if begin < done:  # shares its line with what came before
            continue
        yield from (Span(a, b, title, kind) for a, b in packed(text, done, begin, target))
        yield from _definition(text, lines, node, (begin, end), prefix, target)
        done = end
    yield from (Span(a, b, title, kind) for a, b in packed(text, done, bounds[1], target))


def _definition(
    text: str, lines: Lines, node: _Definition, bounds: tuple[int, int], prefix: str, target: int
) -> Iterator[Span]:
    name = f"{prefix}{node.name}"
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if prefix else "function"
    if bounds[1] - bounds[0] > target and isinstance(node, ast.ClassDef):
        yield from _body(text, lines, node.body, bounds, name, kind, f"{name}.", target)
    else:
        yield from (Span(a, b, name, kind) for a, b in packed(text, *bounds, target))
