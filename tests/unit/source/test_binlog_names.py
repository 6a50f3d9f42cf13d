"""Names for columns from a table that must be the one of the log: any difference that the log tells is found."""

from __future__ import annotations

import pytest

from connector.errors import UnsupportedChange
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.charsets import charset_name
from connector.source.binlog.table_map import Column, TableMap
from connector.source.binlog.table_map import ColumnType as C
from connector.source.binlog_following import Following
from connector.source.binlog_names import named
from connector.upstream.discover import Column as Declared

DECLARED = [
    Declared("n", "int(10) unsigned", False),
    Declared("t", "varchar(70)", True, "utf8mb4", "utf8mb4_bin"),
    Declared("l", "mediumtext", True, "latin1", "latin1_bin"),
    Declared("b", "longblob", True),
    Declared("p", "decimal(9,3)", True),
    Declared("at", "timestamp(6)", True),
    Declared("bits", "bit(11)", True),
    Declared("y", "year(4)", True),
    Declared("where", "point", True),
]
LOGGED = (
    Column(C.LONG, 0, False),
    Column(C.VARCHAR, 280, True),
    Column(C.BLOB, 3, True),
    Column(C.BLOB, 4, True),
    Column(C.NEWDECIMAL, 9 << 8 | 3, True),
    Column(C.TIMESTAMP2, 6, True),
    Column(C.BIT, 11, True),
    Column(C.YEAR, 0, True, unsigned=True),
    Column(C.GEOMETRY, 4, True),
)


def test_what_the_log_leaves_out_is_filled_in() -> None:
    found = named(TableMap(1, "app", "docs", LOGGED, None), DECLARED)
    assert [column.name for column in found.columns] == [column.name for column in DECLARED]
    assert found.columns[0].unsigned is True
    assert [charset_name(column.collation or 0) for column in found.columns[1:4]] == ["utf8mb4", "latin1", "binary"]
    assert [column.type for column in found.columns] == [column.type for column in LOGGED]


@pytest.mark.parametrize(
    ("at", "logged", "difference"),
    [
        (0, Column(C.LONGLONG, 0, False), "column n is int(10) unsigned, and the log has LONGLONG"),
        (0, Column(C.LONG, 0, True), "takes NULL"),
        (0, Column(C.LONG, 0, False, unsigned=False), "a signed one"),
        (1, Column(C.VARCHAR, 70, True), "VARCHAR of 70, not 280"),
        (1, Column(C.VARCHAR, 280, True, collation=8), "text in latin1"),
        (2, Column(C.BLOB, 2, True), "BLOB of 2, not 3"),
        (2, Column(C.BLOB, 3, True, collation=63), "text in binary"),
        (3, Column(C.BLOB, 4, True, collation=46), "text in utf8mb4"),
        (4, Column(C.NEWDECIMAL, 10 << 8 | 3, True), "NEWDECIMAL"),
        (5, Column(C.DATETIME2, 6, True), "DATETIME2"),
        (5, Column(C.TIMESTAMP2, 3, True), "TIMESTAMP2 of 3, not 6"),
        (6, Column(C.BIT, 12, True), "BIT of 12, not 11"),
    ],
)
def test_a_difference_is_named(at: int, logged: Column, difference: str) -> None:
    columns = (*LOGGED[:at], logged, *LOGGED[at + 1 :])
    with pytest.raises(UnsupportedChange, match="it was another table then") as caught:
        named(TableMap(1, "app", "docs", columns, None), DECLARED)
    assert difference in str(caught.value)


def test_a_column_more_or_less() -> None:
    for columns in (LOGGED[:-1], (*LOGGED, LOGGED[0])):
        with pytest.raises(UnsupportedChange, match="it has 9 columns"):
            named(TableMap(1, "app", "docs", columns, None), DECLARED)


def test_members_of_an_enum_are_never_guessed() -> None:
    """Its numbers would be taken for text."""
    declared = [Declared("dataset_id", "enum('a','b')", False, "utf8mb4", "utf8mb4_bin")]
    following = Following("app", {"docs": True}, ColumnNames(), columns={"vec_dataset": declared})
    with pytest.raises(UnsupportedChange, match="members of column dataset_id"):
        following.plan(TableMap(1, "app", "vec_dataset", (Column(C.ENUM, 1, False),), None))
