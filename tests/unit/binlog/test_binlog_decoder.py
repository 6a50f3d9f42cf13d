"""The state machine on event streams: what is yielded, what is refused, and where things are said to stand."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, ForeignLog, UnsupportedChange, VecsyncError
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import EventType as T
from connector.source.binlog.gtid import MariadbGtid
from connector.source.binlog.heads import Xid
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
from connector.source.binlog.rows import RowPlan, Rows
from connector.source.binlog.skipping import SkipTo
from connector.source.binlog.statements import StatementKind
from connector.source.binlog.table_map import ColumnType, TableMap
from tests.unit.binlog.cells import patiently
from tests.unit.binlog.writer import TIMESTAMP, Column, Log, Table, image, packed, query_body, rows_body

DOCS = Table([Column(ColumnType.LONG, unsigned=False, name="id")])
OTHER = Table([Column(ColumnType.LONG, unsigned=False, name="id")], name="other", table_id=78)
UNREADABLE = Table([Column(99, name="id")], name="unreadable", table_id=79)
KNOWN_MARIADB = "10.11.19-MariaDB-log"


@dataclass
class Follows:
    tables: tuple[str, ...] = ("docs",)
    plans: int = field(default=0)

    def follows(self, db: str, table: str) -> bool | None:
        return db == "app" and table in self.tables

    def plan(self, table: TableMap) -> RowPlan:
        self.plans += 1
        return RowPlan(table, ["id"])


def numbers(*ids: int, version: int = 2, table_id: int = 77) -> bytes:
    images = b"".join(image([True], [number.to_bytes(4, "little")]) for number in ids)
    return rows_body(1, images, version=version, table_id=table_id)


def fed(events: Iterable[bytes], decoder: Decoder | None = None) -> list[Item]:
    decoder = decoder or Decoder(Follows(), "b.000001")
    return [item for event in events for item in decoder.feed(event)]


def simple(items: Iterable[Item]) -> list[object]:
    """Without what other tests look at."""
    found: list[object] = []
    for item in items:
        if isinstance(item, TransactionBegin):
            found.append("begin")
        elif isinstance(item, TransactionEnd):
            found.append(item.outcome.name.lower())
        elif isinstance(item, Rows):
            found.append(item.rows() if item.kind.name != "UPDATE" else item.pairs())
        elif isinstance(item, StatementItem):
            found.append(item.statement.kind.name.lower())
        else:
            found.append(item)
    return found


def test_a_mysql_transaction() -> None:
    log = Log()
    events = [log.rotate("b.000007"), log.format(), log.event(T.PREVIOUS_GTIDS, bytes(8))]
    start = log.position
    events += [
        log.gtid(5, commit_us=1_700_000_000_123_456, original_us=1_600_000_000_000_001),
        log.query("BEGIN"),
        log.event(T.ROWS_QUERY, b"\x06INSERT"),
        log.table_map(DOCS),
        log.rows(T.WRITE_ROWS, numbers(1, 2)),
        log.rows(T.DELETE_ROWS, numbers(3)),
        log.rows(
            T.UPDATE_ROWS, rows_body(1, image([True], [b"\1\0\0\0"]) + image([True], [b"\2\0\0\0"]), after=[True])
        ),
        log.xid(),
    ]
    rotated, begin, *rest = fed(events)
    assert rotated == Rotated("b.000007", 4)
    assert isinstance(begin, TransactionBegin)
    assert begin[1:] == ("b.000007", start, 1_700_000_000_123_456, 1_600_000_000_000_001, 7, False)
    assert str(begin.gtid) == "00010203-0405-0607-0809-0a0b0c0d0e0f:5"
    assert simple(rest) == [[(1,), (2,)], [(3,)], [((1,), (2,))], "commit"]
    assert rest[-1] == TransactionEnd(Outcome.COMMIT, "b.000007", log.position)


def test_a_mariadb_transaction_begins_with_its_gtid() -> None:
    log = Log()
    decoder = Decoder(Follows())
    fed([log.rotate("m.000001"), log.format(KNOWN_MARIADB)], decoder)
    start = log.position
    begin, *rest = fed([log.mariadb_gtid(9, flags=4)], decoder)
    assert begin == TransactionBegin(
        MariadbGtid(3, 7, 9), "m.000001", start, TIMESTAMP * 1_000_000, TIMESTAMP * 1_000_000, 7
    )
    assert not rest
    assert decoder.in_transaction
    log.position += 5000  # annotations are not sent, and leave a gap before table maps
    items = fed([log.table_map(DOCS), log.rows(T.WRITE_ROWS_V1, numbers(4, version=1)), log.query("COMMIT")], decoder)
    assert simple(items) == [[(4,)], "commit"]
    assert decoder.position == ("m.000001", log.position)
    standalone = [log.mariadb_gtid(10, flags=1), log.query("TRUNCATE docs")]
    assert simple(fed(standalone, decoder)) == ["begin", "truncate", "commit"]
    assert not decoder.in_transaction


def test_only_statements_that_matter_are_reported_each_in_a_transaction_of_its_own() -> None:
    log = Log()
    events = [log.format()]
    for sql in ("DROP TABLE docs", "CREATE USER u", "RENAME TABLE a TO b", "INSERT INTO mysql.beat VALUES (1)"):
        events += [log.gtid(), log.query(sql)]
    assert simple(fed(events)) == [
        *("begin", "drop_table", "commit"),
        *("begin", "commit"),
        *("begin", "rename", "commit"),
        *("begin", "commit"),
    ]


def test_a_statement_inside_a_transaction_does_not_end_it() -> None:
    log = Log()
    events = [log.format(), log.gtid(), log.query("BEGIN"), log.query("CREATE TABLE docs (id INT) START TRANSACTION")]
    events += [log.table_map(DOCS), log.rows(T.WRITE_ROWS, numbers(1)), log.xid()]
    assert simple(fed(events)) == ["begin", "create", [(1,)], "commit"]


def test_servers_without_gtids() -> None:
    log = Log(checksums=False)
    events = [log.format_of_old("5.5.62", 8)]
    start = log.position
    events += [log.query("BEGIN"), log.table_map(DOCS), log.rows(T.WRITE_ROWS_V1, numbers(1, version=1)), log.xid()]
    events += [log.query("TRUNCATE docs")]
    items = fed(events)
    assert isinstance(items[0], TransactionBegin)
    assert items[0].position == start
    assert items[0].gtid is None
    assert simple(items) == ["begin", [(1,)], "commit", "begin", "truncate", "commit"]


def test_very_old_servers_have_shorter_table_ids() -> None:
    decoder = Decoder(Follows())
    fed([Log(checksums=False).format_of_old("5.1.4-log", 6)], decoder)
    assert decoder.format.table_id_size == 4
    assert not decoder.format.crc32


def test_savepoints_and_rollbacks() -> None:
    log = Log()
    events = [log.format(), log.gtid(), log.query("BEGIN"), log.query("SAVEPOINT `a`"), log.table_map(DOCS)]
    events += [log.rows(T.WRITE_ROWS, numbers(1)), log.query("ROLLBACK TO `a`"), log.query("ROLLBACK")]
    assert simple(fed(events)) == ["begin", Savepoint("a", False), [(1,)], Savepoint("a", True), "rollback"]


def test_xa_transactions() -> None:
    log = Log()
    events = [log.format(), log.gtid(), log.query("XA START X'61',X'62',1"), log.table_map(DOCS)]
    events += [log.rows(T.WRITE_ROWS, numbers(1)), log.query("XA END X'61',X'62',1"), log.xa_prepare(b"a", b"b")]
    events += [log.gtid(), log.query("XA COMMIT X'61',X'62',1"), log.gtid(), log.query("XA ROLLBACK X'63',X'',1")]
    events += [log.gtid(), log.query("XA START X'64',X'',1"), log.query("XA END X'64',X'',1")]
    events += [log.xa_prepare(b"d", one_phase=True)]
    items = fed(events)
    assert simple(items) == [
        *("begin", [(1,)], "prepared"),
        *("begin", XaOutcome(Xid(b"a", b"b", 1), True), "commit"),
        *("begin", XaOutcome(Xid(b"c", b"", 1), False), "commit"),
        *("begin", "commit"),
    ]
    prepared = items[2]
    assert isinstance(prepared, TransactionEnd)
    assert prepared.xid == Xid(b"a", b"b", 1)


def test_mariadb_xa_transactions_have_their_start_after_the_gtid() -> None:
    log = Log()
    xid = struct.pack("<iBB", 1, 1, 0) + b"a"
    events = [log.format(KNOWN_MARIADB), log.mariadb_gtid(1, 0x40 | 4, xid), log.query("XA START X'61',X'',1")]
    events += [log.table_map(DOCS), log.rows(T.WRITE_ROWS_V1, numbers(1, version=1)), log.query("XA END X'61',X'',1")]
    events += [log.xa_prepare(b"a"), log.mariadb_gtid(2, 0x80 | 1, xid), log.query("XA COMMIT X'61',X'',1")]
    assert simple(fed(events)) == [
        *("begin", [(1,)], "prepared"),
        *("begin", XaOutcome(Xid(b"a", b"", 1), True), "commit"),
    ]


def inner(kind: int, body: bytes) -> bytes:
    """An event in a payload: no checksum, and a position that means nothing."""
    return struct.pack("<IBIIIH", TIMESTAMP, kind, 7, 19 + len(body), 0, 0) + body


def payload(events: Iterable[bytes], *, size: int | None = None, algorithm: int = 0) -> bytes:
    plain = b"".join(events)
    data = zstandard.compress(plain) if algorithm == 0 else plain
    fields = [(2, packed(algorithm)), (3, packed(len(plain) if size is None else size)), (1, packed(len(data)))]
    return b"".join(packed(kind) + packed(len(value)) + value for kind, value in fields) + b"\0" + data


TRANSACTION = [
    inner(T.QUERY, query_body("BEGIN")),
    inner(T.TABLE_MAP, DOCS.body()),
    inner(T.WRITE_ROWS, numbers(1, 2)),
    inner(T.XID, bytes(8)),
]


@pytest.mark.parametrize("algorithm", [0, 255])
def test_a_compressed_transaction_stands_where_its_outer_events_stand(algorithm: int) -> None:
    log = Log()
    events = [log.format()]
    start = log.position
    events += [log.gtid(), log.event(T.TRANSACTION_PAYLOAD, payload(TRANSACTION, algorithm=algorithm))]
    items = fed(events)
    assert simple(items) == ["begin", [(1,), (2,)], "commit"]
    assert isinstance(items[0], TransactionBegin)
    assert items[0].position == start
    assert items[-1] == TransactionEnd(Outcome.COMMIT, "b.000001", log.position)


def test_a_large_compressed_transaction_is_decoded_as_it_is_taken() -> None:
    log = Log()
    many = [*TRANSACTION[:2], *(inner(T.WRITE_ROWS, numbers(*range(at, at + 500))) for at in range(0, 200_000, 500))]
    decoder = Decoder(Follows(), "b.000001")
    fed([log.format(), log.gtid()], decoder)
    items = iter(decoder.feed(log.event(T.TRANSACTION_PAYLOAD, payload([*many, TRANSACTION[-1]]))))
    assert isinstance(next(items), TransactionBegin)
    assert decoder.in_transaction
    with pytest.raises(RuntimeError, match="not taken"):
        decoder.feed(log.gtid())
    rows = [row for item in items if isinstance(item, Rows) for row in item.rows()]
    assert rows == [(number,) for number in range(200_000)]
    assert not decoder.in_transaction


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (payload(TRANSACTION[:-1]), "ends inside its transaction"),
        (payload([*TRANSACTION[:-1], TRANSACTION[-1][:-1]]), "holds an event of 27 bytes"),
        (payload([*TRANSACTION, bytes(18)]), "inside an event"),
        (payload(TRANSACTION, size=5), "inflates to"),
        (payload(TRANSACTION)[:-3], "says"),
        (payload([inner(T.ROTATE, bytes(8) + b"x")]), "holds a ROTATE"),
        (payload(TRANSACTION, algorithm=3), "algorithm 3"),
        (payload([struct.pack("<IBIIIH", 0, T.XID, 7, 5, 0, 0)]), "event of 5 bytes"),
        (payload([struct.pack("<IBIIIH", 0, T.XID, 7, 1 << 31, 0, 0)]), "event of 2147483648 bytes"),
        (payload([inner(T.XID, bytes(8))]).replace(b"\3\1", b"\x09\1", 1), "does not say"),
    ],
)
def test_a_broken_payload_is_refused(body: bytes, message: str) -> None:
    log = Log()
    with pytest.raises((CorruptedLog, UnsupportedChange), match=message):
        fed([log.format(), log.gtid(), log.event(T.TRANSACTION_PAYLOAD, body)])


def test_a_payload_is_never_inflated_beyond_what_it_says() -> None:
    """Not even to look for the end of an event that says it is larger."""
    log = Log()
    head = struct.pack("<IBIIIH", TIMESTAMP, T.XID, 7, 0xFFFFFFFF, 0, 0)
    decoder = Decoder(Follows(), "b.000001")
    fed([log.format(), log.gtid()], decoder)
    event = log.event(T.TRANSACTION_PAYLOAD, payload([head, bytes(64 << 20)], size=1000))
    tracemalloc.start()
    with pytest.raises(CorruptedLog, match="inflates to"):
        fed([event], decoder)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_large_event_in_a_payload_takes_time_by_its_length() -> None:
    log = Log()
    large = inner(T.ROWS_QUERY, b"\0" + bytes(96 << 20))
    events = [log.format(), log.gtid(), log.event(T.TRANSACTION_PAYLOAD, payload([large, *TRANSACTION]))]
    began = time.thread_time()
    assert simple(fed(events)) == ["begin", [(1,), (2,)], "commit"]
    assert time.thread_time() - began < 3  # twenty seconds if each piece copied those before it


def mariadb_compressed(plain: bytes) -> bytes:
    size = len(plain).to_bytes(3, "big").lstrip(b"\0") or b"\0"
    return bytes([0x80 | len(size)]) + size + zlib.compress(plain)


def test_mariadb_compressed_events() -> None:
    log = Log()
    rows = numbers(*range(300), version=1)
    head = len(rows_body(1, b"", version=1))
    query = query_body("")
    events = [log.format(KNOWN_MARIADB), log.mariadb_gtid(), log.table_map(DOCS)]
    events += [log.event(T.WRITE_ROWS_COMPRESSED_V1, rows[:head] + mariadb_compressed(rows[head:]))]
    events += [log.event(T.QUERY_COMPRESSED, query + mariadb_compressed(b"COMMIT"))]
    assert simple(fed(events)) == ["begin", [(number,) for number in range(300)], "commit"]


@pytest.mark.parametrize(
    "body",
    [b"\x81\x05" + zlib.compress(b"123456"), b"\x81\x07" + zlib.compress(b"123456"), b"\x81\x06xx", b"\x01\x06x", b""],
)
def test_a_broken_compressed_event_is_refused(body: bytes) -> None:
    log = Log()
    head = rows_body(1, b"", version=1)
    events = [log.format(KNOWN_MARIADB), log.mariadb_gtid(), log.table_map(DOCS)]
    with pytest.raises((CorruptedLog, UnsupportedChange)):
        fed([*events, log.event(T.WRITE_ROWS_COMPRESSED_V1, head + body)])


def test_tables_that_are_not_followed_are_passed_over_undecoded() -> None:
    log = Log()
    follows = Follows()
    events = [log.format(), log.gtid(), log.query("BEGIN"), log.table_map(UNREADABLE), log.table_map(OTHER)]
    events += [
        log.table_map(DOCS),
        log.rows(T.WRITE_ROWS, b"\x4f\0\0\0\0\0" + b"garbage"),
        log.rows(T.PARTIAL_UPDATE_ROWS, OTHER.table_id.to_bytes(6, "little")),
    ]
    events += [log.rows(T.WRITE_ROWS, numbers(1)), log.table_map(DOCS), log.rows(T.WRITE_ROWS, numbers(2)), log.xid()]
    assert simple(fed(events, Decoder(follows))) == ["begin", [(1,)], [(2,)], "commit"]
    assert follows.plans == 1


def test_a_table_map_that_changed_gets_a_plan_of_its_own() -> None:
    log = Log()
    follows = Follows()
    wider = Table([Column(ColumnType.TINY, unsigned=True, name="new"), *DOCS.columns])
    row = rows_body(2, image([True, True], [b"\xff", b"\5\0\0\0"]))
    events = [log.format(), log.gtid(), log.query("BEGIN"), log.table_map(DOCS), log.rows(T.WRITE_ROWS, numbers(1))]
    events += [log.table_map(wider), log.rows(T.WRITE_ROWS, row), log.xid()]
    assert simple(fed(events, Decoder(follows))) == ["begin", [(1,)], [(5,)], "commit"]
    assert follows.plans == 2


def begun(log: Log) -> list[bytes]:
    return [log.format(), log.gtid(), log.query("BEGIN"), log.table_map(DOCS)]


REFUSED = {
    "rows of a table that nothing describes": lambda log: [log.rows(T.WRITE_ROWS, numbers(1, table_id=5))],
    "updates in part": lambda log: [log.rows(T.PARTIAL_UPDATE_ROWS, numbers(1))],
    "updates in part of an unknown table": lambda log: [log.rows(T.PARTIAL_UPDATE_ROWS, numbers(1, table_id=5))],
    "an incident": lambda log: [log.event(T.INCIDENT, b"\1\0\4lost")],
    "fragments of a row event": lambda log: [log.event(T.PARTIAL_ROW_DATA, bytes(9))],
    "LOAD DATA as a statement": lambda log: [log.event(T.BEGIN_LOAD_QUERY, bytes(9))],
    "a row event of before 5.1.18": lambda log: [log.event(20, bytes(9))],
    "a type of a later server": lambda log: [log.event(120, bytes(9))],
    "data in a statement": lambda log: [log.query("DELETE FROM docs")],
    "data in a statement on any table": lambda log: [log.query("INSERT INTO other SELECT 1")],
    "a statement that is not understood": lambda log: [log.query("FROBNICATE docs")],
    "a transaction in another": lambda log: [log.gtid()],
    "a second beginning": lambda log: [log.query("BEGIN")],
    "an end without a beginning": lambda log: [log.xid(), log.xid()],
    "rows outside any transaction": lambda log: [log.xid(), log.rows(T.WRITE_ROWS, numbers(1))],
    "a file that begins inside a transaction": lambda log: [log.rotate("b.000002"), Log().format()],
    "a missing event": lambda log: [log.event(T.ROWS_QUERY, b"x"), log.xid()][1:],
    "rows of another width": lambda log: [log.rows(T.WRITE_ROWS, rows_body(2, b""))],
    "a savepoint outside any transaction": lambda log: [log.xid(), log.query("SAVEPOINT a")],
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    log = Log()
    events = begun(log)
    decoder = Decoder(Follows(), "b.000001")
    fed(events, decoder)
    with pytest.raises(VecsyncError) as caught:
        fed(REFUSED[case](log), decoder)
    assert caught.value.hint
    with pytest.raises(RuntimeError, match="stopped at an error"):
        decoder.feed(log.xid())


def test_a_type_that_the_server_flags_ignorable_is_passed_over() -> None:
    log = Log()
    events = [*begun(log), log.event(120, bytes(9), flags=0x80), log.rows(T.WRITE_ROWS, numbers(1)), log.xid()]
    assert simple(fed(events)) == ["begin", [(1,)], "commit"]


def test_a_server_that_died_in_a_transaction_and_came_back_rolled_it_back() -> None:
    log = Log()
    events = [*begun(log), log.rows(T.WRITE_ROWS, numbers(1)), log.rotate("b.000002")]
    events += [Log().format(created=TIMESTAMP)]
    assert simple(fed(events)) == ["begin", [(1,)], Rotated("b.000002", 4), "rollback"]


def test_an_event_that_only_ends_a_statement_has_no_table() -> None:
    log = Log()
    empty = rows_body(0, b"", table_id=0xFFFFFF)
    assert simple(fed([*begun(log), log.rows(T.WRITE_ROWS, empty), log.xid()])) == ["begin", "commit"]


@patiently
@given(at=st.integers(0, 200), bit=st.integers(0, 7), which=st.integers(0, 6))
def test_one_flipped_bit_is_never_decoded(at: int, bit: int, which: int) -> None:
    log = Log()
    events = [*begun(log), log.rows(T.WRITE_ROWS, numbers(1, 2, 3)), log.xid()]
    which %= len(events)
    damaged = bytearray(events[which])
    at %= len(damaged)
    damaged[at] ^= 1 << bit
    if which == 0 and at == 17 and bit == 0:
        return  # the flag that a server clears without computing the checksum anew
    with pytest.raises((CorruptedLog, UnsupportedChange)):
        fed([*events[:which], bytes(damaged), *events[which + 1 :]])


def test_checksums_are_what_the_file_says() -> None:
    log = Log(checksums=False)
    events = [*begun(log), log.rows(T.WRITE_ROWS, numbers(1)), log.xid()]
    assert simple(fed(events)) == ["begin", [(1,)], "commit"]
    log = Log()
    first = log.rotate("b.000003")  # before any format description: seen by the bytes themselves
    assert fed([first]) == [Rotated("b.000003", 4)]
    assert fed([Log(checksums=False).rotate("b.000003")]) == [Rotated("b.000003", 4)]


@pytest.mark.parametrize("version", ["9.7.4", "10.11.18-MariaDB"])
def test_without_checksums_the_copy_of_a_format_description_carries_that_of_the_original(version: str) -> None:
    """What a server sends a reader that begins inside a file. Its position is 0: only such a copy is let through."""
    log = Log(checksums=False)
    whole = bytearray(log.format(version, created=77))
    whole[-1] ^= 1  # as if computed of other bytes
    with pytest.raises(CorruptedLog, match="checksum"):
        fed([bytes(whole)])
    whole[13:17] = bytes(4)
    rest = [log.query("BEGIN"), log.table_map(DOCS), log.rows(T.WRITE_ROWS, numbers(1)), log.xid()]
    assert simple(fed([bytes(whole), *rest])) == ["begin", [(1,)], "commit"]


def test_positions_past_4_gib() -> None:
    log = Log()
    decoder = Decoder(Follows(), "b.000001")
    fed(begun(log)[:1], decoder)
    fed([log.rotate("b.000001", (1 << 32) - 100)], decoder)
    log.position = (1 << 32) - 100
    events = [log.gtid(), log.query("BEGIN"), log.table_map(DOCS), log.rows(T.WRITE_ROWS, numbers(1)), log.xid()]
    items = fed(events, decoder)
    assert isinstance(items[0], TransactionBegin)
    assert items[0].position == (1 << 32) - 100
    assert items[-1] == TransactionEnd(Outcome.COMMIT, "b.000001", log.position)
    assert log.position > 1 << 32


@pytest.mark.parametrize("checksums", [True, False])
def test_the_beginning_of_a_file_is_passed_over(checksums: bool) -> None:
    log = Log(checksums=checksums)
    before = [log.rotate("b.000001"), *begun(log), log.rows(T.WRITE_ROWS, numbers(1)), log.xid()]
    target = log.position
    after = [log.gtid(2), log.query("BEGIN"), log.table_map(DOCS), log.rows(T.WRITE_ROWS, numbers(9)), log.xid()]
    skip, decoder = SkipTo("b.000001", target), Decoder(Follows())
    instead = [event for event in map(skip.take, before) if event is not None]
    assert skip.done
    assert fed(instead, decoder) == [Rotated("b.000001", 4), Rotated("b.000001", target)]
    begin, *rest = fed(after, decoder)
    assert isinstance(begin, TransactionBegin)
    assert begin.position == target
    assert simple(rest) == [[(9,)], "commit"]


def test_a_position_that_is_passed_over_has_to_be_there() -> None:
    log = Log()
    events = [log.rotate("b.000001"), *begun(log), log.xid(), log.rotate("b.000002", artificial=False)]
    with pytest.raises(ForeignLog, match="ends at"):
        list(map(SkipTo("b.000001", 1 << 33).take, events))
    with pytest.raises(CorruptedLog, match="no event ends at"):
        list(map(SkipTo("b.000001", log.position - 60).take, events))


@pytest.mark.parametrize(("flags", "seen"), [(0, True), (2, False), (4, True), (8, False)])
def test_an_alter_that_mariadb_only_starts_or_gives_up_has_no_effect(flags: int, seen: bool) -> None:
    log = Log()
    events = [log.format(KNOWN_MARIADB), log.mariadb_gtid(flags=1, rest=bytes([flags]))]
    assert simple(fed([*events, log.query("ALTER TABLE docs RENAME TO b")])) == [
        "begin",
        *(["alter"] if seen else []),
        "commit",
    ]


def test_anonymous_transactions_have_no_gtid() -> None:
    log = Log()
    events = [log.format("5.7.44-log"), log.event(T.ANONYMOUS_GTID, b"\0" + bytes(24) + b"\2" + bytes(16))]
    (begin, *_) = fed([*events, log.query("BEGIN"), log.xid()])
    assert isinstance(begin, TransactionBegin)
    assert begin.gtid is None
    assert begin.commit_us == TIMESTAMP * 1_000_000


def heartbeat(log: Log, file: str, position: int) -> bytes:
    return log.event(T.HEARTBEAT, file.encode(), log_pos=position)


def heartbeat_v2(log: Log, file: str, position: int) -> bytes:
    body = b"\1" + packed(len(file)) + file.encode() + b"\2" + packed(len(packed(position))) + packed(position) + b"\0"
    return log.event(T.HEARTBEAT_V2, body, log_pos=0)


def test_heartbeats_say_how_far_the_server_is() -> None:
    log = Log()
    decoder = Decoder(Follows(), "b.000001")
    fed([log.format()], decoder)
    at = log.position
    assert fed([heartbeat(log, "b.000001", at)], decoder) == [Heartbeat("b.000001", at)]
    assert fed([heartbeat(log, "b.000001", at + 50)], decoder) == [Heartbeat("b.000001", at + 50)]
    assert fed([heartbeat_v2(log, "b.000001", 5 << 32)], decoder) == [Heartbeat("b.000001", 5 << 32)]
    assert decoder.position == ("b.000001", 5 << 32)
    assert fed([heartbeat(log, "b.000001", 77)], decoder) == [Heartbeat("b.000001", (5 << 32) + 77)]
    assert fed([heartbeat(log, "b.000002", 4)], decoder) == []


def test_the_statement_kinds_that_stop_no_reader_are_known() -> None:
    log = Log()
    items = fed([log.format(), log.gtid(), log.query("ALTER TABLE docs DROP PARTITION p")])
    statement = items[1]
    assert isinstance(statement, StatementItem)
    assert statement.statement.kind is StatementKind.ALTER
    assert statement.statement.removes_rows
    assert statement.query.db == "app"


def test_a_table_that_may_be_followed_later_is_asked_about_at_each_table_map() -> None:
    """Its table map is the same, to the byte, when it has been made again."""

    class NotNow(Follows):
        def follows(self, db: str, table: str) -> bool | None:
            self.plans += 1
            return None if self.plans < 3 else True

    log, selection = Log(), NotNow()
    decoder = Decoder(selection, "b.000001")
    fed([log.format()], decoder)
    found = []
    for number in range(4):
        items = fed(
            [
                log.gtid(5 + number),
                log.query("BEGIN"),
                log.table_map(DOCS),
                log.rows(T.WRITE_ROWS, numbers(number)),
                log.xid(),
            ],
            decoder,
        )
        found += [item.rows() for item in items if isinstance(item, Rows)]
    assert found == [[(2,)], [(3,)]]
    assert selection.plans == 4  # the last of them for the plan, which is kept
