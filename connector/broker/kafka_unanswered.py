"""Questions to the coordinator of a group that have no answer yet, and the admin clients that asked them.

When the patience that librdkafka 2.16 is given for such a question ends before the coordinator was found, and the
brokers answer after all, it ends the whole process by an assertion (confluentinc/librdkafka#4605): after brokers stood
still for eight seconds this happened every time. So it is given all patience there is, an hour. A question that a
coordinator has ends by the connection's time-out (socket.timeout.ms) before that, one that found none once the brokers
answer. Whoever does not want to wait so long keeps the client until the process ends: one destroyed may have its
answer later. That costs some threads that wait. Brokers that stand still for more than an hour may end the process yet.
"""

from __future__ import annotations

from typing import Any

PATIENCE_S = 3600.0
"""The most that librdkafka takes."""

_kept: list[Any] = []


def keep(client: Any) -> None:
    _kept.append(client)
