"""Kafka (KRaft) as processes of this machine: one node or more, each broker and controller at once.

Listeners are on loopback only; everything a node keeps is under one temporary directory.
"""

from __future__ import annotations

import base64
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.model import KafkaServer, Options
from tests.servers.ports import HOST, claimed_ports
from tests.servers.process import ServerProcess, run_to_end
from tests.servers.programs import java, kafka_classpath

# For a broker that lives for minutes: compiling its code thoroughly would take more time than that saves.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1",)

_quiet = logging.getLogger("tests.servers.kafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Listener(NamedTuple):
    """One more address of a broker. options: Kafka's, without the prefix that names the listener. proxy: the port that
    clients are told instead of its own."""

    name: str
    protocol: str
    options: Mapping[str, str]
    host: str = HOST
    proxy: int = 0


@contextmanager
def local_kafka(
    nodes: int = 1,
    options: Options | None = None,
    listeners: Sequence[Listener] = (),
    scram: Mapping[str, str] | None = None,
    java_options: Sequence[str] = (),
) -> Iterator[KafkaServer]:
    """A new, empty cluster. listeners: of a single node, beside the ordinary one. scram: passwords by user.

    Raises ServerUnavailable, ServerFailed.
    """
    assert nodes == 1 or not listeners
    with ExitStack() as ending:
        root = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="vecsync-kafka-")))
        ports = ending.enter_context(claimed_ports(2 * nodes + len(listeners)))
        brokers, controllers, others = ports[:nodes], ports[nodes : 2 * nodes], ports[2 * nodes :]
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(controllers, 1))
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        processes: list[ServerProcess] = []
        for number, (broker, controller) in enumerate(zip(brokers, controllers, strict=True), 1):
            directory = root / f"node-{number}"
            directory.mkdir()
            properties = _properties(nodes, number, broker, controller, voters, directory) | dict(options or {})
            properties |= _further(properties, listeners, others)
            process = _node(directory, properties, broker, nodes, cluster_id, scram or {}, java_options)
            # The data goes with the cluster, so there is nothing to shut down in an orderly way.
            ending.callback(process.kill)
            processes.append(process)
        for process in processes:
            process.spawn()
        for process in processes:
            process.wait_until_answers()
        addresses = {listener.name: _address(listener, port) for listener, port in zip(listeners, others, strict=True)}
        bootstrap = ",".join(f"{HOST}:{port}" for port in brokers)
        yield KafkaServer(bootstrap_servers=bootstrap, nodes=tuple(processes), listeners=addresses)


def _address(listener: Listener, port: int) -> str:
    return f"[{listener.host}]:{port}" if ":" in listener.host else f"{listener.host}:{port}"


def _further(properties: Options, listeners: Sequence[Listener], ports: Sequence[int]) -> dict[str, str | int | None]:
    added: dict[str, str | int | None] = {}
    for listener, port in zip(listeners, ports, strict=True):
        place = f"{listener.name}://{_address(listener, port)}"
        for name, more in (
            ("listeners", place),
            ("advertised.listeners", f"{listener.name}://{_address(listener, listener.proxy or port)}"),
            ("listener.security.protocol.map", f"{listener.name}:{listener.protocol}"),
        ):
            added[name] = f"{added.get(name, properties[name])},{more}"
        added |= {f"listener.name.{listener.name.lower()}.{name}": value for name, value in listener.options.items()}
    return added


def _properties(
    nodes: int, number: int, broker: int, controller: int, voters: str, directory: Path
) -> dict[str, str | int | None]:
    own: dict[str, str | int | None] = {
        "node.id": number,
        "controller.quorum.voters": voters,
        "listeners": f"BROKER://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"BROKER://{HOST}:{broker}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "log.dirs": str(directory / "data"),
    }
    return own | kafka_defaults(nodes)


def kafka_defaults(nodes: int) -> dict[str, str | int | None]:
    """Settings of every node, wherever it runs."""
    copies = min(nodes, 3)
    return {
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        "auto.create.topics.enable": "false",
        # Internal topics: as many copies as there are nodes for, and few partitions, so that the first use of a
        # group does not wait for fifty of them to be made.
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": 1,
        # A lone consumer need not wait for others to join.
        "group.initial.rebalance.delay.ms": 0,
        # Tests that kill a publisher need not wait for its session as long as users do (6 s).
        "group.min.session.timeout.ms": 500,
        # After a crash a node may register again only once its old session has ended (9 s by default).
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 3000,
        "log.segment.delete.delay.ms": 1000,
    }


def _node(
    directory: Path,
    properties: Options,
    port: int,
    nodes: int,
    cluster_id: str,
    scram: Mapping[str, str],
    java_options: Sequence[str],
) -> ServerProcess:
    file = directory / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items() if value is not None))
    program = [java(), "-Xmx512m", "-cp", kafka_classpath()]
    run_to_end(
        "formatting Kafka's storage",
        [
            *program,
            *SHORT_LIVED,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster_id}",
            "-c",
            str(file),
            *(f"--add-scram=SCRAM-SHA-512=[name={user},password={word}]" for user, word in scram.items()),
        ],
        directory,
    )
    logging_options = [
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    ]
    return ServerProcess(
        f"kafka node {directory.name}",
        [*program, *java_options, *logging_options, "kafka.Kafka", str(file)],
        directory,
        answers=lambda: kafka_answers(port, nodes),
    )


def kafka_answers(port: int, nodes: int) -> bool:
    """True when the broker is in service: it lists a majority of the cluster, itself included."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}"}, logger=_quiet)
    try:
        known = admin.list_topics(timeout=2).brokers.values()
    except KafkaException:
        return False
    return len(known) > nodes // 2 and port in {broker.port for broker in known}
