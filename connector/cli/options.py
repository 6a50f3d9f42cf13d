"""Options that several commands share, and how an example is shown in the help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from connector.runtime.logs import configure_logging
from connector.settings import LogSettings, Settings, load

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dataset = Annotated[str, typer.Option("--dataset", "-d", metavar="NAME", help="The dataset.")]
Table = Annotated[
    str | None, typer.Option("--table", metavar="NAME", help="Shadow table; the first of source.tables unless said.")
]
UntilCurrent = Annotated[
    bool, typer.Option("--until-current", help="Stop when caught up with what there was at the start.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options that stand before every command."""

    config: Path | None
    debug: bool

    def settings(self, overrides: dict[str, Any] | None = None) -> Settings:
        """From all sources; what a command's own options say is stronger. Logging is set up by them."""
        settings = load(self.config, overrides)
        configure_logging(settings, debug=self.debug)
        return settings

    def quiet_logging(self) -> None:
        """For a command that tells by itself what it does: warnings only, unless debugging."""
        configure_logging(Settings.model_construct(log=LogSettings(level="warning")), debug=self.debug)


def invocation(context: typer.Context) -> Invocation:
    found = context.find_object(Invocation)
    assert found is not None, "the root callback makes it"
    return found


def example(*commands: str) -> str:
    """The epilog of a command: what a person could type, one a line."""
    title = "Examples:" if len(commands) > 1 else "Example:"
    return "\n\n".join([f"[bold]{title}[/bold]", *(f"[cyan]$ {escape(c)}[/cyan]" for c in commands)])
