"""The run's MariaDB server, and a fresh schema on it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.fix_sql import fresh_database
from tests.servers.model import Provider, SqlDatabase, SqlServer


@pytest.fixture(scope="session")
def mariadb_server(provider: Provider) -> Iterator[SqlServer]:
    """One for the whole run, started when first asked for. Shared: do not stop it or change its settings."""
    with ExitStack() as ending:
        with server_needed():
            server = ending.enter_context(provider.sql("mariadb"))
        yield server


@pytest.fixture
def mariadb_database(mariadb_server: SqlServer) -> Iterator[SqlDatabase]:
    """A schema of this test's own."""
    with fresh_database(mariadb_server) as database:
        yield database
