"""A SQLite upstream as its writers use it. Must never begin a write with a read: writers take the lock at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from connector.errors import ConfigurationError, DataRefused, Unreachable, VecsyncError
from connector.settings import Mapping
from connector.upstream import ListedRow, StoredRow, UpstreamRow
from connector.upstream.discover import TableShape, sqlite_shape
from connector.upstream.names import SCN_TABLE, column, quoted

_BUSY_MS = 10_000
_INSTALL = "Run `vecsync source install`."


def open_writer(path: Path, *, create: bool = False) -> apsw.Connection:
    """A connection that may write: WAL, foreign keys on, waits for other writers. Raises ConfigurationError."""
    if not create and not path.is_file():
        raise ConfigurationError(f"there is no file {path}", hint=f"Check source.url. {_INSTALL}")
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    try:
        db = apsw.Connection(str(path), flags=flags)
        db.set_busy_timeout(_BUSY_MS)
        db.execute("PRAGMA journal_mode = wal").fetchall()
        db.execute("PRAGMA foreign_keys = on").fetchall()
        db.execute("PRAGMA synchronous = normal").fetchall()
    except apsw.Error as error:
        raise sqlite_error(error, str(path)) from error
    return db


def open_reader(path: Path) -> apsw.Connection:
    """A connection that cannot change anything. Raises ConfigurationError."""
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}", hint=f"Check source.url. {_INSTALL}")
    try:
        # Not opened read-only: a reader of a WAL database may have to make its shared-memory file.
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        db.set_busy_timeout(_BUSY_MS)
        db.execute("PRAGMA query_only = on").fetchall()
        db.execute("SELECT count(*) FROM main.sqlite_schema").fetchall()
    except apsw.Error as error:
        raise sqlite_error(error, str(path)) from error
    return db


def sqlite_error(error: apsw.Error, what: str) -> VecsyncError:
    """What an error of SQLite means to the user."""
    match error:
        case apsw.NotADBError() | apsw.CorruptError():
            return ConfigurationError(f"{what} is not a usable SQLite database: {error}", hint="Check source.url.")
        case apsw.BusyError() | apsw.LockedError():
            return Unreachable(
                f"{what} is locked by another writer: {error}", hint="Find out who keeps a write transaction open."
            )
        case apsw.CantOpenError() | apsw.PermissionsError() | apsw.ReadOnlyError() | apsw.AuthError():
            return ConfigurationError(f"{what} cannot be opened for writing: {error}", hint="Check the permissions.")
        case apsw.ConstraintError() | apsw.MismatchError() | apsw.TooBigError() | apsw.RangeError():
            return DataRefused(f"{what} does not take the value: {error}", hint="Nothing was written; see the message.")
        case apsw.SQLError():
            return ConfigurationError(f"{what}: {error}", hint=f"The tables are not as expected. {_INSTALL}")
    return Unreachable(f"{what}: {error}", hint="Check the disk that holds it.")


class SqliteUpstream:
    """Fulfils `Upstream`."""

    def __init__(self, db: apsw.Connection, table: str, mapping: Mapping) -> None:
        self.db = db
        self._table, self._mapping = table, mapping
        self._shape: TableShape | None = None
        self._depth = 0
        self._t = quoted(table, "sqlite")
        self._datasets = quoted(mapping.dataset_table, "sqlite")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        try:
            self.db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0
        except apsw.Error as error:
            raise sqlite_error(error, self.db.filename) from error

    def ensure_dataset(self, dataset_id: str, description: str | None = None, source_uri: str | None = None) -> None:
        with self.transaction():
            old = self._all(f"SELECT description, source_uri FROM {self._datasets} WHERE dataset_id = ?", [dataset_id])
            if not old:
                sql = f"INSERT INTO {self._datasets}(dataset_id, description, source_uri) VALUES (?, ?, ?)"
                self._all(sql, [dataset_id, description, source_uri])
                return
            new = (old[0][0] if description is None else description, old[0][1] if source_uri is None else source_uri)
            if new != old[0]:
                sql = f"UPDATE {self._datasets} SET description = ?, source_uri = ? WHERE dataset_id = ?"
                self._all(sql, [*new, dataset_id])

    def datasets(self) -> Sequence[str]:
        return [row[0] for row in self._read(f"SELECT dataset_id FROM {self._datasets} ORDER BY dataset_id")]

    def listing(self, dataset_id: str) -> Sequence[ListedRow]:
        c = self._columns("id", "meta", "archived", "embedding_model", "scn")
        sql = f"SELECT {c} FROM {self._t} WHERE {self._columns('dataset_id')} = ? ORDER BY {self._columns('id')}"
        return [
            ListedRow(id, meta, bool(archived), model, scn)
            for id, meta, archived, model, scn in self._read(sql, [dataset_id])
        ]

    def upsert(self, dataset_id: str, rows: Sequence[UpstreamRow]) -> int:
        if not rows:
            return 0
        with self.transaction():
            shape = self._need_shape()
            scn = self._allocate(dataset_id, len(rows))
            parts = ("dataset_id", "id", "content", "meta", "embedding", "embedding_model", "scn", "archived")
            overwritten = [self._columns(part) for part in parts[2:]]
            stamp = self._columns("updated_at") + " = CURRENT_TIMESTAMP, " if "updated_at" in shape.mapped else ""
            key = ", ".join(quoted(name, "sqlite") for name in shape.primary_key)
            sql = (
                f"INSERT INTO {self._t}({self._columns(*parts)}) VALUES (?, ?, ?, ?, ?, ?, ?, 0) "
                f"ON CONFLICT({key}) DO UPDATE SET {stamp}" + ", ".join(f"{c} = excluded.{c}" for c in overwritten)
            )
            self._refuse_foreign_ids(shape, dataset_id, [row.id for row in rows])
            blank, unnamed = shape.blank("embedding", b""), shape.blank("embedding_model", "")
            for i, row in enumerate(rows):
                embedding = blank if row.embedding is None else row.embedding
                model = unnamed if row.embedding_model is None else row.embedding_model
                self._all(sql, [dataset_id, row.id, row.content, row.meta, embedding, model, scn + i])
            self._note_scn(shape, dataset_id)
        return len(rows)

    def set_archived(self, dataset_id: str, ids: Sequence[str], archived: bool) -> int:
        changed = 0
        with self.transaction():
            shape = self._need_shape()
            stamp = self._columns("updated_at") + " = CURRENT_TIMESTAMP, " if "updated_at" in shape.mapped else ""
            test = f"{self._key()} AND {self._columns('archived')} IS NOT ?"
            sql = (
                f"UPDATE {self._t} SET {stamp}{self._columns('archived')} = ?, {self._columns('scn')} = ? WHERE {test}"
            )
            for id in ids:
                key = [dataset_id, id, int(archived)]
                if self._all(f"SELECT 1 FROM {self._t} WHERE {test}", key):
                    self._all(sql, [int(archived), self._allocate(dataset_id, 1), *key])
                    changed += 1
            if changed:
                self._note_scn(shape, dataset_id)
        return changed

    def delete(self, dataset_id: str, ids: Sequence[str]) -> int:
        deleted = 0
        with self.transaction():
            shape = self._need_shape()
            for id in ids:
                self._all(f"DELETE FROM {self._t} WHERE {self._key()}", [dataset_id, id])
                deleted += self.db.changes()
            if deleted:
                self._note_scn(shape, dataset_id)
        return deleted

    def delete_dataset(self, dataset_id: str) -> bool:
        with self.transaction():
            if not self._need_shape().cascades:
                self._all(f"DELETE FROM {self._t} WHERE {self._columns('dataset_id')} = ?", [dataset_id])
            self._all(f"DELETE FROM {self._datasets} WHERE dataset_id = ?", [dataset_id])
            return self.db.changes() > 0

    def get(self, dataset_id: str, id: str) -> StoredRow | None:
        parts = ("content", "meta", "embedding", "embedding_model", "scn", "archived")
        for row in self._read(f"SELECT {self._columns(*parts)} FROM {self._t} WHERE {self._key()}", [dataset_id, id]):
            return StoredRow(dataset_id, id, row[0], row[1], row[2], row[3], row[4], bool(row[5]))
        return None

    def close(self) -> None:
        self.db.close()

    def _all(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.db.execute(sql, args).fetchall()

    def _read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._all(sql, args)
        except apsw.Error as error:
            raise sqlite_error(error, self.db.filename) from error

    def _columns(self, *parts: str) -> str:
        return ", ".join(quoted(column(self._mapping, part), "sqlite") for part in parts)

    def _key(self) -> str:
        return f"{self._columns('dataset_id')} = ? AND {self._columns('id')} = ?"

    def _need_shape(self) -> TableShape:
        if self._shape is None:
            shape = sqlite_shape(self.db, self._table, self._mapping)
            shape.must_be_usable()
            self._shape = shape
        return self._shape

    def _allocate(self, dataset_id: str, count: int) -> int:
        """The first of `count` SCNs; the helper table holds the last one that is used."""
        sql = (
            f"INSERT INTO {SCN_TABLE}(dataset_id, next_scn) VALUES (?1, ?2) "
            "ON CONFLICT(dataset_id) DO UPDATE SET next_scn = next_scn + ?2 RETURNING next_scn"
        )
        last: int = self._all(sql, [dataset_id, count])[0][0]
        return last - count + 1

    def _note_scn(self, shape: TableShape, dataset_id: str) -> None:
        if shape.dataset_has_last_scn:
            helper = f"(SELECT next_scn FROM {SCN_TABLE} WHERE dataset_id = ?1)"
            known = f"EXISTS {helper}"
            self._all(
                f"UPDATE {self._datasets} SET last_scn = {helper} WHERE dataset_id = ?1 AND {known}", [dataset_id]
            )

    def _refuse_foreign_ids(self, shape: TableShape, dataset_id: str, ids: Sequence[str]) -> None:
        if not shape.id_is_key:
            return
        owner = self._columns("dataset_id")
        for id in ids:
            for (other,) in self._all(f"SELECT {owner} FROM {self._t} WHERE {self._columns('id')} = ?", [id]):
                if other != dataset_id:
                    raise foreign_id(self._table, id, other)


def foreign_id(table: str, id: str, other: str) -> DataRefused:
    return DataRefused(
        f"the id {id!r} belongs to dataset {other!r}, and ids of {table} are unique over all datasets",
        hint="Use other ids, or delete the document there first.",
    )
