"""A TCP proxy on loopback: connections that break in the middle of a packet, and networks that fall silent."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Protocol

import pytest

from tests.servers.model import SqlDatabase

Limit = Callable[[], int | None]
_JOIN_S = 20.0


class _Pair:
    """A connection, and the one that it is forwarded by. Its two threads own the sockets."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.silent = False
        self.over = threading.Event()

    def forward(self, source: socket.socket, to: socket.socket, limit: int | None) -> bool:
        """Until one end is closed. True: until the limit."""
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.silent:
                    continue
                if limit is not None and len(data) >= limit:
                    to.sendall(data[:limit])
                    return True
                to.sendall(data)
                limit = None if limit is None else limit - len(data)
        return False

    def end(self) -> None:
        """From any thread."""
        self.over.set()
        for socket_ in (self.client, self.server):
            with suppress(OSError):
                socket_.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Forwards to one server at a time. limit: asked for each new connection; after how many bytes from the server it
    is cut (None: never)."""

    def __init__(self, host: str, port: int, limit: Limit = lambda: None) -> None:
        self._to = (host, port)
        self.limit = limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.cuts = 0
        self._closed = False
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def url(self, database: SqlDatabase) -> str:
        """The database's, by way of the proxy."""
        return database.url.replace(f":{database.server.port}/", f":{self.port}/")

    def fall_silent(self) -> None:
        """The connections that are open stay so, and nothing comes through any more; new ones work."""
        with self._lock:
            for pair in self._pairs:
                pair.silent = True

    def lead_to(self, host: str, port: int) -> None:
        """For new connections; those that are open stay where they are."""
        self._to = (host, port)

    def cut(self) -> None:
        """Every connection that is open."""
        with self._lock:
            for pair in self._pairs:
                pair.end()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._closed = True
            for pair in self._pairs:
                pair.end()
        for thread in self._threads:
            thread.join(_JOIN_S)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._to) as server:
            pair = _Pair(client, server)
            with self._lock:
                if self._closed:
                    return
                self._pairs.add(pair)
                self.connections += 1
                limit = self.limit()
            back = threading.Thread(target=self._back, args=(pair, limit), daemon=True)
            back.start()
            pair.forward(client, server, None)
            self._told(pair)
            back.join()
            with self._lock:
                self._pairs.discard(pair)

    def _back(self, pair: _Pair, limit: int | None) -> None:
        if pair.forward(pair.server, pair.client, limit):
            with self._lock:
                self.cuts += 1
        self._told(pair)

    def _told(self, pair: _Pair) -> None:
        """One end was closed. Where the network is silent, the other one never hears of it."""
        if pair.silent:
            pair.over.wait()
        pair.end()


def at_random(seed: int, least: int, most: int, times: int) -> Limit:
    """A limit for that many connections; those that follow are left alone."""
    rng, left = random.Random(seed), [times]

    def limit() -> int | None:
        left[0] -= 1
        return rng.randint(least, most) if left[0] >= 0 else None

    return limit


class StartProxy(Protocol):
    def __call__(self, database: SqlDatabase, limit: Limit = ...) -> Proxy: ...


@pytest.fixture
def start_proxy() -> Iterator[StartProxy]:
    with ExitStack() as ending:

        def start(database: SqlDatabase, limit: Limit = lambda: None) -> Proxy:
            proxy = Proxy(database.server.host, database.server.port, limit)
            ending.callback(proxy.close)
            return proxy

        yield start
