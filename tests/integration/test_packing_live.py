"""Rows that real servers wrote, packed, against the same rows as changes, written by fastavro."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.model import Change, PackedRows
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import EventType
from connector.source.binlog.rows import RowPlan, Rows
from connector.source.binlog.table_map import TableMap
from connector.source.binlog_changes import TransactionOrigin, changes
from connector.source.binlog_following import Following
from tests.integration.test_binlog_live import dump, head
from tests.servers.model import SqlDatabase
from tests.system.packed import records

ORIGIN = TransactionOrigin("mysql", "p", 1, "b.000001", 1, 4, 5, 7, None)
COLUMNS = ("dataset_id", "id", "content", "meta", "embedding", "embedding_model", "scn", "archived")
TIMES = ("created_at", "updated_at")


class Unpacking(Following):
    """Makes a change of every row."""

    def plan(self, table: TableMap) -> RowPlan:
        plan = super().plan(table)
        plan.packing = None
        return plan


def taken(following: Following, database: SqlDatabase, file: str, position: int) -> list[Change | PackedRows]:
    found: list[Change | PackedRows] = []
    decoder, entries, heartbeats = Decoder(following, file, position), list[Rows](), 0
    with dump(database.server, file, position) as stream:
        while heartbeats < 2 and (event := stream.read_event(1.0)) is not None:
            heartbeats = heartbeats + 1 if event[4] in (EventType.HEARTBEAT, EventType.HEARTBEAT_V2) else 0
            entries += [item for item in decoder.feed(event) if isinstance(item, Rows)]
    found += changes(entries, ORIGIN, following)
    return found


# Character set, and text that it has a place for
_TEXTS = {
    "utf8mb4": "Grüße, 🦆 и 漢字",
    "utf8mb3": "Grüße и 漢字",
    "ascii": "plain ~",
    "latin1": "Grüße € ž",
    "latin2": "Grüße Łódź",
    "cp1251": "Привет",
    "gbk": "漢字",
    "ucs2": "Grüße 漢字",
    "utf16": "Grüße 🦆",
    "utf32": "Grüße 🦆",
}
_TYPES: list[dict[str, str]] = [
    {},
    {"content": "LONGTEXT NULL", "meta": "JSON NULL", "embedding": "VARBINARY(64) NULL", "scn": "BIGINT UNSIGNED NULL"},
    {"content": "CHAR(120) NULL", "meta": "TINYTEXT NULL", "embedding": "BINARY(20) NULL", "scn": "MEDIUMINT NOT NULL"},
    {"content": "VARCHAR(4000)", "embedding": "BLOB", "scn": "INT UNSIGNED", "archived": "MEDIUMINT NULL"},
    {"created_at": "DATETIME(3) NULL", "updated_at": "TIMESTAMP(2) NULL", "scn": "SMALLINT"},
    {"created_at": "DATE NULL", "updated_at": "VARCHAR(60) NULL", "embedding_model": "TEXT"},
    {"created_at": "", "updated_at": ""},
]


def definition(types: dict[str, str]) -> str:
    found = {
        "extra_first": "DECIMAL(20, 5) DEFAULT 1.5",
        "dataset_id": "VARCHAR(90) NOT NULL",
        "id": "VARCHAR(90) NOT NULL",
        "content": "MEDIUMTEXT NULL",
        "meta": "MEDIUMTEXT NULL",
        "extra_between": "DOUBLE NULL DEFAULT 0.25",
        "embedding": "LONGBLOB NULL",
        "embedding_model": "VARCHAR(90) NULL",
        "scn": "BIGINT NOT NULL DEFAULT 0",
        "archived": "TINYINT(1) NOT NULL DEFAULT 0",
        "created_at": "TIMESTAMP(6) NULL",
        "updated_at": "TIMESTAMP(6) NULL",
        "extra_last": "VARCHAR(300) DEFAULT 'behind it'",
    }
    columns = [f"{name} {kind}" for name, kind in (found | types).items() if kind]
    return f"({', '.join(columns)}, PRIMARY KEY (dataset_id, id))"


@pytest.mark.parametrize("charset", _TEXTS)
def test_the_same_bytes_for_rows_of_real_servers(sql_database: SqlDatabase, charset: str) -> None:
    text = _TEXTS[charset]
    tables = {f"docs_{n}": types for n, types in enumerate(_TYPES)}
    for table, types in tables.items():
        sql_database.execute(f"CREATE TABLE {table} {definition(types)} CHARACTER SET {charset}")
    file, position = head(sql_database.server)
    connection = sql_database.connect()
    with connection, connection.cursor() as cursor:
        for table, types in tables.items():
            rows: list[tuple[Any, ...]] = [
                ("d", "1", text, json.dumps({"a": text}), bytes(16), text, 7, 1),
                ("e", text, "", "{}", b"\x01\x02\0\0", "", 0, 0),
                (text, "2", None, None, None, None, 32_000, 0),
                ("d", "3", text * 5, None, bytes(range(20)), "m", 127, 1),
            ]
            columns = list(COLUMNS)
            if types.get("created_at") != "":
                columns += TIMES
                times = [(None, None), ("2026-02-03 04:05:06.789012", "2026-02-03 04:05:06"), (None, "2026-02-03"), ()]
                rows = [(*row, *(some or ("2026-02-04", None))) for row, some in zip(rows, times, strict=True)]
            marks = ", ".join(["%s"] * len(columns))
            cursor.execute("SET SESSION sql_mode = ''")
            cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
            cursor.execute(f"UPDATE {table} SET content = CONCAT(COALESCE(content, ''), %s)", ("!",))
            cursor.execute(f"UPDATE {table} SET id = '9', embedding = NULL WHERE id = '3'")
            cursor.execute(f"DELETE FROM {table} WHERE id = '1'")
    every = dict.fromkeys(tables, False)
    packed = taken(Following(sql_database.name, every, ColumnNames()), sql_database, file, position)
    plain = taken(Unpacking(sql_database.name, every, ColumnNames()), sql_database, file, position)
    assert sum(len(one.rows) for one in packed if isinstance(one, PackedRows)) == 8 * len(tables)
    assert not any(isinstance(one, PackedRows) for one in plain)
    assert len(plain) == 11 * len(tables)
    assert records(packed) == records(plain)
