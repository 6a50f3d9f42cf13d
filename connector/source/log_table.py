"""The SQL side of a shadow log on MySQL or MariaDB: entries, heads, datasets, over one connection. Reads only.

Everything between `begin` and `end` is read in one consistent state. Payloads are not read: an entry says which row
changed, and the row is read as it is now. Must never be given a connection that another reader uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import pymysql
from pymysql.cursors import SSCursor

from connector.model import Dataset
from connector.settings import Mapping
from connector.source.snapshot_reader import abandon, read_rows_plainly
from connector.source.snapshot_rows import text_literal
from connector.source.snapshot_visibility import query
from connector.upstream.names import quoted

Connection: TypeAlias = "pymysql.Connection[Any]"
Group = tuple[str, str]
"""Shadow table and dataset."""


class LogEntry(NamedTuple):
    """stamp: when it was written, as text; where the log does not say, a digest of its payload."""

    scn: int
    op: str
    document_id: str
    stamp: str | None


class DatasetRow(NamedTuple):
    """made: when the row was made, as far as the table says; it tells a dataset from one of the same name before it."""

    dataset: Dataset
    made: str


class LogTable:
    def __init__(self, connection: Connection, database: str, mapping: Mapping) -> None:
        """Raises pymysql.Error."""
        self.connection = connection
        self._mapping = mapping
        self._log = quoted(mapping.log_table, "mysql")
        stamped = _kind(connection, database, mapping.log_table) is not None
        self._stamp = "created_at" if stamped else "SHA2(payload, 256)"
        # A time that rises with each update of the row would make every dataset a new one.
        kind = _kind(connection, database, mapping.dataset_table)
        made = "''" if kind is None or "on update" in kind.lower() else "CAST(created_at AS CHAR)"
        last_scn = "last_scn" if _has(connection, database, mapping.dataset_table, "last_scn") else "NULL"
        table = quoted(mapping.dataset_table, "mysql")
        self._datasets = f"SELECT dataset_id, description, source_uri, {last_scn}, {made} FROM {table}"  # noqa: S608 -- quoted

    def begin(self) -> int:
        """The source's clock before the state that is read from here on, in microseconds since the epoch."""
        now = int(query(self.connection, "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")[0][0])
        query(self.connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        return now

    def end(self) -> None:
        query(self.connection, "COMMIT")

    def datasets(self) -> dict[str, DatasetRow]:
        return {
            id: DatasetRow(Dataset(description, uri, None if scn is None else int(scn)), made or "")
            for id, description, uri, scn, made in query(self.connection, self._datasets)
        }

    def heads(self, tables: Iterable[str]) -> dict[Group, LogEntry]:
        """The entry with the greatest number, of every dataset that has one. One look into the key for each."""
        sql = (
            f"SELECT l.shadow_table, l.dataset_id, {self._columns('l.')} FROM {self._log} l"  # noqa: S608 -- quoted
            f" JOIN (SELECT dataset_id, shadow_table, MAX(scn) AS scn FROM {self._log}"
            " GROUP BY dataset_id, shadow_table) h"
            " ON l.dataset_id = h.dataset_id AND l.shadow_table = h.shadow_table AND l.scn = h.scn"
        )
        followed = set(tables)
        return {(row[0], row[1]): _entry(row[2:]) for row in query(self.connection, sql) if row[0] in followed}

    def entry(self, group: Group, scn: int) -> LogEntry | None:
        found = query(self.connection, f"{self._of(group)} AND scn = {scn}")
        return _entry(found[0]) if found else None

    def after(self, group: Group, scn: int, limit: int) -> list[LogEntry]:
        """Entries with greater numbers, in their order."""
        sql = f"{self._of(group)} AND scn > {scn} ORDER BY scn LIMIT {limit}"
        return [_entry(row) for row in query(self.connection, sql)]

    def within(self, group: Group, ranges: Sequence[tuple[int, int]]) -> list[LogEntry]:
        """Entries whose numbers are in one of the ranges, first and last included."""
        test = " OR ".join(f"scn BETWEEN {first} AND {last}" for first, last in ranges)
        return [_entry(row) for row in query(self.connection, f"{self._of(group)} AND ({test}) ORDER BY scn")]

    def last_numbers(self, group: Group, limit: int) -> list[int]:
        """The greatest ones, in falling order."""
        dataset, table = text_literal(group[1]), text_literal(group[0])
        sql = (
            f"SELECT scn FROM {self._log} WHERE dataset_id = {dataset} AND shadow_table = {table}"  # noqa: S608 -- quoted
            f" ORDER BY scn DESC LIMIT {limit}"
        )
        return [int(scn) for (scn,) in query(self.connection, sql)]

    def _columns(self, of: str = "") -> str:
        stamp = self._stamp.replace("created_at", f"{of}created_at").replace("payload", f"{of}payload")
        return f"{of}scn, {of}op, {of}document_id, {stamp}"

    def _of(self, group: Group) -> str:
        dataset, table = text_literal(group[1]), text_literal(group[0])
        return (
            f"SELECT {self._columns()} FROM {self._log}"  # noqa: S608 -- quoted
            f" WHERE dataset_id = {dataset} AND shadow_table = {table}"
        )


def streamed(connection: Connection, sql: str) -> Iterator[Sequence[Any]]:
    """Rows as they come, one in memory at a time. A caller that does not take all of them closes the generator, and the
    connection is then at its end. Raises pymysql.Error."""
    cursor = connection.cursor(SSCursor)
    whole = False
    try:
        cursor.execute(sql)
        read_rows_plainly(cursor)
        yield from iter(cursor.fetchone, None)
        whole = True
    finally:
        if not whole:
            abandon(cursor)
            connection._force_close()  # type: ignore[attr-defined]


def fingerprint(made: str | None, entry: LogEntry | None) -> int:
    """Tells the log of a dataset from any other of the same name: by the dataset's row (None: there is none), and an
    entry that was read."""
    digest = blake2b(repr((made, entry and tuple(entry))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def written_us(entry: LogEntry) -> int:
    """When an entry was written, in microseconds since the epoch; 0 where the log does not say."""
    try:
        return int(datetime.fromisoformat(f"{entry.stamp}+00:00").timestamp() * 1e6)
    except ValueError:
        return 0


def _entry(row: Sequence[Any]) -> LogEntry:
    scn, op, document_id, stamp = row
    return LogEntry(int(scn), op, document_id, stamp)


def _kind(connection: Connection, database: str, table: str) -> str | None:
    """What the catalogue says beside the type of created_at; None: there is no such column."""
    found = _catalogue(connection, database, table, "created_at")
    return found[0][0] if found else None


def _has(connection: Connection, database: str, table: str, column: str) -> bool:
    return bool(_catalogue(connection, database, table, column))


def _catalogue(connection: Connection, database: str, table: str, column: str) -> list[tuple[Any, ...]]:
    where = f"TABLE_SCHEMA = {text_literal(database)} AND TABLE_NAME = {text_literal(table)}"
    return query(
        connection,
        f"SELECT EXTRA FROM information_schema.COLUMNS WHERE {where} AND COLUMN_NAME = {text_literal(column)}",  # noqa: S608 -- quoted
    )
