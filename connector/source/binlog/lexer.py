"""SQL text as tokens, just well enough to see what a statement in the log does and to which tables. Pure.

Comments are dropped, except that executable ones (`/*! ... */`, `/*M! ... */`) count as text, as they do for the
server that wrote them. Identifiers lose their quotes, string literals keep their kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_SKIP = re.compile(
    r"\s+ | --(?=\s|\Z)[^\n]* | \#[^\n]* | /\*M?!\d* | \*/ | /\*(?!M?!).*?(?:\*/|\Z)",
    re.VERBOSE | re.DOTALL,
)
_WORD = re.compile(r"[A-Za-z0-9_$\u0080-\U0010ffff]+")


class Token(NamedTuple):
    """kind: "word" (bare), "name" (quoted identifier), "text" (string literal), "hex" (X'..' or 0x..), or "sign"."""

    kind: str
    value: str

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords (upper case)."""
        return self.kind == "word" and self.value.upper() in words


def tokens(sql: str, *, ansi_quotes: bool = False, backslash_escapes: bool = True) -> Iterator[Token]:
    """Lazily: whoever needs only the first words of a long statement pays only for those."""
    pos, end = 0, len(sql)
    while pos < end:
        skipped = _SKIP.match(sql, pos)
        if skipped is not None:
            pos = skipped.end()
            continue
        char = sql[pos]
        if char in "`\"'":
            value, pos = _quoted(sql, pos, backslash_escapes and not (char == "`" or (char == '"' and ansi_quotes)))
            yield Token("name" if char == "`" or (char == '"' and ansi_quotes) else "text", value)
        elif char in "xX" and sql[pos + 1 : pos + 2] == "'":
            value, pos = _quoted(sql, pos + 1, False)
            yield Token("hex", value)
        elif (word := _WORD.match(sql, pos)) is not None:
            pos = word.end()
            value = word.group()
            yield Token("hex", value[2:]) if re.fullmatch("0x[0-9a-fA-F]+", value) else Token("word", value)
        else:
            pos += 1
            yield Token("sign", char)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


def _quoted(sql: str, pos: int, escapes: bool) -> tuple[str, int]:
    """Content of the quoted piece that begins at `pos`, and the position after it."""
    quote = sql[pos]
    value: list[str] = []
    pos += 1
    while pos < len(sql):
        char = sql[pos]
        if char == quote:
            if sql[pos + 1 : pos + 2] != quote:
                return "".join(value), pos + 1
            pos += 1
        elif char == "\\" and escapes and pos + 1 < len(sql):
            pos += 1
            char = _ESCAPES.get(sql[pos], sql[pos])
        value.append(char)
        pos += 1
    return "".join(value), pos
