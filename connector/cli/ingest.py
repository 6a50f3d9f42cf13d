"""`vecsync ingest`: files to documents of the source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connector.cli.options import DryRun, Json, Table, example, invocation
from connector.cli.output import count, duration, out, print_json, table
from connector.cli.progress import Steps
from connector.embed import load
from connector.errors import DataRefused
from connector.ingest import IngestReport, Retire, files
from connector.ingest import ingest as run_ingest
from connector.upstream import connect

_SHOWN = 20


app = typer.Typer()


@app.command(
    epilog=example("vecsync ingest docs/ --dataset handbook", "vecsync ingest docs/ --dataset handbook --dry-run")
)
def ingest(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A directory, or one file: text, Markdown or Python.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", metavar="NAME", help="The dataset; made if missing.")],
    retire: Annotated[
        Retire, typer.Option("--retire", help="What happens to documents whose file or part of it disappeared.")
    ] = "archive",
    embedder: Annotated[
        str | None, typer.Option("--embedder", metavar="NAME", help="Instead of ingest.embedder.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="What ids are relative to; PATH unless said.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="NAME", help="The root's name in metadata; its directory's name.")
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="Describes the dataset.")
    ] = None,
    table_name: Table = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Files to chunks, embedded and written to the source; again, only what changed."""
    settings = invocation(context).settings({"ingest": {"embedder": embedder}} if embedder else None)
    corpus = files(path, root=root, label=label)
    upstream = connect(settings.source, table_name)
    steps = Steps({"read": "reading", "write": "embedding and writing", "retire": "retiring"})
    try:
        with steps:
            report = run_ingest(
                upstream,
                dataset,
                corpus,
                load(settings.ingest.embedder),
                settings.ingest,
                retire=retire,
                dry_run=dry_run,
                description=description,
                progress=steps,
            )
    finally:
        upstream.close()
    if json:
        print_json(_as_json(report, steps.seconds))
    else:
        _show(report, steps.seconds)
    if not report.complete:
        raise DataRefused(
            f"{count(len(report.errors), 'file')} could not be ingested; the rest was",
            hint="What stands of them at the source was left alone. Mend them and run the command again.",
        )


def _show(report: IngestReport, seconds: float) -> None:
    console = out()
    would = "would be " if report.dry_run else ""
    how = "archived" if report.retire == "archive" else "deleted"
    if report.dry_run and report.details:
        rows = [[d.path, str(d.new), str(d.changed), str(d.reactivated)] for d in report.details[:_SHOWN]]
        console.print(table(["file", "new", "changed", "reactivated"], rows, numbers=["new", "changed", "reactivated"]))
        if len(report.details) > _SHOWN:
            console.print(f"... and {count(len(report.details) - _SHOWN, 'more file')}")
        console.print()
    for remark in report.skipped[:_SHOWN]:
        console.print(f"skipped  {remark.path}: {remark.reason}", style="dim", markup=False)
    if len(report.skipped) > _SHOWN:
        console.print(f"skipped  {count(len(report.skipped) - _SHOWN, 'more file')}", style="dim")
    for remark in report.errors:
        console.print(f"failed   {remark.path}: {remark.reason}", style="red", markup=False)
    written = report.new + report.changed
    parts = [
        f"{report.new:,} new",
        f"{report.changed:,} changed",
        f"{report.unchanged:,} unchanged",
        f"{report.retired:,} {how}",
    ]
    if report.reactivated:
        parts.append(f"{report.reactivated:,} reactivated")
    rate = f" ({written / seconds:,.0f} a second)" if written and seconds > 0.5 and not report.dry_run else ""
    console.print(
        f"{report.dataset_id}: {count(report.units, 'file')}, documents {would}{', '.join(parts)}"
        f" in {duration(seconds)}{rate}.",
        markup=False,
    )
    if report.other_roots:
        console.print(f"{count(report.other_roots, 'document')} of other origin left alone.", style="dim")


def _as_json(report: IngestReport, seconds: float) -> dict[str, Any]:
    return {
        "dataset": report.dataset_id,
        "model": report.model,
        "dry_run": report.dry_run,
        "retire": report.retire,
        "files": report.units,
        "new": report.new,
        "changed": report.changed,
        "reactivated": report.reactivated,
        "unchanged": report.unchanged,
        "retired": report.retired,
        "other_roots": report.other_roots,
        "details": [
            {"path": d.path, "new": d.new, "changed": d.changed, "reactivated": d.reactivated} for d in report.details
        ],
        "retired_ids": list(report.retired_ids),
        "skipped": [remark._asdict() for remark in report.skipped],
        "errors": [remark._asdict() for remark in report.errors],
        "seconds": round(seconds, 3),
    }
