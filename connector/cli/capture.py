"""`vecsync capture`: from the source to the topics."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import position
from connector.cli.options import Json, UntilCurrent, example, invocation
from connector.cli.output import count, duration, err, facts, out, print_json, size, table
from connector.cli.progress import Line, Steps
from connector.model import SourcePosition
from connector.publish.opening import describe
from connector.runtime.capture import CaptureStatus, capture_status, run_capture, status_json
from connector.runtime.signals import stop_on_signals
from connector.runtime.snapshot import Asked, State, ask_again, asked_json, follow
from connector.settings import Settings

app = typer.Typer(no_args_is_help=True, help="From the source to the topics.")
app.add_typer(position.app, name="position")


@app.command(epilog=example("vecsync capture run", "vecsync capture run --until-current"))
def run(context: typer.Context, until_current: UntilCurrent = False, json: Json = False) -> None:
    """Publish every committed change; runs until SIGTERM or Ctrl+C, and goes on where it stopped."""
    settings = invocation(context).settings()
    bar = Steps({"publish": "publishing"}, shown=until_current)
    with stop_on_signals() as stop, bar:
        bar.begin("publish", 0)
        done = run_capture(settings, stop, until_current=until_current, watch=lambda p: bar.reached(p.records, None))
    if json:
        print_json(
            {
                "transactions": done.transactions,
                "records": done.records,
                "bytes": done.bytes,
                "skipped": done.skipped,
                "caught_up": until_current and not stop.is_set(),
            }
        )
    elif until_current:
        console = out()
        stood = f", {count(done.skipped, 'record')} stood already" if done.skipped else ""
        published = f"{count(done.records, 'record')} ({size(done.bytes)})"
        console.print(f"Published {published} of {count(done.transactions, 'transaction')}{stood}.")
        console.print(f"Position: {describe(done.position)}", style="dim")


@app.command(epilog=example("vecsync capture snapshot", "vecsync capture snapshot -d notes -d recipes --wait"))
def snapshot(
    context: typer.Context,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", metavar="NAME", help="Only of this dataset; can be given several times."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", "-t", metavar="NAME", help="Only of this table; can be given several times."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until everything that was read is published.")] = False,
    json: Json = False,
) -> None:
    """Have rows read again, and remove from replicas what is gone: by the capture that runs, while it goes on.

    Where none runs, the next run does it. Of all datasets that is also the way out when the source purged what comes
    next, was reset, or did something that cannot be followed.
    """
    settings = invocation(context).settings()
    asked = ask_again(settings, dataset or (), table or ())
    console, done = err() if json else out(), None
    console.print(_asked(asked))
    if wait:
        with stop_on_signals(announce=False) as stop, Line() as line:
            for stage in follow(settings, asked, stop):
                line.say(_reading(stage.at) if stage.state is State.READING else "waiting for the capture")
                done = stage.state is State.DONE
        if not json:
            console.print("Done: everything is published." if done else "Not waited for any longer; it goes on.")
    if json:
        print_json(asked_json(asked, done=bool(done) if wait else None))


def _asked(asked: Asked) -> str:
    of = "all datasets" if asked.datasets is None else f"{count(len(asked.datasets), 'dataset')}"
    of += f" in {', '.join(asked.tables)}" if asked.tables else ""
    if asked.begin is not None:
        return f"The next `vecsync capture run` begins at {describe(asked.begin)} with a snapshot."
    if asked.leader is None:
        return f"No capture runs. The next `vecsync capture run` reads the rows of {of} again (signal {asked.offset})."
    return f"{asked.leader} was asked to read the rows of {of} again (signal {asked.offset})."


def _reading(at: SourcePosition) -> str:
    """What comes next."""
    progress = at.snapshot
    if progress is None:
        return "begins"
    dataset = f"dataset {progress.datasets[0]!r} ({len(progress.datasets)} left), " if progress.datasets else ""
    after = f" after {' / '.join(progress.last_key)}" if progress.last_key else ""
    return f"{dataset}{progress.table}{after}"


@app.command(epilog=example("vecsync capture status --json"))
def status(context: typer.Context, json: Json = False) -> None:
    """Where capture stands, how far the source is ahead, and what the topics hold."""
    settings = invocation(context).settings()
    found = capture_status(settings)
    if json:
        print_json(status_json(found, settings))
    else:
        _show(found, settings)
    if found.problem is not None:
        raise found.problem


def _lag(found: CaptureStatus) -> str:
    if found.caught_up:
        return "none: everything is published"
    if found.caught_up is None or found.recorded is None:
        return "not known: the source could not be asked"
    at = found.recorded.source
    unit = "bytes" if at.file else "change numbers" if at.of_shadow_log else "entries"
    much = "some" if found.behind is None else f"{found.behind:,} {unit}"
    return much if found.lag_s is None else f"{much}, at most {duration(found.lag_s)}"


def _publisher(found: CaptureStatus) -> str:
    """Who publishes; where nobody does, how the last one ended."""
    lease, recorded = found.lease, found.recorded
    if lease.holder is not None:
        waiting = f"; standby: {', '.join(lease.standbys)}" if lease.standbys else ""
        return f"{lease.holder}{waiting}"
    if recorded is not None and recorded.closed:
        return "none runs; the last one ended in order"
    return "none runs; the last one was killed, or is being followed just now"


def _show(found: CaptureStatus, settings: Settings) -> None:
    console = out()
    recorded = found.recorded
    if recorded is None:
        console.print(f"Nothing was published under the prefix {settings.topics.prefix} yet: `vecsync capture run`.")
        return
    console.print(
        facts(
            [
                ("source", f"{settings.source.url}  ({recorded.source.identity.connector})"),
                ("position", describe(recorded.source) + f", epoch {recorded.source.epoch}"),
                ("head", "-" if found.head is None else describe(found.head)),
                ("lag", _lag(found)),
                ("snapshot", "done" if recorded.source.snapshot_done else f"under way: {_reading(recorded.source)}"),
                *([("signals", f"{count(found.signals, 'signal')} waiting")] if found.signals else []),
                ("publisher", _publisher(found)),
                ("recorded", "-" if found.age_s is None else f"{duration(found.age_s)} ago"),
            ]
        )
    )
    totals: dict[str, int] = {}
    for lane, offset in found.log_ends.items():
        totals[lane.topic] = totals.get(lane.topic, 0) + offset
    console.print()
    rows = [[topic, f"{total:,}"] for topic, total in sorted(totals.items())]
    console.print(table(["topic", "end offsets"], rows, numbers=["end offsets"]))
