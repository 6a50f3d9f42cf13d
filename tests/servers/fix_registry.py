"""The run's schema registry: Apicurio, as a process of this machine, with its schemas in memory."""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.model import RegistryServer
from tests.servers.ports import HOST, claimed_ports
from tests.servers.process import ServerProcess
from tests.servers.programs import registry

_API = "/apis/ccompat/v7"


@contextmanager
def local_registry() -> Iterator[RegistryServer]:
    """A new, empty one. Raises ServerUnavailable, ServerFailed."""
    program, *arguments = registry()
    with tempfile.TemporaryDirectory(prefix="vecsync-registry-") as name, claimed_ports(1) as (port,):
        process = ServerProcess(
            "schema registry",
            [program, "-Xmx384m", "-XX:TieredStopAtLevel=1", *arguments],
            Path(name),
            answers=lambda: _answers(port),
            environment={
                "QUARKUS_HTTP_HOST": HOST,
                "QUARKUS_HTTP_PORT": str(port),
                # It cannot be left out, and 9000 is taken where tests run in two processes.
                "QUARKUS_MANAGEMENT_HOST": HOST,
                "QUARKUS_MANAGEMENT_PORT": "0",
                "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
            },
        )
        try:
            process.start()
            yield RegistryServer(f"http://{HOST}:{port}{_API}", process)
        finally:
            process.kill()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", f"{_API}/subjects")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@pytest.fixture(scope="session")
def registry_server() -> Iterator[RegistryServer]:
    """One for the whole run, started when first asked for. Shared: do not stop it; use a topic prefix of your own."""
    with ExitStack() as ending:
        with server_needed():
            server = ending.enter_context(local_registry())
        yield server
