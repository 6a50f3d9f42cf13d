"""Rows decoded by mysql-replication against the same rows by our decoder: the same values, or a refusal; over tables
with columns of every type, at any place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConfigurationError, CorruptedLog, UnsupportedChange
from connector.settings import Mapping as ColumnNames
from connector.source import binlog_library
from connector.source.binlog.events import RowsKind
from connector.source.binlog.rows import Rows
from connector.source.binlog.table_map import ColumnType as C
from connector.source.binlog.table_map import parse_table_map
from connector.source.binlog_following import Following
from connector.source.binlog_library import library_decoder
from tests.unit.binlog.cells import BINARY, UTF8MB4, bits, cells, decimals, integers, patiently, reals, strings
from tests.unit.binlog.writer import Cell, Column, Table, datetime2_bytes
from tests.unit.source.test_packing import NAMES, cell, document, documents, nulls, row, whole

OURS = Following("app", {"docs": True}, ColumnNames())
LIBRARY = replace(OURS, decode=library_decoder(mariadb=False))


def values(following: Following, kind: RowsKind, written: Sequence[Cell], images: bytes) -> Sequence[object]:
    plan = following.plan(parse_table_map(Table([column for column, _, _ in written]).body()))
    everything = ((1 << len(written)) - 1).to_bytes((len(written) + 7) // 8, "little")
    rows = Rows(plan, kind, 0, everything, everything if kind is RowsKind.UPDATE else b"", images, 0, len(images))
    return rows.pairs() if kind is RowsKind.UPDATE else rows.rows()


def both(kind: RowsKind, written: Sequence[Cell], images: bytes) -> tuple[Sequence[object], Sequence[object]]:
    return values(OURS, kind, written, images), values(LIBRARY, kind, written, images)


_TEXTS = strings(UTF8MB4)
_BYTES = strings(BINARY).filter(lambda cell: cell[0].type != C.STRING)
_NUMBERS = integers().filter(lambda cell: cell[1] < 1 << 63)
_OTHERS = st.one_of(strings(), integers(), decimals(), reals(), bits())


@st.composite
def _moments(draw: st.DrawFn) -> Cell:
    """Those that Python has."""
    digits, kind = draw(st.integers(0, 6)), draw(st.sampled_from([C.TIMESTAMP2, C.DATETIME2]))
    micros = draw(st.integers(0, 10**digits - 1)) * 10 ** (6 - digits)
    if kind is C.DATETIME2:
        at = draw(st.datetimes())
        raw = datetime2_bytes((at.year, at.month, at.day, at.hour, at.minute, at.second), micros, digits)
    else:
        size = (digits + 1) // 2
        raw = draw(st.integers(1, (1 << 31) - 1)).to_bytes(4, "big")
        raw += (micros // 10 ** (6 - 2 * size)).to_bytes(size, "big")
    return Column(kind, bytes([digits])), None, raw


@st.composite
def _exact(draw: st.DrawFn, others: st.SearchStrategy[Cell]) -> list[Cell]:
    """The cells of a document that it reads exactly, with others between them."""
    kinds: list[st.SearchStrategy[Cell]] = [_TEXTS, _TEXTS, _TEXTS, _TEXTS, _BYTES, _TEXTS, _NUMBERS, _NUMBERS]
    kinds += [_moments()] * draw(st.integers(0, 2))
    named = [
        (replace(column, name=name), value, raw)
        for name, (column, value, raw) in zip(NAMES, map(draw, kinds), strict=False)
    ]
    more = [(replace(c, name=f"other{n}"), v, raw) for n, (c, v, raw) in enumerate(draw(st.lists(others, max_size=4)))]
    return draw(st.permutations([*named, *more]))


@patiently
@given(data=st.data(), written=st.one_of(_exact(cells), documents()))
def test_whatever_it_gives_is_what_is_stored(data: st.DataObject, written: list[Cell]) -> None:
    images = b"".join(row(written, drawn) for drawn in data.draw(st.lists(nulls(written), min_size=1, max_size=3)))
    try:
        ours, theirs = both(RowsKind.WRITE, written, images)
    except (UnsupportedChange, CorruptedLog):
        return
    assert theirs == ours


@patiently
@given(data=st.data(), written=_exact(_OTHERS))
def test_what_it_reads_exactly_is_not_refused(data: st.DataObject, written: list[Cell]) -> None:
    images = [row(written, drawn) for drawn in data.draw(st.lists(nulls(written), min_size=1, max_size=3))]
    for kind, many in ((RowsKind.WRITE, 1), (RowsKind.DELETE, 1), (RowsKind.UPDATE, 2)):
        ours, theirs = both(kind, written, b"".join(one * many for one in images))
        assert theirs == ours
        assert len(theirs) == len(images)


def moment(kind: C, digits: int, raw: bytes) -> Cell:
    return Column(kind, bytes([digits])), None, raw


def datetime2(year: int, month: int, day: int) -> bytes:
    return datetime2_bytes((year, month, day, 0, 0, 0), 0, 0)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (C.TIMESTAMP2, bytes(4)),
        (C.TIMESTAMP2, (1 << 31).to_bytes(4, "big")),
        (C.DATETIME2, datetime2(0, 0, 0)),
        (C.DATETIME2, datetime2(2026, 0, 1)),
        (C.DATETIME2, datetime2(2026, 2, 30)),
    ],
)
def test_moments_that_python_has_not_are_refused(kind: C, raw: bytes) -> None:
    written = document(created_at=moment(kind, 0, raw))
    assert values(OURS, RowsKind.WRITE, written, whole(written))
    with pytest.raises(UnsupportedChange, match=r"created_at of app\.docs holds a value") as refusal:
        values(LIBRARY, RowsKind.WRITE, written, whole(written))
    assert "reader: binlog" in refusal.value.hint


@pytest.mark.parametrize(
    "column",
    [
        Column(C.VECTOR, b"\x04", collation=BINARY),
        Column(C.GEOMETRY, b"\x04"),
        Column(C.TIMESTAMP),
        Column(C.DATETIME),
        Column(C.TIME),
        Column(C.BLOB_COMPRESSED, b"\x02", collation=UTF8MB4),
    ],
)
def test_a_table_with_a_column_that_it_steps_over_wrongly_is_refused(column: Column) -> None:
    table = Table([replace(column, name="other"), *(column for column, _, _ in document())])
    OURS.plan(parse_table_map(table.body()))
    with pytest.raises(UnsupportedChange, match=rf"column other of app\.docs is {C(column.type).name}"):
        LIBRARY.plan(parse_table_map(table.body()))


@pytest.mark.parametrize("collation", [33, 45, 46, 83, 224, 255, 309, 11, 65, 2304])
def test_every_collation_of_these_character_sets(collation: int) -> None:
    written = document(content=cell(C.BLOB, "plain", collation))
    written = [
        (replace(column, metadata=b"\x01"), value, raw) if column.name == "content" else (column, value, raw)
        for column, value, raw in written
    ]
    ours, theirs = both(RowsKind.WRITE, written, whole(written))
    assert theirs == ours


def test_a_table_that_it_reads_otherwise_is_refused() -> None:
    """Here by a sign: the package is given what is logged, and something else is said of it."""
    table = parse_table_map(Table([column for column, _, _ in document()]).body())
    LIBRARY.plan(table)
    otherwise = [c._replace(unsigned=not c.unsigned) if c.name == "scn" else c for c in table.columns]
    with pytest.raises(UnsupportedChange, match=r"column scn of app\.docs"):
        LIBRARY.plan(table._replace(columns=tuple(otherwise)))


def test_rows_without_a_wanted_column_are_refused() -> None:
    written = document()
    plan = LIBRARY.plan(parse_table_map(Table([column for column, _, _ in written]).body()))
    with pytest.raises(UnsupportedChange, match="came without their column"):
        Rows(plan, RowsKind.WRITE, 0, b"\xfe\x03", b"", whole(written), 0, len(whole(written))).rows()


def test_rows_that_are_cut_off_are_refused() -> None:
    written = document()
    images = whole(written)
    for end in range(1, len(images)):
        with pytest.raises((UnsupportedChange, CorruptedLog)):
            values(LIBRARY, RowsKind.WRITE, written, images[:end])


def test_the_package_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(_name: str) -> None:
        return None

    monkeypatch.setattr(binlog_library, "find_spec", found)
    with pytest.raises(ConfigurationError) as refusal:
        library_decoder(mariadb=False)
    assert "vecsync-connector[mysql-replication]" in refusal.value.hint
