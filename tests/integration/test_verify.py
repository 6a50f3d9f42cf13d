"""Source against replica: what differs is named, and nothing else is, though writers, capture and replica go on."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import apsw
import pymysql
import pytest

from connector.errors import Unreachable
from connector.runtime import verify as runtime
from connector.settings import load
from connector.source.binlog_source import BinlogSource
from connector.source.shadow_log import SqliteSource
from connector.upstream.sqlite import open_writer
from tests.servers.fix_sql import fresh_database
from tests.servers.model import SqlDatabase, SqlServer
from tests.system.compare import derived_structures_agree, differences, replica_rows, source_rows
from tests.system.late import Late
from tests.system.log_site import site_of
from tests.system.schema import SHADOW, create_tables
from tests.system.several import INSERT
from tests.system.site import Site, SiteHere, embedded_log, sql_source
from tests.system.workload import DATASETS, RETRY, Session, Tally


def found(site: Site, *arguments: str, code: int = 0) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(site.run("verify", "--json", *arguments, code=code).stdout)
    return said


def named(said: dict[str, Any]) -> list[tuple[str, str, str | None, list[str]]]:
    return [(d["kind"], d["dataset"], d["id"], d["columns"]) for d in said["differences"]]


def filled(database: SqlDatabase) -> None:
    create_tables(database)
    rows = ",".join(f"('{d}','{d}{n}','text {n}','{{}}',X'0000803F','m',{n})" for d in "ab" for n in range(5))
    database.execute(
        "INSERT INTO vec_dataset (dataset_id, description) VALUES ('a', 'one'), ('b', 'two'), ('c', 'three')",
        INSERT.format("shadow_vec_docs") + rows,
    )


def tampered(replica: Path, *statements: str) -> None:
    db = apsw.Connection(str(replica))
    for statement in statements:
        db.execute(statement)
    db.close()


def test_what_differs_is_named_and_mended(sql_database: SqlDatabase, tmp_path: Path) -> None:
    filled(sql_database)
    site = SiteHere(tmp_path, {**sql_source(sql_database), **embedded_log(tmp_path)}, sql_database.server.password)
    assert "follows no table" not in site.refused("verify", code=7)
    site.capture()
    site.apply()
    said = site.run("verify").stdout
    assert "Compared 10 documents in 3 datasets" in said
    assert "is exactly its source's, and none is missing" in said
    sql_database.execute(
        "SET SESSION sql_log_bin = 0",
        "DELETE FROM shadow_vec_docs WHERE id = 'a0'",
        "UPDATE shadow_vec_docs SET content = 'unseen', embedding = NULL, updated_at = updated_at WHERE id = 'a1'",
        INSERT.format("shadow_vec_docs") + "('b','new','unseen',NULL,NULL,NULL,1)",
        "UPDATE vec_dataset SET description = 'changed' WHERE dataset_id = 'b'",
        "DELETE FROM vec_dataset WHERE dataset_id = 'c'",
    )
    tampered(
        site.replica,
        "UPDATE replica_document SET meta = 'not so', archived = 1, created_at = NULL WHERE id = 'b3'",
        "UPDATE replica_document SET scn = 77 WHERE id = 'b4'",
    )
    wanted = [
        ("extra", "a", "a0", []),
        ("extra", "c", None, []),
        ("missing", "b", "new", []),
        ("unequal", "a", "a1", ["content", "embedding"]),
        ("unequal", "b", "b3", ["meta", "archived", "created_at"]),
        ("unequal", "b", "b4", ["scn"]),
        ("unequal", "b", None, ["description"]),
    ]
    before = len(site.events())
    assert sorted(named(found(site, code=5)), key=str) == sorted(wanted, key=str)
    shown = site.run("verify", code=5)
    assert "unequal (row of the dataset)" in shown.stdout
    assert "7 rows of the replica differ from its source" in shown.stderr.replace("\n", " ")
    assert "verify --repair" in shown.stderr
    assert len(site.events()) == before, "nothing is written unless that is asked for"
    asked = found(site, "--repair", code=5)["repair"]
    assert (asked["datasets"], asked["by"]) == (None, "next run")  # only all of them withdraw one that is gone
    site.capture()
    site.apply()
    assert named(found(site)) == []
    derived_structures_agree(site.replica)


def test_only_datasets_that_differ_are_read_again(sql_database: SqlDatabase, tmp_path: Path) -> None:
    filled(sql_database)
    site = SiteHere(tmp_path, {**sql_source(sql_database), **embedded_log(tmp_path)}, sql_database.server.password)
    site.capture()
    site.apply()
    sql_database.execute("SET SESSION sql_log_bin = 0", "UPDATE shadow_vec_docs SET scn = 9 WHERE id = 'a1'")
    asked = found(site, "--repair", code=5)["repair"]
    assert (asked["datasets"], asked["tables"]) == (["a"], [f"{sql_database.name}.shadow_vec_docs"])
    site.capture()
    site.apply()
    assert named(found(site)) == []


@pytest.mark.parametrize("reader", ["binlog", "mysql-replication"])
def test_while_everything_goes_on(sql_database: SqlDatabase, tmp_path: Path, reader: str) -> None:
    """Two sessions do everything to the rows; what stands still and differs is found, and nothing else."""
    create_tables(sql_database)
    with sql_database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT IGNORE INTO vec_dataset (dataset_id) VALUES (%s)", [(d,) for d in (*DATASETS, "still")]
        )
        cursor.executemany(
            "INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('still', %s, 'x')",
            [(str(n),) for n in range(50)],
        )
    source = sql_source(sql_database, reader=reader)
    site = Site(tmp_path, {**source, **embedded_log(tmp_path)}, sql_database.server.password)
    site.change(publish={"position_interval_s": 0.1})
    site.capture()
    site.apply()
    ended, tally, failures, seed = threading.Event(), Tally(), list[BaseException](), random.randrange(2**32)
    print("seed", seed)

    def write(number: int) -> None:
        try:
            Untruncated(sql_database.server, sql_database.name, seed + number, tally).run(lambda: ended.wait(0.02))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=[number]) for number in range(2)]
    with site.service("capture", "run"), site.service("replica", "run"):
        for thread in threads:
            thread.start()
        try:
            assert named(found(site)) == []
            changed_unseen(sql_database, "UPDATE shadow_vec_docs SET scn = 5, updated_at = updated_at WHERE id = '7'")
            said = found(site, code=5)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert not failures
    assert tally.total > 20, "the writers had no turn"
    assert named(said) == [("unequal", "still", "7", ["scn"])]


def changed_unseen(database: SqlDatabase, statement: str) -> None:
    """Again, where the server ends it for the sake of a writer's transaction."""
    while True:
        try:
            database.execute("SET SESSION sql_log_bin = 0", statement)
            return
        except pymysql.err.OperationalError as error:
            if error.args[0] not in RETRY:
                raise


class Untruncated(Session):
    """All but what takes the rows that stand still."""

    def truncate(self) -> None: ...


@pytest.fixture
def settles_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only late is published within a second here."""
    monkeypatch.setattr(runtime, "_SETTLE_S", 3.0)


@pytest.mark.usefixtures("settles_soon")
def test_transactions_that_committed_too_late_for_the_window(sql_database: SqlDatabase, tmp_path: Path) -> None:
    source = Late(sql_database)
    early, other = source.session(), source.session()
    account = sql_database.server.user
    site = site_of(tmp_path, sql_database, account, late_commit_window_s=0)
    site.secrets["VECSYNC_SOURCE__PASSWORD"] = site.env["VECSYNC_SOURCE__PASSWORD"] = sql_database.server.password
    site.capture()
    source.write(early, "a", "1", "early")
    source.write(other, "a", "2", "at once")
    other.commit()
    site.capture()
    early.commit()
    site.capture()
    site.apply()
    assert "no capture runs that would publish" in site.refused("verify", "--timeout", "0.5", code=6).replace("\n", " ")
    with site.service("capture", "run"), site.service("replica", "run"):
        assert named(found(site, code=5)) == [("missing", "a", "1", [])]
        assert found(site, "--repair", code=5)["repair"]["datasets"] is None
        deadline = time.monotonic() + 60
        while ("a", "1") not in replica_rows(site.replica):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert named(found(site)) == []
    rows = source_rows(sql_database.server, sql_database.name)
    assert differences(rows, replica_rows(site.replica)) == []
    for session in (early, other):
        session.close()


def test_one_of_several_databases(sql_server: SqlServer, tmp_path: Path) -> None:
    with fresh_database(sql_server) as one, fresh_database(sql_server) as other:
        filled(one)
        filled(other)
        both = ["shadow_vec_docs", f"{other.name}.shadow_vec_docs"]
        sections = {**sql_source(one, tables=both), **embedded_log(tmp_path)}
        site = SiteHere(tmp_path, {**sections, "replica": {"database": other.name}}, sql_server.password)
        site.capture()
        site.apply()
        for database in (one, other):
            database.execute("SET SESSION sql_log_bin = 0", "DELETE FROM shadow_vec_docs WHERE id = 'a0'")
        said = found(site, code=5)
        assert (said["database"], said["documents"], named(said)) == (other.name, 9, [("extra", "a", "a0", [])])
        site.change(replica={"database": one.name})
        assert "was built to follow the database" in site.refused("verify", code=7)


@pytest.mark.usefixtures("settles_soon")
def test_a_shadow_log_whose_entries_tell_nothing(sql_database: SqlDatabase, tmp_path: Path) -> None:
    """Rows of `vec_dataset`, and cascades, have no number by which it were known that they are published."""
    source = Late(sql_database)
    session = source.session()
    site = site_of(tmp_path, sql_database, sql_database.server.user, late_commit_window_s=1)
    site.secrets["VECSYNC_SOURCE__PASSWORD"] = site.env["VECSYNC_SOURCE__PASSWORD"] = sql_database.server.password
    source.write(session, "a", "1", "text")
    session.commit()
    session.close()
    site.capture()
    site.apply()
    sql_database.execute(
        "UPDATE vec_dataset SET description = 'late' WHERE dataset_id = 'b'",
        "DELETE FROM vec_dataset WHERE dataset_id = 'a'",
    )
    with site.service("capture", "run"), site.service("replica", "run"):
        assert named(found(site)) == []


def test_a_table_that_one_side_follows_is_left_out(mariadb_database: SqlDatabase, tmp_path: Path) -> None:
    filled(mariadb_database)
    mariadb_database.execute(
        SHADOW.format(table="notes", key="id"), INSERT.format("notes") + "('a','n','note',NULL,NULL,'m',1)"
    )
    both = sql_source(mariadb_database, tables=["shadow_vec_docs", "notes"])
    site = SiteHere(tmp_path, {**both, **embedded_log(tmp_path)}, mariadb_database.server.password)
    site.capture()
    site.apply()
    site.change(source={"tables": ["shadow_vec_docs"]})
    said = found(site)
    assert (said["tables"], said["left_out"], said["documents"]) == (["shadow_vec_docs"], ["notes"], 10)
    assert "Not compared: notes" in site.run("verify").stdout


def test_documents_of_a_dataset_that_nobody_has(mariadb_database: SqlDatabase, tmp_path: Path) -> None:
    filled(mariadb_database)
    sections = {**sql_source(mariadb_database), **embedded_log(tmp_path)}
    site = SiteHere(tmp_path, sections, mariadb_database.server.password)
    site.capture()
    site.apply()
    mariadb_database.execute(
        "SET SESSION sql_log_bin = 0, foreign_key_checks = 0", "DELETE FROM shadow_vec_docs WHERE dataset_id = 'a'"
    )
    mariadb_database.execute("DELETE FROM vec_dataset WHERE dataset_id = 'a'")
    site.capture()
    tampered(
        site.replica,
        "INSERT INTO replica_dataset_row SELECT 'x', epoch, file, position, ordinal, topic, partition, 1, NULL, NULL,"
        " NULL FROM replica_dataset_row WHERE dataset_id = 'b'",
    )
    site.apply()
    assert named(found(site, "--repair", code=5)) == [("extra", "x", None, [])]


def test_only_datasets_that_the_replica_follows_count(mariadb_database: SqlDatabase, tmp_path: Path) -> None:
    filled(mariadb_database)
    sections = {**sql_source(mariadb_database), **embedded_log(tmp_path), "replica": {"datasets": ["b*"]}}
    site = SiteHere(tmp_path, sections, mariadb_database.server.password)
    site.capture()
    site.apply()
    said = found(site)
    assert (said["documents"], said["datasets"]) == (5, 1)


def test_a_sqlite_source(tmp_path: Path) -> None:
    upstream = tmp_path / "upstream.db"
    source = {"kind": "sqlite", "url": f"sqlite:///{upstream}", "poll_interval_s": 0.02}
    site = SiteHere(tmp_path, {"source": source, **embedded_log(tmp_path)})
    site.run("source", "install")
    db = open_writer(upstream)
    db.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')").fetchall()
    rows = ", ".join(f"('d', '{n}', x'0000803f', 'm', {n})" for n in range(1, 6))
    insert = f"INSERT INTO shadow_vec_docs (dataset_id, id, embedding, embedding_model, scn) VALUES {rows}"
    db.execute(insert).fetchall()
    site.capture()
    site.apply()
    assert found(site)["documents"] == 5
    tampered(site.replica, "UPDATE replica_document SET scn = 99 WHERE id = '2'")
    assert named(found(site, code=5)) == [("unequal", "d", "2", ["scn"])]
    assert found(site, "--repair", code=5)["repair"]["by"] == "next run"
    site.capture()
    site.apply()
    assert named(found(site)) == []
    db.close()


@pytest.mark.parametrize(
    ("late", "says"), [("capture", "no capture came to the end"), ("apply", "does not come to the end of the topics")]
)
def test_who_does_not_come_so_far_is_named(mariadb_database: SqlDatabase, tmp_path: Path, late: str, says: str) -> None:
    filled(mariadb_database)
    site = SiteHere(
        tmp_path, {**sql_source(mariadb_database), **embedded_log(tmp_path)}, mariadb_database.server.password
    )
    site.capture()
    site.apply()
    mariadb_database.execute("UPDATE shadow_vec_docs SET scn = 100")
    if late != "capture":
        site.capture()
    assert says in site.refused("verify", "--timeout", "0.5", code=6).replace("\n", " ")


def test_a_source_that_is_changed_as_a_whole_meanwhile(
    mariadb_database: SqlDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be compared across such a statement; it is enough to begin anew."""
    filled(mariadb_database)
    sections = {**sql_source(mariadb_database), **embedded_log(tmp_path)}
    site = SiteHere(tmp_path, sections, mariadb_database.server.password)
    site.capture()
    site.apply()
    start = BinlogSource.start

    def altered(self: BinlogSource, epoch: int) -> Any:
        begun = start(self, epoch)
        mariadb_database.execute("RENAME TABLE shadow_vec_docs TO gone, gone TO shadow_vec_docs")
        return begun

    monkeypatch.setattr(BinlogSource, "start", altered)
    assert "Run `vecsync verify` again" in site.refused("verify", code=7)


def test_a_stream_that_takes_more_than_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replica is ahead of the stream, which then takes a change from behind the end that was asked for: what the
    replica has was right at that end, and the change is not published yet."""
    upstream = tmp_path / "upstream.db"
    source = {"kind": "sqlite", "url": f"sqlite:///{upstream}", "poll_interval_s": 0.02}
    site = SiteHere(tmp_path, {"source": source, **embedded_log(tmp_path)})
    site.run("source", "install")
    db = open_writer(upstream)
    db.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')").fetchall()
    db.execute("INSERT INTO shadow_vec_docs (dataset_id, id, content, scn) VALUES ('d', '1', 'first', 1)").fetchall()
    site.capture()
    site.apply()
    rounds: list[int] = []

    def write(text: str) -> None:
        db.execute("UPDATE shadow_vec_docs SET content = ?, scn = scn + 1 WHERE id = '1'", [text]).fetchall()

    published, head = runtime._Run._published, SqliteSource.head

    def hurried(self: Any, end: Any) -> Any:
        if not rounds:
            write("second")
            site.capture()
            site.apply()
            rounds.append(0)
        return published(self, end)

    def overtaken(self: SqliteSource) -> Any:
        at = head(self)
        if rounds == [0]:
            rounds.append(1)
            write("third")
        return at

    monkeypatch.setattr(runtime._Run, "_published", hurried)
    monkeypatch.chdir(tmp_path)
    chosen = load(site.config)
    monkeypatch.setattr(SqliteSource, "head", overtaken)
    with pytest.raises(Unreachable, match="no capture came to the end"):
        runtime.verify(chosen, threading.Event(), lambda *_: None, patience_s=0.5)
    db.close()
