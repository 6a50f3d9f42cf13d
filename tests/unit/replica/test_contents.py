"""What there is of a row, or was: with the greatest order that may have made or taken it."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from connector.model import CommitOrder, DatasetKey, DocKey
from connector.replica import schema
from connector.replica.connection import open_writer
from connector.replica.contents import Content, content, contents

KEY = DocKey("d", "1")


@pytest.fixture
def db(tmp_path: Path) -> apsw.Connection:
    path = tmp_path / "replica.db"
    connection = open_writer(path)
    schema.prepare(connection, path)
    connection.execute("INSERT INTO replica_collection (no, shadow_table, dataset_id, topic, partition) VALUES"
                       " (1, 'docs', 'd', 't', 0), (2, 'docs', 'e', 't', 1)")  # fmt: skip
    return connection


def test_what_never_was_has_no_order(db: apsw.Connection) -> None:
    assert content(db, "docs", KEY) == Content("docs", KEY, None, None)
    assert content(db, "", DatasetKey("d")) == Content("", DatasetKey("d"), None, None)
    assert list(contents(db)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO replica_tombstone VALUES (1, '1', 1, 2, 3, 9, 0, 0, NULL)",
        "INSERT INTO replica_dataset_floor VALUES (1, 1, 2, 3, 9, 'cascade', 0)",
        "INSERT INTO replica_table_floor VALUES ('t', 0, 1, 2, 3, 9, 'truncate', 0)",
        "INSERT INTO replica_forgotten VALUES (1, 1, 2, 3, 9)",
    ],
)
def test_of_one_that_is_gone_the_greatest_that_may_have_taken_it(db: apsw.Connection, statement: str) -> None:
    """Without it, one that came and went again between two looks would seem not to have moved."""
    lower = (
        "INSERT OR IGNORE INTO replica_tombstone VALUES (1, '1', 1, 2, 3, 4, 0, 0, 'too large')",
        "INSERT OR IGNORE INTO replica_dataset_floor VALUES (1, 1, 2, 3, 5, 'cascade', 0)",
        "INSERT OR IGNORE INTO replica_table_floor VALUES ('t', 0, 1, 2, 3, 6, 'truncate', 0)",
        "INSERT OR IGNORE INTO replica_forgotten VALUES (1, 1, 2, 3, 7)",
        # Of another dataset, in another partition.
        "INSERT INTO replica_dataset_floor VALUES (2, 8, 8, 8, 8, 'cascade', 0)",
        "INSERT INTO replica_table_floor VALUES ('t', 1, 8, 8, 8, 8, 'truncate', 0)",
    )
    for one in (statement, *lower):
        db.execute(one)
    found = content(db, "docs", KEY)
    assert (found.order, found.row) == (CommitOrder(1, 2, 3, 9), None)
    assert found.unpublished == (None if "tombstone" in statement else "too large")
