"""A source that is written to at a steady rate, whatever becomes of its server."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pymysql
from pymysql.cursors import Cursor

from tests.servers.model import SqlDatabase

RATE = 20  # transactions a second
DOCUMENTS = 400
_DATASETS = 4
# Each document is written, and some are deleted, once in this time; comparing has to be done well within it.
ROUND_S = DOCUMENTS / RATE
_EMBEDDING = struct.pack("<8f", *(n / 8 for n in range(8)))
_TEXT = "heron otter willow " * 12
_UPSERT = (
    "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model, scn) VALUES (%s,%s,%s,%s,'m',%s)"
    " ON DUPLICATE KEY UPDATE content = VALUES(content), scn = VALUES(scn)"
)
_DELETE = "DELETE FROM shadow_vec_docs WHERE dataset_id = %s AND id = %s"


class Writer(threading.Thread):
    """Transactions of one row each, over a few documents; every tenth deletes one. Each has a number of its own, which
    is the row's scn, and is never used again: also not where nobody knows whether it was committed."""

    def __init__(self, database: SqlDatabase) -> None:
        super().__init__(daemon=True)
        self.database = database  # where it writes from the next transaction on, once moved to
        self.committed = 0  # the last number
        self._number = 0
        self._enough = threading.Event()
        self._lock = threading.Lock()
        self._connection: pymysql.Connection[Cursor] | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            due = time.monotonic()
            while not self._enough.wait(max(0.0, due - time.monotonic())):
                due = max(due + 1 / RATE, time.monotonic() - 1)  # what it could not write for long is not made up for
                with self._lock:
                    self._transaction()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        self._enough.set()
        if self.is_alive():
            self.join(60)
        self._disconnect()
        if self._error is not None:
            raise self._error

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Between two transactions."""
        with self._lock:
            yield

    def move_to(self, database: SqlDatabase) -> None:
        """Only while it stands still."""
        self._disconnect()
        self.database = database

    def _transaction(self) -> None:
        number = self._number = self._number + 1
        which = number % DOCUMENTS
        try:
            if self._connection is None:
                self._connection = self.database.connect(connect_timeout=2, read_timeout=20)
            with self._connection.cursor() as cursor:
                if number % 10 == 0:
                    which = (number * 7 + DOCUMENTS // 2) % DOCUMENTS
                    cursor.execute(_DELETE, (f"d{which % _DATASETS}", f"doc-{which}"))
                else:
                    row = (f"d{which % _DATASETS}", f"doc-{which}", f"version {number} {_TEXT}", _EMBEDDING, number)
                    cursor.execute(_UPSERT, row)
                    self.committed = number
        except pymysql.err.MySQLError:
            self._disconnect()
            time.sleep(0.02)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(pymysql.err.MySQLError):
                self._connection.close()
            self._connection = None
