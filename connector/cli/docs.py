"""`vecsync docs`: documents at the source, by dataset and id."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from connector.cli.options import Dataset, Json, Table, example, invocation
from connector.cli.output import count, facts, out, print_json
from connector.errors import UsageError
from connector.upstream import StoredRow, connect

app = typer.Typer(no_args_is_help=True, help="Documents at the source, by dataset and id.")

Ids = Annotated[list[str], typer.Option("--id", metavar="ID", help="The document; may be given several times.")]
Id = Annotated[str, typer.Option("--id", metavar="ID", help="The document.")]


@app.command(epilog=example("vecsync docs archive --dataset handbook --id intro.md#0"))
def archive(context: typer.Context, dataset: Dataset, id: Ids, table: Table = None, json: Json = False) -> None:
    """Hide documents from searches; they stay, and can be shown again."""
    _set_archived(context, dataset, id, True, table, json)


@app.command(epilog=example("vecsync docs reactivate --dataset handbook --id intro.md#0"))
def reactivate(context: typer.Context, dataset: Dataset, id: Ids, table: Table = None, json: Json = False) -> None:
    """Show archived documents again."""
    _set_archived(context, dataset, id, False, table, json)


@app.command(epilog=example("vecsync docs show --dataset handbook --id intro.md#0"))
def show(context: typer.Context, dataset: Dataset, id: Id, table: Table = None, json: Json = False) -> None:
    """One document as it stands at the source."""
    settings = invocation(context).settings()
    upstream = connect(settings.source, table)
    try:
        row = upstream.get(dataset, id)
    finally:
        upstream.close()
    if row is None:
        raise _absent(dataset, [id])
    if json:
        print_json(_as_json(row))
        return
    console = out()
    size = len(row.embedding or b"")
    console.print(
        facts(
            [
                ("dataset", row.dataset_id),
                ("id", row.id),
                ("scn", str(row.scn)),
                ("archived", "yes" if row.archived else "no"),
                ("model", row.embedding_model or "-"),
                ("vector", "-" if not size else f"{size // 4} numbers" if size % 4 == 0 else f"{size} bytes"),
                ("meta", row.meta or "-"),
            ]
        )
    )
    console.print()
    console.print(row.content or "(no text)", markup=False)


def _set_archived(
    context: typer.Context, dataset: str, ids: list[str], archived: bool, table: str | None, json: bool
) -> None:
    settings = invocation(context).settings()
    upstream = connect(settings.source, table)
    try:
        absent = [id for id in ids if upstream.get(dataset, id) is None]
        if absent:
            raise _absent(dataset, absent)
        changed = upstream.set_archived(dataset, ids, archived)
    finally:
        upstream.close()
    if json:
        print_json({"dataset": dataset, "ids": ids, "archived": archived, "changed": changed})
        return
    what = "archived" if archived else "reactivated"
    same = len(ids) - changed
    out().print(f"{count(changed, 'document')} {what}" + (f", {same} already so" if same else "") + ".")


def _absent(dataset: str, ids: list[str]) -> UsageError:
    named = ", ".join(repr(id) for id in ids)
    return UsageError(
        f"there is no document {named} in dataset {dataset!r} at the source",
        hint="Nothing was changed. Check the spelling; ids of ingested files look like path/to/file.md#0.",
    )


def _as_json(row: StoredRow) -> dict[str, Any]:
    size = len(row.embedding or b"")
    out = row._asdict()
    del out["embedding"]
    return out | {"embedding_bytes": size, "dims": size // 4 if size and size % 4 == 0 else None}
