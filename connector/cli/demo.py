"""`vecsync demo`: the whole way on one machine, told step by step."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from connector.cli.options import example, invocation
from connector.cli.output import count, duration, out, size
from connector.cli.progress import Steps
from connector.cli.replica_queries import MARKS, snippet, title_of
from connector.errors import DifferenceFound
from connector.runtime import demo as work
from connector.runtime.demo_check import Comparison
from connector.runtime.demo_corpus import AREAS
from connector.runtime.signals import stop_on_signals
from connector.search import open_reader

_STATEMENT = "SELECT dataset_id, count(*) AS documents FROM shadow_vec_docs GROUP BY dataset_id"

QUESTIONS = (
    ("desk", "files", "how do I remove a file"),
    ("desk", "files", "copy a directory tree"),
    ("desk", "text", "turn an object into JSON"),
    ("desk", "data", "pick a random element"),
    ("server", "concurrency", "run a command and get its output"),
    ("server", "network", "is this IP address private"),
    ("server", "tools", "measure how long code takes"),
)


app = typer.Typer()


@app.command(epilog=example("vecsync demo", "vecsync demo --directory /tmp/demo --fresh"))
def demo(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Option("--directory", metavar="DIR", help="Everything the demo makes is in it.")
    ] = Path("demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier demo made, and begin anew.")] = False,
) -> None:
    """The whole way on one machine, without any server: text, source, log, two replicas, changes, searches."""
    invocation(context).quiet_logging()
    with stop_on_signals() as stop:
        _Told(out(), work.prepare(directory, fresh=fresh), stop).run()


class _Told:
    """One demo and the console it is told on."""

    def __init__(self, console: Console, demo: work.Demo, stop: Event) -> None:
        self._console = console
        self._demo = demo
        self._stop = stop
        self._number = 0
        self._began = self._step_began = time.monotonic()

    def run(self) -> None:
        self._opening()
        for step in (self._text, self._source, self._capture, self._replicas, self._changes, self._collection):
            step()
            if self._stop.is_set():
                raise KeyboardInterrupt
        self._searches()
        self._closing()

    def _opening(self) -> None:
        long = "A second run takes a few seconds." if self._demo.again else "This takes five to thirty seconds."
        self._console.print(
            "[bold]vecsync demo[/]: a database of documents, a log of its changes, and two replicas to search in.\n"
            f"No server, no network. {long}\n"
        )

    def _step(self, title: str) -> None:
        self._number += 1
        self._step_began = time.monotonic()
        self._console.print(f"[bold]{self._number}. {title}[/]")

    def _say(self, text: str | Text, *, timed: bool = False) -> None:
        line = Text("   ").append_text(Text.from_markup(text) if isinstance(text, str) else text)
        if timed:
            line.append(f"  {duration(time.monotonic() - self._step_began)}", "dim")
        self._console.print(line)

    def _text(self) -> None:
        self._step("Text: what Python's standard library says about itself")
        areas = work.write_text(self._demo)
        entries, files = sum(area.entries for area in areas), sum(area.files for area in areas)
        written = sum(area.changed for area in areas)
        self._say(
            f"{count(entries, 'entry')} in {count(files, 'Markdown file')}, {written:,} of them written", timed=True
        )
        self._say(f"[dim]{self._demo.directory / 'library'}[/]")

    def _source(self) -> None:
        self._step("Source: a SQLite database whose triggers log every change")
        statements = work.set_up_source(self._demo)
        if self._demo.again:
            work.put_back(self._demo)
        steps = Steps({"read": "reading", "write": "embedding and writing", "retire": "retiring"})
        with steps:
            reports = work.ingest_areas(self._demo, list(AREAS), steps)
        settings = self._demo.any_settings
        made = f"{count(statements, 'statement')} of set-up" if statements else "set up already"
        self._say(f"{made}; {len(reports)} datasets: {', '.join(r.dataset_id for r in reports)}")
        new, changed = sum(r.new for r in reports), sum(r.changed for r in reports)
        same, back = sum(r.unchanged for r in reports), sum(r.reactivated for r in reports)
        self._say(
            f"documents: {new:,} new, {changed:,} changed, {same:,} as they were"
            + (f", {back:,} no longer archived" if back else "")
            + f"; vectors by {settings.ingest.embedder}",
            timed=True,
        )
        if self._demo.again and new + changed + back:
            self._say("[dim]these are what the last run changed: ingest puts them back, and leaves the rest alone[/]")

    def _capture(self) -> None:
        self._step("Capture: every committed change becomes a record of the log")
        done = work.publish(self._demo, self._stop)
        self._say(f"{count(done.records, 'record')}, {size(done.bytes)}", timed=True)

    def _replicas(self) -> None:
        self._step("Replicas: two SQLite files, each follows some of the datasets")
        for name in self._demo.settings:
            done = work.apply(self._demo, name, self._stop)
            follows = ", ".join(work.FOLLOWED[name])
            self._say(f"[bold]{name}.db[/] follows {follows}: {count(done.applied.upserted, 'document')} applied")
        self._equal()

    def _changes(self) -> None:
        self._step("Changes at the source, while the replicas look away")
        changes = work.change_source(self._demo, Steps({"read": "", "write": "", "retire": ""}))
        for change in changes:
            to = f" to {change.to}" if change.to else ""
            self._say(f"{change.what:<9} {change.dataset}{to}: {change.title}")
        done = work.publish(self._demo, self._stop)
        for name in self._demo.settings:
            work.apply(self._demo, name, self._stop)
        self._say(f"published {count(done.records, 'record')}, applied to both", timed=True)
        self._equal()
        for change in changes:
            views = ", ".join(f"{name}.db: {work.view_of(self._demo, name, change)}" for name in self._demo.settings)
            self._say(f"{change.what:<9} {change.title}  [dim]{views}[/]")

    def _collection(self) -> None:
        self._step("Collection: what deleted documents leave behind is erased")
        for name in self._demo.settings:
            got = work.collected(self._demo, name)
            self._say(
                f"{name}.db: {count(got.collected, 'tombstone')} and floors collected so far, {got.waiting} waiting,"
                f" {size(got.freed_bytes)} given back; the file has {size(got.file_bytes)}"
            )

    def _equal(self) -> None:
        for name in self._demo.settings:
            found: Comparison = work.check(self._demo, name)
            if not found.equal:
                shown = ", ".join("/".join(key) for key in found.different[:5])
                raise DifferenceFound(
                    f"{name}.db differs from the source in {len(found.different)} documents ({shown}),"
                    f" and {found.unfound} are not found by their words",
                    hint="This is a mistake in the connector. `vecsync demo --fresh` begins anew.",
                )
            self._say(
                f"[green]✓[/] {name}.db equals the source: {count(found.documents, 'document')}, with vectors and words"
            )

    def _searches(self) -> None:
        self._step("Searches, by words and vectors together")
        for name, dataset, question in QUESTIONS:
            settings = self._demo.settings[name]
            with open_reader(settings.replica.path, settings.replica.models) as replica:
                began = time.perf_counter()
                result = replica.search(question, datasets=[dataset], k=3, marks=MARKS)
                took_ms = (time.perf_counter() - began) * 1000
            head = Text(f"“{question}”", "bold")
            head.append(f"  {name}.db, {dataset}, {took_ms:.0f} ms", "dim")
            self._say(head)
            for hit in result.hits:
                title = (title_of(hit) or hit.id).partition("(")[0]
                line = Text(f"  {title}  ", "cyan")
                line.append_text(snippet(hit))
                line.truncate(max(40, self._console.width - 4), overflow="ellipsis")
                self._say(line)

    def _closing(self) -> None:
        self._console.print(f"\nDone in {duration(time.monotonic() - self._began)}. Go on with:\n")
        for line in commands(self._demo.directory):
            self._console.print(f"  {line}", style="cyan", soft_wrap=True, markup=False)
        self._console.print()


def commands(directory: Path) -> list[str]:
    """What can be typed now, exactly as it works from where the demo was started."""
    program = _program()
    first = shlex.join([program, "--config", str(directory / work.CONFIG["desk"])])
    second = shlex.join([program, "--config", str(directory / work.CONFIG["server"])])
    return [
        f'{first} replica search "sort a list by a key" --dataset data',
        f'{second} replica search "open a connection" --dataset network -k 3',
        f"{first} topics tail --dataset files --from beginning --until-current -n 5",
        f"{first} docs archive --dataset files --id os.md#0",
        f"{first} capture run --until-current",
        f"{first} replica run --until-current",
        f'{first} replica sql "{_STATEMENT}"',
        f"{first} replica status",
        f"{first} verify",
    ]


def _program() -> str:
    """The name under which this program was called, if that works for a person too."""
    called = Path(sys.argv[0])
    if called.name != "vecsync":
        return "vecsync"
    try:
        return str(called.relative_to(Path.cwd()))
    except ValueError:
        return str(called)
