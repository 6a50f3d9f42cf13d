"""A capture that reads the shadow log of MySQL and MariaDB, killed again and again while the source is written."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from connector.model import SourcePosition
from tests.servers.model import SqlDatabase
from tests.system.log_site import Untruncated, agrees, reading_account, site_of, until
from tests.system.site import embedded_log, kafka_log
from tests.system.workload import create_datasets, run_sessions

_KILLS = 12


@pytest.fixture
def reader(sql_database: SqlDatabase) -> Iterator[str]:
    with reading_account(sql_database) as name:
        yield name


def streams(number: int, at: SourcePosition) -> bool:
    """Whether that stream, or a later one, is past the snapshot."""
    return at.dataset_log_seq >= number and at.snapshot_done


@pytest.mark.long
@pytest.mark.parametrize("broker", ["embedded", "kafka"])
@pytest.mark.timeout(900)
def test_killed_again_and_again_it_loses_nothing(
    sql_database: SqlDatabase,
    reader: str,
    topic_prefix: str,
    broker: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    kafka = broker == "kafka"
    topics = kafka_log(request.getfixturevalue("kafka_server"), topic_prefix) if kafka else embedded_log(tmp_path)
    create_datasets(sql_database.server, sql_database.name)
    site = site_of(tmp_path, sql_database, reader, topics)
    run_sessions(sql_database.server, sql_database.name, changes=150, sessions=2, seed=1, kind=Untruncated)
    enough, rng = threading.Event(), random.Random(4)
    writers = threading.Thread(
        target=run_sessions,
        args=(sql_database.server, sql_database.name),
        kwargs={
            "changes": 1,
            "sessions": 3,
            "seed": 2,
            "kind": Untruncated,
            "rows_per_s": 150,
            "keep_on": lambda: not enough.is_set(),
        },
        daemon=True,
    )
    with site.service("capture", "run") as capture:
        writers.start()
        for number in range(1, _KILLS + 1):
            until(partial(streams, number), site)
            time.sleep(rng.uniform(0, 0.5))
            capture.kill()
            capture.start()
        enough.set()
        writers.join()
        capture.stop()
    site.capture()
    site.apply()
    agrees(site, sql_database)
    status = json.loads(site.run("capture", "status", "--json").stdout)
    assert (status["caught_up"], status["behind"], status["position"]["snapshot_done"]) == (True, 0, True)
    assert status["position"]["dataset_log_seq"] > _KILLS, "each stream has a number of its own"
