"""What must be right on a MySQL or MariaDB source whose shadow log is read instead of its binlog. Reads only.

What is in no log cannot be found missing later: every write has to fire a trigger. Whether one is there is seen only by
accounts with the privilege TRIGGER; for others that is said, and nothing more is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymysql

from connector.settings import Mapping
from connector.upstream.ask import denied, grants, rows
from connector.upstream.discover import TableShape
from connector.upstream.findings import Finding, Severity
from connector.upstream.install import logs, unlogged_events
from connector.upstream.mysql_schema import MARK
from connector.upstream.names import literal, quoted

_INSTALL = "-- vecsync source install"
_KEY = ["dataset_id", "shadow_table", "scn"]


def log_findings(
    connection: pymysql.Connection[Any], database: str, shapes: Sequence[TableShape], mapping: Mapping, *, mariadb: bool
) -> list[Finding]:
    user, _, host = rows(connection, "SELECT CURRENT_USER()")[0][0].rpartition("@")
    who = f"'{user}'@'{host}'"
    found: list[Finding] = []
    for table in (*(shape.table for shape in shapes), mapping.dataset_table, mapping.log_table):
        if denied(connection, f"SELECT 1 FROM {quoted(table, 'mysql')} LIMIT 0"):
            grant = f"GRANT SELECT ON {quoted(database, 'mysql')}.{quoted(table, 'mysql')} TO {who};"
            what, why = f"{who} may not read {table}", "the log names what changed, and the rows are read from there"
            found.append(Finding("privilege_select", Severity.ERROR, what, why, grant))
    found += _log(connection, database, mapping)
    privileges = grants(connection, mariadb=mariadb)
    for shape in shapes:
        if shape.exists:
            found += _triggers(shape, mapping, who, sees=bool(shape.triggers) or _may_see(privileges, shape))
            found.append(
                Finding(
                    "truncate",
                    Severity.INFO,
                    f"TRUNCATE, dropping partitions and replacing {shape.table} fire no trigger",
                    "what they take is not noticed; a new snapshot finds it",
                    "-- after doing so: vecsync capture snapshot",
                )
            )
    return found


def _log(connection: pymysql.Connection[Any], database: str, mapping: Mapping) -> list[Finding]:
    table = mapping.log_table
    where = f"TABLE_SCHEMA = {literal(database, 'mysql')} AND TABLE_NAME = {literal(table, 'mysql')}"
    engines = rows(connection, f"SELECT ENGINE FROM information_schema.TABLES WHERE {where}")
    if not engines:
        if denied(connection, f"SELECT 1 FROM {quoted(table, 'mysql')} LIMIT 0"):
            return []  # the missing privilege is a finding of its own
        return [Finding("not_installed", Severity.ERROR, f"there is no {table}", "changes are not logged", _INSTALL)]
    found = []
    if (engines[0][0] or "").upper() != "INNODB":
        why = "its entries are not part of the transactions that they tell of"
        mend = f"ALTER TABLE {quoted(table, 'mysql')} ENGINE = InnoDB;"
        found.append(Finding("engine", Severity.ERROR, f"{table} is {engines[0][0]}", why, mend))
    key = rows(
        connection,
        f"SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE {where} AND INDEX_NAME = 'PRIMARY'"
        " ORDER BY SEQ_IN_INDEX",
    )
    names = [name.lower() for (name,) in key]
    if names != _KEY:
        what = f"the primary key of {table} is ({', '.join(names)})"
        why = f"entries are told apart, and found, by ({', '.join(_KEY)})"
        found.append(Finding("log_key", Severity.ERROR, what, why, f"-- make it ({', '.join(_KEY)})"))
    return found


def _triggers(shape: TableShape, mapping: Mapping, who: str, *, sees: bool) -> list[Finding]:
    table = shape.table
    if not sees:
        name = f"{quoted(shape.database, 'mysql')}.{quoted(table, 'mysql')}"
        return [
            Finding(
                "triggers_unseen",
                Severity.WARNING,
                f"{who} may not see whether {table} has triggers",
                "without them nothing is logged, and nothing is captured",
                f"-- run this check as an administrator, or:\nGRANT TRIGGER ON {name} TO {who};",
            )
        ]
    missing = unlogged_events(shape, mapping)
    if missing:
        what = f"no trigger of {table} logs {' and '.join(missing)}"
        return [Finding("triggers", Severity.ERROR, what, "such changes are in no log", _INSTALL)]
    if any(logs(trigger.body, mapping) and MARK not in trigger.body for trigger in shape.triggers):
        what = f"triggers of {table} are not those of `vecsync source install`"
        why = "a change of id or dataset must be logged as the deletion of the old key and the insertion of the new"
        return [Finding("triggers_foreign", Severity.INFO, what, why)]
    return []


def _may_see(privileges: Sequence[tuple[set[str], str]], shape: TableShape) -> bool:
    """Names may be quoted, and a database's be a pattern with its underscores escaped."""
    scopes = {"*.*", f"{shape.database}.*", f"{shape.database}.{shape.table}"}
    return any(
        listed & {"TRIGGER", "ALL PRIVILEGES", "ALL"} and scope.replace("`", "").replace("\\_", "_") in scopes
        for listed, scope in privileges
    )
