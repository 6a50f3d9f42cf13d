"""Writers and installation on SQLite files, over every schema in use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from connector.errors import ConfigurationError, DataRefused, Unreachable, VecsyncError
from connector.settings import SourceSettings
from connector.upstream import Upstream, UpstreamRow, connect
from connector.upstream.discover import discover
from connector.upstream.install import install
from connector.upstream.sqlite import open_writer

DATASETS = "CREATE TABLE vec_dataset (dataset_id TEXT PRIMARY KEY, description TEXT, source_uri TEXT)"
COLUMNS = (
    "content TEXT, meta TEXT, embedding BLOB NOT NULL, embedding_model TEXT NOT NULL, scn INTEGER NOT NULL DEFAULT 0,"
    " archived INTEGER NOT NULL DEFAULT 0"
)
SCHEMAS = {
    "none": (),
    "id": (
        DATASETS,
        "CREATE TABLE shadow_vec_docs (dataset_id TEXT NOT NULL REFERENCES vec_dataset(dataset_id) ON DELETE CASCADE,"
        f" id TEXT PRIMARY KEY, {COLUMNS}, extra TEXT)",
    ),
    "unrelated": (
        DATASETS,
        f"CREATE TABLE shadow_vec_docs (dataset_id TEXT, id TEXT, {COLUMNS}, PRIMARY KEY (dataset_id, id))",
    ),
}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[SourceSettings, Upstream]]]:
    opened: list[Upstream] = []

    def build(schema: str = "none", **more: Any) -> tuple[SourceSettings, Upstream]:
        path = tmp_path / "upstream.db"
        source = SourceSettings.model_validate({"kind": "sqlite", "url": f"sqlite:///{path}"} | more)
        db = open_writer(path, create=True)
        for statement in SCHEMAS[schema]:
            db.execute(statement)
        db.close()
        planned = install(source, dry_run=True)
        made = install(source)
        # Only the identity is another one each time.
        assert [sql for sql in planned if "uuid" not in sql] == [sql for sql in made if "uuid" not in sql]
        assert install(source) == []
        opened.append(connect(source))
        return source, opened[-1]

    yield build
    for upstream in opened:
        upstream.close()


def row(id: str, embedding: bytes | None = b"\x00\x00\x80?") -> UpstreamRow:
    return UpstreamRow(id, "text 😀", '{"a": 1}', embedding, "m" if embedding else None)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_schema_in_use(make: Callable[..., tuple[SourceSettings, Upstream]], schema: str) -> None:
    source, upstream = make(schema)
    upstream.ensure_dataset("A", "first", "fs://a")
    upstream.ensure_dataset("A", source_uri="fs://b")
    assert upstream.upsert("A", [row("1"), row("2", None)]) == 2
    assert upstream.set_archived("A", ["1", "2", "none"], True) == 2
    assert upstream.set_archived("A", ["1"], True) == 0
    assert upstream.upsert("A", [row("1")]) == 1
    assert upstream.delete("A", ["2", "none"]) == 1
    stored = upstream.get("A", "1")
    assert stored is not None
    assert stored[:6] == ("A", "1", "text 😀", '{"a": 1}', b"\x00\x00\x80?", "m")
    assert (stored.archived, upstream.get("A", "2")) == (False, None)
    assert [(r.id, r.archived, r.scn) for r in upstream.listing("A")] == [("1", False, stored.scn)]
    shape = discover(source, "shadow_vec_docs")
    assert (shape.id_is_key, shape.cascades) == (schema == "id", schema != "unrelated")
    assert shape.extra == (("extra",) if schema == "id" else ())
    assert upstream.delete_dataset("A") is True
    assert upstream.delete_dataset("A") is False
    assert (upstream.datasets(), list(upstream.listing("A"))) == ([], [])


def test_ids_unique_over_all_datasets_are_not_taken_over(
    make: Callable[..., tuple[SourceSettings, Upstream]],
) -> None:
    _, upstream = make("id")
    for dataset in "AB":
        upstream.ensure_dataset(dataset)
    upstream.upsert("A", [row("1")])
    with pytest.raises(DataRefused, match="belongs to dataset 'A'"):
        upstream.upsert("B", [row("0"), row("1")])
    assert list(upstream.listing("B")) == []


def test_transactions_commit_and_undo_together(make: Callable[..., tuple[SourceSettings, Upstream]]) -> None:
    _, upstream = make()
    upstream.ensure_dataset("A")
    with contextlib.suppress(ZeroDivisionError), upstream.transaction():
        upstream.upsert("A", [row("1")])
        with upstream.transaction():
            upstream.ensure_dataset("B")
        raise ZeroDivisionError
    assert (list(upstream.listing("A")), upstream.datasets()) == ([], ["A"])
    with pytest.raises(DataRefused, match="FOREIGN KEY"):
        upstream.upsert("nowhere", [row("1")])
    with upstream.transaction():
        upstream.upsert("A", [row("1")])
        upstream.delete("A", ["1"])
    assert list(upstream.listing("A")) == []


def test_concurrent_writers_never_share_a_change_number(
    make: Callable[..., tuple[SourceSettings, Upstream]],
) -> None:
    source, upstream = make()
    upstream.ensure_dataset("A")
    failures: list[VecsyncError] = []

    def write(name: str) -> None:
        mine = connect(source)
        try:
            for i in range(20):
                mine.upsert("A", [row(f"{name}{i}"), row(f"{name}{i}b")])
        except VecsyncError as error:
            failures.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    scns = [r.scn for r in upstream.listing("A")]
    assert len(scns) == len(set(scns)) == 120


def test_mapped_names(make: Callable[..., tuple[SourceSettings, Upstream]], tmp_path: Path) -> None:
    names = {
        "dataset_id": "tenant",
        "id": "ke'y",
        "embedding": 'vec"tor',
        "dataset_table": "tenants",
        "log_table": "jr",
    }
    source, upstream = make(tables=["my docs"], mapping=names)
    upstream.ensure_dataset("A")
    upstream.upsert("A", [row("1")])
    upstream.set_archived("A", ["1"], True)
    upstream.delete("A", ["1"])
    db = open_writer(tmp_path / "upstream.db")
    assert db.execute("SELECT op, document_id, shadow_table FROM jr ORDER BY scn").fetchall() == [
        *(("insert", "1", "my docs"), ("update", "1", "my docs"), ("delete", "1", "my docs")),
    ]
    db.close()
    assert discover(source, "my docs").mapped["embedding"] == 'vec"tor'


def test_a_trigger_of_another_kind_is_not_replaced(
    make: Callable[..., tuple[SourceSettings, Upstream]], tmp_path: Path
) -> None:
    source, _ = make()
    db = open_writer(tmp_path / "upstream.db")
    db.execute("DROP TRIGGER shadow_vec_docs_ai")
    db.execute("CREATE TRIGGER shadow_vec_docs_ai AFTER INSERT ON shadow_vec_docs BEGIN SELECT 1; END")
    with pytest.raises(ConfigurationError, match="shadow_vec_docs_ai"):
        install(source)
    db.execute("DROP TRIGGER shadow_vec_docs_ai")
    db.close()
    trigger, note = install(source)
    assert trigger.startswith('CREATE TRIGGER "shadow_vec_docs_ai" AFTER INSERT')
    assert "'installed'" in note


def test_a_dry_run_makes_no_file(tmp_path: Path) -> None:
    source = SourceSettings(kind="sqlite", url=f"sqlite:///{tmp_path}/none.db")
    assert len(install(source, dry_run=True)) > 10
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="there is no file"):
        connect(source)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database at all, " * 100)
    with pytest.raises(ConfigurationError, match="not a usable SQLite database"):
        connect(SourceSettings(kind="sqlite", url=f"sqlite:///{tmp_path}/text.db"))
    upstream = connect(SourceSettings(kind="sqlite", url=f"sqlite:///{tmp_path}/empty.db"), create=True)
    with pytest.raises(ConfigurationError, match="no such table") as refused:
        upstream.datasets()
    assert "source install" in refused.value.hint
    upstream.close()


def test_a_file_that_another_keeps_locked(
    make: Callable[..., tuple[SourceSettings, Upstream]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.upstream.sqlite._BUSY_MS", 50)
    _, upstream = make()
    other = apsw.Connection(str(tmp_path / "upstream.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unreachable, match="locked"):
        upstream.ensure_dataset("A")
    other.execute("ROLLBACK")
    other.close()
    upstream.ensure_dataset("A")


@pytest.mark.parametrize(
    ("ddl", "match"),
    [
        ("CREATE TABLE vec_dataset (dataset_id TEXT PRIMARY KEY)", "description, source_uri"),
        ("CREATE TABLE vec_shadow_log (dataset_id TEXT, scn INTEGER)", "do not fit"),
        ("CREATE TABLE shadow_vec_docs (dataset_id TEXT, id TEXT, PRIMARY KEY (dataset_id, id))", "no column content"),
    ],
)
def test_tables_that_triggers_would_break_are_refused_untouched(tmp_path: Path, ddl: str, match: str) -> None:
    path = tmp_path / "upstream.db"
    db = open_writer(path, create=True)
    db.execute(ddl)
    with pytest.raises(ConfigurationError, match=match):
        install(SourceSettings(kind="sqlite", url=f"sqlite:///{path}"))
    assert len(db.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table'").fetchall()) == 1
    db.close()
