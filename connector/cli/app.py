"""The tree of commands and the options that stand before all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from connector import __version__
from connector.cli.failures import OutputClosed
from connector.cli.options import Invocation
from connector.cli.output import print_line

NOUNS = ("demo", "config", "source", "docs", "ingest", "topics", "capture", "replica", "verify", "schemas")
"""As a document travels. Each is a module of this package with an `app`."""


class _Commands(Mapping[str, Any]):
    """Only the noun that is called is imported: a program that is started often should start fast."""

    def __getitem__(self, name: str) -> Any:
        if name not in NOUNS:
            raise KeyError(name)
        return _noun(name)

    def __iter__(self) -> Iterator[str]:
        return iter(NOUNS)

    def __len__(self) -> int:
        return len(NOUNS)


@cache
def _noun(name: str) -> Any:
    command = typer.main.get_command(import_module(f"connector.cli.{name}").app)
    command.name = name
    # Shells are set up for the whole program, not for one noun.
    command.params = [p for p in command.params if p.name not in ("install_completion", "show_completion")]
    _settle(command)
    return command


class _Root(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  the signature is Typer's
        return list(NOUNS)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # left alone, Typer would end the process with exit code 1
            raise OutputClosed from error


app = typer.Typer(cls=_Root, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


@cache
def program() -> Any:
    """The click command behind the Typer application."""
    command: Any = typer.main.get_command(app)
    command.commands = _Commands()
    _settle(command)
    return command


def _settle(command: Any) -> None:
    """Typer shows `<bool>` beside a flag, as if it took a value, and looks for a wrong word only beside it."""
    command.suggest_commands = False
    for parameter in command.params:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    commands = getattr(command, "commands", {})
    if not isinstance(commands, _Commands):
        for inner in commands.values():
            _settle(inner)


def paths(group: Any | None = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, and of every group of commands. Imports them all."""
    for name, command in (program() if group is None else group).commands.items():
        yield (*words, name)
        if hasattr(command, "commands"):
            yield from paths(command, (*words, name))


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"vecsync {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Configuration; vecsync.yaml when it exists, unless said."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, and show tracebacks of errors.")] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Exact SQLite replicas of documents and embeddings kept in MySQL, MariaDB or SQLite, by way of a log.

    Try it with [cyan]vecsync demo[/cyan]: no server needed.
    """
    context.obj = Invocation(config, debug)
