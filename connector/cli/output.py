"""What is printed: tables and text for people, JSON for programs. Data goes to stdout, everything else to stderr.

Must never decide anything, and never print a secret. Colours only on a terminal, and not with NO_COLOR.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

_REDIRECTED = 160  # columns


class Terminal(Console):
    """Tells the caller when the reader went away, where Rich would end the process itself."""

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        raise BrokenPipeError


def out() -> Terminal:
    """For data. Not cached: tests replace sys.stdout. Redirected it is wide, unless COLUMNS says otherwise."""
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _REDIRECTED
    return Terminal(file=sys.stdout, highlight=False, soft_wrap=False, width=wide)


def err() -> Terminal:
    """For errors, hints, progress."""
    return Terminal(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """One document, indented. Text stays readable in every script."""
    print_line(json.dumps(data, ensure_ascii=False, indent=2))


def print_json_line(data: Any) -> None:
    """One document on one line, at once: a follower shows what comes when it comes."""
    print_line(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, numbers: Sequence[str] = ()) -> Table:
    """Plain columns without a frame. numbers: the columns that are set flush right."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in columns:
        right = name in numbers
        made.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def facts(pairs: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values, one a line."""
    made = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    return made


def count(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`, `3 entries`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} " + (f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s")


def size(number: float) -> str:
    """Bytes for people: `812 B`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """`0.4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
