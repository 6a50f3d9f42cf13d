"""Questions to a MySQL or MariaDB upstream that an account may not be allowed to ask."""

from __future__ import annotations

from typing import Any

import pymysql

ACCESS_DENIED = {1044, 1142, 1143, 1227}
_NOTHING_THERE = {1049, 1146, 1381}  # no such database; no such table; the binlog is off


def rows(connection: pymysql.Connection[Any], sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def denied(connection: pymysql.Connection[Any], sql: str) -> bool:
    """Whether the account may not. That there is no such table, or no binlog, is for others to say."""
    try:
        rows(connection, sql)
    except (pymysql.OperationalError, pymysql.ProgrammingError) as error:
        if error.args[0] in ACCESS_DENIED:
            return True
        if error.args[0] in _NOTHING_THERE:
            return False
        raise
    return False


def account_name(connection: pymysql.Connection[Any]) -> str:
    (account,) = rows(connection, "SELECT CURRENT_USER()")[0]
    user, _, host = account.rpartition("@")
    return f"'{user}'@'{host}'"


def grants(connection: pymysql.Connection[Any], *, mariadb: bool) -> list[tuple[set[str], str]]:
    """Privileges of the account and its active roles, in capitals, each with what they are on (`*.*`). The text of a
    grant may hold a password's hash: it goes nowhere else."""
    sql = "SHOW GRANTS"
    if not mariadb:
        (roles,) = rows(connection, "SELECT CURRENT_ROLE()")[0]
        if roles and roles != "NONE":
            sql = f"SHOW GRANTS FOR CURRENT_USER() USING {roles}"
    found = []
    for (grant,) in rows(connection, sql):
        listed, on, rest = grant.removeprefix("GRANT ").partition(" ON ")
        scope, to, _ = rest.partition(" TO ")
        if on and to:
            found.append(({name.strip().upper() for name in listed.split(",")}, scope))
    return found
