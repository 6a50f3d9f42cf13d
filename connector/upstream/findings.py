"""What a look at a source found: values, and the rules that need no database. Pure."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from connector.settings import Mapping
from connector.upstream.discover import Column, TableShape
from connector.upstream.names import Dialect, quoted


class Severity(StrEnum):
    ERROR = "error"  # a row could be lost, or nothing could be read: capture refuses to start
    WARNING = "warning"  # works today, and may not tomorrow
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """code: stable, for programs. what: the thing found. why: what could happen. mend_sql: what to run, empty where
    nothing has to be; lines that are no SQL begin with `--`."""

    code: str
    severity: Severity
    what: str
    why: str
    mend_sql: str = ""


_DAY_S = 86_400
_SHORT_RETENTION_S = 3 * _DAY_S  # a weekend

_TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum")
_TYPES: Map[str, tuple[str, ...]] = {
    "dataset_id": ("char", "varchar", "tinytext", "text"),
    "id": ("char", "varchar", "tinytext", "text"),
    "content": (*_TEXTS, "json"),
    "meta": (*_TEXTS, "json"),
    "embedding": ("varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"),
    "embedding_model": _TEXTS,
    "scn": ("bigint", "int", "mediumint", "smallint", "tinyint"),
    "archived": ("tinyint", "smallint", "int", "bigint", "bit", "boolean"),
    "created_at": ("timestamp", "datetime"),
    "updated_at": ("timestamp", "datetime"),
}


def server_findings(variables: Map[str, str], *, mariadb: bool, snapshot: bool, server_id: int | None) -> list[Finding]:
    """Of the settings that capture depends on. variables: names in lower case, as SHOW GLOBAL VARIABLES gives them;
    snapshot: rows are to be read first; server_id: the one configured for this reader."""
    found: list[Finding] = []
    persist = "SET GLOBAL" if mariadb else "SET PERSIST"
    file_too = "\n-- and in the server's option file" if mariadb else ""

    def wanted(name: str, value: str, why: str, severity: Severity = Severity.ERROR) -> None:
        now = variables.get(name)
        if now is not None and now.upper() != value.upper():
            mend = f"{persist} {name} = '{value}';{file_too}"
            found.append(Finding(name, severity, f"{name} is {now or 'empty'}, not {value or 'empty'}", why, mend))

    if variables.get("log_bin", "OFF").upper() not in ("ON", "1"):
        found.append(
            Finding(
                "log_bin",
                Severity.ERROR,
                "the binlog is off",
                "there is nothing to read changes from",
                "-- in the server's option file, then restart it:\n-- [mysqld]\n-- log_bin = binlog\n-- server_id = 1",
            )
        )
    if variables.get("server_id") == "0":
        why = "a server without an id serves no binlog"
        found.append(Finding("server_id", Severity.ERROR, "server_id is 0", why, f"{persist} server_id = 1;{file_too}"))
    wanted("binlog_format", "ROW", "statements are logged instead of rows, and cannot be replayed elsewhere")
    wanted("binlog_row_image", "FULL", "changes are logged without the columns that did not change")
    wanted("binlog_row_metadata", "FULL", "rows are logged without column names, which would have to be guessed")
    wanted("binlog_row_value_options", "", "JSON columns are logged as differences")
    if not mariadb:
        why = "a snapshot could not tell which changes it has seen"
        severity = Severity.ERROR if snapshot else Severity.WARNING
        order = (
            f"{persist} enforce_gtid_consistency = ON;\n{persist} gtid_mode = OFF_PERMISSIVE;\n"
            f"{persist} gtid_mode = ON_PERMISSIVE;\n{persist} gtid_mode = ON;"
        )
        for name in ("gtid_mode", "enforce_gtid_consistency"):
            now = variables.get(name, "OFF")
            if now.upper() != "ON":
                found.append(Finding(name, severity, f"{name} is {now}, not ON", why, order))
    found += _retention(variables, persist, file_too)
    if server_id is not None and variables.get("server_id") == str(server_id):
        found.append(
            Finding(
                "reader_server_id",
                Severity.ERROR,
                f"source.server_id is {server_id}, and so is the server's own",
                "two with the same id disconnect each other",
                "-- set source.server_id to a number that no server and no other reader uses",
            )
        )
    if variables.get("binlog_checksum", "").upper() == "NONE":
        why = "bytes damaged on the way or on disk may go unnoticed"
        mend = f"{persist} binlog_checksum = 'CRC32';{file_too}"
        found.append(Finding("binlog_checksum", Severity.INFO, "binlog events carry no checksum", why, mend))
    if mariadb and variables.get("binlog_annotate_row_events", "").upper() == "ON":
        why = "the binlog repeats the text of every statement and can be twice as large; harmless"
        mend = f"{persist} binlog_annotate_row_events = OFF;{file_too}"
        found.append(
            Finding("binlog_annotate_row_events", Severity.INFO, "statements are logged beside rows", why, mend)
        )
    return found


def _retention(variables: Map[str, str], persist: str, file_too: str) -> list[Finding]:
    """How long binlogs are kept: 0 is for ever, on both servers."""
    if variables.get("binlog_expire_logs_auto_purge", "ON").upper() == "OFF":
        return []
    seconds = float(variables.get("binlog_expire_logs_seconds") or 0)
    seconds = seconds or float(variables.get("expire_logs_days") or 0) * _DAY_S
    found = []
    if 0 < seconds < _SHORT_RETENTION_S:
        found.append(
            Finding(
                "binlog_retention",
                Severity.WARNING,
                f"binlogs are kept for {seconds / 3600:g} hours",
                "a connector that stands still for longer loses its place, and has to read everything anew",
                f"{persist} binlog_expire_logs_seconds = {7 * _DAY_S};{file_too}",
            )
        )
    if int(variables.get("max_binlog_total_size") or 0):
        found.append(
            Finding(
                "binlog_retention_size",
                Severity.WARNING,
                "binlogs are removed when together they reach max_binlog_total_size",
                "a burst of writes can remove what was not read yet",
                f"{persist} max_binlog_total_size = 0;{file_too}",
            )
        )
    return found


def replica_findings(variables: Map[str, str], *, mariadb: bool) -> list[Finding]:
    """Of a server that is itself a replica."""
    found = []
    updates = variables.get("log_replica_updates", variables.get("log_slave_updates", "ON"))
    if updates.upper() != "ON":
        found.append(
            Finding(
                "log_replica_updates",
                Severity.ERROR,
                "the server is a replica, and does not log what it receives (log_slave_updates is OFF)",
                "changes made on its source are not in its binlog",
                "-- in the server's option file, then restart it:\n-- [mysqld]\n-- log_slave_updates = ON",
            )
        )
    workers = int(variables.get("replica_parallel_workers", variables.get("slave_parallel_workers", "0")) or 0)
    ordered = variables.get("replica_preserve_commit_order", variables.get("slave_preserve_commit_order", "ON"))
    if not mariadb and workers > 1 and ordered.upper() != "ON":
        found.append(
            Finding(
                "replica_preserve_commit_order",
                Severity.ERROR,
                "the server is a replica that commits in another order than its source",
                "after a switch to the source or back, changes would be taken for ones already seen",
                "STOP REPLICA SQL_THREAD;\nSET PERSIST replica_preserve_commit_order = ON;\nSTART REPLICA SQL_THREAD;",
            )
        )
    return found


def table_findings(shape: TableShape, mapping: Mapping, dialect: Dialect) -> list[Finding]:
    """Of one shadow table and its table of datasets."""
    table = shape.table
    if not shape.exists or not shape.dataset_table_exists:
        missing = table if not shape.exists else mapping.dataset_table
        why = "there is nothing to follow"
        return [
            Finding("table_missing", Severity.ERROR, f"there is no table {missing}", why, "-- vecsync source install")
        ]
    found: list[Finding] = []

    def add(code: str, severity: Severity, what: str, why: str, mend: str = "") -> None:
        found.append(Finding(code, severity, what, why, mend))

    t = quoted(table, dialect)
    for name in shape.missing_of_datasets:
        what, mend = f"{mapping.dataset_table} has no column {name}", quoted(mapping.dataset_table, dialect)
        why = "datasets would come without it"
        add("column_missing", Severity.ERROR, what, why, f"ALTER TABLE {mend} ADD COLUMN {name} TEXT;")
    for name in shape.missing:
        mend = f"-- name it in source.mapping, or: ALTER TABLE {t} ADD COLUMN {quoted(name, dialect)} ...;"
        add("column_missing", Severity.ERROR, f"{table} has no column {name}", "documents would come without it", mend)
    if not shape.missing and not shape.key_is_usable:
        key = f"({', '.join(shape.primary_key)})" if shape.primary_key else "missing"
        columns = f"{quoted(mapping.dataset_id, dialect)}, {quoted(mapping.id, dialect)}"
        drop = "DROP PRIMARY KEY, " if shape.primary_key else ""
        add(
            "primary_key",
            Severity.ERROR,
            f"the primary key of {table} is {key}",
            "documents are told apart by (dataset_id, id) or by (id)",
            f"ALTER TABLE {t} {drop}ADD PRIMARY KEY ({columns});",
        )
    if shape.extra:
        names = ", ".join(shape.extra)
        add("extra_columns", Severity.INFO, f"{table} has further columns: {names}", "they are not passed on")
    if dialect == "mysql":
        found += _mysql_columns(shape)
        if shape.engine is not None and shape.engine.upper() != "INNODB":
            why = "its changes are logged outside of transactions, and a failed statement leaves half of its rows"
            add("engine", Severity.ERROR, f"{table} is {shape.engine}", why, f"ALTER TABLE {t} ENGINE = InnoDB;")
        if not shape.triggers:
            add(
                "no_triggers",
                Severity.INFO,
                f"{table} has no triggers, or this account may not see them",
                "without them deletions carry no change number of their own; their place in the log orders them",
                "-- vecsync source install",
            )
    if not shape.cascades:
        add(
            "no_cascade",
            Severity.INFO,
            f"{table} has no foreign key to {mapping.dataset_table} with ON DELETE CASCADE",
            "deleting a dataset's row leaves its documents, here and on replicas",
        )
    return found


def ignores_case(column: Column, dialect: Dialect) -> bool:
    """Whether values that differ may be equal to the database."""
    if dialect == "sqlite":
        return column.collation not in (None, "BINARY")
    return column.collation is not None and not (column.collation.endswith("_bin") or column.collation == "binary")


def _mysql_columns(shape: TableShape) -> list[Finding]:
    found = []
    for part, types in _TYPES.items():
        column = shape.column_of(part)
        if column is None:
            continue
        kind = column.type.split("(")[0].split(" ")[0]
        if kind not in types:
            found.append(
                Finding(
                    "column_type",
                    Severity.ERROR,
                    f"column {column.name} of {shape.table} is {column.type}",
                    f"it must be one of {', '.join(types)} to be passed on as it is",
                    f"ALTER TABLE {quoted(shape.table, 'mysql')} MODIFY {quoted(column.name, 'mysql')} {types[-1]};"
                    if part not in ("dataset_id", "id")
                    else f"-- change the type of {column.name} to VARCHAR(191)",
                )
            )
        elif part in ("dataset_id", "id") and ignores_case(column, "mysql"):
            charset = f" CHARACTER SET {column.charset} COLLATE {column.charset}_bin"
            found.append(
                Finding(
                    "collation",
                    Severity.WARNING,
                    f"column {column.name} of {shape.table} has collation {column.collation}",
                    "ids that differ only by case or accent are one to the database and two to everything else; "
                    "if such a pair appears, capture stops",
                    f"ALTER TABLE {quoted(shape.table, 'mysql')} MODIFY {quoted(column.name, 'mysql')}"
                    f" {column.type}{charset} NOT NULL;",
                )
            )
    return found


def refusal(findings: Sequence[Finding]) -> str:
    """The errors as text: each with what to run."""
    lines = []
    for finding in findings:
        if finding.severity is Severity.ERROR:
            lines.append(f"{finding.what}: {finding.why}")
            lines += [f"    {line}" for line in finding.mend_sql.splitlines()]
    return "\n".join(lines)
