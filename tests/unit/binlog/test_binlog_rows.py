"""Rows of any columns at any place read back as what was written, whatever else stands beside them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.events import ROWS_EVENTS, EventType, RowsKind, RowsLayout
from connector.source.binlog.rows import RowPlan, Rows, parse_rows_head
from connector.source.binlog.table_map import ColumnType, parse_table_map
from tests.unit.binlog.cells import UTF8MB4, cells, patiently
from tests.unit.binlog.writer import Cell, Column, Table, image, rows_body

V2 = {kind: RowsLayout(kind, True, False) for kind in RowsKind}
TEXT = Column(ColumnType.VARCHAR, b"\x28\x00", collation=UTF8MB4)
NUMBER = Column(ColumnType.LONG, unsigned=False)


def read(table: Table, wanted: list[str], body: bytes, layout: RowsLayout) -> Rows:
    plan = RowPlan(parse_table_map(table.body()), wanted)
    head = parse_rows_head(body, 0, layout, 6)
    assert head.table_id == table.table_id
    assert head.width == len(table.columns)
    return Rows(plan, layout.kind, head.flags, head.before, head.after, body, head.rows, len(body))


@patiently
@given(data=st.data(), drawn=st.lists(st.tuples(cells, st.booleans()), min_size=1, max_size=20))
def test_every_type_reads_back_at_any_place(data: st.DataObject, drawn: list[tuple[Cell, bool]]) -> None:
    table = Table([cell[0] for cell, _ in drawn])
    names = table.names()
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    null_rows = data.draw(st.lists(st.lists(st.booleans(), min_size=len(drawn), max_size=len(drawn)), max_size=4))
    nulls = [[null for _, null in drawn], *null_rows]

    def values(row: list[bool]) -> dict[str, Any]:
        return {name: None if null else cell[1] for name, (cell, _), null in zip(names, drawn, row, strict=True)}

    images = [
        image([True] * len(drawn), [None if null else cell[2] for (cell, _), null in zip(drawn, row, strict=True)])
        for row in nulls
    ]
    expected = [tuple(values(row)[name] for name in wanted) for row in nulls]

    written = rows_body(len(drawn), b"".join(images), extra=data.draw(st.binary(max_size=5)))
    assert read(table, wanted, written, V2[RowsKind.WRITE]).rows() == expected

    pairs = rows_body(len(drawn), b"".join(one + one for one in images), after=[True] * len(drawn))
    assert read(table, wanted, pairs, V2[RowsKind.UPDATE]).pairs() == [(row, row) for row in expected]


@patiently
@given(data=st.data(), drawn=st.lists(cells, min_size=2, max_size=12))
def test_columns_that_an_image_leaves_out_do_not_shift_the_others(data: st.DataObject, drawn: list[Cell]) -> None:
    present = data.draw(st.lists(st.booleans(), min_size=len(drawn), max_size=len(drawn)).filter(any))
    table = Table([column for column, _, _ in drawn])
    wanted = [name for name, there in zip(table.names(), present, strict=True) if there]
    body = rows_body(len(drawn), image(present, [raw for _, _, raw in drawn]), present=present)
    expected = tuple(value for (_, value, _), there in zip(drawn, present, strict=True) if there)
    assert read(table, wanted, body, V2[RowsKind.DELETE]).rows() == [expected]


def test_a_wanted_column_that_an_image_leaves_out_is_refused_by_name() -> None:
    table = Table([NUMBER, TEXT])
    present = [True, False]
    body = rows_body(2, image(present, [b"\1\0\0\0", b""]), present=present)
    with pytest.raises(UnsupportedChange, match=r"app\.docs came without their column c1") as caught:
        read(table, ["c0", "c1"], body, V2[RowsKind.WRITE]).rows()
    assert "binlog_row_image" in caught.value.hint


@patiently
@given(drawn=st.lists(cells, min_size=1, max_size=8), data=st.data())
def test_an_event_cut_short_or_grown_never_reads_as_rows(drawn: list[Cell], data: st.DataObject) -> None:
    table = Table([column for column, _, _ in drawn])
    whole = rows_body(len(drawn), image([True] * len(drawn), [raw for _, _, raw in drawn]))
    head = parse_rows_head(whole, 0, V2[RowsKind.WRITE], 6).rows
    cut = data.draw(st.integers(head + 1, len(whole) - 1)) if len(whole) > head + 1 else head
    plan = RowPlan(parse_table_map(table.body()), table.names())
    full = b"\xff" * ((len(drawn) + 7) // 8)
    if cut > head:
        with pytest.raises(CorruptedLog):
            Rows(plan, RowsKind.WRITE, 0, full, b"", whole, head, cut).rows()
    with pytest.raises(CorruptedLog):
        Rows(plan, RowsKind.WRITE, 0, full, b"", whole + b"\0", head, len(whole) + 1).rows()


def test_text_that_is_none_in_its_character_set_names_the_column() -> None:
    table = Table([NUMBER, TEXT])
    body = rows_body(2, image([True, True], [b"\1\0\0\0", b"\x02\xc3\x28"]))
    with pytest.raises(CorruptedLog, match=r"column c1 of app\.docs holds bytes that are no text"):
        read(table, ["c0", "c1"], body, V2[RowsKind.WRITE]).rows()


def test_null_in_a_column_that_cannot_be_null_is_refused() -> None:
    table = Table([Column(ColumnType.LONG, unsigned=False, nullable=False)])
    body = rows_body(1, image([True], [None]))
    with pytest.raises(CorruptedLog, match="NOT NULL"):
        read(table, ["c0"], body, V2[RowsKind.WRITE]).rows()


def test_a_bad_row_after_good_ones_is_found() -> None:
    table = Table([TEXT, NUMBER])
    good = image([True, True], [b"\x02ok", b"\1\0\0\0"])
    bad = image([True, True], [b"\x02\xff\xff", b"\1\0\0\0"])
    with pytest.raises(CorruptedLog, match="column c0"):
        read(table, ["c0", "c1"], rows_body(2, good + good + bad), V2[RowsKind.WRITE]).rows()


def test_wanted_columns_come_in_the_order_asked_for_and_by_any_case() -> None:
    table = Table(
        [Column(ColumnType.LONG, unsigned=False, name="Id"), Column(ColumnType.TINY, unsigned=True, name="b")]
    )
    body = rows_body(2, image([True, True], [b"\5\0\0\0", b"\xff"]))
    assert read(table, ["B", "id"], body, V2[RowsKind.WRITE]).rows() == [(255, 5)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column(ColumnType.LONG), "its sign"),
        (Column(ColumnType.VARCHAR, b"\x28\x00"), "its character set"),
        (Column(ColumnType.VARCHAR, b"\x28\x00", collation=9999), "of collation 9999"),
    ],
)
def test_a_value_that_could_not_be_exact_is_refused_before_any_row(column: Column, message: str) -> None:
    table = parse_table_map(Table([Column(ColumnType.DOUBLE, b"\x08"), column]).body())
    with pytest.raises(UnsupportedChange, match=message) as caught:
        RowPlan(table, ["c1"])
    assert "collation" not in message or "utf8mb4" in caught.value.hint
    RowPlan(table, ["c0"])  # nobody wants the other: it is stepped over


def test_columns_without_names_and_columns_that_are_not_there_are_refused() -> None:
    with pytest.raises(UnsupportedChange, match="does not name the columns") as caught:
        RowPlan(parse_table_map(Table([NUMBER], with_metadata=False).body()), ["c0"])
    assert "binlog_row_metadata" in caught.value.hint
    with pytest.raises(UnsupportedChange, match="has no column nope"):
        RowPlan(parse_table_map(Table([NUMBER]).body()), ["c0", "nope"])


def test_version_1_events_have_no_extra_data() -> None:
    table = Table([NUMBER])
    body = rows_body(1, image([True], [b"\7\0\0\0"]), version=1, flags=3)
    rows = read(table, ["c0"], body, ROWS_EVENTS[EventType.WRITE_ROWS_V1])
    assert rows.rows() == [(7,)]
    assert rows.no_foreign_key_checks


def test_many_null_patterns_do_not_grow_without_bound() -> None:
    table = Table([NUMBER] * 12)
    plan = RowPlan(parse_table_map(table.body()), table.names())
    readers = plan.readers(b"\xff\xff", plan.values)
    for pattern in range(1 << 12):
        values = [None if pattern >> at & 1 else at.to_bytes(4, "little") for at in range(12)]
        row, _ = readers.read(image([True] * 12, values), 0)
        assert row == tuple(None if pattern >> at & 1 else at for at in range(12))
        assert len(readers) <= 512
