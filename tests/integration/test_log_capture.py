"""Capture from the shadow log of MySQL and MariaDB as users run it, with an account that may only SELECT."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from connector.broker.connect import open_broker
from connector.errors import PreflightRefused
from connector.model import DocChange, DocKey, Lane, Op
from connector.publish import Publisher, followed_topics, send_signal, signals_lane
from connector.publish.log_state import read_to_end, recorded_position
from connector.publish.moving import record as record_position
from connector.settings import load
from connector.source.log_source import LogSource
from connector.upstream.findings import Severity
from connector.upstream.install import install
from connector.upstream.preflight import require
from connector.wire import SnapshotSignal, decode_key, decode_value
from tests.servers.model import SqlDatabase
from tests.system.compare import open_plainly, replica_rows
from tests.system.log_site import admin, agrees, reading_account, site_of, until
from tests.system.site import SiteHere


@pytest.fixture
def reader(sql_database: SqlDatabase) -> Iterator[str]:
    with reading_account(sql_database) as name:
        yield name


def test_what_was_published_and_not_recorded_is_read_again(
    sql_database: SqlDatabase, reader: str, tmp_path: Path
) -> None:
    """Nothing at the source tells any more that this dataset was there: only what stands in the log does."""
    site = site_of(tmp_path, sql_database, reader)
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('a')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '1', 'x')",
    )
    site.capture()
    settings = load(site.config)
    recorded = recorded_position(open_broker(settings), settings.topics.prefix)
    assert recorded is not None
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('b')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '2', 'y'), ('b', '1', 'z')",
    )
    site.capture()
    # As if it was killed with nothing recorded but that it had begun.
    begun = replace(recorded.source, dataset_log_seq=recorded.source.dataset_log_seq + 1)
    record_position(open_broker(settings), settings, begun, recorded.ends)
    sql_database.execute("DELETE FROM vec_dataset WHERE dataset_id = 'b'")
    site.capture()
    site.apply()
    agrees(site, sql_database)


def test_what_an_earlier_stream_writes_late_is_mended(sql_database: SqlDatabase, reader: str, tmp_path: Path) -> None:
    site = site_of(tmp_path, sql_database, reader)
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('a')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '1', 'old'), ('a', '2', 'old')",
    )
    site.capture()
    settings = load(site.config, {"source": {"password": "reader-secret"}})
    broker = open_broker(settings)
    (tables,) = followed_topics(settings).values()
    starts = {Lane(tables.data, partition): 0 for partition in range(settings.topics.partitions)}
    late = [record for record in read_to_end(broker, starts) if isinstance(decode_key(record.key or b""), DocKey)]
    sql_database.execute("UPDATE shadow_vec_docs SET content = 'new'", "DELETE FROM shadow_vec_docs WHERE id = '2'")
    source, stop = LogSource(settings), Event()
    publisher = Publisher(source, broker, settings, stop)
    running = Thread(target=publisher.run, daemon=True)
    running.start()

    def newest() -> dict[str, tuple[Op, bool]]:
        """Of each document the last record, and whether it is the greatest, too."""
        found: dict[str, list[DocChange]] = {}
        for record in read_to_end(broker, starts):
            change = decode_value(record.value or b"").change
            if isinstance(change, DocChange):
                found.setdefault(change.key.id, []).append(change)
        return {id: (of[-1].op, of[-1].order == max(c.order for c in of)) for id, of in found.items()}

    def until_newest(expected: dict[str, tuple[Op, bool]]) -> None:
        deadline = time.monotonic() + 60
        while newest() != expected:
            assert time.monotonic() < deadline, newest()
            time.sleep(0.05)

    until_newest({"1": (Op.UPDATE, True), "2": (Op.DELETE, True)})
    producer = broker.producer(lambda _lane, _offset: None)
    for record in late:
        producer.send(Lane(record.topic, record.partition), record.key or b"", record.value or b"")
    producer.flush(10)
    producer.close()
    assert newest() != {"1": (Op.UPDATE, True), "2": (Op.DELETE, True)}
    until_newest({"1": (Op.READ, True), "2": (Op.DELETE, True)})
    stop.set()
    running.join(30)
    source.close()
    site.apply()
    agrees(site, sql_database)


def test_the_check_and_what_a_new_snapshot_finds(sql_database: SqlDatabase, reader: str, tmp_path: Path) -> None:
    site = site_of(tmp_path, sql_database, reader, late_commit_window_s=0)
    found = json.loads(site.run("source", "check", "--json").stdout)["findings"]
    assert {f["code"] for f in found if f["severity"] != "info"} == {"triggers_unseen"}
    assert "truncate" in {f["code"] for f in found}
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('a')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '1', 'x'), ('a', '2', 'y')",
    )
    site.capture()
    sql_database.execute("TRUNCATE shadow_vec_docs")
    sql_database.execute("INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '3', 'z')")
    site.capture()
    site.apply()
    assert set(replica_rows(site.replica)) == {("a", "1"), ("a", "2"), ("a", "3")}  # as documented
    status = json.loads(site.run("capture", "status", "--json").stdout)
    assert (status["caught_up"], status["behind"], status["lag_s"]) == (True, 0, 0)
    sql_database.execute("INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '4', 'z')")
    status = json.loads(site.run("capture", "status", "--json").stdout)
    assert status["caught_up"] is False
    assert status["behind"] >= 1
    assert 0 < status["lag_s"] < 3600
    assert "in the shadow log" in site.run("capture", "snapshot").stdout
    site.capture()
    site.apply()
    agrees(site, sql_database)


def test_a_snapshot_that_is_asked_for_reads_all_datasets(
    sql_database: SqlDatabase, reader: str, tmp_path: Path
) -> None:
    site = site_of(tmp_path, sql_database, reader)
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('a'), ('b')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '1', 'x'), ('b', '2', 'y')",
    )
    site.capture()
    assert "reads all datasets" in site.refused("capture", "snapshot", "-d", "a", code=2)
    sql_database.execute("TRUNCATE shadow_vec_docs")
    sql_database.execute("INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '3', 'z')")
    settings = load(site.config)
    for signal in (SnapshotSignal(("a",)), SnapshotSignal()):
        send_signal(open_broker(settings), settings, signal)
    site.capture()
    recorded = recorded_position(open_broker(settings), settings.topics.prefix)
    assert recorded is not None
    assert (recorded.source.epoch, recorded.ends[signals_lane(settings.topics.prefix)]) == (2, 2)
    site.apply()
    agrees(site, sql_database)


def test_some_tables_are_read_again(sql_database: SqlDatabase, reader: str, tmp_path: Path) -> None:
    """What no trigger saw is seen in the table that was named, and nowhere else."""
    install(admin(sql_database, tables=["shadow_vec_docs", "notes"]))
    sql_database.server.query(f"GRANT SELECT ON {sql_database.name}.notes TO {reader}@'%'")
    site = site_of(tmp_path, sql_database, reader, tables=["notes", "shadow_vec_docs"], late_commit_window_s=0)
    row = "(dataset_id, id, content) VALUES ('a', '1', 'x'), ('a', '2', 'y')"
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('a')",
        f"INSERT INTO shadow_vec_docs{row}",
        f"INSERT INTO notes{row}",
    )
    site.capture()
    sql_database.execute("TRUNCATE notes", "TRUNCATE shadow_vec_docs")
    said = json.loads(site.run("capture", "snapshot", "-t", "shadow_vec_docs", "--json").stdout)
    assert (said["tables"], said["datasets"]) == ([f"{sql_database.name}.shadow_vec_docs"], None)
    site.capture()
    site.apply()
    db = open_plainly(site.replica)
    left = [db.execute(f'SELECT id FROM "{table}" ORDER BY id').fetchall() for table in ("notes", "shadow_vec_docs")]
    db.close()
    assert left == [[("1",), ("2",)], []]


def test_what_is_missing_is_named(sql_database: SqlDatabase, reader: str, tmp_path: Path) -> None:
    server, name = sql_database.server, sql_database.name
    site = site_of(tmp_path, sql_database, reader)
    settings = load(site.config, {"source": {"password": "reader-secret"}})
    assert {f.code for f in require(settings) if f.severity is Severity.WARNING} == {"triggers_unseen"}
    sql_database.execute("DROP TRIGGER shadow_vec_docs_ad")
    server.query(f"GRANT TRIGGER ON {name}.shadow_vec_docs TO {name}@'%'")
    assert "no trigger of shadow_vec_docs logs DELETE" in site.refused("capture", "run", code=4)
    source = LogSource(settings)
    begin = source.start(1)
    with pytest.raises(PreflightRefused, match="logs DELETE"):
        source.stream(begin)
    source.close()
    sql_database.execute("DROP TRIGGER shadow_vec_docs_ai", "DROP TRIGGER shadow_vec_docs_au")
    with pytest.raises(PreflightRefused, match="logs INSERT and UPDATE and DELETE"):
        require(settings)
    install(admin(sql_database))
    assert not [f for f in require(settings) if f.severity is Severity.WARNING]
    server.query(f"REVOKE SELECT ON {name}.vec_shadow_log FROM {name}@'%'")
    with pytest.raises(PreflightRefused, match=r"may not read vec_shadow_log[^;]*GRANT SELECT ON"):
        require(settings)
    server.query(f"GRANT SELECT ON {name}.vec_shadow_log TO {name}@'%'")
    sql_database.execute("ALTER TABLE vec_shadow_log DROP PRIMARY KEY, ADD KEY (dataset_id)")
    with pytest.raises(PreflightRefused, match=r"the primary key of vec_shadow_log is \(\)"):
        require(settings)
    sql_database.execute("DROP TABLE vec_shadow_log")
    with pytest.raises(PreflightRefused, match="there is no vec_shadow_log"):
        require(settings)


def test_another_reader_is_another_log(sql_database: SqlDatabase, reader: str, tmp_path: Path) -> None:
    """Refused until a snapshot is asked for."""
    site = site_of(tmp_path, sql_database, reader)
    sql_database.execute(
        "INSERT INTO vec_dataset(dataset_id) VALUES ('a')",
        "INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('a', '1', 'x')",
    )
    site.capture()
    gtid = "0-1-1" if sql_database.server.kind == "mariadb" else "11111111-1111-1111-1111-111111111111:1"
    assert "have no GTID" in site.refused("capture", "position", "skip", gtid, "--yes", code=2)
    assert "cannot be set" in site.refused("capture", "position", "set", "binlog.000001:4", "--yes", code=2)
    other = SiteHere(
        tmp_path,
        {**site.sections, "source": {"kind": "mysql", "url": sql_database.url}},
        sql_database.server.password,
    )
    other.refused("capture", "run", code=7)
    assert json.loads(other.run("capture", "status", "--json").stdout)["caught_up"] is False
    other.run("capture", "snapshot")
    other.capture()
    other.apply()
    agrees(other, sql_database)


def test_pruning_what_was_read(sql_database: SqlDatabase, reader: str, tmp_path: Path) -> None:
    site = site_of(tmp_path, sql_database, reader, late_commit_window_s=0.2)
    sql_database.execute("INSERT INTO vec_dataset(dataset_id) VALUES ('a'), ('b')")
    for id in "12345":
        sql_database.execute(f"INSERT INTO shadow_vec_docs(dataset_id, id) VALUES ('a', '{id}'), ('b', '{id}')")
    (tmp_path / "admin").mkdir()
    source = {**site.sections["source"], "url": sql_database.url}
    pruner = SiteHere(tmp_path / "admin", {**site.sections, "source": source}, sql_database.server.password)
    assert "nothing of this source was published" in pruner.refused("source", "prune", "--keep-days", "0", code=3)
    with site.service("capture", "run"):
        until(lambda at: at.cursors and not any(c.missing for c in at.cursors.values()), site)
    sql_database.execute("DELETE FROM shadow_vec_docs WHERE id = '5'")
    removed = json.loads(pruner.run("source", "prune", "--keep-days", "0", "--dry-run", "--json").stdout)
    assert removed == {"dry_run": True, "removed": 8}
    pruner.run("source", "prune", "--keep-days", "0")
    assert len(sql_database.query("SELECT 1 FROM vec_shadow_log")) == 4
    before = len(site.events())
    site.capture()
    assert len(site.events()) - before <= 4, "a log that was pruned is still the one that was read"
    site.apply()
    agrees(site, sql_database)
