"""A binlog that does not name its columns: refused, unless allowed; then checked against the table, never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from connector.errors import PreflightRefused, UnseenRows, UnsupportedChange
from connector.publish import request_snapshot
from connector.source.binlog_source import BinlogSource
from connector.upstream.findings import Severity
from connector.upstream.preflight import require
from tests.servers.fix_provider import server_needed
from tests.servers.fix_sql import fresh_database
from tests.servers.model import Provider, SqlDatabase, SqlKind, SqlServer
from tests.system.followed import Followed, Moment, Told
from tests.system.schema import create_tables

ALTER = "ALTER TABLE shadow_vec_docs "
INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id, content, meta, embedding, embedding_model, scn) VALUES "
LEVELS: list[tuple[SqlKind, str]] = [("mysql", "MINIMAL"), ("mariadb", "MINIMAL"), ("mariadb", "NO_LOG")]


@pytest.fixture(scope="module")
def servers(provider: Provider) -> Iterator[dict[SqlKind, SqlServer]]:
    with ExitStack() as ending:
        with server_needed():
            kinds: list[SqlKind] = ["mysql", "mariadb"]
            found = {kind: ending.enter_context(provider.sql(kind)) for kind in kinds}
        yield found


@pytest.fixture(params=LEVELS, ids=lambda level: f"{level[0]}-{level[1]}")
def database(request: pytest.FixtureRequest, servers: dict[SqlKind, SqlServer]) -> Iterator[SqlDatabase]:
    kind, level = request.param
    servers[kind].query(f"SET GLOBAL binlog_row_metadata = '{level}'")
    with fresh_database(servers[kind]) as found:
        create_tables(found)
        found.execute(
            ALTER + "ADD COLUMN extra INT UNSIGNED NOT NULL DEFAULT 7 FIRST, ADD COLUMN price DECIMAL(9,3),"
            " ADD COLUMN flags BIT(11), ADD COLUMN kind ENUM('a','b') DEFAULT 'a', ADD COLUMN fixed CHAR(70),"
            " ADD COLUMN raw VARBINARY(9), ADD COLUMN at TIME(3), ADD COLUMN day DATE, ADD COLUMN point POINT,"
            " ADD COLUMN half FLOAT, ADD COLUMN list SET('x','y'), ADD COLUMN born YEAR, ADD COLUMN tiny TINYTEXT,"
            " ADD COLUMN doc JSON, ADD COLUMN twice DOUBLE, MODIFY meta TEXT CHARACTER SET latin1,"
            " MODIFY scn INT UNSIGNED NOT NULL DEFAULT 0, ADD COLUMN note MEDIUMTEXT FIRST",
            "INSERT INTO vec_dataset (dataset_id, description) VALUES ('d', 'one'), ('e', 'two')",
            INSERT + "('d','a','Grüße','é',X'0000803F','m',1),('e','c','','','','',4000000000)",
        )
        yield found


def test_refused_unless_allowed(database: SqlDatabase, tmp_path: Path) -> None:
    site = Followed(database, tmp_path)
    with pytest.raises(PreflightRefused, match=r"(SET GLOBAL|SET PERSIST) binlog_row_metadata = 'FULL'"):
        require(site.settings())
    warned = [f.code for f in require(site.settings(row_metadata="minimal")) if f.severity is Severity.WARNING]
    assert warned == ["binlog_row_metadata"]
    told = Told(database)
    told.run(INSERT + "('d','x','ä','x',X'00','m',4)")
    with pytest.raises(UnsupportedChange, match="does not name the columns"):
        told.follow(told.source.stream(told.begin))
    told.source.close()


def test_rows_are_read_by_the_names_of_the_table(database: SqlDatabase) -> None:
    told = Told(database, row_metadata="minimal")
    stream = told.source.stream(told.begin)
    told.run(
        INSERT + "('d','x','ä','é',X'00','m',4000000001),('e','y',NULL,NULL,NULL,NULL,5)",
        "UPDATE shadow_vec_docs SET content = 'changed', price = 1.5, doc = '{}', point = POINT(1, 2), kind = 'b'",
        "DELETE FROM shadow_vec_docs WHERE id = 'c'",
        "UPDATE vec_dataset SET description = 'changed'",
        "DELETE FROM vec_dataset WHERE dataset_id = 'e'",
        "TRUNCATE TABLE shadow_vec_docs",
        INSERT + "('d','x','again','é',X'00','m',4)",
    )
    told.follow(stream)
    told.source.close()


@pytest.mark.parametrize(
    "clauses",
    [
        "ADD COLUMN a VARCHAR(20) NULL FIRST, DROP COLUMN extra",
        "RENAME COLUMN content TO old, RENAME COLUMN note TO content",
    ],
    ids=["others", "names"],
)
def test_columns_that_change_have_the_table_read_again(database: SqlDatabase, tmp_path: Path, clauses: str) -> None:
    """Also where no table map could tell: a column that takes the name of another one of its type."""
    site = Followed(database, tmp_path, row_metadata="minimal")
    site.capture()
    site.check()
    told = Told(database, row_metadata="minimal")
    begun_before = told.source.stream(told.begin)
    database.execute(
        ALTER + clauses,
        INSERT + "('d','x','after','é',X'00','m',4)",
    )
    told.moments.append(Moment(told.source.head(), {}))
    with pytest.raises(UnseenRows):
        told.follow(begun_before)
    told.source.close()
    site.capture()
    site.check()
    assert site.epoch() == 2
    database.execute("UPDATE shadow_vec_docs SET content = 'again'")
    site.capture()
    site.check()
    assert site.epoch() == 2


@pytest.mark.parametrize(
    ("clauses", "difference"),
    [("ADD COLUMN a INT", "27 columns, and the log 26"), ("MODIFY extra INT UNSIGNED NULL", "takes no NULL")],
)
def test_rows_of_another_table_than_the_present_one_are_refused(
    database: SqlDatabase, tmp_path: Path, clauses: str, difference: str
) -> None:
    """What was logged before the statement is read when the table is another one; nothing of it is published."""
    site = Followed(database, tmp_path, row_metadata="minimal")
    site.capture()
    database.execute(INSERT + "('d','x','before','é',X'00','m',4)", ALTER + clauses)
    for _ in range(2):
        with pytest.raises(UnsupportedChange, match="it was another table then") as caught:
            site.capture()
        assert difference in str(caught.value)
        assert "vecsync capture snapshot" in caught.value.hint
        assert not isinstance(caught.value, UnseenRows)
    source = BinlogSource(site.settings())
    request_snapshot(source, site.broker, site.settings())
    source.close()
    site.capture()
    site.check()
