"""The values that every part of the connector speaks in: keys, documents, changes, orders, positions.

Pure data; nothing here does I/O or knows a wire format (see `connector.wire` for that) or a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class CommitOrder(NamedTuple):
    """Where a change stands in the commit order of its source; compares as a tuple.

    epoch     rises by one each time the identity of the source's log changes
    file      number of the binlog file (SQLite's log: 0; a shadow log: number of the stream that read it)
    position  64-bit offset of the START of the transaction in it (SQLite's log: number of the entry; a shadow log:
              number of the look in its stream)
    ordinal   of the row in the transaction, from 1; 0 is a *mark*: above everything before that position,
              below the transaction that begins there (snapshot rows and floors stand on marks)
    """

    epoch: int
    file: int
    position: int
    ordinal: int


ZERO_ORDER = CommitOrder(0, 0, 0, 0)


# The values that every row brings are named tuples, which are made several times as fast as frozen dataclasses.
class DocKey(NamedTuple):
    dataset_id: str
    id: str


@dataclass(frozen=True, slots=True)
class DatasetKey:
    dataset_id: str


@dataclass(frozen=True, slots=True)
class FloorKey:
    """`dataset_id` None: the whole table, published to every partition."""

    dataset_id: str | None


Key = DocKey | DatasetKey | FloorKey


class Op(StrEnum):
    """Debezium's letters."""

    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    READ = "r"  # a row read by a snapshot or a repair


class Document(NamedTuple):
    """A row of the shadow table as it stands at the source. Replicas judge the embedding, the log only carries it.

    embedding: float32 little-endian, 4 * dims bytes when well formed; None or empty: the document has no vector.
    created_at, updated_at: the text that the source shows with time zone +00:00.
    """

    content: str | None
    meta: str | None
    embedding: bytes | None
    embedding_model: str | None
    scn: int
    archived: bool
    created_at: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A row of `vec_dataset`."""

    description: str | None
    source_uri: str | None
    last_scn: int | None = None


class TableName(NamedTuple):
    """A table of a source: its database, and its name there."""

    db: str
    table: str

    def __str__(self) -> str:
        return f"{self.db}.{self.table}"


class SourceInfo(NamedTuple):
    """Where a change was read: Debezium's `source` block. Times are microseconds since the epoch."""

    connector: str  # "mysql", "mariadb" or "sqlite"
    name: str  # the topic prefix: one source owns it
    ts_us: int  # commit time at the source; 0 unknown
    snapshot: bool
    db: str
    table: str
    server_id: int
    gtid: str | None
    file: str | None
    pos: int
    row: int  # ordinal in its transaction


class DocChange(NamedTuple):
    """One changed row. `after` is None exactly when op is d, or when `unpublished` says why it is missing.

    scn: of this change; a deletion's own where the source logs one. The row's own is in `after`.
    """

    op: Op
    key: DocKey
    scn: int
    after: Document | None
    order: CommitOrder
    source: SourceInfo
    unpublished: str | None = None  # a marker: the row exists at the source and stands in the dead letters
    moved: bool = False  # a delete that is the first half of a move; known to the reader only, not on the wire


@dataclass(frozen=True, slots=True)
class DatasetChange:
    op: Op
    key: DatasetKey
    after: Dataset | None
    order: CommitOrder
    source: SourceInfo


class FloorReason(StrEnum):
    CASCADE = "cascade"  # the row of vec_dataset went, and its foreign key takes the documents
    TRUNCATE = "truncate"
    DROP = "drop"
    SNAPSHOT = "snapshot"  # the end of a re-snapshot: what it did not see is gone


@dataclass(frozen=True, slots=True)
class Floor:
    """Everything of the dataset (None: of the table) with a strictly lower order is gone."""

    key: FloorKey
    order: CommitOrder
    reason: FloorReason
    source: SourceInfo


Change = DocChange | DatasetChange | Floor

PackedRow = tuple[bytes, bytes, bytes]
"""One row of PackedRows: what stands for its dataset (equal for equal datasets), its key, and the rest of it. The last
two are as `connector.wire` has them, which alone looks inside."""


class PackedRows(NamedTuple):
    """Documents that were created or updated by one event of the log, in the form of the wire: their reader cut them
    into it without making a value of every column. Each row stands for a DocChange.

    order, source: of the first row; those after it count on from there, in `order.ordinal` and `source.row` alike.
    """

    op: Op
    order: CommitOrder
    source: SourceInfo
    rows: Sequence[PackedRow]


class TombstoneReason(StrEnum):
    DELETE = "delete"
    CASCADE = "cascade"
    TRUNCATE = "truncate"
    MOVED = "moved"  # the row changed its key or its dataset


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Drives the collection of vectors. `id` None: everything of the dataset; `dataset_id` None: of the partition."""

    dataset_id: str | None
    id: str | None
    order: CommitOrder
    scn: int
    reason: TombstoneReason
    ts_us: int


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """What makes a source's log this log and no other. MariaDB has no server uuid: base name, first timestamp,
    domain and server id stand for it. SQLite: `uuid` is the identity written by `source install`."""

    connector: str
    uuid: str | None = None
    base_name: str | None = None
    first_timestamp: int = 0
    server_id: int = 0
    domain: int = 0


@dataclass(frozen=True, slots=True)
class DatasetCursor:
    """The last entry read of a trigger log: its number (a shadow log has none: its fingerprint; `incarnation`) and its
    change number. A log in which that entry is another one is not the log that was read.

    ordinal: shadow logs: 1 for a dataset that has a row of its own. missing: the first and the last change number that
    may become visible late.
    """

    incarnation: int
    scn: int
    ordinal: int = 0
    missing: tuple[int, ...] = ()


def cursor_key(table: str, dataset_id: str) -> str:
    """Of a cursor in a position whose log numbers the entries of each table and dataset by themselves."""
    return f"{table.replace('%', '%25').replace('/', '%2F')}/{dataset_id}"


def table_and_dataset(key: str) -> tuple[str, str]:
    """What `cursor_key` was made of."""
    table, _, dataset_id = key.partition("/")
    return table.replace("%2F", "/").replace("%25", "%"), dataset_id


@dataclass(frozen=True, slots=True)
class SnapshotProgress:
    """A snapshot that has not ended: what comes next. `last_key` is the primary key after which to go on.

    datasets: those that are left, one read after the other; the first is the present one.
    tables: those that it reads, in this order, each database's datasets before its first one: a snapshot keeps to it,
    whatever the settings say meanwhile. Empty: not known (positions of earlier versions).
    floored: tables that got a floor of their own since `start` (TRUNCATE, DROP; of a dataset: CASCADE). It is above the
    one that would end the snapshot, or the present dataset's part of it, and must stay the last record of its key.
    """

    table: str
    last_key: tuple[str, ...] | None
    start: CommitOrder  # the floor published at the end carries it
    datasets: tuple[str, ...] | None = None  # None: all
    floored: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


class LogMark(NamedTuple):
    """An event by which a binlog is known again: where it begins, and what it says. `event` holds its bytes where they
    are few, else their hash; without checksum and size, which depend on a setting of the server."""

    file: str
    position: int
    event: bytes


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Where a source stands: enough to resume, always between two transactions.

    `file`/`position` name the end of the last transaction. Trigger logs have no file; they use `dataset_log_seq` and
    `cursors`: SQLite's the number of the last entry, shadow logs the number of the stream, and `position` for that of
    its last look (in the head of one: the source's clock, in microseconds since the epoch).
    `file_began`: when that file was begun, in seconds since the epoch, as it says itself; a file of that name with
    another time is of another log. 0: not known. `mark`: an event at or before the position that no other log has at
    this place; None: there was none yet. `bridge`: GTIDs of another server's log, dealt with there, that come again in
    this one from here on and are to be passed over (a GTID set, or MariaDB's last of each domain); empty: none.
    `skipped`: GTIDs of transactions that were left out by command, and stay so.
    `open_file`/`open_position`: where the earliest transaction begins that is prepared (XA) and not ended; reading
    must go on from there, though everything up to `position` has been dealt with. Empty: there is none.
    """

    identity: SourceIdentity
    epoch: int = 1
    gtid_set: str | None = None
    file: str = ""
    position: int = 0
    file_began: int = 0
    open_file: str = ""
    open_position: int = 0
    dataset_log_seq: int = 0
    cursors: Mapping[str, DatasetCursor] = field(default_factory=dict)
    snapshot: SnapshotProgress | None = None
    snapshot_done: bool = False
    mark: LogMark | None = None
    bridge: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def of_shadow_log(self) -> bool:
        """Of a MySQL or MariaDB source whose shadow log is read."""
        return not self.file and self.identity.connector != "sqlite"


class Lane(NamedTuple):
    """A partition of a topic: the unit of order in the log."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class PublishedPosition:
    """A source position together with what of it stands in the log.

    ends: per lane the offset after the last acknowledged record of the prefix that `source` stands for.
    closed: the publisher ended in order; nothing of it can still be on its way to the broker.
    """

    source: SourcePosition
    ends: Mapping[Lane, int]
    closed: bool
    ts_us: int


@dataclass(slots=True)
class Transaction:
    """One committed transaction, in commit order.

    changes: in the order of execution; may be iterated once, and may come from disk.
    after: the source's position when this transaction has been dealt with; read it when the changes have been.
    id: the GTID, or `file:position`.
    xa: the name under which it was prepared (gtrid, bqual, format id), if it was.
    """

    id: str
    changes: Iterable[Change | PackedRows]
    after: SourcePosition
    xa: tuple[bytes, bytes, int] | None = None
