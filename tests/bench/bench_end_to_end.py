"""Catching up, end to end: documents that are committed at the source, until the last of them is in the replica.

    python -m tests.bench.bench_end_to_end [rows] [mariadb|mysql] [runs]

Capture and replica are processes of their own, started together, each time with topics and a replica of their own. The
same way is gone some times before, uncounted, until the broker is warm. Everything runs on one machine, servers
included, and no connection is encrypted. Start-up of the two processes is taken off: time runs from the first record in
the topic.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from connector.broker import Admin
from connector.broker.connect import open_broker
from connector.model import Lane
from connector.topics import table_topics
from tests.bench.bench_capture import settings
from tests.bench.load import BROKER_JAVA, WARM_UP, insert, prepare, yardstick
from tests.servers.local import LocalProvider
from tests.servers.model import KafkaServer, SqlDatabase
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


class Way:
    """From a database into a replica, by topics of its own."""

    def __init__(self, database: SqlDatabase, kafka: KafkaServer, directory: Path, prefix: str) -> None:
        self.topic = table_topics(prefix, database.name, "shadow_vec_docs").data
        self.replica = directory / prefix / "replica.db"
        self.replica.parent.mkdir()
        self._admin = open_broker(settings(database, kafka, prefix)).admin()
        config = write_config(
            directory / f"{prefix}.yaml",
            {
                "source": {"kind": "mysql", "url": database.url, "snapshot": "no_data", "plaintext": True},
                "broker": {"kind": "kafka", "bootstrap_servers": kafka.bootstrap_servers},
                "topics": {"prefix": prefix, "partitions": PARTITIONS},
                "replica": {"path": str(self.replica), "group": prefix},
            },
        )
        env = environment(VECSYNC_SOURCE__PASSWORD=database.server.password)
        # A position to catch up from: a first run that finds nothing.
        first = Service("capture", "run", "--until-current", config=config, env=env, log=directory / "first.log")
        first.start()
        assert first.process is not None
        assert first.process.wait(60) == 0, first.tail()
        self._capture = Service("capture", "run", config=config, env=env, log=directory / f"{prefix}.capture.log")
        self._apply = Service("replica", "run", config=config, env=env, log=directory / f"{prefix}.replica.log")

    def go(self, rows: int) -> tuple[float, str]:
        """Documents a second, and what else there is to say."""
        admin, topic = self._admin, self.topic
        try:
            self._capture.start()
            self._apply.start()
            while (before := published(admin, topic)) == 0:
                time.sleep(0.01)
            begin, in_log, spent = time.perf_counter(), 0.0, cpu_seconds()
            while applied(self.replica, topic) < rows:
                if not in_log and published(admin, topic) >= rows:
                    in_log = time.perf_counter() - begin
                self._capture.check()
                self._apply.check()
                time.sleep(0.05)
            took = time.perf_counter() - begin
            cpu = {what: (seconds - spent[what]) / rows * 1e6 for what, seconds in cpu_seconds().items()}
            size = self.replica.resolve().stat().st_size
            return (rows - before) / took, (
                f"{took:.1f} s; in the log after {in_log:.1f} s; CPU us/document "
                + ", ".join(f"{what} {us:.0f}" for what, us in cpu.items())
                + f"; resident {megabytes(self._capture):,.0f} and {megabytes(self._apply):,.0f} MB"
                + f"; file {size / 2**20:,.0f} MB"
            )
        finally:
            self._admin.close()
            self._capture.end()
            self._apply.end()
            shutil.rmtree(self.replica.parent)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    kind = sys.argv[2] if len(sys.argv) > 2 else "mysql"
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    provider = LocalProvider(BROKER_JAVA)
    with (
        provider.sql(kind) as server,  # type: ignore[arg-type]
        provider.kafka() as kafka,
        tempfile.TemporaryDirectory() as name,
    ):
        database = prepare(server, "bench")
        ways = [Way(database, kafka, Path(name), f"run{n}") for n in range(WARM_UP + runs)]
        insert(database, rows)
        print(f"{kind}, {rows:,} documents of about 2.1 KB (384-d), with vectors and full text", flush=True)
        rates: list[float] = []
        for n, way in enumerate(ways):
            if n >= WARM_UP:
                print(yardstick())
            rate, said = way.go(rows)
            if n >= WARM_UP:
                rates.append(rate)
            print(
                f"{'warming up' if n < WARM_UP else 'end to end':16} {rate:>10,.0f} documents/s   ({said})", flush=True
            )
        print(f"{'median':16} {statistics.median(rates):>10,.0f} documents/s   (of {runs} runs)")


if __name__ == "__main__":
    main()
