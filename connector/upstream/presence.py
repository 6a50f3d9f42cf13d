"""Which tables a MySQL or MariaDB server has: what is there, what is gone, and what the account may not see.

The catalogue proves nothing. It leaves out what the account has no privilege on, and MySQL's may be behind the log: a
statement is in the log before the engine shows what it did. A SELECT on the table waits for such a statement, and says
by its error whether there is no such table or the account may not read it. Nothing may count as gone otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import pymysql

from connector.errors import PreflightRefused
from connector.model import TableName
from connector.settings import Mapping, Settings
from connector.upstream.ask import ACCESS_DENIED, rows
from connector.upstream.discover import TableShape, mysql_shape
from connector.upstream.mysql import mysql_errors, open_connection
from connector.upstream.names import quoted
from connector.upstream.tables import Patterns, with_tables

_GONE = {1049, 1146}  # no such database, no such table
_LOOKS = 5  # at a table that is made and dropped while it is looked at

# What else has a name. A table of another kind (SYSTEM VERSIONED) is not passed over: the check refuses it.
_NO_TABLES = frozenset({"VIEW", "SYSTEM VIEW", "SEQUENCE", "TEMPORARY", "TEMPORARY SEQUENCE"})


class Presence(Enum):
    THERE = auto()
    GONE = auto()
    HIDDEN = auto()
    """The account may not read it, and so cannot know whether it is there."""


def presence(connection: pymysql.Connection[Any], table: TableName) -> Presence:
    """After everything that is in the log. Raises pymysql.Error."""
    try:
        rows(connection, f"SELECT 1 FROM {_of(table)} LIMIT 0")
    except (pymysql.OperationalError, pymysql.ProgrammingError) as error:
        if error.args[0] in ACCESS_DENIED:
            return Presence.HIDDEN
        if is_gone(error):
            return Presence.GONE
        raise
    return Presence.THERE


def is_gone(error: pymysql.MySQLError) -> bool:
    """Whether a statement failed because there is no such table, or no such database."""
    return bool(error.args) and error.args[0] in _GONE


def there(connection: pymysql.Connection[Any], table: TableName) -> bool:
    """After everything that is in the log. Raises PreflightRefused where the account may not know; pymysql.Error."""
    found = presence(connection, table)
    if found is Presence.HIDDEN:
        raise PreflightRefused(
            f"the account may not read {table}, so whether it is there, or was dropped, cannot be known",
            hint=f"GRANT SELECT ON {_of(table)}; where it was dropped, grant it ON {quoted(table.db, 'mysql')}.*.",
        )
    return found is Presence.THERE


def present_shape(connection: pymysql.Connection[Any], table: TableName, mapping: Mapping) -> TableShape:
    """As `mysql_shape`; `exists` is False only of a table that is gone. Raises as `there` does, and PreflightRefused of
    what is no table to be followed."""
    for _ in range(_LOOKS):
        try:
            shape = mysql_shape(connection, *table, mapping)
        except pymysql.MySQLError as error:
            if not is_gone(error):
                raise
            continue  # dropped meanwhile
        if shape.exists or not there(connection, table):
            return shape
    raise PreflightRefused(f"{table} is no ordinary table, or was made and dropped again and again")


def to_follow(connection: pymysql.Connection[Any], table: TableName) -> bool:
    """Whether there is such a table after everything that is in the log, or may be, where the account may not know:
    that is for the check of the source to refuse. Raises pymysql.Error."""
    kind = _kind(connection, table)
    if kind is None:
        if presence(connection, table) is Presence.GONE:
            return False
        kind = _kind(connection, table)
    return kind not in _NO_TABLES


def matching(connection: pymysql.Connection[Any], patterns: Patterns) -> list[TableName]:
    """The tables that the catalogue shows this account, in the order of their names. Raises pymysql.Error."""
    if not patterns:
        return []
    ((ignores_case,),) = rows(connection, "SELECT @@lower_case_table_names")
    found = set()
    for row in rows(connection, "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES"):
        db, table, kind = map(_text, row)
        name = TableName(db.lower(), table.lower()) if int(ignores_case) else TableName(db, table)
        if kind not in _NO_TABLES and patterns.match(name):
            found.add(name)
    return sorted(found)


def with_present(settings: Settings) -> Settings:
    """The same, with the tables that match now and may be seen. Raises Unreachable, AuthenticationFailed."""
    patterns = Patterns(settings.source)
    if not patterns:
        return settings
    connection = open_connection(settings.source)
    try:
        with mysql_errors("the catalogue"):
            return with_tables(settings, matching(connection, patterns))
    finally:
        connection.close()


def rows_or_gone(
    connection: pymysql.Connection[Any], sql: str, args: Sequence[Any]
) -> Sequence[tuple[Any, ...]] | None:
    """None: a table that the query reads is gone. Raises pymysql.Error."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql, args)
        except pymysql.MySQLError as error:
            if is_gone(error):
                return None
            raise
        return list(cursor.fetchall())


def _kind(connection: pymysql.Connection[Any], table: TableName) -> str | None:
    """As the catalogue has it; None where it shows nothing of that name."""
    sql = "SELECT TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
    found = rows_or_gone(connection, sql, tuple(table))
    return _text(found[0][0]) if found else None


def _of(table: TableName) -> str:
    return f"{quoted(table.db, 'mysql')}.{quoted(table.table, 'mysql')}"


def _text(value: str | bytes) -> str:
    """MySQL gives some columns of its catalogue as bytes."""
    return value.decode() if isinstance(value, bytes) else value
