"""`source check`: everything that must be right on a source so that no row can be lost. Reads only.

What a session can override for itself (row image, logging) cannot be seen from here: the reader of the binlog checks it
in every event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import apsw
import pymysql

from connector.errors import ConfigurationError, NotYet, PreflightRefused, Unreachable
from connector.model import TableName
from connector.settings import Mapping, Settings, SourceSettings, is_pattern
from connector.upstream.address import mysql_address, sqlite_path
from connector.upstream.ask import ACCESS_DENIED, account_name, denied, grants, rows
from connector.upstream.discover import TableShape, mysql_shape, sqlite_shape
from connector.upstream.findings import (
    Finding,
    Severity,
    case_findings,
    ignores_case,
    refusal,
    replica_findings,
    server_findings,
    table_findings,
)
from connector.upstream.install import stale_sqlite_triggers
from connector.upstream.library_findings import library_server_findings
from connector.upstream.log_check import log_findings
from connector.upstream.mysql import LOCK_WAIT_S, mysql_errors, open_connection
from connector.upstream.names import quoted
from connector.upstream.presence import matching, to_follow
from connector.upstream.sqlite import open_reader, sqlite_error
from connector.upstream.sqlite_schema import CHANGE_LOG, SOURCE_TABLE
from connector.upstream.table_check import checked_table, mysql_twins, nothing_of, tables_seen, twin_findings, written
from connector.upstream.tables import Patterns, called, followed_tables

log = logging.getLogger("connector.upstream")

_INSTALL = "-- vecsync source install"
_AGAIN_S = 0.5
_SYNTAX = 1064


def check(settings: Settings) -> list[Finding]:
    """Everything found, errors first. A source that cannot be reached is a finding too: it says why."""
    try:
        return look(settings)
    except (Unreachable, ConfigurationError) as error:
        return [Finding("unreachable", Severity.ERROR, str(error), "nothing can be read", f"-- {error.hint}")]


def require(settings: Settings, only: Collection[TableName] | None = None) -> list[Finding]:
    """As `check`, but a source that cannot be reached is raised (Unreachable, ConfigurationError). Raises
    PreflightRefused, with what mends each, when a finding is an error. only: of the tables; the server is checked
    anyhow."""
    found = look(settings, only)
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    if errors:
        things = "one thing" if errors == 1 else f"{errors} things"
        raise PreflightRefused(f"{things} on the source to be mended first:\n{refusal(found)}")
    return found


def require_in_time(
    settings: Settings,
    stop: Event,
    only: Collection[TableName] | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> list[Finding] | None:
    """As `require`, but waits, however long, for a table that somebody holds. None: told to stop before.

    meanwhile: done between two looks."""
    told = False
    while not stop.is_set():
        try:
            return require(settings, only)
        except NotYet as error:
            if not told:
                tables = settings.source.tables if only is None else [str(name) for name in only]
                log.warning("waits for a table that another session holds", extra={"tables": tables, "why": str(error)})
            told = True
        if meanwhile is not None:
            meanwhile()
        stop.wait(_AGAIN_S)
    return None


def look(settings: Settings, only: Collection[TableName] | None = None) -> list[Finding]:
    """Everything found, errors first. Raises Unreachable, ConfigurationError. only: as `require` has it."""
    found = _sqlite(settings) if settings.source.kind == "sqlite" else _mysql(settings, only)
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def _sqlite(settings: Settings) -> list[Finding]:
    source, path = settings.source, sqlite_path(settings.source.url)
    db = open_reader(path)
    try:
        found: list[Finding] = []
        shapes = [sqlite_shape(db, table, source.mapping) for table in source.tables]
        seen = [name for (name,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")]
        for shape in shapes:
            found += table_findings(shape, source.mapping, "sqlite", seen)
            found += _sqlite_table(db, shape)
        (mode,) = db.execute("PRAGMA journal_mode").fetchall()[0]
        if mode != "wal":
            why = "readers and writers wait for each other"
            found.append(
                Finding("journal_mode", Severity.WARNING, f"journal_mode is {mode}", why, "PRAGMA journal_mode = wal;")
            )
        if all(shape.exists and shape.dataset_table_exists for shape in shapes):
            found += _sqlite_log(db, shapes, source.mapping)
        return found
    except apsw.Error as error:
        raise sqlite_error(error, str(path)) from error
    finally:
        db.close()


def _sqlite_log(db: apsw.Connection, shapes: Sequence[TableShape], mapping: Mapping) -> list[Finding]:
    tables = {name for (name,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")}
    missing = {mapping.log_table, CHANGE_LOG, SOURCE_TABLE} - tables
    if missing or not db.execute(f"SELECT 1 FROM {SOURCE_TABLE}").fetchall():
        what = f"there is no {', '.join(sorted(missing))}" if missing else "the file has no identity"
        return [Finding("not_installed", Severity.ERROR, what, "changes are not logged", _INSTALL)]
    wrong = stale_sqlite_triggers(db, shapes, mapping)
    if not wrong:
        return []
    what = f"triggers are missing or not current: {', '.join(wrong)}"
    return [Finding("triggers", Severity.ERROR, what, "changes may not be logged", _INSTALL)]


def _sqlite_table(db: apsw.Connection, shape: TableShape) -> list[Finding]:
    found = [
        Finding(
            "unique_index",
            Severity.WARNING,
            f"{shape.table} has a further unique index on ({', '.join(columns)})",
            "INSERT OR REPLACE can take rows away by it without a trigger telling: do not use it on this table",
        )
        for columns in shape.unique
    ]
    key = shape.column_of("dataset_id")
    if key is not None and ignores_case(key, "sqlite"):
        t, c = quoted(shape.table, "sqlite"), quoted(key.name, "sqlite")
        twins = f"SELECT min(hex({c})) FROM {t} GROUP BY {c} HAVING count(DISTINCT hex({c})) > 1 LIMIT 1"
        found += twin_findings(bool(db.execute(twins).fetchall()), shape.table, key.name, key.collation, twins)
    return found


def _mysql(settings: Settings, only: Collection[TableName] | None) -> list[Finding]:
    source, database = settings.source, mysql_address(settings.source.url).database
    connection = open_connection(source, lock_wait_s=LOCK_WAIT_S)
    try:
        with mysql_errors("the check"):
            variables = {name.lower(): value for name, value in rows(connection, "SHOW GLOBAL VARIABLES")}
            mariadb = "mariadb" in variables.get("version", "").lower()
            if source.reader == "shadow_log":
                return _mysql_log(connection, database, source, mariadb=mariadb)
            found = server_findings(
                variables,
                mariadb=mariadb,
                snapshot=source.snapshot != "no_data",
                server_id=source.server_id,
                names_needed=source.row_metadata == "full",
            )
            if source.reader == "mysql-replication":
                found += library_server_findings(variables, mariadb=mariadb)
            patterns = Patterns(source)
            there = matching(connection, patterns)
            # One that was found and is gone is no longer missed; one that may not be seen is.
            missed = [name for name in followed_tables(source) if name not in there and (only is None or name in only)]
            missed = [name for name in missed if not patterns.match(name) or to_follow(connection, name)]
            tables = [*missed, *(name for name in there if name not in missed)]
            if not tables and only is None:
                what = f"no table matches {', '.join(source.tables)}, or none that this account may see"
                why = "there is nothing to follow yet"
                mend = "-- vecsync source install --table NAME; or GRANT SELECT"
                found.append(Finding("table_missing", Severity.ERROR, what, why, mend))
            if only is not None:
                tables = [name for name in tables if name in only]
            databases = list(dict.fromkeys(name.db for name in tables))
            parts = [*(part for name in tables for part in name), *filter(is_pattern, source.tables)]
            found += case_findings(variables, list(dict.fromkeys([database, *parts, source.mapping.dataset_table])))
            datasets = [TableName(name, source.mapping.dataset_table) for name in databases]
            found += _account(connection, database, [*tables, *datasets], patterns, mariadb=mariadb)
            found += _filters(connection, databases)
            try:
                is_replica = bool(rows(connection, "SHOW REPLICA STATUS"))
            except pymysql.OperationalError as error:
                if error.args[0] not in ACCESS_DENIED:
                    raise
                is_replica = False
                if mariadb:
                    found.append(
                        Finding(
                            "replica_unknown",
                            Severity.INFO,
                            "the account may not ask whether the server is a replica itself",
                            "settings that matter on a replica were not checked",
                            f"GRANT REPLICA MONITOR ON *.* TO {account_name(connection)};",
                        )
                    )
            if is_replica:
                found += replica_findings(variables, mariadb=mariadb)
            for name in tables:
                of_table = checked_table(connection, database, name, source, patterns)
                here = name.db == database or any(finding.code == "database_missing" for finding in of_table)
                found += of_table if here else [_elsewhere(name.db, finding) for finding in of_table]
            return found
    finally:
        connection.close()


def _elsewhere(database: str, finding: Finding) -> Finding:
    """Of a table in another database than that of source.url: says so, and mends it there."""
    mend = finding.mend_sql
    if any(not line.startswith("--") for line in mend.splitlines()):
        mend = f"USE {quoted(database, 'mysql')};\n{mend}"
    return replace(finding, what=f"in database {database}: {finding.what}", mend_sql=mend)


def _mysql_log(
    connection: pymysql.Connection[Any], database: str, source: SourceSettings, *, mariadb: bool
) -> list[Finding]:
    """Of a source whose shadow log is read: nothing of its binlog matters."""
    shapes = [mysql_shape(connection, database, table, source.mapping) for table in source.tables]
    found = log_findings(connection, database, shapes, source.mapping, mariadb=mariadb)
    for shape in shapes:
        found += [f for f in table_findings(shape, source.mapping, "mysql") if f.code != "no_triggers"]
        found += mysql_twins(connection, database, shape, source.mapping)
    return found


def _account(
    connection: pymysql.Connection[Any],
    home: str,
    tables: Sequence[TableName],
    patterns: Patterns,
    *,
    mariadb: bool,
) -> list[Finding]:
    """By trying where that does no harm, otherwise by the grants. tables: those of datasets among them."""
    found = []
    who = account_name(connection)
    if not _global_privileges(connection, mariadb=mariadb) & {"REPLICATION SLAVE", "ALL PRIVILEGES"}:
        found.append(
            Finding(
                "privilege_replication_slave",
                Severity.ERROR,
                f"{who} may not read the binlog",
                "changes cannot be read",
                f"GRANT REPLICATION SLAVE ON *.* TO {who};",
            )
        )
    monitor = "BINLOG MONITOR" if mariadb else "REPLICATION CLIENT"
    if denied(connection, "SHOW BINARY LOGS"):
        found.append(
            Finding(
                "privilege_monitor",
                Severity.ERROR,
                f"{who} may not ask where the binlog ends",
                "a start, a snapshot and a check of the recorded position need it",
                f"GRANT {monitor} ON *.* TO {who};",
            )
        )
    for table in tables:
        seen = tables_seen(connection, table.db)
        # One that cannot be seen among others that can is taken for missing, see `_missing`; but not one that a pattern
        # found: it was there.
        if denied(connection, nothing_of(table)) and (not seen or table.table in seen or patterns.match(table)):
            what = f"{who} may not read {called(table, home)}"
            why = "a snapshot reads it, and its columns cannot be seen without"
            grant = f"GRANT SELECT ON {written(table)} TO {who};"
            found.append(Finding("privilege_select", Severity.ERROR, what, why, grant))
    return found


def _global_privileges(connection: pymysql.Connection[Any], *, mariadb: bool) -> set[str]:
    return {name for listed, scope in grants(connection, mariadb=mariadb) if scope == "*.*" for name in listed}


def _filters(connection: pymysql.Connection[Any], databases: Sequence[str]) -> list[Finding]:
    """binlog_do_db and binlog_ignore_db, which are no variables."""
    for sql in ("SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"):
        try:
            found = rows(connection, sql)
        except pymysql.ProgrammingError as error:
            if error.args[0] != _SYNTAX:
                raise
            continue
        except pymysql.OperationalError as error:
            if error.args[0] not in ACCESS_DENIED:
                raise
            return []  # the missing privilege is a finding of its own
        only, ignored = (found[0][2] or "", found[0][3] or "") if found else ("", "")
        named = (("binlog_do_db", only), ("binlog_ignore_db", ignored))
        filters = ", ".join(f"{name} is {value}" for name, value in named if value)
        unlogged = [
            Finding(
                "binlog_filter",
                Severity.ERROR,
                f"the server does not log changes of {database} ({filters})",
                "changes cannot be read",
                "-- remove binlog_do_db and binlog_ignore_db from the server's option file, then restart it",
            )
            for database in databases
            if (only and database not in only.split(",")) or database in ignored.split(",")
        ]
        if unlogged:
            return unlogged
        if only or ignored:
            return [
                Finding(
                    "binlog_filter",
                    Severity.WARNING,
                    f"the server filters its binlog ({filters})",
                    f"a change of {', '.join(databases)} made while another database is the default one may not be "
                    "logged",
                    "-- remove binlog_do_db and binlog_ignore_db from the server's option file, then restart it",
                )
            ]
        return []
    return []
