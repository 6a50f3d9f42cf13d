"""The command `vecsync`: one module per noun, and no logic in any of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import takewhile

from typer.exceptions import TyperException

from connector.cli.app import paths, program
from connector.cli.failures import INTERRUPTED, report
from connector.cli.nearest import nearest

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
        meant = nearest(_words(ordered), paths()) if isinstance(error, TyperException) else []
        return report(error, debug="--debug" in ordered, meant=meant)
    if result == INTERRUPTED:  # Typer takes Ctrl+C for itself, and says nothing
        return report(KeyboardInterrupt(), debug=False)
    return result if isinstance(result, int) else 0


def _words(ordered: Sequence[str]) -> list[str]:
    """What may name a command: all before the first option, once the global ones are passed."""
    left = list(ordered)
    while left and (name := left[0].partition("=")[0]) in _ANYWHERE:
        del left[: 1 if "=" in left[0] else 1 + _ANYWHERE[name]]
    return list(takewhile(lambda word: not word.startswith("-"), left))


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
