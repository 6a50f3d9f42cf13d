"""Follows the shadow log of a test's database through the real source, and holds what is yielded to the promises."""

from __future__ import annotations

import time
from typing import Any

from connector.model import (
    ZERO_ORDER,
    Change,
    CommitOrder,
    Floor,
    Key,
    PackedRows,
    PublishedPosition,
    SourcePosition,
    Transaction,
)
from connector.source import Stream
from connector.source.log_source import LogSource
from connector.wire import decode_position, encode_position
from tests.servers.model import SqlDatabase
from tests.system.plain_replica import State, applied
from tests.system.settings import settings, source_section


class LogFollower:
    """`log` is what a topic would hold; `position` what would be recorded."""

    def __init__(self, database: SqlDatabase, **overrides: Any) -> None:
        section = {"snapshot": "initial", "snapshot_chunk_rows": 7, "reader": "shadow_log", **overrides}
        self.source = LogSource(settings(source=source_section(database, **section)))
        self.position = self.source.start(epoch=1)
        self.log: list[Change] = []
        self._by_key: dict[tuple[str, Key], CommitOrder] = {}
        self._open()

    def _open(self) -> None:
        recorded = PublishedPosition(self.source.claim(self.position), {}, closed=False, ts_us=0)
        self.position = decode_position(encode_position(recorded)).source
        self.stream: Stream = self.source.stream(self.position)

    def step(self, timeout_s: float = 0.2) -> Transaction | None:
        transaction = self.stream.next(timeout_s)
        if transaction is None:
            self.position = self.stream.position()
            return None
        number = None
        for change in transaction.changes:
            assert not isinstance(change, PackedRows)
            if not isinstance(change, Floor):
                assert number in (None, change.order[:3]), "one transaction, two looks"
                number = change.order[:3]
            key = (change.source.table, change.key)
            assert change.order >= self._by_key.get(key, ZERO_ORDER), f"{key} went back to {change.order}"
            self._by_key[key] = change.order
            self.log.append(change)
        self.position = transaction.after
        return transaction

    def to_head(self, within_s: float = 60) -> None:
        """Until everything committed by now was yielded."""
        head, deadline = self.source.head(), time.monotonic() + within_s
        while not self.stream.reached(head):
            assert time.monotonic() < deadline, f"it stays at {self.stream.position()}"
            self.step()

    def again(self, after: SourcePosition | None = None) -> None:
        """As after kill -9, with that position recorded: what was yielded beyond it stands, and is read again."""
        self.stream.close()
        if after is not None:
            # The number of a stream is recorded before it yields anything.
            self.position = after
        self._open()

    def state(self) -> State:
        return applied(self.log)

    def close(self) -> None:
        self.stream.close()
        self.source.close()
