"""What of a log is followed where there are several databases, and tables that appear."""

from __future__ import annotations

import pytest

from connector.errors import TableAppeared, UnseenRows
from connector.model import Change, Floor, FloorReason, TableName
from connector.settings import Mapping as ColumnNames
from connector.settings import SourceSettings
from connector.source.binlog.items import StatementItem
from connector.source.binlog.query import Query
from connector.source.binlog.statements import classify
from connector.source.binlog_changes import TransactionOrigin, changes
from connector.source.binlog_coming import Coming
from connector.source.binlog_following import Following, FollowingAll
from connector.upstream.tables import Patterns, named

NAMES = ColumnNames()
ORIGIN = TransactionOrigin("mysql", "p", 1, "b.000001", 1, 4, 0, 1, None)
PATTERNS = Patterns(SourceSettings(url="mysql://u@h/app", tables=["docs", "docs_*", "t*.docs*"]))
GONE = TableName("app", "docs_gone")
LOOKED_UP = (3, 1000)
BEFORE, BEHIND = (3, 999), (3, 1001)
ASKED: list[TableName] = []
THERE: set[TableName] = set()


def there(name: TableName) -> bool:
    ASKED.append(name)
    return name in THERE


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    ASKED.clear()
    THERE.clear()


def following(*, ignores_case: bool = False) -> FollowingAll:
    followed = [TableName("app", "docs"), TableName("t1", "docs"), GONE]
    return FollowingAll(
        {
            "app": Following("app", {"docs": True, "docs_gone": None}, NAMES, ignores_case=ignores_case),
            "t1": Following("t1", {"docs": True}, NAMES, found=True, ignores_case=ignores_case),
        },
        Coming(PATTERNS, followed, [GONE], LOOKED_UP, there, "app"),
    )


FOLLOWED = following()


def item(sql: str, db: str = "app") -> StatementItem:
    query = Query(db, sql, False, False, True, 0, True)
    return StatementItem(classify(query), query)


def floors(sql: str) -> list[tuple[str, str, FloorReason]]:
    found: list[Change] = []
    for change in changes([item(sql)], ORIGIN, FOLLOWED):
        assert isinstance(change, Floor)
        found.append(change)
    return [(f.source.db, f.source.table, f.reason) for f in found if isinstance(f, Floor)]


def test_a_statement_counts_for_the_database_that_it_names() -> None:
    assert floors("TRUNCATE docs") == [("app", "docs", FloorReason.TRUNCATE)]
    assert floors("TRUNCATE t1.docs") == [("t1", "docs", FloorReason.TRUNCATE)]
    both = floors("DROP TABLE t1.docs, other.docs, app.docs")
    assert both == [("app", "docs", FloorReason.DROP), ("t1", "docs", FloorReason.DROP)]
    assert floors("TRUNCATE other.docs") == []
    with pytest.raises(UnseenRows, match=r"t1\.docs"):
        floors("RENAME TABLE docs TO t1.old, t1.copy TO t1.docs")


def test_a_database_that_may_go_takes_everything_of_it() -> None:
    assert floors("DROP DATABASE t1") == [("t1", "docs", FloorReason.SNAPSHOT)]
    with pytest.raises(UnseenRows):
        floors("DROP DATABASE app")


BRINGS = [
    ("CREATE TABLE docs_a (id INT)", "docs_a"),
    ("CREATE TABLE IF NOT EXISTS t2.docs_a LIKE docs", "t2.docs_a"),
    ("CREATE OR REPLACE TABLE docs_a (id INT)", "docs_a"),
    ("RENAME TABLE docs TO old, other.copy TO t9.docs_a", "t9.docs_a"),
    ("ALTER TABLE other.copy RENAME TO docs_a", "docs_a"),
]


@pytest.mark.parametrize(("sql", "table"), BRINGS)
def test_a_statement_that_brings_a_table(sql: str, table: str) -> None:
    THERE.add(named(table, "app"))
    with pytest.raises(TableAppeared, match="docs_a") as caught:
        following().look(item(sql).statement, BEHIND)
    assert caught.value.tables == [table]


@pytest.mark.parametrize(("sql", "table"), BRINGS)
def test_one_that_is_gone_again_when_its_beginning_is_read(sql: str, table: str) -> None:
    following().look(item(sql).statement, BEHIND)
    assert [named(table, "app")] == ASKED


@pytest.mark.parametrize(
    "sql",
    ["CREATE TEMPORARY TABLE docs_a (id INT)", "DROP TABLE docs_a", "TRUNCATE docs_a", "ALTER TABLE docs_a ADD b INT"],
)
def test_a_statement_that_brings_none(sql: str) -> None:
    FOLLOWED.look(item(sql).statement, BEHIND)
    assert ASKED == []


def test_a_row_of_a_table_that_is_not_known() -> None:
    assert FOLLOWED.follows("app", "docs")
    assert FOLLOWED.follows("t1", "vec_dataset")
    assert FOLLOWED.follows("other", "docs") is False
    THERE.add(TableName("t2", "docs_b"))
    with pytest.raises(TableAppeared, match=r"t2\.docs_b"):
        FOLLOWED.follows("t2", "docs_b")
    assert ASKED == [("t2", "docs_b")]


def test_one_that_matches_is_asked_about_whenever_it_is_met() -> None:
    """It may have been made again since, and the log need not say so."""
    assert FOLLOWED.follows("t2", "docs") is None
    THERE.add(TableName("t2", "docs"))
    with pytest.raises(TableAppeared):
        FOLLOWED.follows("t2", "docs")


def test_a_table_that_is_made_again_is_another_one() -> None:
    again = following()
    THERE.update((TableName("t1", "docs"), GONE))
    again.look(item("CREATE TABLE IF NOT EXISTS t1.docs (id INT)").statement, BEHIND)
    again.look(item("DROP TABLE t1.docs, docs").statement, BEHIND)
    again.look(item("CREATE TABLE docs (id INT)").statement, BEHIND)  # named, also by its entry: as ever
    with pytest.raises(TableAppeared, match="made again"):
        again.look(item("CREATE TABLE t1.docs (id INT)").statement, BEHIND)
    with pytest.raises(TableAppeared, match="made again"):
        following().look(item("CREATE TABLE docs_gone (id INT)").statement, BEHIND)
    dropped = following()
    dropped.look(item("DROP DATABASE t1").statement, BEHIND)
    with pytest.raises(TableAppeared, match="made again"):
        dropped.look(item("CREATE TABLE t1.docs (id INT)").statement, BEHIND)


def test_what_was_made_again_before_the_tables_were_looked_up_is_known_as_it_is() -> None:
    """Otherwise a stream that begins again before it would stop at it for ever."""
    again = following()
    THERE.update((TableName("t1", "docs"), GONE))
    again.look(item("DROP TABLE t1.docs").statement, BEFORE)
    again.look(item("CREATE TABLE t1.docs (id INT)").statement, BEFORE)
    again.look(item("CREATE TABLE docs_gone (id INT)").statement, BEFORE)
    assert ASKED == []


def test_names_in_statements_of_a_server_that_ignores_case() -> None:
    THERE.add(TableName("t2", "docs_a"))
    with pytest.raises(TableAppeared, match="docs_a"):
        following(ignores_case=True).look(item("CREATE TABLE T2.Docs_A (id INT)").statement, BEHIND)
    again = following(ignores_case=True)
    THERE.add(TableName("t1", "docs"))
    again.look(item("DROP DATABASE T1").statement, BEHIND)
    with pytest.raises(TableAppeared, match="made again"):
        again.look(item("CREATE TABLE T1.DOCS (id INT)").statement, BEHIND)


@pytest.mark.parametrize("away", ["RENAME TABLE t1.docs TO t1.old", "ALTER TABLE t1.docs RENAME TO t1.old"])
def test_a_table_that_is_made_where_one_was_renamed_is_another_one(away: str) -> None:
    again = following()
    THERE.add(TableName("t1", "docs"))
    again.look(item(away).statement, BEHIND)
    with pytest.raises(TableAppeared, match="made again"):
        again.look(item("CREATE TABLE t1.docs (id INT)").statement, BEHIND)


def test_one_that_is_made_by_the_first_transaction_after_the_look_is_another_one() -> None:
    THERE.add(GONE)
    with pytest.raises(TableAppeared, match="made again"):
        following().look(item("CREATE TABLE docs_gone (id INT)").statement, LOOKED_UP)
