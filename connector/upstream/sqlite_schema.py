"""What `source install` puts into a SQLite upstream: tables, triggers, and the change log that gives them one order.
Pure: SQL as text.

The usual tables order changes per dataset only, and their log loses a dataset's entries when the dataset goes. So two
tables are added. `vec_change_log` has one row for each entry of the shadow log and for each change of a dataset, under
a number that only rises (SQLite has one writer at a time, so the numbers are the order of commits). `vec_source` holds
what tells this file from every other, and how far its log was pruned.

Two things that SQLite does not tell triggers are noted in `vec_trigger_note` by a BEFORE trigger and used by the AFTER
trigger of the same statement: that documents vanish because their dataset is being deleted, and that INSERT OR REPLACE
takes a row of another dataset away (possible where ids are unique over all datasets).

An ON CONFLICT policy of the user's statement replaces that of the statements in the triggers it fires. Nothing here may
therefore count on a conflict being an error: change numbers are allocated above everything the log holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from connector.settings import Mapping
from connector.upstream.names import REQUIRED, SCN_TABLE, STORAGE_TABLE, SYNC_STATE_TABLE, column, literal, quoted

CHANGE_LOG = "vec_change_log"
SOURCE_TABLE = "vec_source"
NOTE_TABLE = "vec_trigger_note"

# Milliseconds are the best that every SQLite since 3.38 knows.
NOW_US = "(CAST(strftime('%s', 'now') AS INTEGER) * 1000000 + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000)"


def q(name: str) -> str:
    return quoted(name, "sqlite")


def text(value: str) -> str:
    return literal(value, "sqlite")


def base_tables(table: str, mapping: Mapping, *, related: bool = True) -> list[tuple[str, str]]:
    """The usual tables, each with its name; to be made where they do not exist.

    related: the tables that triggers write to refer to the datasets. Not where the documents do not: a dataset may then
    be unknown, and the triggers would make writing its documents fail.
    """
    c = {part: q(column(mapping, part)) for part in (*REQUIRED, "created_at", "updated_at")}
    datasets = q(mapping.dataset_table)
    refers = f"REFERENCES {datasets}(dataset_id) ON DELETE CASCADE"
    related_refers = f" {refers}" if related else ""
    return [
        (
            mapping.dataset_table,
            f"""CREATE TABLE {datasets} (
    dataset_id TEXT NOT NULL PRIMARY KEY,
    description TEXT,
    source_uri TEXT,
    last_scn INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
        ),
        (
            table,
            f"""CREATE TABLE {q(table)} (
    {c["dataset_id"]} TEXT NOT NULL {refers},
    {c["id"]} TEXT NOT NULL,
    {c["content"]} TEXT,
    {c["meta"]} TEXT,
    {c["embedding"]} BLOB,
    {c["embedding_model"]} TEXT,
    {c["scn"]} INTEGER NOT NULL DEFAULT 0,
    {c["archived"]} INTEGER NOT NULL DEFAULT 0,
    {c["created_at"]} TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    {c["updated_at"]} TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY ({c["dataset_id"]}, {c["id"]})
)""",
        ),
        (
            mapping.log_table,
            f"""CREATE TABLE {q(mapping.log_table)} (
    dataset_id TEXT NOT NULL{related_refers},
    shadow_table TEXT NOT NULL,
    scn INTEGER NOT NULL,
    op TEXT NOT NULL CHECK (op IN ('insert', 'update', 'delete')),
    document_id TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (dataset_id, shadow_table, scn)
)""",
        ),
        (
            SCN_TABLE,
            f"""CREATE TABLE {SCN_TABLE} (
    dataset_id TEXT NOT NULL PRIMARY KEY{related_refers},
    next_scn INTEGER NOT NULL DEFAULT 0
)""",
        ),
        (
            SYNC_STATE_TABLE,
            f"""CREATE TABLE {SYNC_STATE_TABLE} (
    dataset_id TEXT NOT NULL,
    shadow_table TEXT NOT NULL,
    last_scn INTEGER NOT NULL DEFAULT 0,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (dataset_id, shadow_table)
)""",
        ),
        (
            STORAGE_TABLE,
            f"""CREATE TABLE {STORAGE_TABLE} (
    shadow_table_name TEXT NOT NULL,
    dataset_id TEXT NOT NULL DEFAULT '',
    "index" BLOB,
    PRIMARY KEY (shadow_table_name, dataset_id)
)""",
        ),
    ]


def reader_tables() -> list[tuple[str, str]]:
    """What the reader needs beyond the usual tables."""
    return [
        (
            CHANGE_LOG,
            f"""CREATE TABLE {CHANGE_LOG} (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    shadow_table TEXT,
    dataset_id TEXT,
    op TEXT NOT NULL,
    scn INTEGER,
    document_id TEXT,
    description TEXT,
    source_uri TEXT,
    last_scn INTEGER,
    at INTEGER NOT NULL
)""",
        ),
        (
            f"{CHANGE_LOG}_cascades",
            f"CREATE INDEX {CHANGE_LOG}_cascades ON {CHANGE_LOG}(shadow_table, dataset_id, seq) WHERE op = 'cascade'",
        ),
        (
            f"{CHANGE_LOG}_resets",
            f"CREATE INDEX {CHANGE_LOG}_resets ON {CHANGE_LOG}(dataset_id, seq) WHERE op = 'reset'",
        ),
        (
            f"{CHANGE_LOG}_datasets",
            f"CREATE INDEX {CHANGE_LOG}_datasets ON {CHANGE_LOG}(dataset_id, seq) WHERE shadow_table IS NULL",
        ),
        (
            NOTE_TABLE,
            f"""CREATE TABLE {NOTE_TABLE} (
    shadow_table TEXT,
    document_id TEXT,
    dataset_id TEXT NOT NULL,
    payload TEXT
)""",
        ),
        (
            SOURCE_TABLE,
            f"""CREATE TABLE {SOURCE_TABLE} (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    uuid TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    pruned_seq INTEGER NOT NULL DEFAULT 0
)""",
        ),
    ]


def payload(row: str, mapping: Mapping, timestamps: Sequence[str]) -> str:
    """JSON of a row; `row` is NEW, OLD or an alias. Casts, because a BLOB in a text column would make it fail."""
    parts = []
    for part in (*REQUIRED, *timestamps):
        value = f"{row}.{q(column(mapping, part))}"
        if part == "embedding":
            value = f"lower(hex({value}))"
        elif part in ("scn", "archived"):
            value = f"CAST({value} AS INTEGER)"
        else:
            value = f"CAST({value} AS TEXT)"
        parts.append(f"{text(part)}, {value}")
    return f"json_object({', '.join(parts)})"


class _Names:
    """Of one shadow table, quoted once."""

    def __init__(self, table: str, mapping: Mapping) -> None:
        self.table, self.name = q(table), text(table)
        self.datasets, self.log = q(mapping.dataset_table), q(mapping.log_table)
        self.dataset, self.id = q(mapping.dataset_id), q(mapping.id)


def _logged(n: _Names, dataset: str, document: str, op: str, payload_sql: str, where: str = "1") -> str:
    """Statements that allocate an SCN and write an entry of the shadow log; nothing unless `where`."""
    return f"""
    INSERT INTO {SCN_TABLE}(dataset_id, next_scn)
        SELECT {dataset}, 1 + coalesce((SELECT max(scn) FROM {n.log}
            WHERE dataset_id = {dataset} AND shadow_table = {n.name}), 0) WHERE {where}
        ON CONFLICT(dataset_id) DO UPDATE SET next_scn = 1 + max(next_scn, excluded.next_scn - 1);
    INSERT INTO {n.log}(dataset_id, shadow_table, scn, op, document_id, payload)
        SELECT {dataset}, {n.name}, (SELECT next_scn FROM {SCN_TABLE} WHERE dataset_id = {dataset}),
            '{op}', {document}, {payload_sql} WHERE {where};"""


def _deleted(n: _Names, payload_sql: str, complete: bool) -> str:
    """The old row is gone. Without its dataset nothing that refers to the dataset can be written: the change log alone
    has the entry then, and none where the whole dataset is being deleted, which is an entry of its own."""
    dataset, document = f"OLD.{n.dataset}", f"OLD.{n.id}"
    known = f"EXISTS (SELECT 1 FROM {n.datasets} WHERE dataset_id = {dataset})"
    statements = _logged(n, dataset, document, "delete", payload_sql, where=known)
    if complete:
        statements += f"""
    INSERT INTO {CHANGE_LOG}(shadow_table, dataset_id, op, scn, document_id, at)
        SELECT {n.name}, {dataset}, 'delete', NULL, {document}, {NOW_US}
        WHERE NOT {known}
          AND NOT EXISTS (SELECT 1 FROM {NOTE_TABLE} WHERE shadow_table IS NULL AND dataset_id = {dataset});"""
    return statements


def document_triggers(
    table: str, mapping: Mapping, *, timestamps: Sequence[str] = (), id_is_key: bool = False, complete: bool = True
) -> dict[str, str]:
    """Triggers on a shadow table, by name.

    timestamps: those of created_at and updated_at that the table has. id_is_key: the primary key is (id).
    complete: use the tables of `reader_tables`; otherwise the usual tables are enough, and what only they make
    possible is missing (rows taken away by INSERT OR REPLACE; deletions of rows whose dataset does not exist).
    """
    n = _Names(table, mapping)
    new, old = payload("NEW", mapping, timestamps), payload("OLD", mapping, timestamps)
    same = (
        f"NEW.{n.dataset} COLLATE BINARY IS OLD.{n.dataset} COLLATE BINARY"
        f" AND NEW.{n.id} COLLATE BINARY IS OLD.{n.id} COLLATE BINARY"
    )
    replaced = ""
    bodies: dict[str, str] = {}
    if id_is_key and complete:
        mine = f"shadow_table = {n.name} AND document_id = NEW.{n.id}"
        note = f"""
    DELETE FROM {NOTE_TABLE} WHERE {mine};
    INSERT INTO {NOTE_TABLE}(shadow_table, document_id, dataset_id, payload)
        SELECT {n.name}, t.{n.id}, t.{n.dataset}, {payload("t", mapping, timestamps)} FROM {n.table} AS t
        WHERE t.{n.id} = NEW.{n.id} AND t.{n.dataset} COLLATE BINARY IS NOT NEW.{n.dataset} COLLATE BINARY;"""
        bodies["bi"] = f"BEFORE INSERT ON {n.table}\nBEGIN{note}"
        bodies["bu"] = f"BEFORE UPDATE ON {n.table} WHEN NEW.{n.id} IS NOT OLD.{n.id}\nBEGIN{note}"
        noted = f"(SELECT {{}} FROM {NOTE_TABLE} WHERE {mine})"
        replaced = (
            _logged(
                n,
                noted.format("dataset_id"),
                f"NEW.{n.id}",
                "delete",
                noted.format("payload"),
                where=f"EXISTS (SELECT 1 FROM {NOTE_TABLE} WHERE {mine})",
            )
            + f"\n    DELETE FROM {NOTE_TABLE} WHERE {mine};"
        )
    forget = ""
    if id_is_key and complete:
        # With recursive_triggers on, REPLACE does fire this trigger: the deletion is then not logged again.
        forget = f"\n    DELETE FROM {NOTE_TABLE} WHERE shadow_table = {n.name} AND document_id = OLD.{n.id};"
    inserted = _logged(n, f"NEW.{n.dataset}", f"NEW.{n.id}", "insert", new)
    updated = _logged(n, f"NEW.{n.dataset}", f"NEW.{n.id}", "update", new)
    gone = _deleted(n, old, complete)
    bodies["ai"] = f"AFTER INSERT ON {n.table}\nBEGIN{replaced}{inserted}"
    bodies["au"] = f"AFTER UPDATE ON {n.table} WHEN {same}\nBEGIN{updated}"
    bodies["ak"] = f"AFTER UPDATE ON {n.table} WHEN NOT ({same})\nBEGIN{replaced}{gone}{inserted}"
    bodies["ad"] = f"AFTER DELETE ON {n.table}\nBEGIN{forget}{gone}"
    return {
        f"{table}_{suffix}": f"CREATE TRIGGER {q(f'{table}_{suffix}')} {body}\nEND" for suffix, body in bodies.items()
    }


def cascade_triggers(table: str, mapping: Mapping) -> dict[str, str]:
    """Triggers on the table of datasets that tell when a dataset went and its documents with it, by name. Where some
    are left (there is no foreign key, or it is not enforced) there is no such entry."""
    n = _Names(table, mapping)
    emptied = f"""
BEGIN
    INSERT INTO {CHANGE_LOG}(shadow_table, dataset_id, op, at)
        SELECT {n.name}, OLD.dataset_id, 'cascade', {NOW_US}
        WHERE NOT EXISTS (SELECT 1 FROM {n.table} WHERE {n.dataset} = OLD.dataset_id);
END"""
    return {
        f"{table}_cascade": f"CREATE TRIGGER {q(f'{table}_cascade')} AFTER DELETE ON {n.datasets}{emptied}",
        f"{table}_rekeyed": (
            f"CREATE TRIGGER {q(f'{table}_rekeyed')} AFTER UPDATE ON {n.datasets} WHEN NOT ({_SAME_DATASET}){emptied}"
        ),
    }


_SAME_DATASET = "NEW.dataset_id COLLATE BINARY IS OLD.dataset_id COLLATE BINARY"


def reader_triggers(mapping: Mapping, *, has_last_scn: bool = True) -> dict[str, str]:
    """Triggers that feed the change log from the shadow log and from the table of datasets, by name.

    An entry `reset` says that the dataset's entries in the shadow log may be gone and its SCNs begin anew: its row was
    deleted, or taken away by INSERT OR REPLACE.
    """
    log, datasets = mapping.log_table, mapping.dataset_table
    last_scn = "NEW.last_scn" if has_last_scn else "NULL"
    written = f"""
    INSERT INTO {CHANGE_LOG}(dataset_id, op, description, source_uri, last_scn, at)
        VALUES (NEW.dataset_id, '{{}}', NEW.description, NEW.source_uri, {last_scn}, {NOW_US});"""
    deleted = f"""
    INSERT INTO {CHANGE_LOG}(dataset_id, op, at) VALUES (OLD.dataset_id, 'reset', {NOW_US});
    INSERT INTO {CHANGE_LOG}(dataset_id, op, at) VALUES (OLD.dataset_id, 'delete', {NOW_US});"""
    cascading = f"{NOTE_TABLE} WHERE shadow_table IS NULL AND dataset_id = OLD.dataset_id"
    # A note under the name of the table of datasets: a row that INSERT OR REPLACE would take away.
    replacing = f"{NOTE_TABLE} WHERE shadow_table = {text(datasets)} AND dataset_id = NEW.dataset_id"
    replaced = f"""
    INSERT INTO {CHANGE_LOG}(dataset_id, op, at)
        SELECT NEW.dataset_id, 'reset', {NOW_US} WHERE EXISTS (SELECT 1 FROM {replacing});
    DELETE FROM {replacing};"""
    bodies = {
        f"{log}_seq": f"""AFTER INSERT ON {q(log)}
BEGIN
    INSERT INTO {CHANGE_LOG}(shadow_table, dataset_id, op, scn, document_id, at)
        VALUES (NEW.shadow_table, NEW.dataset_id, NEW.op, NEW.scn, NEW.document_id, {NOW_US});""",
        f"{datasets}_seq_bi": f"""BEFORE INSERT ON {q(datasets)}
BEGIN
    DELETE FROM {replacing};
    INSERT INTO {NOTE_TABLE}(shadow_table, dataset_id)
        SELECT {text(datasets)}, dataset_id FROM {q(datasets)} WHERE dataset_id = NEW.dataset_id;""",
        f"{datasets}_seq_ai": f"AFTER INSERT ON {q(datasets)}\nBEGIN{replaced}{written.format('insert')}",
        f"{datasets}_seq_au": f"AFTER UPDATE ON {q(datasets)} WHEN {_SAME_DATASET}\nBEGIN{written.format('update')}",
        f"{datasets}_seq_ak": (
            f"AFTER UPDATE ON {q(datasets)} WHEN NOT ({_SAME_DATASET})\nBEGIN{deleted}{written.format('insert')}"
        ),
        f"{datasets}_seq_bd": f"""BEFORE DELETE ON {q(datasets)}
BEGIN
    INSERT INTO {NOTE_TABLE}(dataset_id) VALUES (OLD.dataset_id);""",
        f"{datasets}_seq_ad": f"AFTER DELETE ON {q(datasets)}\nBEGIN\n    DELETE FROM {cascading};{deleted}",
    }
    return {name: f"CREATE TRIGGER {q(name)} {body}\nEND" for name, body in bodies.items()}
