"""What a look at a source found: values, and the rules that need no database. Pure."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
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


_INSTALL = "-- vecsync source install"
_DAY_S = 86_400
_SHORT_RETENTION_S = 3 * _DAY_S  # a weekend

# What a session takes from the global value when it connects, and keeps.
_OF_SESSIONS = {"binlog_format", "binlog_row_image", "binlog_row_value_options"}
_GTID_MODES = ("OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON")

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

# What a column is best changed to. Keys are changed by hand: other tables may refer to them.
_MENDED_TYPES = {
    "content": "MEDIUMTEXT",
    "meta": "MEDIUMTEXT",
    "embedding": "LONGBLOB",
    "embedding_model": "VARCHAR(191)",
    "scn": "BIGINT",
    "archived": "TINYINT(1)",
    "created_at": "DATETIME(6)",
    "updated_at": "DATETIME(6)",
}


def server_findings(
    variables: Map[str, str], *, mariadb: bool, snapshot: bool, server_id: int | None, names_needed: bool = True
) -> list[Finding]:
    """Of the settings that capture depends on. variables: names in lower case, as SHOW GLOBAL VARIABLES gives them;
    snapshot: rows are to be read first; server_id: the one configured for this reader; names_needed: the log has to
    name columns."""
    found: list[Finding] = []
    persist = "SET GLOBAL" if mariadb else "SET PERSIST"
    file_too = "\n-- and in the server's option file, or a restart undoes it" if mariadb else ""

    reconnect = "\n-- sessions that are open keep the old value: have applications connect again"

    def wanted(name: str, value: str, why: str, severity: Severity = Severity.ERROR) -> None:
        now = variables.get(name)
        if now is not None and now.upper() != value.upper():
            mend = f"{persist} {name} = '{value}';{file_too}{reconnect if name in _OF_SESSIONS else ''}"
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
        mend = f"-- any number that no other server has:\n{persist} server_id = 1;{file_too}"
        found.append(Finding("server_id", Severity.ERROR, "server_id is 0", why, mend))
    wanted("binlog_format", "ROW", "changes are logged as statements, which do not tell the rows that they changed")
    wanted("binlog_row_image", "FULL", "changes are logged without columns that did not change, which would be lost")
    wanted(
        "binlog_row_metadata",
        "FULL",
        "rows are logged without column names, and columns are renamed and moved"
        if names_needed
        else "rows are logged without column names; those of the table as it is now are taken, and it is read again "
        "after every change of its columns",
        Severity.ERROR if names_needed else Severity.WARNING,
    )
    wanted("binlog_row_value_options", "", "JSON columns are logged as differences, which do not tell the value")
    if not mariadb:
        why = "a snapshot could not tell which changes it has seen"
        severity = Severity.ERROR if snapshot else Severity.WARNING
        consistency, mode = (variables.get(name, "OFF") for name in ("enforce_gtid_consistency", "gtid_mode"))
        if consistency.upper() != "ON":
            what = f"enforce_gtid_consistency is {consistency}, not ON"
            mend = f"{persist} enforce_gtid_consistency = ON;"
            found.append(Finding("enforce_gtid_consistency", severity, what, "gtid_mode cannot be ON without it", mend))
        if mode.upper() != "ON":
            # One step at a time: the server refuses to leave one out, and to go back.
            at = _GTID_MODES.index(mode.upper()) if mode.upper() in _GTID_MODES else 0
            mend = "\n".join(f"{persist} gtid_mode = {step};" for step in _GTID_MODES[at + 1 :])
            found.append(Finding("gtid_mode", severity, f"gtid_mode is {mode}, not ON", why, mend))
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
    hours = seconds / 3600
    if 0 < seconds < _SHORT_RETENTION_S:
        found.append(
            Finding(
                "binlog_retention",
                Severity.WARNING,
                f"binlogs are kept for {hours:g} hour{'' if hours == 1 else 's'}",
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


def case_findings(variables: Map[str, str], names: Sequence[str]) -> list[Finding]:
    """names: configured, of the database and its tables."""
    if variables.get("lower_case_table_names", "0") == "0":
        return []
    why = "the server logs names in lower case, and rows of others are passed over"
    mend = "-- write it in lower case in source.url, source.tables or source.mapping"
    return [
        Finding("name_case", Severity.ERROR, f"{name} is not written in lower case", why, mend)
        for name in names
        if name != name.lower()
    ]


def replica_findings(variables: Map[str, str], *, mariadb: bool) -> list[Finding]:
    """Of a server that is itself a replica."""
    found = []
    name = "log_replica_updates" if "log_replica_updates" in variables else "log_slave_updates"
    updates = variables.get(name, "ON")
    if updates.upper() != "ON":
        found.append(
            Finding(
                "log_replica_updates",
                Severity.ERROR,
                f"the server is a replica, and does not log what it receives ({name} is OFF)",
                "changes made on its source are not in its binlog",
                f"-- in the server's option file, then restart it:\n-- [mysqld]\n-- {name} = ON",
            )
        )
    workers = int(variables.get("replica_parallel_workers", variables.get("slave_parallel_workers", "0")) or 0)
    ordered = variables.get("replica_preserve_commit_order", variables.get("slave_preserve_commit_order", "ON"))
    if not mariadb and workers > 1 and ordered.upper() != "ON":
        found.append(
            Finding(
                "replica_preserve_commit_order",
                Severity.ERROR,
                "the server is a replica that may commit in another order than its source",
                "after a switch to the source or back, changes would be taken for ones already seen",
                "STOP REPLICA SQL_THREAD;\nSET PERSIST replica_preserve_commit_order = ON;\nSTART REPLICA SQL_THREAD;",
            )
        )
    return found


def table_missing(table: str, seen: Sequence[str], key: str, who: str = "", grant: str = "") -> Finding:
    """seen: tables that the account may see there. key: the configuration that names the table. who, grant: the
    account, where it may be that it only must not see the table, and what would let it."""
    what = f"there is no table {table}" + (f", or {who} may not see it" if who else "")
    near = get_close_matches(table, seen, 2)
    if near:
        mend = f"-- there is {' and '.join(near)}: write it in {key}; or make {table}: vecsync source install"
        mend += f"\n-- if it is there: {grant}" if grant else ""
    else:
        mend = f"-- if it is there:\n{grant}\n-- otherwise: vecsync source install" if grant else _INSTALL
    return Finding("table_missing", Severity.ERROR, what, "there is nothing to follow", mend)


def database_missing(database: str) -> Finding:
    return Finding(
        "database_missing",
        Severity.ERROR,
        f"there is no database {database}",
        "there is nothing to follow",
        f"-- write the right one in source.tables; or make it, and then its tables by vecsync source install:\n"
        f"CREATE DATABASE {quoted(database, 'mysql')};",
    )


def missing_name(shape: TableShape, mapping: Mapping) -> tuple[str, str] | None:
    """The table that is not there, if one is not, and the key of the configuration that names it."""
    if not shape.exists:
        return shape.table, "source.tables"
    return None if shape.dataset_table_exists else (mapping.dataset_table, "source.mapping.dataset_table")


def table_findings(shape: TableShape, mapping: Mapping, dialect: Dialect, seen: Sequence[str] = ()) -> list[Finding]:
    """Of one shadow table and its table of datasets. seen: tables beside them."""
    table = shape.table
    missing = missing_name(shape, mapping)
    if missing is not None:
        return [table_missing(missing[0], seen, missing[1])]
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
        found += _mysql_columns(shape, mapping)
        for foreign in shape.hidden:
            of, key = quoted(foreign.table, dialect), f"FOREIGN KEY ({foreign.columns}) {foreign.refers}"
            why = "rows that change or go by it are not logged"
            mend = f"ALTER TABLE {of} DROP FOREIGN KEY {foreign.name};\nALTER TABLE {of} ADD {key};"
            add("hidden_cascade", Severity.ERROR, f"{foreign.table} has {key} {foreign.does}", why, mend)
        if shape.engine is not None and shape.engine.upper() != "INNODB":
            why = "its changes are logged outside of transactions, and a failed statement leaves half of its rows"
            add("engine", Severity.ERROR, f"{table} is {shape.engine}", why, f"ALTER TABLE {t} ENGINE = InnoDB;")
        if not shape.triggers:
            add(
                "no_triggers",
                Severity.INFO,
                f"{table} has no triggers, or this account may not see them",
                "without them deletions carry no change number of their own; their place in the log orders them",
                _INSTALL,
            )
    if shape.renames:
        add(
            "renames",
            Severity.WARNING,
            f"the foreign key of {table} to {mapping.dataset_table} has ON UPDATE CASCADE",
            "renaming a dataset renames its documents, of which the binlog says nothing: capture stops there",
            "-- never change a dataset_id, or make the foreign key without ON UPDATE CASCADE",
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


def _mysql_columns(shape: TableShape, mapping: Mapping) -> list[Finding]:
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
                    f"ALTER TABLE {quoted(shape.table, 'mysql')} MODIFY {quoted(column.name, 'mysql')}"
                    f" {_MENDED_TYPES[part]};"
                    if part in _MENDED_TYPES
                    else f"-- change the type of {column.name} to VARCHAR(191)",
                )
            )
        elif part in ("dataset_id", "id") and ignores_case(column, "mysql"):
            found.append(
                Finding(
                    "collation",
                    Severity.WARNING,
                    f"column {column.name} of {shape.table} has collation {column.collation}",
                    "ids that differ only by case or accent are one to the database and two to everything else; "
                    "if such a pair appears, capture stops",
                    _exact(
                        shape, column, mapping, referring=part == "dataset_id" and (shape.cascades or shape.renames)
                    ),
                )
            )
    return found


def _exact(shape: TableShape, column: Column, mapping: Mapping, *, referring: bool) -> str:
    """What makes a column tell all ids apart. referring: it is in the foreign key, which ties it to its like."""

    def alter(table: str, changed: Column) -> str:
        name, charset = quoted(changed.name, "mysql"), f"CHARACTER SET {changed.charset} COLLATE {changed.charset}_bin"
        return f"ALTER TABLE {quoted(table, 'mysql')} MODIFY {name} {changed.type} {charset} NOT NULL;"

    owner = next((c for c in shape.dataset_columns if c.name == "dataset_id"), None)
    if not referring or owner is None:
        return alter(shape.table, column)
    return (
        f"-- drop every foreign key to {mapping.dataset_table}; change each table that has one, and the datasets, like"
        f" this:\n-- {alter(shape.table, column)}\n-- {alter(mapping.dataset_table, owner)}\n-- then add the keys again"
    )


def refusal(findings: Sequence[Finding]) -> str:
    """The errors as text: each with what to run."""
    lines = []
    for finding in findings:
        if finding.severity is Severity.ERROR:
            lines.append(f"{finding.what}: {finding.why}")
            lines += [f"    {line}" for line in finding.mend_sql.splitlines()]
    return "\n".join(lines)
