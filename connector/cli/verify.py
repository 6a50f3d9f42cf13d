"""`vecsync verify`: is the replica exactly its source?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from connector.cli.options import Json, example, invocation
from connector.cli.output import count, out, print_json, table
from connector.cli.progress import Line
from connector.errors import DifferenceFound
from connector.publish.opening import describe
from connector.runtime.signals import stop_on_signals
from connector.runtime.snapshot import Asked, asked_json
from connector.runtime.verify import Verified, repair, verify
from connector.verify import Difference, Kind

_SHOWN = 20

app = typer.Typer(help="Compare the replica with its source, row by row, while both go on.")


@app.command(epilog=example("vecsync verify", "vecsync verify --repair --json"))
def run(
    context: typer.Context,
    mend: Annotated[bool, typer.Option("--repair", help="Have the datasets that differ read again.")] = False,
    patience_s: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0, help="How long capture or replica may come no further meanwhile."
        ),
    ] = 60.0,
    json: Json = False,
) -> None:
    """Compare the replica with its source, row by row, while both go on; exit code 5 if a row differs.

    Every row of the source is read once, as a first snapshot reads it, with the rights that capture needs. A row that
    is newer on one side is not a difference: it is looked at again when the other side has come so far.
    """
    called = invocation(context)
    settings = called.settings()
    called.quiet_logging()
    with stop_on_signals(announce=False) as stop, Line() as line:
        found = verify(settings, stop, lambda what, number: line.say(f"{what} ({number:,})"), patience_s=patience_s)
    if not json:
        _show(found, of="" if settings.source.kind == "sqlite" else f" of {found.database}")
    asked = None
    try:
        if mend and found.differences:
            asked = repair(settings, found)
    finally:
        if json:  # also where nobody could be asked
            print_json(_json(found, asked))
    if found.differences:
        raise DifferenceFound(
            f"{count(len(found.differences), 'row')}{' and more' if found.more else ''} of the replica"
            f" {_differ(found)} its source",
            hint=_hint(found, asked, mend=mend),
        )


def _hint(found: Verified, asked: Asked | None, *, mend: bool) -> str | None:
    if asked is not None:
        who = "The next `vecsync capture run`" if asked.leader is None else asked.leader
        what = "all datasets" if asked.datasets is None else count(len(asked.datasets), "dataset")
        return f"{who} reads the rows of {what} again; then run `vecsync verify` once more."
    if mend or all(difference.kind is Kind.UNPUBLISHED for difference in found.differences):
        return "What could not be published is not mended by reading it again: see the reasons, or the dead letters."
    return None


def _differ(found: Verified) -> str:
    return "differs from" if len(found.differences) == 1 else "differ from"


def _show(found: Verified, *, of: str) -> None:
    console = out()
    if found.differences:
        rows = [_line(difference, several=len(found.tables) > 1) for difference in found.differences[:_SHOWN]]
        console.print(table(["what", "dataset", "id", "differs in"], rows))
        if len(found.differences) > _SHOWN:
            console.print(f"and {len(found.differences) - _SHOWN:,} more: --json has all of them")
        console.print()
    compared = f"{count(found.documents, 'document')} in {count(found.datasets, 'dataset')}"
    console.print(f"Compared {compared}{of}{_at(found)}.")
    for name in found.left_out:
        console.print(f"Not compared: {name}, which only one of the two sides follows.")
    if found.undecided:
        console.print(f"{count(found.undecided, 'row')} changed again and again, and could not be compared.")
    if not found.differences:
        what = "Every other row of the replica is" if found.undecided else "Every row of the replica is"
        console.print(f"{what} exactly its source's, and none is missing.")


def _at(found: Verified) -> str:
    return "" if found.at.of_shadow_log else f" at {describe(found.at)}"


def _line(difference: Difference, *, several: bool) -> list[str]:
    place = difference.place
    dataset = f"{place.table}/{place.dataset_id}" if several and place.table else place.dataset_id
    what = difference.kind.value if place.table else f"{difference.kind.value} (row of the dataset)"
    return [what, dataset, place.id, ", ".join(difference.columns) or difference.why or ""]


def _json(found: Verified, asked: Asked | None) -> dict[str, Any]:
    return {
        "database": found.database,
        "tables": list(found.tables),
        "left_out": list(found.left_out),
        "documents": found.documents,
        "datasets": found.datasets,
        "undecided": found.undecided,
        "more": found.more,
        "position": None if found.at.of_shadow_log else describe(found.at),
        "differences": [
            {
                "kind": d.kind.value,
                "table": d.place.table or None,
                "dataset": d.place.dataset_id,
                "id": d.place.id if d.place.table else None,
                "columns": list(d.columns),
                "why": d.why,
            }
            for d in found.differences
        ],
        "repair": None if asked is None else asked_json(asked, done=None),
    }
