"""Two captures of one prefix: one publishes, the other waits and takes over, whatever becomes of the first."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.broker import LeaseState
from connector.broker.connect import open_broker
from connector.errors import DataRefused
from connector.model import CommitOrder, Key, Lane
from connector.publish.log_state import read_to_end
from connector.runtime.capture import CaptureStatus, ask_for_snapshot, capture_status, status_json
from connector.settings import Settings, load
from connector.topics import table_topics
from connector.wire import decode_key, decode_value
from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.compare import differences, replica_rows, source_rows
from tests.system.processes import Service
from tests.system.schema import create_tables
from tests.system.site import Site, kafka_log, sql_source

PARTITIONS = 2
SESSION_MS = 6000  # what brokers take at least; on a busy machine a leader may have no turn for seconds
END_S = 90.0


class Pair:
    """Two installations with the same source and topics, each with a capture."""

    def __init__(self, database: SqlDatabase, kafka: KafkaServer, prefix: str, directory: Path) -> None:
        self.database = database
        log = kafka_log(kafka, prefix, PARTITIONS)
        self.sites: list[Site] = []
        for name in ("first", "second"):
            (directory / name).mkdir()
            site = Site(directory / name, {**log, **sql_source(database)}, database.server.password)
            site.change(broker={"options": {"session.timeout.ms": SESSION_MS}})
            self.sites.append(site)
        self.captures = [
            Service("capture", "run", config=site.config, env=site.env, log=site.directory / "capture.log")
            for site in self.sites
        ]
        self.data = table_topics(prefix, database.name, "shadow_vec_docs").data
        self.written = 0

    def write(self, count: int, ids: int = 5) -> None:
        """Transactions of one row each, over a few documents."""
        with self.database.server.connect(database=self.database.name) as connection, connection.cursor() as cursor:
            for _ in range(count):
                self.written += 1
                cursor.execute(
                    "REPLACE INTO shadow_vec_docs (dataset_id, id, content, scn) VALUES (%s, %s, %s, %s)",
                    (f"d{self.written % 3}", f"doc-{self.written % ids}", f"version {self.written}", self.written),
                )
                connection.commit()

    def settings(self) -> Settings:
        return load(self.sites[0].config, {"source": {"password": self.database.server.password}})

    def status(self) -> CaptureStatus:
        return capture_status(self.settings())

    def records(self) -> list[tuple[int, Key, CommitOrder, str | None]]:
        """(partition, key, order, content) of everything on the data topic."""
        found = []
        for record in read_to_end(open_broker(self.settings()), {Lane(self.data, p): 0 for p in range(PARTITIONS)}):
            assert record.key is not None
            assert record.value is not None
            change = decode_value(record.value).change
            content = getattr(getattr(change, "after", None), "content", None)
            found.append((record.partition, decode_key(record.key), change.order, content))
        return found

    def published(self) -> bool:
        """Whether the last transaction's record stands."""
        return any(content == f"version {self.written}" for _, _, _, content in self.records())

    def out_of_order(self) -> list[str]:
        """Keys whose last record is not their greatest."""
        last: dict[tuple[int, Key], CommitOrder] = {}
        best: dict[tuple[int, Key], CommitOrder] = {}
        for partition, key, order, _ in self.records():
            last[partition, key] = order
            best[partition, key] = max(order, best.get((partition, key), order))
        return [f"{key} ends with {order}, not {best[key]}" for key, order in last.items() if order != best[key]]

    def says(self, number: int, text: str) -> bool:
        log = self.captures[number].log
        return log.exists() and text in log.read_text(errors="replace")

    def start_both(self) -> None:
        """The first leads, the second waits."""
        self.captures[0].start()
        until(lambda: self.says(0, "leads"))
        self.captures[1].start()
        until(lambda: self.says(1, "standby"))
        until(lambda: self.status().lease == self.lease())  # it says so before it has joined

    def lease(self) -> LeaseState:
        """As it is while the first leads."""
        names = []
        for capture in self.captures:
            assert capture.process is not None
            names.append(f"{socket.gethostname()}:{capture.process.pid}")
        return LeaseState(names[0], (names[1],))

    def replica_is_the_source(self) -> None:
        self.sites[0].apply()
        assert (
            differences(source_rows(self.database.server, self.database.name), replica_rows(self.sites[0].replica))
            == []
        )


def until(reached: Callable[[], bool], patience_s: float = END_S) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < patience_s
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def pair(mariadb_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path) -> Iterator[Pair]:
    create_tables(mariadb_database)
    mariadb_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d0'), ('d1'), ('d2')")
    found = Pair(mariadb_database, kafka_server, topic_prefix, tmp_path)
    yield found
    for capture in found.captures:
        if capture.process is not None and capture.process.poll() is None:
            capture.process.send_signal(signal.SIGCONT)
        capture.end()


def test_a_standby_takes_over_from_one_that_was_killed(pair: Pair) -> None:
    pair.start_both()
    pair.write(20)
    until(pair.published)
    pair.captures[0].kill()
    pair.write(1)
    took = until(pair.published)
    pair.captures[1].check()
    print(f"\nkilled: published again after {took:.1f} s (session {SESSION_MS / 1000:g} s, wait 0.5 s)")
    orders = [(partition, key, order) for partition, key, order, _ in pair.records()]
    assert len(orders) == len(set(orders)), "a record stands twice"
    assert pair.out_of_order() == []
    pair.replica_is_the_source()


def test_a_capture_that_ends_in_order_hands_over_at_once(pair: Pair) -> None:
    pair.start_both()
    lease = pair.lease()
    until(lambda: pair.status().recorded is not None)  # it leads before that
    with pytest.raises(DataRefused, match=f"{lease.holder} is publishing"):
        ask_for_snapshot(pair.settings())
    pair.write(20)
    until(pair.published)
    pair.captures[0].stop()
    pair.write(1)
    took = until(pair.published)
    print(f"\nhanded over: published again after {took:.1f} s")
    assert pair.status().lease == LeaseState(lease.standbys[0])
    assert pair.out_of_order() == []
    pair.captures[1].stop()
    pair.database.execute("FLUSH BINARY LOGS")
    pair.write(1)
    status = status_json(pair.status(), pair.settings())
    assert (status["leader"], status["caught_up"]) == (None, False)
    assert status["behind"] > 100
    assert 0 < status["lag_s"] < 300
    pair.sites[0].capture()
    pair.replica_is_the_source()


def test_what_a_paused_capture_writes_late_is_mended(pair: Pair) -> None:
    """The first one's records wait in its queue when it is stopped, and leave when it goes on: behind newer ones.

    It may also find out in time and drop them; `test_publish_foreign.py` makes sure that they land.
    """
    pair.sites[0].change(broker={"options": {"session.timeout.ms": SESSION_MS, "linger.ms": 2000}})
    pair.start_both()
    pair.write(10)
    until(pair.published)
    pair.write(5)
    first = pair.captures[0].process
    assert first is not None
    time.sleep(0.3)
    first.send_signal(signal.SIGSTOP)
    took = until(pair.published)
    pair.write(5)
    until(pair.published)
    before = len(pair.records())
    first.send_signal(signal.SIGCONT)
    assert first.wait(END_S) == 6, pair.captures[0].tail()
    assert pair.says(0, "has taken over")
    landed = len(pair.records()) - before
    mended = until(lambda: not pair.out_of_order())
    if landed:
        until(lambda: pair.says(1, "outlived its lease"))
        until(lambda: pair.says(1, "mended"))
    print(
        f"\nstopped: taken over after {took:.1f} s; {landed} records landed late or mended, right after {mended:.1f} s"
    )
    pair.write(5)
    until(pair.published)
    pair.captures[1].check()
    pair.captures[1].stop()
    assert pair.out_of_order() == []
    pair.replica_is_the_source()
