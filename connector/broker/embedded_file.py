"""The SQLite file of the embedded log: its tables, how it is opened, what its errors mean.

Every process opens the file for itself. It must never be opened with another journal mode or a weaker synchronous
setting for writing records: an acknowledged record has been synced to disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct

import apsw

from connector.broker import Headers
from connector.errors import ConfigurationError, CorruptedLog, ForeignLog, Unreachable

APPLICATION_ID = 0x7665636C  # "vecl": what `file` and our own opening tell this format by
FORMAT = 1

PAGE_BYTES = 16384  # a record of 2 KB fills it to nine tenths; a commit of one record still writes little
CACHE_KIB = 16 * 1024
BUSY_MS = 30_000

OFFSET_BITS = 42
"""A record's rowid is its lane's id above these bits and its offset below: a lane is one stretch of the table."""

_SCHEMA = (
    # AUTOINCREMENT: an id is never used again, so a reader of a deleted topic finds nothing instead of another's.
    "CREATE TABLE topic (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, topic_id TEXT NOT NULL,"
    " partitions INTEGER NOT NULL)",
    "CREATE TABLE topic_config (topic INTEGER NOT NULL REFERENCES topic ON DELETE CASCADE, name TEXT NOT NULL,"
    " value TEXT NOT NULL, PRIMARY KEY (topic, name)) WITHOUT ROWID",
    # begin: the first offset that can be asked for. cleaned, kept: what compaction has been over, and how many
    # records it left there.
    "CREATE TABLE lane (id INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL REFERENCES topic"
    " ON DELETE CASCADE, partition INTEGER NOT NULL, begin INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL"
    " DEFAULT 0, cleaned INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, partition))",
    "CREATE TABLE record (place INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL, key BLOB, headers BLOB,"
    " value BLOB)",
    "CREATE TABLE group_offset (name TEXT NOT NULL, lane INTEGER NOT NULL REFERENCES lane ON DELETE CASCADE,"
    " next INTEGER NOT NULL, updated_ms INTEGER NOT NULL, PRIMARY KEY (name, lane)) WITHOUT ROWID",
)

# In one look: between two, another process may make the file, which is then neither empty nor ours.
_KIND = (
    "SELECT application_id, user_version, EXISTS (SELECT 1 FROM sqlite_schema) "
    "FROM pragma_application_id, pragma_user_version"
)

_LENGTH = Struct(">I")


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turns the engine's errors into ours. Raises CorruptedLog, ForeignLog, Unreachable."""
    try:
        yield
    except apsw.CorruptError as error:
        raise CorruptedLog(f"the log {path} is damaged: {error}") from error
    except apsw.NotADBError as error:
        raise ForeignLog(f"{path} is not a log of the connector", hint="Give broker.path a file of its own.") from error
    except apsw.Error as error:
        raise Unreachable(
            f"the log {path} cannot be used: {error}",
            hint="Check that the file is on a local disk with space left, and may be written by this user.",
        ) from error


@contextmanager
def writing(connection: apsw.Connection) -> Iterator[None]:
    """One transaction, all or nothing. It begins as a writer: one that began by reading could not wait its turn."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def open_log(path: Path) -> apsw.Connection:
    """A connection of its own for the caller; the file is made when it is missing.

    Raises ConfigurationError, ForeignLog (another application's file, or a newer format), CorruptedLog, Unreachable.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(f"broker.path is {path}, and there is no directory {path.parent}")
    with reporting(path):
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(BUSY_MS)
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}").fetchall()
            connection.execute("PRAGMA foreign_keys = ON").fetchall()
            connection.execute("PRAGMA synchronous = FULL").fetchall()
            if not _is_ours(connection, path):
                _initialise(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _is_ours(connection: apsw.Connection, path: Path) -> bool:
    ((application, version, used),) = connection.execute(_KIND).fetchall()
    if application == APPLICATION_ID:
        if version != FORMAT:
            raise ForeignLog(
                f"the log {path} has format {version}, this version knows {FORMAT}",
                hint="Run the version of the connector that made the file.",
            )
        return True
    if application or version or used:
        raise ForeignLog(f"{path} is a database of another application", hint="Give broker.path a file of its own.")
    return False


def _initialise(connection: apsw.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}").fetchall()
    _to_wal(connection)
    with writing(connection):
        if not _is_ours(connection, path):  # another process may have been quicker
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", FORMAT)


def _to_wal(connection: apsw.Connection) -> None:
    """Two processes that make the file at once: the busy time-out does not cover the change of the journal mode."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise ConfigurationError(
                f"the file system of broker.path cannot hold a shared log (journal mode {mode})",
                hint="Put broker.path on a local disk.",
            )
        return


def encode_headers(headers: Headers) -> bytes | None:
    """Name and value in turn, each behind its length (32 bits, big-endian); None when there are none."""
    if not headers:
        return None
    parts: list[bytes] = []
    for name, value in headers:
        raw = name.encode()
        parts += (_LENGTH.pack(len(raw)), raw, _LENGTH.pack(len(value)), value)
    return b"".join(parts)


def decode_headers(data: bytes | None) -> Headers:
    """Raises CorruptedLog."""
    if data is None:
        return ()
    fields: list[bytes] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise CorruptedLog("the headers of a record are cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4 + length
        if at > len(data):
            raise CorruptedLog("the headers of a record are cut off")
        fields.append(data[at - length : at])
    if len(fields) % 2:
        raise CorruptedLog("the last header of a record has no value")
    try:
        return tuple((fields[i].decode(), fields[i + 1]) for i in range(0, len(fields), 2))
    except UnicodeDecodeError as error:
        raise CorruptedLog("the name of a header is not UTF-8") from error
