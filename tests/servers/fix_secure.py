"""A Kafka broker that asks for certificates and passwords, and an authority that its clients trust.

Local processes whatever the run's provider is: what is tried here lies between the client and the port.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.servers.certificates import Authority, Certificate
from tests.servers.fix_provider import server_needed
from tests.servers.local_kafka import SHORT_LIVED, Listener, local_kafka
from tests.servers.model import KafkaServer


class SecureKafka(NamedTuple):
    """`server.listeners`: SECURE and, with a wrong certificate, MISNAMED and EXPIRED want SCRAM over TLS; MUTUAL wants
    the client's certificate; SIXTH is on ::1, without either."""

    server: KafkaServer
    user: str
    password: str


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "tests")


@pytest.fixture(scope="session")
def secure_kafka(authority: Authority) -> Iterator[SecureKafka]:
    """One for the whole run, started when first asked for. Shared: do not stop it."""
    user, password = "vecsync-scram", secrets.token_urlsafe(12)
    right = authority.issue("broker")
    listeners = [
        Listener("SECURE", "SASL_SSL", _scram() | _keystore(right)),
        Listener("MISNAMED", "SASL_SSL", _scram() | _keystore(authority.issue("elsewhere", ["kafka.example.org"]))),
        Listener("EXPIRED", "SASL_SSL", _scram() | _keystore(authority.issue("expired-broker", expired=True))),
        Listener("MUTUAL", "SSL", _keystore(right) | _required(authority)),
        Listener("SIXTH", "PLAINTEXT", {}, "::1"),
    ]
    with ExitStack() as ending:
        with server_needed():
            server = ending.enter_context(
                local_kafka(listeners=listeners, scram={user: password}, java_options=SHORT_LIVED)
            )
        yield SecureKafka(server, user, password)


def _scram() -> dict[str, str]:
    return {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    }


def _keystore(certificate: Certificate) -> dict[str, str]:
    return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(certificate.both)}


def _required(authority: Authority) -> dict[str, str]:
    return {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(authority.ca), "ssl.client.auth": "required"}
