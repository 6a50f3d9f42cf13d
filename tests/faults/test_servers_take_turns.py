"""Two servers take each other's place again and again, under a random workload, while capture dies at random calls: the
log holds each change once and in commit order, and the replica ends up exactly its source."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from connector.broker.embedded import EmbeddedBroker
from connector.model import CommitOrder, Lane
from connector.publish import publish, recorded_position
from connector.publish.log_state import read_to_end
from connector.replica import run
from connector.settings import Settings
from connector.source.binlog_source import BinlogSource
from connector.topics import table_topics
from connector.wire import decode_value
from tests.integration.test_publish_resume import Crash, CrashingBroker
from tests.servers.fix_replicas import ReplicaPair
from tests.servers.model import SqlDatabase
from tests.system.compare import (
    derived_structures_agree,
    differences,
    replica_datasets,
    replica_rows,
    source_datasets,
    source_rows,
)
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section
from tests.system.workload import create_datasets, run_sessions

pytestmark = pytest.mark.long

PARTITIONS = 3
TURNS = 6
CHANGES = 400  # of each turn, about


def capture(settings: Settings, broker: EmbeddedBroker, dying: random.Random | None) -> None:
    """To the present end of the log, or until it dies."""
    source = BinlogSource(settings)
    try:
        if dying is None:
            publish(source, broker, settings, Event(), until_current=True)
        else:
            doomed = CrashingBroker(broker, dying.randrange(1, 1500), dying.random() < 0.5)
            with suppress(Crash):
                publish(source, doomed, settings, Event(), until_current=True)
    finally:
        source.close()


@pytest.mark.parametrize("seed", range(3))
def test_servers_take_turns(replica_pair: ReplicaPair, tmp_path: Path, seed: int) -> None:
    rng, pair, name = random.Random(seed), replica_pair, "test_turns"
    pair.primary.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    create_tables(SqlDatabase(pair.primary, name))
    create_datasets(pair.primary, name)
    broker = EmbeddedBroker(tmp_path / "log.db")

    def at(server: SqlDatabase) -> Settings:
        return settings(
            source=source_section(server, snapshot="initial", snapshot_chunk_rows=40),
            broker={"kind": "embedded", "path": str(tmp_path / "log.db")},
            topics={"partitions": PARTITIONS},
            publish={"position_interval_s": 0.01},
            replica={"path": str(tmp_path / "replica.db")},
        )

    for turn in range(TURNS):
        here = at(SqlDatabase(pair.primary, name))
        writer = Thread(
            target=run_sessions,
            args=(pair.primary, name),
            kwargs={"changes": CHANGES, "sessions": 3, "seed": seed * 100 + turn},
        )
        writer.start()
        while writer.is_alive():
            capture(here, broker, rng)
            if rng.random() < 0.3:
                pair.replica.query("FLUSH BINARY LOGS")
        writer.join()
        capture(here, broker, rng if rng.random() < 0.8 else None)
        pair.catch_up()
        pair.promote()
        pair = pair.swapped()
        for _ in range(rng.randrange(4)):  # dead again, maybe in the middle of what is passed over
            capture(at(SqlDatabase(pair.primary, name)), broker, rng)
    here = at(SqlDatabase(pair.primary, name))
    capture(here, broker, None)
    recorded = recorded_position(broker, here.topics.prefix)
    assert recorded is not None
    assert recorded.source.bridge == ""

    once: Counter[tuple[str | None, int, int]] = Counter()
    orders: list[list[CommitOrder]] = [[] for _ in range(PARTITIONS)]
    topic = table_topics("vecsync", name, "shadow_vec_docs").data
    for record in read_to_end(broker, {Lane(topic, partition): 0 for partition in range(PARTITIONS)}):
        change = decode_value(record.value or b"").change
        if change.order.ordinal:
            once[change.source.gtid, change.order.ordinal, record.partition] += 1
            orders[record.partition].append(change.order)
    assert [again for again, times in once.items() if times > 1] == []
    assert orders == [sorted(lane) for lane in orders]
    assert {order.epoch for lane in orders for order in lane} >= set(range(2, 2 + TURNS - 2))

    run(here, broker, Event(), until_current=True)
    replica = tmp_path / "replica.db"
    assert differences(source_rows(pair.primary, name), replica_rows(replica)) == []
    assert replica_datasets(replica) == source_datasets(pair.primary, name)
    derived_structures_agree(replica)
