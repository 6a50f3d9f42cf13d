"""Decoded records as lines and as JSON: every kind of record, and nothing left out that the wire says."""

from __future__ import annotations

import json
import struct

import pytest

from connector.broker import Record
from connector.cli.event_lines import line
from connector.errors import UsageError
from connector.model import (
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Key,
    Lane,
    Op,
    PublishedPosition,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    Tombstone,
    TombstoneReason,
)
from connector.runtime.events import as_json
from connector.runtime.tail import Tailed, Wanted, matches, timestamp_ms
from connector.wire import Event, TransactionInfo

ORDER = CommitOrder(1, 7, 420, 3)
SOURCE = SourceInfo("mysql", "p", 1_000_000, False, "app", "shadow_vec_docs", 5, "g:1", "b.000007", 420, 3)
RECORD = Record("p.app.shadow_vec_docs", 2, 41, b"k", b"v", 1_772_366_400_000)
DOC = DocKey("pets", "cat.md#0")
AFTER = Document("Cats\nsleep  well. " + "z" * 100, "{}", struct.pack("<2f", 1, -2), "m", 9, True)


def _tailed(change: DocChange | DatasetChange | Floor) -> Tailed:
    return Tailed(RECORD, change.key, Event(change, TransactionInfo("g:1", 3, True), 2))


UPDATE = _tailed(DocChange(Op.UPDATE, DOC, 10, AFTER, ORDER, SOURCE))
DELETE = _tailed(DocChange(Op.DELETE, DOC, 10, None, ORDER, SOURCE))
MARKER = _tailed(DocChange(Op.UPDATE, DOC, 10, None, ORDER, SOURCE, unpublished="too large"))
DATASET = _tailed(DatasetChange(Op.CREATE, DatasetKey("pets"), Dataset("All pets", None), ORDER, SOURCE))
FLOOR = _tailed(Floor(FloorKey(None), ORDER, FloorReason.TRUNCATE, SOURCE))
TOMBSTONE = Tailed(RECORD, DOC, Tombstone("pets", "cat.md#0", ORDER, 10, TombstoneReason.MOVED, 3))
AT = SourcePosition(SourceIdentity("mysql", "uuid-1"), file="b.000007", position=420, gtid_set="g:1-9")
POSITION = Tailed(RECORD, None, PublishedPosition(AT, {Lane("p.app.shadow_vec_docs", 0): 5}, False, 3))
EMPTY = Tailed(RECORD, DOC, None)


@pytest.mark.parametrize(
    ("read", "parts"),
    [
        (UPDATE, ["2@41", "12:00:00", "update", "pets", "cat.md#0", "scn 10", "1/7/420/3", "[2-d m archived]"]),
        (UPDATE, ["Cats sleep well."]),
        (DELETE, ["delete", "pets", "cat.md#0"]),
        (MARKER, ["marker", "cat.md#0", "too large"]),
        (DATASET, ["insert", "pets", "All pets"]),
        (FLOOR, ["floor", "every dataset", "truncate"]),
        (TOMBSTONE, ["erase", "cat.md#0", "moved"]),
        (POSITION, ["b.000007:420", "g:1-9", "open", "snapshot not done"]),
        (EMPTY, ["without a value"]),
    ],
)
def test_a_line_says_what_matters(read: Tailed, parts: list[str]) -> None:
    text = line(read).plain
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_json_says_everything() -> None:
    value = as_json(UPDATE, vectors=True)["value"]
    assert value["after"]["content"] == AFTER.content
    assert value["after"]["embedding"] == [1.0, -2.0]
    assert value["order"] == {"epoch": 1, "file": 7, "position": 420, "ordinal": 3}
    assert value["source"]["gtid"] == "g:1"
    assert value["transaction"] == {"id": "g:1", "total_order": 3, "last": True}
    assert "embedding" not in as_json(UPDATE)["value"]["after"]
    assert as_json(MARKER)["value"]["unpublished"] == "too large"
    assert as_json(FLOOR)["value"]["floor"] == "truncate"
    assert as_json(TOMBSTONE)["value"]["reason"] == "moved"
    assert as_json(POSITION)["value"]["ends"] == [{"topic": "p.app.shadow_vec_docs", "partition": 0, "offset": 5}]
    for read in (UPDATE, DELETE, MARKER, DATASET, FLOOR, TOMBSTONE, POSITION, EMPTY):
        json.dumps(as_json(read, vectors=True))


def test_a_vector_of_broken_bytes_is_counted_and_not_invented() -> None:
    broken = _tailed(DocChange(Op.UPDATE, DOC, 1, Document("c", None, b"1234567", "m", 1, False), ORDER, SOURCE))
    after = as_json(broken, vectors=True)["value"]["after"]
    assert (after["embedding_bytes"], after["dims"]) == (7, None)
    assert "embedding" not in after
    assert "7 bytes of vector" in line(broken).plain


@pytest.mark.parametrize(
    ("key", "dataset", "id", "expected"),
    [
        (DOC, None, None, True),
        (DOC, "pets", "cat.md#0", True),
        (DOC, "pets", "dog.md#0", False),
        (DOC, "plants", None, False),
        (DatasetKey("pets"), "pets", None, True),
        (DatasetKey("pets"), "pets", "cat.md#0", False),
        (FloorKey("pets"), "pets", "cat.md#0", True),
        (FloorKey("pets"), "plants", None, False),
        (FloorKey(None), "plants", "x", True),
    ],
)
def test_a_floor_concerns_what_it_removes(key: Key, dataset: str | None, id: str | None, expected: bool) -> None:
    assert matches(Tailed(RECORD, key, None), Wanted(dataset=dataset, id=id)) is expected


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert timestamp_ms("2026-03-01T12:00:00") == timestamp_ms("2026-03-01T12:00:00Z") == 1_772_366_400_000
    assert timestamp_ms("2026-03-01T14:00:00+02:00") == 1_772_366_400_000
    with pytest.raises(UsageError, match="tomorrow"):
        timestamp_ms("tomorrow")
