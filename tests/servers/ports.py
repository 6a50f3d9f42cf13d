"""Loopback ports for servers that keep their port from one start to the next.

A port that was merely free when somebody looked can be taken a moment later: by another test run, or by the
kernel as the local end of an outgoing connection. So ports come from below the kernel's ephemeral range, and
each is claimed by the name of an abstract Unix socket, which the kernel keeps unique and gives back with the
process, however that ends. (Abstract names belong to a network namespace, just as ports do.)
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

HOST = "127.0.0.1"

# Linux hands out 32768-60999 to outgoing connections.
_LOWEST, _HIGHEST = 20_000, 29_999


@contextmanager
def claimed_ports(count: int) -> Iterator[list[int]]:
    """`count` ports that are ours until the context ends."""
    with ExitStack() as claims:
        ports: list[int] = []
        for port in random.SystemRandom().sample(range(_LOWEST, _HIGHEST + 1), _HIGHEST + 1 - _LOWEST):
            if len(ports) == count:
                break
            claim = claims.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            try:
                claim.bind(f"\0vecsync-test-port-{port}")
            except OSError:
                continue
            if _is_free(port):
                ports.append(port)
        if len(ports) < count:
            raise RuntimeError(f"no {count} free ports in {_LOWEST}-{_HIGHEST} on {HOST}")
        yield ports


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of an earlier owner in TIME_WAIT are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
