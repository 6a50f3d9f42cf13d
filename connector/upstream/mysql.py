"""A MySQL or MariaDB upstream as its writers use it, and the connection that everything of `upstream` uses."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pymysql

from connector.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionLost,
    DataRefused,
    NotYet,
    Unreachable,
    VecsyncError,
)
from connector.settings import Mapping, SourceSettings
from connector.tls import certificate_refused, client_context, unchecked_context
from connector.upstream import ListedRow, StoredRow, UpstreamRow
from connector.upstream.address import mysql_address
from connector.upstream.discover import TableShape, mysql_shape
from connector.upstream.names import SCN_TABLE, column, quoted
from connector.upstream.sqlite import foreign_id

_REFUSED_ACCOUNT = {1045, 1130, 1251, 1524, 1698, 1820, 1862, 3118, 3955}
_NOT_ALLOWED = {1044, 1142, 1143, 1227, 1370}
_NOT_FOUND = {1054, 1146, 1305}
_NO_DATABASE = {
    1044: "Check the database in source.url; if it is there, grant the account SELECT on its tables.",
    1049: "Name another database in source.url, or make this one (CREATE DATABASE); "
    "then `vecsync source install` makes the tables.",
}
_LOST = {2006, 2013, 2055, 1053, 1927, 4031}
_HELD = 1205
_TRY_AGAIN = {_HELD, 1213}
_BAD_VALUE = {1048, 1062, 1153, 1264, 1265, 1292, 1364, 1366, 1406, 1451, 1452, 3140}
_NEEDS_TRUST = 1419
_ENCRYPTION = {
    2026: "source.tls is set, and the server offers no encryption: give it a certificate, or remove source.tls.",
    3159: "The server takes encrypted connections only: set source.tls, and leave source.plaintext out.",
}
_MAX_PACKET = 1 << 30


if TYPE_CHECKING:
    _PyMySQL = pymysql.Connection[Any]
else:
    _PyMySQL = pymysql.Connection


class _Connection(_PyMySQL):
    """PyMySQL's own, but that it reads the machine's authorities only to check something by them."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        return sslp or unchecked_context()


LOCK_WAIT_S = 2
"""How long one of our questions waits for a table that somebody holds, before who asks may look whether to stop."""


def open_connection(
    source: SourceSettings, database: str | None = None, *, lock_wait_s: int | None = None
) -> pymysql.Connection[Any]:
    """A session in UTC, utf8mb4 and strict mode, committing each statement by itself. database: its default one, that
    of source.url unless said. lock_wait_s: for tables that another session holds; the server's own patience, which is
    a day or a year, unless said.

    With `source.tls` it is encrypted or refused, with `source.plaintext` neither; otherwise PyMySQL encrypts where the
    server offers it, and checks no certificate. Raises Unreachable, AuthenticationFailed, CertificateRefused,
    ConfigurationError.
    """
    address = mysql_address(source.url)
    where = f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    options: dict[str, Any] = {"ssl": client_context(source.tls, "source.tls")} if source.tls else {}
    if source.plaintext:
        options["ssl_disabled"] = True
    lock_wait = "" if lock_wait_s is None else f", lock_wait_timeout = {lock_wait_s}"
    patience_s = max(1, round(source.connect_timeout_s))
    try:
        connection = _Connection(
            host=address.host,
            port=address.port,
            user=address.user,
            password=source.password.get_secret_value() if source.password else "",
            database=database or address.database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=patience_s,
            read_timeout=patience_s,  # without it, who accepts and never greets would be waited for without end
            max_allowed_packet=_MAX_PACKET,
            init_command=(
                "SET SESSION time_zone = '+00:00',"
                " sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'" + lock_wait
            ),
            **options,
        )
    except pymysql.Error as error:
        cause = getattr(error, "original_exception", None) or error.__context__
        refused = certificate_refused(cause, where, "source.tls")
        raise refused or mysql_error(error, where) from error
    except (OSError, RuntimeError) as error:  # PyMySQL: TLS problems, and a missing library for an authentication
        raise Unreachable(f"{where} cannot be talked to: {error}") from error
    # A statement may take as long as it does, unless who asks says otherwise.
    connection._read_timeout = None  # type: ignore[attr-defined]
    return connection


def mysql_error(error: pymysql.Error, what: str) -> VecsyncError:
    """What an error of PyMySQL means to the user. Their messages hold user and host, never a password."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    message = f"{what}: {error.args[1] if len(error.args) > 1 else error}"
    if code in _REFUSED_ACCOUNT:
        return AuthenticationFailed(message)
    if code in _NO_DATABASE:
        kind = AuthenticationFailed if code in _NOT_ALLOWED else ConfigurationError
        return kind(message, hint=_NO_DATABASE[code])
    if code in _NOT_ALLOWED:
        return AuthenticationFailed(message, hint="Grant what is missing; `vecsync source check` lists it.")
    if code in _NOT_FOUND:
        return ConfigurationError(message, hint="Check source.url, or run `vecsync source install`.")
    if code in _LOST:
        return ConnectionLost(message, hint="The server went away; nothing of this step was kept. Try again.")
    if code in _TRY_AGAIN:
        lost = NotYet if code == _HELD else ConnectionLost
        return lost(message, hint="Another session held the rows, or the table; nothing was kept. Try again.")
    if code in _BAD_VALUE:
        return DataRefused(message, hint="Nothing was written; change the value, or the column.")
    if code == _NEEDS_TRUST:
        return ConfigurationError(
            message,
            hint="Have an administrator run `SET GLOBAL log_bin_trust_function_creators = ON`, or the installation.",
        )
    if code in _ENCRYPTION:
        return ConfigurationError(message, hint=_ENCRYPTION[code])
    if isinstance(error, pymysql.OperationalError | pymysql.InterfaceError) and (code == 0 or code >= 2000):
        return Unreachable(message)
    return ConfigurationError(message, hint="Run `vecsync source check`.")


@contextmanager
def mysql_errors(what: str) -> Iterator[None]:
    try:
        yield
    except pymysql.Error as error:
        raise mysql_error(error, what) from error


class MysqlUpstream:
    """Fulfils `Upstream`."""

    def __init__(self, connection: pymysql.Connection[Any], database: str, table: str, mapping: Mapping) -> None:
        self.connection = connection
        self.database = database
        self._table, self._mapping = table, mapping
        self._shape: TableShape | None = None
        self._depth = 0
        self._t = quoted(table, "mysql")
        self._datasets = quoted(mapping.dataset_table, "mysql")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        with mysql_errors(self._table):
            self.connection.begin()
            self._depth = 1
            try:
                yield
                self.connection.commit()
            except BaseException:
                if self.connection.open:
                    try:
                        self.connection.rollback()
                    except pymysql.Error:
                        self.connection.close()  # the server undoes what a lost session had begun
                raise
            finally:
                self._depth = 0

    def ensure_dataset(self, dataset_id: str, description: str | None = None, source_uri: str | None = None) -> None:
        with self.transaction():
            sql = f"SELECT description, source_uri FROM {self._datasets} WHERE dataset_id = %s FOR UPDATE"
            old = self._all(sql, dataset_id)
            if not old:
                # Two may find it missing: the second one's values are then the ones that stay.
                self._all(
                    f"INSERT INTO {self._datasets}(dataset_id, description, source_uri) VALUES (%s, %s, %s)"
                    " ON DUPLICATE KEY UPDATE description = VALUES(description), source_uri = VALUES(source_uri)",
                    *(dataset_id, description, source_uri),
                )
                return
            new = (old[0][0] if description is None else description, old[0][1] if source_uri is None else source_uri)
            if new != old[0]:
                sql = f"UPDATE {self._datasets} SET description = %s, source_uri = %s WHERE dataset_id = %s"
                self._all(sql, *new, dataset_id)

    def datasets(self) -> Sequence[str]:
        return [row[0] for row in self._read(f"SELECT dataset_id FROM {self._datasets} ORDER BY dataset_id")]

    def listing(self, dataset_id: str) -> Sequence[ListedRow]:
        c = self._columns("id", "meta", "archived", "embedding_model", "scn")
        sql = f"SELECT {c} FROM {self._t} WHERE {self._columns('dataset_id')} = %s ORDER BY {self._columns('id')}"
        return [
            ListedRow(id, meta, bool(archived), model, scn)
            for id, meta, archived, model, scn in self._read(sql, dataset_id)
        ]

    def upsert(self, dataset_id: str, rows: Sequence[UpstreamRow]) -> int:
        if not rows:
            return 0
        with self.transaction():
            shape = self._need_shape()
            self._lock(dataset_id)
            scn = self._allocate(dataset_id, len(rows))
            parts = ("dataset_id", "id", "content", "meta", "embedding", "embedding_model", "scn", "archived")
            overwritten = [self._columns(part) for part in parts[2:]]
            sql = (
                f"INSERT INTO {self._t}({self._columns(*parts)}) VALUES (%s, %s, %s, %s, %s, %s, %s, 0) "
                "ON DUPLICATE KEY UPDATE " + ", ".join(f"{c} = VALUES({c})" for c in overwritten)
            )
            self._refuse_foreign_ids(shape, dataset_id, [row.id for row in rows])
            blank, unnamed = shape.blank("embedding", b""), shape.blank("embedding_model", "")
            values = [
                (
                    *(dataset_id, row.id, row.content, row.meta),
                    blank if row.embedding is None else row.embedding,
                    unnamed if row.embedding_model is None else row.embedding_model,
                    scn + i,
                )
                for i, row in enumerate(rows)
            ]
            with self.connection.cursor() as cursor:
                cursor.executemany(sql, values)
            self._note_scn(shape, dataset_id)
        return len(rows)

    def set_archived(self, dataset_id: str, ids: Sequence[str], archived: bool) -> int:
        changed = 0
        with self.transaction():
            shape = self._need_shape()
            self._lock(dataset_id)
            flag, scn = self._columns("archived"), self._columns("scn")
            test = f"{self._key()} AND NOT ({flag} <=> %s)"
            for id in ids:
                key = (dataset_id, id, int(archived))
                if self._all(f"SELECT 1 FROM {self._t} WHERE {test} FOR UPDATE", *key):
                    sql = f"UPDATE {self._t} SET {flag} = %s, {scn} = %s WHERE {test}"
                    self._all(sql, int(archived), self._allocate(dataset_id, 1), *key)
                    changed += 1
            if changed:
                self._note_scn(shape, dataset_id)
        return changed

    def delete(self, dataset_id: str, ids: Sequence[str]) -> int:
        deleted = 0
        with self.transaction():
            shape = self._need_shape()
            self._lock(dataset_id)
            for id in ids:
                deleted += self._changed(f"DELETE FROM {self._t} WHERE {self._key()}", dataset_id, id)
            if deleted:
                self._note_scn(shape, dataset_id)
        return deleted

    def delete_dataset(self, dataset_id: str) -> bool:
        with self.transaction():
            shape = self._need_shape()
            self._lock(dataset_id)
            if not shape.cascades:
                self._all(f"DELETE FROM {self._t} WHERE {self._columns('dataset_id')} = %s", dataset_id)
            return self._changed(f"DELETE FROM {self._datasets} WHERE dataset_id = %s", dataset_id) > 0

    def get(self, dataset_id: str, id: str) -> StoredRow | None:
        parts = ("content", "meta", "embedding", "embedding_model", "scn", "archived")
        for row in self._read(f"SELECT {self._columns(*parts)} FROM {self._t} WHERE {self._key()}", dataset_id, id):
            return StoredRow(dataset_id, id, row[0], row[1], row[2], row[3], row[4], bool(row[5]))
        return None

    def close(self) -> None:
        if self.connection.open:
            self.connection.close()

    def _all(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, args)
            return list(cursor.fetchall())

    def _changed(self, sql: str, *args: Any) -> int:
        with self.connection.cursor() as cursor:
            count: int = cursor.execute(sql, args)
            return count

    def _read(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        with mysql_errors(self._table):
            return self._all(sql, *args)

    def _columns(self, *parts: str) -> str:
        return ", ".join(quoted(column(self._mapping, part), "mysql") for part in parts)

    def _key(self) -> str:
        return f"{self._columns('dataset_id')} = %s AND {self._columns('id')} = %s"

    def _need_shape(self) -> TableShape:
        if self._shape is None:
            shape = mysql_shape(self.connection, self.database, self._table, self._mapping)
            shape.must_be_usable()
            self._shape = shape
        return self._shape

    def _lock(self, dataset_id: str) -> None:
        """The dataset's row comes first for every writer. Otherwise two that both hold it shared, as foreign keys make
        them, would wait for each other to write to it."""
        self._all(f"SELECT 1 FROM {self._datasets} WHERE dataset_id = %s FOR UPDATE", dataset_id)

    def _allocate(self, dataset_id: str, count: int) -> int:
        """The first of `count` SCNs; the helper table holds the last one that is used. Its row stays locked until the
        end of the transaction, so a higher SCN never commits before a lower one of the same dataset."""
        self._all(
            f"INSERT INTO {SCN_TABLE}(dataset_id, next_scn) VALUES (%s, %s)"
            " ON DUPLICATE KEY UPDATE next_scn = next_scn + %s",
            *(dataset_id, count, count),
        )
        last: int = self._all(f"SELECT next_scn FROM {SCN_TABLE} WHERE dataset_id = %s", dataset_id)[0][0]
        return last - count + 1

    def _note_scn(self, shape: TableShape, dataset_id: str) -> None:
        if shape.dataset_has_last_scn:
            self._all(
                f"UPDATE {self._datasets} d JOIN {SCN_TABLE} s USING (dataset_id) SET d.last_scn = s.next_scn"
                " WHERE d.dataset_id = %s",
                dataset_id,
            )

    def _refuse_foreign_ids(self, shape: TableShape, dataset_id: str, ids: Sequence[str]) -> None:
        if not shape.id_is_key:
            return
        owner, id_column = self._columns("dataset_id"), self._columns("id")
        marks = ", ".join(["%s"] * len(ids))
        sql = f"SELECT {id_column}, {owner} FROM {self._t} WHERE {id_column} IN ({marks}) AND {owner} <> %s"
        for id, other in self._all(sql, *ids, dataset_id):
            raise foreign_id(self._table, id, other)
