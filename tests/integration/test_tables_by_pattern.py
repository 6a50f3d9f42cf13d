"""Tables that match a pattern: those that are there, and those that come, by whatever way, at any time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from connector.errors import PreflightRefused, UnseenRows
from connector.model import Lane, TableName
from connector.publish import recorded_position
from connector.topics import table_topics
from connector.upstream.findings import Severity
from connector.upstream.preflight import check, require
from tests.servers.model import SqlDatabase
from tests.system.processes import Service, environment, write_config
from tests.system.settings import settings, source_section
from tests.system.several import INSERT, Several
from tests.system.site import SiteHere, embedded_log, sql_source
from tests.system.tenants import DOCS, Tenants, capture_of, docs, rows, running, tenants_beside, until_current


@pytest.fixture
def tenants(sql_database: SqlDatabase) -> Iterator[Tenants]:
    with tenants_beside(sql_database) as found:
        yield found


def test_tables_that_come_and_go(tenants: Tenants, tmp_path: Path) -> None:
    first, one = tenants.first, tenants.make("t1")
    first.execute(docs("docs_a"), rows("docs_a", "a"))
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    names = [DOCS, "docs_a"]
    capture.check_each({first: names, one: [DOCS]})

    # While nobody reads; one is gone again before its beginning is read.
    two = tenants.make("t2")
    first.execute(docs("docs_b"), rows("docs_b", "b"), docs("docs_gone"), rows("docs_gone", "gone"))
    first.execute("DROP TABLE docs_gone", f"UPDATE {DOCS} SET content = 'since' WHERE id = '1'")
    capture.capture()
    names += ["docs_b"]
    capture.check_each({first: names, one: [DOCS], two: [DOCS]})
    epoch = capture.epoch()

    # One goes, and comes back; so does a database.
    first.execute("DROP TABLE docs_a")
    one.server.query(f"DROP DATABASE `{one.name}`")
    capture.capture()
    assert capture.epoch() == epoch
    capture.check_each({first: names, one: [DOCS], two: [DOCS]})
    first.execute(docs("docs_a"), rows("docs_a", "again"))
    again = tenants.make("t1")
    capture.capture()
    capture.check_each({first: names, again: [DOCS], two: [DOCS]})
    two.execute(f"TRUNCATE TABLE {DOCS}", INSERT.format(DOCS) + "('d','new','new',NULL,NULL,'m',1)")
    capture.capture()
    capture.check_each({first: names, again: [DOCS], two: [DOCS]})


def test_tables_that_come_while_it_runs(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    first.execute(docs("hidden"), rows("hidden", "moved"))
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    with running(capture):
        first.execute(docs("docs_a"), rows("docs_a", "a"), f"UPDATE {DOCS} SET content = 'meanwhile'")
        until_current(capture)
        first.execute("RENAME TABLE hidden TO docs_moved", f"DELETE FROM {DOCS} WHERE id = '2'")
        tenant = tenants.make("t1")
        until_current(capture)
        first.execute("CREATE TABLE docs_copy LIKE docs_a", "INSERT INTO docs_copy SELECT * FROM docs_a")
        first.execute("UPDATE docs_a SET content = 'after', scn = scn + 1 WHERE id = '0'")
        until_current(capture)
    capture.check_each({first: [DOCS, "docs_a", "docs_moved", "docs_copy"], tenant: [DOCS]})


def test_one_that_cannot_be_followed_stops_it_by_name(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    first.execute(
        "CREATE TABLE docs_wrong (id INT PRIMARY KEY, content TEXT)",
        f"UPDATE {DOCS} SET content = 'past it' WHERE id = '3'",
    )
    for _ in range(2):
        with pytest.raises(PreflightRefused, match=r"docs_wrong has no column dataset_id"):
            capture.capture()
        position = recorded_position(capture.broker, "vecsync")
        assert position is not None
        topic = table_topics("vecsync", first.name, DOCS).data
        assert sum(end for lane, end in position.ends.items() if lane.topic == topic) == ends_of(capture, topic)
    first.execute("DROP TABLE docs_wrong")
    capture.capture()
    capture.check_each({first: [DOCS]})


def ends_of(capture: Several, topic: str) -> int:
    admin = capture.broker.admin()
    try:
        return sum(admin.end_offsets([Lane(topic, partition) for partition in range(3)]).values())
    finally:
        admin.close()


def test_one_that_may_not_be_read_stops_it_by_name(tenants: Tenants, tmp_path: Path) -> None:
    first, server = tenants.first, tenants.first.server
    user = f"u_{first.name}"
    monitor = "BINLOG MONITOR, SLAVE MONITOR" if server.kind == "mariadb" else "REPLICATION CLIENT"
    first.execute(
        f"CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'",
        f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO '{user}'@'%'",
        f"GRANT SELECT ON `{first.name}`.{DOCS} TO '{user}'@'%'",
        f"GRANT SELECT ON `{first.name}`.vec_dataset TO '{user}'@'%'",
    )
    try:
        url = first.url.replace(f"//{server.user}@", f"//{user}@")
        capture = capture_of(tenants, tmp_path, url=url, password="pw")
        capture.capture()
        first.execute(docs("docs_a"), rows("docs_a", "a"))
        with pytest.raises(PreflightRefused, match=r"may not read docs_a") as caught:
            capture.capture()
        assert f"GRANT SELECT ON `{first.name}`.`docs_a`" in str(caught.value)
        first.execute(f"GRANT SELECT ON `{first.name}`.docs_a TO '{user}'@'%'")
        capture.capture()
        capture.check_each({first: [DOCS, "docs_a"]})
    finally:
        first.execute(f"DROP USER '{user}'@'%'")


def test_without_snapshots(tenants: Tenants, tmp_path: Path) -> None:
    first = tenants.first
    first.execute(docs("hidden"), "DELETE FROM vec_dataset")
    capture = capture_of(tenants, tmp_path, snapshot="no_data")
    capture.capture()
    first.execute("INSERT INTO vec_dataset (dataset_id, description) VALUES ('d', 'first')")
    first.execute(rows(DOCS, "new"), docs("docs_a"), rows("docs_a", "a"))
    capture.capture()
    assert capture.epoch() == 1
    capture.check_each({first: [DOCS, "docs_a"]})
    first.execute("RENAME TABLE hidden TO docs_moved")
    with pytest.raises(UnseenRows, match="docs_moved"):
        capture.capture()


def test_a_check_of_what_matches(tenants: Tenants) -> None:
    first = tenants.first
    none = settings(source=source_section(first, tables=["docs_*"]))
    (finding,) = [f for f in check(none) if f.severity is Severity.ERROR]
    assert (finding.code, finding.what[:30]) == ("table_missing", "no table matches docs_*, or no")
    first.execute("CREATE TABLE docs_wrong (id INT PRIMARY KEY)", docs("docs_right"))
    found = [f.what for f in check(none) if f.severity is Severity.ERROR]
    assert found
    assert all("docs_wrong" in what for what in found)
    require(none, [TableName(first.name, "docs_right")])  # of one that comes only that one is looked at
    with pytest.raises(PreflightRefused, match="docs_wrong"):
        require(none, [TableName(first.name, "docs_wrong")])


def test_killed_again_and_again_while_tables_come(tenants: Tenants, tmp_path: Path) -> None:
    first, chance = tenants.first, random.Random(11)
    capture = capture_of(tenants, tmp_path)
    capture.capture()
    sections = {
        "source": {
            "url": first.url, "tables": capture.settings().source.tables, "heartbeat_s": 1, "snapshot_chunk_rows": 3,
        },
        "broker": {"kind": "embedded", "path": str(tmp_path / "log.db")},
        "topics": {"partitions": 3},
    }  # fmt: skip
    config = write_config(tmp_path / "vecsync.yaml", sections)
    env = environment(VECSYNC_SOURCE__PASSWORD=first.server.password)
    names = [DOCS]
    for round in range(3):
        with ExitStack() as ending:
            service = Service("capture", "run", config=config, env=env, log=tmp_path / f"{round}.log")
            service.start()
            ending.callback(service.end)
            service.wait_until_working()
            time.sleep(chance.random())
            for part in "ba":  # their names are in no rising order
                table = f"docs_{9 - round}{part}"
                names.append(table)
                first.execute(
                    docs(table), rows(table, table, 20), f"UPDATE {DOCS} SET scn = scn + 1, content = '{table}'"
                )
                time.sleep(chance.random() * 0.4)
            service.kill()
    capture.capture()
    capture.check_each({first: names})


def test_a_new_tenant_by_the_command_line(tenants: Tenants, tmp_path: Path) -> None:
    """As the guide says, beside a capture that runs."""
    first, server = tenants.first, tenants.first.server
    pattern, table = f"{first.name}_t*.{DOCS}", f"{first.name}_t1.{DOCS}"
    sections = {**embedded_log(tmp_path), **sql_source(first, tables=[pattern])}
    site = SiteHere(tmp_path, sections, secret=server.password)
    said = site.refused("source", "install", code=2)
    assert f"no table matches {pattern}" in said
    assert "source install --table NAME" in said
    assert "to be mended" in site.refused("capture", "run", code=4)
    assert "has patterns only" in site.refused("topics", "tail", "--until-current", code=2)
    site.change(source={"tables": [DOCS, pattern]})
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "cats.md").write_text("# Cats\n\nCats sleep.\n")
    tenant = SqlDatabase(server, f"{first.name}_t1")
    tenants.made.append(tenant)
    with site.service("capture", "run") as capture:
        capture.wait_until_working()
        server.query(f"CREATE DATABASE `{tenant.name}` CHARACTER SET utf8mb4")
        assert "11 statements run: the source is set up." in site.run("source", "install", "--table", table).stdout
        site.run("ingest", str(tmp_path / "texts"), "-d", "notes", "--table", table)
        capture.check()
    assert "Nothing was missing" in site.run("source", "install", "--table", table).stdout
    assert "nobody would follow" in site.refused("source", "install", "--table", f"{table}s", code=2)
    site.capture()
    site.change(replica={"database": tenant.name})
    site.apply()
    assert site.search("cats", "-d", "notes", "--mode", "text") == ["cats.md#0"]
    assert "exactly its source" in site.run("verify").stdout
