"""What the connector needs of a log with partitions; `kafka` and `embedded` fulfil it and pass one conformance suite.

Offsets rise by at least one per record in a partition; compaction leaves gaps, so nothing may count on +1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from connector.model import Lane

Headers = Sequence[tuple[str, bytes]]
Acknowledged = Callable[[Lane, int], None]
"""Called with lane and offset, from within `Producer`'s calls; within a lane in the order of `send`."""


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    leader_epoch: int | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be. `config` holds Kafka's topic settings (`cleanup.policy`, ...)."""

    name: str
    partitions: int
    replication_factor: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as it is. `topic_id` changes when a topic is deleted and made again under its name."""

    name: str
    topic_id: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Members by the names that they gave. holder: None when nobody has the lease, or it is just passing on.
    standbys: who waits for it, where the log can tell."""

    holder: str | None
    standbys: Sequence[str] = ()


class Lease(Protocol):
    """The right to do what only one may do at a time. One that is lost is never held again: make another.

    A member that stands still for longer than its session loses it without being told. `held` then finds out before it
    answers, but what was on its way to the log may land all the same.
    """

    def wait(self, timeout_s: float) -> bool:
        """Whether this member has it, at the latest after that time. Raises Unreachable, AuthenticationFailed,
        ConfigurationError."""
        ...

    def held(self) -> bool:
        """Whether it still does. Call it often, once in a few minutes at the least."""
        ...

    def close(self) -> None:
        """Gives it up, so that another member has it at once."""
        ...


class Producer(Protocol):
    """Idempotent and gapless: within a lane records land in the order sent, and after a failure none lands any more.

    `poll`, `hurry`, `flush` and `send` raise DeliveryFailed once a record could not be delivered; it is of no use then.
    """

    def send(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Queues; blocks (serving acknowledgements) while the queue is full. Raises UnpublishableRow when the record
        is larger than the topic takes, or has no key where the topic is compacted: nothing was queued, and the
        producer remains usable. Raises ForeignLog when there is no such topic or partition."""
        ...

    def poll(self, timeout_s: float) -> None:
        """Serves acknowledgements."""
        ...

    def hurry(self) -> None:
        """Says that nothing more is at hand: what was sent does not wait any longer for more to go along with it. Also
        serves acknowledgements, for a moment."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Waits until everything sent is acknowledged. Raises DeliveryFailed when time runs out."""
        ...

    def close(self) -> None:
        """Ends at once; what was not acknowledged may or may not land."""
        ...


class Consumer(Protocol):
    """Reads lanes that it is told to, from offsets that it is told. Raises Unreachable, ForeignLog (offset out of
    range)."""

    def assign(self, offsets: Mapping[Lane, int], leader_epochs: Mapping[Lane, int] | None = None) -> None:
        """Replaces the assignment; each lane is read from its offset on.

        leader_epochs: of the record before that offset, where known; the broker then tells (as ForeignLog, from
        `consume`) when its log was truncated below it by an unclean election.
        """
        ...

    def consume(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Up to that many records of assigned lanes, in offset order within a lane; empty after the time-out."""
        ...

    def positions(self) -> Mapping[Lane, int]:
        """The next offset of each assigned lane; past gaps that compaction left."""
        ...

    def commit(self, offsets: Mapping[Lane, int]) -> None:
        """Publishes offsets for lag tools. Advisory: nothing resumes from them."""
        ...

    def close(self) -> None: ...


class Admin(Protocol):
    """Raises Unreachable, AuthenticationFailed; the offsets also ForeignLog, for a topic or partition that is not."""

    def create(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """Makes those that do not exist, and waits until they can be used; returns their names. Existing ones are
        left as they are. Raises ConfigurationError for a shape or setting that the broker refuses."""
        ...

    def describe(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        """Those of the names that exist."""
        ...

    def list(self, prefix: str) -> Sequence[str]:
        """Names that begin so, sorted."""
        ...

    def beginning_offsets(self, lanes: Sequence[Lane]) -> Mapping[Lane, int]: ...

    def end_offsets(self, lanes: Sequence[Lane]) -> Mapping[Lane, int]: ...

    def offsets_at(self, lanes: Sequence[Lane], timestamp_ms: int) -> Mapping[Lane, int]:
        """The first offset whose record is at or after that time; the end where there is none."""
        ...

    def lease_state(self, topic: str) -> LeaseState:
        """Of the lease that goes by a topic's name."""
        ...

    def close(self) -> None: ...


class Broker(Protocol):
    """A factory of the four, all on the same log."""

    def producer(self, acknowledged: Acknowledged) -> Producer: ...

    def consumer(self, group: str) -> Consumer: ...

    def admin(self) -> Admin: ...

    def lease(self, topic: str, member: str) -> Lease:
        """Of a topic with one partition. member: the name that others see."""
        ...
