"""Rows that are wrong, too large or oddly named: each is refused or set aside by name, and nothing else is lost."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.compare import derived_structures_agree, differences, open_plainly, replica_rows, source_rows
from tests.system.schema import SHADOW, create_tables
from tests.system.site import Site, embedded_log, kafka_log, sql_source

MODEL = "m"


def vector(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def put(database: SqlDatabase, dataset: str, id: str, content: str, embedding: bytes | None = None) -> None:
    connection = database.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT IGNORE INTO vec_dataset (dataset_id) VALUES (%s)", (dataset,))
        cursor.execute(
            "REPLACE INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model)"
            " VALUES (%s, %s, %s, %s, %s)",
            (dataset, id, content, embedding, MODEL),
        )


def replicated(site: Site, database: SqlDatabase) -> None:
    """Brings the replica up to date; afterwards it is its source, and its indexes are its documents'."""
    site.capture()
    site.apply()
    assert differences(source_rows(database.server, database.name), replica_rows(site.replica)) == []
    derived_structures_agree(site.replica)


def failed(site: Site) -> dict[str, str]:
    connection = open_plainly(site.replica)
    try:
        rows = connection.execute("SELECT id, error FROM vec_lifecycle WHERE state = 'failed'").fetchall()
    finally:
        connection.close()
    return {str(id): str(error) for id, error in rows}


def test_embeddings_that_cannot_be_searched(sql_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(sql_database)
    models = {"replica": {"models": {MODEL: {"dims": 3}}}}
    site = Site(
        tmp_path, {**sql_source(sql_database), **embedded_log(tmp_path), **models}, sql_database.server.password
    )
    wrong = {
        "seven": (b"1234567", "7 bytes"),
        "nan": (vector(1, float("nan"), 0), "value 1 is not a number"),
        "infinite": (vector(1, 0, float("-inf")), "value 2 is infinite"),
        "four": (vector(1, 2, 3, 4), "4 dimensions, model m is configured to have 3"),
        "zero": (vector(0, 0, 0), "zero"),
    }
    put(sql_database, "d", "right", "heron", vector(1, 2, 3))
    for id, (embedding, _) in wrong.items():
        put(sql_database, "d", id, f"heron {id}", embedding)
    put(sql_database, "d", "none", "heron without", None)
    put(sql_database, "d", "empty", "heron empty", b"")
    replicated(site, sql_database)

    found = failed(site)
    assert found.keys() == wrong.keys()
    for id, (_, reason) in wrong.items():
        assert reason in found[id]
    assert set(site.search("heron", "--mode", "text")) == {"right", "none", "empty", *wrong}
    query = tmp_path / "query.json"
    query.write_text("[1, 2, 3]")
    assert site.search("--mode", "vector", "--vector", str(query)) == ["right"]

    for id in wrong:
        put(sql_database, "d", id, f"heron {id}", vector(1, 2, 4))
    replicated(site, sql_database)
    assert failed(site) == {}
    assert set(site.search("--mode", "vector", "--vector", str(query))) == {"right", *wrong}


@pytest.mark.parametrize("log", ["kafka", "embedded"])
def test_a_document_over_the_limit_of_the_broker(
    mariadb_database: SqlDatabase, request: pytest.FixtureRequest, topic_prefix: str, tmp_path: Path, log: str
) -> None:
    create_tables(mariadb_database)
    if log == "kafka":
        sections = kafka_log(request.getfixturevalue("kafka_server"), topic_prefix)
    else:
        sections = embedded_log(tmp_path)
    site = Site(tmp_path, {**sql_source(mariadb_database), **sections}, mariadb_database.server.password)
    site.change(topics={"max_message_bytes": 100_000})
    put(mariadb_database, "d", "large", "heron small")
    replicated(site, mariadb_database)
    put(mariadb_database, "d", "before", "heron before")
    put(mariadb_database, "d", "large", "heron " * 50_000)
    put(mariadb_database, "d", "after", "heron after")

    said = site.refused("capture", "run", code=7)
    assert "'large'" in said
    assert "'d'" in said
    assert "errors_tolerance" in said
    site.apply()
    assert set(site.search("heron", "--mode", "text")) == {"large", "before"}

    site.change(publish={"errors_tolerance": "all"})
    site.capture()
    site.apply()
    assert set(site.search("heron", "--mode", "text")) == {"before", "after"}
    (letter,) = site.events("--topic", "dlq")
    assert letter["key"]["id"] == "large"
    assert "large" not in {id for _, id in replica_rows(site.replica)}

    put(mariadb_database, "d", "large", "heron small again")
    replicated(site, mariadb_database)
    assert set(site.search("heron", "--mode", "text")) == {"before", "after", "large"}


ODD = [
    "two words",
    " leading",
    "trailing ",
    "",
    ".",
    "..",
    "a.b.c",
    "a/b/../c",
    "back\\slash",
    "%41 100%",
    "50%_like_",
    "'single' \"double\" `back`",
    "'; DROP TABLE shadow_vec_docs; --",
    "[a-z]* ?{x}",
    "--help",
    "-n",
    "line\nbreak\ttab",
    "\x00zero",
    "NULL",
    "\u00e9",  # one character
    "e\u0301",  # two
    "Straße STRASSE",
    "🦆🦆 дом 家 \u202eabc",
    "_x2e_",
    "x" * 191,
    "🦆" * 191,
]


def test_every_legal_odd_name(
    sql_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    create_tables(sql_database)
    site = Site(
        tmp_path, {**sql_source(sql_database), **kafka_log(kafka_server, topic_prefix)}, sql_database.server.password
    )
    site.run("source", "install")
    for name in ODD:
        put(sql_database, name, name, f"heron of {name}", vector(1, 2, 3))
        put(sql_database, name, "usual", "heron", vector(1, 2, 3))
    put(sql_database, "usual", "", "heron", vector(1, 2, 3))
    replicated(site, sql_database)
    assert len(replica_rows(site.replica)) == 2 * len(ODD) + 1

    # The commands take them too; each begins a process, so not every one.
    for name in ("a/b/../c", "'; DROP TABLE shadow_vec_docs; --", "--help", "🦆" * 191):
        assert name in site.search("heron", "--mode", "text", f"--dataset={name}")
    for name in ("'single' \"double\" `back`", "[a-z]* ?{x}"):
        shown = json.loads(site.run("docs", "show", "-d", name, "--id", name, "--json").stdout)
        assert shown["id"] == name
        site.run("docs", "archive", "-d", name, "--id", name)
        seen = {event["key"]["dataset_id"] for event in site.events(f"--dataset={name}")}
        assert seen - {None} == {name}  # None: a floor of the table
    replicated(site, sql_database)
    assert site.search("heron", "--mode", "text", "--dataset=[a-z]* ?{x}") == ["usual"]

    for name in ODD[::2]:
        connection = sql_database.connect()
        with connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM vec_dataset WHERE dataset_id = %s", (name,))
    replicated(site, sql_database)


def test_document_ids_that_are_equal_by_collation(sql_database: SqlDatabase, tmp_path: Path) -> None:
    """In a table that ignores case, one row takes the other spelling: a deletion and an insertion."""
    create_tables(sql_database)
    sql_database.execute(
        "ALTER TABLE shadow_vec_docs MODIFY id VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"
    )
    site = Site(tmp_path, {**sql_source(sql_database), **embedded_log(tmp_path)}, sql_database.server.password)
    put(sql_database, "d", "chapter", "heron one")
    site.capture()
    sql_database.execute("UPDATE shadow_vec_docs SET id = 'Chapter', content = 'heron two' WHERE id = 'CHAPTER'")
    put(sql_database, "d", "CHAPTER", "heron three")  # REPLACE takes the row with the other spelling
    sql_database.execute("UPDATE shadow_vec_docs SET content = 'heron four' WHERE id = 'chapter'")
    replicated(site, sql_database)
    assert site.search("heron", "--mode", "text") == ["CHAPTER"]


def test_dataset_ids_that_are_equal_by_collation(sql_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(sql_database)
    ci = "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"
    sql_database.execute(
        "DROP TABLE shadow_vec_docs",
        f"ALTER TABLE vec_dataset MODIFY dataset_id {ci}",
        f"CREATE TABLE shadow_vec_docs (dataset_id {ci}, id VARCHAR(191) NOT NULL, content TEXT, meta TEXT,"
        " embedding BLOB, embedding_model TEXT, scn BIGINT NOT NULL DEFAULT 0, archived TINYINT NOT NULL DEFAULT 0,"
        " created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),"
        " updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), PRIMARY KEY (dataset_id, id),"
        " FOREIGN KEY (dataset_id) REFERENCES vec_dataset (dataset_id) ON DELETE CASCADE)",
    )
    site = Site(tmp_path, {**sql_source(sql_database), **embedded_log(tmp_path)}, sql_database.server.password)
    put(sql_database, "rootA", "1", "heron")
    site.capture()
    with site.service("capture", "run") as capturing:
        put(sql_database, "other", "3", "heron")
        while "3" not in site.ids():
            capturing.check()
        sql_database.execute("INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('roota', '2', 'heron')")
        assert capturing.process is not None
        assert capturing.process.wait(60) == 7
        assert "'rootA' and 'roota'" in capturing.tail()
    said = site.refused("capture", "run", code=4)
    assert "equal by collation" in said
    assert "SELECT" in said, "it says how to find them"
    assert sorted(site.ids()) == ["1", "3"], "the second spelling was not published"
    sql_database.execute("UPDATE shadow_vec_docs SET dataset_id = 'rootA' WHERE id = '2'")
    site.capture()
    site.apply()
    assert set(site.search("heron", "--mode", "text", "--dataset", "rootA")) == {"1", "2"}


def test_a_dataset_whose_new_name_its_documents_take(sql_database: SqlDatabase, tmp_path: Path) -> None:
    """By a foreign key that the binlog does not show: a new snapshot finds the new names. Where none is to be taken
    capture stops."""
    create_tables(sql_database)
    sql_database.execute(
        "DROP TABLE shadow_vec_docs",
        SHADOW.format(table="shadow_vec_docs", key="dataset_id, id").replace(
            "ON DELETE CASCADE", "ON DELETE CASCADE ON UPDATE CASCADE"
        ),
    )
    site = Site(tmp_path, {**sql_source(sql_database), **embedded_log(tmp_path)}, sql_database.server.password)
    put(sql_database, "old", "1", "heron")
    put(sql_database, "other", "2", "heron")
    replicated(site, sql_database)
    sql_database.execute("UPDATE vec_dataset SET dataset_id = 'new' WHERE dataset_id = 'old'")
    said = site.refused("capture", "run", code=7, VECSYNC_SOURCE__SNAPSHOT="no_data")
    assert "'old' became 'new'" in said
    replicated(site, sql_database)
    assert site.search("heron", "--mode", "text", "--dataset", "new") == ["1"]
