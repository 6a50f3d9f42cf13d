"""What the package mysql-replication cannot read exactly, found before it has to. Pure.

It passes over compressed events without a word, and gives less than is stored for some types and character sets: such a
source is refused, never read in part. What a session or a later ALTER does is found in the stream.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence

from connector.settings import Mapping
from connector.upstream.discover import Column, TableShape
from connector.upstream.findings import Finding, Severity

EXACT_CHARSETS = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})

_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_INTEGERS = frozenset({"bigint", "int", "mediumint", "smallint", "tinyint"})
_EXACT: Map[str, frozenset[str]] = {
    **dict.fromkeys(("dataset_id", "id", "content", "meta", "embedding_model"), _TEXTS),
    "embedding": frozenset({"varbinary", "tinyblob", "blob", "mediumblob", "longblob"}),
    "scn": _INTEGERS,
    "archived": _INTEGERS,
    **dict.fromkeys(("created_at", "updated_at"), frozenset({"timestamp", "datetime"})),
}
_EXACT_OF_DATASETS = {"dataset_id": _TEXTS, "description": _TEXTS, "source_uri": _TEXTS, "last_scn": _INTEGERS}
# In any column: it does not know their size, and would take the columns after them for others.
_GEOMETRIES = ("geometry", "point", "linestring", "polygon", "geometrycollection", "geomcollection")
_UNREADABLE = frozenset({"vector", *_GEOMETRIES, *(f"multi{name}" for name in _GEOMETRIES)})
_OTHERWISE = "-- or set source.reader to binlog"


def library_server_findings(variables: Map[str, str], *, mariadb: bool) -> list[Finding]:
    """variables: names in lower case, as SHOW GLOBAL VARIABLES gives them."""
    name = "log_bin_compress" if mariadb else "binlog_transaction_compression"
    if variables.get(name, "OFF").upper() not in ("ON", "1"):
        return []
    persist = "SET GLOBAL" if mariadb else "SET PERSIST"
    after = "-- and in the server's option file, or a restart undoes it"
    if not mariadb:
        after = "-- sessions that are open keep the old value: have applications connect again"
    return [
        Finding(
            name,
            Severity.ERROR,
            f"{name} is ON, and source.reader is mysql-replication",
            "that package passes over what is compressed",
            f"{persist} {name} = OFF;\n{after}\n{_OTHERWISE}",
        )
    ]


def library_table_findings(shape: TableShape, mapping: Mapping) -> list[Finding]:
    """Of one shadow table and its table of datasets."""
    found = []

    def look(table: str, columns: Sequence[Column], wanted: Map[str, frozenset[str]]) -> None:
        for column in columns:
            kind = column.type.split("(")[0].split(" ")[0]
            exact = wanted.get(column.name)
            if kind in _UNREADABLE or (exact is not None and kind not in exact):
                add(table, column.name, column.type)
            elif exact is not None and column.charset is not None and column.charset not in EXACT_CHARSETS:
                add(table, column.name, f"in the character set {column.charset}")

    def add(table: str, column: str, what: str) -> None:
        found.append(
            Finding(
                "mysql_replication",
                Severity.ERROR,
                f"column {column} of {table} is {what}, and source.reader is mysql-replication",
                "that package does not read it exactly",
                _OTHERWISE.replace("or set", "set"),
            )
        )

    look(shape.table, shape.columns, {name: _EXACT[part] for part, name in shape.mapped.items()})
    look(mapping.dataset_table, shape.dataset_columns, _EXACT_OF_DATASETS)
    return found
