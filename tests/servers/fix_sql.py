"""Databases for tests that run on MariaDB and MySQL alike, and servers set otherwise than by default."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.model import Options, Provider, SqlDatabase, SqlKind, SqlServer


class StartSqlServer(Protocol):
    def __call__(self, kind: SqlKind, options: Options | None = None) -> SqlServer: ...


@contextmanager
def fresh_database(server: SqlServer) -> Iterator[SqlDatabase]:
    """A schema with a name of its own, dropped at the end (also after a test that stopped the server)."""
    name = f"test_{secrets.token_hex(4)}"
    server.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    yield SqlDatabase(server, name)
    if server.process.pid is None:
        server.process.start()
    server.query(f"DROP DATABASE IF EXISTS `{name}`")


@pytest.fixture
def start_sql_server(provider: Provider) -> Iterator[StartSqlServer]:
    """Start further servers, for this test alone: with other options, or to be stopped and killed."""
    with ExitStack() as ending:

        def start(kind: SqlKind, options: Options | None = None) -> SqlServer:
            with server_needed():
                return ending.enter_context(provider.sql(kind, options))

        yield start


@pytest.fixture(params=["mariadb", "mysql"])
def sql_server(request: pytest.FixtureRequest) -> SqlServer:
    """The run's MariaDB, then its MySQL. Shared: do not stop it, do not change its global settings."""
    server: SqlServer = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def sql_database(sql_server: SqlServer) -> Iterator[SqlDatabase]:
    """A fresh schema on MariaDB, then on MySQL."""
    with fresh_database(sql_server) as database:
        yield database
