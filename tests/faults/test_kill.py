"""kill -9 of capture and replica, again and again, under a random workload: the replica ends up exactly its source, the
log holds each change once, and a reader who looks all the time never sees a document go back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.broker.connect import open_broker
from connector.model import CommitOrder, Lane
from connector.publish.log_state import read_to_end
from connector.settings import load
from connector.topics import table_topics
from connector.wire import decode_value
from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.compare import (
    derived_structures_agree,
    differences,
    open_plainly,
    replica_datasets,
    replica_rows,
    source_datasets,
    source_rows,
)
from tests.system.processes import Killer, Service, environment, vecsync, write_config
from tests.system.schema import PrimaryKey, create_tables
from tests.system.workload import DATASETS, Tally, create_datasets, run_sessions

PARTITIONS = 4
KILL_EVERY_S = 3.0  # about; a process needs one or two to start
ORDERS = (
    "SELECT c.dataset_id, d.id, d.epoch, d.file, d.position, d.ordinal "
    "FROM replica_document d JOIN replica_collection c ON c.no = d.collection"
)


class Watcher(threading.Thread):
    """Reads the replica all the time, and remembers the greatest order seen of each document."""

    def __init__(self, replica: Path) -> None:
        super().__init__(daemon=True)
        self.replica = replica
        self.enough = threading.Event()
        self.looks = 0
        self.back: list[str] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            seen: dict[tuple[str, str], CommitOrder] = {}
            while not self.enough.wait(0.05):
                if self.replica.exists():
                    self.look(seen)
        except BaseException as error:
            self.error = error

    def look(self, seen: dict[tuple[str, str], CommitOrder]) -> None:
        connection = open_plainly(self.replica)
        try:
            for dataset, id, *order in connection.execute(ORDERS):
                key, now = (str(dataset), str(id)), CommitOrder(*order)
                before = seen.get(key)
                if before is not None and now < before:
                    self.back.append(f"{key} went from {before} back to {now}")
                seen[key] = now
        finally:
            connection.close()
        self.looks += 1

    def finish(self) -> None:
        self.enough.set()
        self.join(30)
        if self.error is not None:
            raise self.error


def log_is_exact(settings: Any, topic: str) -> int:
    """Every record once, and per key in commit order; returns how many there are."""
    broker = open_broker(settings)
    seen: set[tuple[int, bytes, CommitOrder]] = set()
    last: dict[tuple[int, bytes], CommitOrder] = {}
    lanes = {Lane(topic, p): 0 for p in range(PARTITIONS)}
    for record in read_to_end(broker, lanes):
        assert record.key is not None
        assert record.value is not None
        order = decode_value(record.value).change.order
        where = (record.partition, record.key)
        assert (*where, order) not in seen, f"{where} at {order} stands twice"
        seen.add((*where, order))
        assert where not in last or last[where] < order, f"{where}: {order} stands after {last[where]}"
        last[where] = order
    return len(seen)


def content(replica: Path) -> tuple[Any, ...]:
    """Everything public: documents with vectors, datasets, sync state."""
    connection = open_plainly(replica)
    try:
        synced = connection.execute(
            "SELECT dataset_id, shadow_table, last_scn, topic, partition, next_offset, position FROM vec_sync_state "
            "ORDER BY 1, 2"
        ).fetchall()
    finally:
        connection.close()
    return replica_rows(replica), replica_datasets(replica), synced


def stands_at(replica: Path) -> int:
    """The greatest offset at which a partition of it stands."""
    connection = open_plainly(replica)
    try:
        ((offset,),) = connection.execute("SELECT max(next_offset) FROM partition_state").fetchall()
        return 0 if offset is None else int(str(offset))
    finally:
        connection.close()


def wait_until_applied(replica: Path) -> None:
    """On a busy machine the first kills come before anything is at work."""
    deadline = time.monotonic() + 300
    while not (replica.exists() and stands_at(replica)):
        assert time.monotonic() < deadline, "nothing was ever applied"
        time.sleep(0.1)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[list[Service]]:
    found: list[Service] = []
    yield found
    for service in found:
        service.end()


def chaos(
    database: SqlDatabase, kafka: KafkaServer, prefix: str, directory: Path, services: list[Service],
    *, key: PrimaryKey, changes: int, kills: int,
) -> None:  # fmt: skip
    create_tables(database, key)
    create_datasets(database.server, database.name)
    replica = directory / "replica.db"
    config = write_config(
        directory / "vecsync.yaml",
        {
            "source": {"kind": "mysql", "url": database.url, "heartbeat_s": 1, "snapshot_chunk_rows": 50},
            "broker": {
                "kind": "kafka",
                "bootstrap_servers": kafka.bootstrap_servers,
                # A capture that was killed is followed by the next one when its session is over.
                "options": {"session.timeout.ms": 1500},
            },
            "topics": {"prefix": prefix, "partitions": PARTITIONS},
            "publish": {"position_interval_s": 0.3, "takeover_wait_s": 1},
            "replica": {"path": str(replica), "group": prefix},
        },
    )
    env = environment(VECSYNC_SOURCE__PASSWORD=database.server.password)
    # Documents that are there before anybody looks, so that the snapshot too is taken under fire.
    run_sessions(database.server, database.name, changes=changes // 20, sessions=2, seed=1, id_only=key == "id")
    capture = Service("capture", "run", config=config, env=env, log=directory / "capture.log")
    apply = Service("replica", "run", config=config, env=env, log=directory / "replica.log")
    for service in (capture, apply):
        services.append(service)
        service.start()
    watcher, killer = Watcher(replica), Killer([capture, apply], seed=changes, mean_s=KILL_EVERY_S)
    watcher.start()
    killer.start()

    def work(seed: int, until_kills: int) -> Tally:
        return run_sessions(
            database.server,
            database.name,
            changes=changes // 2,
            sessions=4,
            seed=seed,
            id_only=key == "id",
            rows_per_s=changes / (kills * KILL_EVERY_S),
            keep_on=lambda: killer.is_alive() and killer.kills < until_kills,
        )

    first = work(2, kills // 2)
    wait_until_applied(replica)
    base = directory / "base.db"
    vecsync("replica", "image", "export", str(base), config=config, env=env)
    second = work(3, kills)
    killer.finish()
    for service in services:
        service.stop()
    vecsync("capture", "run", "--until-current", config=config, env=env, timeout_s=300)
    vecsync("replica", "run", "--until-current", config=config, env=env, timeout_s=300)
    watcher.finish()

    expected = source_rows(database.server, database.name)
    assert differences(expected, replica_rows(replica)) == []
    assert replica_datasets(replica) == source_datasets(database.server, database.name)
    derived_structures_agree(replica)
    password = {"source": {"password": database.server.password}}
    records = log_is_exact(load(config, password), table_topics(prefix, database.name, "shadow_vec_docs").data)
    total = first.total + second.total
    assert records > total / 4, "capture was hardly ever at work: this test showed nothing"
    assert watcher.back == []
    assert watcher.looks > 5

    live = content(replica)
    vecsync("replica", "replay", config=config, env=env, timeout_s=600)
    assert content(replica) == live, "replayed from the beginning, the replica is another"
    vecsync("replica", "replay", "--base", str(base), "--from", str(stands_at(base)), config=config, env=env)
    assert content(replica) == live, "replayed from an offset, the replica is another"
    derived_structures_agree(replica)
    print(
        f"\n{database.server.kind}, key {key}: {total} rows changed in {len(DATASETS)} datasets "
        f"{first.done} {second.done}; "
        f"{killer.kills} kills; {len(expected)} documents; {records} records; {watcher.looks} looks"
    )


@pytest.mark.timeout(600)
def test_kills_lose_and_repeat_nothing_on_mariadb(
    mariadb_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path, services: list[Service]
) -> None:
    chaos(mariadb_database, kafka_server, topic_prefix, tmp_path, services, key="dataset_and_id", changes=2000, kills=4)


@pytest.mark.timeout(600)
def test_kills_lose_and_repeat_nothing_on_mysql_with_ids_unique_over_all_datasets(
    mysql_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path, services: list[Service]
) -> None:
    chaos(mysql_database, kafka_server, topic_prefix, tmp_path, services, key="id", changes=2000, kills=4)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_thousand_changes_and_thirty_kills(
    sql_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path, services: list[Service]
) -> None:
    changes = int(os.environ.get("CHANGES", "50000"))
    chaos(sql_database, kafka_server, topic_prefix, tmp_path, services, key="dataset_and_id", changes=changes, kills=30)
