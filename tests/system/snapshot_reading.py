"""Takes a snapshot of a test's database through the real source, and holds what is yielded to the promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from connector.model import (
    ZERO_ORDER,
    Change,
    CommitOrder,
    Dataset,
    DatasetKey,
    DocKey,
    Document,
    Floor,
    FloorReason,
    Key,
    SourcePosition,
    Transaction,
)
from connector.source import Stream
from connector.source.binlog_source import BinlogSource
from tests.servers.model import SqlDatabase
from tests.system.packed import unpacked
from tests.system.plain_replica import State
from tests.system.settings import settings, source_section


class Snapshot:
    """A source begun with a snapshot; `log` is what a topic would hold."""

    def __init__(self, database: SqlDatabase, **overrides: Any) -> None:
        section = source_section(database, **{"snapshot": "initial", "snapshot_chunk_rows": 3, **overrides})
        self.source = BinlogSource(settings(source=section))
        self.begin = self.source.start(epoch=1)
        self.stream: Stream = self.source.stream(self.begin)
        self.log: list[Change] = []
        self.after: list[SourcePosition] = []
        self._last = ZERO_ORDER
        self._by_key: dict[tuple[str, Key], CommitOrder] = {}

    def step(self, timeout_s: float = 0.2) -> Transaction | None:
        """One transaction, its changes taken, held to both promises of order: ascending, and ascending per key."""
        transaction = self.stream.next(timeout_s)
        if transaction is None:
            return None
        transaction.changes = changes = list(unpacked(transaction.changes))
        for change in changes:
            if not (isinstance(change, Floor) and change.reason is FloorReason.SNAPSHOT):
                assert change.order >= self._last, f"{change.order} after {self._last}"
                self._last = change.order
            key = (change.source.table, change.key)
            assert change.order >= self._by_key.get(key, ZERO_ORDER), f"{key} at {change.order}"
            self._by_key[key] = change.order
            self.log.append(change)
        self.after.append(transaction.after)
        return transaction

    def one(self) -> Transaction:
        """The next one."""
        return next(self.until(lambda: False))

    def until(self, enough: Callable[[], bool], within_s: float = 120) -> Iterator[Transaction]:
        deadline = time.monotonic() + within_s
        while not enough():
            assert time.monotonic() < deadline, f"it stays at {self.stream.position()}"
            transaction = self.step()
            if transaction is not None:
                yield transaction

    def to_head(self) -> Sequence[Transaction]:
        """Until the snapshot has ended and everything committed by now was yielded."""
        head = self.source.head()
        return list(self.until(lambda: self.stream.reached(head)))

    def again(self, after: SourcePosition) -> None:
        """As after a restart at that position; what was yielded beyond it is forgotten."""
        self.stream.close()
        self.stream = self.source.stream(after)
        self._last = ZERO_ORDER

    def close(self) -> None:
        self.stream.close()
        self.source.close()


def source_state(database: SqlDatabase, table: str = "shadow_vec_docs") -> State:
    """The committed state, by plain SELECTs of all rows."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(
            "SELECT dataset_id, id, content, meta, embedding, embedding_model, scn, archived,"
            f" CAST(created_at AS CHAR), CAST(updated_at AS CHAR) FROM `{table}`"
        )
        state: State = {
            DocKey(r[0], r[1]): Document(r[2], r[3], r[4], r[5], r[6], bool(r[7]), r[8], r[9]) for r in cursor
        }
        cursor.execute("SELECT dataset_id, description, source_uri, last_scn FROM vec_dataset")
        return state | {DatasetKey(r[0]): Dataset(*r[1:]) for r in cursor}
