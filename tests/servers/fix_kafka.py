"""The run's Kafka broker, and topic names of its own for each test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.model import KafkaServer, Options, Provider


class StartKafka(Protocol):
    def __call__(self, nodes: int = 1, options: Options | None = None) -> KafkaServer: ...


@pytest.fixture(scope="session")
def kafka_server(provider: Provider) -> Iterator[KafkaServer]:
    """One broker for the whole run, started when first asked for. Shared: do not stop it."""
    with ExitStack() as ending:
        with server_needed():
            # It is never started again, so nothing is won by giving it up soon: a busy machine may give it no turn.
            server = ending.enter_context(provider.kafka(options={"broker.session.timeout.ms": 60_000}))
        yield server


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
