"""Which tables `source.tables` names, and how a table is called beside the database of `source.url`. Pure.

A table of that database goes by its bare name everywhere, one of another database by `database.table`: in entries, in
messages, and in recorded positions, which name tables so since there was only one database.

An entry with `*` names no table: it matches some. Those that were found are entries of their own in the settings that
a capture works with (`with_tables`), beside the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from connector.errors import UsageError
from connector.model import TableName
from connector.settings import Settings, SourceSettings, entry_parts, is_pattern
from connector.upstream.address import mysql_address
from connector.upstream.names import SCN_TABLE, STORAGE_TABLE, SYNC_STATE_TABLE

_PLAIN = re.compile(r"[^.`*]+")
_OF_THE_SERVER = frozenset({"information_schema", "mysql", "performance_schema", "sys"})


def home_of(source: SourceSettings) -> str:
    """The database that goes without saying. SQLite files have one, called main. Raises ConfigurationError."""
    return "main" if source.kind == "sqlite" else mysql_address(source.url).database


def followed_tables(source: SourceSettings) -> Sequence[TableName]:
    """Every table that is named, in the order of the entries, each once. Raises ConfigurationError."""
    home = home_of(source)
    if source.reads_log:
        return [TableName(home, entry) for entry in dict.fromkeys(source.tables)]
    return list(dict.fromkeys(named(entry, home) for entry in source.tables if not is_pattern(entry)))


def with_tables(settings: Settings, found: Iterable[TableName]) -> Settings:
    """The same, with these tables followed too."""
    source = settings.source
    there, home = followed_tables(source), home_of(source)
    more = [called(name, home) for name in sorted(set(found)) if name not in there]
    if not more:
        return settings
    return settings.model_copy(update={"source": source.model_copy(update={"tables": [*source.tables, *more]})})


class Patterns:
    """The entries of `source.tables` that stand for every table that matches. Tables that belong to the connector, or
    to the server, never do."""

    def __init__(self, source: SourceSettings) -> None:
        mapping = source.mapping
        self._own = {mapping.dataset_table, mapping.log_table, SCN_TABLE, SYNC_STATE_TABLE, STORAGE_TABLE}
        self._entries = []
        for entry in () if source.reads_log else source.tables:
            if is_pattern(entry):
                *database, table = map(_expression, entry_parts(entry))
                self._entries.append((database[0] if database else re.compile(re.escape(home_of(source))), table))

    def __bool__(self) -> bool:
        return bool(self._entries)

    def match(self, name: TableName) -> bool:
        if name.table in self._own or name.db in _OF_THE_SERVER:
            return False
        return any(db.fullmatch(name.db) and table.fullmatch(name.table) for db, table in self._entries)


def named(entry: str, home: str) -> TableName:
    """The table that an entry names. Raises ValueError."""
    *database, table = map(_name, entry_parts(entry))
    return TableName(database[0] if database else home, table)


def require_followed(source: SourceSettings, entry: str) -> None:
    """Raises UsageError for a table that neither an entry nor a pattern of `source.tables` stands for."""
    home = home_of(source)
    try:
        name = TableName(home, entry) if source.reads_log else named(entry, home)
    except ValueError as error:
        raise UsageError(f"{entry} names no table: {error}") from error
    if name not in followed_tables(source) and not Patterns(source).match(name):
        raise UsageError(
            f"nobody would follow {name}: source.tables has {', '.join(source.tables)}",
            hint="Add it there first; or check the name.",
        )


def called(table: TableName, home: str) -> str:
    """The shortest entry that names it; the inverse of `named`."""
    database = "" if table.db == home else f"{_written(table.db)}."
    return database + _written(table.table)


def _name(part: str) -> str:
    return part[1:-1].replace("``", "`") if part.startswith("`") else part


def _expression(part: str) -> re.Pattern[str]:
    if part.startswith("`"):
        return re.compile(re.escape(_name(part)))
    return re.compile(".*".join(map(re.escape, part.split("*"))), re.DOTALL)


def _written(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else "`" + name.replace("`", "``") + "`"
