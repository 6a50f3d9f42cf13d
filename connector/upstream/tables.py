"""Which tables `source.tables` names, and how a table is called beside the database of `source.url`. Pure.

A table of that database goes by its bare name everywhere, one of another database by `database.table`: in entries, in
messages, and in recorded positions, which name tables so since there was only one database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from connector.model import TableName
from connector.settings import SourceSettings, entry_parts
from connector.upstream.address import mysql_address

_PLAIN = re.compile(r"[^.`*]+")


def home_of(source: SourceSettings) -> str:
    """The database that goes without saying. SQLite files have one, called main. Raises ConfigurationError."""
    return "main" if source.kind == "sqlite" else mysql_address(source.url).database


def followed_tables(source: SourceSettings) -> Sequence[TableName]:
    """Every table that is followed, in the order of the entries, each once. Raises ConfigurationError."""
    home = home_of(source)
    if source.reads_log:
        return [TableName(home, entry) for entry in dict.fromkeys(source.tables)]
    return list(dict.fromkeys(named(entry, home) for entry in source.tables))


def named(entry: str, home: str) -> TableName:
    """The table that an entry names. Raises ValueError."""
    *database, table = entry_parts(entry)
    return TableName(database[0] if database else home, table)


def called(table: TableName, home: str) -> str:
    """The shortest entry that names it; the inverse of `named`."""
    database = "" if table.db == home else f"{_written(table.db)}."
    return database + _written(table.table)


def _written(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else "`" + name.replace("`", "``") + "`"
