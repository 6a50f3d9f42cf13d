"""The run's Kafka broker, and topic names of its own for each test."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.fix_provider import server_needed
from tests.servers.model import KafkaServer, Options, Provider

_quiet = logging.getLogger("tests.servers.kafka")


class StartKafka(Protocol):
    def __call__(self, nodes: int = 1, options: Options | None = None) -> KafkaServer: ...


@pytest.fixture(scope="session")
def kafka_server(provider: Provider) -> Iterator[KafkaServer]:
    """One broker for the whole run, started when first asked for. Shared: do not stop it."""
    with ExitStack() as ending:
        with server_needed():
            # It is never started again, so nothing is won by giving it up soon: a busy machine may give it no turn.
            server = ending.enter_context(provider.kafka(options={"broker.session.timeout.ms": 60_000}))
        _use_a_group(server)
        yield server


def _use_a_group(server: KafkaServer) -> None:
    """A cluster makes an internal topic at the first question about any group, which on a busy machine took longer than
    the connector waits for an answer: it is no test's part to be the first."""
    admin: Any = AdminClient({"bootstrap.servers": server.bootstrap_servers}, logger=_quiet)
    deadline = time.monotonic() + 120
    while True:
        (asked,) = admin.describe_consumer_groups(["nobody"], request_timeout=10).values()
        try:
            asked.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            if time.monotonic() > deadline:
                raise
        else:
            return


@pytest.fixture
def start_kafka(provider: Provider) -> Iterator[StartKafka]:
    """Start further clusters, for this test alone: with other options, several nodes, or to be killed."""
    with ExitStack() as ending:

        def start(nodes: int = 1, options: Options | None = None) -> KafkaServer:
            with server_needed():
                return ending.enter_context(provider.kafka(nodes, options))

        yield start


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test uses. Topics are left to end with the broker."""
    return f"t{secrets.token_hex(4)}"
