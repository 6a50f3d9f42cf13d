"""A replica whose process is killed at any moment: what stands is whole, and the end is as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from connector.broker.embedded import EmbeddedBroker
from connector.model import Change
from connector.replica import digests, open_reader, status
from connector.replica.connection import load_vectors
from tests.integration.test_replica_follow import PARTITIONS, Log, catch_up, configured
from tests.unit.replica.events import assert_consistent, at, dataset_row, delete, document, floor, hide, put, vector

APPLIER = """
import sys, threading
from pathlib import Path
from connector.broker.embedded import EmbeddedBroker
from connector.replica import run
from connector.settings import Settings
log, path, batch, partitions = sys.argv[1:]
settings = Settings(
    topics={"prefix": "t", "partitions": int(partitions)},
    replica={"path": path, "batch_records": int(batch), "gc_interval_s": 0.01},
)
said = []
def begun(progress):
    if not said:
        said.append(True)
        print("begun", flush=True)
run(settings, EmbeddedBroker(Path(log)), threading.Event(), on_progress=begun)
"""


def workload(rng: random.Random, count: int) -> list[Change]:
    changes: list[Change] = []
    for position in range(1, count + 1):
        dataset, id = f"d{rng.randrange(5)}", f"x{rng.randrange(60)}"
        draw = rng.random()
        if draw < 0.75:
            embedding = vector(*(rng.uniform(-1, 1) for _ in range(8))) if rng.random() < 0.95 else b"bad"
            row = document(f"{dataset} {id} {position} " + "words " * rng.randrange(200), embedding, scn=position)
            changes.append(put(dataset, id, at(position), row, scn=position))
        elif draw < 0.95:
            changes.append(delete(dataset, id, at(position), scn=position))
        elif draw < 0.97:
            changes.append(hide(dataset, id, at(position)))
        elif draw < 0.98:
            changes.append(dataset_row(dataset, at(position), f"at {position}"))
        elif draw < 0.999:
            changes.append(floor(dataset, at(position, 0)))
        else:
            changes.append(floor(None, at(position, 0)))
    return changes


def start(log: Path, replica: Path, batch: int) -> subprocess.Popen[bytes]:
    """Returns when it has begun to read."""
    command = [sys.executable, "-c", APPLIER, str(log), str(replica), str(batch), str(PARTITIONS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.stdout.close()
    return process


def check_file(path: Path) -> None:
    connection = apsw.Connection(str(path))
    load_vectors(connection)
    assert_consistent(connection)
    connection.close()


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    events = tmp_path / "events.db"
    log = Log(EmbeddedBroker(events))
    changes = workload(rng, 2000)
    settings = configured(tmp_path)
    path = settings.replica.path
    sent, kills, seen = 0, 0, 0
    while sent < len(changes) or kills < 6:
        process = start(events, path, batch=rng.choice([1, 7, 50, 4000]))
        try:
            until = time.monotonic() + rng.uniform(0.01, 0.5)
            while time.monotonic() < until:
                if sent < len(changes):
                    run = rng.randrange(1, 120)
                    log.publish(*changes[sent : sent + run])
                    sent += run
                    if rng.random() < 0.2:
                        log.publish(*changes[max(0, sent - 300) : sent])  # a publisher that did not resume well
                time.sleep(0.01)
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills += 1
        if path.exists():
            done = sum(partition.next_offset for partition in status(path).partitions)
            assert done >= seen
            seen = done
            check_file(path)
    catch_up(settings, log)
    other = configured(tmp_path, "untouched.db")
    catch_up(other, log)
    first, second = open_reader(path), open_reader(other.replica.path)
    assert seen > 0
    assert digests(first) == digests(second)
    for sql in (
        "SELECT * FROM vec_dataset ORDER BY 1",
        "SELECT dataset_id, shadow_table, last_scn, topic, partition, next_offset, position FROM vec_sync_state "
        "ORDER BY dataset_id",
        "SELECT c.dataset_id, t.id, t.epoch, t.position, t.ordinal FROM replica_tombstone t "
        "JOIN replica_collection c ON c.no = t.collection ORDER BY 1, 2",
    ):
        assert first.execute(sql).fetchall() == second.execute(sql).fetchall()
    assert first.execute("SELECT count(*) FROM shadow_vec_docs").get > 10
    first.close()
    second.close()
    check_file(path)
