"""What the check of a MySQL or MariaDB source finds about a single table.

Reads only. Of what the account may not see it must never say just that it is missing.
"""

from __future__ import annotations

from typing import Any

import pymysql

from connector.model import TableName
from connector.settings import Mapping, SourceSettings
from connector.upstream.ask import account_name, denied, rows
from connector.upstream.discover import TableShape, mysql_shape
from connector.upstream.findings import (
    Finding,
    Severity,
    database_missing,
    ignores_case,
    missing_name,
    table_findings,
    table_missing,
)
from connector.upstream.install import logs
from connector.upstream.library_findings import library_table_findings
from connector.upstream.names import literal, quoted
from connector.upstream.presence import Presence, is_gone, presence
from connector.upstream.tables import Patterns

_INSTALL = "-- vecsync source install"


def checked_table(
    connection: pymysql.Connection[Any], home: str, name: TableName, source: SourceSettings, patterns: Patterns
) -> list[Finding]:
    """One that is there by a pattern may be dropped, or made anew, while it is looked at: only what is found twice, and
    of a table that is there, counts against it."""
    before: list[Finding] | None = None
    while True:
        try:
            found = _of_table(connection, home, name, source, patterns)
        except pymysql.MySQLError as error:
            if not is_gone(error) or not patterns.match(name):
                raise
            found = []
            wrong = True
        else:
            wrong = any(finding.severity is Severity.ERROR for finding in found)
        if not wrong or not patterns.match(name) or (found and found == before):
            return found
        if presence(connection, name) is Presence.GONE:
            return []
        before = found


def _of_table(
    connection: pymysql.Connection[Any], home: str, name: TableName, source: SourceSettings, patterns: Patterns
) -> list[Finding]:
    mapping = source.mapping
    shape = mysql_shape(connection, *name, mapping)
    missing = missing_name(shape, mapping)
    if missing is not None:
        return _missing(connection, home, TableName(name.db, missing[0]), missing[1], patterns)
    found = table_findings(shape, mapping, "mysql")
    if source.reader == "mysql-replication":
        found += library_table_findings(shape, mapping)
    if shape.triggers and not any(not t.body or logs(t.body, mapping) for t in shape.triggers):
        what = f"no trigger of {name.table} writes to {mapping.log_table}"
        why = "deletions carry no change number of their own; their place in the log orders them"
        found.append(Finding("no_triggers", Severity.INFO, what, why, _INSTALL))
    return found + mysql_twins(connection, home, shape, mapping)


def _missing(
    connection: pymysql.Connection[Any], home: str, table: TableName, key: str, patterns: Patterns
) -> list[Finding]:
    """That a table is not there, or that it may be and the account must not see it: the two look alike."""
    seen = tables_seen(connection, table.db)
    if denied(connection, nothing_of(table)):
        if not seen or patterns.match(table):
            return []  # the missing privilege is a finding of its own
        who = account_name(connection)
        return [table_missing(table.table, seen, key, who, f"GRANT SELECT ON {written(table)} TO {who};")]
    schema = literal(table.db, "mysql")
    if table.db != home and not rows(
        connection, f"SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {schema}"
    ):
        return [database_missing(table.db)]
    return [table_missing(table.table, seen, key)]


def tables_seen(connection: pymysql.Connection[Any], database: str) -> list[str]:
    """Those of which the account may see that they are there."""
    sql = "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = "
    return [name for (name,) in rows(connection, sql + literal(database, "mysql"))]


def written(table: TableName) -> str:
    return f"{quoted(table.db, 'mysql')}.{quoted(table.table, 'mysql')}"


def nothing_of(table: TableName) -> str:
    """A query that only the privilege to read decides about."""
    return f"SELECT 1 FROM {written(table)} LIMIT 0"


def mysql_twins(connection: pymysql.Connection[Any], home: str, shape: TableShape, mapping: Mapping) -> list[Finding]:
    """Spellings of one dataset in the table, and beside it in the table of datasets."""
    key = shape.column_of("dataset_id")
    owner = next((c for c in shape.dataset_columns if c.name == "dataset_id"), None)
    if key is None or not ignores_case(key, "mysql"):
        return []
    at = "" if shape.database == home else f"{quoted(shape.database, 'mysql')}."
    t, c = at + quoted(shape.table, "mysql"), quoted(key.name, "mysql")
    spellings = f"SELECT DISTINCT {c} AS name, CAST({c} AS BINARY) AS spelling FROM {t}"
    if owner is not None and owner.collation == key.collation:
        datasets = at + quoted(mapping.dataset_table, "mysql")
        spellings += f" UNION SELECT dataset_id, CAST(dataset_id AS BINARY) FROM {datasets}"
    query = (
        f"SELECT MIN(name), GROUP_CONCAT(HEX(spelling)) FROM ({spellings}) s"
        " GROUP BY name HAVING COUNT(DISTINCT spelling) > 1 LIMIT 10"
    )
    if denied(connection, f"SELECT 1 FROM {t} LIMIT 0"):
        return []  # the missing privilege is a finding of its own
    return twin_findings(bool(rows(connection, query)), shape.table, key.name, key.collation, query)


def twin_findings(exist: bool, table: str, column: str, collation: str | None, query: str) -> list[Finding]:
    if not exist:
        return []
    return [
        Finding(
            "twins",
            Severity.ERROR,
            f"{table} holds values of {column} that are different, and equal by collation {collation}",
            "deleting one of the datasets takes the documents of both",
            f"-- this finds them; give all of them one spelling:\n{query};",
        )
    ]
