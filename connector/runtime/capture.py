"""The capture service, and how far it is. The service ends only when told, caught up as asked, or by an error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import Any, NamedTuple

from connector.errors import Unreachable
from connector.model import PublishedPosition, SourcePosition
from connector.publish import Progress, followed_topics, publish, recorded_position, request_snapshot
from connector.registry import FramedBroker, open_broker
from connector.runtime.events import lanes_json, source_position_json
from connector.runtime.progress import ProgressLog
from connector.runtime.schemas import subjects
from connector.settings import Settings
from connector.source.connect import open_source
from connector.topics import dead_letters_topic
from connector.upstream.findings import Severity
from connector.upstream.preflight import require

log = logging.getLogger("connector.runtime.capture")


def run_capture(
    settings: Settings, stop: Event, *, until_current: bool, watch: Callable[[Progress], None] | None = None
) -> Progress:
    """Publishes the configured source, once it is known that no row can be lost there. watch: told about once a second.

    Raises PreflightRefused, and what `Publisher.run` raises.
    """
    lines = ProgressLog(log, "published")

    def on_progress(done: Progress) -> None:
        lines.note(done.records, {"lag_s": round(done.lag_s, 2), "in_flight": done.in_flight, "skipped": done.skipped})
        if watch is not None:
            watch(done)

    tables = [f"{db}.{table}" for db, table in followed_topics(settings)]
    log.info("capture starts", extra={"source": settings.source.url, "tables": tables, "until_current": until_current})
    for finding in require(settings):
        if finding.severity is Severity.WARNING:
            log.warning(finding.what, extra={"finding": finding.code, "why": finding.why})
    broker = open_broker(settings)
    if isinstance(broker, FramedBroker):
        broker.require(subjects(settings))
    source = open_source(settings)
    try:
        done = publish(source, broker, settings, stop, on_progress, until_current=until_current)
    finally:
        source.close()
    log.info("capture ends", extra={"records": done.records, "transactions": done.transactions, "bytes": done.bytes})
    return done


def ask_for_snapshot(settings: Settings) -> SourcePosition:
    """Where the next run begins. Raises PreflightRefused, and what `request_snapshot` raises."""
    require(settings)
    source = open_source(settings)
    try:
        return request_snapshot(source, open_broker(settings), settings)
    finally:
        source.close()


class CaptureStatus(NamedTuple):
    """recorded: None before the first run. head: None when the source could not be asked, which `problem` explains.

    caught_up: None when that is not known. behind: bytes of binlog (entries of a trigger log) not dealt with, where
    both stand in the same file.
    """

    recorded: PublishedPosition | None
    head: SourcePosition | None
    problem: Unreachable | None
    caught_up: bool | None
    behind: int | None
    age_s: float | None
    log_ends: dict[tuple[str, int], int]


def capture_status(settings: Settings) -> CaptureStatus:
    """Raises Unreachable when the broker does not answer; a silent source is part of the answer."""
    broker = open_broker(settings)
    recorded = recorded_position(broker, settings.topics.prefix)
    head, problem = None, None
    source = open_source(settings)
    try:
        head = source.head()
    except Unreachable as error:
        problem = error
    finally:
        source.close()
    if recorded is None:
        return CaptureStatus(None, head, problem, None if head is None else False, None, None, {})
    admin = broker.admin()
    try:
        ends = admin.end_offsets([*recorded.ends])
    finally:
        admin.close()
    age = max(0.0, time.time() - recorded.ts_us / 1e6) if recorded.ts_us else None
    caught_up, behind = (None, None) if head is None else distance(recorded.source, head)
    return CaptureStatus(
        recorded, head, problem, caught_up, behind, age, {(k.topic, k.partition): v for k, v in ends.items()}
    )


def distance(at: SourcePosition, head: SourcePosition) -> tuple[bool, int | None]:
    """Whether everything up to `head` is dealt with, and how much is left where that can be counted. Pure."""
    if at.identity != head.identity:
        return False, None
    if head.file:
        if at.file == head.file:
            behind = max(0, head.position - at.position)
            return behind == 0 and at.snapshot_done, behind
        return False, None
    left = max(0, head.dataset_log_seq - at.dataset_log_seq)
    return left == 0 and at.snapshot_done, left


def status_json(status: CaptureStatus, settings: Settings) -> dict[str, Any]:
    """For programs. `ends`: what the position stands for; `log_ends`: what the topics hold now."""
    recorded = status.recorded
    return {
        "prefix": settings.topics.prefix,
        "position": None if recorded is None else source_position_json(recorded.source),
        "closed": None if recorded is None else recorded.closed,
        "recorded_at_us": None if recorded is None else recorded.ts_us,
        "age_s": status.age_s,
        "head": None if status.head is None else source_position_json(status.head),
        "problem": None if status.problem is None else str(status.problem),
        "caught_up": status.caught_up,
        "behind": status.behind,
        "ends": [] if recorded is None else lanes_json(recorded.ends),
        "log_ends": [{"topic": t, "partition": p, "offset": o} for (t, p), o in sorted(status.log_ends.items())],
        "dead_letters": sum(
            o for (t, _), o in status.log_ends.items() if t == dead_letters_topic(settings.topics.prefix)
        ),
    }
