"""Finds what a writer that outlived its lease left in the log, and sees to it that each key it touched is mended.

docs/guarantees.md, "A writer that outlived its lease". It shows in the tails when a publisher starts, by acknowledged
offsets with a gap while it sends, and by the ends of lanes while it is idle. `repair.py` knows what mends a key; here
is what asks the broker. Nothing is sent from here: that is the session's, in the stream's order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from connector.broker import Broker
from connector.errors import ForeignTopic
from connector.model import ZERO_ORDER, CommitOrder, FloorKey, Lane
from connector.publish.end_poll import EVERY_S, EndPoll
from connector.publish.log_state import order_of, read_between, read_to_end
from connector.publish.offsets import Foreign, OwnOffsets
from connector.publish.repair import Repairs, Standing
from connector.publish.resume import Tail
from connector.source.reread import RereadingStream
from connector.wire import decode_key

log = logging.getLogger("connector.publish.foreign")

_NO_TOMBSTONES: frozenset[str] = frozenset()


class FloorAgain(NamedTuple):
    """The newest floor of a key whose last record is an older one; the record as it stands."""

    lane: Lane
    key: bytes
    order: CommitOrder
    value: bytes


class ForeignRecords:
    """Of one session. expected: per lane, that of the positions included, the offset that our next record would have.
    tables: the table of each data topic; on other topics an old record more does no harm. others: lanes that others
    write to, and who is told how far."""

    def __init__(
        self,
        broker: Broker,
        expected: Mapping[Lane, int],
        tables: Mapping[str, str],
        positions: Lane,
        epoch: int,
        others: Mapping[Lane, Callable[[int], None]] | None = None,
    ) -> None:
        self._broker = broker
        self._own = OwnOffsets(expected)
        self._tables = tables
        self._positions = positions
        self._epoch = epoch
        self._others = others or {}
        self._poll = EndPoll(broker, EVERY_S)
        self.acknowledged = self._own.acknowledged
        self.repairs = Repairs()
        self.position_again = False  # another writer's position stands last: ours has to be recorded once more

    def tails(self, tails: Mapping[Lane, Tail]) -> None:
        for lane, tail in tails.items():
            keys = tail.suspects() if lane.topic in self._tables else ()
            if keys:
                self._refuse_newer(lane, tail.greatest)
                log.warning("old records stand last, or may", extra={"lane": str(lane), "keys": len(keys)})
                self.repairs.suspect(lane, keys, tail.greatest)

    def again(self, lane: Lane, key: bytes, order: CommitOrder, tail: Tail) -> bool:
        """Whether a change that the tail is beyond has to be sent all the same: it mends its key, or it is a floor that
        does not stand. A row that does not stand is read again later; a floor cannot be, and is right wherever it is.
        """
        if self.repairs.needs(lane, key, order):
            tail.publish_again()
            return True
        if lane.topic not in self._tables or order.ordinal == 0 or not tail.missing(order, key):
            return False
        log.warning("a record is missing in the log", extra={"lane": str(lane), "order": str(order)})
        if isinstance(decode_key(key), FloorKey):
            return True
        self.repairs.suspect(lane, [key], tail.greatest)
        return False

    def look(self, idle: Callable[[Lane], bool]) -> None:
        """Call it often. idle: whether nothing of ours is on its way to a lane."""
        answer = self._poll.answer()
        if answer is not None:
            self._own.ended(answer.asked, answer.ends, [lane for lane in answer.asked if idle(lane)])
            for lane, tell in self._others.items():
                tell(answer.ends[lane])
        elif self._poll.due():
            self._poll.ask({lane: offset for lane, offset in self._own.expected.items() if idle(lane)}, self._others)
        for found in self._own.take():
            self._found(found)

    def mend(self, stream: RereadingStream, mark: CommitOrder) -> list[FloorAgain]:
        """Has rows read again by the stream, which stands at `mark`; returns the floors to be sent again."""
        repairs = self.repairs
        for row in repairs.rows_wanted():
            stream.ask(self._tables[row.lane.topic], row.key, row.above)
        return [floor for lane, keys in repairs.floors_due(mark).items() for floor in self._floors(lane, keys)]

    def close(self) -> None:
        self._poll.close()

    def _found(self, foreign: Foreign) -> None:
        lane = foreign.lane
        log.warning(
            "another writer wrote here; it outlived its lease",
            extra={"lane": str(lane), "begin": foreign.begin, "end": foreign.end},
        )
        if lane == self._positions:
            self.position_again = True
        elif lane.topic in self._tables:
            records = [
                Standing(record.key or b"", order_of(record, _NO_TOMBSTONES))
                for record in read_between(self._broker, {lane: foreign.begin}, {lane: foreign.end})
            ]
            self._refuse_newer(lane, max((record.order for record in records), default=ZERO_ORDER))
            self.repairs.foreign(lane, records)

    def _floors(self, lane: Lane, keys: set[bytes]) -> list[FloorAgain]:
        """Every version still stands: they are kept for longer than it takes to come here."""
        admin = self._broker.admin()
        try:
            begin = admin.beginning_offsets([lane])
        finally:
            admin.close()
        newest: dict[bytes, FloorAgain] = {}
        last: dict[bytes, CommitOrder] = {}
        for record in read_to_end(self._broker, begin):
            key = record.key
            if key in keys and record.value is not None:
                order = last[key] = order_of(record, _NO_TOMBSTONES)
                if key not in newest or order >= newest[key].order:
                    newest[key] = FloorAgain(lane, key, order, record.value)
        again = []
        for key in keys:
            self.repairs.settled(lane, key)
            if key in newest and last[key] < newest[key].order:
                again.append(newest[key])
        return again

    def _refuse_newer(self, lane: Lane, greatest: CommitOrder) -> None:
        if greatest.epoch > self._epoch:
            raise ForeignTopic(
                f"{lane.topic}[{lane.partition}] holds records of epoch {greatest.epoch}, and this capture publishes "
                f"epoch {self._epoch}",
                hint="End every capture of this prefix, then run `vecsync capture snapshot` and start one again.",
            )
