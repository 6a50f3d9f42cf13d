"""Addresses, names and the rules of the check, without a database."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import apsw
import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionLost,
    DataRefused,
    NotYet,
    Unreachable,
    VecsyncError,
)
from connector.settings import Mapping
from connector.upstream import shadow_log_triggers
from connector.upstream.address import mysql_address, sqlite_path
from connector.upstream.discover import Column, TableShape, cascades_in
from connector.upstream.findings import Severity, refusal, server_findings
from connector.upstream.library_findings import library_server_findings, library_table_findings
from connector.upstream.mysql import mysql_error
from connector.upstream.names import Dialect, literal, quoted

RIGHT = {
    "log_bin": "ON",
    "server_id": "7",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "binlog_row_value_options": "",
    "gtid_mode": "ON",
    "enforce_gtid_consistency": "ON",
    "binlog_expire_logs_seconds": "2592000",
    "binlog_checksum": "CRC32",
}


def test_addresses() -> None:
    assert mysql_address("mysql://a%40b@db.example:3307/my%20app") == ("a@b", "db.example", 3307, "my app")
    assert mysql_address("mysql://u@[::1]/app") == ("u", "::1", 3306, "app")
    assert sqlite_path("sqlite:///up.db") == Path("up.db")
    assert sqlite_path("sqlite:////var/lib/up.db") == Path("/var/lib/up.db")


@pytest.mark.parametrize(
    "url", ["mysql://u@h", "mysql://h/app", "mysql://u@h:x/app", "mysql://u@h/a/b", "mysql:///app"]
)
def test_addresses_that_name_nothing(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.url"):
        mysql_address(url)


@pytest.mark.parametrize("url", ["sqlite://up.db", "sqlite:///", "up.db"])
def test_files_that_are_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="names no file"):
        sqlite_path(url)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_quoting_survives_sqlite(name: str) -> None:
    db = apsw.Connection(":memory:")
    db.execute(f"CREATE TABLE t({quoted(name, 'sqlite')})")
    assert db.execute("SELECT name FROM pragma_table_info('t')").fetchall() == [(name,)]
    assert db.execute(f"SELECT {literal(name, 'sqlite')}").fetchall() == [(name,)]


def test_a_backslash_means_nothing_under_any_sql_mode() -> None:
    assert "\\" not in literal("a\\b", "mysql")
    assert literal("it's", "mysql") == "'it''s'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "CONSTRAINT c FOREIGN KEY (`dataset_id`) REFERENCES `vec_dataset` (`dataset_id`) ON DELETE CASCADE",
            True,
        ),
        ("FOREIGN KEY (`dataset_id`) REFERENCES `vec_dataset` (`dataset_id`) ON UPDATE CASCADE", False),
        (
            "FOREIGN KEY (`dataset_id`) REFERENCES `vec_dataset` (`dataset_id`) ON DELETE SET NULL ON UPDATE CASCADE",
            False,
        ),
        (
            "FOREIGN KEY (`dataset_id`) REFERENCES `vec_dataset` (`dataset_id`) ON UPDATE CASCADE ON DELETE CASCADE",
            True,
        ),
        ("FOREIGN KEY (`dataset_id`) REFERENCES `vec_dataset` (`dataset_id`)", False),
        ("FOREIGN KEY (`other`) REFERENCES `vec_dataset` (`dataset_id`) ON DELETE CASCADE", False),
        ("FOREIGN KEY (`dataset_id`) REFERENCES `others` (`dataset_id`) ON DELETE CASCADE", False),
        (
            "FOREIGN KEY (`dataset_id`) REFERENCES `vec_dataset` (`dataset_id`),"
            " FOREIGN KEY (`x`) REFERENCES `y` (`z`) ON DELETE CASCADE",
            False,
        ),
    ],
)
def test_cascades(text: str, expected: bool) -> None:
    assert cascades_in(f"CREATE TABLE `t` (\n  {text}\n)", "dataset_id", Mapping()) is expected


@pytest.mark.parametrize("mariadb", [True, False])
def test_right_settings_give_no_finding(mariadb: bool) -> None:
    assert server_findings(RIGHT, mariadb=mariadb, snapshot=True, server_id=8) == []


@pytest.mark.parametrize(
    ("change", "severity", "code"),
    [
        ({"log_bin": "OFF"}, Severity.ERROR, "log_bin"),
        ({"server_id": "0"}, Severity.ERROR, "server_id"),
        ({"server_id": "8"}, Severity.ERROR, "reader_server_id"),
        ({"binlog_format": "STATEMENT"}, Severity.ERROR, "binlog_format"),
        ({"binlog_row_image": "MINIMAL"}, Severity.ERROR, "binlog_row_image"),
        ({"binlog_row_metadata": "MINIMAL"}, Severity.ERROR, "binlog_row_metadata"),
        ({"binlog_row_value_options": "PARTIAL_JSON"}, Severity.ERROR, "binlog_row_value_options"),
        ({"gtid_mode": "ON_PERMISSIVE"}, Severity.ERROR, "gtid_mode"),
        ({"binlog_expire_logs_seconds": "86400"}, Severity.WARNING, "binlog_retention"),
        ({"binlog_expire_logs_seconds": "0", "expire_logs_days": "1.5"}, Severity.WARNING, "binlog_retention"),
        ({"max_binlog_total_size": "1048576"}, Severity.WARNING, "binlog_retention_size"),
        ({"binlog_checksum": "NONE"}, Severity.INFO, "binlog_checksum"),
    ],
)
def test_each_wrong_setting(change: dict[str, str], severity: Severity, code: str) -> None:
    found = server_findings(RIGHT | change, mariadb=False, snapshot=True, server_id=8)
    assert [(f.severity, f.code) for f in found] == [(severity, code)]
    assert found[0].mend_sql
    assert (found[0].what in refusal(found)) is (severity is Severity.ERROR)


def test_what_mysql_replication_does_not_read_exactly() -> None:
    right = Column("description", "text", True, "utf8mb4", "utf8mb4_bin")
    shape = TableShape("app", "docs", True, (Column("scn", "bigint", False),), mapped={"scn": "scn"})
    wrong = {
        "docs.scn": replace(shape, columns=(Column("scn", "bit(8)", False),)),
        "docs.other": replace(shape, columns=(*shape.columns, Column("other", "multipoint", True))),
        "vec_dataset.description": replace(shape, dataset_columns=(replace(right, charset="gbk"),)),
    }
    assert library_table_findings(replace(shape, dataset_columns=(right,)), Mapping()) == []
    for where, changed in wrong.items():
        table, _, column = where.partition(".")
        (found,) = library_table_findings(changed, Mapping())
        assert (found.severity, found.what.startswith(f"column {column} of {table} is ")) == (Severity.ERROR, True)
    for name, mariadb in (("log_bin_compress", True), ("binlog_transaction_compression", False)):
        (found,) = library_server_findings({name: "ON"}, mariadb=mariadb)
        assert (found.severity, found.code) == (Severity.ERROR, name)
        assert library_server_findings({name: "OFF"}, mariadb=mariadb) == []


def test_what_is_kept_for_ever_needs_no_warning() -> None:
    off = RIGHT | {"binlog_expire_logs_seconds": "60", "binlog_expire_logs_auto_purge": "OFF"}
    assert server_findings(off, mariadb=False, snapshot=True, server_id=None) == []
    assert server_findings(RIGHT | {"binlog_expire_logs_seconds": "0"}, mariadb=True, snapshot=True, server_id=1) == []


def test_without_a_snapshot_gtids_are_wished_for_only() -> None:
    found = server_findings(RIGHT | {"gtid_mode": "OFF"}, mariadb=False, snapshot=False, server_id=None)
    assert [f.severity for f in found] == [Severity.WARNING]


def test_triggers_for_the_usual_tables_need_nothing_else() -> None:
    db = apsw.Connection(":memory:")
    for statement in (
        "CREATE TABLE vec_dataset(dataset_id TEXT PRIMARY KEY)",
        "CREATE TABLE shadow_vec_docs(dataset_id TEXT, id TEXT, content TEXT, meta TEXT, embedding BLOB,"
        " embedding_model TEXT, scn INTEGER, archived INTEGER, PRIMARY KEY (dataset_id, id))",
        "CREATE TABLE vec_shadow_log(dataset_id TEXT, shadow_table TEXT, scn INTEGER, op TEXT, document_id TEXT,"
        " payload BLOB, PRIMARY KEY (dataset_id, shadow_table, scn))",
        "CREATE TABLE vec_dataset_scn(dataset_id TEXT PRIMARY KEY, next_scn INTEGER NOT NULL)",
        *shadow_log_triggers("shadow_vec_docs", dialect="sqlite"),
        "INSERT INTO vec_dataset VALUES ('A')",
        "INSERT INTO shadow_vec_docs VALUES ('A', '1', 'text', NULL, X'FF00', 'm', 5, 0)",
        "UPDATE shadow_vec_docs SET archived = 1",
        "UPDATE shadow_vec_docs SET id = '2'",
        "DELETE FROM shadow_vec_docs",
    ):
        db.execute(statement)
    log = db.execute("SELECT scn, op, document_id, payload FROM vec_shadow_log ORDER BY scn").fetchall()
    assert [row[:3] for row in log] == [
        *((1, "insert", "1"), (2, "update", "1"), (3, "delete", "1"), (4, "insert", "2"), (5, "delete", "2")),
    ]
    assert json.loads(str(log[0][3])) == {
        "dataset_id": "A",
        "id": "1",
        "content": "text",
        "meta": None,
        "embedding": "ff00",
        "embedding_model": "m",
        "scn": 5,
        "archived": 0,
    }


@pytest.mark.parametrize("dialect", ["sqlite", "mysql"])
def test_triggers_name_the_mapped_columns(dialect: Dialect) -> None:
    mapping = Mapping(id="key", embedding="vec", log_table="journal")
    text = "\n".join(shadow_log_triggers("docs", dialect=dialect, mapping=mapping, timestamps=["updated_at"]))
    for name in ("key", "vec", "journal", "updated_at"):
        assert quoted(name, dialect) in text
    assert "'embedding'" in text
    assert "vec_shadow_log" not in text


@pytest.mark.parametrize(
    ("code", "kind", "retriable"),
    [
        (1045, AuthenticationFailed, False),
        (1142, AuthenticationFailed, False),
        (1049, ConfigurationError, False),
        (1146, ConfigurationError, False),
        (1419, ConfigurationError, False),
        (1205, NotYet, True),
        (1213, ConnectionLost, True),
        (2013, ConnectionLost, True),
        (2003, Unreachable, True),
        (1406, DataRefused, False),
        (1452, DataRefused, False),
    ],
)
def test_errors_of_the_server(code: int, kind: type[VecsyncError], retriable: bool) -> None:
    error = mysql_error(pymysql.err.OperationalError(code, "as the server says"), "docs")
    assert type(error) is kind
    assert (error.retriable, "as the server says" in str(error)) == (retriable, True)
    assert error.hint
