"""How a command ends: errors become a line, a hint and the documented exit code; a traceback only when asked for.

0 done   1 unexpected   2 usage   3 configuration   4 preflight refused   5 difference found by verify
6 a server cannot be reached   7 data refused   130 interrupted   141 the reader of the output went away
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from rich.markup import escape
from typer.exceptions import TyperException

from connector.cli.output import err
from connector.errors import VecsyncError

INTERRUPTED = 130
OUTPUT_CLOSED = 141  # what a shell shows for a program that SIGPIPE ended

EXIT_CODES = {
    0: "done",
    1: "unexpected; a mistake in the connector",
    2: "usage: there is no such command, option or thing",
    3: "configuration",
    4: "preflight refused",
    5: "a difference was found",
    6: "a server cannot be reached",
    7: "data refused: going on would lose or reorder a row",
    INTERRUPTED: "interrupted",
    OUTPUT_CLOSED: "the program that read the output went away",
}


class OutputClosed(Exception):
    """The program that read our output went away."""


def report(error: BaseException, *, debug: bool, meant: Sequence[str] = ()) -> int:
    """Prints the error for a person; returns the exit code. meant: commands like one that does not exist."""
    if isinstance(error, OutputClosed | BrokenPipeError):
        # What is still buffered has no reader; Python would complain about it when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    if isinstance(error, KeyboardInterrupt):
        err().print("[dim]interrupted[/dim]")
        return INTERRUPTED
    if debug and not isinstance(error, TyperException):
        sys.stderr.write("".join(traceback.format_exception(error)))
    if isinstance(error, VecsyncError):
        _lines(str(error), error.hint)
        return error.exit_code
    if isinstance(error, TyperException):
        if not error.format_message():  # a group without a command: its help was printed already
            return error.exit_code
        _lines(error.format_message(), _usage_hint(error, meant))
        return error.exit_code
    _lines(
        f"unexpected: {type(error).__name__}: {error}",
        "This is a mistake in the connector." + ("" if debug else " Run it again with --debug to see where."),
    )
    return 1


def _usage_hint(error: TyperException, meant: Sequence[str]) -> str:
    if meant:
        return f"Did you mean {' or '.join(f'`vecsync {words}`' for words in meant)}?"
    context = getattr(error, "ctx", None)
    return f"Try `{context.command_path} --help`." if context is not None else "Add --help to see what there is."


def _lines(message: str, hint: str) -> None:
    console = err()
    console.print(f"[bold red]error:[/] {escape(message)}")
    if hint:
        console.print(f"[bold cyan]hint:[/]  {escape(hint)}")
