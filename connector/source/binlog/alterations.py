"""What ALTER TABLE does to rows that are there already: nothing in the log shows it. Pure.

Only names and the words around them are looked at. Where that leaves a doubt the answer is that values may have
changed, never that they have not: whoever reads the log can read the rows again, and cannot know what it was not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from connector.source.binlog.lexer import Token


class ColumnChange(NamedTuple):
    """name: in lower case. to: the type, in upper case, of a column that stays and has its values converted to it;
    None: it came, went, was renamed, or is computed from now on. gone: there is none of this name afterwards."""

    name: str
    to: str | None = None
    gone: bool = False


class Altered(NamedTuple):
    """renamed_to, others: (database or empty, table), of the table itself, and of those that it exchanges rows with.
    moves_rows: of a partition or a tablespace, out of the table or into it."""

    columns: tuple[ColumnChange, ...] = ()
    converts: bool = False
    relates: bool = False
    moves_rows: bool = False
    renamed_to: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, str], ...] = ()


# Followed by PARTITION, TABLE or TABLESPACE they take rows away, or bring others in.
_PARTITION_VERBS = ("DROP", "TRUNCATE", "EXCHANGE", "CONVERT", "DISCARD", "IMPORT")
_NO_COLUMN = (
    "INDEX KEY FULLTEXT SPATIAL UNIQUE PRIMARY FOREIGN CONSTRAINT CHECK PARTITION VECTOR PERIOD SYSTEM".split()
)  # what ADD and DROP may be about besides columns


def alterations(tokens: Sequence[Token]) -> Altered:
    """tokens: of ALTER TABLE, behind the name of the table."""
    changes: list[ColumnChange] = []
    for clause in _split(tokens):
        changes += _columns(clause)
    there = {change.name for change in changes if not change.gone}
    moves, renamed_to, others = _whole(tokens)
    return Altered(
        tuple(change for change in changes if not (change.gone and change.name in there)),
        _has(tokens, "CONVERT", "TO"),
        any(token.is_word("REFERENCES") for token in tokens)
        or _has(tokens, "DROP", "FOREIGN")
        or _has(tokens, "DROP", "CONSTRAINT"),
        moves,
        renamed_to,
        others,
    )


def cascades_from(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Of a CREATE TABLE: tables that it refers to with ON DELETE CASCADE, without their databases."""
    found = []
    for clause in _split(tokens, depth=1):
        at = next((n for n, token in enumerate(clause) if token.is_word("REFERENCES")), None)
        if at is None or not _has(clause[at:], "ON", "DELETE", "CASCADE"):
            continue
        name = _table(clause[at + 1 :])
        found += [name[1]] if name is not None else []
    return tuple(found)


def _has(tokens: Sequence[Token], *words: str) -> bool:
    """Whether these words stand there one after the other."""
    size = len(words)
    return any(
        all(token.is_word(word) for token, word in zip(tokens[at : at + size], words, strict=True))
        for at in range(len(tokens) - size + 1)
    )


def _split(tokens: Sequence[Token], depth: int = 0) -> Iterator[list[Token]]:
    """Clauses: what stands between commas at that depth of parentheses, or less."""
    clause: list[Token] = []
    level = 0
    for token in tokens:
        if token.kind == "sign":
            level += (token.value == "(") - (token.value == ")")
            if token.value == "," and level <= depth:
                yield clause
                clause = []
                continue
        clause.append(token)
    yield clause


def _columns(clause: list[Token]) -> Iterator[ColumnChange]:
    if not clause or not clause[0].is_word("ADD", "DROP", "CHANGE", "MODIFY", "RENAME"):
        return
    verb, rest = clause[0].value.upper(), clause[1:]
    explicit = bool(rest) and rest[0].is_word("COLUMN")
    if explicit:
        rest = rest[1:]
    elif verb == "RENAME" or (verb in ("ADD", "DROP") and rest and rest[0].is_word(*_NO_COLUMN)):
        return
    if rest and rest[0].is_word("IF"):
        rest = rest[3:] if _has(rest[:3], "IF", "NOT", "EXISTS") else rest[2:]
    if not rest:
        return
    if verb == "ADD":
        definitions = _split(rest[1:]) if rest[0] == Token("sign", "(") else iter([rest])
        yield from (ColumnChange(found[0].value.lower()) for found in definitions if found)
    elif verb == "DROP":
        yield ColumnChange(rest[0].value.lower(), gone=True)
    elif verb == "RENAME" and len(rest) > 2:
        yield ColumnChange(rest[0].value.lower(), gone=True)
        yield ColumnChange(rest[2].value.lower())
    elif verb == "MODIFY":
        yield _converted(rest[0], rest[1:])
    elif verb == "CHANGE" and len(rest) > 1:
        if rest[0].value.lower() == rest[1].value.lower():
            yield _converted(rest[1], rest[2:])
        else:
            yield ColumnChange(rest[0].value.lower(), gone=True)
            yield ColumnChange(rest[1].value.lower())


def _converted(name: Token, definition: list[Token]) -> ColumnChange:
    computed = any(token.is_word("AS") for token in definition)
    to = definition[0].value.upper() if definition and not computed else None
    return ColumnChange(name.value.lower(), to)


def _whole(
    tokens: Sequence[Token],
) -> tuple[bool, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """(moves_rows, renamed_to, others)."""
    moves, renamed_to, others, depth = False, list[tuple[str, str]](), list[tuple[str, str]](), 0
    for at, token in enumerate(tokens[:-1]):
        following = tokens[at + 1]
        if token.kind == "sign":
            depth += (token.value == "(") - (token.value == ")")
        elif depth or token.kind != "word":
            continue
        elif token.is_word(*_PARTITION_VERBS) and following.is_word("PARTITION", "TABLE", "TABLESPACE"):
            moves = True
        elif token.is_word("RENAME") and not following.is_word("COLUMN", "INDEX", "KEY"):
            skipped = following.is_word("TO", "AS") or following == Token("sign", "=")
            renamed_to += _tables(tokens[at + 1 + skipped :])
        if token.is_word("WITH", "TO", "CONVERT") and following.is_word("TABLE"):
            others += _tables(tokens[at + 2 :])
    return moves, tuple(renamed_to[-1:]), tuple(others)


def _tables(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    found = _table(tokens)
    return [] if found is None else [found]


def _table(tokens: Sequence[Token]) -> tuple[str, str] | None:
    """(database or empty, table) at the beginning of these."""
    if not tokens:
        return None
    if len(tokens) > 2 and tokens[1] == Token("sign", "."):
        return tokens[0].value, tokens[2].value
    return "", tokens[0].value
