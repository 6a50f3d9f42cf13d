"""`vecsync source`: set the source database up, and keep it."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli.options import DryRun, Json, example, invocation
from connector.cli.output import count, out, print_json, print_line
from connector.errors import PreflightRefused
from connector.publish import recorded_position
from connector.registry import open_broker
from connector.upstream.findings import Finding, Severity
from connector.upstream.install import install as run_install
from connector.upstream.preflight import look
from connector.upstream.prune import prune as run_prune
from connector.upstream.prune import reads_log
from connector.upstream.tables import require_followed

app = typer.Typer(no_args_is_help=True, help="Set the source database up, check it, keep it.")

_DAY_S = 86400


@app.command(
    epilog=example(
        "vecsync source install --dry-run",
        "vecsync source install",
        "vecsync source install --table tenant_c.shadow_vec_docs",
    )
)
def install(
    context: typer.Context,
    table: Annotated[
        str | None,
        typer.Option(
            "--table", metavar="NAME", help="Only this one, which source.tables names, or a pattern of it matches."
        ),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Make what is missing: tables, SCN helper, triggers. Existing tables are never changed; --dry-run prints SQL."""
    settings = invocation(context).settings(None if table is None else {"source": {"tables": [table]}})
    if table is not None:
        require_followed(invocation(context).settings().source, table)
    statements = list(run_install(settings.source, dry_run=dry_run))
    if json:
        print_json({"dry_run": dry_run, "statements": statements})
    elif dry_run:
        # The mysql client needs another delimiter, because bodies of triggers hold semicolons.
        end = "$$" if settings.source.kind == "mysql" else ";"
        if statements and end != ";":
            print_line(f"DELIMITER {end}")
        for sql in statements:
            print_line(sql.rstrip().removesuffix(";") + f"{end}\n")
        if statements and end != ";":
            print_line("DELIMITER ;")
    elif statements:
        out().print(f"{count(len(statements), 'statement')} run: the source is set up.")
    else:
        out().print("Nothing was missing.")


@app.command(epilog=example("vecsync source check", "vecsync source check --json"))
def check(context: typer.Context, json: Json = False) -> None:
    """Everything on the source that could lose a row, and the statement that mends it. Capture checks the same."""
    found = look(invocation(context).settings())
    if json:
        fields = ("code", "severity", "what", "why", "mend_sql")
        print_json({"findings": [{name: getattr(finding, name) for name in fields} for finding in found]})
    elif found:
        for finding in found:
            _show(finding)
    else:
        out().print("Nothing was found: no row can be lost.")
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    if errors:
        hint = "Do what stands above, then check again."
        raise PreflightRefused(f"{count(errors, 'thing')} to be mended before capture starts", hint=hint)


def _show(finding: Finding) -> None:
    colour = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}[finding.severity]
    out().print(f"[bold {colour}]{finding.severity}[/]  [dim]{finding.code}[/]")
    # Not by Rich: a statement has to come out as it is, in one piece.
    print_line(f"  {finding.what}: {finding.why}" if finding.why else f"  {finding.what}")
    for line in finding.mend_sql.splitlines():
        print_line(f"      {line}")


@app.command(epilog=example("vecsync source prune --keep-days 7 --dry-run"))
def prune(
    context: typer.Context,
    keep_days: Annotated[float, typer.Option("--keep-days", min=0, help="Younger entries stay.")] = 7.0,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove entries of the shadow log that are published, old enough, and read by every replica that says so."""
    settings = invocation(context).settings()
    published = None
    if reads_log(settings.source):
        recorded = recorded_position(open_broker(settings), settings.topics.prefix)
        published = None if recorded is None else recorded.source
    removed = run_prune(settings.source, keep_s=keep_days * _DAY_S, published=published, dry_run=dry_run)
    if json:
        print_json({"dry_run": dry_run, "removed": removed})
        return
    out().print(f"{count(removed, 'log entry')} {'would be ' if dry_run else ''}removed.")
