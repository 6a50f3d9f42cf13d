"""What a shadow table of a source really looks like: columns, key, foreign key, triggers. Reads the catalogue only.

Schemas in use differ (the primary key is (dataset_id, id) or (id), columns may be absent or more), so nothing else may
assume one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import apsw
import pymysql

from connector.errors import ConfigurationError
from connector.settings import Mapping, SourceSettings
from connector.upstream.names import OPTIONAL, REQUIRED, column, quoted

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Column:
    """type: as declared, in lower case (`varchar(191)`). charset, collation: None for what is not text."""

    name: str
    type: str
    nullable: bool
    charset: str | None = None
    collation: str | None = None
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Trigger:
    """event: `AFTER INSERT` and so on. body: the statement, empty where the account may not see it; SQLite: the whole
    CREATE TRIGGER."""

    name: str
    event: str
    body: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """As SHOW CREATE TABLE has it, names quoted. refers: `REFERENCES table (columns)`, without what it does."""

    table: str
    name: str
    columns: str
    refers: str
    does: str


@dataclass(frozen=True, slots=True)
class TableShape:
    """One shadow table and its table of datasets.

    exists        whether there is such a table (everything else is empty if not)
    columns       in the order of the table, generated ones too
    primary_key   column names, in the order of the key
    mapped        part (`dataset_id`, `id`, `content`, ...) to the name of the column that plays it, where there is one
    missing       parts without a column
    extra         columns that play no part: they are ignored
    cascades      deleting a row of the dataset table deletes its documents (FOREIGN KEY ... ON DELETE CASCADE)
    renames       changing a dataset's name changes that of its documents (... ON UPDATE CASCADE)
    hidden        foreign keys of both tables by which rows change or go unlogged with those of a third one
    unique        columns of further unique indexes
    engine        storage engine; None for SQLite
    """

    database: str
    table: str
    exists: bool
    columns: tuple[Column, ...] = ()
    primary_key: tuple[str, ...] = ()
    mapped: Map[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    cascades: bool = False
    unique: tuple[tuple[str, ...], ...] = ()
    triggers: tuple[Trigger, ...] = ()
    engine: str | None = None
    dataset_table_exists: bool = False
    dataset_columns: tuple[Column, ...] = ()
    renames: bool = False
    hidden: tuple[ForeignKey, ...] = ()

    @property
    def id_is_key(self) -> bool:
        """Ids are unique over all datasets, so a row can change its dataset."""
        return self.primary_key == (self.mapped.get("id"),)

    @property
    def key_is_usable(self) -> bool:
        """(dataset_id, id) in either order, or (id)."""
        both = {self.mapped.get("dataset_id"), self.mapped.get("id")}
        return self.id_is_key or (len(self.primary_key) == 2 and set(self.primary_key) == both)

    @property
    def timestamps(self) -> tuple[str, ...]:
        return tuple(part for part in OPTIONAL if part in self.mapped)

    @property
    def dataset_has_last_scn(self) -> bool:
        return any(c.name == "last_scn" for c in self.dataset_columns)

    @property
    def missing_of_datasets(self) -> tuple[str, ...]:
        """Columns that the table of datasets should have."""
        there = {c.name.lower() for c in self.dataset_columns}
        return tuple(name for name in ("dataset_id", "description", "source_uri") if name not in there)

    def column_of(self, part: str) -> Column | None:
        name = self.mapped.get(part)
        return next((c for c in self.columns if c.name == name), None)

    def blank(self, part: str, instead: _T) -> _T | None:
        """How a missing value is written: NULL, or `instead` where the column takes no NULL."""
        found = self.column_of(part)
        return None if found is None or found.nullable else instead

    def must_be_usable(self) -> None:
        """Raises ConfigurationError unless documents can be read from and written to this table."""
        self.must_be_readable()
        if self.missing_of_datasets:
            raise ConfigurationError(
                f"the table of datasets has no column {', '.join(self.missing_of_datasets)}", hint="Add the columns."
            )

    def must_be_readable(self) -> None:
        """Raises ConfigurationError unless documents can be read from this table."""
        if not self.exists or not self.dataset_table_exists:
            what = f"table {self.table}" if not self.exists else "the table of datasets"
            raise ConfigurationError(
                f"there is no {what} in {self.database}", hint="Run `vecsync source install`, or set source.tables."
            )
        if self.missing:
            raise ConfigurationError(
                f"table {self.table} has no column {', '.join(self.missing)}",
                hint="Name the columns in source.mapping, or add them.",
            )
        if not self.key_is_usable:
            raise ConfigurationError(
                f"the primary key of {self.table} is ({', '.join(self.primary_key)})",
                hint="It must be (dataset_id, id) or (id).",
            )


def discover(source: SourceSettings, table: str) -> TableShape:
    """The shape of a table of the configured source, over a connection of its own. A table that does not exist is no
    error: `exists` is False. Raises Unreachable, AuthenticationFailed, ConfigurationError."""
    if source.kind == "sqlite":
        from connector.upstream.address import sqlite_path
        from connector.upstream.sqlite import open_reader, sqlite_error

        path = sqlite_path(source.url)
        db = open_reader(path)
        try:
            return sqlite_shape(db, table, source.mapping)
        except apsw.Error as error:
            raise sqlite_error(error, str(path)) from error
        finally:
            db.close()
    from connector.upstream.mysql import mysql_errors, open_connection
    from connector.upstream.tables import home_of, named

    connection = open_connection(source)
    name = named(table, home_of(source))
    try:
        with mysql_errors("the catalogue"):
            return mysql_shape(connection, name.db, name.table, source.mapping)
    finally:
        connection.close()


def _parts(columns: Sequence[Column], mapping: Mapping) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    by_name = {c.name.lower(): c.name for c in columns}
    mapped = {
        part: by_name[column(mapping, part).lower()]
        for part in (*REQUIRED, *OPTIONAL)
        if column(mapping, part).lower() in by_name
    }
    missing = tuple(column(mapping, part) for part in REQUIRED if part not in mapped)
    extra = tuple(c.name for c in columns if c.name not in mapped.values())
    return mapped, missing, extra


def sqlite_shape(db: apsw.Connection, table: str, mapping: Mapping) -> TableShape:
    """As `discover`, over a connection that is open. Raises apsw.Error."""

    def rows(sql: str, *args: Any) -> list[tuple[Any, ...]]:
        return db.execute(sql, args).fetchall()

    def columns_of(name: str) -> tuple[tuple[Column, ...], tuple[str, ...]]:
        found, key = [], []
        for _, column_name, kind, not_null, _, pk, hidden in rows(f"PRAGMA table_xinfo({quoted(name, 'sqlite')})"):
            collation = db.column_metadata("main", name, column_name)[1]
            found.append(
                Column(column_name, kind.lower(), not not_null and not pk, None, collation.upper(), hidden in (2, 3))
            )
            if pk:
                key.append((pk, column_name))
        return tuple(found), tuple(column_name for _, column_name in sorted(key))

    def exists(name: str) -> bool:
        return bool(rows("SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE", name))

    has_datasets = exists(mapping.dataset_table)
    dataset_columns = columns_of(mapping.dataset_table)[0] if has_datasets else ()
    if not exists(table):
        return TableShape(
            "main", table, False, dataset_table_exists=has_datasets, dataset_columns=tuple(dataset_columns)
        )
    columns, key = columns_of(table)
    mapped, missing, extra = _parts(columns, mapping)
    cascades = any(
        to.lower() == mapping.dataset_table.lower()
        and mapped.get("dataset_id", "").lower() == own.lower()
        and on_delete == "CASCADE"
        for _, _, to, own, _, _, on_delete, _ in rows(f"PRAGMA foreign_key_list({quoted(table, 'sqlite')})")
    )
    unique = []
    for _, index, is_unique, origin, _ in rows(f"PRAGMA index_list({quoted(table, 'sqlite')})"):
        if is_unique and origin != "pk":
            names = rows(f"PRAGMA index_info({quoted(index, 'sqlite')})")
            unique.append(tuple(str(name) for _, _, name in names))
    triggers = rows(
        "SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY name",
        table,
    )
    return TableShape(
        database="main",
        table=table,
        exists=True,
        columns=columns,
        primary_key=key,
        mapped=mapped,
        missing=missing,
        extra=extra,
        cascades=cascades,
        unique=tuple(unique),
        triggers=tuple(Trigger(name, _sqlite_event(sql), sql) for name, sql in triggers),
        dataset_table_exists=has_datasets,
        dataset_columns=tuple(dataset_columns),
    )


def _sqlite_event(sql: str) -> str:
    words = sql.upper().replace("\n", " ").split()
    for time in ("BEFORE", "AFTER", "INSTEAD"):
        if time in words:
            return f"{time} {words[words.index(time) + 1]}"
    return "BEFORE"  # what SQLite takes when nothing is said


def mysql_shape(connection: pymysql.Connection[Any], database: str, table: str, mapping: Mapping) -> TableShape:
    """As `discover`, over a connection that is open (with tuple cursors). Raises pymysql.Error."""

    def rows(sql: str, *args: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, args)
            return list(cursor.fetchall())

    def columns_of(name: str) -> tuple[Column, ...]:
        return tuple(
            Column(column_name, _str(kind).lower(), nullable == "YES", charset, collation, "GENERATED" in extra.upper())
            for column_name, kind, nullable, charset, collation, extra in rows(
                "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA"
                " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
                " ORDER BY ORDINAL_POSITION",
                database,
                name,
            )
        )

    dataset_columns = columns_of(mapping.dataset_table)
    found = rows(
        "SELECT ENGINE FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND TABLE_TYPE = 'BASE TABLE'",
        database,
        table,
    )
    if not found:
        return TableShape(
            database, table, False, dataset_table_exists=bool(dataset_columns), dataset_columns=dataset_columns
        )
    columns = columns_of(table)
    mapped, missing, extra = _parts(columns, mapping)
    indexes: dict[str, list[str]] = {}
    for index, column_name in rows(
        "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        database,
        table,
    ):
        indexes.setdefault(index, []).append(_str(column_name))
    created = _str(rows(f"SHOW CREATE TABLE {_of(database, table)}")[0][1])
    cascades, renames = (cascades_in(created, mapped.get("dataset_id"), mapping, on) for on in ("DELETE", "UPDATE"))
    hidden: tuple[ForeignKey, ...] = ()
    if not _logs_cascades(rows("SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")):
        hidden = hidden_in(created, table, mapped.get("dataset_id"), mapping)
        if dataset_columns:
            datasets = _str(rows(f"SHOW CREATE TABLE {_of(database, mapping.dataset_table)}")[0][1])
            hidden += hidden_in(datasets, mapping.dataset_table, None, mapping)
    triggers = rows(
        "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_STATEMENT FROM information_schema.TRIGGERS"
        " WHERE EVENT_OBJECT_SCHEMA = %s AND EVENT_OBJECT_TABLE = %s ORDER BY TRIGGER_NAME",
        database,
        table,
    )
    return TableShape(
        database=database,
        table=table,
        exists=True,
        columns=columns,
        primary_key=tuple(indexes.pop("PRIMARY", ())),
        mapped=mapped,
        missing=missing,
        extra=extra,
        cascades=cascades,
        unique=tuple(tuple(names) for names in indexes.values()),
        triggers=tuple(Trigger(name, f"{time} {event}", _str(body or "")) for name, time, event, body in triggers),
        engine=found[0][0],
        dataset_table_exists=bool(dataset_columns),
        dataset_columns=dataset_columns,
        renames=renames,
        hidden=hidden,
    )


def _logs_cascades(variable: Sequence[tuple[Any, ...]]) -> bool:
    """MySQL since 9.6, unless told otherwise, changes rows by foreign keys as statements do, and logs them."""
    return any(str(value).upper() == "OFF" for _, value in variable)


def hidden_in(create_table: str, table: str, dataset_column: str | None, mapping: Mapping) -> tuple[ForeignKey, ...]:
    """Of the text of SHOW CREATE TABLE; the key to the datasets is known, and not among them."""
    known = None
    if dataset_column is not None:
        known = (quoted(dataset_column, "mysql").lower(), quoted(mapping.dataset_table, "mysql").lower())
    found = []
    for name, columns, to, refers, does in re.findall(
        r"CONSTRAINT (`(?:[^`]|``)*`) FOREIGN KEY \(([^)]*)\) REFERENCES ((?:`(?:[^`]|``)*`\.?)+) (\([^)]*\))"
        r"((?: ON \w+ (?:CASCADE|SET \w+|NO ACTION|RESTRICT))*)",
        create_table,
    ):
        changes = "CASCADE" in does if (columns.lower(), to.lower()) != known else False
        if changes or " SET " in does:
            found.append(ForeignKey(table, name, columns, f"REFERENCES {to} {refers}", does.strip()))
    return tuple(found)


def cascades_in(create_table: str, dataset_column: str | None, mapping: Mapping, on: str = "DELETE") -> bool:
    """Whether the text of SHOW CREATE TABLE has the foreign key to the datasets with ON DELETE (UPDATE) CASCADE.

    The catalogue is no help: MariaDB's shows foreign keys only to accounts that may do more than read, and to the
    others a table that cascades would look like one that does not.
    """
    if dataset_column is None:
        return False
    own, datasets = (re.escape(quoted(name, "mysql")) for name in (dataset_column, mapping.dataset_table))
    key = rf"FOREIGN KEY \({own}\) REFERENCES {datasets} \([^)]*\)( ON \w+ (CASCADE|SET \w+|NO ACTION|RESTRICT))*"
    return any(f"ON {on} CASCADE" in found.group(0) for found in re.finditer(key, create_table, flags=re.IGNORECASE))


def _of(database: str, table: str) -> str:
    return f"{quoted(database, 'mysql')}.{quoted(table, 'mysql')}"


def _str(value: str | bytes) -> str:
    """MySQL gives some columns of its catalogue as bytes."""
    return value.decode() if isinstance(value, bytes) else value
