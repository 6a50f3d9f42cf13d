"""A decoded record as a line for people."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.text import Text

from connector.cli.output import count
from connector.model import (
    CommitOrder,
    DatasetChange,
    DocChange,
    Document,
    Floor,
    Op,
    PublishedPosition,
    Tombstone,
)
from connector.publish.opening import describe
from connector.runtime.tail import Tailed
from connector.wire import Event

_SNIPPET = 70
_OPS = {
    Op.CREATE: ("insert", "green"),
    Op.UPDATE: ("update", "yellow"),
    Op.DELETE: ("delete", "red"),
    Op.READ: ("read", "cyan"),
}


def line(read: Tailed) -> Text:
    """`partition@offset  time  what  dataset  id  scn  order  text`."""
    record = read.record
    time = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{record.partition}@{record.offset}".ljust(9), "dim")
    text.append(f" {time:%H:%M:%S} ", "dim")
    match read.body:
        case Event(change=DocChange() as change):
            what, style = _OPS[change.op]
            if change.unpublished is not None:
                what, style = "marker", "magenta"
            _place(text, what, style, change.key.dataset_id, change.key.id, change.scn, change.order)
            if change.after is not None:
                _document(text, change.after)
            elif change.unpublished is not None:
                text.append(f"  {change.unpublished}")
        case Event(change=DatasetChange() as change):
            what, style = _OPS[change.op]
            _place(text, what, style, change.key.dataset_id, "(the dataset itself)", None, change.order)
            if change.after is not None and change.after.description:
                text.append(f"  {change.after.description}")
        case Event(change=Floor() as floor):
            which = floor.key.dataset_id or "(every dataset)"
            _place(text, "floor", "magenta", which, "(all before)", None, floor.order)
            text.append(f"  {floor.reason.value}")
        case Tombstone() as tombstone:
            which = tombstone.dataset_id or "(every dataset)"
            _place(text, "erase", "red", which, tombstone.id or "(all before)", tombstone.scn or None, tombstone.order)
            text.append(f"  {tombstone.reason.value}")
        case PublishedPosition() as position:
            state = "closed" if position.closed else "open"
            snapshot = "" if position.source.snapshot_done else ", snapshot not done"
            text.append(f"{describe(position.source)}, epoch {position.source.epoch}, {state}{snapshot}")
        case _:
            text.append(f"a record without a value, under {read.key}")
    return text


def _place(text: Text, what: str, style: str, dataset: str, id: str, scn: int | None, order: CommitOrder) -> None:
    text.append(what.ljust(6), style)
    text.append(f"  {dataset}", "bold")
    text.append(f"  {id}")
    if scn is not None:
        text.append(f"  scn {scn}", "dim")
    text.append(f"  {'/'.join(map(str, order))}", "dim")


def _document(text: Text, after: Document) -> None:
    size = len(after.embedding or b"")
    vector = "no vector" if not size else (f"{size // 4}-d" if size % 4 == 0 else f"{count(size, 'byte')} of vector")
    notes = [
        vector,
        *([after.embedding_model] if after.embedding_model else []),
        *(["archived"] if after.archived else []),
    ]
    text.append(f"  [{' '.join(notes)}]", "cyan")
    snippet = " ".join((after.content or "").split())
    text.append("  " + (snippet if len(snippet) <= _SNIPPET else snippet[: _SNIPPET - 1] + "…"))
