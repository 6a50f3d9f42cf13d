"""What `source install` puts into a MySQL or MariaDB upstream: tables, the SCN helper, triggers. Pure: SQL as text.

The binlog needs none of the triggers; with them a deletion carries a change number of its own. Foreign-key cascades
fire no triggers on either server.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from connector.settings import Mapping
from connector.upstream.names import REQUIRED, SCN_TABLE, STORAGE_TABLE, SYNC_STATE_TABLE, column, literal, quoted

NEXT_SCN = "vec_next_scn"

_KEY = "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
"""191 characters of four bytes fit an index of every row format; and ids differ when their bytes do."""

MARK = "/* vecsync "
"""Begins a comment in every trigger of ours, with the digest of its text: others with the same purpose are left alone,
and the servers do not give back a text as it was."""

_OPTIONS = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"


def q(name: str) -> str:
    return quoted(name, "mysql")


def text(value: str) -> str:
    return literal(value, "mysql")


def base_tables(
    table: str, mapping: Mapping, *, related: bool = True, dataset_key: str | None = None, id_key: str | None = None
) -> list[tuple[str, str]]:
    """The usual tables, each with its name; to be made where they do not exist.

    related: the tables that triggers write to refer to the datasets. Not where the documents do not: a dataset may then
    be unknown, and the triggers would make writing its documents fail.
    dataset_key, id_key: types of the keys in tables that exist; a foreign key must have the same, and the log must be
    able to hold them.
    """
    c = {part: q(column(mapping, part)) for part in (*REQUIRED, "created_at", "updated_at")}
    datasets = q(mapping.dataset_table)
    dataset = f"{dataset_key} NOT NULL" if dataset_key else _KEY
    refers = f"REFERENCES {datasets}(dataset_id) ON DELETE CASCADE"
    foreign = f",\n    FOREIGN KEY (dataset_id) {refers}" if related else ""
    document = f"{id_key} NOT NULL" if id_key else _KEY
    created = "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
    updated = f"{created} ON UPDATE CURRENT_TIMESTAMP(6)"
    return [
        (
            mapping.dataset_table,
            f"""CREATE TABLE {datasets} (
    dataset_id {_KEY},
    description TEXT NULL,
    source_uri TEXT NULL,
    created_at {created},
    updated_at {updated},
    last_scn BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (dataset_id)
) {_OPTIONS}""",
        ),
        (
            SCN_TABLE,
            f"""CREATE TABLE {SCN_TABLE} (
    dataset_id {dataset},
    next_scn BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (dataset_id){foreign}
) {_OPTIONS}""",
        ),
        (
            table,
            f"""CREATE TABLE {q(table)} (
    {c["dataset_id"]} {dataset},
    {c["id"]} {_KEY},
    {c["content"]} MEDIUMTEXT NULL,
    {c["meta"]} MEDIUMTEXT NULL,
    {c["embedding"]} LONGBLOB NULL,
    {c["embedding_model"]} VARCHAR(191) NULL,
    {c["scn"]} BIGINT NOT NULL DEFAULT 0,
    {c["archived"]} TINYINT(1) NOT NULL DEFAULT 0,
    {c["created_at"]} {created},
    {c["updated_at"]} {updated},
    PRIMARY KEY ({c["dataset_id"]}, {c["id"]}),
    FOREIGN KEY ({c["dataset_id"]}) {refers}
) {_OPTIONS}""",
        ),
        (
            mapping.log_table,
            f"""CREATE TABLE {q(mapping.log_table)} (
    dataset_id {dataset},
    shadow_table VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    scn BIGINT NOT NULL,
    op ENUM('insert', 'update', 'delete') NOT NULL,
    document_id {document},
    payload LONGBLOB NOT NULL,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (dataset_id, shadow_table, scn){foreign}
) {_OPTIONS}""",
        ),
        (
            SYNC_STATE_TABLE,
            f"""CREATE TABLE {SYNC_STATE_TABLE} (
    dataset_id {_KEY},
    shadow_table VARCHAR(191) NOT NULL,
    last_scn BIGINT NOT NULL DEFAULT 0,
    updated_at {updated},
    PRIMARY KEY (dataset_id, shadow_table)
) {_OPTIONS}""",
        ),
        (
            STORAGE_TABLE,
            f"""CREATE TABLE {STORAGE_TABLE} (
    shadow_table_name VARCHAR(191) NOT NULL,
    dataset_id VARCHAR(191) NOT NULL DEFAULT '',
    `index` LONGBLOB NULL,
    PRIMARY KEY (shadow_table_name, dataset_id)
) {_OPTIONS}""",
        ),
    ]


def next_scn_function(mapping: Mapping, *, dataset_key: str | None = None, has_last_scn: bool = True) -> str:
    """`SELECT vec_next_scn('dataset')` allocates the next SCN.

    It writes, and says READS SQL DATA: with the binlog on a function must claim that, NO SQL or DETERMINISTIC (error
    1418); a deterministic one is called once for a whole statement when its argument is constant, and a statement that
    writes several rows would give all of them the same number. Neither server holds a function to the claim.
    """
    key = dataset_key or "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    last = (
        f"\n    UPDATE {q(mapping.dataset_table)} SET last_scn = v_next WHERE dataset_id = p_dataset;"
        if has_last_scn
        else ""
    )
    return f"""CREATE FUNCTION {NEXT_SCN}(p_dataset {key}) RETURNS BIGINT
    NOT DETERMINISTIC READS SQL DATA
BEGIN
    DECLARE v_next BIGINT;
    INSERT INTO {SCN_TABLE}(dataset_id, next_scn) VALUES (p_dataset, 1)
        ON DUPLICATE KEY UPDATE next_scn = next_scn + 1;
    SELECT next_scn INTO v_next FROM {SCN_TABLE} WHERE dataset_id = p_dataset;{last}
    RETURN v_next;
END"""


def payload(row: str, mapping: Mapping, timestamps: Sequence[str]) -> str:
    """JSON of a row; `row` is NEW or OLD. The servers order its keys as they like."""
    parts = []
    for part in (*REQUIRED, *timestamps):
        value = f"{row}.{q(column(mapping, part))}"
        if part == "embedding":
            value = f"LOWER(HEX({value}))"
        elif part == "archived":
            value = f"{value} + 0"  # a BOOLEAN would become true or false on some servers
        elif part in timestamps:
            value = f"CAST({value} AS CHAR)"
        parts.append(f"{text(part)}, {value}")
    return f"JSON_OBJECT({', '.join(parts)})"


def mark_of(body: str) -> str:
    return f"{MARK}{sha256(body.encode()).hexdigest()[:16]} */"


def document_triggers(table: str, mapping: Mapping, *, timestamps: Sequence[str] = ()) -> dict[str, str]:
    """Triggers on a shadow table, by name."""
    log, name = q(mapping.log_table), text(table)
    dataset, document = q(mapping.dataset_id), q(mapping.id)

    def logged(row: str, op: str, indent: str = "    ") -> str:
        lines = f"""
INSERT INTO {SCN_TABLE}(dataset_id, next_scn) VALUES ({row}.{dataset}, 1)
    ON DUPLICATE KEY UPDATE next_scn = next_scn + 1;
SELECT next_scn INTO v_scn FROM {SCN_TABLE} WHERE dataset_id = {row}.{dataset};
INSERT INTO {log}(dataset_id, shadow_table, scn, op, document_id, payload)
    VALUES ({row}.{dataset}, {name}, v_scn, '{op}', {row}.{document}, {payload(row, mapping, timestamps)});"""
        return lines.replace("\n", f"\n{indent}")

    same = (
        f"CAST(NEW.{dataset} AS BINARY) <=> CAST(OLD.{dataset} AS BINARY)"
        f" AND CAST(NEW.{document} AS BINARY) <=> CAST(OLD.{document} AS BINARY)"
    )
    update = f"""
    IF {same} THEN{logged("NEW", "update", " " * 8)}
    ELSE{logged("OLD", "delete", " " * 8)}{logged("NEW", "insert", " " * 8)}
    END IF;"""
    bodies = {
        "ai": ("INSERT", logged("NEW", "insert")),
        "au": ("UPDATE", update),
        "ad": ("DELETE", logged("OLD", "delete")),
    }
    return {
        f"{table}_{suffix}": f"""CREATE TRIGGER {q(f"{table}_{suffix}")} AFTER {event} ON {q(table)}
FOR EACH ROW
BEGIN {mark_of(body)}
    DECLARE v_scn BIGINT;{body}
END"""
        for suffix, (event, body) in bodies.items()
    }
