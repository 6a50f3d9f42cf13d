"""For this directory servers are containers.

The fixtures of the run's servers are defined once more here, unchanged: a fixture keeps its value for the whole run,
so the ones of the other suites would hand out their local processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.servers.containers import container_provider, why_without_engine
from tests.servers.fix_kafka import kafka_server
from tests.servers.fix_mariadb import mariadb_server
from tests.servers.fix_mysql import mysql_server
from tests.servers.fix_provider import server_needed, skip_without_server
from tests.servers.model import Provider

__all__ = ["kafka_server", "mariadb_server", "mysql_server"]


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """Containers, by testcontainers."""
    reason = why_without_engine()
    if reason is not None:
        skip_without_server(f"containers suite: {reason}")
    with ExitStack() as ending:
        with server_needed():
            found = ending.enter_context(container_provider())
        yield found
