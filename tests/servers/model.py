"""What a running server looks like to a test, wherever it runs.

Plain data and Protocols: nothing here starts anything, and nothing here may know how a provider does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

import pymysql
from pymysql.cursors import Cursor

SqlKind = Literal["mariadb", "mysql"]

Options = Mapping[str, str | int | None]
"""Server options by name. They override the defaults; None removes a default, "" gives the bare flag."""


class ServerUnavailable(Exception):
    """A server cannot be had on this machine; the message says what to do about it."""


class ServerFailed(Exception):
    """A server did not start, stopped by itself or would not stop; the message ends with its log."""


class Lifecycle(Protocol):
    """One server process. Its address and its data stay the same from one start to the next."""

    @property
    def pid(self) -> int | None:
        """The server's own process id, None while it is not running."""

    @property
    def directory(self) -> Path:
        """Holds the data directory (`data`) and the log (`log`)."""

    def start(self) -> None:
        """Start it and return when it answers. Raises ServerFailed."""

    def stop(self) -> None:
        """Ask it to shut down, and return when it is gone. Nothing if it is not running."""

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone. Nothing if it is not running."""

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""

    def resume(self) -> None:
        """SIGCONT after a pause."""

    def log(self) -> str:
        """Everything that it has logged since it was made."""


@dataclass(frozen=True, slots=True)
class SqlServer:
    """A MariaDB or MySQL server; `user` may do everything."""

    kind: SqlKind
    host: str
    port: int
    user: str
    password: str
    process: Lifecycle

    def connect(self, **overrides: Any) -> pymysql.Connection[Cursor]:
        """A PyMySQL connection as `user`, in autocommit mode, unencrypted but for `ssl`; the caller closes it."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "charset": "utf8mb4",
            "autocommit": True,
            "connect_timeout": 10,
            "max_allowed_packet": 1 << 30,
            # Unasked, PyMySQL would read all authorities of the machine for each connection: 50 ms of a processor.
            "ssl_disabled": "ssl" not in overrides,
        }
        return pymysql.Connection(**(settings | overrides))

    def query(self, sql: str, args: Sequence[object] | None = None, **overrides: Any) -> list[tuple[Any, ...]]:
        """All rows of one statement, run on a connection of its own."""
        connection = self.connect(**overrides)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, args)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def url(self, database: str = "") -> str:
        """`mysql://user@host:port/database`, without the password, as the connector's settings take it."""
        return f"mysql://{quote(self.user)}@{self.host}:{self.port}/{database}"

    def restart(self) -> None:
        """A clean shutdown, then a start on the same data and port."""
        self.process.stop()
        self.process.start()


@dataclass(frozen=True, slots=True)
class SqlDatabase:
    """A schema of its own for one test, dropped after it."""

    server: SqlServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def connect(self, **overrides: Any) -> pymysql.Connection[Cursor]:
        """As `SqlServer.connect`, with this schema as the default one."""
        return self.server.connect(**({"database": self.name} | overrides))

    def execute(self, *statements: str) -> None:
        """Run statements one after the other in one session, each committing by itself."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    def query(self, sql: str, args: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one statement."""
        return self.server.query(sql, args, database=self.name)


@dataclass(frozen=True, slots=True)
class KafkaServer:
    """A Kafka cluster of one or more nodes, each broker and controller at once. listeners: more addresses, by name."""

    bootstrap_servers: str
    nodes: tuple[Lifecycle, ...]
    listeners: Mapping[str, str] = field(default_factory=dict)

    def restart(self) -> None:
        """A clean shutdown of every node, then a start on the same data and ports."""
        self.stop()
        self.start()

    def start(self) -> None:
        """Start the nodes that are not running, and return when the cluster answers."""
        for node in self.nodes:
            if node.pid is None:
                node.start()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


@dataclass(frozen=True, slots=True)
class RegistryServer:
    """A schema registry. What it holds is in memory: a restart forgets it."""

    url: str
    process: Lifecycle


class Provider(Protocol):
    """Where servers come from. Each context manager ends its server, whatever happened in between."""

    def sql(self, kind: SqlKind, options: Options | None = None) -> AbstractContextManager[SqlServer]:
        """A started database server. Raises ServerUnavailable, ServerFailed."""

    def kafka(self, nodes: int = 1, options: Options | None = None) -> AbstractContextManager[KafkaServer]:
        """A started Kafka cluster. Raises ServerUnavailable, ServerFailed."""
