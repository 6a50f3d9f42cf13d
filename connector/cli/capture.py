"""`vecsync capture`: from the source to the topics."""

from __future__ import annotations

import typer

from connector.cli import position
from connector.cli.options import Json, UntilCurrent, example, invocation
from connector.cli.output import count, duration, facts, out, print_json, size, table
from connector.cli.progress import Steps
from connector.publish.opening import describe
from connector.runtime.capture import CaptureStatus, ask_for_snapshot, capture_status, run_capture, status_json
from connector.runtime.events import source_position_json
from connector.runtime.signals import stop_on_signals
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


@app.command(epilog=example("vecsync capture snapshot"))
def snapshot(context: typer.Context, json: Json = False) -> None:
    """Have the next run read every row again, and remove from replicas what is gone; while no capture runs.

    The way out when the source purged what comes next, was reset, or did something that cannot be followed.
    """
    settings = invocation(context).settings()
    begin = ask_for_snapshot(settings)
    if json:
        print_json(source_position_json(begin))
    else:
        out().print(f"The next `vecsync capture run` begins at {describe(begin)} with a snapshot.")


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
                ("snapshot", "done" if recorded.source.snapshot_done else "not done"),
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
