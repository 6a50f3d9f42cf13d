"""`source prune`: removes log entries that nobody needs any more. Must never remove one that was not published, or that
a replica which records its state in the source's `vec_sync_state` has still to read."""

from __future__ import annotations

from typing import Any

import apsw

from connector.errors import ConfigurationError, ForeignLog
from connector.model import SourcePosition, table_and_dataset
from connector.settings import SourceSettings
from connector.upstream.address import mysql_address, sqlite_path
from connector.upstream.mysql import mysql_errors, open_connection
from connector.upstream.names import SYNC_STATE_TABLE, Dialect, quoted
from connector.upstream.sqlite import open_writer, sqlite_error
from connector.upstream.sqlite_schema import CHANGE_LOG, NOW_US, SOURCE_TABLE

_BATCH = 5000


def prune(
    source: SourceSettings, *, keep_s: float, published: SourcePosition | None = None, dry_run: bool = False
) -> int:
    """Removes entries of the shadow log older than `keep_s` seconds, and returns how many (with dry_run: would).

    published: how far this source is published; needed where the log is what is read (`reads_log`).
    Raises ConfigurationError, ForeignLog, Unreachable, AuthenticationFailed.
    """
    if source.kind == "mysql" and not reads_log(source):
        return _prune_mysql(source, keep_s, dry_run)
    if published is None:
        raise ConfigurationError(
            "nothing of this source was published yet, so nothing of its log may go",
            hint="Run `vecsync capture run` first.",
        )
    if source.kind == "mysql":
        return _prune_read_log(source, keep_s, published, dry_run)
    path = sqlite_path(source.url)
    db = open_writer(path)
    try:
        return _prune_sqlite(db, source, keep_s, published, dry_run)
    except apsw.Error as error:
        raise sqlite_error(error, str(path)) from error
    finally:
        db.close()


def reads_log(source: SourceSettings) -> bool:
    """Whether changes are captured from the log that is pruned."""
    return source.kind == "sqlite" or source.reader == "shadow_log"


def _still_needed(dialect: Dialect) -> str:
    """True for entries that a replica known to the source has not applied; `l` is the shadow log."""
    state = quoted(SYNC_STATE_TABLE, dialect)
    return (
        f"EXISTS (SELECT 1 FROM {state} s WHERE s.dataset_id = l.dataset_id AND s.shadow_table = l.shadow_table"
        " AND s.last_scn < l.scn)"
    )


def _prune_sqlite(
    db: apsw.Connection, source: SourceSettings, keep_s: float, published: SourcePosition, dry_run: bool
) -> int:
    removed = 0
    log = quoted(source.mapping.log_table, "sqlite")
    entry = "l.dataset_id = c.dataset_id AND l.shadow_table = c.shadow_table AND l.scn = c.scn"
    while True:
        db.execute("BEGIN IMMEDIATE").fetchall()
        try:
            uuid, pruned = _row(db, f"SELECT uuid, pruned_seq FROM {SOURCE_TABLE}")
            if uuid != published.identity.uuid:
                raise ForeignLog(f"the source is {uuid}, and {published.identity.uuid} was published")
            # The first entry that has to stay; everything before it goes, in steps that do not lock writers out.
            (stays,) = _row(
                db,
                f"SELECT min(c.seq) FROM {CHANGE_LOG} c WHERE c.seq > ?1 AND (c.seq > ?2 OR c.at > {NOW_US} - ?3"
                f" OR EXISTS (SELECT 1 FROM {log} l WHERE {entry} AND {_still_needed('sqlite')}))",
                *(pruned, published.dataset_log_seq, round(keep_s * 1e6)),
            )
            end = min(published.dataset_log_seq, stays - 1 if stays is not None else published.dataset_log_seq)
            upto = min(end, pruned + _BATCH)
            if upto <= pruned:
                db.execute("ROLLBACK").fetchall()
                return removed
            gone = f"FROM {CHANGE_LOG} AS c WHERE c.seq > ?1 AND c.seq <= ?2"
            db.execute(f"DELETE FROM {log} AS l WHERE EXISTS (SELECT 1 {gone} AND {entry})", [pruned, upto])
            removed += db.changes()
            # What became of each dataset is kept: a new snapshot has to say which ones were deleted.
            last = (
                f"(SELECT max(d.seq) FROM {CHANGE_LOG} AS d"
                " WHERE d.dataset_id = c.dataset_id AND d.shadow_table IS NULL AND d.op <> 'reset')"
            )
            db.execute(f"DELETE {gone} AND NOT (c.shadow_table IS NULL AND c.seq = {last})", [pruned, upto])
            db.execute(f"UPDATE {SOURCE_TABLE} SET pruned_seq = ?", [upto])
            if dry_run:
                # Only the first step is counted exactly; the rest is what a full run would find.
                (total,) = _row(
                    db,
                    f"SELECT count(*) FROM {CHANGE_LOG} WHERE shadow_table IS NOT NULL AND scn IS NOT NULL"
                    " AND seq > ?1 AND seq <= ?2",
                    *(upto, end),
                )
                db.execute("ROLLBACK").fetchall()
                return removed + int(total)
            db.execute("COMMIT").fetchall()
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK").fetchall()
            raise


def _prune_mysql(source: SourceSettings, keep_s: float, dry_run: bool) -> int:
    log = quoted(source.mapping.log_table, "mysql")
    where = f"l.created_at < NOW(6) - INTERVAL %s SECOND AND NOT {_still_needed('mysql')}"
    connection = open_connection(source)
    try:
        with mysql_errors(source.mapping.log_table), connection.cursor() as cursor:
            if dry_run:
                cursor.execute(f"SELECT count(*) FROM {log} l WHERE {where}", [keep_s])
                return int(cursor.fetchone()[0])
            removed = 0
            while True:
                count: int = cursor.execute(
                    f"DELETE l FROM {log} l JOIN (SELECT l.dataset_id, l.shadow_table, l.scn FROM {log} l"
                    f" WHERE {where} LIMIT {_BATCH}) old USING (dataset_id, shadow_table, scn)",
                    [keep_s],
                )
                removed += count
                if count < _BATCH:
                    return removed
    finally:
        connection.close()


def _prune_read_log(source: SourceSettings, keep_s: float, published: SourcePosition, dry_run: bool) -> int:
    """Of each dataset what was read, below everything that may still come late, and not the last: by that one the
    reader knows the log again."""
    if published.file:
        raise ForeignLog("what was published was read from the binlog, and not from the log that would be pruned")
    log = quoted(source.mapping.log_table, "mysql")
    old = f"l.created_at < NOW(6) - INTERVAL %s SECOND AND NOT {_still_needed('mysql')}"
    connection = open_connection(source)
    removed = 0
    try:
        with mysql_errors(source.mapping.log_table), connection.cursor() as cursor:
            cursor.execute("SELECT @@server_id")
            found = (cursor.fetchone()[0], f"{mysql_address(source.url).database}.{source.mapping.log_table}")
            if found != (published.identity.server_id, published.identity.base_name):
                raise ForeignLog(f"what was published is of {published.identity}, and not of the log {found[1]} here")
            for key, at in published.cursors.items():
                table, dataset = table_and_dataset(key)
                where = f"l.dataset_id = %s AND l.shadow_table = %s AND l.scn < %s AND {old}"
                args = [dataset, table, at.missing[0] if at.missing else at.scn, keep_s]
                if dry_run:
                    cursor.execute(f"SELECT count(*) FROM {log} l WHERE {where}", args)
                    removed += int(cursor.fetchone()[0])
                    continue
                count = _BATCH
                while count == _BATCH:
                    count = cursor.execute(
                        f"DELETE l FROM {log} l JOIN (SELECT l.dataset_id, l.shadow_table, l.scn FROM {log} l"
                        f" WHERE {where} LIMIT {_BATCH}) old USING (dataset_id, shadow_table, scn)",
                        args,
                    )
                    removed += count
        return removed
    finally:
        connection.close()


def _row(db: apsw.Connection, sql: str, *args: int) -> tuple[Any, ...]:
    return db.execute(sql, args).fetchall()[0]
