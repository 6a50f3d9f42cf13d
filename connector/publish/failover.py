"""Going on with another server of the source: what stands in the log is compared by GTID, not by order.

Orders name places in one server's log; the same transaction stands elsewhere in another's. So in a new epoch a re-read
change is known by its GTID and its number in the transaction (docs/guarantees.md, "Another server"). That stays so
until nothing of an earlier epoch stands beyond the recorded position, also after a crash. Whether the other server has
all that was published is the source's to judge; nothing here may publish before it has.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from connector.broker import Broker
from connector.errors import ForeignLog
from connector.model import (
    ZERO_ORDER,
    CommitOrder,
    Lane,
    PublishedPosition,
    SourceIdentity,
    SourcePosition,
    Transaction,
)
from connector.publish.log_state import order_of, present_ends, read_to_end
from connector.publish.resume import Tail
from connector.source import Source, Stream
from connector.source.binlog.gtid import GtidSet, MariadbGtidList
from connector.source.marks import mark_of
from connector.wire import decode_value

log = logging.getLogger("connector.publish.failover")

Place = tuple[int, int, int]  # of a transaction: the order of its changes without their ordinals


class Standing(NamedTuple):
    """A record of an earlier epoch beyond the recorded position."""

    lane: Lane
    key: bytes
    order: CommitOrder
    offset: int


class Crossing:
    """Knows which transaction the stream is at."""

    def __init__(self, connector: str) -> None:
        self.transaction = ""
        self._kind = gtids_of(connector)
        self._after = ""

    def enter(self, transaction: Transaction) -> None:
        self.transaction, self._after = transaction.id, transaction.after.gtid_set or ""

    def left_behind(self, gtid: str) -> bool:
        """Whether the stream is past that transaction."""
        return gtid != self.transaction and self._kind.parse(self._after).has(gtid)

    def watch(self, stream: Stream) -> Stream:
        return _Watched(stream, self)


class _Watched:
    """Fulfils `Stream`."""

    def __init__(self, inner: Stream, crossing: Crossing) -> None:
        self._inner = inner
        self._crossing = crossing

    def next(self, timeout_s: float) -> Transaction | None:
        transaction = self._inner.next(timeout_s)
        if transaction is not None:
            self._crossing.enter(transaction)
        return transaction

    def position(self) -> SourcePosition:
        return self._inner.position()

    def reached(self, head: SourcePosition) -> bool:
        return self._inner.reached(head)

    def proven(self) -> bool:
        return self._inner.proven()

    def close(self) -> None:
        self._inner.close()


class TailAcross(Tail):
    """A tail that begins in earlier epochs, with what stands there of each key until the stream has come to it."""

    __slots__ = ("_crossing", "_waiting")

    def __init__(self, crossing: Crossing, mark: CommitOrder = ZERO_ORDER) -> None:
        super().__init__(mark)
        self._crossing = crossing
        self._waiting: dict[bytes, dict[tuple[str, int], int]] = {}

    @property
    def begun(self) -> bool:
        """Whether anything of the present epoch stands."""
        return self.earliest_epoch is not None

    def add_elsewhere(self, gtid: str, ordinal: int, key: bytes, offset: int) -> None:
        self._waiting.setdefault(key, {})[gtid, ordinal] = offset

    def __len__(self) -> int:
        return super().__len__() + sum(map(len, self._waiting.values()))

    def stands(self, order: CommitOrder, key: bytes) -> int | None:
        end = super().stands(order, key)
        waiting = self._waiting.get(key)
        if waiting is None or order.ordinal == 0:
            return end
        offset = waiting.pop((self._crossing.transaction, order.ordinal), None)
        if offset is None:
            # What did not come again where it had to would keep all later changes of its key out.
            for name in [name for name in waiting if self._crossing.left_behind(name[0])]:
                del waiting[name]
            offset = -1 if waiting else None
        if not waiting:
            del self._waiting[key]
        if offset is None:
            return end
        self.saw(order, key)  # under another name; nothing is missing
        # Of one key what comes before a record that stands (-1) was superseded by it, and is gone by compaction.
        return max(end or 0, offset + 1)

    def passed(self, mark: CommitOrder) -> bool:
        behind = self._crossing.left_behind
        return super().passed(mark) and all(behind(gtid) for waiting in self._waiting.values() for gtid, _ in waiting)

    def publish_again(self) -> None:
        """A change that is sent though it stands, to mend its key, sorts above all of the earlier epochs: what follows
        has to, as well. (A row that is read again follows all that stands under names.)"""
        self._waiting.clear()


def gtids_of(connector: str) -> type[GtidSet] | type[MariadbGtidList]:
    return MariadbGtidList if connector == "mariadb" else GtidSet


def crosses(found: SourceIdentity, recorded: SourcePosition, tails: Mapping[Lane, Tail]) -> bool:
    """Whether orders cannot be compared with what stands: the server is another, or was when that was published."""
    return found != recorded.identity or any(
        tail.earliest_epoch is not None and tail.earliest_epoch < recorded.epoch for tail in tails.values()
    )


def cross(
    source: Source,
    broker: Broker,
    recorded: PublishedPosition,
    ends: Mapping[Lane, int],
    tombstones: frozenset[str],
) -> tuple[PublishedPosition, Mapping[Lane, Tail], Crossing]:
    """Where publishing goes on, and what stands. Raises ForeignLog and PositionLost, as `Source.adopt` does.

    A snapshot that was not done begins again, at the end of the new log. What stands goes with the floor that ends it,
    so nothing of that may be skipped, and the source has all of it: its rows are read.
    """
    at = recorded.source
    found = source.identity()
    epoch = at.epoch + (found != at.identity)
    crossing = Crossing(at.identity.connector)
    mark = mark_of(at)
    tails = {lane: TailAcross(crossing, mark) for lane in ends}
    earlier: list[Standing] = []
    gtids: dict[Place, str] = {}
    for record in read_to_end(broker, ends):
        lane, order, key = Lane(record.topic, record.partition), order_of(record, tombstones), record.key or b""
        if order.epoch == epoch:
            tails[lane].add(order, key, record.offset)
            continue
        tails[lane].saw(order, key)
        if tails[lane].begun:
            # Of a writer that outlived its lease: in this lane the later epoch had begun.
            tails[lane].suspect(key)
            continue
        earlier.append(Standing(lane, key, order, record.offset))
        if record.topic not in tombstones and record.value is not None and order.ordinal:
            gtid = decode_value(record.value).change.source.gtid
            if gtid is not None:
                gtids[_place(order)] = gtid
            elif found != at.identity:
                raise ForeignLog(
                    f"the source is another server now, and what stands at offset {record.offset} of {record.topic}"
                    f"[{record.partition}] has no GTID to know it by",
                    hint="Point source.url at the recorded server, or run `vecsync capture snapshot`.",
                )
    if found != at.identity:
        at = source.adopt(at, _one_domain(set(gtids.values()), at.identity))
        log.warning(
            "the source is another server now",
            extra={"recorded": str(recorded.source.identity), "found": str(found), "epoch": at.epoch},
        )
    if not at.snapshot_done and found != recorded.source.identity:
        at = replace(source.start(at.epoch), skipped=at.skipped, snapshot_done=False)
        recorded = replace(recorded, ends={**recorded.ends, **present_ends(broker, ends)})
    done = gtids_of(at.identity.connector).parse(at.gtid_set or "")
    for lane, key, order, offset in earlier:
        # Rows of a snapshot are read again. A tombstone that landed alone has no name; sent again it does no harm.
        name = gtids.get(_place(order))
        if at.snapshot_done and order.ordinal and name is not None and not done.has(name):
            tails[lane].add_elsewhere(name, order.ordinal, key, offset)
        elif order < mark:
            tails[lane].suspect(key)
    return replace(recorded, source=at), tails, crossing


def _one_domain(gtids: Collection[str], identity: SourceIdentity) -> Collection[str]:
    """MariaDB orders transactions within a domain only. With several beyond the position another order on the new
    server could move the position past a record that is still waited for."""
    if identity.connector == "mariadb" and len({gtid.split("-")[0] for gtid in gtids}) > 1:
        raise ForeignLog(
            "the source is another server now, and transactions of several domains stand beyond the recorded position",
            hint="Let capture end in order on the recorded server, or run `vecsync capture snapshot`.",
        )
    return gtids


def _place(order: CommitOrder) -> Place:
    return order.epoch, order.file, order.position
