"""Snapshots that are asked of a running capture: consistent while writers go on, resumed after kill -9, acted on once;
and signals that cannot be acted on."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from connector.broker import Broker
from connector.broker.connect import open_broker
from connector.errors import UsageError
from connector.model import ZERO_ORDER, Change, CommitOrder, DocChange, Floor, FloorReason, Lane, PublishedPosition
from connector.publish import moving, recorded_position, send_signal, signals_lane
from connector.publish.log_state import read_to_end
from connector.runtime.snapshot import Asked, ask_again
from connector.settings import Settings, load
from connector.topics import signals_topic, table_topics
from connector.upstream.sqlite import open_writer
from connector.wire import SnapshotSignal, decode_value, signal_key
from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.compare import derived_structures_agree, differences, replica_rows, source_rows
from tests.system.plain_replica import applied, compacted
from tests.system.processes import Service
from tests.system.schema import PrimaryKey, create_tables
from tests.system.site import Site, SiteHere, embedded_log, kafka_log, sql_source
from tests.system.snapshot_reading import source_state
from tests.system.workload import DATASETS, RETRY, Session, Tally

PARTITIONS = 3
ROWS = 300
END_S = 90.0


def until(reached: Callable[[], bool], patience_s: float = END_S) -> None:
    deadline = time.monotonic() + patience_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


UNSEEN = (
    "DELETE FROM shadow_vec_docs WHERE dataset_id = %s AND id LIKE '%%static-1%%'",
    "UPDATE shadow_vec_docs SET content = CONCAT(content, ' unseen') WHERE dataset_id = %s AND id LIKE '%%static-2%%'",
)


def changed_unseen(database: SqlDatabase, dataset: str) -> None:
    """Some rows behind the binlog's back."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_log_bin = 0")
        for statement in UNSEEN:
            changed = 0
            while not changed:
                try:
                    changed = cursor.execute(statement, [dataset])
                except pymysql.err.OperationalError as error:
                    if error.args[0] not in RETRY:
                        raise


class Capture:
    """A capture, the log that it writes, and the state that its source has."""

    def __init__(self, site: Site, database: SqlDatabase) -> None:
        self.site, self.database = site, database
        self.service = Service("capture", "run", config=site.config, env=site.env, log=site.directory / "capture.log")
        self.settings: Settings = load(site.config, {"source": {"password": database.server.password}})
        self.broker: Broker = open_broker(self.settings)
        self.prefix = self.settings.topics.prefix

    def recorded(self) -> PublishedPosition | None:
        return recorded_position(self.broker, self.prefix)

    def done(self) -> bool:
        found = self.recorded()
        return found is not None and found.source.snapshot_done

    def reading(self) -> bool:
        """A snapshot is under way, and part of a table is published."""
        found = self.recorded()
        progress = None if found is None else found.source.snapshot
        return progress is not None and progress.last_key is not None and progress.table == "shadow_vec_docs"

    def ask(self, *datasets: str) -> Asked:
        """The capture that runs. Writers may have deleted the dataset just now."""
        until(lambda: self.leader() is not None)
        for _ in range(10):
            for dataset in datasets:
                self.database.execute(f"INSERT IGNORE INTO vec_dataset (dataset_id) VALUES ('{dataset}')")
            try:
                return ask_again(self.settings, datasets)
            except UsageError:
                continue
        raise AssertionError("deleted again and again")

    def leader(self) -> str | None:
        admin = self.broker.admin()
        try:
            return admin.lease_state(signals_topic(self.prefix)).holder
        finally:
            admin.close()

    def dealt_with(self, asked: Asked) -> bool:
        found = self.recorded()
        assert found is not None
        assert asked.offset is not None
        return found.source.snapshot_done and found.ends.get(signals_lane(self.prefix), 0) > asked.offset

    def log(self) -> list[Change]:
        """Everything on the data topic; held to the order of each key."""
        topic = table_topics(self.prefix, self.database.name, "shadow_vec_docs").data
        found: list[Change] = []
        last: dict[object, CommitOrder] = {}
        for record in read_to_end(self.broker, {Lane(topic, p): 0 for p in range(PARTITIONS)}):
            assert record.value is not None
            change = decode_value(record.value).change
            key = (record.partition, change.key)
            assert change.order >= last.get(key, ZERO_ORDER), f"{change.key} at {change.order} after {last[key]}"
            last[key] = change.order
            found.append(change)
        return found

    def says(self, text: str) -> int:
        return self.service.log.read_text(errors="replace").count(text)

    def signal(self, value: bytes, key: bytes | None = None) -> None:
        """As anybody could send it."""
        producer = self.broker.producer(lambda _lane, _offset: None)
        producer.send(signals_lane(self.prefix), signal_key(self.prefix) if key is None else key, value)
        producer.flush(30)
        producer.close()


def set_up(site_of: type[Site], database: SqlDatabase, directory: Path, key: PrimaryKey) -> Capture:
    create_tables(database, key)
    log = embedded_log(directory, PARTITIONS)
    site = site_of(directory, {**sql_source(database, snapshot_chunk_rows=5), **log}, database.server.password)
    site.change(publish={"position_interval_s": 0.03})
    return Capture(site, database)


@pytest.fixture
def capture(sql_database: SqlDatabase, tmp_path: Path) -> Iterator[Capture]:
    key: PrimaryKey = "id" if sql_database.server.kind == "mysql" else "dataset_and_id"
    found = set_up(Site, sql_database, tmp_path, key)
    yield found
    found.service.end()


def fill(database: SqlDatabase, datasets: Collection[str], rows: int) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT IGNORE INTO vec_dataset (dataset_id) VALUES (%s)", [(d,) for d in datasets])
        cursor.executemany(
            "INSERT IGNORE INTO shadow_vec_docs (dataset_id, id, content) VALUES (%s, %s, %s)",
            [(d, f"{d[:20]}static-{n}", f"text {n}") for d in datasets for n in range(rows)],
        )


def test_while_writers_go_on(capture: Capture) -> None:
    """Two datasets, then all, each killed in the middle, while sessions do everything to the rows; the whole log and
    the compacted one, and a replica, must give the source's state."""
    database, service = capture.database, capture.service
    fill(database, DATASETS, 0)
    fill(database, ["plain", "kept"], ROWS)
    seed = random.randrange(2**32)
    print("seed", seed)
    service.start()
    until(capture.done)
    ended, tally, failures = threading.Event(), Tally(), list[BaseException]()

    def write(number: int) -> None:
        try:
            id_only = database.server.kind == "mysql"
            session = Session(database.server, database.name, seed + number, tally, id_only=id_only)
            session.run(lambda: ended.wait(0.01))  # at full speed they leave no processor to anybody else
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    killed = asks = 0
    try:
        # One that ended before it could be killed is asked for again.
        while asks < 2 or (not killed and asks < 8):
            datasets = () if asks else ("plain", "kept")
            asks += 1
            fill(database, ["kept"], ROWS)  # a session may have truncated the table
            changed_unseen(database, "kept")
            asked = capture.ask(*datasets)
            until(lambda: capture.reading() or capture.dealt_with(asked))  # noqa: B023 -- waited for here
            service.kill()
            killed += not capture.done()
            service.start()
            until(lambda: capture.dealt_with(asked))  # noqa: B023
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    service.stop()
    assert not failures
    assert killed, "no snapshot was under way when capture was killed"
    capture.site.capture()
    log, wanted = capture.log(), source_state(database)
    recorded = capture.recorded()
    assert recorded is not None
    assert recorded.source.epoch == 1 + asks, "each signal is acted on once"
    assert tally.total > 20, "the writers had no turn"
    assert applied(log) == wanted
    assert applied(compacted(log)) == wanted
    capture.site.apply()
    assert differences(source_rows(database.server, database.name), replica_rows(capture.site.replica)) == []
    derived_structures_agree(capture.site.replica)


def test_what_cannot_be_acted_on_is_refused_by_its_offset(capture: Capture) -> None:
    fill(capture.database, ["d", "e"], 5)
    capture.service.start()
    until(capture.done)
    refused = [
        b"no JSON",
        b"\xff",
        b"[]",
        b"{}",
        b'{"type": "stop-snapshot"}',
        b'{"type": "execute-snapshot", "data": {"type": "blocking"}}',
        b'{"type": "execute-snapshot", "data": {"data-collections": ["other.table"]}}',
        b'{"type": "execute-snapshot", "data": {"datasets": ["nobody has it"]}}',
        b'{"type": "execute-snapshot", "data": {"datasets": ["D"]}}',
        b'{"type": "execute-snapshot", "data": {"datasets": []}}',
        b'{"type": "execute-snapshot", "data": {"filter": "1 = 1"}}',
    ]
    for value in refused:
        capture.signal(value)
    capture.signal(b'{"type": "execute-snapshot"}', key=b"another prefix")
    refused.append(b"")
    table = f"{capture.database.name}.shadow_vec_docs"
    data = {"type": "INCREMENTAL", "data-collections": [table], "datasets": ["d", "d"]}
    capture.signal(json.dumps({"type": "execute-snapshot", "id": "mine", "data": data}).encode())
    lane = signals_lane(capture.prefix)
    until(lambda: (found := capture.recorded()) is not None and found.ends.get(lane) == len(refused) + 1)
    until(capture.done)
    capture.service.stop()
    said = [json.loads(line) for line in capture.service.log.read_text().splitlines() if "signal refused" in line]
    assert [(line["offset"], line["level"]) for line in said] == [(n, "error") for n in range(len(refused))]
    floors = [change for change in capture.log() if isinstance(change, Floor)]
    assert [floor.key.dataset_id for floor in floors if floor.order.epoch == 2] == ["d"]
    capture.site.capture()
    assert capture.says("signal refused") == len(refused), "a signal was looked at again"


def test_a_dataset_that_is_read_again_unseen_twice(sql_database: SqlDatabase, tmp_path: Path) -> None:
    """Nothing is written to the log between the two snapshots: their rows stand on the same place of it."""
    key: PrimaryKey = "dataset_and_id" if sql_database.server.kind == "mysql" else "id"
    capture = set_up(SiteHere, sql_database, tmp_path, key)
    fill(capture.database, ["d"], 30)
    capture.site.capture()
    for _ in range(2):
        changed_unseen(capture.database, "d")
        with capture.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_log_bin = 0")
            cursor.execute("INSERT INTO shadow_vec_docs (dataset_id, id) VALUES ('d', 'dstatic-1')")
        asked = ask_again(capture.settings, ["d"])
        assert asked.leader is None
        capture.site.capture()
        assert capture.dealt_with(asked)
        log = capture.log()
        assert applied(log) == applied(compacted(log)) == source_state(capture.database)
    floors = [change for change in log if isinstance(change, Floor) and change.reason is FloorReason.SNAPSHOT]
    assert [floor.key.dataset_id for floor in floors if floor.order.epoch > 1] == ["d", "d"]


def test_by_command(
    mariadb_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    create_tables(mariadb_database)
    site = SiteHere(
        tmp_path,
        {**sql_source(mariadb_database), **kafka_log(kafka_server, topic_prefix, PARTITIONS)},
        mariadb_database.server.password,
    )
    fill(mariadb_database, ["d", "e"], 30)
    assert f"there is no topic {topic_prefix}.positions" in site.refused("capture", "snapshot", "-d", "d", code=3)
    site.run("topics", "create")
    assert "nothing is recorded" in site.refused("capture", "snapshot", "-d", "d", code=7)
    capture = Capture(site, mariadb_database)
    service = capture.service
    service.start()
    try:
        until(lambda: service.log.exists() and capture.says("leads") > 0)
        until(capture.done)
        changed_unseen(mariadb_database, "d")
        assert "has no dataset 'nobody'" in site.refused("capture", "snapshot", "-d", "d", "-d", "nobody", code=2)
        said: dict[str, Any] = json.loads(site.run("capture", "snapshot", "-d", "d", "--wait", "--json").stdout)
        assert (said["datasets"], said["by"], said["offset"], said["done"]) == (["d"], "running capture", 0, True)
        changed_unseen(mariadb_database, "e")
        shown = site.run("capture", "snapshot", "--wait").stdout
        assert "asked to read the rows of all datasets again (signal 1)" in shown.replace("\n", " ")
        assert "Done" in shown
        service.stop()
    finally:
        service.end()
    site.apply()
    assert differences(source_rows(mariadb_database.server, mariadb_database.name), replica_rows(site.replica)) == []
    said = json.loads(site.run("capture", "snapshot", "-d", "e", "--json").stdout)
    assert (said["by"], said["offset"], said["done"]) == ("next run", 2, None)
    status = json.loads(site.run("capture", "status", "--json").stdout)
    assert status["signals"] == 1
    assert "1 signal waiting" in site.run("capture", "status").stdout
    site.capture()
    assert json.loads(site.run("capture", "status", "--json").stdout)["signals"] == 0
    log = capture.log()
    assert applied(log) == applied(compacted(log)) == source_state(mariadb_database)
    site.apply()
    assert json.loads(site.run("verify", "--json").stdout)["differences"] == []


def test_a_sqlite_source_reads_all_or_nothing(tmp_path: Path) -> None:
    upstream = tmp_path / "upstream.db"
    source = {"kind": "sqlite", "url": f"sqlite:///{upstream}", "poll_interval_s": 0.02}
    site = SiteHere(tmp_path, {"source": source, **embedded_log(tmp_path, PARTITIONS)})
    site.run("source", "install")
    db = open_writer(upstream)
    db.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')").fetchall()
    rows = ", ".join(f"('d', '{n}', x'', 'm', {n})" for n in range(1, 6))
    db.execute(
        f"INSERT INTO shadow_vec_docs (dataset_id, id, embedding, embedding_model, scn) VALUES {rows}"
    ).fetchall()
    site.capture()
    assert "reads all datasets" in site.refused("capture", "snapshot", "-d", "d", code=2)
    assert "table 'other' is not followed" in site.refused("capture", "snapshot", "-t", "other", code=2)
    settings = load(site.config)
    broker = open_broker(settings)
    for signal in (SnapshotSignal(("d",)), SnapshotSignal()):
        send_signal(broker, settings, signal)
    db.execute("DELETE FROM shadow_vec_docs WHERE id = '3'").fetchall()
    site.capture()
    again = [event for event in site.events() if event["value"]["order"]["epoch"] == 2]
    assert [event["key"]["id"] for event in again if "id" in event["key"]] == ["1", "2", "4", "5"]
    assert [event["value"]["floor"] for event in again if "floor" in event["value"]] == ["snapshot"] * PARTITIONS
    recorded = recorded_position(broker, settings.topics.prefix)
    assert recorded is not None
    assert (recorded.source.snapshot_done, recorded.ends[signals_lane(settings.topics.prefix)]) == (True, 2)
    site.apply()
    assert {id for _, id in replica_rows(site.replica)} == {"1", "2", "4", "5"}
    db.close()


def test_signals_on_a_topic_that_was_made_anew_are_acted_on(mariadb_database: SqlDatabase, tmp_path: Path) -> None:
    capture = set_up(SiteHere, mariadb_database, tmp_path, "dataset_and_id")
    fill(mariadb_database, ["d"], 3)
    capture.site.capture()
    lane = signals_lane(capture.prefix)
    recorded = capture.recorded()
    assert recorded is not None
    moving.record(
        capture.broker, capture.settings, recorded.source, {**recorded.ends, lane: 7}
    )  # 7 were dealt with before
    capture.site.capture()
    recorded = capture.recorded()
    assert recorded is not None
    assert recorded.ends[lane] == 0
    asked = ask_again(capture.settings, ["d"])
    capture.site.capture()
    assert (asked.offset, capture.dealt_with(asked)) == (0, True)


def test_what_was_published_and_not_recorded_stands_once(mariadb_database: SqlDatabase, tmp_path: Path) -> None:
    """A capture was killed, and a signal waits. In the epoch of its snapshot what stands would not be known again."""
    capture = set_up(SiteHere, mariadb_database, tmp_path, "dataset_and_id")
    fill(mariadb_database, ["d"], 3)
    capture.site.capture()
    before = capture.recorded()
    assert before is not None
    fill(mariadb_database, ["late"], 20)
    capture.site.capture()
    moving.record(capture.broker, capture.settings, before.source, before.ends)
    asked = ask_again(capture.settings, ["d"])
    capture.site.capture()
    assert capture.dealt_with(asked)
    written = [c.key for c in capture.log() if isinstance(c, DocChange) and c.key.dataset_id == "late"]
    assert sorted(key.id for key in written) == sorted(f"latestatic-{n}" for n in range(20))
