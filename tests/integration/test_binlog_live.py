"""The binlog of real servers, decoded, against what SELECT shows there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest

from connector.errors import (
    AuthenticationFailed,
    ConnectionLost,
    DuplicateServerId,
    ForeignLog,
    PositionLost,
    UnsupportedChange,
)
from connector.source.binlog import connection as connection_module
from connector.source.binlog.charsets import text_decoder
from connector.source.binlog.connection import (
    BinlogConnection,
    dump_from_gtid_set,
    dump_from_mariadb_gtids,
    dump_from_position,
)
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import EventType, RowsKind
from connector.source.binlog.gtid import Gtid, GtidSet, MariadbGtid, MariadbGtidList
from connector.source.binlog.items import (
    Heartbeat,
    Item,
    Outcome,
    Savepoint,
    StatementItem,
    TransactionBegin,
    TransactionEnd,
    XaOutcome,
)
from connector.source.binlog.rows import RowPlan, Rows
from connector.source.binlog.statements import StatementKind
from connector.source.binlog.table_map import TableMap
from tests.servers.fix_sql import StartSqlServer, fresh_database
from tests.servers.model import SqlDatabase, SqlKind, SqlServer

_HEARTBEAT_S = 0.2
_MISSED = connection_module._MISSED_HEARTBEATS
_LONG_S = 60.0  # to wait for what comes in any case


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a server may have no turn for longer than a few heartbeats as short as these take."""
    monkeypatch.setattr(connection_module, "_MISSED_HEARTBEATS", _LONG_S / _HEARTBEAT_S)


@dataclass(frozen=True)
class Everything:
    """Follows every table of one database, and wants all of its columns."""

    db: str

    def follows(self, db: str, table: str) -> bool:
        return db == self.db

    def plan(self, table: TableMap) -> RowPlan:
        return RowPlan(table, [column.name or "?" for column in table.columns])


def head(server: SqlServer) -> tuple[str, int]:
    show = "SHOW MASTER STATUS" if server.kind == "mariadb" else "SHOW BINARY LOG STATUS"
    file, position, *_ = server.query(show)[0]
    return file, position


def executed(server: SqlServer) -> str:
    variable = "gtid_binlog_pos" if server.kind == "mariadb" else "gtid_executed"
    return str(server.query(f"SELECT @@GLOBAL.{variable}")[0][0])


@contextlib.contextmanager
def dump(server: SqlServer, file: str, position: int, server_id: int = 4711, **how: Any) -> Iterator[BinlogConnection]:
    stream = dump_from_position(
        server.connect(**how), server_id=server_id, file=file, position=position, heartbeat_s=_HEARTBEAT_S
    )
    with contextlib.closing(stream):
        yield stream


def drain(stream: BinlogConnection, decoder: Decoder) -> list[Item]:
    """Until there is no more: the server has said nothing but heartbeats twice (one may announce what follows)."""
    found: list[Item] = []
    heartbeats = 0
    while heartbeats < 2 and (event := stream.read_event(_LONG_S)) is not None:
        heartbeats = heartbeats + 1 if event[4] in (EventType.HEARTBEAT, EventType.HEARTBEAT_V2) else 0
        found += [
            Decoded(item) if isinstance(item, Rows) else item  # type: ignore[misc]
            for item in decoder.feed(event)
            if not isinstance(item, Heartbeat)
        ]
    assert heartbeats == 2, "no heartbeat came"
    return found


def read_for(stream: BinlogConnection, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stream.read_event(0.2)


class Decoded:
    """Rows, decoded while their event is at hand."""

    def __init__(self, rows: Rows) -> None:
        self.table = rows.table.table
        self.kind = rows.kind
        self.no_foreign_key_checks = rows.no_foreign_key_checks
        self.cascades_logged = rows.cascades_logged
        self.rows: list[Any] = rows.pairs() if rows.kind is RowsKind.UPDATE else rows.rows()


def recorded(database: SqlDatabase, *statements: str) -> list[Any]:
    """What the log says of these statements, run in one session."""
    file, position = head(database.server)
    database.execute(*statements)
    with dump(database.server, file, position) as stream:
        return drain(stream, Decoder(Everything(database.name)))


def rows_of(items: Sequence[Any]) -> list[Any]:
    return [row for item in items if isinstance(item, Decoded) for row in item.rows]


# Column: its type, how SELECT shows it as the decoder does, and values
_TEXT, _PLAIN = "CAST({} AS CHAR)", "{}"
_COLUMNS: dict[str, tuple[str, str, list[str]]] = {
    "t1": ("TINYINT", _PLAIN, ["-128", "127"]),
    "t1u": ("TINYINT UNSIGNED ZEROFILL", _PLAIN, ["0", "255"]),
    "t2": ("SMALLINT", _PLAIN, ["-32768", "32767"]),
    "t2u": ("SMALLINT UNSIGNED", _PLAIN, ["0", "65535"]),
    "t3": ("MEDIUMINT", _PLAIN, ["-8388608", "8388607"]),
    "t3u": ("MEDIUMINT UNSIGNED", _PLAIN, ["0", "16777215"]),
    "t4": ("INT", _PLAIN, ["-2147483648", "2147483647"]),
    "t4u": ("INT UNSIGNED", _PLAIN, ["0", "4294967295"]),
    "t8": ("BIGINT", _PLAIN, ["-9223372036854775808", "9223372036854775807"]),
    "t8u": ("BIGINT UNSIGNED", _PLAIN, ["0", "18446744073709551615"]),
    "f": ("FLOAT", "{} + 0e0", ["1.5", "-3.25"]),
    "d": ("DOUBLE", _PLAIN, ["1.7976931348623157e308", "-2.5e-300"]),
    "d1": ("DECIMAL(1,0)", _TEXT, ["-9", "0"]),
    "d2": ("DECIMAL(65,30)", _TEXT, [f"-{'9' * 35}.{'9' * 30}", "0.000000000000000000000000000001"]),
    "d3": ("DECIMAL(20,9)", _TEXT, ["12345678901.123456789", "-0.5"]),
    "d4": ("DECIMAL(9,9)", _TEXT, ["0.999999999", "-0.000000001"]),
    "b1": ("BIT(1)", "{} + 0", ["b'1'", "b'0'"]),
    "b33": ("BIT(33)", "{} + 0", ["8589934591", "1"]),
    "b64": ("BIT(64)", "{} + 0", ["18446744073709551615", "9223372036854775808"]),
    "y": ("YEAR", _PLAIN, ["1901", "2155", "0"]),
    "da": ("DATE", _TEXT, ["'0000-00-00'", "'9999-12-31'", "'2026-00-00'"]),
    "ti": ("TIME", _TEXT, ["'-838:59:59'", "'00:00:00'"]),
    "ti1": ("TIME(1)", _TEXT, ["'-00:00:00.1'", "'838:59:58.9'"]),
    "ti3": ("TIME(3)", _TEXT, ["'-00:00:01.001'", "'100:00:00.999'"]),
    "ti4": ("TIME(4)", _TEXT, ["'-12:00:00.0001'", "'-12:00:01.0000'"]),
    "ti6": ("TIME(6)", _TEXT, ["'-838:59:58.999999'", "'00:00:00.000001'"]),
    "dt": ("DATETIME", _TEXT, ["'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'"]),
    "dt1": ("DATETIME(1)", _TEXT, ["'2026-02-03 04:05:06.7'", "'1000-01-01 00:00:00.0'"]),
    "dt2": ("DATETIME(2)", _TEXT, ["'2026-02-03 04:05:06.07'", "'0000-00-00 00:00:00.00'"]),
    "dt5": ("DATETIME(5)", _TEXT, ["'2026-02-03 04:05:06.70809'", "'2026-02-03 04:05:06.00001'"]),
    "dt6": ("DATETIME(6)", _TEXT, ["'2026-02-03 04:05:06.070809'", "'2026-02-03 04:05:06.999999'"]),
    "ts": ("TIMESTAMP NULL", _TEXT, ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00 00:00:00'"]),
    "ts2": ("TIMESTAMP(2) NULL", _TEXT, ["'2026-06-07 08:09:10.01'", "'0000-00-00 00:00:00'"]),
    "ts6": ("TIMESTAMP(6) NULL", _TEXT, ["'2026-06-07 08:09:10.000001'", "'2038-01-19 03:14:07.999999'"]),
    "c": ("CHAR(10)", _PLAIN, ["' a  '", "'é€😀'"]),
    "c0": ("CHAR(0)", _PLAIN, ["''"]),
    "cl": ("CHAR(255) CHARACTER SET utf8mb4", _PLAIN, ["REPEAT('€', 255)", "''"]),
    "bn": ("BINARY(5)", _PLAIN, ["X'0001000000'", "''"]),
    "bl": ("BINARY(255)", _PLAIN, ["REPEAT('x', 255)", "X'00'"]),
    "v": ("VARCHAR(20)", _PLAIN, ["'a '", "REPEAT('😀', 20)"]),
    "vl": ("VARCHAR(3000)", _PLAIN, ["REPEAT('xyz', 1000)", "''"]),
    "vb": ("VARBINARY(300)", _PLAIN, ["X'00FF00'", "''"]),
    "x1": ("TINYTEXT", _PLAIN, ["'tiny'", "REPEAT('x', 255)"]),
    "x2": ("TEXT", _PLAIN, ["REPEAT('é', 20000)", "'x'"]),
    "x3": ("MEDIUMTEXT", _PLAIN, ["REPEAT('y', 70000)", "''"]),
    "x4": ("LONGTEXT", _PLAIN, ["'long'", "REPEAT('z', 100)"]),
    "o1": ("TINYBLOB", _PLAIN, ["X'00'", "''"]),
    "o2": ("BLOB", _PLAIN, ["REPEAT(X'FE', 300)", "''"]),
    "o3": ("MEDIUMBLOB", _PLAIN, ["REPEAT(X'FD', 66000)", "''"]),
    "o4": ("LONGBLOB", _PLAIN, ["REPEAT(X'FC', 6144)", "''"]),
    "e": ("ENUM('a','é','x''y')", _PLAIN, ["'é'", "'x''y'", "'none of them'"]),
    "el": ("ENUM('a','é') CHARACTER SET latin1", _PLAIN, ["'é'", "'a'"]),
    "s": ("SET('a','é','c')", _PLAIN, ["'a,c'", "''", "'é'"]),
    "l1": ("VARCHAR(90) CHARACTER SET latin1", _PLAIN, ["'é€'", "X'818D8F909D'"]),
    "u3": ("VARCHAR(90) CHARACTER SET utf8mb3", _PLAIN, ["'é€'", "''"]),
    "u2": ("VARCHAR(90) CHARACTER SET ucs2", _PLAIN, ["'é€'", "''"]),
    "u16": ("VARCHAR(90) CHARACTER SET utf16", _PLAIN, ["'é€😀'", "''"]),
    "u32": ("TEXT CHARACTER SET utf32", _PLAIN, ["'é€😀'", "''"]),
    "g": ("GEOMETRY", _PLAIN, ["ST_GeomFromText('POINT(1 2)')"]),
    "i": ("INT DEFAULT 5 INVISIBLE", _PLAIN, ["6"]),
    "gv": ("INT AS (t4 DIV 2) VIRTUAL", _PLAIN, []),
    "gs": ("VARCHAR(9) AS (LEFT(v, 1)) STORED", _PLAIN, []),
}


def test_every_type_is_decoded_as_select_shows_it(sql_database: SqlDatabase) -> None:
    columns = _COLUMNS
    kinds = ", ".join(f"{name} {kind}" for name, (kind, _, _) in columns.items())
    most = max(len(values) for _, _, values in columns.values())
    statements = ["SET sql_mode = '', time_zone = '+00:00'", f"CREATE TABLE every (k INT PRIMARY KEY, {kinds})"]
    for at in range(most):
        named = {name: values[at] for name, (_, _, values) in columns.items() if at < len(values)}
        statements.append(f"INSERT INTO every (k, {', '.join(named)}) VALUES ({at}, {', '.join(named.values())})")
    statements += [
        f"INSERT INTO every (k, {name}) SELECT 1000 + {at}, {name} FROM every WHERE k = 0"
        for at, (name, spec) in enumerate(columns.items())
        if spec[2]
    ]
    found = {row[0]: row for row in rows_of(recorded(sql_database, *statements))}
    shown = ", ".join(how.format(name) for name, (_, how, _) in columns.items())
    connection = sql_database.connect(init_command="SET time_zone = '+00:00'", conv={**_NUMBERS_ONLY})
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(f"SELECT k, {shown} FROM every")
        expected = {row[0]: row for row in cursor.fetchall()}
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        for name, mine, theirs in zip(["k", *columns], found[key], row, strict=True):
            assert mine == theirs, f"column {name} of row {key}"

    updated = recorded(
        sql_database, "SET sql_mode = ''", "UPDATE every SET x4 = 'changed' WHERE k < 3", "DELETE FROM every"
    )
    for before, after in (
        pair for item in updated if isinstance(item, Decoded) and item.kind is RowsKind.UPDATE for pair in item.rows
    ):
        assert before == found[before[0]]
        assert [name for name, old, new in zip(["k", *columns], before, after, strict=True) if old != new] == ["x4"]
        found[after[0]] = after
    deleted = [
        row for item in updated if isinstance(item, Decoded) and item.kind is RowsKind.DELETE for row in item.rows
    ]
    assert {row[0]: row for row in deleted} == found


# PyMySQL's converters would make dates and decimals of what is text here already; numbers it may convert.
_NUMBERS_ONLY: dict[int, Callable[[str], Any]] = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13), int),
    4: float,
    5: float,
    246: int,
}


@pytest.mark.parametrize(
    "charset",
    "latin1 latin2 latin5 latin7 ascii cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 greek hebrew hp8 koi8r koi8u "
    "macce macroman".split(),
)
def test_single_byte_character_sets_are_converted_as_the_server_does(
    mariadb_database: SqlDatabase, charset: str
) -> None:
    _compare_conversion(mariadb_database, charset, [bytes([octet]) for octet in range(256)])


@pytest.mark.parametrize("charset", ["gbk", "gb2312", "euckr"])
def test_double_byte_character_sets_are_converted_as_the_server_does(
    mariadb_database: SqlDatabase, charset: str
) -> None:
    _compare_conversion(
        mariadb_database,
        charset,
        [bytes([first, second]) for first in range(0x81, 0xFF) for second in range(0x40, 0xFF)],
    )


def _compare_conversion(database: SqlDatabase, charset: str, inputs: list[bytes]) -> None:
    """Whatever is decoded is what the server makes of it; what the server cannot convert is not decoded."""
    decode = text_decoder(charset)
    assert decode is not None
    compared = 0
    for start in range(0, len(inputs), 2000):
        part = inputs[start : start + 2000]
        terms = ", ".join(f"HEX(CONVERT(CONVERT(X'{raw.hex()}' USING {charset}) USING utf8mb4))" for raw in part)
        for raw, shown in zip(part, database.query(f"SELECT {terms}")[0], strict=True):
            theirs = bytes.fromhex(shown).decode() if shown is not None else None
            try:
                mine = decode(raw)
            except UnicodeDecodeError:
                assert theirs is None or "?" in theirs or "\ufffd" in theirs or len(theirs) == len(raw) > 1, raw.hex()
                continue
            assert mine == theirs, raw.hex()
            compared += 1
    assert compared > 100


def test_mysql_9_logs_what_cascades(mysql_database: SqlDatabase) -> None:
    items = recorded(
        mysql_database,
        "CREATE TABLE parent (id INT PRIMARY KEY)",
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (10, 1), (11, 1)",
        "DELETE FROM parent",
    )
    deleted = [item for item in items if isinstance(item, Decoded) and item.kind is RowsKind.DELETE]
    if tuple(map(int, mysql_database.server.query("SELECT VERSION()")[0][0].split("-")[0].split("."))) < (9, 6):
        assert [(item.table, item.cascades_logged) for item in deleted] == [("parent", False)]
    else:
        assert [(item.table, item.cascades_logged) for item in deleted] == [("child", True), ("parent", True)]
        assert rows_of(deleted) == [(10, 1), (11, 1), (1,)]


def test_transactions_stand_where_the_server_says(sql_database: SqlDatabase) -> None:
    server = sql_database.server
    sql_database.execute("CREATE TABLE a (id INT PRIMARY KEY)")
    file, position = head(server)
    items = recorded(
        sql_database, "INSERT INTO a VALUES (1)", "BEGIN", "INSERT INTO a VALUES (2)", "DELETE FROM a", "COMMIT"
    )
    begins = [item for item in items if isinstance(item, TransactionBegin)]
    ends = [item for item in items if isinstance(item, TransactionEnd)]
    assert (begins[0].file, begins[0].position) == (file, position)
    assert (ends[-1].file, ends[-1].position) == head(server)
    assert begins[1].position == ends[0].position
    last = begins[-1].gtid
    if server.kind == "mysql":
        assert isinstance(last, Gtid)
        assert last in GtidSet.parse(executed(server))
    else:
        assert isinstance(last, MariadbGtid)
        assert last in list(MariadbGtidList.parse(executed(server)))
    now_us = int(server.query("SELECT UNIX_TIMESTAMP(NOW(6)) * 1000000")[0][0])
    assert 0 <= now_us - begins[-1].commit_us < 60_000_000
    # From the start of the second transaction nothing of the first comes.
    with dump(server, begins[1].file, begins[1].position) as stream:
        again = drain(stream, Decoder(Everything(sql_database.name)))
    assert rows_of(again) == [(2,), (1,), (2,)]


def test_compressed_transactions_and_rows(start_sql_server: StartSqlServer) -> None:
    for kind, switch in (("mysql", "binlog_transaction_compression"), ("mariadb", "log_bin_compress")):
        server = start_sql_server(kind, {switch: "ON"})  # type: ignore[arg-type]
        with fresh_database(server) as database:
            database.execute("CREATE TABLE a (id INT PRIMARY KEY, x LONGTEXT)")
            items = recorded(
                database,
                "INSERT INTO a VALUES (1, REPEAT('abc', 100000)), (2, NULL)",
                "BEGIN",
                "UPDATE a SET x = REPEAT('d', 5000)",
                "DELETE FROM a",
                "COMMIT",
            )
            assert rows_of(items) == [
                (1, "abc" * 100000),
                (2, None),
                ((1, "abc" * 100000), (1, "d" * 5000)),
                ((2, None), (2, "d" * 5000)),
                (1, "d" * 5000),
                (2, "d" * 5000),
            ]
            ends = [item for item in items if isinstance(item, TransactionEnd)]
            assert (ends[-1].file, ends[-1].position) == head(server)


def test_statements_savepoints_and_xa(sql_database: SqlDatabase) -> None:
    sql_database.execute("CREATE TABLE a (id INT PRIMARY KEY)")
    items = recorded(
        sql_database,
        "BEGIN",
        "INSERT INTO a VALUES (1)",
        "SAVEPOINT `s p`",
        "INSERT INTO a VALUES (2)",
        "COMMIT",
        "TRUNCATE TABLE a",
        "SET foreign_key_checks = 0",
        "INSERT INTO a VALUES (3)",
        "XA START 'x', 'b', 3",
        "INSERT INTO a VALUES (4)",
        "XA END 'x', 'b', 3",
        "XA PREPARE 'x', 'b', 3",
        "XA COMMIT 'x', 'b', 3",
        "XA START 'y'",
        "INSERT INTO a VALUES (5)",
        "XA END 'y'",
        "XA COMMIT 'y' ONE PHASE",
        "ALTER TABLE a RENAME TO b",
        "DROP TABLE b",
    )
    assert Savepoint("s p", False) in items
    assert rows_of(items) == [(1,), (2,), (3,), (4,), (5,)]
    flags = [item.no_foreign_key_checks for item in items if isinstance(item, Decoded)]
    assert flags == [False, False, True, True, True]
    kinds = [item.statement.kind for item in items if isinstance(item, StatementItem)]
    assert kinds == [StatementKind.TRUNCATE, StatementKind.ALTER, StatementKind.DROP_TABLE]
    (xa,) = (item for item in items if isinstance(item, XaOutcome))
    prepared = [item.xid for item in items if isinstance(item, TransactionEnd) and item.outcome is Outcome.PREPARED]
    assert prepared == [xa.xid]
    assert xa.commit


@pytest.mark.parametrize(
    ("statements", "hint"),
    [
        (["SET binlog_format = STATEMENT", "INSERT INTO a VALUES (1, 'x')"], "binlog_format"),
        (
            ["SET binlog_row_image = MINIMAL", "INSERT INTO a VALUES (1, 'x')", "UPDATE a SET x = 'y'"],
            "binlog_row_image",
        ),
        (["SET binlog_row_image = NOBLOB", "INSERT INTO a VALUES (1, 'x')", "UPDATE a SET id = 2"], "binlog_row_image"),
    ],
)
def test_a_session_that_overrides_a_setting_is_caught(
    sql_database: SqlDatabase, statements: list[str], hint: str
) -> None:
    sql_database.execute("CREATE TABLE a (id INT PRIMARY KEY, x TEXT)")
    with pytest.raises(UnsupportedChange) as caught:
        recorded(sql_database, *statements)
    assert hint in caught.value.hint


def test_json_updates_in_part_are_caught(mysql_database: SqlDatabase) -> None:
    mysql_database.execute(
        "CREATE TABLE a (id INT PRIMARY KEY, j JSON)", """INSERT INTO a VALUES (1, '{"a": "x", "b": 1}')"""
    )
    with pytest.raises(UnsupportedChange, match="in part") as caught:
        recorded(
            mysql_database, "SET binlog_row_value_options = PARTIAL_JSON", "UPDATE a SET j = JSON_SET(j, '$.b', 2)"
        )
    assert "binlog_row_value_options" in caught.value.hint


_JSON = [
    *"null true false 0 -1 32767 32768 -32769 65535 65536 4294967295 4294967296 -9223372036854775808".split(),
    *"18446744073709551615 18446744073709551616 1.0 -0.0 1e14 1e15 1e16 2.5e15 3561974474736333.5 1e-14 1e-15".split(),
    *"1.7976931348623157e308 5e-324 0.1 123456.789 999999999999999.9".split(),
    *('""', '"x"', '"\\u0000\\u001f\\b\\f\\n\\r\\t\\"\\\\/\\u007f\\u2028😀é"'),
    *("[]", "{}", '[[], {}, [null, {"": 1, "b": -70000, "a": [1.5]}]]', "[" * 90 + "]" * 90),
    json.dumps(["x" * 127, "x" * 128, "y" * 70_000]),
    json.dumps({f"key {number}": number * 1000 for number in range(5000)}),
    json.dumps([number * 70_000 for number in range(15_000)]),
]
_JSON_EXPRESSIONS = [
    "JSON_ARRAY(DATE'2020-01-02', TIME'12:13:14.5', TIME'-112:13:14.000001', TIMESTAMP'2020-01-02 03:04:05.123')",
    "JSON_ARRAY(CAST(123.450 AS DECIMAL(10,3)), CAST(-0.5 AS DECIMAL(65,30)), X'CAFE', b'101', CAST(2020 AS YEAR))",
    "JSON_OBJECT('b', CAST('abc' AS BINARY), 'a', ST_GeomFromText('POINT(1 2)'))",
]


def test_json_is_the_text_that_select_shows(mysql_database: SqlDatabase) -> None:
    mysql_database.execute("CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, j JSON)")
    statements = [f"INSERT INTO a (j) VALUES ({pymysql.converters.escape_item(text, 'utf8mb4')})" for text in _JSON]
    statements += [f"INSERT INTO a (j) VALUES ({expression})" for expression in _JSON_EXPRESSIONS]
    shown = dict(rows_of(recorded(mysql_database, *statements)))
    expected = dict(mysql_database.query("SELECT id, CAST(j AS CHAR) FROM a"))
    assert len(expected) == len(statements)
    assert shown == expected


def test_tagged_gtids_and_vectors(mysql_database: SqlDatabase) -> None:
    before = GtidSet.parse(executed(mysql_database.server))
    mysql_database.execute("CREATE TABLE a (id INT PRIMARY KEY, v VECTOR(3))")
    items = recorded(
        mysql_database,
        "SET gtid_next = 'AUTOMATIC:app_1'",
        "INSERT INTO a VALUES (1, TO_VECTOR('[1,2,3]'))",
        "SET gtid_next = AUTOMATIC",
        "INSERT INTO a VALUES (2, NULL)",
        "FLUSH BINARY LOGS",
        "INSERT INTO a VALUES (3, NULL)",
    )
    assert rows_of(items) == [(1, bytes.fromhex("0000803f0000004000004040")), (2, None), (3, None)]
    grown = before
    for begin in (item for item in items if isinstance(item, TransactionBegin)):
        assert isinstance(begin.gtid, Gtid)
        grown = grown.add(begin.gtid)
    now = GtidSet.parse(executed(mysql_database.server))
    assert any(tag == "app_1" for _, tag, _ in grown)
    assert grown.is_subset(now)
    # A set with tags is understood by the server: of all that is in it, nothing comes.
    mysql_database.execute("INSERT INTO a VALUES (4, NULL)")
    stream = dump_from_gtid_set(mysql_database.server.connect(), server_id=4712, executed=now, heartbeat_s=_HEARTBEAT_S)
    with contextlib.closing(stream):
        assert rows_of(drain(stream, Decoder(Everything(mysql_database.name)))) == [(4, None)]


def test_reading_on_from_a_mariadb_gtid_position(mariadb_database: SqlDatabase) -> None:
    server = mariadb_database.server
    mariadb_database.execute("CREATE TABLE a (id INT PRIMARY KEY)", "INSERT INTO a VALUES (1)")
    known = MariadbGtidList.parse(executed(server))
    mariadb_database.execute("INSERT INTO a VALUES (2)")
    stream = dump_from_mariadb_gtids(server.connect(), server_id=4712, executed=known, heartbeat_s=_HEARTBEAT_S)
    with contextlib.closing(stream):
        assert rows_of(drain(stream, Decoder(Everything(mariadb_database.name)))) == [(2,)]
    (last, *_) = known
    ahead = MariadbGtidList([last._replace(sequence=last.sequence + 10**6)])
    stream = dump_from_mariadb_gtids(server.connect(), server_id=4712, executed=ahead, heartbeat_s=_HEARTBEAT_S)
    with contextlib.closing(stream), pytest.raises(ForeignLog):
        drain(stream, Decoder(Everything(mariadb_database.name)))


def test_reading_on_from_a_set_that_the_server_never_had(mysql_database: SqlDatabase) -> None:
    server = mysql_database.server
    ((uuid, _, intervals), *_) = list(GtidSet.parse(executed(server)))
    foreign = GtidSet({(uuid, ""): [(1, intervals[-1][1] + 10**6)]})
    stream = dump_from_gtid_set(server.connect(), server_id=4712, executed=foreign, heartbeat_s=_HEARTBEAT_S)
    with contextlib.closing(stream), pytest.raises(ForeignLog):
        drain(stream, Decoder(Everything(mysql_database.name)))


def test_positions_that_the_protocol_cannot_name(sql_database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the dump command could not name positions past 10: the file is read from its beginning."""
    monkeypatch.setattr(connection_module, "_POSITION_LIMIT", 10)
    sql_database.execute("CREATE TABLE a (id INT PRIMARY KEY)", "INSERT INTO a VALUES (1)")
    assert rows_of(recorded(sql_database, "INSERT INTO a VALUES (2)")) == [(2,)]


def test_an_alter_in_two_phases_is_seen_once(mariadb_database: SqlDatabase) -> None:
    mariadb_database.execute("CREATE TABLE a (id INT PRIMARY KEY)", "INSERT INTO a VALUES (1), (2)")
    file, position = head(mariadb_database.server)
    with contextlib.suppress(pymysql.err.IntegrityError):
        mariadb_database.execute(
            "SET binlog_alter_two_phase = ON",
            "ALTER TABLE a ADD COLUMN b INT, ALGORITHM = COPY",
            "ALTER TABLE a ADD UNIQUE KEY (b), RENAME TO c, ALGORITHM = COPY",
            "UPDATE c SET b = 1",
            "ALTER TABLE c RENAME TO d",
        )
    with dump(mariadb_database.server, file, position) as stream:
        items = drain(stream, Decoder(Everything(mariadb_database.name)))
    shown = [item.query.sql for item in items if isinstance(item, StatementItem)]
    assert len(shown) == len(set(shown)) >= 2


def test_a_row_of_more_than_16_mib(sql_database: SqlDatabase) -> None:
    sql_database.execute("CREATE TABLE a (id INT PRIMARY KEY, x LONGBLOB)")
    items = recorded(
        sql_database, "INSERT INTO a VALUES (1, REPEAT('0123456789abcdef', 2 * 1024 * 1024))", "DELETE FROM a"
    )
    whole = (1, b"0123456789abcdef" * (2 * 1024 * 1024))
    assert rows_of(items) == [whole, whole]


def test_a_file_that_is_not_there(sql_server: SqlServer) -> None:
    file, _ = head(sql_server)
    with dump(sql_server, file.split(".")[0] + ".999999", 4) as stream, pytest.raises(PositionLost):
        stream.read_event(_LONG_S)


def test_a_second_reader_of_the_same_server_id_is_noticed(sql_server: SqlServer) -> None:
    file, position = head(sql_server)
    with dump(sql_server, file, position, 815) as first:
        assert first.read_event(_LONG_S) is not None
        with dump(sql_server, file, position, 815) as second:
            assert second.read_event(_LONG_S) is not None
            with pytest.raises(DuplicateServerId):
                read_for(first, _LONG_S)


def test_an_account_without_the_privilege_is_told_so(sql_database: SqlDatabase) -> None:
    server = sql_database.server
    user = f"u_{sql_database.name}"
    sql_database.execute(f"CREATE USER {user} IDENTIFIED BY 'pw'")
    try:
        with pytest.raises(AuthenticationFailed), dump(server, *head(server), user=user, password="pw") as stream:
            stream.read_event(_LONG_S)
    finally:
        sql_database.execute(f"DROP USER {user}")


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_a_stopped_and_a_silent_server(start_sql_server: StartSqlServer, kind: SqlKind) -> None:
    server = start_sql_server(kind, {"binlog_checksum": "NONE"})
    with fresh_database(server) as database:
        database.execute("CREATE TABLE a (id INT PRIMARY KEY)")
        assert rows_of(recorded(database, "INSERT INTO a VALUES (1)")) == [(1,)]  # without checksums
        with dump(server, *head(server)) as stream:
            drain(stream, Decoder(Everything(database.name)))
            server.process.pause()
            stream._patience_s = _HEARTBEAT_S * _MISSED
            try:
                with pytest.raises(ConnectionLost, match="heartbeat"):
                    read_for(stream, _LONG_S)
            finally:
                server.process.resume()
        with dump(server, *head(server)) as stream:
            drain(stream, Decoder(Everything(database.name)))
            server.process.stop()
            with pytest.raises(ConnectionLost):
                read_for(stream, _LONG_S)


def test_over_tls(mysql_database: SqlDatabase) -> None:
    mysql_database.execute("CREATE TABLE a (id INT PRIMARY KEY, x LONGTEXT)")
    server = mysql_database.server
    file, position = head(server)
    mysql_database.execute("INSERT INTO a VALUES (1, REPEAT('t', 3000000))")
    with dump(server, file, position, ssl={"check_hostname": False, "verify_mode": "none"}) as stream:
        assert rows_of(drain(stream, Decoder(Everything(mysql_database.name)))) == [(1, "t" * 3000000)]
