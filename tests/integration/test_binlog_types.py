"""Any column type at any place: a followed table may have columns of types that nobody follows, before, between and
behind those that are, and its texts may be in any character set."""

from __future__ import annotations

import random
from typing import Any

import pytest

from connector.errors import CorruptedLog, UnsupportedChange
from connector.model import DocChange
from connector.source.binlog.events import RowsKind
from tests.integration.test_binlog_live import _COLUMNS, recorded, rows_of
from tests.integration.test_binlog_source import Reading
from tests.servers.fix_sql import StartSqlServer, fresh_database
from tests.servers.model import SqlDatabase
from tests.system.schema import VEC_DATASET

# Types that one server has alone: how a value is written, and what is stored for it.
_VECTOR = ("VECTOR(2)", "TO_VECTOR('[1,-2]')", bytes.fromhex("0000803f000000c0"))
_OWN: dict[str, list[tuple[str, str, Any]]] = {
    "mysql": [
        _VECTOR,
        ("VECTOR(2048)", f"TO_VECTOR('[{','.join(['0'] * 2047)},1]')", bytes(4 * 2047) + bytes.fromhex("0000803f")),
        ("JSON", "'[1, {\"a\": null}]'", '[1, {"a": null}]'),
        (
            "POINT",
            "ST_GeomFromText('POINT(1 2)')",
            bytes(4) + bytes.fromhex("0101000000" + "000000000000f03f0000000000000040"),
        ),
        ("CHAR(4) CHARACTER SET utf16le", "'é€'", "é€"),
    ],
    "mariadb": [
        ("INET6", "'2001:db8::1'", bytes.fromhex("20010db8000000000000000000000001")),
        ("INET4", "'127.0.0.1'", bytes((127, 0, 0, 1))),
        ("UUID", "'123e4567-e89b-12d3-a456-426655440000'", bytes.fromhex("123e4567e89b12d3a456426655440000")),
        ("JSON", "'[1, {\"a\": null}]'", '[1, {"a": null}]'),
        ("VARCHAR(300) COMPRESSED", "REPEAT('é', 300)", "é" * 300),
        ("TEXT COMPRESSED", "REPEAT('ab', 5000)", "ab" * 5000),
        ("BLOB COMPRESSED", "REPEAT(X'00FF', 5000)", b"\0\xff" * 5000),
        ("MEDIUMTEXT COMPRESSED", "''", ""),
        ("INT INVISIBLE DEFAULT 3", "4", 4),
    ],
}


def test_types_that_one_server_has_alone(sql_database: SqlDatabase) -> None:
    """Each also NULL, and between two other columns."""
    own = _OWN[sql_database.server.kind]
    columns = ", ".join(f"c{at} {kind}, n{at} INT" for at, (kind, _, _) in enumerate(own))
    names = ", ".join(f"c{at}, n{at}" for at in range(len(own)))
    values = ", ".join(f"{value}, {at}" for at, (_, value, _) in enumerate(own))
    rows = rows_of(
        recorded(
            sql_database,
            f"CREATE TABLE a (k INT PRIMARY KEY, {columns})",
            f"INSERT INTO a (k, {names}) VALUES (1, {values})",
            f"INSERT INTO a (k, {names}) VALUES (2, {', '.join('NULL, 7' for _ in own)})",
        )
    )
    expected = [1, *(part for at, (_, _, stored) in enumerate(own) for part in (stored, at))]
    for name, mine, theirs in zip(["k", *names.split(", ")], rows[0], expected, strict=True):
        assert mine == theirs, f"{name}: {columns}"
    assert rows[1] == (2, *(None, 7) * len(own))


_FOLLOWED = {
    "dataset_id": "VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
    "id": "VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
    "content": "MEDIUMTEXT NULL",
    "meta": "MEDIUMTEXT NULL",
    "embedding": "LONGBLOB NULL",
    "embedding_model": "VARCHAR(191) NULL",
    "scn": "BIGINT NOT NULL DEFAULT 0",
    "archived": "TINYINT(1) NOT NULL DEFAULT 0",
    "created_at": "DATETIME(6) NULL",
    "updated_at": "TIMESTAMP(6) NULL",
}
# As many as InnoDB lets a row hold beside those: some of the others are long.
_OTHERS_AT_A_TIME = 40


@pytest.mark.parametrize("shuffle", range(3))
def test_followed_columns_between_columns_of_any_type(sql_database: SqlDatabase, shuffle: int) -> None:
    """In a random order, with random NULLs: inserted, updated (so that the bitmaps of both images count), deleted."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    others = {name: (kind, values) for name, (kind, _, values) in _COLUMNS.items() if name not in ("gv", "gs", "cl")}
    own = enumerate(_OWN[sql_database.server.kind])
    others |= {f"own{at}": (kind, [value]) for at, (kind, value, _) in own if "2048" not in kind}
    chosen = chance.sample(sorted(others), min(_OTHERS_AT_A_TIME, len(others)))
    definitions = [f"{name} {others[name][0]}" for name in chosen] + [f"{n} {kind}" for n, kind in _FOLLOWED.items()]
    chance.shuffle(definitions)
    # What the server computes is stored or not, and in the row images either way.
    definitions.insert(chance.randrange(len(definitions)), "computed VARCHAR(99) AS (CONCAT(id, '!')) STORED")
    definitions.insert(chance.randrange(len(definitions)), "virtual_one INT AS (scn + 1) VIRTUAL")
    print(definitions)
    sql_database.execute(
        VEC_DATASET, f"CREATE TABLE shadow_vec_docs ({', '.join(definitions)}, PRIMARY KEY (dataset_id, id))"
    )
    reading = Reading(sql_database)
    statements = ["SET sql_mode = '', time_zone = '+00:00'"]
    for row in range(30):
        values = {name: chance.choice([*others[name][1], "NULL"]) for name in chosen}
        if "i" in values and values["i"] == "NULL":
            del values["i"]
        content = chance.choice(["NULL", "''", f"REPEAT('é', {chance.randrange(400)})"])
        values |= {"dataset_id": "'d'", "id": f"'{row}'", "content": content, "scn": str(chance.randrange(1 << 40))}
        values |= {"embedding": chance.choice(["NULL", "''", f"REPEAT(X'00FF3E80', {chance.randrange(1, 400)})"])}
        values |= {"archived": str(row % 2), "meta": chance.choice(["NULL", "'{}'"])}
        values |= {"created_at": chance.choice(["NULL", "'2026-01-02 03:04:05.678901'"])}
        values |= {"updated_at": chance.choice(["NULL", "'2026-01-02 03:04:05.000001'"])}
        statements.append(f"INSERT INTO shadow_vec_docs ({', '.join(values)}) VALUES ({', '.join(values.values())})")
    statements.append("UPDATE shadow_vec_docs SET content = CONCAT(COALESCE(content, ''), '+'), scn = scn + 1")
    sql_database.execute(*statements)
    shown = sql_database.server.query(
        "SELECT dataset_id, id, content, meta, embedding, embedding_model, scn, archived, CAST(created_at AS CHAR), "
        "CAST(updated_at AS CHAR) FROM shadow_vec_docs ORDER BY CAST(id AS UNSIGNED)",
        database=sql_database.name,
        init_command="SET time_zone = '+00:00'",
    )
    sql_database.execute("DELETE FROM shadow_vec_docs")
    changes = [change for change in reading.changes() if isinstance(change, DocChange)]
    reading.close()
    assert [change.op.value for change in changes] == ["c"] * 30 + ["u"] * 30 + ["d"] * 30
    updated = [_row(change) for change in changes if change.op.value == "u"]
    assert sorted(updated, key=lambda row: int(row[1])) == shown


def _row(change: DocChange) -> tuple[Any, ...]:
    key, row = change.key, change.after
    assert row is not None
    texts = (row.content, row.meta, row.embedding, row.embedding_model)
    return (key.dataset_id, key.id, *texts, row.scn, int(row.archived), row.created_at, row.updated_at)


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("latin1", "é€ÿ\x81"),
        ("ucs2", "é€漢"),
        ("utf16", "é€漢😀"),
        ("utf32", "é€漢😀"),
        ("utf8mb3", "é€漢"),
        ("gbk", "漢字é丂"),
        ("cp1251", "Привет№"),
        ("sjis", "漢字ｱ〜\\"),
        ("cp932", "漢字ｱ①～髙"),
        ("ujis", "漢字ｱ〜丂"),
        ("eucjpms", "漢字ｱ①～髙"),
        ("big5", "漢字碁／"),
        ("gb2312", "汉字"),
        ("gb18030", "漢字é😀ḿ"),
        ("euckr", "한글漢"),
        ("tis620", "ภาษา"),
        ("armscii8", "Հայ"),
    ],
)
def test_ids_and_texts_in_another_character_set(sql_database: SqlDatabase, charset: str, text: str) -> None:
    if charset == "gb18030" and sql_database.server.kind == "mariadb":
        pytest.skip("MariaDB has no gb18030")
    text_type = f"CHARACTER SET {charset} NOT NULL"
    sql_database.execute(
        VEC_DATASET.replace("VARCHAR(191)", f"VARCHAR(50) CHARACTER SET {charset} COLLATE {charset}_bin"),
        f"CREATE TABLE shadow_vec_docs (dataset_id VARCHAR(50) {text_type}, id CHAR(50) {text_type}, "
        f"content MEDIUMTEXT {text_type}, meta TEXT {text_type}, embedding LONGBLOB, embedding_model VARCHAR(191) "
        f"{text_type}, scn BIGINT, archived TINYINT, PRIMARY KEY (dataset_id, id)) COLLATE {charset}_bin",
    )
    reading = Reading(sql_database)
    connection = sql_database.connect()
    with connection.cursor() as cursor:
        row = (text, text, text * 900, text, text)
        cursor.execute("INSERT INTO shadow_vec_docs VALUES (%s, %s, %s, %s, NULL, %s, 1, 0)", row)
        cursor.execute("SELECT dataset_id, id, content, meta, embedding_model FROM shadow_vec_docs")
        assert cursor.fetchall() == (row,), "what the server stored"
    connection.close()
    (change,) = reading.changes()
    reading.close()
    assert isinstance(change, DocChange)
    dataset_id, id, content, meta, _, model, *_ = _row(change)
    assert (dataset_id, id, content, meta, model) == row


def test_times_of_before_version_5_6(start_sql_server: StartSqlServer) -> None:
    """MariaDB still writes them where it is told to. With a fraction it stores them in a way of its own, of which the
    log says nothing: no reader can find the columns after them, and this one does not pretend to."""
    server = start_sql_server("mariadb", {"mysql56_temporal_format": "OFF"})
    with fresh_database(server) as database:
        items = recorded(
            database,
            "SET time_zone = '+00:00'",
            "CREATE TABLE a (k INT PRIMARY KEY, t TIME, d DATETIME, s TIMESTAMP NULL, x VARCHAR(9))",
            "INSERT INTO a VALUES (1, '-12:13:14', '2026-01-02 03:04:05', '2026-01-02 03:04:05', 'x')",
            "INSERT INTO a VALUES (2, NULL, NULL, NULL, 'y')",
            "UPDATE a SET t = '838:59:59' WHERE k = 1",
        )
        first = (1, "-12:13:14", "2026-01-02 03:04:05", "2026-01-02 03:04:05", "x")
        assert rows_of(items) == [first, (2, None, None, None, "y"), (first, (1, "838:59:59", *first[2:]))]
        assert [item.kind for item in items if hasattr(item, "kind")][-1] is RowsKind.UPDATE
        with pytest.raises((UnsupportedChange, CorruptedLog)):
            rows_of(
                recorded(
                    database,
                    "CREATE TABLE b (k INT PRIMARY KEY, t TIME(3), x VARCHAR(9))",
                    "INSERT INTO b VALUES (1, '12:13:14.567', 'x')",
                )
            )
