"""Changes out of what a look into a shadow log found: rows as they are at that moment, and floors. Reads only, over the
connection that it is given, whose consistent read must be open for a look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from connector.model import (
    Change,
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Op,
    SnapshotProgress,
    SourceIdentity,
    SourceInfo,
)
from connector.source.log_table import Connection, Group, LogEntry, streamed, written_us
from connector.source.snapshot_rows import TableRows, document_rows, text_literal
from connector.upstream.discover import TableShape

_KEYS = 200  # of rows read by one SELECT


@dataclass(slots=True)
class Look:
    """What is to be published of one look.

    stream, number: of the stream among those that read this log, and of the look in it.
    datasets: rows of the table of datasets that are new or not as they were. gone: names whose row went.
    rebuilt: what is read anew; whether something of it may have been published before; whether it has a row.
    touched: by table, the keys that the log names, each with its last entry.
    """

    epoch: int
    stream: int
    number: int
    datasets: list[tuple[str, Dataset, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    rebuilt: list[tuple[Group, bool, bool]] = field(default_factory=list)
    touched: dict[str, dict[DocKey, LogEntry]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"shadow_log:{self.stream}:{self.number}"

    @property
    def mark(self) -> CommitOrder:
        return CommitOrder(self.epoch, self.stream, self.number, 0)

    @property
    def holds_anything(self) -> bool:
        return bool(self.datasets or self.gone or self.rebuilt or self.touched)

    def touch(self, group: Group, entries: Sequence[LogEntry]) -> None:
        if not entries:
            return
        keys = self.touched.setdefault(group[0], {})
        for entry in entries:
            key = DocKey(group[1], entry.document_id)
            last = keys.get(key)
            if last is None or entry.scn > last.scn:
                keys[key] = entry


class LogChanges:
    """last_key: of the chunk of a snapshot that was read last; None: its table has no more rows."""

    def __init__(
        self, identity: SourceIdentity, name: str, database: str, dataset_table: str, shapes: Sequence[TableShape]
    ) -> None:
        """name: the topic prefix. Raises ConfigurationError when a table cannot be read."""
        self._identity = identity
        self._name = name
        self._database = database
        self._dataset_table = dataset_table
        self._rows: Mapping[str, TableRows] = {shape.table: document_rows(shape) for shape in shapes}
        self._by_id = {shape.table for shape in shapes if shape.id_is_key}
        self.last_key: tuple[str, ...] | None = None

    def of(self, look: Look, connection: Connection) -> Iterator[Change]:
        """In this order: datasets, so that they are known when their documents come; what is read anew, and its floor,
        on the mark below these rows; single rows; datasets that went."""
        mark, ordinal = look.mark, 0
        for id, dataset, op in look.datasets:
            ordinal += 1
            order = mark._replace(ordinal=ordinal)
            info = self.info(self._dataset_table, order, 0)
            yield DatasetChange(Op(op), DatasetKey(id), dataset, order, info)
        for group, published, has_row in look.rebuilt:
            for key, row in self._all_of(group, connection):
                ordinal += 1
                order = mark._replace(ordinal=ordinal)
                info = self.info(group[0], order, 0, snapshot=True)
                yield DocChange(Op.READ, key, row.scn, row, order, info)
            if published:
                reason = FloorReason.SNAPSHOT if has_row else FloorReason.CASCADE
                yield Floor(FloorKey(group[1]), mark, reason, self.info(group[0], mark, 0))
        anew = {group for group, _, _ in look.rebuilt}
        for table, entries in look.touched.items():
            wanted = {key: entry for key, entry in entries.items() if (table, key.dataset_id) not in anew}
            for key, present in self._present(table, wanted, connection):
                ordinal += 1
                order, entry = mark._replace(ordinal=ordinal), wanted[key]
                op = Op.DELETE if present is None else Op.CREATE if entry.op == "insert" else Op.UPDATE
                yield DocChange(op, key, entry.scn, present, order, self.info(table, order, written_us(entry)))
        for id in look.gone:
            ordinal += 1
            order = mark._replace(ordinal=ordinal)
            yield DatasetChange(Op.DELETE, DatasetKey(id), None, order, self.info(self._dataset_table, order, 0))

    def chunk(self, look: Look, connection: Connection, progress: SnapshotProgress, limit: int) -> Iterator[Change]:
        """The next rows of a table by its key, with no read open; sets `last_key` when all of them were taken."""
        rows_of = self._rows[progress.table]
        after = progress.last_key
        if after is not None and len(after) != len(rows_of.key):
            after = None  # the table was altered, and is read from its beginning
        count, last = 0, None
        info = self.info(progress.table, look.mark, 0, snapshot=True)
        for row in streamed(connection, rows_of.select(rows_of.following(after), limit)):
            count, last = count + 1, row
            key, document = rows_of.make(row)
            assert isinstance(key, DocKey)
            assert isinstance(document, Document)
            yield DocChange(Op.READ, key, document.scn, document, look.mark, info)
        self.last_key = tuple(last[at] for at in rows_of.key) if last is not None and count == limit else None

    def info(self, table: str, order: CommitOrder, ts_us: int, *, snapshot: bool = False) -> SourceInfo:
        return SourceInfo(
            self._identity.connector,
            self._name,
            ts_us,
            snapshot,
            self._database,
            table,
            self._identity.server_id,
            None,
            None,
            order.position,
            order.ordinal,
        )

    def _all_of(self, group: Group, connection: Connection) -> Iterator[tuple[DocKey, Document]]:
        table, dataset = group
        rows_of = self._rows[table]
        if table in self._by_id:
            rows_of = rows_of._replace(forced=False)  # another index finds the dataset
        for row in streamed(connection, rows_of.select(f"{rows_of.columns[0]} = {text_literal(dataset)}")):
            key, document = rows_of.make(row)
            assert isinstance(key, DocKey)
            assert isinstance(document, Document)
            if key.dataset_id == dataset:
                yield key, document

    def _present(
        self, table: str, wanted: Mapping[DocKey, LogEntry], connection: Connection
    ) -> Iterator[tuple[DocKey, Document | None]]:
        """Each of these rows, or None where there is none under exactly this key."""
        rows_of = self._rows[table]
        keys = iter(wanted)
        while part := list(islice(keys, _KEYS)):
            absent = dict.fromkeys(part)
            values = [tuple((key.dataset_id, key.id)[at] for at in rows_of.key) for key in part]
            for row in streamed(connection, rows_of.select(rows_of.among(values))):
                key, document = rows_of.make(row)
                if key in absent:
                    assert isinstance(key, DocKey)
                    assert isinstance(document, Document)
                    del absent[key]
                    yield key, document
            for key in absent:
                yield key, None
