"""The `Provider` whose servers are containers, by testcontainers.

Needs an engine that has the images (`tools/engine.sh` sees to both). Ports are published on loopback only, and a
server keeps its port from one start to the next, as the local ones do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from testcontainers.core.network import Network

from tests.servers.containers_kafka import kafka_in_containers
from tests.servers.containers_sql import sql_server_in_container
from tests.servers.model import KafkaServer, Options, ServerUnavailable, SqlKind, SqlServer


class ContainerProvider:
    """Servers on one network of their own."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def sql(self, kind: SqlKind, options: Options | None = None) -> AbstractContextManager[SqlServer]:
        return sql_server_in_container(self._network, kind, options)

    def kafka(self, nodes: int = 1, options: Options | None = None) -> AbstractContextManager[KafkaServer]:
        return kafka_in_containers(self._network, nodes, options)


@contextmanager
def container_provider() -> Iterator[ContainerProvider]:
    """Raises ServerUnavailable when no engine answers."""
    require_engine()
    with Network() as network:
        yield ContainerProvider(network)


def require_engine() -> None:
    """Raises ServerUnavailable when no engine answers."""
    # By the command, not by its library: that leaves a socket open when nobody answers.
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "info"], capture_output=True, timeout=60, check=False).returncode:
        raise ServerUnavailable("no container engine answers: run make containers")


def why_without_engine() -> str | None:
    """Why this machine cannot have an engine, when `tools/engine.sh` found that it cannot."""
    return os.environ.get("WITHOUT_CONTAINER_ENGINE")
