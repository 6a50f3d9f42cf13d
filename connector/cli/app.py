"""The tree of commands and the options that stand before all of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from connector import __version__
from connector.cli import capture, config, docs, replica, source, topics
from connector.cli.demo import demo
from connector.cli.failures import OutputClosed
from connector.cli.ingest import ingest
from connector.cli.options import Invocation, example
from connector.cli.output import print_line

_ORDER = ("demo", "config", "source", "docs", "ingest", "topics", "capture", "replica")
"""As a document travels."""


class _Root(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # left alone, Typer would end the process with exit code 1
            raise OutputClosed from error


app = typer.Typer(cls=_Root, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.command(epilog=example("vecsync demo", "vecsync demo --directory /tmp/demo --fresh"))(demo)
app.add_typer(config.app, name="config")
app.add_typer(source.app, name="source")
app.add_typer(docs.app, name="docs")
app.command(epilog=example("vecsync ingest docs/ --dataset handbook", "vecsync ingest docs/ -d handbook --dry-run"))(
    ingest
)
app.add_typer(topics.app, name="topics")
app.add_typer(capture.app, name="capture")
app.add_typer(replica.app, name="replica")


@cache
def program() -> Any:
    """The click command behind the Typer application."""
    command = typer.main.get_command(app)
    _hide_flag_types(command)
    return command


def _hide_flag_types(command: Any) -> None:
    """Typer shows `<bool>` beside a flag, as if it took a value."""
    for parameter in command.params:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _hide_flag_types(inner)


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
