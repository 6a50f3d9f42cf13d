"""`vecsync topics`: make them, list them, look into them."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli.event_lines import line
from connector.cli.options import Json, Table, UntilCurrent, example, invocation
from connector.cli.output import count, out, print_json, print_json_line, table
from connector.publish import create_topics, topic_specs
from connector.registry import open_broker
from connector.runtime.events import as_json
from connector.runtime.signals import stop_on_signals
from connector.runtime.tail import Kind, Wanted, tail
from connector.runtime.topic_list import list_topics

app = typer.Typer(no_args_is_help=True, help="Make, list and read the topics.")


@app.command(epilog=example("vecsync topics create"))
def create(context: typer.Context, json: Json = False) -> None:
    """Make the topics that are missing, and check the shape of those that exist."""
    settings = invocation(context).settings()
    admin = open_broker(settings).admin()
    try:
        made = list(create_topics(admin, settings))
    finally:
        admin.close()
    wanted = [spec.name for spec in topic_specs(settings)]
    if json:
        print_json({"created": made, "existed": [name for name in wanted if name not in made]})
        return
    console = out()
    for name in wanted:
        console.print(f"{'created' if name in made else 'exists '}  {name}")


@app.command("list", epilog=example("vecsync topics list"))
def list_(context: typer.Context, json: Json = False) -> None:
    """Every topic under the prefix, with partitions and offsets."""
    settings = invocation(context).settings()
    found = list_topics(open_broker(settings), settings.topics.prefix)
    if json:
        print_json([topic._asdict() for topic in found])
        return
    rows = [[t.name, str(t.partitions), t.cleanup_policy or "-", f"{t.offsets:,}", t.topic_id] for t in found]
    console = out()
    console.print(table(["topic", "partitions", "cleanup", "offsets", "id"], rows, numbers=["partitions", "offsets"]))
    console.print(f"\n{count(len(found), 'topic')} under the prefix {settings.topics.prefix}")


@app.command(
    "tail",
    epilog=example(
        "vecsync topics tail --dataset handbook --from beginning --until-current",
        "vecsync topics tail --topic tombstones --from 2026-03-01T12:00:00Z --json",
    ),
)
def tail_(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only this dataset.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Only this document.")] = None,
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="WHERE", help="beginning, end, an offset (with --dataset), or an ISO 8601 time."
        ),
    ] = "end",
    kind: Annotated[Kind, typer.Option("--topic", help="Which of the topics.")] = "data",
    limit: Annotated[int | None, typer.Option("-n", min=0, metavar="COUNT", help="Stop after so many records.")] = None,
    until_current: UntilCurrent = False,
    vectors: Annotated[bool, typer.Option("--vectors", help="With --json: print the vectors as numbers.")] = False,
    table_name: Table = None,
    json: Json = False,
) -> None:
    """Decoded events, one a line; follows until Ctrl+C."""
    settings = invocation(context).settings()
    wanted = Wanted(kind, dataset, id, start, table_name)
    console = out()
    with stop_on_signals(announce=False) as stop:
        for read in tail(open_broker(settings), settings, wanted, until_current=until_current, limit=limit, stop=stop):
            if json:
                print_json_line(as_json(read, vectors=vectors))
            else:
                # Cut to the width of a terminal; whole where a program reads it.
                if console.is_terminal:
                    console.print(line(read), no_wrap=True, overflow="ellipsis")
                else:
                    console.print(line(read), soft_wrap=True)
