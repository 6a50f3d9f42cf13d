"""Table maps and their optional metadata; character sets."""

from __future__ import annotations

import pytest

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.charsets import charset_name, text_decoder
from connector.source.binlog.rows import RowPlan
from connector.source.binlog.storage import converter
from connector.source.binlog.table_map import ColumnType as C
from connector.source.binlog.table_map import TableMap, parse_names, parse_table_map
from tests.unit.binlog.writer import Column, Table, packed, packed_text

ENUM = Column(C.STRING, bytes([C.ENUM, 1]))
SET = Column(C.STRING, bytes([C.SET, 1]))
NUMBER = Column(C.LONG)
TEXT = Column(C.VARCHAR, b"\x28\x00")


def field(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + packed_text(value)


def parsed(columns: list[Column], extra: bytes, *, mariadb: bool = False) -> TableMap:
    return parse_table_map(Table(columns, with_metadata=False, extra=extra).body(), mariadb=mariadb)


def test_names_alone_can_be_had_of_a_table_whose_types_are_unknown() -> None:
    body = Table([Column(99)], db="d", name="t", table_id=2**40).body()
    assert parse_names(body, 6) == (2**40, "d", "t")
    with pytest.raises(UnsupportedChange, match=r"column 1 of d\.t has the unknown type 99"):
        parse_table_map(body)


def test_members_are_texts_in_the_character_set_of_their_column() -> None:
    members = packed(2) + packed_text("é".encode("latin-1")) + packed_text("b")
    extra = field(4, b"\1e\1s") + field(10, packed(8)) + field(6, members) + field(5, members)
    table = parsed([ENUM, SET], extra)
    assert [column.members for column in table.columns] == [("é", "b"), ("é", "b")]
    enum, several = (converter(column, table) for column in table.columns)
    assert enum is not None
    assert several is not None
    assert [enum(bytes([number])) for number in range(3)] == ["", "é", "b"]
    assert [several(bytes([number])) for number in range(4)] == ["", "é", "b", "é,b"]
    for convert, number in ((enum, 3), (several, 4)):
        with pytest.raises(CorruptedLog):
            convert(bytes([number]))


def test_members_in_a_character_set_that_cannot_be_converted_stay_numbers() -> None:
    members = field(6, packed(1) + packed_text(b"\x83\x65"))
    assert parsed([ENUM], field(4, b"\1e") + field(11, packed(13)) + members).columns[0].members == ("テ",)
    table = parsed([ENUM], field(4, b"\1e") + field(11, packed(9999)) + members)
    assert table.columns[0].members is None
    convert = converter(table.columns[0], table)
    assert convert is not None
    assert convert(b"\1") == 1


def test_default_collations_have_exceptions_counted_among_their_columns() -> None:
    table = parsed([NUMBER, TEXT, ENUM, TEXT, TEXT], field(2, packed(255) + packed(1) + packed(8)))
    assert [column.collation for column in table.columns] == [None, 255, None, 8, 255]


def test_mariadb_counts_geometry_among_the_texts() -> None:
    columns = [Column(C.YEAR), NUMBER, Column(C.GEOMETRY, b"\4"), TEXT]
    extra = field(1, b"\x40") + field(2, packed(255) + packed(1) + packed(8))
    table = parsed(columns, extra, mariadb=True)
    assert [column.unsigned for column in table.columns] == [False, True, None, None]
    assert table.columns[3].collation == 8
    with pytest.raises(CorruptedLog, match="make no sense"):
        parsed(columns, extra, mariadb=False)


@pytest.mark.parametrize("mariadb", [True, False])
def test_years_have_a_sign(mariadb: bool) -> None:
    """Left out of the count, every number after one would have its neighbour's."""
    table = parsed([NUMBER, Column(C.YEAR), NUMBER, NUMBER], field(1, b"\x50"), mariadb=mariadb)
    assert [column.unsigned for column in table.columns] == [False, True, False, True]


def test_mysql_counts_vectors_among_the_texts() -> None:
    """They have the collation `binary`. Left out of the count, every text after one would be in its neighbour's."""
    columns = [Column(C.VECTOR, b"\4"), TEXT, Column(C.JSON, b"\4"), Column(C.GEOMETRY, b"\4"), TEXT]
    each = parsed(columns, field(3, packed(63) + packed(8) + packed(255)))
    by_default = parsed(columns, field(2, packed(255) + packed(0) + packed(63) + packed(1) + packed(8)))
    for table in (each, by_default):
        assert [column.collation for column in table.columns] == [63, 8, None, None, 255]


@pytest.mark.parametrize("count", [1, 3])
def test_collations_for_more_or_fewer_columns_than_there_are_texts_are_refused(count: int) -> None:
    """A server that counts other types among its texts must not shift the character sets of those that follow."""
    with pytest.raises(CorruptedLog, match="collations"):
        parsed([TEXT, NUMBER, TEXT], field(3, packed(8) * count))


def test_keys_and_visibility() -> None:
    names = field(4, b"\1a\1b\1c")
    assert parsed([NUMBER] * 3, names).primary_key == ()
    assert parsed([NUMBER] * 3, b"").primary_key is None
    assert parsed([NUMBER] * 3, names + field(8, b"\2\0")).primary_key == (2, 0)
    assert parsed([NUMBER] * 3, names + field(9, b"\2\0\1\5")).primary_key == (2, 1)
    table = parsed([NUMBER] * 3, names + field(12, b"\xa0"))
    assert [column.visible for column in table.columns] == [True, False, True]


def test_what_the_metadata_leaves_out_can_be_filled_in() -> None:
    table = parsed([NUMBER, TEXT], b"")
    known = parse_table_map(
        Table([Column(C.LONG, unsigned=True, name="n"), Column(C.VARCHAR, b"\x28\x00", collation=8, name="t")]).body()
    )
    described = table.described(dict(enumerate(known.columns)))
    assert [(c.name, c.unsigned, c.collation) for c in described.columns] == [("n", True, None), ("t", None, 8)]
    RowPlan(described, ["t", "n"])
    partly = known.described({0: known.columns[0]._replace(name="other", unsigned=False)})
    assert partly == known


@pytest.mark.parametrize(
    "body",
    [
        Table([TEXT]).body()[:-1],
        Table([NUMBER], extra=b"\4\3\1a").body(),
        Table([NUMBER, NUMBER], with_metadata=False, extra=field(4, b"\1a")).body(),
        Table([Column(C.STRING, b"\x30\x01")]).body(),
        Table([Column(C.VARCHAR, b"\x28")]).body(),
        Table([NUMBER], with_metadata=False, extra=field(4, b"\1\xff")).body(),
        Table([TEXT], with_metadata=False, extra=field(2, b"")).body(),
        Table([TEXT], with_metadata=False, extra=field(2, b"\x21\0")).body(),
        Table([TEXT], with_metadata=False, extra=field(2, b"\x21\1\x08")).body(),
        Table([NUMBER] * 4097, with_metadata=False).body(),
        Table([]).body(),
        Table([NUMBER]).body().replace(b"docs", b"d\xffcs"),
    ],
)
def test_a_table_map_that_does_not_add_up_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptedLog):
        parse_table_map(body)


@pytest.mark.parametrize("column", [Column(C.NULL), Column(C.BLOB, b"\7"), Column(C.STRING, bytes([C.SET, 9]))])
def test_a_column_of_unknown_size_is_refused(column: Column) -> None:
    with pytest.raises(UnsupportedChange, match="size is not known"):
        RowPlan(parse_table_map(Table([column, Column(C.LONG, unsigned=False)]).body()), ["c1"])


def test_latin1_is_windows_1252_with_its_holes_filled() -> None:
    decode = text_decoder("latin1")
    assert decode is not None
    assert decode(bytes([0x80, 0x81, 0x8D, 0x8F, 0x90, 0x9D, 0xE9])) == "€\x81\x8d\x8f\x90\x9dé"
    assert len({decode(bytes([octet])) for octet in range(256)}) == 256


@pytest.mark.parametrize(("charset", "octet"), [("ascii", 0x80), ("greek", 0xA4), ("cp1251", 0x98), ("utf8mb4", 0xFF)])
def test_bytes_that_a_character_set_does_not_define_are_no_text(charset: str, octet: int) -> None:
    decode = text_decoder(charset)
    assert decode is not None
    with pytest.raises(UnicodeDecodeError):
        decode(bytes([octet]))


@pytest.mark.parametrize(
    ("collation", "charset"),
    [
        (255, "utf8mb4"),
        (46, "utf8mb4"),
        (2304, "utf8mb4"),
        (83, "utf8mb3"),
        (8, "latin1"),
        (63, "binary"),
        (77777, None),
    ],
)
def test_collations_belong_to_character_sets(collation: int, charset: str | None) -> None:
    assert charset_name(collation) == charset
