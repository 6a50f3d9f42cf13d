"""`vecsync capture position`: how far the source was published, and moving that by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli.options import DryRun, Json, Yes, example, invocation
from connector.cli.output import facts, out, print_json
from connector.errors import UsageError
from connector.publish.opening import describe
from connector.runtime.events import position_json, source_position_json
from connector.runtime.position import leave_out, move_position, show_position

app = typer.Typer(no_args_is_help=True, help="How far the source was published; moving that by hand.")


@app.command(epilog=example("vecsync capture position show --json"))
def show(context: typer.Context, json: Json = False) -> None:
    """The recorded position: where the next run begins."""
    found = show_position(invocation(context).settings())
    if json:
        print_json(position_json(found))
        return
    at, identity = found.source, found.source.identity
    name = identity.uuid or f"{identity.base_name}, server {identity.server_id}, domain {identity.domain}"
    pairs = [
        ("server", f"{name}  ({identity.connector})"),
        ("position", describe(at)),
        ("epoch", f"{at.epoch}"),
        ("snapshot", "done" if at.snapshot_done else "not done"),
        ("publisher", "ended in order" if found.closed else "running, or ended without closing"),
    ]
    if at.bridge:
        pairs.append(("passed over", at.bridge))
    if at.skipped:
        pairs.append(("left out", ", ".join(at.skipped)))
    out().print(facts(pairs))


@app.command(
    name="set",
    epilog=example(
        "vecsync capture position set binlog.000003:4711 --dry-run",
        "vecsync capture position set 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-99 --yes",
    ),
)
def set_(
    context: typer.Context,
    where: Annotated[str, typer.Argument(metavar="PLACE", help="file:position, or the GTIDs dealt with.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Have the next run begin at another place of the source's log; while no capture runs.

    Further on: what lies between is never published. Further back: it is published again, and replicas show old
    versions until they are through.
    """
    settings = invocation(context).settings()
    was, will = move_position(settings, where, dry_run=True)
    if not dry_run:
        confirmed(f"Capture stands at {describe(was)}. Begin at {describe(will)} instead?", yes)
        was, will = move_position(settings, where, dry_run=False)
    if json:
        print_json({"dry_run": dry_run, "was": source_position_json(was), "position": source_position_json(will)})
    else:
        would = "would begin" if dry_run else "begins"
        out().print(f"The next `vecsync capture run` {would} at {describe(will)}, epoch {will.epoch}.")


@app.command(
    epilog=example("vecsync capture position skip 0-1-4711", "vecsync capture position skip 0-1-4711 --dry-run")
)
def skip(
    context: typer.Context,
    gtid: Annotated[str, typer.Argument(metavar="GTID", help="Of the transaction, as the error names it.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Leave out one transaction that stops capture; while no capture runs. Replicas never get what it changed."""
    settings = invocation(context).settings()
    will = leave_out(settings, gtid, dry_run=True)
    name = will.skipped[-1]
    if not dry_run:
        confirmed(f"Leave out transaction {name}, whatever it changed?", yes)
        will = leave_out(settings, gtid, dry_run=False)
    if json:
        print_json({"dry_run": dry_run, "gtid": name, "position": source_position_json(will)})
    else:
        would = "would be" if dry_run else "is"
        out().print(f"Transaction {name} {would} left out from the next `vecsync capture run` on.")


def confirmed(question: str, yes: bool) -> None:
    """Raises UsageError unless somebody agrees."""
    if not yes and not typer.confirm(question, default=False, err=True):
        raise UsageError("nothing was changed", hint="Answer y, or give --yes.")
