"""Kafka (KRaft) in containers of the image `apache/kafka`, or of what stands in for it.

Not by testcontainers' own `KafkaContainer`: that is made for Confluent's image, whose start script it rewrites.
Apache's takes everything from its environment.
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.servers.container import ServerContainer, made, publish
from tests.servers.local_kafka import kafka_answers, kafka_defaults
from tests.servers.model import KafkaServer, Options
from tests.servers.ports import HOST, claimed_ports

IMAGE = "apache/kafka:4.3.0"


@contextmanager
def kafka_in_containers(network: Network, nodes: int = 1, options: Options | None = None) -> Iterator[KafkaServer]:
    """A new, empty cluster. Raises ServerFailed."""
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="vecsync-kafka-")))
        ports = ending.enter_context(claimed_ports(nodes))
        cluster = secrets.token_hex(4)
        names = [f"kafka-{cluster}-{number}" for number in range(1, nodes + 1)]
        voters = ",".join(f"{number}@{name}:9093" for number, name in enumerate(names, 1))
        cluster_id = base64.urlsafe_b64encode(b"vs" + os.urandom(14)).decode().rstrip("=")  # No leading dash.
        servers: list[ServerContainer] = []
        for number, (name, port) in enumerate(zip(names, ports, strict=True), 1):
            properties: dict[str, str | int | None] = {
                "node.id": number,
                "controller.quorum.voters": voters,
                "listeners": "BROKER://0.0.0.0:9092,NODES://0.0.0.0:9094,CONTROLLER://0.0.0.0:9093",
                "advertised.listeners": f"BROKER://{HOST}:{port},NODES://{name}:9094",
                "listener.security.protocol.map": "BROKER:PLAINTEXT,NODES:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "NODES",
                "log.dirs": "/var/lib/kafka/data",
            }
            container = DockerContainer(IMAGE, name=name, env={"CLUSTER_ID": cluster_id})
            container.with_env("KAFKA_HEAP_OPTS", "-Xmx512m")
            for key, value in (properties | kafka_defaults(nodes) | dict(options or {})).items():
                if value is not None:
                    container.with_env(_variable(key), str(value))
            container.with_network(network).with_network_aliases(name)
            publish(container, 9092, port)
            ending.enter_context(made(container))
            servers.append(
                ServerContainer(name, container, directory, answers=lambda port=port: kafka_answers(port, nodes))  # type: ignore[misc]
            )
        for server in servers:
            server.wait_until_answers()
        yield KafkaServer(bootstrap_servers=",".join(f"{HOST}:{port}" for port in ports), nodes=tuple(servers))


def _variable(name: str) -> str:
    """The image's own spelling: `_` for a dot, `__` for an underscore, `___` for a hyphen."""
    return "KAFKA_" + name.upper().replace("_", "__").replace("-", "___").replace(".", "_")
