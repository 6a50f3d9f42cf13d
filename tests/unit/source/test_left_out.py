"""Transactions that are left out by command, in a stream: passed by, counted once, and never looked into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from connector.errors import ConnectionLost
from connector.model import SourceIdentity, SourcePosition
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.decoder import Decoder
from connector.source.binlog_following import Following
from connector.source.binlog_stream import BinlogStream
from tests.unit.binlog.writer import Log

FILE = "b.000001"


class Events:
    """An `EventReader`; it is quiet for an instant after each event, and loses its connection after the last one."""

    def __init__(self, events: Iterable[bytes]) -> None:
        self._left: list[bytes | None] = []
        for event in events:
            self._left += (event, None)

    def read_event(self, timeout: float) -> bytes | None:
        if not self._left:
            raise ConnectionLost("the end")
        return self._left.pop(0)

    def close(self) -> None: ...


def written(log: Log, *sequences: int) -> Iterator[bytes]:
    """Of MariaDB, domain 3. The fourth cannot be followed: whoever looks into it is stopped."""
    yield log.rotate(FILE)
    yield log.format("10.11.19-MariaDB-log", created=1)
    for sequence in sequences:
        yield log.mariadb_gtid(sequence)
        yield log.query("BEGIN")
        if sequence == 4:
            yield log.query("INSERT INTO docs VALUES (1)")
        yield log.xid()


def recorded(gtid_set: str, skipped: str, *, bridge: str = "") -> SourcePosition:
    at = SourcePosition(SourceIdentity("mariadb", None), 1, gtid_set, FILE, 4, snapshot_done=True)
    return replace(at, bridge=bridge, skipped=(skipped,))


def gtids(after: SourcePosition, *sequences: int) -> list[str | None]:
    """The recorded GTIDs after each event."""
    following = Following("app", {"docs": True}, ColumnNames())
    events = Events(written(Log(), *sequences))
    stream = BinlogStream(events, Decoder(following, FILE, 4), following, after, connector="mariadb", name="vecsync")
    found: list[str | None] = []
    while True:
        try:
            assert stream.next(0) is None
        except ConnectionLost:
            return found
        found.append(stream.position().gtid_set)


def test_it_is_left_out_and_counts() -> None:
    found = gtids(recorded("3-7-3", "3-7-4"), 4, 5)
    assert set(found) == {"3-7-3", "3-7-5"}


def test_from_another_server_what_was_dealt_with_stays_so() -> None:
    found = gtids(recorded("3-7-6", "3-7-4", bridge="3-7-6"), 3, 4, 5, 6, 7)
    assert set(found) == {"3-7-6", "3-7-7"}


def test_from_another_server_where_it_was_the_last_that_was_dealt_with() -> None:
    found = gtids(recorded("3-7-4", "3-7-4", bridge="3-7-4"), 3, 4, 5)
    assert set(found) == {"3-7-4", "3-7-5"}
