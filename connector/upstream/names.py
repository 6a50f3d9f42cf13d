"""Names in SQL: quoting, and which column plays which part. Pure."""

from __future__ import annotations

from typing import Literal

from connector.settings import Mapping

Dialect = Literal["sqlite", "mysql"]

REQUIRED = ("dataset_id", "id", "content", "meta", "embedding", "embedding_model", "scn", "archived")
"""The parts that a shadow table must have a column for; also the keys of a log entry's payload, in this order."""

OPTIONAL = ("created_at", "updated_at")

SCN_TABLE = "vec_dataset_scn"
SYNC_STATE_TABLE = "vec_sync_state"
STORAGE_TABLE = "vector_storage"


def quoted(name: str, dialect: Dialect) -> str:
    """An identifier, quoted."""
    mark = "`" if dialect == "mysql" else '"'
    return mark + name.replace(mark, mark * 2) + mark


def literal(text: str, dialect: Dialect) -> str:
    """A string literal. MySQL: right under every sql_mode, because it contains no backslash."""
    if dialect == "mysql" and "\\" in text:
        return f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)"
    return "'" + text.replace("'", "''") + "'"


def column(mapping: Mapping, part: str) -> str:
    """The column that plays a part of REQUIRED or OPTIONAL."""
    name: str = getattr(mapping, part)
    return name
