"""Statements that change tables as a whole, and what else takes rows away: read long after they ran, with the tables
looking like something else by then. What is published is compared with what the source held at each commit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from connector.errors import UnseenRows, UnsupportedChange
from connector.replica import run
from tests.servers.model import SqlDatabase
from tests.system.compare import differences, replica_rows, source_rows
from tests.system.followed import Followed, Moment, Told
from tests.system.schema import SHADOW, VEC_DATASET, PrimaryKey, create_tables

ALTER = "ALTER TABLE shadow_vec_docs "
INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id, content, meta, embedding, embedding_model, scn) VALUES "
DOCS = "dataset_id, id, content, meta, embedding, embedding_model, scn, archived, created_at, updated_at"


@pytest.fixture(params=["dataset_and_id", "id"])
def primary_key(request: pytest.FixtureRequest) -> PrimaryKey:
    key: PrimaryKey = request.param
    return key


@pytest.fixture
def told(sql_database: SqlDatabase) -> Iterator[Told]:
    create_tables(sql_database)
    sql_database.execute(
        ALTER + "ADD COLUMN extra INT NOT NULL DEFAULT 7 FIRST, ADD COLUMN note VARCHAR(50) DEFAULT 'n' AFTER content",
        "INSERT INTO vec_dataset (dataset_id, description) VALUES ('d', 'one'), ('e', 'two')",
        INSERT + "('d','a','Grüße','{}',X'0000803F','m',1),('d','b',NULL,NULL,NULL,NULL,2),('e','c','','','','',3)",
    )
    found = Told(sql_database)
    yield found
    found.source.close()


FOLLOWED = [
    "ADD COLUMN first INT NULL FIRST",
    "ADD COLUMN last JSON NULL",
    "ADD COLUMN `id2` VARCHAR(10) DEFAULT 'id', ALGORITHM=INSTANT",
    "ADD COLUMN (one INT, two VARCHAR(9) DEFAULT ',content'), ADD INDEX (note)",
    "DROP COLUMN extra",
    "DROP note, DROP COLUMN extra",
    "CHANGE note remark TEXT, RENAME COLUMN extra TO further",
    "MODIFY note VARCHAR(50) AFTER updated_at, MODIFY COLUMN extra INT NOT NULL DEFAULT 7 AFTER id",
    "MODIFY content LONGTEXT FIRST, MODIFY scn BIGINT NOT NULL AFTER extra",
    "MODIFY embedding_model TEXT, MODIFY embedding MEDIUMBLOB",
    "MODIFY content MEDIUMTEXT CHARACTER SET latin1",
    "CHANGE content content TEXT CHARACTER SET utf16 COLLATE utf16_bin NULL",
    "MODIFY meta LONGTEXT CHARACTER SET latin1, MODIFY archived INT NOT NULL DEFAULT 0",
    "ADD COLUMN upper_id VARCHAR(191) AS (UPPER(id)) VIRTUAL, ADD COLUMN size INT AS (LENGTH(content)) STORED",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (id)",
    "ALTER COLUMN scn SET DEFAULT 5, ADD UNIQUE KEY u (id, scn), COMMENT 'DROP COLUMN content'",
    "ENGINE=InnoDB",
]


@pytest.mark.parametrize("clauses", FOLLOWED)
def test_an_alter_that_leaves_documents_as_they_are(told: Told, clauses: str) -> None:
    begun_before = told.source.stream(told.begin)
    told.run(
        INSERT + "('d','before','äß','x',X'00','m',4)",
        ALTER + clauses,
        INSERT + "('d','after','äß','x',X'01','m',5),('e','after2',NULL,NULL,NULL,'m',6)",
        "UPDATE shadow_vec_docs SET content = 'changed', scn = scn + 10 WHERE dataset_id = 'd'",
        "UPDATE shadow_vec_docs SET id = 'moved' WHERE id = 'before'",
        "DELETE FROM shadow_vec_docs WHERE id = 'a'",
    )
    told.follow(begun_before)
    told.follow(told.source.stream(told.begin))


UNSEEN = [
    "DROP COLUMN created_at",
    "DROP COLUMN content, ADD COLUMN content TEXT DEFAULT NULL",
    "RENAME COLUMN content TO old, RENAME COLUMN note TO content",
    "MODIFY created_at DATETIME(6) NOT NULL",  # the session's time zone is what counts
    "MODIFY content TEXT CHARACTER SET ascii",  # in a session that puts question marks in
    "ADD FOREIGN KEY (note) REFERENCES vec_dataset (dataset_id)",
]


@pytest.mark.parametrize("clauses", UNSEEN)
def test_an_alter_that_may_change_documents_is_not_followed(told: Told, clauses: str) -> None:
    begun_before = told.source.stream(told.begin)
    told.run(INSERT + "('d','before','ä','x',X'00','m',4)")
    told.database.execute("SET SESSION time_zone = '+05:00', sql_mode = '', foreign_key_checks = 0", ALTER + clauses)
    told.moments.append(Moment(told.source.head(), {}))
    for stream in begun_before, told.source.stream(told.begin):
        with pytest.raises(UnseenRows, match="shadow_vec_docs") as caught:
            told.follow(stream)
        assert "capture snapshot" in caught.value.hint


@pytest.mark.parametrize("clauses", ["RENAME COLUMN content TO body", "CHANGE id name VARCHAR(191)", "DROP content"])
def test_a_column_that_documents_need_is_missed_by_name(told: Told, clauses: str) -> None:
    begun_before = told.source.stream(told.begin)
    told.run(INSERT + "('d','before','ä','x',X'00','m',4)")
    told.database.execute(ALTER + clauses)
    told.moments.append(Moment(told.source.head(), {}))
    with pytest.raises(UnsupportedChange, match=r"lost its column (content|id):") as caught:
        told.follow(begun_before)
    assert not isinstance(caught.value, UnseenRows)
    assert "source.mapping" in caught.value.hint


def test_statements_that_write_rows_in_other_ways(
    sql_database: SqlDatabase, primary_key: PrimaryKey, tmp_path: Path
) -> None:
    create_tables(sql_database, primary_key)
    sql_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d'), ('e')",
        INSERT + "('d','a','1',NULL,X'00','m',1),('d','b','1',NULL,X'00','m',1)",
    )
    rows = tmp_path / "rows.tsv"
    rows.write_text("d\ta\tfrom a file\t\\N\nd\tloaded\täöü\t{}\ne\tloaded2\t\t\\N\n", encoding="utf-8")
    told = Told(sql_database)
    stream = told.source.stream(told.begin)
    told.run(
        "REPLACE INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d','a','2'), ('d','new','2')",
        # with ids that are unique over all datasets, this takes the document out of the other one
        "REPLACE INTO shadow_vec_docs (dataset_id, id, content) VALUES ('e','a','3')",
        INSERT + "('d','b','4',NULL,NULL,'m',9),('e','c','4',NULL,NULL,'m',9)"
        " ON DUPLICATE KEY UPDATE content = 'was there', dataset_id = VALUES(dataset_id), scn = VALUES(scn)",
        INSERT + "('e','b','5',NULL,NULL,'m',9) ON DUPLICATE KEY UPDATE dataset_id = 'e', content = 'moved'",
        "INSERT IGNORE INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d','new','6'),('d','newer','6')",
    )
    for how in ("REPLACE", "IGNORE"):
        with sql_database.connect(local_infile=True) as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL local_infile = ON")
            cursor.execute(
                f"LOAD DATA LOCAL INFILE '{rows}' {how} INTO TABLE shadow_vec_docs CHARACTER SET utf8mb4"
                " (dataset_id, id, content, meta) SET embedding = X'0000803F', scn = scn + 1"
            )
        told.moments.append(Moment(told.source.head(), told.now()))
    told.run(
        "DELETE FROM shadow_vec_docs WHERE id LIKE 'loaded%'",
        "DELETE FROM vec_dataset WHERE dataset_id = 'e'",
        "INSERT INTO vec_dataset (dataset_id) VALUES ('e')",
        INSERT + "('e','again','7',NULL,NULL,'m',1)",
        "TRUNCATE TABLE shadow_vec_docs",
        INSERT + "('e','again','8',NULL,NULL,'m',1)",
    )
    told.follow(stream)
    told.source.close()


def filled(database: SqlDatabase, directory: Path, key: PrimaryKey = "dataset_and_id") -> Followed:
    create_tables(database, key)
    database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d'), ('e')",
        INSERT + ",".join(f"('{d}','{d}{n}','text {n}','{{}}',X'0000803F','m',1)" for d in "de" for n in range(6)),
    )
    found = Followed(database, directory)
    found.capture()
    found.check()
    return found


@pytest.fixture
def site(sql_database: SqlDatabase, tmp_path: Path) -> Followed:
    return filled(sql_database, tmp_path)


GHOST = [
    "CREATE TABLE _shadow_vec_docs_gho LIKE shadow_vec_docs",
    "ALTER TABLE _shadow_vec_docs_gho ADD COLUMN extra INT FIRST",
    f"INSERT IGNORE INTO _shadow_vec_docs_gho ({DOCS}) SELECT {DOCS} FROM shadow_vec_docs",
    # what no change of the table itself has shown
    "DELETE FROM _shadow_vec_docs_gho WHERE id IN ('d1', 'e1')",
    "UPDATE _shadow_vec_docs_gho SET content = 'unseen', scn = 2 WHERE id IN ('d2', 'e2')",
    "INSERT INTO _shadow_vec_docs_gho (dataset_id, id, content) VALUES ('d', 'd99', 'unseen')",
    "RENAME TABLE shadow_vec_docs TO _shadow_vec_docs_del, _shadow_vec_docs_gho TO shadow_vec_docs",
    "DROP TABLE _shadow_vec_docs_del",
]
TRIGGER = "CREATE TRIGGER osc_{name} AFTER {event} ON shadow_vec_docs FOR EACH ROW "
PT_OSC = [
    "CREATE TABLE _shadow_vec_docs_new LIKE shadow_vec_docs",
    "ALTER TABLE _shadow_vec_docs_new DROP COLUMN updated_at, ADD COLUMN updated_at TIMESTAMP(6) NULL",
    TRIGGER.format(name="del", event="DELETE")
    + "DELETE IGNORE FROM _shadow_vec_docs_new WHERE dataset_id = OLD.dataset_id AND id = OLD.id",
    TRIGGER.format(name="ins", event="INSERT")
    + f"REPLACE INTO _shadow_vec_docs_new ({DOCS}) VALUES ({', '.join(f'NEW.{c}' for c in DOCS.split(', '))})",
    "INSERT LOW_PRIORITY IGNORE INTO _shadow_vec_docs_new (dataset_id, id, content, scn)"
    " SELECT dataset_id, id, content, scn FROM shadow_vec_docs LOCK IN SHARE MODE",
    INSERT + "('d','while','copied',NULL,NULL,'m',1)",
    "DELETE FROM shadow_vec_docs WHERE id = 'e3'",
    "RENAME TABLE shadow_vec_docs TO _shadow_vec_docs_old, _shadow_vec_docs_new TO shadow_vec_docs",
    "DROP TABLE IF EXISTS _shadow_vec_docs_old",
]
SHADOW_BY_ID = SHADOW.format(table="shadow_vec_docs", key="id")
AGAIN = [
    "DROP TABLE shadow_vec_docs",
    SHADOW_BY_ID,
    INSERT + "('d','d1','again',NULL,X'0000803F','m',1)",
]
SWAPS = {
    "gh-ost": GHOST,
    "pt-osc": PT_OSC,
    "in two steps": ["RENAME TABLE shadow_vec_docs TO old", "RENAME TABLE old TO shadow_vec_docs"],
    "another one": [
        *("CREATE TABLE other LIKE shadow_vec_docs", "INSERT INTO other (dataset_id, id) VALUES ('e', 'e1')"),
        *("DROP TABLE shadow_vec_docs", "ALTER TABLE other RENAME TO shadow_vec_docs"),
    ],
    "times": ["SET time_zone = '+05:00'", ALTER + "MODIFY created_at DATETIME(6) NOT NULL DEFAULT '2026-01-02'"],
    "cut": ["SET sql_mode = ''", ALTER + "MODIFY content VARCHAR(5)"],
    "lost column": [ALTER + "DROP COLUMN updated_at", ALTER + "ADD COLUMN updated_at TIMESTAMP NULL"],
    "datasets": [
        *("SET foreign_key_checks = 0", "TRUNCATE TABLE vec_dataset"),
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d'), ('e')",
    ],
    "loose": [ALTER + "DROP FOREIGN KEY shadow_vec_docs_ibfk_1"],
}


@pytest.mark.parametrize(
    ("swap", "late"), [*((swap, True) for swap in SWAPS), *((swap, False) for swap in ("gh-ost", "pt-osc", "times"))]
)
def test_rows_that_the_log_never_showed_are_read_from_the_table(
    sql_database: SqlDatabase, tmp_path: Path, swap: str, late: bool
) -> None:
    """The epoch shows that they were. late: more was written before, and after, and all of it is read at once."""
    site = filled(sql_database, tmp_path, "id" if late else "dataset_and_id")
    more = [INSERT + "('d','d50','more',NULL,NULL,'m',1)", "UPDATE shadow_vec_docs SET scn = 8 WHERE id IN ('d4','e4')"]
    site.database.execute(*more[: 2 * late], *SWAPS[swap])
    after = [
        "UPDATE shadow_vec_docs SET content = 'after' WHERE id = 'e1'",
        INSERT + "('d','d51','x',NULL,NULL,'m',1)",
        "DELETE FROM shadow_vec_docs WHERE id = 'd5'",
    ]
    for statements in (after,) if late else ([], after):
        site.database.execute(*statements)
        site.capture()
        site.check()
    # What a deletion takes along now is what the present table has for it.
    site.database.execute("SET foreign_key_checks = 1", "DELETE FROM vec_dataset WHERE dataset_id = 'd'")
    site.capture()
    site.check()
    assert site.epoch() == 2


@pytest.mark.parametrize(
    "statements",
    [
        AGAIN,
        ["TRUNCATE TABLE shadow_vec_docs", INSERT + "('e','e1','again',NULL,X'0000803F','m',1)"],
        ["CREATE OR REPLACE TABLE" + SHADOW_BY_ID.partition("CREATE TABLE")[2], *AGAIN[2:]],
        ["RENAME TABLE shadow_vec_docs TO old", "DROP TABLE old", *AGAIN[1:]],
    ],
    ids=["drop", "truncate", "replace", "rename"],
)
def test_tables_that_begin_anew(site: Followed, statements: list[str]) -> None:
    """Nothing has to be read again."""
    if "OR REPLACE" in statements[0] and site.database.server.kind == "mysql":
        pytest.skip("MariaDB alone has CREATE OR REPLACE TABLE")
    site.database.execute(*statements)
    site.capture()
    site.check()
    site.database.execute("DELETE FROM vec_dataset WHERE dataset_id = 'e'")
    site.capture()
    site.check()
    assert site.epoch() == 1


def test_a_database_that_begins_anew(site: Followed) -> None:
    name = site.database.name
    with site.database.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    create_tables(site.database)
    site.database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('e'), ('f')", INSERT + "('e','e1','again',NULL,NULL,'m',1)"
    )
    site.capture()
    site.check()
    assert site.epoch() == 2


def test_a_table_that_begins_anew_without_its_foreign_key(told: Told) -> None:
    """Known when the reading begins after that; a stream that began before has to ask anew."""
    begun_before = told.source.stream(told.begin)
    foreign = ",\n    FOREIGN KEY (dataset_id) REFERENCES vec_dataset (dataset_id) ON DELETE CASCADE"
    assert foreign in SHADOW_BY_ID
    told.database.execute("DROP TABLE shadow_vec_docs", SHADOW_BY_ID.replace(foreign, ""), AGAIN[2])
    told.run("DELETE FROM vec_dataset WHERE dataset_id = 'd'", "INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    told.follow(told.source.stream(told.begin))
    with pytest.raises(UnseenRows, match=r"foreign keys of test_\w+\.shadow_vec_docs changed"):
        told.follow(begun_before)


PARTITIONED = """
CREATE TABLE shadow_vec_docs (
    dataset_id VARCHAR(191) NOT NULL, id VARCHAR(191) NOT NULL, content MEDIUMTEXT NULL, meta MEDIUMTEXT NULL,
    embedding LONGBLOB NULL, embedding_model VARCHAR(191) NULL, scn BIGINT NOT NULL DEFAULT 0,
    archived TINYINT(1) NOT NULL DEFAULT 0, created_at TIMESTAMP(6) NULL, updated_at TIMESTAMP(6) NULL,
    PRIMARY KEY (dataset_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
PARTITION BY LIST COLUMNS (dataset_id)
    (PARTITION p VALUES IN ('d'), PARTITION q VALUES IN ('e'), PARTITION r VALUES IN ('f', 'g'))
"""


@pytest.mark.parametrize(
    ("clauses", "again"),
    [
        (["TRUNCATE PARTITION p"], True),
        (["DROP PARTITION p"], True),
        (["EXCHANGE PARTITION p WITH TABLE other"], True),
        (["CONVERT PARTITION p TO TABLE another"], True),
        (["REORGANIZE PARTITION r INTO (PARTITION r VALUES IN ('f'), PARTITION s VALUES IN ('g', 'h'))"], False),
        (["ADD PARTITION (PARTITION s VALUES IN ('h'))", "REBUILD PARTITION p", "REMOVE PARTITIONING"], False),
    ],
    ids=lambda value: value[0].split(" ")[0] if isinstance(value, list) else "",
)
def test_partitions(sql_database: SqlDatabase, tmp_path: Path, clauses: list[str], again: bool) -> None:
    if clauses[0].startswith("CONVERT") and sql_database.server.kind == "mysql":
        pytest.skip("MariaDB alone has CONVERT PARTITION")
    sql_database.execute(
        VEC_DATASET,
        PARTITIONED,
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d'), ('e'), ('f')",
        INSERT + ",".join(f"('{d}','{d}{n}','text {n}','{{}}',X'0000803F','m',1)" for d in "def" for n in range(3)),
        "CREATE TABLE other LIKE shadow_vec_docs",
        "ALTER TABLE other REMOVE PARTITIONING",
        "INSERT INTO other (dataset_id, id, content) VALUES ('d', 'd1', 'exchanged'), ('d', 'd9', 'exchanged')",
    )
    site = Followed(sql_database, tmp_path)
    site.capture()
    site.check()
    sql_database.execute(*(ALTER + clause for clause in clauses), INSERT + "('e','e9','after',NULL,NULL,'m',1)")
    site.capture()
    site.check()
    assert site.epoch() == 1 + again


def test_a_followed_table_that_is_exchanged_for_a_partition_of_another(
    sql_database: SqlDatabase, tmp_path: Path
) -> None:
    sql_database.execute(
        VEC_DATASET,
        PARTITIONED.replace("shadow_vec_docs", "other"),
        "CREATE TABLE shadow_vec_docs LIKE other",
        ALTER + "REMOVE PARTITIONING",
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        INSERT + "('d','d1','x',NULL,NULL,'m',1)",
    )
    site = Followed(sql_database, tmp_path)
    site.capture()
    sql_database.execute("ALTER TABLE other EXCHANGE PARTITION p WITH TABLE shadow_vec_docs")
    site.capture()
    site.check()
    assert site.epoch() == 2


def test_rows_that_an_ignoring_alter_leaves_out(mariadb_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(mariadb_database)
    mariadb_database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        INSERT + "('d','d1','x',NULL,NULL,'m',1),('d','d2','y',NULL,NULL,'m',1),('d','d3','y',NULL,NULL,'m',3)",
    )
    site = Followed(mariadb_database, tmp_path)
    site.capture()
    mariadb_database.execute("ALTER IGNORE TABLE shadow_vec_docs ADD UNIQUE KEY u (dataset_id, scn)")
    assert len(source_rows(mariadb_database.server, mariadb_database.name)) == 2
    site.capture()
    site.check()


def test_without_snapshots_it_stops_and_names_the_way_out(site: Followed) -> None:
    site.database.execute(*GHOST, INSERT + "('d','d51','x',NULL,NULL,'m',1)")
    for _ in range(2):
        with pytest.raises(UnseenRows, match="RENAME TABLE") as caught:
            site.capture(snapshot="no_data")
        assert caught.value.exit_code == 7
        assert "vecsync capture snapshot" in caught.value.hint
    site.capture()
    site.check()
    assert site.epoch() == 2


def test_a_column_that_got_another_name_goes_on_under_it(site: Followed) -> None:
    site.database.execute(
        INSERT + "('d','d50','more',NULL,NULL,'m',1)",
        ALTER + "RENAME COLUMN content TO body",
        "INSERT INTO shadow_vec_docs (dataset_id, id, body) VALUES ('d', 'd51', 'under its new name')",
    )
    with pytest.raises(UnsupportedChange, match="lost its column content"):
        site.capture()
    site.capture(mapping={"content": "body"})
    site.database.execute("ALTER TABLE shadow_vec_docs RENAME COLUMN body TO content")  # for the comparison
    run(site.settings(), site.broker, Event(), until_current=True)
    rows = source_rows(site.database.server, site.database.name)
    assert differences(rows, replica_rows(site.replica)) == []


def test_a_capture_that_runs_meanwhile_goes_on_by_itself(site: Followed) -> None:
    stop, failed = Event(), list[BaseException]()

    def capture() -> None:
        try:
            site.capture(stop, until_current=False)
        except BaseException as error:
            failed.append(error)

    running = Thread(target=capture)
    running.start()
    try:
        for epoch, statements in ((2, GHOST), (3, AGAIN), (4, SWAPS["cut"])):  # again: its foreign key is back
            site.database.execute(*statements, "UPDATE shadow_vec_docs SET content = 'after' WHERE id = 'd1'")
            deadline = time.monotonic() + 60
            while not (site.epoch() == epoch and site.is_current()):
                assert time.monotonic() < deadline, (failed, site.epoch())
                assert running.is_alive(), failed
                time.sleep(0.05)
            site.check()
    finally:
        stop.set()
        running.join(60)
    assert not failed
