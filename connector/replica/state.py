"""The one row in which a replica says how it is: ready or not, alive or not. Written by its writer, read by anybody."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from connector.model import Lane
from connector.replica.apply import timestamp

HEARTBEAT_S = 2.0
ALIVE_S = 10.0
"""A writer whose heartbeat is older does not run, or hangs."""


@dataclass(frozen=True, slots=True)
class State:
    """ready_at: since when; heartbeat_age_s: None without a writer; ends: of the topics when the writer began;
    collected, freed_bytes: since the file was made; error: why the last writer stopped, if it was not told to."""

    ready: bool
    ready_at: str | None
    heartbeat_age_s: float | None
    writer: int | None
    ends: Mapping[Lane, int]
    collected: int
    freed_bytes: int
    error: str | None

    @property
    def alive(self) -> bool:
        return self.writer is not None and self.heartbeat_age_s is not None and self.heartbeat_age_s < ALIVE_S


def read(connection: apsw.Connection) -> State:
    row: Any = connection.execute(
        "SELECT ready, ready_at, heartbeat_at_ms, writer, ends, collected, freed_bytes, error FROM replica_state"
    ).fetchone()
    ready, ready_at, beat, writer, ends, collected, freed_bytes, error = row
    return State(
        bool(ready),
        ready_at,
        None if beat is None else max(0.0, time.time() - beat / 1000),
        writer,
        {Lane(topic, partition): offset for topic, partition, offset in json.loads(ends)},
        collected,
        freed_bytes,
        error,
    )


def begin(connection: apsw.Connection, ends: Mapping[Lane, int]) -> None:
    """A writer begins: it is not ready before the ends that it saw."""
    connection.execute(
        "UPDATE replica_state SET ready = 0, ready_at = NULL, error = NULL, writer = ?, heartbeat_at_ms = ?, ends = ?",
        (os.getpid(), _now_ms(), json.dumps([[*lane, end] for lane, end in sorted(ends.items())])),
    )


def set_ready(connection: apsw.Connection, ready: bool) -> None:
    connection.execute(
        "UPDATE replica_state SET ready = ?, ready_at = ?, heartbeat_at_ms = ?",
        (int(ready), timestamp() if ready else None, _now_ms()),
    )


def beat(connection: apsw.Connection) -> None:
    connection.execute("UPDATE replica_state SET heartbeat_at_ms = ?", (_now_ms(),))


def collected(connection: apsw.Connection, count: int, freed_bytes: int) -> None:
    """In the collector's transaction."""
    connection.execute(
        "UPDATE replica_state SET collected = collected + ?, freed_bytes = freed_bytes + ?", (count, freed_bytes)
    )


def end(connection: apsw.Connection, error: str | None) -> None:
    """The writer ends. What was ready stays so: the file is a state that the source once had."""
    connection.execute("UPDATE replica_state SET writer = NULL, heartbeat_at_ms = NULL, error = ?", (error,))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
