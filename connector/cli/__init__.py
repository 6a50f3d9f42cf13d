"""The command `vecsync`: one module per noun, and no logic in any of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from connector.cli.app import program
from connector.cli.failures import INTERRUPTED, report

__all__ = ["main"]

_ANYWHERE = {"--config": 1, "--debug": 0}


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Ends the process with the documented exit code."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: Sequence[str]) -> int:
    """One command line; returns its exit code. Never a traceback, unless --debug asks for it."""
    ordered = globals_first(arguments)
    try:
        result = program().main(ordered, prog_name="vecsync", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  the one place where every error ends
        return report(error, debug="--debug" in ordered)
    if result == INTERRUPTED:  # Typer takes Ctrl+C for itself, and says nothing
        return report(KeyboardInterrupt(), debug=False)
    return result if isinstance(result, int) else 0


def globals_first(arguments: Sequence[str]) -> list[str]:
    """The options that belong to every command may stand anywhere before a `--`; they are read first."""
    first: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        name, equals, _ = word.partition("=")
        if word == "--":
            return [*first, *rest, word, *left]
        if name in _ANYWHERE:
            first.append(word)
            if _ANYWHERE[name] and not equals:
                first.extend(left[:1])
                del left[:1]
        else:
            rest.append(word)
    return first + rest
