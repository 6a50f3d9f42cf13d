"""A primary and its replica, of either kind, for tests that move from one to the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.model import Options, Provider, SqlKind, SqlServer

PAIR_OPTIONS: dict[SqlKind, Options] = {
    "mariadb": {"log_slave_updates": "ON"},
    "mysql": {"log_replica_updates": "ON", "replica_preserve_commit_order": "ON", "replica_parallel_workers": 2},
}
_WORDS: dict[SqlKind, dict[str, str]] = {
    "mariadb": {
        "stop": "STOP SLAVE",
        "forget": "RESET SLAVE ALL",
        "reset": "RESET MASTER",
        "start": "START SLAVE",
        "follow": "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER = '{user}', "
        "MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
        "at": "SELECT @@GLOBAL.gtid_binlog_pos",
    },
    "mysql": {
        "stop": "STOP REPLICA",
        "forget": "RESET REPLICA ALL",
        "reset": "RESET BINARY LOGS AND GTIDS",
        "start": "START REPLICA",
        "follow": "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, SOURCE_USER = '{user}', "
        "SOURCE_PASSWORD = '{password}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, "
        "SOURCE_CONNECT_RETRY = 1",
        "at": "SELECT @@GLOBAL.gtid_executed",
    },
}


@dataclass(frozen=True, slots=True)
class ReplicaPair:
    """`replica` follows `primary` until told otherwise."""

    primary: SqlServer
    replica: SqlServer

    def detach(self) -> None:
        """The replica receives nothing more."""
        self.replica.query(_WORDS[self.replica.kind]["stop"])

    def catch_up(self) -> None:
        """Returns when the replica has all that the primary has."""
        at = _WORDS[self.primary.kind]["at"]
        deadline = time.monotonic() + 60
        while self.replica.query(at) != self.primary.query(at):
            assert time.monotonic() < deadline, (self.replica.query(at), self.primary.query(at))
            time.sleep(0.05)

    def promote(self) -> None:
        """The replica is a primary of its own from now on."""
        forget(self.replica)

    def swapped(self) -> ReplicaPair:
        """What was the primary follows what was its replica."""
        follow(self.primary, self.replica)
        return ReplicaPair(self.replica, self.primary)


def forget(server: SqlServer) -> None:
    for word in ("stop", "forget"):
        server.query(_WORDS[server.kind][word])


def follow(server: SqlServer, primary: SqlServer) -> None:
    words = _WORDS[server.kind]
    if server.kind == "mariadb":
        server.query(f"SET GLOBAL gtid_slave_pos = '{server.query('SELECT @@GLOBAL.gtid_current_pos')[0][0]}'")
    server.query(
        words["follow"].format(host=primary.host, port=primary.port, user=primary.user, password=primary.password)
    )
    server.query(words["start"])


def fresh_pair(primary: SqlServer, replica: SqlServer) -> ReplicaPair:
    """Two servers with nothing on them, the second one following the first."""
    for server in (primary, replica):
        if server.process.pid is None:
            server.process.start()
        forget(server)
        for (name,) in server.query("SHOW DATABASES LIKE 'test\\_%'"):
            server.query(f"DROP DATABASE `{name}`")
        reset(server)
        if server.kind == "mariadb":
            server.query("SET GLOBAL gtid_slave_pos = ''")
    follow(replica, primary)
    return ReplicaPair(primary, replica)


def reset(server: SqlServer) -> None:
    """Its binlog begins anew, and so do its GTIDs."""
    server.query(_WORDS[server.kind]["reset"])


def purge(server: SqlServer) -> None:
    """All of its binlog but a new file."""
    server.query("FLUSH BINARY LOGS")
    newest = server.query("SHOW BINARY LOGS")[-1][0]
    deadline = time.monotonic() + 90
    while server.query("SHOW BINARY LOGS")[0][0] != newest:  # files that somebody reads are passed over
        assert time.monotonic() < deadline
        server.query(f"PURGE BINARY LOGS TO '{newest}'")
        time.sleep(0.1)


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def _servers(request: pytest.FixtureRequest, provider: Provider) -> Iterator[tuple[SqlServer, SqlServer]]:
    kind: SqlKind = request.param
    with ExitStack() as ending:
        with server_needed():
            primary = ending.enter_context(provider.sql(kind, PAIR_OPTIONS[kind]))
            replica = ending.enter_context(provider.sql(kind, PAIR_OPTIONS[kind]))
        yield primary, replica


@pytest.fixture
def replica_pair(_servers: tuple[SqlServer, SqlServer]) -> ReplicaPair:
    return fresh_pair(*_servers)
