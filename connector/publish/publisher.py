"""The publisher: takes transactions from a source, sends their records, records how far it got.

One session is: wait for the lease, and longer if the last publisher did not end in order; read the recorded position
and what stands beyond it; then stream, skipping what stands, and mend what a writer left that outlived its lease.
Whatever goes wrong ends the session, and the next one begins the same way, so there is one way to resume. It must never
record a position past a record that is not acknowledged, never send after a failed delivery or without the lease, and
never go on past something not understood. The rules are in docs/guarantees.md.

One module, though a long one: a session and what begins and ends it share the state that these rules are about.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from typing import NamedTuple

from connector.broker import Broker, Producer
from connector.errors import DeliveryFailed, LeaseLost, NotYet, TableAppeared, UnpublishableRow, VecsyncError
from connector.model import DocChange, Lane, PackedRows, PublishedPosition, SourcePosition, Transaction
from connector.publish.dead_letters import dead_letter_headers, marker
from connector.publish.foreign import ForeignRecords
from connector.publish.lease import Leadership
from connector.publish.opening import LogState, open_state
from connector.publish.routing import Outgoing, OutgoingRow, value_of
from connector.publish.setup import create_topics, followed_topics
from connector.publish.signals import Asked, Signals, may_begin
from connector.publish.window import Window
from connector.settings import Settings
from connector.source import Source, Stream
from connector.source.marks import mark_of
from connector.source.reread import RereadingStream
from connector.topics import positions_topic
from connector.upstream.tables import called, home_of
from connector.wire import DocEncoder, TransactionInfo, encode_position, position_key

log = logging.getLogger("connector.publish")

_POLL_S = 0.1  # how long a quiet source is listened to before acknowledgements are looked after again
_AT_HAND_S = 0.0005  # the same while records are on their way; what does not come within it is not at hand
_LOOK_S = 0.05  # between two looks for records of other writers
_SENDS_PER_POLL = 500
_FLUSH_S = 120.0
_FIRST_BACKOFF_S = 0.2
_HELD_S = 1.0  # between two looks at a table that another session holds


@dataclass(frozen=True, slots=True)
class Progress:
    """Of this process since it began. lag_s: age of the last transaction at the source when it was handled."""

    transactions: int
    records: int
    bytes: int
    skipped: int
    in_flight: int
    lag_s: float
    position: SourcePosition


class Publisher:
    """Publishes one source until told to stop. `on_progress` is called about once a second, and at the end."""

    def __init__(
        self,
        source: Source,
        broker: Broker,
        settings: Settings,
        stop: Event,
        on_progress: Callable[[Progress], None] | None = None,
        leadership: Leadership | None = None,
    ) -> None:
        """leadership: kept at the end; without it, one of its own is given up."""
        self._source = source
        self._broker = broker
        self._settings = settings
        self._stop = stop
        self._on_progress = on_progress
        self._leadership = leadership or Leadership(broker, settings.topics.prefix, stop)
        self._gives_up = leadership is None
        self._transactions = self._records = self._bytes = self._skipped = 0
        self._lag_s = 0.0

    @property
    def transactions(self) -> int:
        """Published so far."""
        return self._transactions

    def so_far(self, at: SourcePosition | None = None) -> Progress:
        """While nothing is on its way."""
        at = at or self._source.head()
        return Progress(self._transactions, self._records, self._bytes, self._skipped, 0, self._lag_s, at)

    def run(self, until_current: bool = False) -> Progress:
        """Until stopped, or with until_current until everything up to the source's present head is acknowledged. While
        another publisher has the lease this one waits.

        Retriable errors are tried again for `source.reconnect_max_s` without progress, then raised; a table that
        another session holds is waited for without end. Raises LeaseTaken when another publisher took over meanwhile.
        """
        admin = self._broker.admin()
        try:
            for name in create_topics(admin, self._settings):
                log.info("topic created", extra={"topic": name})
        finally:
            admin.close()
        head = self._source.head() if until_current else None
        try:
            return self._sessions(head)
        finally:
            if self._gives_up:
                self._leadership.close()

    def _sessions(self, head: SourcePosition | None) -> Progress:
        backoff, failing_since, done_before = _FIRST_BACKOFF_S, 0.0, 0
        told_after = -1
        while True:
            try:
                done = self._session(head)
                if done is not None:
                    return done
            except NotYet as error:
                if told_after != self._transactions:
                    told_after = self._transactions
                    log.warning("waits for the source", extra={"why": str(error)})
                failing_since = 0.0
                if self._stop.wait(_HELD_S):
                    return self.so_far()
            except VecsyncError as error:
                if not error.retriable or self._stop.is_set():
                    raise
                now = time.monotonic()
                if self._transactions != done_before or not failing_since:
                    backoff, failing_since, done_before = _FIRST_BACKOFF_S, now, self._transactions
                if now - failing_since > self._settings.source.reconnect_max_s:
                    raise
                log.warning("session ended, will resume", extra={"error": str(error), "wait_s": round(backoff, 1)})
                if self._stop.wait(backoff):
                    raise
                backoff = min(backoff * 2, 15.0)

    def _session(self, head: SourcePosition | None) -> Progress | None:
        """None: it ended to begin a snapshot that was asked for, which is another session's."""
        if not self._leadership.acquire():
            return self.so_far(head)
        state = open_state(self._source, self._broker, self._settings, self._stop)
        if self._stop.is_set():
            # The wait may have been cut short: a position of ours, a closed one above all, would tell the next one
            # that it need not wait for what the dead publisher sent.
            return self.so_far(state.position.source)
        session = _Session(self, state, self._broker)
        stream: Stream | None = None
        try:
            session.claim()
            stream = self._source.stream(state.position.source)
            if state.unread:
                self._prove(stream)
                raise TableAppeared([*state.unread], "not followed at the recorded position", unread=True)
            if state.crossing is not None:
                stream = state.crossing.watch(stream)
            stream = rereading = RereadingStream(stream, self._source.rows)
            asked = session.pump(rereading, head)
            session.finish()
            if asked is not None:
                session.begin_snapshot(asked)
                return None
        except (DeliveryFailed, LeaseLost):
            raise
        except VecsyncError:
            # The log is fine: let what was sent be acknowledged, so that the next session need not wait.
            session.finish()
            raise
        finally:
            session.close()
            if stream is not None:
                stream.close()
        return session.progress()

    def _prove(self, stream: Stream) -> None:
        """Reads until it is known that this is the log of the recorded position: of another one nothing may be read,
        and no snapshot begun that was not asked for. What is yielded meanwhile is left to the next session."""
        while not stream.proven() and not self._stop.is_set():
            self._leadership.check()
            stream.next(_POLL_S)


class _Handled(NamedTuple):
    """What the records of a transaction say of it. ts_us: when it was handled."""

    transaction_id: str
    ts_us: int


class _Session:
    """One producer's life."""

    def __init__(self, owner: Publisher, state: LogState, broker: Broker) -> None:
        self._owner = owner
        self._leadership = owner._leadership
        settings = owner._settings
        self._prefix = settings.topics.prefix
        self._tolerate = settings.publish.errors_tolerance == "all"
        self._limit = settings.publish.in_flight_bytes
        self._interval_s = settings.publish.position_interval_s
        self._positions = Lane(positions_topic(self._prefix), 0)
        self._router = state.router
        self._encoder = DocEncoder()
        self._tails = {lane: tail for lane, tail in state.tails.items() if len(tail)}
        self._dead_letters = state.dead_letters
        self._window = Window(state.position.source, dict(state.position.ends))
        home = home_of(settings.source)
        tables = {topics.data: called(name, home) for name, topics in followed_topics(settings).items()}
        self._signals = signals = Signals(broker, owner._source, settings, state.position.ends, state.ends)
        epoch, others = state.position.source.epoch, {signals.lane: signals.ends}
        own = {lane: end for lane, end in state.ends.items() if lane != signals.lane}
        self._foreign = ForeignRecords(broker, own, tables, self._positions, epoch, others)
        # A lane that the position does not name is of a table that was not followed: what stands there is nobody's.
        self._foreign.tails({lane: tail for lane, tail in state.tails.items() if lane in state.position.ends})
        self._repairs = self._foreign.repairs
        self._kept = state.position  # the last that was recorded
        self._recorded: SourcePosition | None = None
        self._recording = 0  # positions sent and not yet acknowledged
        self._recorded_at = self._looked_at = 0.0
        self._reported_at = time.monotonic()
        self._producer: Producer = broker.producer(self._acknowledged)

    def claim(self) -> None:
        """Before the first record: the epoch and the open state must be known to whoever comes next."""
        self._record(closed=False)
        self._producer.flush(_FLUSH_S)

    def pump(self, stream: RereadingStream, head: SourcePosition | None) -> Asked | None:
        """Until stopped, or come to the head, or asked for a snapshot."""
        owner, window, producer, stop = self._owner, self._window, self._producer, self._owner._stop
        while not stop.is_set():
            transaction = stream.next(_AT_HAND_S if window.records else _POLL_S)
            if transaction is None and window.records:
                producer.hurry()
            self._leadership.check()
            if transaction is not None:
                if not self._publish(transaction):
                    return None
                owner._transactions += 1
            else:
                window.passed(stream.position())
            producer.poll(0)
            if self._repairs.pending:
                self._mend(stream)
            asked = None
            if self._signals.waiting:
                self._let_go()
                if not self._repairs.holding and may_begin(stream.position(), self._tails.values()):
                    asked = self._signals.next()
            if asked is not None or (head is not None and stream.reached(head) and not self._repairs.pending):
                return asked
            self._every_now_and_then()
        return None

    def begin_snapshot(self, asked: Asked) -> None:
        """After `finish`. One record says both that it begins and that the signal was dealt with."""
        self._leadership.check()
        self._write(self._signals.begun(self._kept, asked), closed=True)
        self._producer.flush(_FLUSH_S)

    def _mend(self, stream: RereadingStream) -> None:
        """Between two transactions."""
        for floor in self._foreign.mend(stream, mark_of(stream.position())):
            self._leadership.check()  # looking for a floor takes a while
            self._window.begin()
            self._producer.send(floor.lane, floor.key, floor.value)
            self._window.sent(floor.lane, len(floor.value) + len(floor.key))
            self._window.complete(stream.position())

    def finish(self) -> None:
        """Waits for everything sent, then records that nothing can still be on its way."""
        self._leadership.check()
        self._producer.flush(_FLUSH_S)
        self._let_go()
        self._record(closed=True)
        self._producer.flush(_FLUSH_S)

    def close(self) -> None:
        self._producer.close()
        self._foreign.close()
        if self._owner._on_progress is not None:
            self._owner._on_progress(self.progress())

    def progress(self) -> Progress:
        o = self._owner
        return Progress(
            o._transactions, o._records, o._bytes, o._skipped, self._window.records, o._lag_s, self._window.prefix
        )

    def _publish(self, transaction: Transaction) -> bool:
        """False: stopped in the middle; the position then stays before this transaction."""
        window, router, stop = self._window, self._router, self._owner._stop
        window.begin()
        # The last record of each lane waits to learn that it is the last.
        held: dict[Lane, tuple[Outgoing | OutgoingRow, int]] = {}
        now_us = time.time_ns() // 1000
        of = _Handled(transaction.id, now_us)
        total = looked_after = 0
        for change in transaction.changes:
            if isinstance(change, PackedRows):
                envelope = self._encoder.envelope(change, transaction.id, now_us)
                for row in router.route_rows(change, envelope):
                    total += 1
                    lane = row[0]
                    earlier = held.get(lane)
                    held[lane] = (row, total)
                    if earlier is not None:
                        self._send(earlier[0], earlier[1], False, of)
            else:
                total += 1
                for outgoing in router.route(change):
                    earlier = held.get(outgoing.lane)
                    held[outgoing.lane] = (outgoing, total)
                    if earlier is not None:
                        self._send(earlier[0], earlier[1], False, of)
            if total - looked_after >= _SENDS_PER_POLL:
                looked_after = total
                self._every_now_and_then()
                if stop.is_set():
                    return False
            self._owner._lag_s = max(0.0, (now_us - change.source.ts_us) / 1e6) if change.source.ts_us else 0.0
        for last, number in held.values():
            self._send(last, number, True, of)
        window.complete(transaction.after)
        return True

    def _send(self, outgoing: Outgoing | OutgoingRow, number: int, last: bool, of: _Handled) -> None:
        """number: of the change in its transaction. last: of the transaction in this lane."""
        lane, key = outgoing[:2]
        window, owner = self._window, self._owner
        tail = self._tails.get(lane) if self._tails else None
        if tail is not None:
            end = tail.stands(outgoing.order, key)
            if end is not None and not self._foreign.again(lane, key, outgoing.order, tail):
                window.standing(lane, end)
                owner._skipped += 1
                return
        if isinstance(outgoing, OutgoingRow):
            _, _, row, ordinal, envelope = outgoing
            value = envelope.value(row, ordinal, number, last)
        else:
            value = value_of(outgoing, self._encoder, TransactionInfo(of.transaction_id, number, last), of.ts_us)
        self._make_room(len(value) + len(key))
        try:
            self._producer.send(lane, key, value)
        except UnpublishableRow as error:
            value = self._set_aside(outgoing, TransactionInfo(of.transaction_id, number, last), of.ts_us, error)
        if self._repairs.pending:
            self._repairs.sent(lane, key, outgoing.order)
        size = len(value) + len(key)
        window.sent(lane, size)
        owner._records += 1
        owner._bytes += size

    def _make_room(self, size: int) -> None:
        """Waits until a record of that size may be on its way too; alone one of any size may."""
        window = self._window
        while window.bytes and window.bytes + size > self._limit:
            self._producer.poll(0.05)
            self._every_now_and_then()

    def _set_aside(
        self, outgoing: Outgoing | OutgoingRow, info: TransactionInfo, now_us: int, error: UnpublishableRow
    ) -> bytes:
        """To the dead letters, and a marker under the row's key, so that replicas hide the old version. Refused unless
        configured: the error then names the row."""
        change = outgoing.change
        if not isinstance(change, DocChange):
            raise error
        key, at = change.key, change.source
        if not self._tolerate:
            where = f"{at.file}:{at.pos}" if at.file else f"scn {change.scn}"
            raise UnpublishableRow(
                f"document {key.id!r} of dataset {key.dataset_id!r} at {where}: {error}", hint=error.hint
            ) from error
        value = self._encoder(marker(change, str(error)), info, now_us)
        self._send_dead_letter(outgoing, value, error)
        self._producer.send(outgoing.lane, outgoing.key, value)
        log.warning("row set aside", extra={"dataset": key.dataset_id, "id": key.id, "error": str(error)})
        return value

    def _send_dead_letter(self, outgoing: Outgoing | OutgoingRow, value: bytes, error: UnpublishableRow) -> None:
        lane = self._dead_letters
        tail = self._tails.get(lane)
        if tail is not None and (end := tail.stands(outgoing.order, outgoing.key)) is not None:
            self._window.standing(lane, end)
            return
        headers = dead_letter_headers(outgoing.lane, self._prefix, error)
        self._producer.send(lane, outgoing.key, value, headers)
        self._window.sent(lane, len(value) + len(outgoing.key))

    def _acknowledged(self, lane: Lane, offset: int) -> None:
        self._foreign.acknowledged(lane, offset)
        if lane == self._positions:
            self._recording -= 1
        else:
            self._window.acknowledged(lane, offset)

    def _every_now_and_then(self) -> None:
        self._leadership.check()
        self._producer.poll(0)
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S:
            self._foreign.look(self._idle)
            self._looked_at = now
        if now - self._recorded_at >= self._interval_s and not self._recording:
            self._let_go()
            moved = self._window.prefix != self._recorded or self._signals.moved(self._kept.ends)
            if (moved and not self._repairs.holding) or self._foreign.position_again:
                self._foreign.position_again = False
                self._record(closed=False)
            self._recorded_at = now
        if now - self._reported_at >= 1.0:
            self._reported_at = now
            if self._owner._on_progress is not None:
                self._owner._on_progress(self.progress())

    def _let_go(self) -> None:
        """Of the position, once everything is mended."""
        if self._repairs.holding and not self._repairs.pending:
            self._producer.flush(_FLUSH_S)
            self._repairs.acknowledged()
            log.info("mended")

    def _record(self, *, closed: bool) -> None:
        """Where the log stands; while something is to be mended, where it stood before."""
        self._foreign.look(self._idle)
        self._leadership.check()
        if not self._repairs.holding:
            ends = {**self._window.ends, **self._signals.dealt_with}
            self._kept = PublishedPosition(self._window.prefix, ends, closed, 0)
        self._write(self._kept, closed=closed)

    def _write(self, kept: PublishedPosition, *, closed: bool) -> None:
        position = replace(kept, closed=closed, ts_us=time.time_ns() // 1000)
        self._producer.send(self._positions, position_key(self._prefix), encode_position(position))
        self._recording += 1
        self._recorded = position.source

    def _idle(self, lane: Lane) -> bool:
        """Nothing of ours is on its way to the lane."""
        return not self._recording if lane == self._positions else self._window.lane_idle(lane)
