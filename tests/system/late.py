"""A source whose change numbers commit in any order."""

from __future__ import annotations

import threading
from typing import Any

import pymysql

from tests.servers.model import SqlDatabase
from tests.system.schema import create_tables

LOG = """CREATE TABLE vec_shadow_log (
    dataset_id VARCHAR(191) COLLATE utf8mb4_bin NOT NULL, shadow_table VARCHAR(191) COLLATE utf8mb4_bin NOT NULL,
    scn BIGINT NOT NULL, op VARCHAR(16) NOT NULL, document_id VARCHAR(191) COLLATE utf8mb4_bin NOT NULL,
    payload LONGBLOB NOT NULL, PRIMARY KEY (dataset_id, shadow_table, scn),
    FOREIGN KEY (dataset_id) REFERENCES vec_dataset(dataset_id) ON DELETE CASCADE) ENGINE=InnoDB CHARSET=utf8mb4"""


class Late:
    """Numbers are given out by a statement of their own, as many applications do it, so that they commit in any order:
    triggers log a row under the number that the session holds."""

    def __init__(self, database: SqlDatabase) -> None:
        self.database = database
        create_tables(database)
        entry = (
            "INSERT INTO vec_shadow_log VALUES ({row}.dataset_id, 'shadow_vec_docs', @scn, '{op}', {row}.id, '{{}}')"
        )
        database.execute(
            LOG,
            "INSERT INTO vec_dataset(dataset_id) VALUES ('a'), ('b')",
            *(
                f"CREATE TRIGGER log_{op} AFTER {op} ON shadow_vec_docs FOR EACH ROW {entry.format(row=row, op=op)}"
                for op, row in (("insert", "NEW"), ("update", "NEW"), ("delete", "OLD"))
            ),
        )
        self.numbers = dict.fromkeys("ab", 0)
        self.lock = threading.Lock()

    def session(self) -> pymysql.Connection[Any]:
        return self.database.connect(autocommit=False)

    def write(self, session: pymysql.Connection[Any], dataset: str, id: str, content: str | None) -> None:
        """Content None: deletes."""
        with self.lock:
            self.numbers[dataset] += 1
            number = self.numbers[dataset]
        with session.cursor() as cursor:
            cursor.execute("SET @scn = %s", [number])
            if content is None:
                cursor.execute("DELETE FROM shadow_vec_docs WHERE dataset_id = %s AND id = %s", [dataset, id])
            else:
                cursor.execute(
                    "INSERT INTO shadow_vec_docs(dataset_id, id, content, scn) VALUES (%s, %s, %s, %s)"
                    " ON DUPLICATE KEY UPDATE content = VALUES(content), scn = VALUES(scn)",
                    [dataset, id, content, number],
                )
