"""The servers that faults happen to, each started when first needed, and what is set up on them for one fault."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.bench_memory import one_transaction
from tests.servers.fix_proxy import Proxy
from tests.servers.fix_replicas import PAIR_OPTIONS, ReplicaPair, fresh_pair
from tests.servers.fix_sql import fresh_database
from tests.servers.local_kafka import SHORT_LIVED, Listener, local_kafka
from tests.servers.local_sql import local_sql_server
from tests.servers.model import KafkaServer, Options, SqlDatabase, SqlKind, SqlServer
from tests.servers.ports import HOST
from tests.system.recovery.line import Line

# What Kafka has unless told otherwise, and tests have shorter.
AS_SHIPPED: Options = {
    "group.initial.rebalance.delay.ms": 3000,
    "group.min.session.timeout.ms": 6000,
    "broker.heartbeat.interval.ms": 2000,
    "broker.session.timeout.ms": 9000,
}
_NODES = 3
_PROXIED = "PROXIED"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a fault needs. several: nodes of Kafka. pair: the source has a replica server. far: a proxy is between
    capture and its broker. disk: the replica has one of its own. rows: at the source before anybody looks, and more
    than can be compared while the writer goes on. begun: whether everything is equal before the fault."""

    standby: bool = False
    several: bool = False
    pair: bool = False
    far: bool = False
    disk: bool = False
    rows: int = 0
    large: bool = False
    begun: bool = True
    source: Mapping[str, Any] = field(default_factory=dict)
    broker: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Scene:
    """A line, and the servers that it uses. pair: as it is now. disk: where the replica is."""

    line: Line
    kafka: KafkaServer
    broker_proxy: Proxy
    pair: ReplicaPair | None = None
    disk: Path | None = None
    turns: int = 0  # how often the fault happened so far


class Rig:
    """ending: of the servers."""

    def __init__(self, ending: ExitStack) -> None:
        self._ending = ending
        self._servers: dict[SqlKind, SqlServer] = {}
        self._pairs: dict[SqlKind, tuple[SqlServer, SqlServer]] = {}
        self._logs: dict[int, KafkaServer] = {}
        self._broker_proxy = Proxy(HOST, 0)
        ending.callback(self._broker_proxy.close)

    @contextmanager
    def scene(self, setup: Setup, kind: SqlKind, directory: Path) -> Iterator[Scene]:
        """The line is at work; ended afterwards."""
        directory.mkdir(parents=True)
        with ExitStack() as ending:
            pair = self._pair(kind) if setup.pair else None
            database = ending.enter_context(_database(self._server(kind) if pair is None else pair.primary, pair))
            kafka = self._log(_NODES if setup.several else 1)
            disk = ending.enter_context(_own_disk(directory)) if setup.disk else None
            line = Line(
                database,
                kafka.bootstrap_servers,
                directory,
                standby=setup.standby,
                copies=_NODES if setup.several else 1,
                capture_broker=f"{HOST}:{self._broker_proxy.port}" if setup.far else "",
                source=setup.source,
                broker=setup.broker,
                replica=None if disk is None else disk / "replica.db",
                large=setup.large,
            )
            scene = Scene(line, kafka, self._broker_proxy, pair, disk=disk)
            ending.enter_context(line)
            if setup.rows:
                one_transaction(database, setup.rows)
            line.begin(equal=setup.begun)
            yield scene

    def _server(self, kind: SqlKind) -> SqlServer:
        if kind not in self._servers:
            self._servers[kind] = self._ending.enter_context(local_sql_server(kind))
        return self._servers[kind]

    def _pair(self, kind: SqlKind) -> ReplicaPair:
        if kind not in self._pairs:
            options = PAIR_OPTIONS[kind]
            primary = self._ending.enter_context(local_sql_server(kind, options))
            self._pairs[kind] = (primary, self._ending.enter_context(local_sql_server(kind, options)))
        return fresh_pair(*self._pairs[kind])

    def _log(self, nodes: int) -> KafkaServer:
        if nodes not in self._logs:
            listeners = [Listener(_PROXIED, "PLAINTEXT", {}, proxy=self._broker_proxy.port)] if nodes == 1 else []
            options = AS_SHIPPED if nodes == 1 else {**AS_SHIPPED, "min.insync.replicas": 2}
            log = self._ending.enter_context(local_kafka(nodes, options, listeners, java_options=SHORT_LIVED))
            self._logs[nodes] = log
            if listeners:
                self._broker_proxy.lead_to(HOST, int(log.listeners[_PROXIED].rpartition(":")[2]))
        return self._logs[nodes]


@contextmanager
def _database(server: SqlServer, pair: ReplicaPair | None) -> Iterator[SqlDatabase]:
    """One on a pair goes when the pair is made fresh: by then it may be elsewhere."""
    if pair is None:
        with fresh_database(server) as database:
            yield database
        return
    name = f"test_{secrets.token_hex(4)}"
    server.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    yield SqlDatabase(server, name)


@contextmanager
def _own_disk(directory: Path) -> Iterator[Path]:
    """A file system of 96 MiB; needs the right to mount one."""
    place = directory / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
