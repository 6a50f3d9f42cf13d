"""What a statement about whole tables leaves of their documents: none, all as they were, or nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.errors import UnseenRows, UnsupportedChange
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.items import StatementItem
from connector.source.binlog.query import Query
from connector.source.binlog.statements import classify
from connector.source.binlog_definitions import emptied
from connector.source.binlog_following import Following

NAMES = ColumnNames(content="body", created_at="born")
FOLLOWING = Following("app", {"docs": True, "notes": False, "gone": None}, NAMES)


def of(sql: str, *, strict: bool = True, ignores_case: bool = False) -> list[str]:
    query = Query("app", sql, False, False, True, 0, strict)
    following = replace(FOLLOWING, ignores_case=ignores_case)
    return emptied(StatementItem(classify(query), query), "at b.000001:4", following)


@pytest.mark.parametrize(
    ("sql", "gone"),
    [
        ("TRUNCATE docs", ["docs"]),
        ("TRUNCATE TABLE other.docs", []),
        ("DROP TABLE notes, docs, other", ["docs", "notes"]),
        ("RENAME TABLE docs TO old", ["docs"]),
        ("RENAME TABLE docs TO elsewhere.docs, notes TO elsewhere.notes", ["docs", "notes"]),
        ("RENAME TABLE old TO older, elsewhere.docs TO app.something", []),
        ("ALTER TABLE docs ADD x INT, RENAME TO old", ["docs"]),
        ("CREATE OR REPLACE TABLE notes (dataset_id INT)", ["notes"]),
        (
            "CREATE TABLE notes (dataset_id INT, `references` INT COMMENT 'REFERENCES vec_dataset ON DELETE CASCADE')",
            [],
        ),
        ("CREATE TABLE docs (FOREIGN KEY (d) REFERENCES `vec_dataset` (d) ON UPDATE CASCADE ON DELETE CASCADE)", []),
        ("CREATE TABLE docs (d INT REFERENCES app.vec_dataset (d) ON DELETE CASCADE, e INT)", []),
        ("CREATE TABLE gone (d INT REFERENCES vec_dataset (d) ON DELETE CASCADE)", []),
        ("CREATE TABLE gone (d INT)", []),
        ("CREATE OR REPLACE TABLE gone (d INT REFERENCES vec_dataset (d) ON DELETE CASCADE)", ["gone"]),
        ("ALTER TABLE gone DROP FOREIGN KEY c", []),
        ("CREATE TABLE other LIKE docs", []),
        ("DROP DATABASE other", []),
        ("ALTER TABLE docs ADD content INT, DROP created_at, MODIFY id2 INT", []),
        ("ALTER TABLE docs MODIFY COLUMN body TEXT CHARACTER SET latin1 FIRST, CHANGE scn SCN BIGINT", []),
        ("ALTER TABLE docs CONVERT TO CHARACTER SET latin1", []),
        ("ALTER TABLE docs ADD PARTITION (PARTITION p VALUES IN ('x')), ADD INDEX body (body), DROP KEY id", []),
        ("ALTER TABLE vec_dataset ADD COLUMN owner INT, MODIFY description LONGTEXT", []),
        ("ALTER TABLE vec_dataset ADD FOREIGN KEY (owner) REFERENCES owners (id)", []),
        ("ALTER TABLE other DROP COLUMN body, DROP PARTITION p", []),
    ],
)
def test_all_or_none(sql: str, gone: list[str]) -> None:
    assert of(sql) == gone


@pytest.mark.parametrize(
    ("sql", "gone"), [("TRUNCATE App.Docs", ["docs"]), ("RENAME TABLE DOCS TO old", ["docs"]), ("DROP DATABASE b", [])]
)
def test_names_in_any_case(sql: str, gone: list[str]) -> None:
    """As the server takes them: with lower_case_table_names they are one."""
    assert of(sql) == []
    assert of(sql, ignores_case=True) == gone
    with pytest.raises(UnseenRows):
        of("DROP DATABASE APP", ignores_case=True)


@pytest.mark.parametrize(
    "sql",
    [
        "RENAME TABLE docs TO old, ghost TO docs",
        "RENAME TABLE docs TO notes",
        "RENAME TABLE elsewhere.docs TO app.docs",
        "RENAME TABLE vec_dataset TO old",
        "ALTER TABLE ghost RENAME docs",
        "ALTER TABLE ghost EXCHANGE PARTITION p WITH TABLE docs",
        "ALTER TABLE ghost CONVERT PARTITION p TO TABLE app.docs",
        "ALTER TABLE ghost CONVERT TABLE docs TO PARTITION p",
        "ALTER TABLE docs DROP PARTITION p",
        "ALTER TABLE docs ADD x INT, TRUNCATE PARTITION ALL",
        "ALTER TABLE docs IMPORT TABLESPACE",
        "ALTER IGNORE TABLE docs ADD UNIQUE (scn)",
        "TRUNCATE vec_dataset",
        "DROP TABLE vec_dataset, docs",
        "DROP DATABASE app",
        "CREATE OR REPLACE DATABASE app",
        "CREATE TABLE docs (dataset_id INT)",
        "CREATE TABLE docs LIKE notes",
        "CREATE OR REPLACE TABLE docs (dataset_id INT)",
        "CREATE TABLE notes (d INT, CONSTRAINT c FOREIGN KEY (d) REFERENCES vec_dataset (d) ON DELETE CASCADE)",
        "ALTER TABLE docs DROP FOREIGN KEY c",
        "ALTER TABLE docs DROP CONSTRAINT c",
        "ALTER TABLE notes ADD CONSTRAINT c FOREIGN KEY (d) REFERENCES vec_dataset (d)",
        "ALTER TABLE docs ADD COLUMN born DATETIME",
        "ALTER TABLE docs ADD (x INT, born DATETIME)",
        "ALTER TABLE docs ADD COLUMN IF NOT EXISTS `Born` DATETIME",
        "ALTER TABLE docs DROP IF EXISTS born",
        "ALTER TABLE docs DROP COLUMN body, ADD COLUMN body TEXT",
        "ALTER TABLE docs RENAME COLUMN born TO died, RENAME COLUMN x TO born",
        "ALTER TABLE docs CHANGE body old TEXT, CHANGE text body TEXT",
        "ALTER TABLE docs MODIFY born DATETIME(6)",
        "ALTER TABLE docs MODIFY body VARCHAR(10)",
        "ALTER TABLE docs MODIFY body TEXT AS (CONCAT(id, 'x')) STORED",
        "ALTER TABLE docs MODIFY embedding VARBINARY(100)",
        "ALTER TABLE docs MODIFY scn INT",
        "ALTER TABLE vec_dataset DROP COLUMN description",
        "ALTER TABLE vec_dataset ADD source_uri TEXT DEFAULT ('x')",
    ],
)
def test_something_between(sql: str) -> None:
    with pytest.raises(UnseenRows, match=r"^at b.000001:4 ") as caught:
        of(sql)
    assert "vecsync capture snapshot" in caught.value.hint


@pytest.mark.parametrize(
    "sql", ["ALTER TABLE docs MODIFY body TEXT CHARACTER SET latin1", "ALTER TABLE docs CONVERT TO CHARACTER SET ascii"]
)
def test_a_session_that_makes_values_fit(sql: str) -> None:
    assert of(sql) == []
    with pytest.raises(UnseenRows):
        of(sql, strict=False)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE docs DROP body",
        "ALTER TABLE docs DROP COLUMN IF EXISTS `BODY`, DROP born",
        "ALTER TABLE docs RENAME COLUMN body TO content",
        "ALTER TABLE docs CHANGE COLUMN body content TEXT",
    ],
)
def test_a_column_that_documents_need(sql: str) -> None:
    with pytest.raises(UnsupportedChange, match="lost its column body") as caught:
        of(sql)
    assert not isinstance(caught.value, UnseenRows)
    assert "source.mapping" in caught.value.hint
