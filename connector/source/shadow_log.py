"""A SQLite upstream as a `Source`: its change log, and its tables where the log does not reach.

Each look is one read transaction. What it finds becomes transactions of at most some hundred entries: the log does not
tell which of them were committed together. Where the log has a gap (it was pruned too far, or triggers were missing for
a while) the tables are read anew, ended by a floor. Nothing here writes to the source.

One module, though a long one: looks, their entries and the rebuilding between them move one position together.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import apsw

from connector.errors import ConnectionLost, CorruptedLog, ForeignLog, PositionLost, PreflightRefused, UsageError
from connector.model import (
    Change,
    DatasetCursor,
    SnapshotProgress,
    SourceIdentity,
    SourcePosition,
    TableName,
    Transaction,
)
from connector.settings import Settings
from connector.source import Stream
from connector.source.shadow_log_entries import INSTALLED, RESET, Entry, change_of, mark_after, needs_payload
from connector.source.shadow_log_snapshot import snapshot
from connector.upstream.address import sqlite_path
from connector.upstream.discover import TableShape, sqlite_shape
from connector.upstream.install import stale_sqlite_triggers
from connector.upstream.names import quoted
from connector.upstream.sqlite import open_reader, sqlite_error
from connector.upstream.sqlite_schema import CHANGE_LOG, SOURCE_TABLE

log = logging.getLogger("connector.source.shadow_log")

_BATCH_ENTRIES = 500
_BATCH_BYTES = 8 << 20
_INSTALL = "Run `vecsync source install`."


class SqliteSource:
    """Fulfils `Source`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = sqlite_path(settings.source.url)

    def identity(self) -> SourceIdentity:
        with _reading(self._path) as db:
            return _state(db, self._path).identity

    def head(self) -> SourcePosition:
        with _reading(self._path) as db:
            state = _state(db, self._path)
            return SourcePosition(state.identity, dataset_log_seq=state.head, snapshot_done=True)

    def start(self, epoch: int) -> SourcePosition:
        return replace(self.head(), epoch=epoch, snapshot_done=self._settings.source.snapshot == "no_data")

    def adopt(self, recorded: SourcePosition, standing: Collection[str]) -> SourcePosition:  # noqa: ARG002
        """Never: two files have no log in common."""
        raise ForeignLog(
            f"the source is not the one that was recorded: recorded {recorded.identity}, found {self.identity()}",
            hint="Point source.url at the recorded file, use another topics.prefix, or run `vecsync capture snapshot`.",
        )

    def place(self, where: str) -> SourcePosition:  # noqa: ARG002
        raise UsageError(
            "the position in a change log cannot be set",
            hint="Run `vecsync capture snapshot`: it reads all rows again.",
        )

    def claim(self, after: SourcePosition) -> SourcePosition:
        """Orders are the source's own: nothing has to be added."""
        return after

    def stream(self, after: SourcePosition) -> Stream:
        db = open_reader(self._path)
        try:
            return SqliteStream(db, self._path, self._settings, after)
        except BaseException:
            db.close()
            raise

    def behind(self, at: SourcePosition) -> int:
        return max(0, self.head().dataset_log_seq - at.dataset_log_seq)

    def rows(self) -> None:
        """There is none: the embedded log, which such sources publish to, lets nobody write beside the lease."""

    def check_snapshot(self, datasets: Sequence[str] | None, tables: Sequence[TableName]) -> None:
        """Its tables are read in one transaction, all of them."""
        some = len(tables) < len(self._settings.source.tables)
        if datasets is not None or some:
            which = "tables, not some" if some else "datasets, not single ones"
            raise UsageError(
                f"a snapshot of a SQLite source reads all {which}",
                hint="Name none: all rows are read again, in one transaction.",
            )

    def close(self) -> None:
        """Nothing is kept open between calls."""


class SqliteStream:
    """Fulfils `Stream`. Raises, beside what that says, ForeignLog, PositionLost, PreflightRefused (triggers are missing
    or not current, so that changes may be in no log)."""

    def __init__(self, db: apsw.Connection, path: Path, settings: Settings, after: SourcePosition) -> None:
        self._db, self._path = db, path
        self._settings = settings
        self._name = settings.topics.prefix
        self._mapping = settings.source.mapping
        self._interval_s = settings.source.poll_interval_s
        self._position = after
        self._ready: deque[Transaction] = deque()
        self._snapshot: Iterator[Transaction] | None = None
        self._next_look = 0.0
        self._data_version = self._schema_version = -1
        self._shapes: list[TableShape] = []
        self._log_cascades = True  # the shadow log loses a dataset's entries with its row
        self._inode = _inode(path)
        with self._errors(), self._transaction():
            self._refuse_foreign(after)

    def next(self, timeout_s: float) -> Transaction | None:
        deadline = time.monotonic() + timeout_s
        while True:
            with self._errors():
                if self._snapshot is not None:
                    transaction = next(self._snapshot)
                    if transaction.after.snapshot_done:  # the last one: nothing is left to be read
                        self._snapshot = None
                        self._db.execute("COMMIT").fetchall()
                    return self._yielded(transaction)
                if self._ready:
                    return self._yielded(self._ready.popleft())
                now = time.monotonic()
                if now >= self._next_look:
                    if self._look():
                        continue
                    self._next_look = time.monotonic() + self._interval_s
            if now >= deadline:
                return None
            time.sleep(max(0.0, min(deadline, self._next_look) - now))

    def position(self) -> SourcePosition:
        return self._position

    def reached(self, head: SourcePosition) -> bool:
        at = self._position
        return at.snapshot_done and not self._ready and at.dataset_log_seq >= head.dataset_log_seq

    def proven(self) -> bool:
        """It was, when this was made."""
        return True

    def close(self) -> None:
        self._snapshot = None
        self._db.close()

    def _yielded(self, transaction: Transaction) -> Transaction:
        self._position = transaction.after
        return transaction

    def _look(self) -> bool:
        """Reads what comes next, if anything may have changed since there was nothing. Whether something came of it."""
        if _inode(self._path) != self._inode:
            raise ConnectionLost(f"{self._path} was replaced by another file")
        data_version = self._pragma("data_version")
        if data_version == self._data_version and self._position.snapshot_done:
            return False
        self._db.execute("BEGIN").fetchall()
        try:
            if not self._position.snapshot_done:
                self._begin_snapshot()
                return True
            found, gap = self._read_entries()
            if gap:
                if self._settings.source.snapshot == "no_data":
                    raise PositionLost(
                        f"{self._path}: {gap}",
                        hint="Set source.snapshot to `initial` to have the tables read anew.",
                    )
                log.warning("the tables are read anew", extra={"reason": gap})
                self._begin_snapshot()
                return True
        except BaseException:
            self._db.execute("ROLLBACK").fetchall()
            raise
        self._db.execute("COMMIT").fetchall()
        if not found:
            # Only now: a version seen before the transaction began may be older than what it read, never newer.
            self._data_version = data_version
        return found

    def _read_entries(self) -> tuple[bool, str]:
        """Whether there were entries, and why the log cannot be followed (empty: it can)."""
        self._check_triggers()
        at = self._position
        state = _state(self._db, self._path)
        if state.pruned > at.dataset_log_seq:
            return False, f"the change log was pruned up to {state.pruned}, and read up to {at.dataset_log_seq}"
        changes: list[Change] = []
        followed = set(self._settings.source.tables)
        entry, size = None, 0
        later = _Later(self._db)
        for row in self._db.execute(self._select(), [at.dataset_log_seq, _BATCH_ENTRIES]):
            entry = Entry(*row)
            if entry.shadow_table is not None and entry.shadow_table not in followed:
                continue
            if entry.op == INSTALLED:
                return False, f"triggers on {entry.shadow_table} were missing until entry {entry.seq}"
            if entry.op == RESET:
                continue
            if needs_payload(entry) and (entry.payload is None or (self._log_cascades and later.reset(entry))):
                if later.cascade(entry):
                    continue  # what it says went with its dataset, whose floor is still to come
                return False, f"the shadow log no longer has entry {entry.seq}, document {entry.document_id!r}"
            size += len(entry.payload or b"")
            changes.append(change_of(entry, at.epoch, self._name, self._mapping.dataset_table))
            if size >= _BATCH_BYTES:
                break
        if entry is None:
            return False, ""
        after = replace(at, dataset_log_seq=entry.seq, cursors=_anchor(entry))
        if changes:
            first = at.dataset_log_seq + 1
            self._ready.append(Transaction(f"{CHANGE_LOG}:{first}-{entry.seq}", changes, after))
        else:
            self._position = after
        return True, ""

    def _begin_snapshot(self) -> None:
        """Within a transaction that stays open until the snapshot ends."""
        self._check_triggers()
        at, head = self._position, _state(self._db, self._path).head
        mark = mark_after(at.epoch, head)
        done = replace(at, dataset_log_seq=head, cursors=self._anchor_at(head), snapshot=None, snapshot_done=True)
        tables = tuple(self._settings.source.tables)
        progress = SnapshotProgress(tables[0], None, mark, tables=tables)
        unfinished = replace(done, snapshot=progress, snapshot_done=False)
        log.info("snapshot begins", extra={"entry": head})

        def transactions() -> Iterator[Transaction]:
            batches = snapshot(self._db, self._shapes, self._mapping.dataset_table, self._name, mark)
            held: list[Change] | None = None
            for number, batch in enumerate(batches):
                if held is not None:
                    yield Transaction(f"snapshot:{head}:{number}", held, unfinished)
                held = batch
            assert held is not None  # the floors
            yield Transaction(f"snapshot:{head}", held, done)

        self._snapshot = transactions()

    def _check_triggers(self) -> None:
        """Whenever the schema changed: everything that feeds the log must be there, and as this version makes it."""
        version = self._pragma("schema_version")
        if version == self._schema_version:
            return
        shapes = [sqlite_shape(self._db, table, self._mapping) for table in self._settings.source.tables]
        for shape in shapes:
            shape.must_be_usable()
        wrong = stale_sqlite_triggers(self._db, shapes, self._mapping)
        if wrong:
            raise PreflightRefused(
                f"{self._path}: triggers are missing or not current: {', '.join(wrong)}", hint=_INSTALL
            )
        keys = self._db.execute(f"PRAGMA foreign_key_list({quoted(self._mapping.log_table, 'sqlite')})").fetchall()
        self._shapes, self._schema_version, self._log_cascades = shapes, version, bool(keys)

    def _refuse_foreign(self, after: SourcePosition) -> None:
        state = _state(self._db, self._path)
        if state.identity != after.identity:
            raise ForeignLog(f"{self._path} is {state.identity.uuid}, and {after.identity.uuid} is recorded")
        if state.head < after.dataset_log_seq:
            raise ForeignLog(
                f"the change log of {self._path} ends at {state.head}, and was read up to {after.dataset_log_seq} "
                "before: the file is an older copy",
                hint="Restore the newer file, or use another topics.prefix.",
            )
        recorded, found = after.cursors, self._anchor_at(after.dataset_log_seq)
        if recorded and found and recorded != found:
            raise ForeignLog(
                f"entry {after.dataset_log_seq} of the change log of {self._path} was of {_say(recorded)} before, "
                f"and is of {_say(found)} now: the file is an older copy that went on by itself",
                hint="Restore the right file, or use another topics.prefix.",
            )

    def _anchor_at(self, seq: int) -> Mapping[str, DatasetCursor]:
        sql = f"SELECT dataset_id, scn FROM {CHANGE_LOG} WHERE seq = ?"
        for dataset_id, scn in self._db.execute(sql, [seq]):
            return {dataset_id or "": DatasetCursor(seq, scn or 0)}
        return {}

    def _select(self) -> str:
        return f"""SELECT c.seq, c.shadow_table, c.dataset_id, c.op, c.scn, c.document_id,
                c.description, c.source_uri, c.last_scn, c.at, l.payload
            FROM {CHANGE_LOG} AS c LEFT JOIN {quoted(self._mapping.log_table, "sqlite")} AS l
                ON l.dataset_id = c.dataset_id AND l.shadow_table = c.shadow_table AND l.scn = c.scn
                AND l.document_id = c.document_id AND l.op = c.op
            WHERE c.seq > ? ORDER BY c.seq LIMIT ?"""

    def _pragma(self, name: str) -> int:
        return _number(self._db, f"PRAGMA {name}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN").fetchall()
        try:
            yield
        finally:
            self._db.execute("ROLLBACK").fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with _errors(self._path):
            yield


class _Later:
    """What the change log holds further on, in the present transaction. Before a reset an entry's payload may be of
    a later life of its dataset."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._resets: dict[str | None, int] = {}
        self._cascades: dict[tuple[str | None, str | None], int] = {}

    def reset(self, entry: Entry) -> bool:
        found = self._resets.get(entry.dataset_id)
        if found is None:
            sql = f"SELECT coalesce(max(seq), 0) FROM {CHANGE_LOG} WHERE op = 'reset' AND dataset_id = ?"
            found = self._resets[entry.dataset_id] = _number(self._db, sql, entry.dataset_id)
        return found > entry.seq

    def cascade(self, entry: Entry) -> bool:
        key = (entry.shadow_table, entry.dataset_id)
        found = self._cascades.get(key)
        if found is None:
            sql = (
                f"SELECT coalesce(max(seq), 0) FROM {CHANGE_LOG}"
                " WHERE op = 'cascade' AND shadow_table = ? AND dataset_id = ?"
            )
            found = self._cascades[key] = _number(self._db, sql, *key)
        return found > entry.seq


def _number(db: apsw.Connection, sql: str, *args: str | None) -> int:
    return int(db.execute(sql, args).fetchall()[0][0])  # type: ignore[arg-type]


class _State:
    """identity; head: the greatest number given out; pruned: the greatest whose entry may be gone."""

    __slots__ = ("head", "identity", "pruned")

    def __init__(self, uuid: str, pruned: int, head: int) -> None:
        self.identity = SourceIdentity("sqlite", uuid)
        self.head, self.pruned = head, pruned


def _state(db: apsw.Connection, path: Path) -> _State:
    try:
        rows: list[tuple[str, int, int | None]] = db.execute(
            f"SELECT uuid, pruned_seq, (SELECT seq FROM sqlite_sequence WHERE name = '{CHANGE_LOG}')"
            f" FROM {SOURCE_TABLE}"
        ).fetchall()  # type: ignore[assignment]
    except apsw.SQLError as error:
        raise PreflightRefused(f"{path} is not set up as a source: {error}", hint=_INSTALL) from error
    if not rows:
        raise PreflightRefused(f"{path} has no identity", hint=_INSTALL)
    uuid, pruned, head = rows[0]
    return _State(uuid, pruned, head or 0)


@contextmanager
def _reading(path: Path) -> Iterator[apsw.Connection]:
    db = open_reader(path)
    try:
        with _errors(path):
            yield db
    finally:
        db.close()


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise CorruptedLog(f"{path}: {error}", hint="Run PRAGMA integrity_check on it.") from error
    except (apsw.IOError, apsw.BusyError, apsw.LockedError, apsw.CantOpenError) as error:
        raise ConnectionLost(f"{path}: {error}") from error
    except apsw.Error as error:
        raise sqlite_error(error, str(path)) from error


def _inode(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise ConnectionLost(f"{path} cannot be looked at: {error}") from error
    return found.st_dev, found.st_ino


def _anchor(entry: Entry) -> Mapping[str, DatasetCursor]:
    return {entry.dataset_id or "": DatasetCursor(entry.seq, entry.scn or 0)}


def _say(cursors: Mapping[str, DatasetCursor]) -> str:
    return ", ".join(f"{dataset!r} scn {cursor.scn}" for dataset, cursor in cursors.items())
