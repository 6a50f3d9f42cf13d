"""MariaDB and MySQL in containers of the official images, or of what stands in for them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
from testcontainers.community.mysql import MySqlContainer
from testcontainers.core.network import Network

from tests.servers.container import ServerContainer, made, publish
from tests.servers.local_sql import SQL_DEFAULTS, as_arguments
from tests.servers.model import Options, SqlKind, SqlServer
from tests.servers.ports import HOST, claimed_ports

IMAGES: dict[SqlKind, str] = {"mariadb": "mariadb:10.11", "mysql": "mysql:9.7"}
_PASSWORD = "vecsync-tests"


class _SqlContainer(MySqlContainer):
    """Takes for ready what answers by its address, not a line in a log that each version words otherwise."""

    def _connect(self) -> None:
        return


@contextmanager
def sql_server_in_container(network: Network, kind: SqlKind, options: Options | None = None) -> Iterator[SqlServer]:
    """A new, empty server. Raises ServerFailed."""
    with tempfile.TemporaryDirectory(prefix=f"vecsync-{kind}-") as name, claimed_ports(1) as (port,):
        directory = Path(name)
        (directory / "data").mkdir()
        container = _SqlContainer(IMAGES[kind], username="root", password=_PASSWORD)
        settings = {"server_id": port} | SQL_DEFAULTS[kind] | dict(options or {})
        container.with_command(as_arguments(settings))
        container.with_network(network)
        # So that tests read the binlog's files; owned by whoever runs the tests, who also has to remove them.
        container.with_volume_mapping(directory / "data", "/var/lib/mysql", "rw")
        if os.geteuid() != 0:
            container.with_kwargs(user=f"{os.geteuid()}:{os.getegid()}")
        publish(container, 3306, port)
        with made(container):
            server = ServerContainer(kind, container, directory, answers=lambda: _answers(port))
            server.wait_until_answers()
            yield SqlServer(kind=kind, host=HOST, port=port, user="root", password=_PASSWORD, process=server)


def _answers(port: int) -> bool:
    try:
        connection = pymysql.Connection(
            host=HOST,
            port=port,
            user="root",
            password=_PASSWORD,
            connect_timeout=5,
            read_timeout=5,
            ssl_disabled=True,
        )
    except pymysql.err.OperationalError:
        return False
    connection.close()
    return True
