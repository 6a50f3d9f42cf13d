"""The run's MySQL server, and a fresh schema on it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.fix_sql import fresh_database
from tests.servers.model import Provider, SqlDatabase, SqlServer


@pytest.fixture(scope="session")
def mysql_server(provider: Provider) -> Iterator[SqlServer]:
    """One for the whole run, started when first asked for. Shared: do not stop it or change its settings."""
    with ExitStack() as ending:
        with server_needed():
            server = ending.enter_context(provider.sql("mysql"))
        yield server


@pytest.fixture
def mysql_database(mysql_server: SqlServer) -> Iterator[SqlDatabase]:
    """A schema of this test's own."""
    with fresh_database(mysql_server) as database:
        yield database
