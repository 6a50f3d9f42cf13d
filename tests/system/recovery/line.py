"""The whole way, as users have it, with a writer at its source: capture, a standby perhaps, Kafka, a replica; all as
processes of their own, with the settings that they have unless told otherwise."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import apsw
import pymysql

from connector.broker.connect import open_broker
from connector.errors import VecsyncError
from connector.model import Lane
from connector.publish.log_state import present_ends
from connector.settings import Settings, load
from connector.topics import table_topics
from tests.bench.load import DATASETS
from tests.servers.fix_proxy import Proxy
from tests.servers.model import SqlDatabase, SqlServer
from tests.system.compare import (
    derived_structures_agree,
    differences,
    open_plainly,
    replica_datasets,
    replica_rows,
    source_datasets,
    source_rows,
)
from tests.system.processes import Service
from tests.system.recovery.supervisor import Ended, Supervisor
from tests.system.recovery.topic import Reading, Topic, judged
from tests.system.recovery.writer import Writer
from tests.system.schema import create_tables
from tests.system.site import Site

PARTITIONS = 4
PATIENCE_S = 300.0
GRACE_S = 0.1  # a replica that is right may be this far behind: a transaction takes some milliseconds to get there


class Mark(NamedTuple):
    """A moment: what is measured begins here. seen: on the topic by then."""

    at: float
    committed: int
    seen: int


class Took(NamedTuple):
    """Seconds from a mark until the first record of a transaction after it was acknowledged (None: not asked for), and
    until the replica was equal."""

    captured: float | None
    equal: float


class Line:
    """sections: what differs from the settings that there are unless told otherwise. capture_broker: where capture
    finds its broker, if it is not where the others find it. filled: rows that stand there before anybody looks."""

    def __init__(
        self,
        database: SqlDatabase,
        bootstrap_servers: str,
        directory: Path,
        *,
        standby: bool = False,
        copies: int = 1,
        capture_broker: str = "",
        source: Mapping[str, Any] | None = None,
        broker: Mapping[str, Any] | None = None,
        replica: Path | None = None,
        large: bool = False,
    ) -> None:
        self.database = database
        self.directory = directory
        self.large = large  # too many rows to compare while the writer goes on
        self.prefix = f"r{secrets.token_hex(4)}"
        self.proxy = Proxy(database.server.host, database.server.port)
        sections = {
            "source": {"kind": "mysql", "url": self.proxy.url(database), **(source or {})},
            "broker": {"kind": "kafka", "bootstrap_servers": bootstrap_servers, **(broker or {})},
            "topics": {"prefix": self.prefix, "partitions": PARTITIONS, "replication_factor": copies},
            "replica": {"path": str(replica or directory / "replica.db"), "group": self.prefix},
        }
        self.site = Site(directory, sections, database.server.password)
        where = {"VECSYNC_BROKER__BOOTSTRAP_SERVERS": capture_broker} if capture_broker else {}
        self.captures = [
            Service("capture", "run", config=self.site.config, env={**self.site.env, **where}, log=directory / name)
            for name in (["capture.log", "other.log"] if standby else ["capture.log"])
        ]
        self.apply = Service("replica", "run", config=self.site.config, env=self.site.env, log=directory / "apply.log")
        self.supervisor = Supervisor([*self.captures, self.apply])
        data = table_topics(self.prefix, database.name, "shadow_vec_docs").data
        self.lanes = [Lane(data, partition) for partition in range(PARTITIONS)]
        self.bootstrap_servers = bootstrap_servers
        self.writer = Writer(database)
        self.topic: Topic | None = None

    def __enter__(self) -> Self:
        create_tables(self.database)
        self.database.execute(
            "INSERT INTO vec_dataset (dataset_id) VALUES " + ",".join(f"('d{n}')" for n in range(DATASETS))
        )
        self.writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing may be started again while it is ended.
        self.supervisor.finish()
        for service in (*self.captures, self.apply):
            if service.process is not None and service.process.poll() is None:
                service.process.send_signal(signal.SIGCONT)
            service.end()
        self.writer.finish()
        if self.topic is not None:
            self.topic.finish()
        self.proxy.close()

    def begin(self, *, equal: bool = True) -> None:
        """Starts everything, and returns when the replica is equal, or when there is something on the topic."""
        for service in (*self.captures, self.apply):
            service.start()
            if service is self.capture:
                self.wait(lambda: self.says(self.capture, "leads"))
        self.supervisor.start()
        self.wait(self.exists)
        self.topic = Topic(self.bootstrap_servers, self.lanes[0].topic, PARTITIONS)
        self.topic.start()
        for standby in self.captures[1:]:
            self.wait_for_standby(standby)
        if equal:
            self.wait(self.is_equal)

    @property
    def capture(self) -> Service:
        """The one that leads."""
        return self.captures[0]

    def taken_over(self) -> Service:
        """The standby leads from now on; returns the one that did."""
        old = self.captures.pop(0)
        self.captures.append(old)
        return old

    def wait_for_standby(self, service: Service) -> None:
        self.wait(lambda: self.says(service, "standby: another capture publishes"))

    def says(self, service: Service, text: str) -> bool:
        """Since it was started."""
        return service.log.exists() and text in service.log.read_bytes()[service.begin :].decode(errors="replace")

    def settings(self) -> Settings:
        return load(self.site.config, {"source": {"password": self.database.server.password}})

    def exists(self) -> bool:
        try:
            return self.ends() >= 0
        except (VecsyncError, KeyError):
            return False

    def ends(self) -> int:
        """Sum of the end offsets of the data topic."""
        return sum(present_ends(open_broker(self.settings()), self.lanes).values())

    def mark(self) -> Mark:
        assert self.topic is not None
        return Mark(time.monotonic(), self.writer.committed, len(self.topic.seen))

    def took(self, mark: Mark, *, captured: bool = True) -> Took:
        """Waits until everything is as it was, and says since when."""
        first: float | None = None

        def published() -> bool:
            nonlocal first
            assert self.topic is not None
            first = self.topic.first_after(mark.committed, mark.seen)
            return first is not None

        if captured:
            self.wait(published)
        self.wait(self.is_equal)
        equal = time.monotonic() - mark.at
        return Took(None if first is None else max(0.0, first - mark.at), equal)

    def wait(self, reached: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Raises with what the services said when it is not reached."""
        deadline = time.monotonic() + patience_s
        while not reached():
            if time.monotonic() > deadline:
                said = "\n".join(service.tail() for service in (*self.captures, self.apply) if service.log.exists())
                raise AssertionError(f"not reached in {patience_s:g} s; ended: {self.supervisor.ended}\n{said}")
            time.sleep(0.02)

    def wait_for_end(self, service: Service, code: int, since: int) -> None:
        """Until that service has ended with that code; since: how many had ended before."""
        self.wait(lambda: Ended(service, code) in self.supervisor.ended[since:])

    def is_equal(self) -> bool:
        """Row for row, while the writer goes on: each row is the source's of now, or of a moment ago."""
        try:
            if self.large:
                return self._is_equal_standing()
            before = self._source_rows()
            time.sleep(GRACE_S)
            found = replica_rows(self.site.replica)
            after = self._source_rows()
        except (pymysql.err.MySQLError, apsw.Error, OSError):
            return False
        return all(found.get(key) in (before.get(key), after.get(key)) for key in before.keys() | after.keys()) and (
            found.keys() <= before.keys() | after.keys()
        )

    def _is_equal_standing(self) -> bool:
        counted = "SELECT count(*) FROM shadow_vec_docs"
        connection = open_plainly(self.site.replica)
        try:
            ((there,),) = connection.execute(counted).fetchall()
        finally:
            connection.close()
        ((here,),) = self.database.query(counted)
        if abs(int(str(there)) - here) > 100:
            time.sleep(0.2)
            return False
        with self.writer.standing_still():
            time.sleep(5 * GRACE_S)
            return self._source_rows() == replica_rows(self.site.replica)

    def _source_rows(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        return source_rows(self.database.server, self.database.name)

    def checked(self) -> Reading:
        """Source and replica are the same, and the whole topic was read. Raises AssertionError."""
        topic = self.topic
        assert topic is not None
        with self.writer.standing_still():
            self.wait(lambda: self._source_rows() == replica_rows(self.site.replica))
            server, name = self.database.server, self.database.name
            assert differences(self._source_rows(), replica_rows(self.site.replica)) == []
            assert replica_datasets(self.site.replica) == source_datasets(server, name)
            derived_structures_agree(self.site.replica)
            self.wait(lambda: topic.is_read(self.ends()))
            reading = judged(topic.seen)
        assert not reading.wrong, f"{len(reading.wrong)} keys end with an older record"
        return reading

    def move_to(self, server: SqlServer) -> None:
        """The source's name leads to another server, for the writer too, which stands still."""
        self.database = SqlDatabase(server, self.database.name)
        self.proxy.lead_to(server.host, server.port)
        self.proxy.cut()
        self.writer.move_to(self.database)


def resident_mb(service: Service) -> float:
    """The most that its process ever had."""
    assert service.process is not None
    status = _status(service.process.pid)
    return int(status["VmHWM"].split()[0]) / 1024


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def pause(service: Service) -> None:
    assert service.process is not None
    os.kill(service.process.pid, signal.SIGSTOP)


def resume(service: Service) -> None:
    assert service.process is not None
    os.kill(service.process.pid, signal.SIGCONT)
