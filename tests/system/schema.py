"""Tables as users have them, in both shapes of primary key, independent of what `source install` would make."""

from __future__ import annotations

from typing import Literal

from tests.servers.model import SqlDatabase

PrimaryKey = Literal["dataset_and_id", "id"]

VEC_DATASET = """
CREATE TABLE vec_dataset (
    dataset_id VARCHAR(191) NOT NULL PRIMARY KEY,
    description TEXT NULL,
    source_uri TEXT NULL,
    last_scn BIGINT NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

SHADOW = """
CREATE TABLE {table} (
    dataset_id VARCHAR(191) NOT NULL,
    id VARCHAR(191) NOT NULL,
    content MEDIUMTEXT NULL,
    meta MEDIUMTEXT NULL,
    embedding LONGBLOB NULL,
    embedding_model VARCHAR(191) NULL,
    scn BIGINT NOT NULL DEFAULT 0,
    archived TINYINT(1) NOT NULL DEFAULT 0,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    PRIMARY KEY ({key}),
    KEY by_dataset (dataset_id),
    FOREIGN KEY (dataset_id) REFERENCES vec_dataset (dataset_id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""


def create_tables(database: SqlDatabase, key: PrimaryKey = "dataset_and_id", table: str = "shadow_vec_docs") -> None:
    database.execute(VEC_DATASET)
    database.execute(SHADOW.format(table=table, key="dataset_id, id" if key == "dataset_and_id" else "id"))
