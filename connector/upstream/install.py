"""`source install`: makes what is missing in a source database, and replaces triggers of ours that are not current.

It never touches a row of documents, datasets or logs, and never changes or drops a table. Doing it again does nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import apsw
import pymysql

from connector.errors import ConfigurationError, UsageError
from connector.model import TableName
from connector.settings import Mapping, SourceSettings
from connector.upstream import mysql_schema, sqlite_schema
from connector.upstream.address import mysql_address, sqlite_path
from connector.upstream.discover import Column, TableShape, mysql_shape, sqlite_shape
from connector.upstream.mysql import mysql_errors, open_connection
from connector.upstream.names import SCN_TABLE, quoted
from connector.upstream.presence import matching
from connector.upstream.sqlite import open_writer, sqlite_error
from connector.upstream.tables import Patterns, followed_tables

_LOG_COLUMNS = {"dataset_id", "shadow_table", "scn", "op", "document_id", "payload"}


def install(source: SourceSettings, *, dry_run: bool = False) -> Sequence[str]:
    """The statements that were run, in order; with dry_run those that would be. Empty: nothing was missing.

    Raises Unreachable, AuthenticationFailed, ConfigurationError (a table cannot be used as it is).
    """
    if source.kind == "mysql":
        return _install_mysql(source, dry_run)
    path = sqlite_path(source.url)
    try:
        if dry_run and not path.is_file():
            db = apsw.Connection(":memory:")
        else:
            db = open_writer(path, create=True)
        try:
            return install_sqlite(db, source.tables, source.mapping, dry_run=dry_run)
        finally:
            db.close()
    except apsw.Error as error:
        raise sqlite_error(error, str(path)) from error


def install_sqlite(
    db: apsw.Connection, tables: Sequence[str], mapping: Mapping, *, dry_run: bool = False
) -> Sequence[str]:
    """As `install`, in one transaction of an open connection. Raises apsw.Error, ConfigurationError."""
    done: list[str] = []

    def run(sql: str) -> None:
        db.execute(sql).fetchall()
        done.append(sql)

    db.execute("BEGIN IMMEDIATE").fetchall()
    try:
        existing = {
            name for (name,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type IN ('table', 'index')")
        }
        for table in tables:
            shape = sqlite_shape(db, table, mapping)
            for name, sql in sqlite_schema.base_tables(table, mapping, related=not shape.exists or shape.cascades):
                if name.lower() not in {known.lower() for known in existing}:
                    run(sql)
                    existing.add(name)
        for name, sql in sqlite_schema.reader_tables():
            if name not in existing:
                run(sql)
        if not db.execute(f"SELECT 1 FROM {sqlite_schema.SOURCE_TABLE}").fetchall():
            run(f"INSERT INTO {sqlite_schema.SOURCE_TABLE}(one, uuid) VALUES (1, '{uuid.uuid4()}')")
        shapes = []
        for table in tables:
            shape = sqlite_shape(db, table, mapping)
            shape.must_be_usable()
            shapes.append(shape)
        stale: set[str] = set()
        for table_of, name, sql in expected_sqlite_triggers(shapes, mapping):
            found = db.execute("SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?", [name])
            now = [text for (text,) in found]
            if now == [sql]:
                continue
            if now and mapping.log_table not in now[0] and sqlite_schema.CHANGE_LOG not in now[0]:
                raise ConfigurationError(
                    f"there is a trigger {name} that does not write to {mapping.log_table}",
                    hint="Rename it: `vecsync source install` needs the name.",
                )
            if now:
                run(f"DROP TRIGGER {quoted(name, 'sqlite')}")
            run(sql)
            stale.update([table_of] if table_of else tables)
        _try_triggers(db, shapes, mapping)
        for table in sorted(stale):
            # Whatever was written while a trigger was missing is in no log: readers take the whole table anew.
            run(
                f"INSERT INTO {sqlite_schema.CHANGE_LOG}(shadow_table, op, at)"
                f" VALUES ({sqlite_schema.text(table)}, 'installed', {sqlite_schema.NOW_US})"
            )
    except BaseException:
        db.execute("ROLLBACK").fetchall()
        raise
    db.execute("ROLLBACK" if dry_run else "COMMIT").fetchall()
    return done


def _try_triggers(db: apsw.Connection, shapes: Sequence[TableShape], mapping: Mapping) -> None:
    """Compiles statements that fire them: a trigger that does not fit a table would make every write to it fail."""
    for table, column in [
        (mapping.dataset_table, "dataset_id"),
        *((shape.table, shape.mapped["id"]) for shape in shapes),
    ]:
        t, c = quoted(table, "sqlite"), quoted(column, "sqlite")
        for sql in (f"INSERT INTO {t} DEFAULT VALUES", f"UPDATE {t} SET {c} = {c}", f"DELETE FROM {t}"):
            try:
                db.execute(f"EXPLAIN {sql}").fetchall()
            except apsw.SQLError as error:
                raise ConfigurationError(
                    f"the triggers of {table} do not fit the tables that are there: {error}",
                    hint=f"Rename {mapping.log_table}, {SCN_TABLE} or their columns, or name others in source.mapping.",
                ) from error


def expected_sqlite_triggers(shapes: Sequence[TableShape], mapping: Mapping) -> list[tuple[str | None, str, str]]:
    """Table (None: shared by all), name and SQL of every trigger that the reader relies on."""
    has_last_scn = bool(shapes) and shapes[0].dataset_has_last_scn
    expected: list[tuple[str | None, str, str]] = [
        (None, name, sql) for name, sql in sqlite_schema.reader_triggers(mapping, has_last_scn=has_last_scn).items()
    ]
    for shape in shapes:
        made = sqlite_schema.document_triggers(
            shape.table, mapping, timestamps=shape.timestamps, id_is_key=shape.id_is_key
        )
        made |= sqlite_schema.cascade_triggers(shape.table, mapping)
        expected += [(shape.table, name, sql) for name, sql in made.items()]
    return expected


def stale_sqlite_triggers(db: apsw.Connection, shapes: Sequence[TableShape], mapping: Mapping) -> list[str]:
    """Names of triggers that are missing, or not as this version makes them. Raises apsw.Error."""
    found = db.execute("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger'").fetchall()
    there = {str(name): sql for name, sql in found}
    return [name for _, name, sql in expected_sqlite_triggers(shapes, mapping) if there.get(name) != sql]


def _install_mysql(source: SourceSettings, dry_run: bool) -> Sequence[str]:
    at = mysql_address(source.url).database
    connection = open_connection(source)
    done: list[str] = []
    made: set[TableName] = set()
    try:
        with mysql_errors("the installation"):
            # Database by database: the statements name tables of the default one.
            tables = dict.fromkeys([*followed_tables(source), *matching(connection, Patterns(source))])
            if not tables:
                raise UsageError(
                    f"no table matches {', '.join(source.tables)}, and a pattern names none to make",
                    hint="Name the table: `vecsync source install --table NAME`, or `DATABASE.NAME`.",
                )
            for database, table in sorted(tables, key=lambda name: (name.db != at, name.db)):
                for name, sql in _missing_mysql(connection, database, table, source.mapping):
                    if TableName(database, name) in made:
                        continue
                    made.add(TableName(database, name))
                    statements = [sql] if database == at else [f"USE {quoted(database, 'mysql')}", sql]
                    at = database
                    done += statements
                    if not dry_run:
                        for statement in statements:
                            _run(connection, statement)
    finally:
        connection.close()
    return done


def _missing_mysql(
    connection: pymysql.Connection[Any], database: str, table: str, mapping: Mapping
) -> list[tuple[str, str]]:
    """Name and SQL of what one table needs. Decided before anything is made, so that a dry run says the same."""
    shape = mysql_shape(connection, database, table, mapping)
    related = not shape.exists or shape.cascades
    dataset_column = next((c for c in shape.dataset_columns if c.name == "dataset_id"), None)
    dataset_key = _key_type(dataset_column if related else shape.column_of("dataset_id"))
    id_key = _key_type(shape.column_of("id"))
    existing = {
        row[0].lower()
        for row in _run(
            connection, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", database
        )
    }
    missing = [
        (name, sql)
        for name, sql in mysql_schema.base_tables(
            table, mapping, related=related, dataset_key=dataset_key, id_key=id_key
        )
        if name.lower() not in existing
    ]
    log_columns = {
        row[0].lower()
        for row in _run(
            connection,
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            *(database, mapping.log_table),
        )
    }
    if log_columns and (lacks := _LOG_COLUMNS - log_columns):
        raise ConfigurationError(
            f"table {mapping.log_table} has no column {', '.join(sorted(lacks))}, and triggers would write to it",
            hint="Rename it, or name another in source.mapping.log_table.",
        )
    has_function = _run(
        connection,
        "SELECT 1 FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s AND ROUTINE_NAME = %s",
        *(database, mysql_schema.NEXT_SCN),
    )
    if not has_function:
        has_last_scn = shape.dataset_has_last_scn or not shape.dataset_table_exists
        sql = mysql_schema.next_scn_function(mapping, dataset_key=dataset_key, has_last_scn=has_last_scn)
        missing.append((mysql_schema.NEXT_SCN, sql))
    timestamps: Sequence[str] = ("created_at", "updated_at")
    if shape.exists:
        if shape.dataset_table_exists:
            shape.must_be_usable()
        timestamps = shape.timestamps
    return missing + _missing_triggers(shape, table, mapping, timestamps)


def _missing_triggers(
    shape: TableShape, table: str, mapping: Mapping, timestamps: Sequence[str]
) -> list[tuple[str, str]]:
    """Events for which another trigger keeps the log already are left to it: two would log each change twice."""
    missing = []
    for name, sql in mysql_schema.document_triggers(table, mapping, timestamps=timestamps).items():
        event = sql.split(" ON ", 1)[0].rsplit("` ", 1)[1]
        ours = next((t for t in shape.triggers if t.name == name and mysql_schema.MARK in t.body), None)
        others = [t for t in shape.triggers if t.event == event and t is not ours and logs(t.body, mapping)]
        if others:
            continue
        taken = next((t for t in shape.triggers if t.name == name and t is not ours), None)
        if taken is not None:
            raise ConfigurationError(
                f"there is a trigger {name} that does not write to {mapping.log_table}",
                hint="Rename it: `vecsync source install` needs the name.",
            )
        mark = mysql_schema.MARK + sql.split(mysql_schema.MARK, 1)[1].split("*/", 1)[0]
        if ours is not None:
            if mark in ours.body:
                continue
            missing.append((f"{name} dropped", f"DROP TRIGGER {quoted(name, 'mysql')}"))
        missing.append((name, sql))
    return missing


def logs(body: str, mapping: Mapping) -> bool:
    """Whether a trigger keeps the shadow log: by itself, or through the usual procedure."""
    return mapping.log_table in body or "vec_log_change" in body or SCN_TABLE in body


def unlogged_events(shape: TableShape, mapping: Mapping) -> list[str]:
    """Of INSERT, UPDATE and DELETE, those for which the account sees no trigger that keeps the shadow log. An account
    without the privilege TRIGGER sees none at all."""
    logged = {t.event.split(" ")[-1] for t in shape.triggers if not t.body or logs(t.body, mapping)}
    return [event for event in ("INSERT", "UPDATE", "DELETE") if event not in logged]


def _key_type(column: Column | None) -> str | None:
    if column is None:
        return None
    text = f" CHARACTER SET {column.charset} COLLATE {column.collation}" if column.charset else ""
    return f"{column.type}{text}"


def _run(connection: pymysql.Connection[Any], sql: str, *args: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, args or None)
        return list(cursor.fetchall())
