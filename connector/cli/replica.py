"""`vecsync replica`: from the topics to a SQLite file, and questions to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from connector.cli.options import DryRun, Json, UntilCurrent, example, invocation
from connector.cli.output import count, facts, out, print_json, size, table
from connector.cli.progress import Steps
from connector.cli.replica_queries import SEARCH_EXAMPLES, SQL_EXAMPLES, search, sql
from connector.errors import Unreachable, UsageError
from connector.registry import open_broker
from connector.replica import Progress, Status, collect, export
from connector.replica import status as read_status
from connector.runtime.replica import replay_replica, run_replica, wait_for
from connector.runtime.signals import stop_on_signals

app = typer.Typer(no_args_is_help=True, help="From the topics to a SQLite file, and questions to it.")
image = typer.Typer(no_args_is_help=True, help="Copies of a replica.")


@app.command(epilog=example("vecsync replica run", "vecsync replica run --until-current"))
def run(context: typer.Context, until_current: UntilCurrent = False, json: Json = False) -> None:
    """Keep the replica up to date; runs until SIGTERM or Ctrl+C, and goes on where the file stands."""
    settings = invocation(context).settings()
    with stop_on_signals() as stop, _bar("applying", until_current) as bar:
        done = run_replica(settings, stop, until_current=until_current, watch=_watch(bar))
    if json:
        print_json(_progress_json(done))
    elif until_current:
        out().print(_progress_line("Applied", done))


@app.command(epilog=example("vecsync replica status", "vecsync replica status --json"))
def status(context: typer.Context, json: Json = False) -> None:
    """How the replica is: ready or not, how far behind, what it holds."""
    settings = invocation(context).settings()
    problem = None
    try:
        found = read_status(settings.replica.path, open_broker(settings))
    except Unreachable as error:
        # The file knows most of it by itself.
        problem, found = error, read_status(settings.replica.path)
    if json:
        print_json(found.as_json())
    else:
        _show(found)
    if problem is not None:
        raise problem


def _show(found: Status) -> None:
    console = out()
    writer = f"process {found.writer}" if found.alive else "none runs"
    lag = "not known: the broker could not be asked" if found.lag is None else count(found.lag, "record")
    if not found.partitions:
        lag = "everything: nothing was read yet"
    ready = f"yes, since {found.ready_at}" if found.ready else "no: it still fills, and documents may be missing"
    pairs = [
        ("replica", found.path if found.path == found.file else f"{found.path}  ({Path(found.file).name})"),
        ("ready", ready),
        ("behind", lag),
        ("writer", writer),
        ("database", found.database or "-"),
        ("follows", ", ".join(found.follows) or "-"),
        ("size", size(found.file_bytes)),
        (
            "collected",
            f"{count(found.collected, 'tombstone')}, {size(found.freed_bytes)} given back;"
            f" {found.uncollected + found.gc_waiting:,} waiting",
        ),
    ]
    if found.error:
        pairs.append(("ended by", found.error))
    console.print(facts(pairs))
    if not found.datasets:
        return
    console.print()
    several = len({dataset.shadow_table for dataset in found.datasets}) > 1
    rows = [
        [
            f"{d.shadow_table}/{d.dataset_id}" if several else d.dataset_id,
            f"{d.documents:,}",
            f"{d.archived:,}",
            f"{d.vectors_committed:,}",
            f"{d.vectors_failed:,}",
            f"{d.tombstones + d.hidden:,}",
            str(d.last_scn),
        ]
        for d in found.datasets
    ]
    columns = ["dataset", "documents", "archived", "vectors", "failed", "deleted", "last scn"]
    console.print(table(columns, rows, numbers=columns[1:]))


@app.command(epilog=example("vecsync replica replay", "vecsync replica replay --base monday.db --from 120000"))
def replay(
    context: typer.Context,
    start: Annotated[
        str, typer.Option("--from", metavar="WHERE", help="beginning, or with --base an offset of every partition.")
    ] = "beginning",
    base: Annotated[
        Path | None,
        typer.Option("--base", metavar="FILE", help="Read on from this copy (`replica image export`) of a replica."),
    ] = None,
    json: Json = False,
) -> None:
    """Build the replica anew beside the present one, and switch to it when it is complete."""
    settings = invocation(context).settings()
    if start != "beginning" and not start.isdecimal():
        raise UsageError(f"--from {start}: neither beginning nor an offset", hint="An offset is a whole number.")
    offset = None if start == "beginning" else int(start)
    with stop_on_signals() as stop, _bar("replaying", True) as bar:
        done = replay_replica(settings, stop, base=base, from_offset=offset, watch=_watch(bar))
    if json:
        print_json(_progress_json(done))
    elif done.caught_up:
        out().print(_progress_line("Replayed", done) + " The new file has taken the place of the old one.")
    if not done.caught_up:
        raise KeyboardInterrupt


@app.command(epilog=example("vecsync replica gc", "vecsync replica gc --dry-run"))
def gc(context: typer.Context, dry_run: DryRun = False, json: Json = False) -> None:
    """Erase what deleted vectors left behind, where no `replica run` does it all along."""
    settings = invocation(context).settings()
    if dry_run:
        found = read_status(settings.replica.path)
        waiting = found.uncollected + found.gc_waiting
        if json:
            print_json({"dry_run": True, "waiting": waiting})
        else:
            out().print(f"{count(waiting, 'tombstone')} would be looked at.")
        return
    done = collect(settings)
    if json:
        print_json({"dry_run": False, "collected": done.collected, "freed_bytes": done.freed_bytes})
    else:
        out().print(f"{count(done.collected, 'tombstone')} collected, {size(done.freed_bytes)} given back.")


@app.command(
    epilog=example("vecsync replica wait --timeout 60", "vecsync replica wait --dataset handbook --scn 1200 --current")
)
def wait(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", metavar="NAME", help="Wait for this dataset to be there.")
    ] = None,
    scn: Annotated[
        int | None, typer.Option("--scn", metavar="SCN", help="... and for this change number of it.")
    ] = None,
    current: Annotated[
        bool, typer.Option("--current", help="... and for everything that the topics hold now.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, metavar="SECONDS", help="Give up after so long (exit code 6).")
    ] = None,
    json: Json = False,
) -> None:
    """Wait until the replica is ready, or has come so far."""
    settings = invocation(context).settings()
    if scn is not None and dataset is None:
        raise UsageError("--scn counts in one dataset", hint="Name it with --dataset.")
    with stop_on_signals() as stop:
        wait_for(settings, stop, current=current, dataset=dataset, scn=scn, timeout_s=timeout)
    if json:
        print_json({"ready": True})
    else:
        out().print("Ready.")


@image.command("export", epilog=example("vecsync replica image export monday.db"))
def export_(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; must not exist.")],
    json: Json = False,
) -> None:
    """A consistent copy of the replica, also while it is written: one file, a base for `replica replay`."""
    export(invocation(context).settings().replica.path, target)
    bytes_ = target.stat().st_size
    if json:
        print_json({"file": str(target), "bytes": bytes_})
    else:
        out().print(f"Wrote {target}, {size(bytes_)}.", markup=False)


def _bar(title: str, shown: bool) -> Steps:
    bar = Steps({"apply": title}, shown=shown)
    bar.begin("apply", 0)
    return bar


def _watch(bar: Steps) -> Callable[[Progress], None]:
    return lambda done: bar.reached(done.records, done.records + done.behind)


def _progress_json(done: Progress) -> dict[str, Any]:
    return {
        "records": done.records,
        **asdict(done.applied),
        "collected": done.collected.collected,
        "freed_bytes": done.collected.freed_bytes,
        "behind": done.behind,
        "ready": done.ready,
        "caught_up": done.caught_up,
    }


def _progress_line(what: str, done: Progress) -> str:
    applied = done.applied
    parts = [f"{applied.upserted:,} upserted", f"{applied.deleted:,} deleted", f"{applied.skipped:,} known already"]
    if applied.unfollowed:
        parts.append(f"{applied.unfollowed:,} not followed")
    if applied.failed_vectors:
        parts.append(f"{applied.failed_vectors:,} with a vector that cannot be searched")
    state = "Caught up" if done.caught_up else f"{count(done.behind, 'record')} behind"
    return f"{what} {count(done.records, 'record')}: {', '.join(parts)}. {state}."


app.command(epilog=SEARCH_EXAMPLES)(search)
app.command(epilog=SQL_EXAMPLES)(sql)
app.add_typer(image, name="image")
