"""Compaction and retention of the embedded log, as Kafka's topic settings ask for them.

    cleanup.policy          `compact`: the last record under a key stays; `delete`: records of a certain age go; or both
    min.compaction.lag.ms   a record stands for at least this long after one under its key follows it
    retention.ms            records older than this go, from the beginning of the partition on; -1: never

As with Kafka, offsets keep their places (compaction leaves gaps), records without a value count as records, and what
is compacted is looked at again once as much has been added as was left. Deleting happens in small transactions: a
producer waits for milliseconds at most, and an interruption loses nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from connector.broker.embedded_file import OFFSET_BITS, open_log, reporting, writing
from connector.errors import VecsyncError

log = logging.getLogger("connector.broker.embedded")

# What a broker takes when the topic says nothing.
DEFAULT_CONFIG = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "min.compaction.lag.ms": "0",
    "retention.ms": "604800000",
}

_DELETE_RECORDS = 500  # by one transaction
_MIN_DIRTY = 1000  # fewer new records than this are not worth a look at the whole partition


class _Lane(NamedTuple):
    id: int
    begin: int
    next: int
    cleaned: int
    kept: int


def clean(path: Path, *, now_ms: int | None = None, min_dirty: int = _MIN_DIRTY) -> int:
    """One round over every topic; returns the number of records removed. Raises what `open_log` raises."""
    connection = open_log(path)
    try:
        with reporting(path):
            return _round(connection, time.time_ns() // 1_000_000 if now_ms is None else now_ms, min_dirty)
    finally:
        connection.close()


def _round(connection: apsw.Connection, now_ms: int, min_dirty: int) -> int:
    configs: dict[int, dict[str, str]] = {}
    for topic, name, value in connection.execute(
        "SELECT topic.id, c.name, c.value FROM topic LEFT JOIN topic_config c ON c.topic = topic.id"
    ):
        config = configs.setdefault(topic, dict(DEFAULT_CONFIG))
        if name is not None:
            config[name] = value
    removed = 0
    for topic, config in configs.items():
        lanes: list[Any] = connection.execute(
            "SELECT id, begin, next, cleaned, kept FROM lane WHERE topic = ? ORDER BY id", (topic,)
        ).fetchall()
        for lane in (_Lane(*row) for row in lanes):
            removed += _clean_lane(connection, lane, config, now_ms, min_dirty)
    return removed


def _clean_lane(
    connection: apsw.Connection, lane: _Lane, config: Mapping[str, str], now_ms: int, min_dirty: int
) -> int:
    removed = 0
    policies = config["cleanup.policy"].split(",")
    retention_ms = int(config["retention.ms"])
    if "delete" in policies and retention_ms >= 0:
        removed += _expire(connection, lane, now_ms - retention_ms)
    if "compact" in policies:
        removed += _compact(connection, lane, now_ms - int(config["min.compaction.lag.ms"]), min_dirty)
    return removed


def _first_at(connection: apsw.Connection, lane: _Lane, start: int, timestamp_ms: int) -> int:
    """The first offset from start on with a record at or after that time; the end where there is none."""
    base = lane.id << OFFSET_BITS
    for (place,) in connection.execute(
        "SELECT place FROM record WHERE place >= ? AND place < ? AND timestamp_ms >= ? ORDER BY place LIMIT 1",
        (base + start, base + lane.next, timestamp_ms),
    ):
        return int(place) - base
    return lane.next


def _expire(connection: apsw.Connection, lane: _Lane, before_ms: int) -> int:
    begin = _first_at(connection, lane, lane.begin, before_ms)
    if begin <= lane.begin:
        return 0
    base = lane.id << OFFSET_BITS
    # The new beginning first: a reader is told that an offset is gone, and never finds a hole instead.
    connection.execute("UPDATE lane SET begin = max(begin, ?) WHERE id = ?", (begin, lane.id))
    removed = 0
    while True:
        connection.execute(
            "DELETE FROM record WHERE place IN (SELECT place FROM record WHERE place >= ? AND place < ? LIMIT ?)",
            (base, base + begin, _DELETE_RECORDS),
        )
        if not connection.changes():
            return removed
        removed += connection.changes()


def _compact(connection: apsw.Connection, lane: _Lane, until_ms: int, min_dirty: int) -> int:
    """Like Kafka's cleaner: only records older than the lag supersede others; work in SQL, so keys need no memory."""
    dirty = max(lane.cleaned, lane.begin)
    end = _first_at(connection, lane, dirty, until_ms)
    if end - dirty < max(min_dirty, lane.kept):
        return 0
    base = lane.id << OFFSET_BITS
    bounds = (base + dirty, base + end)
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS latest (key BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID")
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS doomed (place INTEGER PRIMARY KEY)")
    try:
        connection.execute(
            "INSERT INTO latest SELECT key, max(place) FROM record WHERE place >= ? AND place < ? AND key IS NOT NULL"
            " GROUP BY key",
            bounds,
        )
        connection.execute(
            "INSERT INTO doomed SELECT r.place FROM record r CROSS JOIN latest l ON l.key = r.key"
            " WHERE r.place >= ? AND r.place < ? AND r.place < l.place",
            (base + lane.begin, base + end),
        )
        removed = 0
        while batch := connection.execute("SELECT place FROM doomed LIMIT ?", (_DELETE_RECORDS,)).fetchall():
            with writing(connection):
                connection.executemany("DELETE FROM record WHERE place = ?", batch)
                connection.executemany("DELETE FROM doomed WHERE place = ?", batch)
            removed += len(batch)
        (kept,) = connection.execute(
            "SELECT count(*) FROM record WHERE place >= ? AND place < ?", (base + lane.begin, base + end)
        ).fetchall()[0]
        connection.execute("UPDATE lane SET cleaned = ?, kept = ? WHERE id = ?", (end, kept, lane.id))
        return removed
    finally:
        connection.execute("DELETE FROM latest")
        connection.execute("DELETE FROM doomed")


class Cleaner:
    """Runs a round now and then, beside the producer that owns it, in a thread with a connection of its own."""

    def __init__(self, path: Path, interval_s: float = 60.0) -> None:
        self._path = path
        self._interval_s = interval_s
        self._due = time.monotonic() + interval_s
        self._thread: threading.Thread | None = None
        self._connection: apsw.Connection | None = None
        self._guard = threading.Lock()
        self._stopping = False

    def now_and_then(self) -> None:
        now = time.monotonic()
        if now < self._due or (self._thread is not None and self._thread.is_alive()):
            return
        self._due = now + self._interval_s
        self._thread = threading.Thread(target=self._run, name="embedded-log-cleaning", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Breaks off a round that is under way; the next one begins it anew."""
        self._stopping = True
        while self._thread is not None and self._thread.is_alive():
            with self._guard:  # a connection that has been closed cannot be interrupted
                if self._connection is not None:
                    self._connection.interrupt()
            self._thread.join(0.01)

    def _run(self) -> None:
        try:
            connection = open_log(self._path)
            try:
                self._connection = connection
                with reporting(self._path):
                    removed = _round(connection, time.time_ns() // 1_000_000, _MIN_DIRTY)
            finally:
                with self._guard:
                    self._connection = None
                connection.close()
        except VecsyncError as error:
            if self._stopping and isinstance(error.__cause__, apsw.InterruptError):
                return
            # The log stays as it is and only takes more room; the producer itself meets a broken file soon enough.
            log.warning("the log was not cleaned", extra={"path": str(self._path), "error": str(error)})
        else:
            if removed:
                log.info("the log was cleaned", extra={"path": str(self._path), "records": removed})
