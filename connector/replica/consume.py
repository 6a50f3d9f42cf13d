"""From the topics into a file, until told to stop: every dataset that is followed, in one process.

The file alone knows where to go on; offsets given to the broker serve lag tools. The loop never applies anything after
a record that it did not understand, and never goes on against a log that is not the one it has read before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import apsw

from connector.broker import Admin, Broker, Consumer
from connector.errors import ConfigurationError, Unreachable, VecsyncError
from connector.model import Lane
from connector.replica import cycles, lanes, schema, state
from connector.replica.ahead import Ahead
from connector.replica.apply import Applied, Applier, Offset
from connector.replica.connection import file_error
from connector.replica.decode import Batch, Batches, Undecodable
from connector.replica.gc import Collected, Collector
from connector.replica.readiness import Readiness
from connector.settings import Settings

_IDLE_S = 0.1  # the longest wait for a record: how soon a request to stop is heard
_REFRESH_S = 5.0  # the topics' ends are asked for this often, once they were reached
_COMMIT_S = 5.0
_DISCOVER_S = 30.0  # a table followed by the source later has topics of its own
_NOTHING = Collected()
_MISSING_S = 5.0  # a cluster that starts may not know all its topics yet
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 15.0


@dataclass(frozen=True, slots=True)
class Progress:
    """records: read by this process; behind: records between what is applied and the ends of the topics when they
    were last asked for; collected: by the collector, in this process; problem: why the broker is waited for."""

    applied: Applied = field(default_factory=Applied)
    records: int = 0
    behind: int = 0
    ready: bool = False
    caught_up: bool = False
    collected: Collected = _NOTHING
    problem: str | None = None


class Follower:
    """Keeps one file up to date. connection: the writer's, on `file`; the caller holds the writer's lock."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        connection: apsw.Connection,
        file: Path,
        stop: Event,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._connection = connection
        self._file = file
        self._stop = stop
        self._on_progress = on_progress
        self._filter = schema.filter_text(settings.replica.datasets)
        self._shadow_tables: dict[str, str] = {}
        for topic, shadow_table in connection.execute("SELECT DISTINCT topic, shadow_table FROM replica_collection"):
            self._shadow_tables[str(topic)] = str(shadow_table)
        self._applier = Applier(
            connection, file, settings.replica.datasets, settings.replica.models, self._shadow_tables
        )
        self._collector = Collector(connection, file, self._applier)
        self._positions: dict[Lane, int] = {}
        self._ends: dict[Lane, int] = {}
        self._progress = Progress()

    def run(self, *, until_current: bool) -> Progress:
        """Until `stop` is set; with until_current also when everything is applied that the topics held at the start.

        Raises ForeignLog, CorruptedLog, UnsupportedChange, ReplicaRefused, Unreachable (only at the beginning, or with
        until_current: later a silent broker is waited for).
        """
        wait_s = _RETRY_FIRST_S
        reached = False
        while not self._stop.is_set():
            try:
                if self._session(until_current):
                    break
                reached, wait_s = True, _RETRY_FIRST_S
            except Unreachable as error:
                reached = reached or self._progress.records > 0 or self._progress.ready
                if not error.retriable or until_current or not reached:
                    raise
                self._note(problem=str(error))
                self._stop.wait(wait_s)
                wait_s = min(wait_s * 2, _RETRY_MOST_S)
        return self._progress

    # -- one connection to the broker -------------------------------------------------------------------------------
    def _session(self, until_current: bool) -> bool:
        """Returns whether the work is done; False when the topics have changed and are to be looked at again."""
        admin = self._broker.admin()
        try:
            topics = self._topics(admin, until_current)
            if topics is None:
                return True
            consumer = self._broker.consumer(self._settings.replica.group)
            try:
                return self._follow(admin, consumer, topics, until_current)
            finally:
                consumer.close()
        finally:
            admin.close()

    def _find(self, admin: Admin) -> lanes.FollowedTopics:
        prefix = self._settings.topics.prefix
        database = lanes.followed_database(self._connection, prefix, self._settings.replica.database)
        return lanes.find_topics(admin, prefix, database)

    def _topics(self, admin: Admin, until_current: bool) -> lanes.FollowedTopics | None:
        """Waits until there are topics; None when told to stop meanwhile."""
        prefix = self._settings.topics.prefix
        known = {lane.topic for lane in lanes.recorded(self._connection)}
        give_up = time.monotonic() + _MISSING_S
        while True:
            topics = self._find(admin)
            missing = known - {topic.name for topic in topics.topics}
            if (topics.data and not missing) or (missing and time.monotonic() >= give_up):
                return topics
            if missing:
                if self._stop.wait(0.5):
                    return None
                continue
            database = self._settings.replica.database
            said = f"under the prefix {prefix}" + (f" for the database {database}" if database else "")
            if until_current:
                raise ConfigurationError(
                    f"there are no topics of documents {said}",
                    hint="Check topics.prefix, replica.database and broker; `vecsync topics create` or "
                    "`vecsync capture run` makes them.",
                )
            self._note(problem=f"there are no topics of documents {said} yet")
            if self._stop.wait(1.0):
                return None

    def _begin(self, admin: Admin, topics: lanes.FollowedTopics) -> Mapping[Lane, int]:
        """Checks the log against the file; returns where each lane is read from."""
        lanes.check_filter(self._connection, self._filter)
        every = topics.lanes
        begin, self._ends = dict(admin.beginning_offsets(every)), dict(admin.end_offsets(every))
        have = lanes.recorded(self._connection)
        offsets = lanes.start_offsets(topics, have, begin, self._ends)
        lanes.record_new(self._connection, topics, offsets, self._filter)
        self._shadow_tables.update(topics.shadow_tables)
        self._positions = dict(offsets)
        state.begin(self._connection, self._ends)
        return offsets

    def _follow(self, admin: Admin, consumer: Consumer, topics: lanes.FollowedTopics, until_current: bool) -> bool:
        offsets = self._begin(admin, topics)
        have = lanes.recorded(self._connection)
        epochs = {lane: known for lane in offsets if (known := have[lane].leader_epoch) is not None}
        consumer.assign(offsets, epochs)
        goal = dict(self._ends)

        def take_ends() -> Mapping[Lane, int]:
            self._ends.update(admin.end_offsets(topics.data_lanes))
            return {lane: self._ends[lane] for lane in topics.data_lanes}

        readiness = Readiness(topics.compaction_lag_s, take_ends, time.monotonic)
        self._note(problem=None, ready=False)
        self._collector.sweep()
        pending = Batches(frozenset(topic.name for topic in topics.data), self._settings.replica.batch_records)
        clock = _Clock(self._settings.replica.gc_interval_s)
        with closing(Ahead(consumer.consume, pending, self._settings.replica.batch_records)) as ahead:
            while not self._stop.is_set():
                self._read(consumer, pending, ahead)
                self._update_ready(readiness)
                if clock.due("gc", clock.gc_s):
                    self._collect()
                if clock.due("beat", state.HEARTBEAT_S):
                    state.beat(self._connection)
                if clock.due("commit", _COMMIT_S):
                    consumer.commit(self._positions)
                if until_current and all(self._positions[lane] >= end for lane, end in goal.items()):
                    self._collect()
                    self._collector.reclaim_all()
                    consumer.commit(self._positions)
                    self._note(caught_up=True)
                    return True
                if not until_current and clock.due("discover", _DISCOVER_S):
                    now = self._find(admin)
                    if {t.name for t in now.topics} - {t.name for t in topics.topics}:
                        return False
        consumer.commit(self._positions)
        return True

    def _read(self, consumer: Consumer, pending: Batches, ahead: Ahead) -> None:
        """Applies what has come; without anything, notes how far the lanes were read past gaps."""
        with cycles.put_off():
            try:
                batch = ahead.next(_IDLE_S)
            except Undecodable as found:
                raise found.error from found
            if batch is not None:
                self._apply(batch, ahead)
                return
            for rest in pending.rest():
                self._apply(rest, None)  # what is read now would count as applied below
        past = {
            lane: Offset(offset)
            for lane, offset in consumer.positions().items()
            if offset > self._positions.get(lane, 0)
        }
        if past:
            self._applier.apply([], [], past)
            self._positions.update((lane, offset.next) for lane, offset in past.items())

    def _apply(self, batch: Batch, ahead: Ahead | None) -> None:
        meanwhile, joined = (ahead.begin, ahead.join) if ahead is not None else (_nothing, _nothing)
        try:
            applied = self._applier.apply(batch.changes, batch.tombstones, batch.offsets, meanwhile)
        finally:
            joined()
        self._positions.update((lane, offset.next) for lane, offset in batch.offsets.items())
        self._progress.applied.add(applied)
        self._note(records=self._progress.records + batch.records)

    def _update_ready(self, readiness: Readiness) -> None:
        before = self._progress.ready
        ready = readiness.update(self._positions, _REFRESH_S)
        if ready != before:
            state.set_ready(self._connection, ready)
            self._note(ready=ready)

    def _collect(self) -> None:
        collected = self._collector.round()
        if collected != _NOTHING:
            self._note(collected=self._progress.collected.plus(collected))

    def _note(self, **fields: object) -> None:
        behind = sum(max(0, end - self._positions.get(lane, 0)) for lane, end in self._ends.items())
        self._progress = replace(self._progress, behind=behind, **fields)  # type: ignore[arg-type]
        if self._on_progress is not None:
            self._on_progress(self._progress)

    def close(self, error: VecsyncError | None) -> None:
        """Says in the file that nobody writes it any more, as far as the file can still be written."""
        try:
            state.end(self._connection, None if error is None else str(error))
        except apsw.Error as failed:
            if error is None:
                raise file_error(failed, self._file) from failed


def _nothing() -> None:
    pass


class _Clock:
    """What is due again: each name's first time comes after its interval."""

    def __init__(self, gc_s: float) -> None:
        self.gc_s = gc_s
        self._last: dict[str, float] = {}

    def due(self, name: str, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._last.setdefault(name, now) < every_s:
            return False
        self._last[name] = now
        return True
