"""`vecsync config`: what the configuration is, and where each part of it came from."""

from __future__ import annotations

import typer

from connector.cli.options import Json, example, invocation
from connector.cli.output import count, out, print_json, table
from connector.runtime.configuration import Entry, entries

app = typer.Typer(no_args_is_help=True, help="Check and show the configuration.")


@app.command(epilog=example("vecsync --config vecsync.yaml config check"))
def check(context: typer.Context, json: Json = False) -> None:
    """Validate, and show each key that differs from its default, with where it was set."""
    found = [entry for entry in _entries(context) if entry.changed]
    if json:
        print_json({"valid": True, "changed": [_as_json(entry) for entry in found]})
        return
    console = out()
    if found:
        console.print(table(["key", "value", "from"], [[e.key, e.shown, e.origin] for e in found]))
        console.print()
    console.print(f"The configuration is valid: {count(len(found), 'key')} set to something else than the default.")


@app.command(epilog=example("vecsync config show --json"))
def show(context: typer.Context, json: Json = False) -> None:
    """Every key with its present value. Secrets are masked."""
    found = _entries(context)
    if json:
        print_json([_as_json(entry) for entry in found])
        return
    out().print(table(["key", "value", "from"], [[e.key, e.shown, e.origin] for e in found]))


def _entries(context: typer.Context) -> list[Entry]:
    called = invocation(context)
    return entries(called.settings(), called.config)


def _as_json(entry: Entry) -> dict[str, object]:
    return {"key": entry.key, "value": entry.value, "from": entry.origin}
