"""A holder of a lease in a process of its own, that can be killed or stand still: `lease_holder.py BROKER TOPIC`.

BROKER: the settings as JSON. Prints a line when it has the lease, and one when it has lost it; then it ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from connector.broker import Broker
from connector.broker.embedded import EmbeddedBroker
from connector.broker.kafka import KafkaBroker
from connector.settings import BrokerSettings
from tests.conformance.broker_logs import EmbeddedLog, KafkaLog, Log

SESSION_MS = 6000  # a holder that has no turn for seconds, on a busy machine, keeps its lease


class LeaseHolder:
    """The process, as its parent sees it. Sessions of that log's leases are short from here on."""

    def __init__(self, log: Log, topic: str) -> None:
        if isinstance(log, EmbeddedLog):
            settings = BrokerSettings(kind="embedded", path=log.path)
        else:
            assert isinstance(log, KafkaLog)
            log.options = {"session.timeout.ms": SESSION_MS}
            settings = BrokerSettings(bootstrap_servers=log.bootstrap_servers, options=log.options)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.lease_holder", settings.model_dump_json(), topic],
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> str:
        """The next line; waits for it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait_until_held(self) -> None:
        assert self.said() == "held"

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def main(broker: str, topic: str) -> None:
    settings = BrokerSettings.model_validate_json(broker)
    opened: Broker = EmbeddedBroker(settings.path) if settings.kind == "embedded" else KafkaBroker(settings, 2**20)
    lease = opened.lease(topic, "holder:1")
    while not lease.wait(1):
        pass
    print("held", flush=True)
    while lease.held():
        time.sleep(0.02)
    print("lost", flush=True)
    lease.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
