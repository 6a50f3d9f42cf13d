"""One SQL statement on a replica, with sqlite-vec loaded. The file is opened read-only: nothing can change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from connector.errors import QueryRefused
from connector.replica import connection as replica_connection

Value = None | int | float | str | bytes


class Rows(NamedTuple):
    """columns: empty for a statement that gives no rows. rows: to be read before the `with` block ends."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Value, ...]]


@contextmanager
def sql(path: Path, statement: str, parameters: Sequence[Value] = ()) -> Iterator[Rows]:
    """The rows of a statement, of one state of the replica. Raises ReplicaRefused; QueryRefused with SQLite's reason,
    also while rows are read."""
    connection = replica_connection.open_reader(path)
    try:
        columns: list[str] = []

        def begin(cursor: apsw.Cursor, text: str, _bindings: object) -> bool:
            if begun:
                raise QueryRefused("there is more than one statement", hint="Give one statement at a time.")
            begun.append(text)
            columns.extend(name for name, _ in cursor.get_description())
            return True

        begun: list[str] = []
        cursor = connection.cursor()
        cursor.exec_trace = begin
        try:
            found = cursor.execute(statement, parameters)
            if not statement.strip():
                raise QueryRefused("there is no statement", hint="Try SELECT * FROM shadow_vec_docs LIMIT 10.")
        except apsw.Error as error:
            raise _refused(path, error) from error
        yield Rows(tuple(columns), _read(path, found))
    finally:
        connection.close()


def _read(path: Path, cursor: apsw.Cursor) -> Iterator[tuple[Value, ...]]:
    try:
        yield from cursor
    except apsw.Error as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: apsw.Error) -> Exception:
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.IOError | apsw.BusyError | apsw.FullError):
        return replica_connection.file_error(error, path)
    offset = getattr(error, "error_offset", -1)
    where = f" at byte {offset + 1}" if offset >= 0 else ""
    return QueryRefused(
        f"SQLite refuses the statement{where}: {error}",
        hint="Check its spelling; and a replica can only be read.",
    )
