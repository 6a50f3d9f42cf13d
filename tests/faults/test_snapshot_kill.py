"""Capture is killed again and again in the middle of a snapshot of 500,000 rows, while a session writes: it goes on
where it was, and the log holds the source's state."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from connector.model import DocChange, Op
from tests.integration.test_signals import Capture, until
from tests.servers.model import SqlDatabase
from tests.system.plain_replica import applied
from tests.system.schema import create_tables
from tests.system.site import Site, embedded_log, sql_source
from tests.system.snapshot_reading import source_state

pytestmark = pytest.mark.long

ROWS = 500_000
KILLS = 6
DATASETS = ("a", "b", "c", "d")


def fill(database: SqlDatabase) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO vec_dataset (dataset_id) VALUES (%s)", [(d,) for d in DATASETS])
        cursor.executemany(
            "INSERT INTO shadow_vec_docs (dataset_id, id, content, scn) VALUES (%s, %s, 'text', %s)",
            [(DATASETS[n % 4], f"{'x' * (n % 7)}{n}", n) for n in range(10_000)],
        )
        there = 10_000
        while there < ROWS:
            more = min(there, ROWS - there)
            cursor.execute(
                "INSERT INTO shadow_vec_docs (dataset_id, id, content, scn) SELECT dataset_id,"
                f" CONCAT(id, '-{there}'), content, scn + {there} FROM shadow_vec_docs WHERE scn < {more}"
            )
            there += more


def write(database: SqlDatabase, ended: threading.Event, seed: int) -> None:
    rng = random.Random(seed)
    with database.connect() as connection, connection.cursor() as cursor:
        while not ended.wait(0.005):
            n = rng.randrange(10_000)
            key = (DATASETS[n % 4], f"{'x' * (n % 7)}{n}")
            what = rng.choice(
                [
                    "UPDATE shadow_vec_docs SET content = CONCAT(content, '!') WHERE dataset_id = %s AND id = %s",
                    "DELETE FROM shadow_vec_docs WHERE dataset_id = %s AND id = %s",
                    "INSERT IGNORE INTO shadow_vec_docs (dataset_id, id, content) VALUES (%s, %s, 'again')",
                ]
            )
            cursor.execute(what, key)


def test_a_snapshot_of_500_000_rows(sql_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(sql_database)
    fill(sql_database)
    source = sql_source(sql_database, snapshot_chunk_rows=1000)
    site = Site(tmp_path, {**source, **embedded_log(tmp_path, 3)}, sql_database.server.password)
    site.change(publish={"position_interval_s": 0.03})
    capture = Capture(site, sql_database)
    seed = random.randrange(2**32)
    print("seed", seed)
    rng, ended, failures = random.Random(seed), threading.Event(), list[BaseException]()

    def guarded() -> None:
        try:
            write(sql_database, ended, seed)
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=guarded)
    writer.start()
    killed = 0
    try:
        for _ in range(KILLS):
            capture.service.start()
            until(lambda: capture.reading() or capture.done())
            time.sleep(rng.uniform(0, 1.5))
            capture.service.kill()
            killed += not capture.done()
        capture.service.start()
        until(capture.done, 600)
    finally:
        ended.set()
        writer.join()
        capture.service.stop()
        capture.service.end()
    assert not failures
    assert killed > 1, "no snapshot was under way when capture was killed"
    site.capture()
    log = capture.log()
    assert applied(log) == source_state(sql_database)
    read = [change.key for change in log if isinstance(change, DocChange) and change.op is Op.READ]
    assert len(read) - len(set(read)) < ROWS // 10, "more than what was under way was read again"
