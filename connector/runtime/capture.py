"""The capture service, and how far it is. The service ends only when told, caught up as asked, or by an error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Event
from typing import Any, NamedTuple

from connector.broker import LeaseState
from connector.errors import Unreachable
from connector.model import Lane, PublishedPosition, SourcePosition
from connector.publish import (
    Progress,
    followed_topics,
    newest_commit,
    publish,
    recorded_position,
    request_snapshot,
    signals_lane,
    with_known,
)
from connector.registry import FramedBroker, open_broker
from connector.runtime.events import lanes_json, source_position_json
from connector.runtime.memory import give_back_large_blocks
from connector.runtime.progress import ProgressLog
from connector.runtime.schemas import subjects
from connector.settings import Settings
from connector.source.connect import open_source
from connector.source.log_group import numbers_behind
from connector.source.marks import mark_of
from connector.topics import dead_letters_topic, signals_topic
from connector.upstream.findings import Severity
from connector.upstream.preflight import require, require_in_time

log = logging.getLogger("connector.runtime.capture")


def run_capture(
    settings: Settings, stop: Event, *, until_current: bool, watch: Callable[[Progress], None] | None = None
) -> Progress:
    """Publishes the configured source, once it is known that no row can be lost there. watch: told about once a second.

    Raises PreflightRefused, and what `Publisher.run` raises.
    """
    give_back_large_blocks()
    lines = ProgressLog(log, "published")

    def on_progress(done: Progress) -> None:
        lines.note(done.records, {"lag_s": round(done.lag_s, 2), "in_flight": done.in_flight, "skipped": done.skipped})
        if watch is not None:
            watch(done)

    tables = settings.source.tables
    log.info("capture starts", extra={"source": settings.source.url, "tables": tables, "until_current": until_current})
    for finding in require_in_time(settings, stop) or ():
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
    broker = open_broker(settings)
    require(with_known(settings, recorded_position(broker, settings.topics.prefix)))
    source = open_source(settings)
    try:
        return request_snapshot(source, broker, settings)
    finally:
        source.close()


class CaptureStatus(NamedTuple):
    """recorded: None before the first run. head: None when the source could not be asked, which `problem` explains.

    caught_up: None when that is not known. behind: what is not dealt with, in bytes of binlog, entries of a
    SQLite source's log, or change numbers of a shadow log, which not all stand for entries.
    lag_s: age of the newest change that is published, while there is more to publish: no older one is missing.
    lease: who publishes, and who waits. signals: that stand and were not dealt with.
    """

    recorded: PublishedPosition | None
    head: SourcePosition | None
    problem: Unreachable | None
    caught_up: bool | None
    behind: int | None
    lag_s: float | None
    age_s: float | None
    log_ends: Mapping[Lane, int]
    lease: LeaseState
    signals: int = 0


def capture_status(settings: Settings) -> CaptureStatus:
    """Raises Unreachable when the broker does not answer; a silent source is part of the answer."""
    broker = open_broker(settings)
    recorded = recorded_position(broker, settings.topics.prefix)
    head, behind, problem = None, None, None
    source = open_source(settings)
    try:
        head = source.head()
        if recorded is not None and recorded.source.identity == head.identity:
            behind = source.behind(recorded.source)
    except Unreachable as error:
        problem = error
    finally:
        source.close()
    admin = broker.admin()
    try:
        lease = admin.lease_state(signals_topic(settings.topics.prefix))
        ends = {} if recorded is None else admin.end_offsets([*recorded.ends])
        asked = signals_lane(settings.topics.prefix)
        signals = 0
        if recorded is not None and asked.topic in admin.describe([asked.topic]):
            # Those that were deleted by age are not waited for.
            first = max(recorded.ends.get(asked, 0), admin.beginning_offsets([asked])[asked])
            signals = max(0, admin.end_offsets([asked])[asked] - first)
    finally:
        admin.close()
    if recorded is None:
        return CaptureStatus(None, head, problem, None if head is None else False, None, None, None, {}, lease)
    now = time.time()
    age = max(0.0, now - recorded.ts_us / 1e6) if recorded.ts_us else None
    done = None if head is None else caught_up(recorded.source, head)
    lag = None
    if done:
        behind, lag = 0, 0.0
    elif head is not None:
        data = {topics.data for topics in followed_topics(with_known(settings, recorded)).values()}
        newest = newest_commit(broker, {lane: end for lane, end in ends.items() if lane.topic in data})
        lag = max(0.0, now - newest / 1e6) if newest else None
    return CaptureStatus(recorded, head, problem, done, behind, lag, age, ends, lease, signals)


def caught_up(at: SourcePosition, head: SourcePosition) -> bool:
    """Whether everything up to `head` is dealt with. Pure."""
    if at.identity != head.identity or not at.snapshot_done:
        return False
    if head.of_shadow_log:  # its end is that of each dataset
        return numbers_behind(at, head) == 0
    return mark_of(at) >= mark_of(replace(head, epoch=at.epoch))


def status_json(status: CaptureStatus, settings: Settings) -> dict[str, Any]:
    """For programs. `ends`: what the position stands for; `log_ends`: what the topics hold now."""
    recorded = status.recorded
    return {
        "prefix": settings.topics.prefix,
        "leader": status.lease.holder,
        "standbys": list(status.lease.standbys),
        "position": None if recorded is None else source_position_json(recorded.source),
        "closed": None if recorded is None else recorded.closed,
        "recorded_at_us": None if recorded is None else recorded.ts_us,
        "age_s": status.age_s,
        "head": None if status.head is None else source_position_json(status.head),
        "problem": None if status.problem is None else str(status.problem),
        "caught_up": status.caught_up,
        "behind": status.behind,
        "signals": status.signals,
        "lag_s": status.lag_s,
        "ends": [] if recorded is None else lanes_json(recorded.ends),
        "log_ends": lanes_json(status.log_ends),
        "dead_letters": sum(
            o for (t, _), o in status.log_ends.items() if t == dead_letters_topic(settings.topics.prefix)
        ),
    }
