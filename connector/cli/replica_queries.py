"""`vecsync replica search` and `sql`: questions to a replica."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from connector.cli.options import Json, example, invocation
from connector.cli.output import count, err, facts, out, print_json, print_json_line, table
from connector.errors import UsageError
from connector.search import Breakdown, Fusion, Hit, Mode, SearchResult, TextSyntax, Weights, open_reader
from connector.search import sql as run_sql

MARKS = _OPEN, _CLOSE = "\ue000", "\ue001"
"""For `marks` of a search whose hits are shown by `snippet`. Private use: no text that is searched holds them."""

_MOST_ROWS = 1000  # shown to a person
_WIDE = 6  # more columns than this stand below one another


def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="Whatever a person would ask.")] = "",
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", metavar="NAME", help="Only this; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="COUNT", help="How many documents.")] = 10,
    mode: Annotated[Mode, typer.Option("--mode", help="By words, by vectors, or both.")] = "hybrid",
    vector: Annotated[
        Path | None,
        typer.Option("--vector", metavar="FILE", help="The query's vector: float32 bytes, or a JSON list of numbers."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Only vectors of this embedding model.")
    ] = None,
    include_archived: Annotated[bool, typer.Option("--include-archived", help="Find archived documents too.")] = False,
    fusion: Annotated[Fusion, typer.Option("--fusion", help="How a hybrid search joins both lists.")] = "rrf",
    text_weight: Annotated[float, typer.Option("--text-weight", help="Weight of the words in a hybrid search.")] = 1.0,
    vector_weight: Annotated[
        float, typer.Option("--vector-weight", help="Weight of the vectors in a hybrid search.")
    ] = 1.0,
    syntax: Annotated[TextSyntax, typer.Option("--syntax", help="fts5: TEXT is in FTS5's query language.")] = "plain",
    json: Json = False,
) -> None:
    """Find documents in the replica, best first, with where each score comes from."""
    settings = invocation(context).settings()
    with open_reader(settings.replica.path, settings.replica.models) as replica:
        result = replica.search(
            text,
            datasets=dataset or None,
            k=k,
            mode=mode,
            vector=None if vector is None else read_vector(vector),
            model=model,
            include_archived=include_archived,
            fusion=fusion,
            weights=Weights(text_weight, vector_weight),
            text_syntax=syntax,
            marks=("", "") if json else MARKS,
        )
    if json:
        print_json(_as_json(result))
        return
    console = out()
    for number, hit in enumerate(result.hits, 1):
        show_hit(console, number, hit, result.mode)
    console.print(f"{count(len(result.hits), 'document')} found." if result.hits else "Nothing found.")
    _notes(result)


def show_hit(console: Console, number: int, hit: Hit, mode: Mode) -> None:
    """Title or id, where the score comes from, and the part that matches."""
    head = Text(f"{number:>2}. ", "dim")
    title = title_of(hit)
    head.append(title or hit.id, "bold")
    if hit.archived:
        head.append("  archived", "yellow")
    console.print(head)
    place = Text(f"    {hit.dataset_id}  {hit.id}", "cyan")
    place.append(f"   score {hit.score:.4f}{breakdown(hit.breakdown, mode)}", "dim")
    console.print(place)
    for line in _wrapped(console, snippet(hit)):
        console.print(line)
    console.print()


def title_of(hit: Hit) -> str | None:
    """The last part of the title that ingest puts into the metadata."""
    try:
        meta = json_text.loads(hit.meta or "")
    except ValueError:
        return None
    title = meta.get("title") if isinstance(meta, dict) else None
    return title.rpartition(" > ")[2] if isinstance(title, str) else None


def breakdown(found: Breakdown, mode: Mode) -> str:
    """`  (words 3rd, 4.2; vector 1st, 0.83)`; what the mode does not use is left out."""
    parts = []
    if mode != "vector":
        parts.append("words -" if found.text_rank is None else f"words #{found.text_rank} {found.text_score:.2f}")
    if mode != "text":
        parts.append(
            "vector -" if found.vector_rank is None else f"vector #{found.vector_rank} {found.vector_score:.3f}"
        )
    return f"  ({', '.join(parts)})"


def snippet(hit: Hit) -> Text:
    """With the matching words highlighted (without colours they are as they are), and without a first line that is
    shown as the title already."""
    text = Text()
    for part in _without_heading(hit.snippet, hit.content or "").split(_OPEN):
        word, mark, rest = part.partition(_CLOSE)
        text.append(word, "bold green" if mark else "")
        text.append(rest)
    return text


def _without_heading(marked: str, content: str) -> str:
    first = content.lstrip().partition("\n")[0]
    if not first.startswith("#"):
        return marked
    left = "".join(first.split())
    for place, character in enumerate(marked):
        if character == _CLOSE or character.isspace():
            continue
        if not left:
            return marked[place:]
        if character == _OPEN:
            continue
        if character != left[0]:
            return marked
        left = left[1:]
    return marked


def _wrapped(console: Console, text: Text) -> Iterator[Text]:
    for line in text.wrap(console, max(30, console.width - 4)):
        line.pad_left(4)
        yield line


def _notes(result: SearchResult) -> None:
    console = err()
    if not result.ready:
        console.print("note: the replica still fills for the first time; documents may be missing.", style="yellow")
    for name in result.skipped_models:
        shown = name or "no name"
        console.print(
            f"note: documents with vectors of the model {shown} could be found by words only: no embedder is known"
            " for it (replica.models).",
            style="yellow",
            markup=False,
        )


def read_vector(path: Path) -> bytes:
    """float32 little-endian, or a JSON list. Raises UsageError."""
    import struct

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--vector {path}: {error.strerror}", hint="Name a file with the query's vector.") from error
    if not (data.lstrip().startswith(b"[") and data.isascii() and b"\0" not in data):
        return data  # a float32 may begin with the byte of a bracket, but hardly ever has only ASCII after it
    try:
        numbers = [float(number) for number in json_text.loads(data)]
        return struct.pack(f"<{len(numbers)}f", *numbers)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise UsageError(
            f"--vector {path}: {error}", hint="Give a JSON list of numbers, or their bytes as float32."
        ) from error


def _as_json(result: SearchResult) -> dict[str, Any]:
    return {
        "mode": result.mode,
        "models": list(result.models),
        "skipped_models": list(result.skipped_models),
        "ready": result.ready,
        "hits": [
            {
                "dataset_id": hit.dataset_id,
                "id": hit.id,
                "score": hit.score,
                "text_rank": hit.breakdown.text_rank,
                "text_score": hit.breakdown.text_score,
                "vector_rank": hit.breakdown.vector_rank,
                "vector_score": hit.breakdown.vector_score,
                "archived": hit.archived,
                "embedding_model": hit.embedding_model,
                "shadow_table": hit.shadow_table,
                "snippet": hit.snippet,
                "content": hit.content,
                "meta": hit.meta,
            }
            for hit in result.hits
        ],
    }


def sql(
    context: typer.Context,
    statement: Annotated[str, typer.Argument(help="One statement; nothing can be changed by it.")],
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each row, one a line.")] = False,
) -> None:
    """One SQL statement on the replica, with sqlite-vec loaded, read-only."""
    settings = invocation(context).settings()
    with run_sql(settings.replica.path, statement) as found:
        if json:
            for row in found.rows:
                print_json_line({name: _plain(value) for name, value in zip(found.columns, row, strict=True)})
            return
        console = out()
        rows = [[_cell(value) for value in row] for row in islice(found.rows, _MOST_ROWS + 1)]
        if len(found.columns) > _WIDE:
            for cells in rows[:_MOST_ROWS]:
                console.print(facts(zip(found.columns, cells, strict=True)))
                console.print()
        else:
            console.print(table(found.columns, rows[:_MOST_ROWS]))
        if len(rows) > _MOST_ROWS:
            console.print(f"... and more: {_MOST_ROWS:,} rows are shown; --json prints all.", style="dim")


def _plain(value: Any) -> Any:
    """Bytes as hex: JSON has none."""
    return value.hex() if isinstance(value, bytes) else value


def _cell(value: Any) -> str | Text:
    if value is None:
        return Text("NULL", style="dim")
    if isinstance(value, bytes):
        return Text(f"{count(len(value), 'byte')}: {value[:8].hex()}" + ("…" if len(value) > 8 else ""), style="cyan")
    return Text(str(value))


SEARCH_EXAMPLES = example(
    "vecsync replica search 'how do I remove a file' --dataset handbook -k 5",
    "vecsync replica search '\"exact phrase\" NOT draft' --mode text --syntax fts5 --json",
)
SQL_EXAMPLES = example("vecsync replica sql 'SELECT dataset_id, count(*) AS documents FROM shadow_vec_docs GROUP BY 1'")
