"""Text typed by a person, and FTS5's own query syntax, into something FTS5 takes. Pure.

Plain text can never be an error: its words are quoted and joined by OR. FTS5 syntax is checked here, by the grammar of
https://www.sqlite.org/fts5.html section 3, because its own messages name no position.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import NamedTuple

from connector.errors import QuerySyntax

# Plain text may be a whole pasted page: more words than this say nothing new, and each costs a look into the index.
MOST_WORDS = 256
_DEEPEST = 50  # parentheses; FTS5's parser has a fixed stack


def plain_words(text: str) -> list[str]:
    """The words of a text that a person typed, each once; none, when there are none.

    Punctuation parts words, as it does in the index: `content-type` is two words, either of which will do.
    """
    words: dict[str, None] = {}
    for word in "".join(c if _in_word(c) else " " for c in text).split():
        if any(c.isalnum() for c in word):
            words.setdefault(word.casefold())
        if len(words) == MOST_WORDS:
            break
    return list(words)


def any_of(words: Sequence[str]) -> str:
    """An FTS5 expression that finds documents whose content has any of the words. There must be one."""
    return "content : (" + " OR ".join(f'"{word}"' for word in words) + ")"


def _in_word(character: str) -> bool:
    """Letters, digits and the marks that combine with them; what FTS5 parts in spite of it becomes a phrase."""
    return character.isalnum() or unicodedata.category(character)[0] == "M"


class _Token(NamedTuple):
    kind: str  # one of `(){}:,+*-^`, `AND`, `OR`, `NOT`, `text`, or "" at the end
    text: str
    position: int  # in characters, from 0


_SPACE = " \t\n\r"
_BARE = re.compile(r"[A-Za-z0-9_\x1a\u0080-\U0010ffff]+")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def check_fts5(query: str, columns: Collection[str]) -> None:
    """Raises QuerySyntax, with the position, unless FTS5 takes the query for a table with these columns."""
    _Parser(_tokens(query), {column.lower() for column in columns}, tuple(columns)).whole()


def _tokens(query: str) -> list[_Token]:
    tokens = []
    at = 0
    while at < len(query):
        if query[at] in _SPACE:
            at += 1
            continue
        if query[at] in "(){}:,+*-^":
            token = _Token(query[at], query[at], at)
        elif match := _BARE.match(query, at):
            word = match[0]
            token = _Token(word if word in ("AND", "OR", "NOT") else "text", word, at)
        elif match := _QUOTED.match(query, at):
            token = _Token("text", match[0], at)
        elif query[at] == '"':
            raise QuerySyntax("a quotation mark that is not closed", at)
        else:
            raise QuerySyntax(f"{query[at]!r} has no meaning outside of quotation marks", at)
        tokens.append(token)
        at += len(token.text)
    return [*tokens, _Token("", "the end", len(query))]


class _Parser:
    """Recursive descent; each method takes what its name says, or raises."""

    def __init__(self, tokens: list[_Token], known: set[str], columns: tuple[str, ...]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0
        self._known, self._columns = known, columns

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _is(self, *kinds: str) -> bool:
        """Whether the next tokens are of these kinds."""
        return tuple(token.kind for token in self._tokens[self._at : self._at + len(kinds)]) == kinds

    def _take(self, kind: str, wanted: str) -> _Token:
        token = self._next
        if token.kind != kind:
            raise QuerySyntax(f"{wanted} is missing before {_shown(token)}", token.position)
        self._at += 1
        return token

    def _maybe(self, kind: str) -> bool:
        if self._next.kind != kind:
            return False
        self._at += 1
        return True

    def whole(self) -> None:
        if self._next.kind == "":
            raise QuerySyntax("the query is empty", 0)
        self._expression()
        if self._next.kind != "":
            raise QuerySyntax(f"{_shown(self._next)} is not expected here", self._next.position)

    def _expression(self) -> None:
        self._operand()
        while self._next.kind in ("AND", "OR", "NOT"):
            self._at += 1
            self._operand()

    def _operand(self) -> None:
        if self._next.kind == "(":
            self._parenthesised()
            return
        self._near_set(first=True)
        while self._next.kind in ("text", "^", "-", "{"):
            self._near_set(first=False)

    def _parenthesised(self) -> None:
        opening = self._take("(", "'('")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise QuerySyntax(f"more than {_DEEPEST} parentheses inside one another", opening.position)
        self._expression()
        if not self._maybe(")"):
            if self._next.kind == "":
                raise QuerySyntax("a parenthesis that is not closed", opening.position)
            raise QuerySyntax(f"{_shown(self._next)} is not expected here", self._next.position)
        self._depth -= 1

    def _near_set(self, *, first: bool) -> None:
        """A phrase or NEAR group, perhaps of certain columns; at the beginning of an operand also columns: (...)."""
        if self._next.kind in ("-", "{") or self._is("text", ":"):
            self._column_set()
            self._take(":", "':'")
            if first and self._next.kind == "(":
                self._parenthesised()
                if self._next.kind in ("text", "^", "-", "{"):
                    raise QuerySyntax(f"an operator is missing before {_shown(self._next)}", self._next.position)
                return
        if self._maybe("^"):
            self._phrase()
        elif self._is("text", "(") and self._next.text == "NEAR":
            self._at += 2
            self._phrase()
            while self._next.kind == "text":
                self._phrase()
            if self._maybe(","):
                distance = self._take("text", "the distance")
                if not re.fullmatch("[0-9]+", distance.text):
                    raise QuerySyntax(f"{distance.text} is not a distance", distance.position)
            self._take(")", "')'")
        else:
            self._phrase()

    def _column_set(self) -> None:
        self._maybe("-")
        if self._maybe("{"):
            self._column()
            while not self._maybe("}"):
                self._column()
        else:
            self._column()

    def _column(self) -> None:
        token = self._take("text", "the name of a column")
        name = token.text[1:-1].replace('""', '"') if token.text.startswith('"') else token.text
        if name.lower() not in self._known:
            raise QuerySyntax(f"there is no column {name!r}; there is {', '.join(self._columns)}", token.position)

    def _phrase(self) -> None:
        self._take("text", "a word")
        self._maybe("*")
        while self._maybe("+"):
            self._take("text", "a word")
            self._maybe("*")


def _shown(token: _Token) -> str:
    return token.text if token.kind == "" else repr(token.text)
