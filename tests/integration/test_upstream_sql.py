"""Writers, installation and discovery on real MariaDB and MySQL, over every schema in use."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest

from connector.errors import AuthenticationFailed, ConfigurationError, DataRefused, Unreachable, VecsyncError
from connector.settings import SourceSettings
from connector.upstream import StoredRow, Upstream, UpstreamRow, connect
from connector.upstream.discover import discover
from connector.upstream.install import install
from connector.upstream.prune import prune
from tests.servers.model import SqlDatabase

OLDEST = (
    "CREATE TABLE vec_dataset (dataset_id VARCHAR(191) PRIMARY KEY, description TEXT, source_uri TEXT,"
    " last_scn BIGINT NOT NULL DEFAULT 0)",
    "CREATE TABLE shadow_vec_docs (dataset_id VARCHAR(191) NOT NULL, id VARCHAR(191) NOT NULL PRIMARY KEY,"
    " content MEDIUMTEXT NULL, meta MEDIUMTEXT NULL, embedding LONGBLOB NOT NULL,"
    " embedding_model VARCHAR(191) NOT NULL, scn BIGINT NOT NULL, archived TINYINT(1) NOT NULL DEFAULT 0,"
    " created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, extra INT NULL,"
    " FOREIGN KEY (dataset_id) REFERENCES vec_dataset(dataset_id) ON DELETE CASCADE)",
)
UNRELATED = (
    "CREATE TABLE vec_dataset (dataset_id VARCHAR(255) PRIMARY KEY, description TEXT, source_uri TEXT,"
    " last_scn BIGINT NOT NULL DEFAULT 0)",
    "CREATE TABLE shadow_vec_docs (dataset_id VARCHAR(255) NOT NULL, id VARCHAR(512) NOT NULL, content MEDIUMTEXT,"
    " meta MEDIUMTEXT, embedding LONGBLOB, embedding_model VARCHAR(255), scn BIGINT NOT NULL DEFAULT 0,"
    " archived TINYINT NOT NULL DEFAULT 0, PRIMARY KEY (dataset_id, id))",
)
SCHEMAS: dict[str, Sequence[str]] = {"none": (), "oldest": OLDEST, "unrelated": UNRELATED}


def source_of(database: SqlDatabase, **more: Any) -> SourceSettings:
    return SourceSettings.model_validate(
        {"kind": "mysql", "url": database.url, "password": database.server.password} | more
    )


@contextmanager
def opened(source: SourceSettings) -> Iterator[Upstream]:
    upstream = connect(source)
    try:
        yield upstream
    finally:
        upstream.close()


def row(id: str, embedding: bytes | None = b"\x00\x00\x80?") -> UpstreamRow:
    return UpstreamRow(id, "text 😀 \\ '", '{"a": 1}', embedding, "m" if embedding else None)


def logged(database: SqlDatabase) -> list[tuple[str, int, str, str, dict[str, Any]]]:
    found = database.query("SELECT dataset_id, scn, op, document_id, payload FROM vec_shadow_log ORDER BY 1, 2")
    return [(dataset, scn, op, id, json.loads(payload)) for dataset, scn, op, id, payload in found]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_schema_in_use(sql_database: SqlDatabase, schema: str) -> None:
    sql_database.execute(*SCHEMAS[schema])
    source = source_of(sql_database)
    planned = install(source, dry_run=True)
    assert (sql_database.query("SHOW TABLES LIKE 'vec_shadow_log'"), len(planned) > 4) == ([], True)
    assert install(source) == planned
    assert install(source) == []
    with opened(source) as upstream:
        upstream.ensure_dataset("A", "first", "fs://a")
        upstream.ensure_dataset("A", source_uri="fs://b")
        assert upstream.upsert("A", [row("1"), row("2", None)]) == 2
        assert upstream.set_archived("A", ["1", "2", "none"], True) == 2
        assert upstream.set_archived("A", ["1"], True) == 0
        assert upstream.upsert("A", [row("1")]) == 1
        assert upstream.delete("A", ["2", "none"]) == 1
        stored = upstream.get("A", "1")
        assert isinstance(stored, StoredRow)
        assert stored[:6] == ("A", "1", "text 😀 \\ '", '{"a": 1}', b"\x00\x00\x80?", "m")
        assert (stored.archived, upstream.get("A", "2")) == (False, None)
        assert [(r.id, r.archived, r.scn) for r in upstream.listing("A")] == [("1", False, stored.scn)]
        assert sql_database.query("SELECT description, source_uri FROM vec_dataset") == [("first", "fs://b")]
    log = logged(sql_database)
    assert [(op, id) for _, _, op, id, _ in log] == [
        *(("insert", "1"), ("insert", "2"), ("update", "1"), ("update", "2"), ("update", "1"), ("delete", "2")),
    ]
    scns = [scn for _, scn, *_ in log]
    assert scns == sorted(set(scns))
    payload = log[0][4]
    assert payload.keys() - {"created_at", "updated_at"} == {
        *("dataset_id", "id", "content", "meta", "embedding", "embedding_model", "scn", "archived"),
    }
    assert (payload["embedding"], payload["archived"], payload["content"]) == ("0000803f", 0, "text 😀 \\ '")
    assert ("created_at" in payload) is (schema != "unrelated")
    assert not log[1][4]["embedding"]
    assert log[2][4]["archived"] == 1


@pytest.mark.parametrize("schema", SCHEMAS)
def test_deleting_a_dataset_takes_its_documents(sql_database: SqlDatabase, schema: str) -> None:
    sql_database.execute(*SCHEMAS[schema])
    source = source_of(sql_database)
    install(source)
    with opened(source) as upstream:
        for dataset in "AB":
            upstream.ensure_dataset(dataset)
            upstream.upsert(dataset, [row(f"{dataset}1"), row(f"{dataset}2")])
        assert upstream.delete_dataset("A") is True
        assert upstream.delete_dataset("A") is False
        assert upstream.datasets() == ["B"]
        assert list(upstream.listing("A")) == []
        upstream.ensure_dataset("A")
        upstream.upsert("A", [row("A1")])


def test_a_change_of_key_is_a_deletion_and_an_insertion(sql_database: SqlDatabase) -> None:
    sql_database.execute(*OLDEST)
    source = source_of(sql_database)
    install(source)
    with opened(source) as upstream:
        upstream.ensure_dataset("A")
        upstream.ensure_dataset("B")
        upstream.upsert("A", [row("1")])
    sql_database.execute("UPDATE shadow_vec_docs SET dataset_id = 'B'", "UPDATE shadow_vec_docs SET id = '2'")
    assert [(dataset, op, id) for dataset, _, op, id, _ in logged(sql_database)] == [
        *(("A", "insert", "1"), ("A", "delete", "1")),
        *(("B", "insert", "1"), ("B", "delete", "1"), ("B", "insert", "2")),
    ]


def test_ids_unique_over_all_datasets_are_not_taken_over(sql_database: SqlDatabase) -> None:
    sql_database.execute(*OLDEST)
    source = source_of(sql_database)
    install(source)
    with opened(source) as upstream:
        upstream.ensure_dataset("A")
        upstream.ensure_dataset("B")
        upstream.upsert("A", [row("1")])
        with pytest.raises(DataRefused, match="belongs to dataset 'A'"):
            upstream.upsert("B", [row("0"), row("1")])
        assert list(upstream.listing("B")) == []


def test_transactions_commit_and_undo_together(sql_database: SqlDatabase) -> None:
    source = source_of(sql_database)
    install(source)
    with opened(source) as upstream:
        upstream.ensure_dataset("A")
        with contextlib.suppress(ZeroDivisionError), upstream.transaction():
            upstream.upsert("A", [row("1")])
            upstream.ensure_dataset("B")
            raise ZeroDivisionError
        assert (list(upstream.listing("A")), upstream.datasets()) == ([], ["A"])
        with upstream.transaction():
            upstream.upsert("A", [row("1")])
            with upstream.transaction():
                upstream.delete("A", ["1"])
            upstream.upsert("A", [row("2")])
        assert [r.id for r in upstream.listing("A")] == ["2"]


def test_concurrent_writers_never_share_a_change_number(sql_database: SqlDatabase) -> None:
    source = source_of(sql_database)
    install(source)
    with opened(source) as upstream:
        upstream.ensure_dataset("A")
    failures: list[VecsyncError] = []

    def write(name: str) -> None:
        try:
            with opened(source) as upstream:
                for i in range(20):
                    upstream.upsert("A", [row(f"{name}{i}"), row(f"{name}{i}b")])
        except VecsyncError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    scns = [scn for (scn,) in sql_database.query("SELECT scn FROM shadow_vec_docs")]
    assert len(scns) == len(set(scns)) == 120


def test_the_helper_gives_each_row_of_a_statement_its_own_number(sql_database: SqlDatabase) -> None:
    source = source_of(sql_database)
    install(source)
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('A')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, scn) VALUES ('A', '1', vec_next_scn('A')),"
        " ('A', '2', vec_next_scn('A'))",
        "UPDATE shadow_vec_docs SET scn = vec_next_scn('A')",
    )
    found = [scn for (scn,) in sql_database.query("SELECT scn FROM shadow_vec_docs ORDER BY scn")]
    assert len(set(found)) == 2
    assert sql_database.query("SELECT last_scn FROM vec_dataset") == [(found[-1],)]


def test_triggers_of_others_are_left_alone(sql_database: SqlDatabase) -> None:
    source = source_of(sql_database)
    install(source)
    sql_database.execute(
        *(f"DROP TRIGGER shadow_vec_docs_{event}" for event in ("ai", "au", "ad")),
        "CREATE TRIGGER shadow_vec_docs_ai AFTER INSERT ON shadow_vec_docs FOR EACH ROW INSERT INTO vec_shadow_log"
        "(dataset_id, shadow_table, scn, op, document_id, payload)"
        " VALUES (NEW.dataset_id, 'shadow_vec_docs', NEW.scn, 'insert', NEW.id, '{}')",
        "CREATE TRIGGER shadow_vec_docs_au AFTER UPDATE ON shadow_vec_docs FOR EACH ROW SET @seen = 1",
    )
    with pytest.raises(ConfigurationError, match="shadow_vec_docs_au"):
        install(source)
    sql_database.execute("DROP TRIGGER shadow_vec_docs_au")
    assert [sql.split(" ON ")[0] for sql in install(source)] == [
        "CREATE TRIGGER `shadow_vec_docs_au` AFTER UPDATE",
        "CREATE TRIGGER `shadow_vec_docs_ad` AFTER DELETE",
    ]
    sql_database.execute("ALTER TABLE shadow_vec_docs DROP COLUMN created_at")
    renewed = install(source)
    assert [sql.split(" ")[0] for sql in renewed] == ["DROP", "CREATE", "DROP", "CREATE"]
    assert install(source) == []


def test_mapped_names(sql_database: SqlDatabase) -> None:
    names = {"dataset_id": "tenant", "id": "key", "embedding": "vec`tor", "dataset_table": "tenants", "log_table": "jr"}
    source = source_of(sql_database, tables=["my docs"], mapping=names)
    install(source)
    assert install(source) == []
    with opened(source) as upstream:
        upstream.ensure_dataset("A")
        upstream.upsert("A", [row("1")])
        upstream.set_archived("A", ["1"], True)
        upstream.delete("A", ["1"])
    assert sql_database.query("SELECT op, document_id, shadow_table FROM jr ORDER BY scn") == [
        *(("insert", "1", "my docs"), ("update", "1", "my docs"), ("delete", "1", "my docs")),
    ]
    shape = discover(source, "my docs")
    assert shape.mapped["embedding"] == "vec`tor"
    assert (shape.primary_key, shape.cascades, shape.missing) == (("tenant", "key"), True, ())


def test_shapes(sql_database: SqlDatabase) -> None:
    source = source_of(sql_database)
    nothing = discover(source, "shadow_vec_docs")
    assert (nothing.exists, nothing.dataset_table_exists) == (False, False)
    sql_database.execute(*OLDEST)
    shape = discover(source, "shadow_vec_docs")
    assert shape.exists
    assert (shape.primary_key, shape.id_is_key, shape.key_is_usable) == (("id",), True, True)
    assert (shape.cascades, shape.extra, shape.missing, shape.engine) == (True, ("extra",), (), "InnoDB")
    assert shape.timestamps == ("created_at",)
    embedding, id_column = shape.column_of("embedding"), shape.column_of("id")
    assert embedding is not None
    assert (embedding.type, embedding.nullable, embedding.charset) == ("longblob", False, None)
    assert id_column is not None
    assert (id_column.type, id_column.charset) == ("varchar(191)", "utf8mb4")
    assert shape.triggers == ()
    install(source)
    triggers = discover(source, "shadow_vec_docs").triggers
    assert {t.name: t.event for t in triggers} == {
        "shadow_vec_docs_ad": "AFTER DELETE",
        "shadow_vec_docs_ai": "AFTER INSERT",
        "shadow_vec_docs_au": "AFTER UPDATE",
    }
    sql_database.execute("ALTER TABLE shadow_vec_docs DROP COLUMN meta, DROP PRIMARY KEY, ADD PRIMARY KEY (id, scn)")
    broken = discover(source, "shadow_vec_docs")
    assert (broken.missing, broken.key_is_usable) == (("meta",), False)
    with pytest.raises(ConfigurationError, match="meta"):
        broken.must_be_usable()


def test_unrelated_documents_are_written_without_a_dataset(sql_database: SqlDatabase) -> None:
    """Where documents need no row of vec_dataset, triggers must not demand one."""
    sql_database.execute(*UNRELATED)
    assert discover(source_of(sql_database), "shadow_vec_docs").cascades is False
    install(source_of(sql_database))
    long = "x" * 500
    sql_database.execute(f"INSERT INTO shadow_vec_docs(dataset_id, id) VALUES ('A', '{long}')")
    assert [(op, id) for _, _, op, id, _ in logged(sql_database)] == [("insert", long)]


def test_pruning_the_log(sql_database: SqlDatabase) -> None:
    source = source_of(sql_database)
    install(source)
    with opened(source) as upstream:
        for dataset in "AB":
            upstream.ensure_dataset(dataset)
            upstream.upsert(dataset, [row("1"), row("2")])
    first = logged(sql_database)[0][1]
    sql_database.execute(
        f"INSERT INTO vec_sync_state(dataset_id, shadow_table, last_scn) VALUES ('A', 'shadow_vec_docs', {first})"
    )
    assert prune(source, keep_s=3600) == 0
    assert prune(source, keep_s=0, dry_run=True) == 3
    assert prune(source, keep_s=0) == 3
    assert [(dataset, id) for dataset, _, _, id, _ in logged(sql_database)] == [("A", "2")]


def test_errors_say_what_to_do_and_never_the_password(sql_database: SqlDatabase) -> None:
    source = source_of(sql_database)
    wrong = source.model_copy(update={"password": source_of(sql_database, password="oh-so-secret").password})
    with pytest.raises(AuthenticationFailed) as refused:
        connect(wrong)
    assert "oh-so-secret" not in str(refused.value) + refused.value.hint
    with pytest.raises(Unreachable):
        connect(source.model_copy(update={"url": "mysql://admin@127.0.0.1:1/x"}))
    with pytest.raises((ConfigurationError, AuthenticationFailed)):
        connect(source.model_copy(update={"url": f"{sql_database.url}_none"}))
    with opened(source) as upstream:
        with pytest.raises(ConfigurationError, match="vec_dataset") as missing:
            upstream.datasets()
        assert "source install" in missing.value.hint
        install(source)
        with pytest.raises(DataRefused, match=r"foreign key|FOREIGN KEY"):
            upstream.upsert("nowhere", [row("1")])
        upstream.ensure_dataset("A")
        with pytest.raises(DataRefused, match="too long"):
            upstream.upsert("A", [row("x" * 192)])
        assert list(upstream.listing("A")) == []
        assert isinstance(upstream.connection, pymysql.Connection)  # type: ignore[attr-defined]
        sql_database.execute(f"KILL {upstream.connection.thread_id()}")  # type: ignore[attr-defined,no-untyped-call]
        with pytest.raises(Unreachable):
            upstream.upsert("A", [row("1")])


def test_a_log_that_triggers_would_break_on_is_refused(sql_database: SqlDatabase) -> None:
    sql_database.execute("CREATE TABLE vec_shadow_log (dataset_id INT, at TIMESTAMP)")
    with pytest.raises(ConfigurationError, match="no column document_id, op"):
        install(source_of(sql_database))
    assert sql_database.query("SHOW TABLES") == [("vec_shadow_log",)]


def test_what_the_helper_writes_is_in_the_binlog(sql_database: SqlDatabase) -> None:
    """It claims to read only: its rows must reach replicas of the source all the same."""
    source = source_of(sql_database)
    install(source)
    sql_database.execute("INSERT INTO vec_dataset(dataset_id) VALUES ('A')")
    status = "SHOW BINARY LOG STATUS" if sql_database.server.kind == "mysql" else "SHOW MASTER STATUS"

    def end() -> int:
        return int(sql_database.query(status)[0][1])

    before = end()
    sql_database.execute("SELECT 1 FROM vec_dataset")
    assert end() == before
    sql_database.execute("SELECT vec_next_scn('A')")
    assert end() > before
