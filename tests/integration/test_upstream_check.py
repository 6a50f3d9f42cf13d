"""`source check` and the least privileges, on real servers set wrongly on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigurationError, PreflightRefused
from connector.settings import Settings, SourceSettings
from connector.source import Source
from connector.source.connect import open_source
from connector.upstream import UpstreamRow, connect
from connector.upstream.discover import discover
from connector.upstream.findings import Finding, Severity
from connector.upstream.install import install
from connector.upstream.preflight import check, require
from connector.upstream.sqlite import open_writer
from tests.servers.fix_sql import StartSqlServer, fresh_database
from tests.servers.model import SqlDatabase, SqlKind, SqlServer
from tests.system.followed import Told
from tests.system.log_reading import LogFollower
from tests.system.packed import unpacked
from tests.system.snapshot_reading import source_state

GRANTS = Path(__file__).parents[2] / "deploy" / "sql"
KINDS: list[SqlKind] = ["mariadb", "mysql"]


def settings_of(url: str, password: str, **more: Any) -> Settings:
    return Settings(source=SourceSettings.model_validate({"kind": "mysql", "url": url, "password": password} | more))


def of(database: SqlDatabase, **more: Any) -> Settings:
    return settings_of(database.url, database.server.password, **more)


def codes(found: list[Finding], *severities: Severity) -> set[str]:
    return {f.code for f in found if f.severity in (severities or list(Severity))}


def test_a_server_set_up_right_has_no_errors(sql_database: SqlDatabase) -> None:
    settings = of(sql_database)
    assert codes(check(settings), Severity.ERROR) == {"table_missing"}
    with pytest.raises(PreflightRefused, match="source install"):
        require(settings)
    install(settings.source)
    found = require(settings)
    assert codes(found, Severity.ERROR, Severity.WARNING) == set()
    assert all(f.what and f.why for f in found)


WRONG: dict[SqlKind, dict[str, str | int | None]] = {
    "mariadb": {
        "binlog_format": "MIXED",
        "binlog_row_image": "MINIMAL",
        "binlog_row_metadata": "NO_LOG",
        "binlog_checksum": "NONE",
        "binlog_expire_logs_seconds": 3600,
        "binlog_do_db": "other",
    },
    "mysql": {
        "binlog_format": "MIXED",
        "binlog_row_image": "NOBLOB",
        "binlog_row_metadata": "MINIMAL",
        "binlog_row_value_options": "PARTIAL_JSON",
        "binlog_checksum": "NONE",
        "binlog_expire_logs_seconds": 3600,
        "binlog_ignore_db": "other",
        "gtid_mode": "OFF",
        "enforce_gtid_consistency": "OFF",
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_wrong_setting_is_found_and_mended_as_said(kind: SqlKind, start_sql_server: StartSqlServer) -> None:
    server = start_sql_server(kind, WRONG[kind])
    server.query("CREATE DATABASE app")
    settings = settings_of(server.url("app"), server.password, server_id=server.port)
    # Triggers and functions are refused while statements may be logged, so the tables come once this is mended.
    found = check(settings)
    expected = {"binlog_format", "binlog_row_image", "binlog_row_metadata", "reader_server_id", "table_missing"}
    if kind == "mariadb":
        expected |= {"binlog_filter"}
    else:
        expected |= {"binlog_row_value_options", "gtid_mode", "enforce_gtid_consistency"}
    assert codes(found, Severity.ERROR) == expected
    warned = {"binlog_retention"} | ({"binlog_filter"} if kind == "mysql" else set())
    assert codes(found, Severity.WARNING) == warned
    assert "binlog_checksum" in codes(found, Severity.INFO)
    for finding in found:
        for statement in finding.mend_sql.split(";"):
            lines = [line for line in statement.splitlines() if line.strip() and not line.startswith("--")]
            if lines:
                server.query("\n".join(lines))
    left = codes(check(settings), Severity.ERROR, Severity.WARNING)
    assert left == {"reader_server_id", "table_missing", "binlog_filter"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_binlog(kind: SqlKind, start_sql_server: StartSqlServer) -> None:
    off: dict[str, str | int | None] = {"log_bin": None}
    if kind == "mysql":
        off = {"log_bin": None, "skip_log_bin": "", "gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"}
    server = start_sql_server(kind, off)
    server.query("CREATE DATABASE app")
    settings = settings_of(server.url("app"), server.password)
    install(settings.source)
    found = check(settings)
    assert "log_bin" in codes(found, Severity.ERROR)
    with pytest.raises(PreflightRefused, match="the binlog is off"):
        require(settings)
    by_log = settings_of(server.url("app"), server.password, reader="shadow_log")
    assert codes(require(by_log), Severity.WARNING) == set()
    database = SqlDatabase(server, "app")
    follower = LogFollower(database)
    follower.to_head()
    database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('a')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '1', 'x')",
    )
    follower.to_head()
    follower.close()
    assert follower.state() == source_state(database) != {}


def test_tables_that_cannot_be_followed(sql_database: SqlDatabase) -> None:
    sql_database.execute(
        "CREATE TABLE vec_dataset (dataset_id VARCHAR(100) PRIMARY KEY, description TEXT, source_uri TEXT)",
        "CREATE TABLE bad (dataset_id VARCHAR(100) NOT NULL, id BINARY(16) NOT NULL, content MEDIUMTEXT, meta TEXT,"
        " embedding TEXT, scn BIGINT, archived TINYINT, own INT, PRIMARY KEY (id, scn)) ENGINE=MyISAM",
        "CREATE TABLE keyless (dataset_id VARCHAR(100) NOT NULL, id VARCHAR(100) NOT NULL, content TEXT, meta TEXT,"
        " embedding BLOB, embedding_model TEXT, scn BIGINT, archived TINYINT)",
    )
    found = check(of(sql_database, tables=["bad"]))
    assert codes(found, Severity.ERROR) == {"column_missing", "column_type", "engine"}
    assert {f.what.split(" of ")[0] for f in found if f.code == "column_type"} == {"column id", "column embedding"}
    assert {"extra_columns", "no_triggers", "no_cascade"} <= codes(found, Severity.INFO)
    found = check(of(sql_database, tables=["keyless"]))
    assert codes(found, Severity.ERROR) == {"primary_key"}
    for finding in found:
        if finding.code == "primary_key":
            sql_database.execute(finding.mend_sql.rstrip(";"))
    assert codes(check(of(sql_database, tables=["keyless"])), Severity.ERROR) == set()


def test_foreign_keys_that_take_rows_unlogged(sql_database: SqlDatabase) -> None:
    """MySQL logs them since 9.6: that is tried with rows."""
    install(of(sql_database).source)
    refers = "REFERENCES owners (id) ON DELETE CASCADE"
    sql_database.execute(
        "CREATE TABLE owners (id INT PRIMARY KEY)",
        f"ALTER TABLE vec_dataset ADD COLUMN owner INT NULL, ADD FOREIGN KEY (owner) {refers}",
        "ALTER TABLE shadow_vec_docs ADD COLUMN owner INT NULL, ADD FOREIGN KEY (owner) REFERENCES owners (id)"
        " ON DELETE SET NULL, ADD COLUMN kept INT NULL, ADD FOREIGN KEY (kept) REFERENCES owners (id)",
        "INSERT INTO owners VALUES (1)",
        "INSERT INTO vec_dataset (dataset_id, description, source_uri, owner) VALUES ('d', '', '', 1)",
    )
    settings = of(sql_database, snapshot="no_data")
    if sql_database.server.kind == "mysql":
        assert codes(check(settings), Severity.ERROR) == set()
        told = Told(sql_database)
        told.run("INSERT INTO shadow_vec_docs (dataset_id, id, embedding, embedding_model) VALUES ('d', 'x', '', '')")
        stream = told.source.stream(told.begin)
        told.run("DELETE FROM owners")
        assert told.moments[-1].rows == {}
        told.follow(stream)
        told.source.close()
        return
    found = [finding for finding in check(settings) if finding.severity is Severity.ERROR]
    assert [finding.code for finding in found] == ["hidden_cascade", "hidden_cascade"]
    source = open_source(settings)
    with pytest.raises(PreflightRefused, match="not logged"):
        source.stream(source.start(1))
    source.close()
    for finding in found:
        sql_database.execute(*finding.mend_sql.split(";\n"))
    assert codes(check(settings), Severity.ERROR) == set()


def test_names_of_tables_in_any_case(start_sql_server: StartSqlServer) -> None:
    server = start_sql_server("mariadb", {"lower_case_table_names": 1})
    with fresh_database(server) as database:
        install(of(database).source)
        found = check(of(database, tables=["Shadow_Vec_Docs"]))
        assert codes(found, Severity.ERROR) == {"name_case"}
        told = Told(database)
        told.run("INSERT INTO Vec_Dataset (dataset_id, description, source_uri) VALUES ('d', '', '')")
        told.run("INSERT INTO SHADOW_VEC_DOCS (dataset_id, id, embedding, embedding_model) VALUES ('d', 'x', '', '')")
        stream = told.source.stream(told.begin)
        told.run("TRUNCATE TABLE Shadow_Vec_Docs")
        told.follow(stream)
        told.source.close()


def test_spellings_of_one_dataset(sql_database: SqlDatabase) -> None:
    collation = "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
    sql_database.execute(
        f"CREATE TABLE vec_dataset (dataset_id VARCHAR(100) {collation} PRIMARY KEY, description TEXT,"
        " source_uri TEXT)",
        f"CREATE TABLE shadow_vec_docs (dataset_id VARCHAR(100) {collation} NOT NULL, id VARCHAR(100) {collation},"
        " content TEXT, meta TEXT, embedding BLOB, embedding_model TEXT, scn BIGINT, archived TINYINT,"
        " PRIMARY KEY (dataset_id, id), FOREIGN KEY (dataset_id) REFERENCES vec_dataset(dataset_id) ON DELETE CASCADE)",
        "INSERT INTO vec_dataset(dataset_id) VALUES ('rootA')",
        "INSERT INTO shadow_vec_docs(dataset_id, id) VALUES ('rootA', '1')",
    )
    settings = of(sql_database)
    found = check(settings)
    assert (codes(found, Severity.ERROR), codes(found, Severity.WARNING)) == (set(), {"collation"})
    sql_database.execute("INSERT INTO shadow_vec_docs(dataset_id, id) VALUES ('roota', '2')")
    with pytest.raises(PreflightRefused, match="different, and equal by collation"):
        require(settings)


def grant(server: SqlServer, database: str) -> None:
    text = (GRANTS / f"{server.kind}-grants.sql").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    for statement in text.replace("app.", f"{database}.").replace("vecsync_", f"{database}_").split(";"):
        if statement.strip():
            server.query(statement)


def test_the_least_privileges_are_enough(sql_database: SqlDatabase) -> None:
    server, name = sql_database.server, sql_database.name
    install(of(sql_database).source)
    grant(server, name)
    base = f"{server.host}:{server.port}/{name}"
    capture = settings_of(f"mysql://{name}_capture@{base}", "change-me-1")
    ingest = settings_of(f"mysql://{name}_ingest@{base}", "change-me-2")
    try:
        assert codes(check(capture), Severity.ERROR, Severity.WARNING) == set()
        assert discover(capture.source, "shadow_vec_docs").cascades is True
        source: Source = open_source(capture)
        try:
            start = source.start(1)
            upstream = connect(ingest.source)
            upstream.ensure_dataset("A", "x")
            upstream.upsert("A", [UpstreamRow(str(i), "text", None, None, None) for i in range(3)])
            upstream.set_archived("A", ["1"], True)
            upstream.delete("A", ["2"])
            assert len(sql_database.query("SELECT 1 FROM vec_shadow_log")) == 5
            upstream.ensure_dataset("B")
            upstream.delete_dataset("B")
            upstream.close()
            stream = source.stream(start)
            head, seen = source.head(), 0
            while not stream.reached(head):
                transaction = stream.next(5)
                assert transaction is not None
                seen += len(list(unpacked(transaction.changes)))
            stream.close()
            assert seen > 5
        finally:
            source.close()
        errors = codes(check(ingest), Severity.ERROR)
        assert errors == {"privilege_replication_slave", "privilege_monitor"}
        with pytest.raises(ConfigurationError, match=r"SUPER|log_bin_trust"):
            _install_as(sql_database, f"{name}_installer")
    finally:
        for user in ("capture", "ingest", "installer"):
            server.query(f"DROP USER IF EXISTS {name}_{user}@'%'")


def _install_as(database: SqlDatabase, user: str) -> None:
    server = database.server
    server.query("DROP TRIGGER shadow_vec_docs_ai", database=database.name)
    server.query(f"CREATE USER {user}@'%' IDENTIFIED BY 'x'")
    server.query(f"GRANT ALL ON {database.name}.* TO {user}@'%'")
    install(settings_of(f"mysql://{user}@{server.host}:{server.port}/{database.name}", "x").source)


def test_an_account_that_may_do_nothing(sql_database: SqlDatabase) -> None:
    server, name = sql_database.server, sql_database.name
    install(of(sql_database).source)
    server.query(f"CREATE USER {name}@'%' IDENTIFIED BY 'x'")
    server.query(f"GRANT INSERT ON {name}.* TO {name}@'%'")
    try:
        settings = settings_of(f"mysql://{name}@{server.host}:{server.port}/{name}", "x")
        found = check(settings)
        assert codes(found, Severity.ERROR) >= {
            *("privilege_replication_slave", "privilege_monitor", "privilege_select"),
        }
        for finding in found:
            if finding.code.startswith("privilege_"):
                server.query(finding.mend_sql.split(";")[0])
        assert codes(check(settings), Severity.ERROR) == set()
    finally:
        server.query(f"DROP USER {name}@'%'")


def test_a_table_that_is_not_there_is_the_first_thing_said(sql_database: SqlDatabase) -> None:
    """An account with as little as it needs cannot tell a table that is not there from one that it may not read."""
    server, name = sql_database.server, sql_database.name
    install(of(sql_database).source)
    monitor = "BINLOG MONITOR, SLAVE MONITOR" if server.kind == "mariadb" else "REPLICATION CLIENT"
    server.query(f"CREATE USER {name}@'%' IDENTIFIED BY 'x'")
    server.query(f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO {name}@'%'")
    for table in ("shadow_vec_docs", "vec_dataset"):
        server.query(f"GRANT SELECT ON {name}.{table} TO {name}@'%'")
    try:
        url = f"mysql://{name}@{server.host}:{server.port}/{name}"
        for settings, unsure in ((of(sql_database, tables=["shadow_vec_dosc"]), False),
                                 (settings_of(url, "x", tables=["shadow_vec_dosc"]), True)):  # fmt: skip
            (found,) = (f for f in check(settings) if f.severity is Severity.ERROR)
            assert found.code == "table_missing"
            assert found.what.startswith("there is no table shadow_vec_dosc")
            assert "-- there is shadow_vec_docs: write it in source.tables" in found.mend_sql
            assert ("may not see it" in found.what, "-- if it is there: GRANT" in found.mend_sql) == (unsure, unsure)

        # One that is there and only not granted: what is printed mends it.
        server.query(f"REVOKE SELECT ON {name}.vec_dataset FROM {name}@'%'")
        (found,) = (f for f in check(settings_of(url, "x")) if f.severity is Severity.ERROR)
        assert found.what.startswith("there is no table vec_dataset, or ")
        server.query(next(line for line in found.mend_sql.splitlines() if not line.startswith("--")).rstrip(";"))
        assert codes(check(settings_of(url, "x")), Severity.ERROR) == set()
    finally:
        server.query(f"DROP USER {name}@'%'")


def test_a_database_that_is_not_there_says_so_and_what_helps(sql_database: SqlDatabase) -> None:
    server, name = sql_database.server, sql_database.name
    gone = f"{name}_none"
    missing = settings_of(f"mysql://{server.user}@{server.host}:{server.port}/{gone}", server.password)
    (found,) = check(missing)
    assert gone in found.what
    assert "source.url" in found.mend_sql
    assert "CREATE DATABASE" in found.mend_sql
    with pytest.raises(ConfigurationError) as refused:
        install(missing.source)
    assert not refused.value.hint.startswith("Check source.url, or run")

    install(of(sql_database).source)
    beside = of(sql_database, tables=["shadow_vec_docs", f"{gone}.shadow_vec_docs"])
    (found,) = (f for f in check(beside) if f.severity is Severity.ERROR)
    assert (found.code, found.what) == ("database_missing", f"there is no database {gone}")
    try:
        server.query(f"CREATE DATABASE `{gone}`")
        assert codes(check(beside), Severity.ERROR) == {"table_missing"}
        install(beside.source)
        assert codes(check(beside), Severity.ERROR) == set()
    finally:
        server.query(f"DROP DATABASE `{gone}`")


def test_a_server_that_does_not_answer_is_a_finding() -> None:
    found = check(settings_of("mysql://nobody@127.0.0.1:1/app", "secret-word"))
    assert codes(found) == {"unreachable"}
    assert "secret-word" not in repr(found)


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "upstream.db"
    settings = Settings(source=SourceSettings(kind="sqlite", url=f"sqlite:///{path}"))
    assert codes(check(settings), Severity.ERROR) == {"unreachable"}
    db = open_writer(path, create=True)
    try:
        assert codes(check(settings), Severity.ERROR) == {"table_missing"}
        db.execute(
            "CREATE TABLE vec_dataset (dataset_id TEXT COLLATE NOCASE PRIMARY KEY, description TEXT, source_uri)"
        )
        db.execute(
            "CREATE TABLE shadow_vec_docs (dataset_id TEXT COLLATE NOCASE, id TEXT, content TEXT UNIQUE, meta TEXT,"
            " embedding BLOB, embedding_model TEXT, scn INTEGER, archived INTEGER, PRIMARY KEY (dataset_id, id))"
        )
        assert codes(check(settings), Severity.ERROR) == {"not_installed"}
        install(settings.source)
        found = require(settings)
        assert codes(found, Severity.WARNING) == {"unique_index"}
        typo = SourceSettings(kind="sqlite", url=f"sqlite:///{path}", tables=["shadow_vec_doc"])
        (missing,) = (f for f in check(Settings(source=typo)) if f.code == "table_missing")
        assert "there is shadow_vec_docs: write it in source.tables" in missing.mend_sql
        db.execute("INSERT INTO shadow_vec_docs(dataset_id, id) VALUES ('a', '1'), ('A', '2')")
        assert codes(check(settings), Severity.ERROR) == {"twins"}
        db.execute("DELETE FROM shadow_vec_docs")
        db.execute("DROP TRIGGER shadow_vec_docs_ad")
        with pytest.raises(PreflightRefused, match="shadow_vec_docs_ad"):
            require(settings)
    finally:
        db.close()
