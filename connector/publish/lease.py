"""Who may publish under a prefix: one capture at a time. The others wait as standbys and take over when it is gone.

It must be asked before anything is sent, and says no from the moment that this process knows of a loss. What was handed
to the producer before may land all the same: docs/guarantees.md, "A writer that outlived its lease".
"""

from __future__ import annotations

import logging
import os
import socket
import time
from threading import Event

from connector.broker import Broker, Lease
from connector.errors import DataRefused, LeaseLost, LeaseTaken
from connector.topics import signals_topic

log = logging.getLogger("connector.publish.lease")

_WAIT_S = 0.2  # between two looks whether to stop
_LOOK_S = 2.0  # between two questions who has it


class Leadership:
    """The lease of one prefix, over as many sessions as it is kept."""

    def __init__(self, broker: Broker, prefix: str, stop: Event) -> None:
        self._broker = broker
        self._topic = signals_topic(prefix)
        self._stop = stop
        self._member = f"{socket.gethostname()}:{os.getpid()}"
        self._lease: Lease | None = None
        self._led = False

    def acquire(self, *, standby: bool = True) -> bool:
        """Waits for the lease, where it is not held already. False: told to stop before it was had.

        standby: while another capture has it, wait; otherwise raise DataRefused. Raises LeaseTaken when this one had it
        before: who was followed by another must not go on beside it.
        """
        if self._lease is not None and self._lease.held():
            return True
        self.close()
        self._lease = lease = self._broker.lease(self._topic, self._member)
        told, look_at = False, time.monotonic() + _WAIT_S
        while not self._stop.is_set():
            if lease.wait(_WAIT_S):
                log.info("leads", extra={"lease": self._topic, "member": self._member})
                self._led = True
                return True
            if time.monotonic() < look_at:
                continue
            look_at = time.monotonic() + _LOOK_S
            leader = self._other()
            if leader is None:
                continue
            if self._led:
                raise LeaseTaken(f"{leader} has taken over as the publisher of {self._topic}")
            if not standby:
                raise DataRefused(
                    f"{leader} is publishing under this prefix",
                    hint="End it first (also its standbys), then try again.",
                )
            if not told:
                told = True
                log.info("standby: another capture publishes", extra={"lease": self._topic, "leader": leader})
        return False

    def check(self) -> None:
        """Raises LeaseLost unless the lease is held."""
        if self._lease is None or not self._lease.held():
            raise LeaseLost(f"the lease of {self._topic} was lost: nothing more is sent")

    def close(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()

    def _other(self) -> str | None:
        admin = self._broker.admin()
        try:
            holder = admin.lease_state(self._topic).holder
        finally:
            admin.close()
        return None if holder == self._member else holder
