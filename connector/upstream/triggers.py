"""Triggers that keep `vec_shadow_log`, for those who set up their database by themselves. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from connector.settings import Mapping
from connector.upstream import mysql_schema, sqlite_schema
from connector.upstream.names import Dialect


def shadow_log_triggers(
    table: str,
    *,
    dialect: Dialect,
    mapping: Mapping | None = None,
    timestamps: Sequence[str] = (),
) -> list[str]:
    """CREATE TRIGGER statements for the usual tables: each insert, update and delete of `table` allocates an SCN from
    `vec_dataset_scn` and writes the row into the log table as JSON, its embedding as lower-case hex. A change of a key
    is logged as the deletion of the old one and the insertion of the new.

    timestamps: those of created_at and updated_at that the table has, for the payload. `source install` does this and
    more: a SQLite source needs it.
    """
    chosen = mapping or Mapping()
    if dialect == "sqlite":
        made = sqlite_schema.document_triggers(table, chosen, timestamps=timestamps, complete=False)
    else:
        made = mysql_schema.document_triggers(table, chosen, timestamps=timestamps)
    return list(made.values())
