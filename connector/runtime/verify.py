"""Comparing a replica with its source while both go on, and having what differs read again.

A reader of its own follows the source, as a first capture would: it publishes nothing. Nothing is written but, where
that is asked for, a signal to the capture.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import NamedTuple

import apsw

from connector.errors import ConnectionLost, ReplicaRefused, Unreachable, UnsupportedChange
from connector.model import DatasetKey, DocKey, Document, Lane, SourcePosition
from connector.publish import followed_topics, recorded_position, with_known
from connector.registry import open_broker
from connector.replica import lanes, schema
from connector.replica.collections import follows
from connector.replica.connection import file_error, open_reader
from connector.replica.contents import Content, content, contents
from connector.runtime.capture import caught_up
from connector.runtime.snapshot import Asked, ask_again
from connector.settings import Settings
from connector.source import Source, Stream
from connector.source.connect import open_source
from connector.topics import signals_topic, table_of_topic
from connector.upstream.presence import with_present
from connector.verify import Comparison, Difference, Kind, Sides
from connector.verify.digests import dataset_digest, document_digest
from connector.verify.sides import DATASETS, Held, Place

Report = Callable[[str, int], None]
"""What is done now, and a count that goes with it."""

_LOOK_S = 0.2
_ROUNDS = 8
_SETTLE_S = 10.0
_VISIBLE_S = 120.0
_LOWEST_SERVER_ID = 1_000_000_000  # above those that people give to servers


class Verified(NamedTuple):
    """tables: that were compared; left_out: those that only one side follows. documents, datasets: that the source has
    in these tables. undecided: rows that changed in every round, and are not among the differences; more: nor is all
    that differs. at: the position of the source that was compared last. gone: datasets among the differences that the
    source does not have."""

    database: str
    tables: Sequence[str]
    left_out: Sequence[str]
    documents: int
    datasets: int
    differences: Sequence[Difference]
    undecided: int
    more: bool
    at: SourcePosition
    gone: Collection[str]


def verify(settings: Settings, stop: Event, report: Report, *, patience_s: float) -> Verified:
    """patience_s: how long there may be no progress towards the end of the source's log.

    Raises Unreachable when capture or replica do not come there, ReplicaRefused without a replica of this source,
    KeyboardInterrupt when stopped, and what reading the source raises.
    """
    settings = with_present(with_known(settings, recorded_position(open_broker(settings), settings.topics.prefix)))
    path = settings.replica.path
    database, tables, left_out, patterns = _followed(settings)

    def followed(dataset: str) -> bool:
        return follows(patterns, dataset)

    def look(place: Place) -> Held:
        """Each in a state of its own: the file may be another one by now."""
        _heed(stop)
        of_dataset = place.table == DATASETS
        with _reading(path) as db:
            key = DatasetKey(place.dataset_id) if of_dataset else DocKey(place.dataset_id, place.id)
            return _held(content(db, place.table, key))

    with ExitStack() as ending:
        sides = Sides(database, tables)
        ending.callback(sides.close)
        source = open_source(_reader_of_its_own(settings))
        ending.callback(source.close)
        stream = source.stream(replace(source.start(1), snapshot=None, snapshot_done=False))
        ending.callback(stream.close)
        run = _Run(settings, source, stream, sides, stop, report, patience_s)
        comparison = Comparison(sides)
        at, _ = run.round()
        report("comparing", sides.folded)
        comparison.first(_rows(path, tables, stop), look, followed)
        rounds = 0
        while comparison.undecided and rounds < _ROUNDS:
            rounds += 1
            seen = sides.folded
            if at.of_shadow_log:
                run.settle()
            at, end = run.round()
            report("comparing what changed meanwhile", comparison.undecided)
            comparison.again(look, seen if at.of_shadow_log else end)
        documents, datasets = sides.counts(followed)
        found = sorted(comparison.found)
        ids = {difference.place.dataset_id for difference in found}
        return Verified(
            database,
            sorted(tables),
            left_out,
            documents,
            datasets,
            found,
            comparison.undecided,
            comparison.more,
            at,
            {id for id in ids if sides.at_source(Place(DATASETS, id, ""))[0] is None},
        )


def repair(settings: Settings, verified: Verified) -> Asked | None:
    """Has rows that differ read again, by a snapshot of their datasets. None: there are none that this would help: what
    could not be published cannot be now. Raises what `ask_again` raises."""
    found = [d for d in verified.differences if d.kind is not Kind.UNPUBLISHED]
    if not found:
        return None
    source = settings.source
    if source.kind == "sqlite":
        return ask_again(settings, ())
    tables = sorted({f"{verified.database}.{d.place.table}" for d in found if d.place.table != DATASETS})
    # Only a snapshot of all datasets withdraws one that the source does not have.
    whole = verified.gone or verified.more or source.reads_log
    return ask_again(settings, () if whole else sorted({d.place.dataset_id for d in found}), tables)


class _Run:
    """Keeps the stream of the source in motion, whatever is waited for: a server does not wait for its readers."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        stream: Stream,
        sides: Sides,
        stop: Event,
        report: Report,
        patience_s: float,
    ) -> None:
        self._settings, self._source, self._stream, self._sides = settings, source, stream, sides
        self._stop, self._report, self._patience_s = stop, report, patience_s
        self._broker = open_broker(settings)

    def round(self) -> tuple[SourcePosition, int]:
        """An end of the source's log, once the stream, the capture and the replica have come to it; and how many
        changes were folded when the stream stood there, or before."""
        head, patience = self._source.head(), _Patience(_VISIBLE_S)
        while not self._stream.reached(head):
            self._report("reading the source", self._sides.folded)
            self._step()
            if not patience.left((self._sides.folded, self._stream.position())):
                raise Unreachable(
                    "the source does not show its rows as its log has them",
                    hint="One that is prepared (XA RECOVER), or waits for a replica, keeps them from being seen.",
                )
        end = self._sides.folded
        # Some streams take more than there was at that end.
        head = self._source.head()
        self._applied(self._published(head))
        return head, end

    def settle(self) -> None:
        """Where no place in the log tells that everything before it is published: time passes while a capture runs."""
        since, patience = None, _Patience(self._patience_s)
        while since is None or time.monotonic() - since < _SETTLE_S:
            if self._capture_runs():
                since = since or time.monotonic()
            elif not patience.left(since := None):
                raise Unreachable(
                    "rows differ, and no capture runs that would publish what is only late",
                    hint="Start `vecsync capture run`, and compare while it runs.",
                )
            self._report("waiting for what is only late", self._sides.folded)
            self._step()

    def _capture_runs(self) -> bool:
        admin = self._broker.admin()
        try:
            return admin.lease_state(signals_topic(self._settings.topics.prefix)).holder is not None
        finally:
            admin.close()

    def _step(self) -> None:
        _heed(self._stop)
        try:
            transaction = self._stream.next(_LOOK_S)
            if transaction is not None:
                self._sides.fold(transaction.changes)
        except (ConnectionLost, UnsupportedChange) as error:
            # Nothing is recorded, so there is nothing to go on from, nor to be mended.
            raised = ConnectionLost if isinstance(error, ConnectionLost) else UnsupportedChange
            raise raised(str(error), hint="Run `vecsync verify` again: it begins anew.") from error

    def _published(self, head: SourcePosition) -> Mapping[Lane, int]:
        """The ends of the topics where everything up to `head` is published."""
        prefix, patience = self._settings.topics.prefix, _Patience(self._patience_s)
        while True:
            recorded = recorded_position(self._broker, prefix)
            if recorded is not None and caught_up(recorded.source, head):
                return recorded.ends
            if not patience.left(recorded and recorded.ts_us):
                raise Unreachable(
                    "what the source holds is not published: no capture came to the end of its log",
                    hint="Check that `vecsync capture run` is running; see `vecsync capture status`.",
                )
            self._report("waiting for the capture", self._sides.folded)
            self._step()

    def _applied(self, ends: Mapping[Lane, int]) -> None:
        path, patience = self._settings.replica.path, _Patience(self._patience_s)
        while True:
            with _reading(path) as db:
                have = {lane: state.next_offset for lane, state in lanes.recorded(db).items()}
            missing = sum(max(0, end - have[lane]) for lane, end in ends.items() if lane in have)
            if not missing:
                return
            if not patience.left(missing):
                raise Unreachable(
                    f"{path} does not come to the end of the topics: {missing} records are missing",
                    hint="Check that `vecsync replica run` is running; see `vecsync replica status`.",
                )
            self._report("waiting for the replica", missing)
            self._step()


class _Patience:
    """Ends when nothing moved for so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: object = self
        self._since = time.monotonic()

    def left(self, seen: object) -> bool:
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since < self._seconds


def _followed(settings: Settings) -> tuple[str, Sequence[str], Sequence[str], Sequence[str]]:
    """The database that the replica follows; its tables that both sides follow, and those that one does; and the
    patterns of its datasets. Raises ReplicaRefused."""
    path, here = settings.replica.path, followed_topics(settings)
    with _reading(path) as db:
        lanes.followed_database(db, settings.topics.prefix, settings.replica.database)
        have = {lane.topic for lane in lanes.recorded(db)}
        filters = [str(row[0]) for row in db.execute("SELECT DISTINCT filter FROM partition_state")]
    databases = {name.db for name, topics in here.items() if topics.data in have}
    if len(databases) != 1:
        raise ReplicaRefused(
            f"{path} follows no table of this source",
            hint="Check topics.prefix and source.tables; a new replica is filled by `vecsync replica run`.",
        )
    (database,) = databases
    there = {table_of_topic(settings.topics.prefix, topic) for topic in have}
    theirs = {found[1] for found in there if found is not None}
    ours = {name.table for name in here if name.db == database}
    return database, sorted(ours & theirs), sorted(ours ^ theirs), schema.patterns_of(filters[0])


def _reader_of_its_own(settings: Settings) -> Settings:
    """The capture's connection would be ended by another one with its server id."""
    server_id = _LOWEST_SERVER_ID + secrets.randbelow(2**32 - _LOWEST_SERVER_ID)
    return settings.model_copy(update={"source": settings.source.model_copy(update={"server_id": server_id})})


@contextmanager
def _reading(path: Path) -> Iterator[apsw.Connection]:
    """One state of the file."""
    connection = open_reader(path)
    try:
        schema.check(connection, path)
        connection.execute("BEGIN")
        yield connection
    except apsw.Error as error:
        raise file_error(error, path) from error
    finally:
        connection.close()


def _rows(path: Path, tables: Collection[str], stop: Event) -> Iterator[Held]:
    with _reading(path) as db:
        for found in contents(db):
            _heed(stop)
            if not found.table or found.table in tables:
                yield _held(found)


def _heed(stop: Event) -> None:
    if stop.is_set():
        raise KeyboardInterrupt


def _held(found: Content) -> Held:
    key, row = found.key, found.row
    place = Place(found.table, key.dataset_id, key.id if isinstance(key, DocKey) else "")
    if isinstance(row, Document):
        digest: bytes | None = document_digest(row)
    else:
        digest = None if row is None else dataset_digest(row)
    return Held(place, found.order, digest, found.unpublished)
