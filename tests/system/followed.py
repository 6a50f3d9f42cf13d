"""A source that is told statements, with what it held after each of them; and a capture of one into a replica."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from connector.broker.connect import open_broker
from connector.model import DatasetChange, DocChange, Op, SourcePosition
from connector.publish import publish, recorded_position
from connector.replica import run
from connector.runtime.capture import caught_up
from connector.settings import Settings
from connector.source import Stream
from connector.source.binlog_source import BinlogSource
from tests.servers.model import SqlDatabase
from tests.system.compare import (
    Rows,
    derived_structures_agree,
    differences,
    replica_datasets,
    replica_rows,
    source_datasets,
    source_rows,
)
from tests.system.packed import unpacked
from tests.system.settings import settings, source_section


class Moment(NamedTuple):
    """What the source held when its log ended at `head`."""

    head: SourcePosition
    rows: Rows


class Told:
    """A source, and what it held after each statement that it was told since."""

    def __init__(self, database: SqlDatabase, **overrides: Any) -> None:
        self.database = database
        self.source = BinlogSource(settings(source=source_section(database, **overrides)))
        self.begin = self.source.start(epoch=1)
        self.held: Rows = self.now()
        self.moments: list[Moment] = []

    def now(self) -> Rows:
        return source_rows(self.database.server, self.database.name)

    def run(self, *statements: str, looked_at: bool = True) -> None:
        for statement in statements:
            self.database.execute(statement)
            if looked_at:
                self.moments.append(Moment(self.source.head(), self.now()))

    def follow(self, stream: Stream) -> None:
        """Raises what the stream raises; until then every moment is found as it was."""
        held = dict(self.held)
        try:
            for head, rows in self.moments:
                deadline = time.monotonic() + 60
                while not stream.reached(head):
                    assert time.monotonic() < deadline
                    transaction = stream.next(0.2)
                    for change in () if transaction is None else unpacked(transaction.changes):
                        fold(change, held)
                assert differences(rows, held) == []
        finally:
            stream.close()


def fold(change: Any, rows: Rows) -> None:
    if isinstance(change, DatasetChange):
        return
    if not isinstance(change, DocChange):
        gone = change.key.dataset_id
        for key in [key for key in rows if gone in (None, key[0])]:
            del rows[key]
    elif change.op is Op.DELETE:
        del rows[change.key.dataset_id, change.key.id]
    else:
        row = change.after
        assert row is not None
        rows[change.key.dataset_id, change.key.id] = (
            *(row.content, row.meta, row.embedding, row.embedding_model, row.scn, int(row.archived)),
            *(row.created_at, row.updated_at),
        )


class Followed:
    """A source, an embedded log, a replica. overrides: of the section `source`."""

    def __init__(self, database: SqlDatabase, directory: Path, **overrides: Any) -> None:
        self.database = database
        self.overrides = {"snapshot": "initial", "snapshot_chunk_rows": 3, **overrides}
        self.replica = directory / "replica.db"
        self.directory = directory
        self.broker = open_broker(self.settings())

    def settings(self, **overrides: Any) -> Settings:
        return settings(
            source=source_section(self.database, **{**self.overrides, **overrides}),
            broker={"kind": "embedded", "path": str(self.directory / "log.db")},
            topics={"partitions": 3},
            replica={"path": str(self.replica)},
        )

    def capture(self, stop: Event | None = None, *, until_current: bool = True, **overrides: Any) -> None:
        chosen = self.settings(**overrides)
        source = BinlogSource(chosen)
        try:
            publish(source, self.broker, chosen, stop or Event(), until_current=until_current)
        finally:
            source.close()

    def is_current(self) -> bool:
        """Whether a position is recorded that has all that the log holds now, and no snapshot to go on with."""
        source = BinlogSource(self.settings())
        try:
            head = source.head()
        finally:
            source.close()
        recorded = recorded_position(self.broker, "vecsync")
        return recorded is not None and caught_up(recorded.source, head)

    def epoch(self) -> int:
        recorded = recorded_position(self.broker, "vecsync")
        assert recorded is not None
        return recorded.source.epoch

    def check(self) -> None:
        run(self.settings(), self.broker, Event(), until_current=True)
        server, name = self.database.server, self.database.name
        assert differences(source_rows(server, name), replica_rows(self.replica)) == []
        assert replica_datasets(self.replica) == source_datasets(server, name)
        derived_structures_agree(self.replica)
