"""Rows that are packed against the same rows as changes, written by fastavro: the same bytes, or the same refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UnsupportedChange
from connector.model import DocChange, Op, PackedRows, TableName
from connector.publish.routing import Router
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.events import RowsKind
from connector.source.binlog.rows import Rows
from connector.source.binlog.table_map import ColumnType as C
from connector.source.binlog.table_map import parse_table_map
from connector.source.binlog_changes import TransactionOrigin, changes
from connector.source.binlog_following import Following
from connector.topics import table_topics
from connector.wire import DocEncoder, TransactionInfo, encode_value
from tests.system.packed import records
from tests.unit.binlog.cells import BINARY, LATIN1, UTF8MB4, cells, integers, moments, patiently, strings
from tests.unit.binlog.writer import Cell, Column, Table, image

FOLLOWING = Following("app", {"docs": True}, ColumnNames())
ORIGIN = TransactionOrigin("mysql", "p", 3, "binlog.000017", 17, 1_234_567_890_123, 1_700_000_000_000_001, 7, "a:1")
NAMES = [
    *("dataset_id", "id", "content", "meta", "embedding", "embedding_model", "scn", "archived"),
    *("created_at", "updated_at"),
]


@st.composite
def keys(draw: st.DrawFn) -> Cell:
    column, value, raw = draw(strings().filter(lambda cell: cell[0].collation != BINARY))
    return replace(column, nullable=False), value, raw


texts = strings().filter(lambda cell: cell[0].collation != BINARY)
moments_as_text = moments().filter(lambda cell: isinstance(cell[1], str))
numbers = integers().filter(lambda cell: cell[1] < 1 << 63)


@st.composite
def embeddings(draw: st.DrawFn) -> Cell:
    if draw(st.booleans()):
        return draw(strings().filter(lambda cell: cell[0].collation == BINARY))
    raw = draw(st.binary(max_size=40))
    return Column(C.VECTOR, b"\x04", collation=BINARY), raw, len(raw).to_bytes(4, "little") + raw


@st.composite
def documents(draw: st.DrawFn) -> list[Cell]:
    """The cells of a document, with columns of any type between them."""
    kinds = [keys(), keys(), texts, texts, embeddings(), texts, numbers, integers()]
    kinds += [draw(st.sampled_from([moments_as_text, texts])) for _ in range(draw(st.integers(0, 2)))]
    named = [
        (replace(column, name=name), value, raw)
        for name, (column, value, raw) in zip(NAMES, map(draw, kinds), strict=False)
    ]
    others = [(replace(c, name=f"other{n}"), v, raw) for n, (c, v, raw) in enumerate(draw(st.lists(cells, max_size=6)))]
    return draw(st.permutations([*named, *others]))


def rows(kind: RowsKind, cells: Sequence[Cell], images: bytes, *, pack: bool = True) -> Rows:
    described = parse_table_map(Table([column for column, _, _ in cells]).body())
    plan = FOLLOWING.plan(described)
    if not pack:
        plan.packing = None
    everything = b"\xff" * ((len(cells) + 7) // 8)
    return Rows(plan, kind, 0, everything, everything, images, 0, len(images))


def row(cells: Sequence[Cell], nulls: Sequence[bool]) -> bytes:
    held = [None if null and column.nullable else raw for (column, _, raw), null in zip(cells, nulls, strict=True)]
    return image([True] * len(cells), held)


def nulls(of: Sequence[Cell]) -> st.SearchStrategy[list[bool]]:
    return st.lists(st.booleans(), min_size=len(of), max_size=len(of))


@patiently
@given(data=st.data(), cells=documents())
def test_the_same_bytes_as_the_changes_that_rows_stand_for(data: st.DataObject, cells: list[Cell]) -> None:
    images = [row(cells, drawn) for drawn in data.draw(st.lists(nulls(cells), min_size=1, max_size=5))]
    last = data.draw(st.booleans())
    for kind, written in (
        (RowsKind.WRITE, b"".join(images)),
        (RowsKind.UPDATE, b"".join(one + images[0] for one in images)),
    ):
        packed = list(changes([rows(kind, cells, written)] * 2, ORIGIN, FOLLOWING))
        assert [(type(one), len(one.rows)) for one in packed if isinstance(one, PackedRows)] == [
            (PackedRows, len(images))
        ] * 2
        plain = list(changes([rows(kind, cells, written, pack=False)] * 2, ORIGIN, FOLLOWING))
        assert len(plain) == 2 * len(images)
        assert records(packed, last) == records(plain, last)


def cell(kind: C, text: str | bytes, collation: int = UTF8MB4, *, nullable: bool = True) -> Cell:
    raw = text.encode() if isinstance(text, str) else text
    return Column(kind, b"\x28\x00", nullable, collation=collation), text, bytes([len(raw)]) + raw


def document(**overrides: Any) -> list[Cell]:
    found: dict[str, Cell] = {name: cell(C.VARCHAR, f"a {name}") for name in NAMES}
    found["dataset_id"] = cell(C.VARCHAR, "d", nullable=False)
    found["id"] = cell(C.VARCHAR, "i", nullable=False)
    found["embedding"] = cell(C.VARCHAR, bytes(8), BINARY)
    found["scn"] = Column(C.LONGLONG, unsigned=True), 5, (5).to_bytes(8, "little")
    found["archived"] = Column(C.TINY, unsigned=False), 0, b"\0"
    found |= overrides
    return [(replace(column, name=name), value, raw) for name, (column, value, raw) in found.items()]


def whole(cells: Sequence[Cell]) -> bytes:
    return row(cells, [False] * len(cells))


@pytest.mark.parametrize("name", ["dataset_id", "id", "content", "meta", "embedding_model", "created_at"])
@pytest.mark.parametrize("raw", [b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80", b"ok\xf5"])
def test_bytes_that_are_no_text_are_refused_by_name(name: str, raw: bytes) -> None:
    good, bad = document(), document(**{name: cell(C.VARCHAR, raw, nullable=name not in ("dataset_id", "id"))})
    written = whole(good) + whole(bad)
    refusals = []
    for pack in (True, False):
        with pytest.raises(CorruptedLog, match=f"column {name} of app.docs holds bytes that are no text") as caught:
            list(changes([rows(RowsKind.WRITE, good, written, pack=pack)], ORIGIN, FOLLOWING))
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]


def test_a_number_that_the_log_has_no_room_for_is_refused() -> None:
    cells = document(scn=(Column(C.LONGLONG, unsigned=True), 1 << 63, (1 << 63).to_bytes(8, "little")))
    with pytest.raises(UnsupportedChange, match=str(1 << 63)):
        list(changes([rows(RowsKind.WRITE, cells, whole(cells))], ORIGIN, FOLLOWING))


def test_rows_that_change_their_key_are_changes() -> None:
    before, after = document(), document(dataset_id=cell(C.VARCHAR, "e", nullable=False))
    written = whole(before) + whole(before) + whole(before) + whole(after)
    made = list(changes([rows(RowsKind.UPDATE, before, written)], ORIGIN, FOLLOWING))
    assert [(change.op, change.moved) for change in made if isinstance(change, DocChange)] == [
        (Op.UPDATE, False),
        (Op.DELETE, True),
        (Op.CREATE, False),
    ]
    assert len(made) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"embedding": cell(C.VARCHAR, "text")},
        {"content": cell(C.VARCHAR, b"bytes", BINARY)},
        {"id": cell(C.VARCHAR, "i")},  # it could be NULL
        {"scn": (Column(C.DOUBLE, b"\x08", unsigned=False), 0.0, bytes(8))},
        {"archived": (Column(C.BIT, b"\x01\x00"), 0, b"\0")},
    ],
)
def test_columns_of_other_types_are_not_packed(other: dict[str, Cell]) -> None:
    cells = document(**other)
    assert rows(RowsKind.WRITE, cells, b"").plan.packing is None
    (change,) = changes([rows(RowsKind.WRITE, cells, whole(cells))], ORIGIN, FOLLOWING)
    assert not isinstance(change, PackedRows)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 63, 64, 8191, 8192, 8193, 16_383, 16_384, 70_000, 1 << 21])
def test_lengths_on_either_side_of_their_forms(size: int) -> None:
    def blob(collation: int) -> Cell:
        return Column(C.BLOB, b"\x04", collation=collation), None, size.to_bytes(4, "little") + b"x" * size

    cells = document(content=blob(UTF8MB4), meta=blob(LATIN1), embedding=blob(BINARY))
    written = whole(cells)
    packed, plain = (
        records(changes([rows(RowsKind.WRITE, cells, written, pack=pack)], ORIGIN, FOLLOWING)) for pack in (True, False)
    )
    assert packed == plain


def test_a_truncated_event_never_reads_as_rows() -> None:
    cells = document()
    written = whole(cells) * 2
    for end in range(1, len(written)):
        if end == len(written) // 2:
            continue
        with pytest.raises(CorruptedLog):
            list(changes([rows(RowsKind.WRITE, cells, written[:end])], ORIGIN, FOLLOWING))


def test_records_of_packed_rows_are_those_of_their_changes() -> None:
    """Lane, key and order too, by which a restart skips what stands, and the change, which dead letters carry."""
    topics = table_topics("p", "app", "docs")
    router, encoder = Router({TableName("app", "docs"): topics}, 4), DocEncoder()
    cells = [document(dataset_id=cell(C.VARCHAR, f"d{n}", nullable=False)) for n in range(3)]
    written = b"".join(map(whole, cells))
    (packed,) = changes([rows(RowsKind.WRITE, cells[0], written)], ORIGIN, FOLLOWING)
    assert isinstance(packed, PackedRows)
    ours = router.route_rows(packed, encoder.envelope(packed, "t", 5))
    plain = changes([rows(RowsKind.WRITE, cells[0], written, pack=False)], ORIGIN, FOLLOWING)
    for number, (row, change) in enumerate(zip(ours, plain, strict=True), 1):
        assert isinstance(change, DocChange)
        (other,) = router.route(change)
        assert (row.lane, row.key, row.order, row.change) == (other.lane, other.key, other.order, other.change)
        value = row.envelope.value(row.row, row.ordinal, number, True)
        assert value == encode_value(change, TransactionInfo("t", number, True), 5)
    assert len(ours) == 3
    assert encoder.envelope(packed, "t", 5) is ours[0].envelope
    assert encoder.envelope(packed._replace(op=Op.UPDATE), "t", 5) is not ours[0].envelope
    with pytest.raises(UnsupportedChange, match=r"app\.other"):
        router.route_rows(packed._replace(source=packed.source._replace(table="other")), ours[0].envelope)
