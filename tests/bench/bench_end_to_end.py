"""Catching up, end to end: documents that are committed at the source, until the last of them is in the replica.

    python -m tests.bench.bench_end_to_end [rows] [mariadb|mysql]

Capture and replica are processes of their own, started together; the broker is warmed up first. Everything runs on one
machine, servers included, and no connection is encrypted. Start-up of the two processes is taken off: time
runs from the first record in the topic.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from connector.broker import Admin
from connector.broker.connect import open_broker
from connector.model import Lane
from connector.topics import table_topics
from tests.bench.bench_capture import VALUES, Bench, settings
from tests.bench.load import insert, prepare, yardstick
from tests.servers.local import LocalProvider
from tests.system.compare import open_plainly
from tests.system.processes import Service, environment, write_config

PARTITIONS = 8


def published(admin: Admin, topic: str) -> int:
    return sum(admin.end_offsets([Lane(topic, p) for p in range(PARTITIONS)]).values())


def applied(replica: Path, topic: str) -> int:
    """By offsets, which are committed with the documents: counting documents would cost what is measured."""
    if not replica.exists():
        return 0
    connection = open_plainly(replica)
    try:
        ((offsets,),) = connection.execute(
            "SELECT coalesce(sum(next_offset), 0) FROM partition_state WHERE topic = ?", (topic,)
        ).fetchall()
        return int(str(offsets))
    finally:
        connection.close()


def megabytes(service: Service) -> float:
    assert service.process is not None
    return float(psutil.Process(service.process.pid).memory_info().rss) / 2**20


def cpu_seconds() -> dict[str, float]:
    """Of every process on the way, by what it is."""
    spent = dict.fromkeys(("capture", "replica", "broker", "server", "this"), 0.0)
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        command = " ".join(process.cmdline())
        what = "this"
        for name, words in _PROCESSES.items():
            if process != me and words in command:
                what = name
        times = process.cpu_times()
        spent[what] += times.user + times.system
    return spent


_PROCESSES = {"capture": "capture run", "replica": "replica run", "broker": "kafka.Kafka", "server": "mysqld"}


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    kind = sys.argv[2] if len(sys.argv) > 2 else "mysql"
    VALUES.extend(os.urandom(2100) for _ in range(2000))
    provider = LocalProvider()
    with (
        provider.sql(kind) as server,  # type: ignore[arg-type]
        provider.kafka() as kafka,
        tempfile.TemporaryDirectory() as name,
    ):
        database = prepare(server, "bench")
        warm = Bench(database, kafka, rows)
        for _ in range(3):
            warm.produce_alone()
        directory = Path(name)
        replica, topic = directory / "replica.db", table_topics("e2e", "bench", "shadow_vec_docs").data
        config = write_config(
            directory / "vecsync.yaml",
            {
                "source": {"kind": "mysql", "url": database.url, "snapshot": "no_data", "plaintext": True},
                "broker": {"kind": "kafka", "bootstrap_servers": kafka.bootstrap_servers},
                "topics": {"prefix": "e2e", "partitions": PARTITIONS},
                "replica": {"path": str(replica), "group": "e2e"},
            },
        )
        env = environment(VECSYNC_SOURCE__PASSWORD=server.password)
        # A position to catch up from: a first run that finds nothing.
        capture = Service("capture", "run", "--until-current", config=config, env=env, log=directory / "first.log")
        capture.start()
        assert capture.process is not None
        assert capture.process.wait(60) == 0, capture.tail()
        insert(database, rows)

        admin = open_broker(settings(database, kafka, "e2e")).admin()
        before = published(admin, topic)
        capture = Service("capture", "run", config=config, env=env, log=directory / "capture.log")
        apply = Service("replica", "run", config=config, env=env, log=directory / "replica.log")
        try:
            capture.start()
            apply.start()
            while published(admin, topic) <= before:
                time.sleep(0.01)
            begin, in_log, spent = time.perf_counter(), 0.0, cpu_seconds()
            while applied(replica, topic) < before + rows:
                if not in_log and published(admin, topic) >= before + rows:
                    in_log = time.perf_counter() - begin
                capture.check()
                apply.check()
                time.sleep(0.05)
            took = time.perf_counter() - begin
            cpu = {what: (seconds - spent[what]) / rows * 1e6 for what, seconds in cpu_seconds().items()}
            size = replica.resolve().stat().st_size
            print(yardstick())
            print(f"{kind}, {rows:,} documents of about 2.1 KB (384-d), with vectors and full text")
            print(
                f"end to end       {rows / took:>10,.0f} documents/s   ({took:.1f} s; in the log after {in_log:.1f} s)"
            )
            print("CPU us/document  " + ", ".join(f"{what} {us:.0f}" for what, us in cpu.items()))
            print(f"resident memory  capture {megabytes(capture):,.0f} MB, replica {megabytes(apply):,.0f} MB")
            print(f"replica file     {size / 2**20:,.0f} MB")
        finally:
            admin.close()
            capture.end()
            apply.end()


if __name__ == "__main__":
    main()
