"""The state machine: one event in, items out. No I/O, no clock; all it knows of the log is what it was fed.

It keeps three promises. An event that could carry rows and is not understood raises. A transaction is a begin, its
content and exactly one end. Positions are those of the outermost events, in 64 bits: events inside a compressed
transaction have none of their own. After an error the decoder is spent: make a new one at a position dealt with.

One module, though a long one: every handler moves the same few states, and they are only right together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog import heads
from connector.source.binlog.compression import inflate_mariadb, payload_events
from connector.source.binlog.events import (
    FLAG_IGNORABLE,
    HARMLESS,
    HEADER_SIZE,
    REFUSED,
    ROWS_EVENTS,
    EventHeader,
    RowsLayout,
    parse_header,
    type_name,
)
from connector.source.binlog.events import EventType as T
from connector.source.binlog.format import (
    BEFORE_FIRST,
    CHECKSUM_SIZE,
    FormatDescription,
    has_checksum,
    parse_format,
    verify,
)
from connector.source.binlog.heads import TransactionHead, Xid
from connector.source.binlog.items import (
    Heartbeat,
    Item,
    Outcome,
    Rotated,
    Savepoint,
    StatementItem,
    TransactionBegin,
    TransactionEnd,
    XaOutcome,
)
from connector.source.binlog.position import FilePosition
from connector.source.binlog.query import Query, parse_query
from connector.source.binlog.rows import DUMMY_TABLE_ID, RowPlan, Rows, RowsHead, parse_rows_head
from connector.source.binlog.statements import Statement, StatementKind, classify
from connector.source.binlog.table_map import TableMap, parse_names, parse_table_map

# Table maps remembered by their bytes. A server has as many as it has tables and versions of them; past the bound
# all are forgotten, and prepared again when they next occur.
_MAX_PLANS = 2048

# What of a transaction that is passed over is looked at all the same: it may be its end.
_BOUNDS = frozenset(
    {
        T.QUERY,
        T.QUERY_COMPRESSED,
        T.XID,
        T.XA_PREPARE,
        T.GTID,
        T.ANONYMOUS_GTID,
        T.GTID_TAGGED,
        T.MARIADB_GTID,
        T.TRANSACTION_PAYLOAD,
        T.FORMAT_DESCRIPTION,
        T.ROTATE,
        T.HEARTBEAT,
        T.HEARTBEAT_V2,
        T.STOP,
    }
)

# What a server may say before it describes the format.
_BEFORE_FORMAT = frozenset({T.ROTATE, T.HEARTBEAT, T.HEARTBEAT_V2})

_NOTHING: tuple[Item, ...] = ()


class Selection(Protocol):
    """Which tables are followed, and which of their columns are wanted."""

    def follows(self, db: str, table: str) -> bool | None:
        """Tables that are not followed are passed over without being decoded. None: not now, and to be asked again at
        the next table map."""
        ...

    def plan(self, table: TableMap) -> RowPlan:
        """Asked once per distinct table map of a followed table. Raises UnsupportedChange."""
        ...


class _Head(NamedTuple):
    """A transaction of which only the beginning has been seen."""

    head: TransactionHead
    position: int
    timestamp: int
    server_id: int


class Decoder:
    """Feed it every event of a stream or file, in order, each as the whole bytes from header to checksum."""

    def __init__(self, selection: Selection, file: str = "", position: int = 4, *, compressed: bool = True) -> None:
        """`file` and `position`: where the first event stands, if no ROTATE says so (as when reading a file).
        compressed False: what is compressed raises UnsupportedChange, whatever it holds."""
        self._selection = selection
        self._compressed = compressed
        self._at = FilePosition(file, position)
        self._format = BEFORE_FIRST
        self._file_began = 0
        self._head: _Head | None = None
        self._open = False
        self._passing = False
        self.known: Callable[[TransactionBegin], bool] = lambda _: False
        """Asked once for each transaction as it begins: whether it was dealt with. Its rows and statements are then
        passed over unlooked at; not those of XA transactions, which may count after others."""
        self._tables: dict[int, RowPlan | None] = {}
        self._plans: dict[bytes, RowPlan | None] = {}
        self._spent = False
        self._last_head: tuple[RowsLayout | None, bytes, RowsHead | None] = None, b"", None
        self._handlers: dict[int, Callable[[EventHeader, bytes], Iterable[Item]]] = {
            T.TABLE_MAP: self._table_map,
            T.QUERY: self._query,
            T.QUERY_COMPRESSED: self._query,
            T.XID: self._xid,
            T.GTID: self._gtid,
            T.ANONYMOUS_GTID: self._gtid,
            T.GTID_TAGGED: self._gtid,
            T.MARIADB_GTID: self._gtid,
            T.XA_PREPARE: self._xa_prepare,
            T.ROTATE: self._rotate,
            T.HEARTBEAT: self._heartbeat,
            T.HEARTBEAT_V2: self._heartbeat,
            T.PARTIAL_UPDATE_ROWS: self._partial_update,
        }

    @property
    def format(self) -> FormatDescription:
        """Of the file being read; before the first format description a neutral one."""
        return self._format

    @property
    def file_began(self) -> int:
        """When the file of `position` was begun, in seconds since the epoch; 0 before its format description."""
        return self._file_began

    @property
    def position(self) -> tuple[str, int]:
        """(file, 64-bit position) after the last event fed."""
        return self._at.file, self._at.end

    @property
    def transaction(self) -> str:
        """GTID of the transaction that the last event fed left unfinished, or was refused in; empty: none, or none is
        known."""
        gtid = self._head.head.gtid if self._head is not None else None
        return "" if gtid is None else str(gtid)

    @property
    def in_transaction(self) -> bool:
        """Whether the last event fed left a transaction unfinished: `position` is then no place to resume at."""
        return self._open or self._head is not None

    def pass_over(self, event: bytes) -> None:
        """Instead of feeding it: an event of a transaction that is left out. Only its place counts."""
        self._at.advance(parse_header(event), contiguous=False)

    def feed(self, event: bytes) -> Iterable[Item]:
        """Items of one event. Iterate them all before feeding the next: a compressed transaction is decoded as they
        are taken. Raises CorruptedLog, UnsupportedChange; the decoder is then spent."""
        if self._spent:
            raise RuntimeError("this decoder stopped at an error, or at items that were not taken")
        if self._passing and event[4] not in _BOUNDS:
            self._at.advance(parse_header(event), contiguous=not (event[4] == T.TABLE_MAP and self._format.mariadb))
            return _NOTHING
        self._spent = True
        items = self._take(event)
        if type(items) is tuple:
            self._spent = False
            return items
        return self._until_end(items)

    def _until_end(self, items: Iterable[Item]) -> Iterator[Item]:
        yield from items
        self._spent = False

    def _take(self, event: bytes) -> Iterable[Item]:
        header = parse_header(event)
        kind = header.type
        if kind == T.FORMAT_DESCRIPTION:
            return self._format_description(header, event)
        end = header.size
        if self._format.crc32:
            verify(event, kind)
            end -= CHECKSUM_SIZE
        elif self._format is BEFORE_FIRST:
            if kind not in _BEFORE_FORMAT:
                raise CorruptedLog(f"the log begins with a {type_name(kind)} event, not with its format description")
            if has_checksum(event):
                end -= CHECKSUM_SIZE
        if end < HEADER_SIZE:
            raise CorruptedLog(f"{type_name(kind)} event of {header.size} bytes has no room for its checksum")
        layout = ROWS_EVENTS.get(kind)
        if layout is not None:  # nearly all there is: not a question more than needed
            self._at.advance(header, contiguous=self._open)
            return self._rows(event, end, layout)
        if kind != T.ROTATE and kind != T.HEARTBEAT and kind != T.HEARTBEAT_V2 and kind != T.STOP:
            # MariaDB leaves the annotations before table maps out of what it sends, unless asked for them.
            contiguous = self._open and not (kind == T.TABLE_MAP and self._format.mariadb)
            start = self._at.advance(header, contiguous=contiguous)
        else:
            start = self._at.end
        if kind == T.TRANSACTION_PAYLOAD:
            return self._payload(memoryview(event)[HEADER_SIZE:end])
        return self._dispatch(header, event, start, end)

    def _dispatch(self, header: EventHeader, event: bytes, start: int, end: int) -> tuple[Item, ...]:
        kind = header.type
        layout = ROWS_EVENTS.get(kind)
        if layout is not None:
            return self._rows(event, end, layout)
        handler = self._handlers.get(kind)
        if handler is not None:
            self._start = start
            return tuple(handler(header, event[HEADER_SIZE:end]))
        if kind in HARMLESS:
            return _NOTHING
        where = f"{self._at.file}:{start}"
        if kind in REFUSED:
            raise UnsupportedChange(
                f"{type_name(kind)} event at {where}", hint=REFUSED[kind][:1].upper() + REFUSED[kind][1:] + "."
            )
        if header.flags & FLAG_IGNORABLE:
            return _NOTHING
        raise UnsupportedChange(f"event of the unknown type {kind} at {where} could carry rows")

    def _refuse_compressed(self, kind: int) -> None:
        if self._compressed:
            return
        raise UnsupportedChange(
            f"a compressed event ({type_name(kind)}) in {self._at.file}, before {self._at.end}, which this reader does "
            "not read",
            hint="Use `source.reader: binlog`, which goes on from here; or keep the source from compressing "
            "(binlog_transaction_compression of every session, log_bin_compress) and take a new snapshot.",
        )

    def _payload(self, body: memoryview) -> Iterator[Item]:
        """A compressed transaction: its events have no checksums, and positions that mean nothing."""
        start = self._at.end
        for event in payload_events(body):
            header = parse_header(event)
            if header.type in (T.FORMAT_DESCRIPTION, T.ROTATE, T.TRANSACTION_PAYLOAD):
                raise CorruptedLog(f"transaction payload holds a {type_name(header.type)} event")
            yield from self._dispatch(header, event, start, len(event))
            if self._passing:
                yield self._end(Outcome.COMMIT)  # a payload holds one transaction, and the whole of it
                return
            self._refuse_compressed(T.TRANSACTION_PAYLOAD)
        if self._open:
            raise CorruptedLog("transaction payload ends inside its transaction")

    # Files

    def _format_description(self, header: EventHeader, event: bytes) -> tuple[Item, ...]:
        self._format = parse_format(event)
        self._file_began = self._format.began
        self._tables.clear()
        self._last_head = None, b"", None  # the size of a table id is the file's
        self._at.advance(header, contiguous=False)
        if not self.in_transaction:
            return _NOTHING
        if not self._format.created:
            raise CorruptedLog(f"{self._at.file} begins inside a transaction")
        # Only a server that has just started writes its time of creation: it died inside that transaction.
        items = (TransactionEnd(Outcome.ROLLBACK, *self.position),) if self._open else _NOTHING
        self._close()
        return items

    def _rotate(self, _header: EventHeader, body: bytes) -> Iterator[Item]:
        file, position = heads.parse_rotate(body)
        if file != self._at.file:
            self._tables.clear()
            self._file_began = 0
        self._at.file, self._at.end = file, position
        yield Rotated(file, position)

    def _heartbeat(self, header: EventHeader, body: bytes) -> Iterator[Item]:
        if header.type == T.HEARTBEAT_V2:
            file, position = heads.parse_heartbeat_v2(body)
        else:
            file = body.decode("utf-8", "surrogateescape")
            position = self._at.end + ((header.log_pos - self._at.end) & 0xFFFFFFFF)
            if position - self._at.end > 1 << 31:
                position = self._at.end
        if file == self._at.file and not self.in_transaction:
            self._at.reach(position)
            yield Heartbeat(*self.position)

    # Transactions

    def _gtid(self, header: EventHeader, body: bytes) -> Iterator[Item]:
        if self.in_transaction:
            raise CorruptedLog(f"a transaction begins at {self._here()} inside another one")
        if header.type == T.MARIADB_GTID:
            head = heads.parse_mariadb_gtid(body, header.server_id)
        elif header.type == T.GTID_TAGGED:
            head = heads.parse_tagged_gtid(body)
        else:
            head = heads.parse_gtid(body, anonymous=header.type == T.ANONYMOUS_GTID)
        self._head = _Head(head, self._start, header.timestamp, header.server_id)
        if head.implicit:
            yield self._begin()

    def _begin(self, header: EventHeader | None = None, *, xa: bool = False) -> TransactionBegin:
        """Opens the transaction whose head was seen; without one (servers before GTIDs) the event at hand is it."""
        if self._open:
            raise CorruptedLog(f"a transaction begins at {self._here()} inside another one")
        if self._head is None:
            assert header is not None
            self._head = _Head(TransactionHead(None), self._start, header.timestamp, header.server_id)
        head, position, timestamp, server_id = self._head
        self._open = True
        commit_us = head.commit_us or timestamp * 1_000_000
        original_us = head.original_us or commit_us
        xa = xa or head.prepared is not None or head.completed is not None
        begin = TransactionBegin(head.gtid, self._at.file, position, commit_us, original_us, server_id, xa)
        self._passing = self.known(begin) and not xa
        return begin

    def _end(self, outcome: Outcome, xid: Xid | None = None) -> TransactionEnd:
        if not self._open:
            raise CorruptedLog(f"a transaction ends at {self._here()} that never began")
        self._close()
        return TransactionEnd(outcome, *self.position, xid)

    def _close(self) -> None:
        self._open = self._passing = False
        self._head = None
        self._tables.clear()

    def _here(self) -> str:
        return f"{self._at.file}:{self._start}"

    def _xid(self, _header: EventHeader, _body: bytes) -> Iterator[Item]:
        yield self._end(Outcome.COMMIT)

    def _xa_prepare(self, _header: EventHeader, body: bytes) -> Iterator[Item]:
        xid, one_phase = heads.parse_xa_prepare(body)
        if self._passing and not one_phase:
            raise CorruptedLog(f"an XA transaction is prepared at {self._here()}, whose beginning said that it is none")
        yield self._end(Outcome.COMMIT) if one_phase else self._end(Outcome.PREPARED, xid)

    def _query(self, header: EventHeader, body: bytes) -> Iterator[Item]:
        if header.type == T.QUERY_COMPRESSED and not self._passing:
            self._refuse_compressed(header.type)
        query = parse_query(body, compressed=header.type == T.QUERY_COMPRESSED)
        statement = classify(query)
        kind, K = statement.kind, StatementKind
        if kind is K.BEGIN or kind is K.XA_START:
            # In MariaDB the GTID event has begun the transaction; its XA START comes after that.
            if not (self._open and self._head is not None and self._head.head.implicit):
                yield self._begin(header, xa=kind is K.XA_START)
        elif kind is K.COMMIT:
            yield self._end(Outcome.COMMIT)
        elif kind is K.ROLLBACK:
            if not self._open:
                yield self._begin(header)
            yield self._end(Outcome.ROLLBACK)
        elif kind is K.SAVEPOINT or kind is K.ROLLBACK_TO:
            if not self._open:
                raise CorruptedLog(f"a savepoint at {self._here()} outside any transaction")
            yield Savepoint(statement.name, rollback=kind is K.ROLLBACK_TO)
        elif kind is K.XA_COMMIT or kind is K.XA_ROLLBACK:
            assert statement.xid is not None
            if not self._open:
                yield self._begin(header, xa=True)
            yield XaOutcome(statement.xid, kind is K.XA_COMMIT)
            yield self._end(Outcome.COMMIT)
        elif kind is not K.XA_END:
            yield from self._other_statement(header, query, statement)

    def _other_statement(self, header: EventHeader, query: Query, statement: Statement) -> Iterator[Item]:
        alone = not self._open
        if alone:
            yield self._begin(header, xa=query.sql[:3].upper() == "XA ")
        if not self._passing:
            self._refuse_data(query, statement)
            undecided = self._head is not None and self._head.head.undecided
            if statement.kind not in (StatementKind.OTHER, StatementKind.DATA) and not undecided:
                yield StatementItem(statement, query)
        if alone:
            yield self._end(Outcome.COMMIT)

    def _refuse_data(self, query: Query, statement: Statement) -> None:
        text = query.sql if len(query.sql) <= 200 else query.sql[:200] + "..."
        if statement.kind is StatementKind.DATA:
            # No trigger or foreign key leads out of the server's own schema; managed services write there.
            if statement.tables and all(table.db.lower() == "mysql" for table in statement.tables):
                return
            raise UnsupportedChange(
                f"rows were changed by a statement that is logged as text, at {self._here()}: {text}",
                hint="Set binlog_format = ROW on the source, globally and in every session that sets its own; "
                "then take a new snapshot.",
            )
        if statement.kind in (StatementKind.UNKNOWN, StatementKind.XA_PREPARE):
            raise UnsupportedChange(f"statement at {self._here()} is not understood: {text}")

    # Rows

    def _table_map(self, _header: EventHeader, body: bytes) -> tuple[Item, ...]:
        size = self._format.table_id_size
        key = body[size:]
        table_id = int.from_bytes(body[:size], "little")
        try:
            self._tables[table_id] = self._plans[key]
            return _NOTHING
        except KeyError:
            pass
        _, db, table = parse_names(body, size)
        follows = self._selection.follows(db, table)
        plan = None
        if follows:
            plan = self._selection.plan(parse_table_map(body, size, mariadb=self._format.mariadb))
        self._tables[table_id] = plan
        if follows is not None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return _NOTHING

    def _rows(self, event: bytes, end: int, layout: RowsLayout) -> tuple[Item, ...]:
        if not self._open:
            raise CorruptedLog(f"rows in {self._at.file} outside any transaction, before {self._at.end}")
        size = self._format.table_id_size
        table_id = int.from_bytes(event[HEADER_SIZE : HEADER_SIZE + size], "little")
        try:
            plan = self._tables[table_id]
        except KeyError:
            if table_id == DUMMY_TABLE_ID and self._rows_head(event, layout).rows >= end:
                return _NOTHING
            raise CorruptedLog(
                f"rows in {self._at.file}, before {self._at.end}, of table {table_id}, which no table map describes"
            ) from None
        if plan is None:
            return _NOTHING
        head = self._rows_head(event, layout)
        if head.width != len(plan.table.columns) or head.rows > end:
            raise CorruptedLog(
                f"rows of {plan.table.name} have {head.width} columns, their table map {len(plan.table.columns)}"
            )
        data, start = event, head.rows
        if layout.compressed:
            self._refuse_compressed(event[4])
            data = inflate_mariadb(event, start, end)
            start, end = 0, len(data)
        return (Rows(plan, layout.kind, head.flags, head.before, head.after, data, start, end),)

    def _rows_head(self, event: bytes, layout: RowsLayout) -> RowsHead:
        """The events of a statement begin with the same bytes but for the last one, whose flags say that it is."""
        head_of, raw, head = self._last_head
        if head_of is not layout or head is None or not event.startswith(raw, HEADER_SIZE):
            head = parse_rows_head(event, HEADER_SIZE, layout, self._format.table_id_size)
            self._last_head = layout, event[HEADER_SIZE : head.rows], head
        return head

    def _partial_update(self, _header: EventHeader, body: bytes) -> tuple[Item, ...]:
        table_id = int.from_bytes(body[: self._format.table_id_size], "little")
        if table_id not in self._tables:
            raise CorruptedLog(f"rows at {self._here()} of table {table_id}, which no table map describes")
        plan = self._tables[table_id]
        if plan is not None:
            raise UnsupportedChange(
                f"rows of {plan.table.name} were updated in part (a PARTIAL_UPDATE_ROWS event)",
                hint="Clear binlog_row_value_options on the source, globally and in every session; "
                "then take a new snapshot of the table.",
            )
        return _NOTHING
