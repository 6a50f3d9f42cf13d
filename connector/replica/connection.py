"""SQLite connections to a replica, with sqlite-vec loaded. Every connection of this package is made here.

Always apsw, which carries its own current SQLite: one engine per file. It must never run several statements in one
call: apsw stops at the first that returns a row, so each has a call of its own.
"""

from __future__ import annotations

import os
import stat
from importlib.util import find_spec
from pathlib import Path

import apsw

from connector.errors import ReplicaRefused
from connector.replica import schema

PAGE_BYTES = 16384
"""Rows with a 384-d vector are inserted four times as fast as with pages of 4096."""

_CACHE_KIB = 32768  # twice what a batch changes; with 64 MiB neither new documents nor updates are applied faster
_CHECKPOINT_PAGES = 2000  # 32 MiB of log between two checkpoints
_WAL_KEPT_BYTES = 64 * 2**20
BUSY_MS = 10_000


def load_vectors(connection: apsw.Connection) -> None:
    """Makes `vec0` and the `vec_` functions of sqlite-vec known to the connection."""
    connection.enable_load_extension(True)
    try:
        connection.load_extension(_vectors_library())
    finally:
        connection.enable_load_extension(False)


def _vectors_library() -> str:
    """What `sqlite_vec.loadable_path()` says. Importing that package imports numpy, if there is one: half a second, and
    20 MB that nothing here needs."""
    package = find_spec("sqlite_vec")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("sqlite_vec is not installed", name="sqlite_vec")
    return str(Path(package.origin).with_name("vec0"))


def open_writer(path: Path) -> apsw.Connection:
    """The file for its one writer, made when it is missing. The caller holds the writer's lock.

    In WAL mode with `synchronous` NORMAL a power cut may take the last transactions, never a part of one: each carries
    its own offsets, so they are read again from the log. Raises ReplicaRefused, before anything was written.
    """
    try:
        connection = apsw.Connection(str(path))
        _prepare(connection)
        if connection.pragma("schema_version"):
            schema.check(connection, path)  # first: WAL mode is a mark in the file, and a foreign file stays as it is
        else:
            connection.pragma("page_size", PAGE_BYTES)
            connection.pragma("auto_vacuum", "incremental")  # only before the first table
        mode = connection.pragma("journal_mode", "wal")
        if mode != "wal":
            raise ReplicaRefused(
                f"{path} cannot be written in WAL mode (it stays in {mode})",
                hint="Put the replica on a local file system; network file systems lack shared memory.",
            )
        connection.pragma("synchronous", "normal")
        connection.pragma("cache_size", -_CACHE_KIB)
        connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
        connection.pragma("journal_size_limit", _WAL_KEPT_BYTES)
        connection.pragma("secure_delete", "fast")  # freed bytes are zeroed where the page is written anyway
    except apsw.Error as error:
        raise file_error(error, path) from error
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Read-only; never blocks the writer. Raises ReplicaRefused when there is no such replica."""
    if not path.exists():
        raise ReplicaRefused(
            f"there is no replica at {path}", hint="Start one with `vecsync replica run`, or check replica.path."
        )
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        _prepare(connection)
        connection.pragma("query_only", True)
    except apsw.Error as error:
        raise file_error(error, path) from error
    return connection


def _prepare(connection: apsw.Connection) -> None:
    load_vectors(connection)
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("temp_store", "memory")


def file_error(error: apsw.Error, path: Path) -> ReplicaRefused:
    """What a failing file means, in words. What was not committed is gone; what was committed stands."""
    if isinstance(error, apsw.FullError):
        return ReplicaRefused(
            f"no space is left for {path}: {error}", hint="Free space; the replica goes on where it stood."
        )
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return ReplicaRefused(
            f"{path} is damaged or no SQLite file: {error}",
            hint="Rebuild it with `vecsync replica replay`; nothing is lost, the topics hold every document.",
        )
    if isinstance(error, apsw.ReadOnlyError | apsw.CantOpenError | apsw.PermissionsError | apsw.AuthError):
        return ReplicaRefused(
            f"{path} cannot be opened or written: {error}", hint="Check directory, owner and permissions."
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return ReplicaRefused(
            f"{path} is locked by another program: {error}", hint="End what writes to it; only one may."
        )
    if isinstance(error, apsw.IOError):
        return ReplicaRefused(
            f"{path} cannot be read or written: {error}", hint="Check the disk; nothing half-done was kept."
        )
    return ReplicaRefused(f"{path}: {error}", hint="Check the file with `PRAGMA integrity_check`; replay rebuilds it.")


def file_bytes(path: Path) -> int:
    """Size of a replica with its log and shared memory."""
    total = 0
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        try:
            entry = os.stat(name)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(entry.st_mode):
            total += entry.st_size
    return total
