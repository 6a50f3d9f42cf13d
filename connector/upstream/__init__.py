"""The source database as its writers see it: datasets, documents, change numbers; and how to set it up.

For those who write documents (`ingest`, `docs`) and for `source install|check|prune`. Every write allocates its change
number (SCN) from `vec_dataset_scn` in the transaction that uses it. Nothing here reads a change log, and nothing here
ever puts a password into a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from connector.errors import UsageError
from connector.settings import SourceSettings
from connector.upstream.address import sqlite_path
from connector.upstream.tables import followed_tables, home_of, named
from connector.upstream.triggers import shadow_log_triggers

__all__ = ["ListedRow", "StoredRow", "Upstream", "UpstreamRow", "connect", "shadow_log_triggers"]


class UpstreamRow(NamedTuple):
    """A document to be written. embedding: float32 little-endian, or None for no vector."""

    id: str
    content: str | None
    meta: str | None
    embedding: bytes | None
    embedding_model: str | None


class ListedRow(NamedTuple):
    """What is known of a document without reading its text and vector."""

    id: str
    meta: str | None
    archived: bool
    embedding_model: str | None
    scn: int


class StoredRow(NamedTuple):
    """A document as it stands."""

    dataset_id: str
    id: str
    content: str | None
    meta: str | None
    embedding: bytes | None
    embedding_model: str | None
    scn: int
    archived: bool


class Upstream(Protocol):
    """One shadow table and its datasets. Each call is a transaction of its own unless inside `transaction()`.

    Raises Unreachable, AuthenticationFailed, ConnectionLost (nothing of the call was kept), ConfigurationError (tables
    are missing or not understood), DataRefused (the database does not take a value, or the id belongs to another
    dataset of a table whose ids are unique over all datasets).
    """

    def transaction(self) -> AbstractContextManager[None]:
        """Calls within it commit together; an exception undoes them. Nested ones are part of the outermost."""
        ...

    def ensure_dataset(self, dataset_id: str, description: str | None = None, source_uri: str | None = None) -> None:
        """Makes the dataset; of one that exists, description and source_uri are replaced where they are given."""
        ...

    def datasets(self) -> Sequence[str]: ...

    def listing(self, dataset_id: str) -> Iterable[ListedRow]:
        """Every document of the dataset, archived ones too, by id."""
        ...

    def upsert(self, dataset_id: str, rows: Sequence[UpstreamRow]) -> int:
        """Writes the documents, each with an SCN of its own and archived = 0; returns how many."""
        ...

    def set_archived(self, dataset_id: str, ids: Sequence[str], archived: bool) -> int:
        """Returns how many changed; those that already were so keep their SCN."""
        ...

    def delete(self, dataset_id: str, ids: Sequence[str]) -> int:
        """Returns how many there were."""
        ...

    def delete_dataset(self, dataset_id: str) -> bool:
        """Takes the dataset with its documents; False when there is none."""
        ...

    def get(self, dataset_id: str, id: str) -> StoredRow | None: ...

    def close(self) -> None: ...


def connect(source: SourceSettings, table: str | None = None, *, create: bool = False) -> Upstream:
    """The source database, for writing to `table` (the first of source.tables unless said), which may be written
    `database.table` as there.

    create: make a SQLite file that does not exist; otherwise that is a ConfigurationError. Raises UsageError for what
    names no table.
    """
    if source.kind == "sqlite":
        from connector.upstream.sqlite import SqliteUpstream, open_writer

        db = open_writer(sqlite_path(source.url), create=create)
        return SqliteUpstream(db, table or source.tables[0], source.mapping)
    from connector.upstream.mysql import MysqlUpstream, open_connection

    if table is None and not followed_tables(source):
        raise UsageError("source.tables has patterns only", hint="Name the table to write to: --table.")
    try:
        chosen = followed_tables(source)[0] if table is None else named(table, home_of(source))
    except ValueError as error:
        raise UsageError(f"{table!r} names no table", hint="Write `table`, or `database.table`.") from error
    return MysqlUpstream(open_connection(source, chosen.db), chosen.db, chosen.table, source.mapping)
