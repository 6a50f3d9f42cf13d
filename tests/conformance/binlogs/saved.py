"""Binlog files that other people made (`tools/binlogs.sh`), and what is expected of each.

`python -m tests.conformance.binlogs.saved` writes the expectations anew from what the readers do now. Look at every
line that changes: a file that is refused holds something that must be refused.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog import files
from tests.conformance.binlogs.library import UNKNOWN_TO_IT, as_given, given_by_file
from tests.conformance.binlogs.printed import as_printed, printed
from tests.conformance.binlogs.reading import Reading, read
from tests.servers.model import ServerUnavailable, SqlKind
from tests.servers.programs import cache_directory, sql_programs

HERE = Path(__file__).parent
COLLECTIONS = ("mariadb-test-data", "mysql-testsuite")
_TOOLS: dict[str, SqlKind] = {"mariadb-binlog": "mariadb", "mysqlbinlog": "mysql"}


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one file. agree: per other reader, how many of our rows it has too, each equal; a reader that has none of
    them, or gives up on the file, is not named."""

    transactions: int
    rows: int
    statements: int
    refused: str
    agree: dict[str, int]


def expectations(collection: str) -> dict[str, Expected]:
    """By the file's path in its collection."""
    with (HERE / f"{collection}.toml").open("rb") as file:
        return {name: Expected(**fields) for name, fields in tomllib.load(file).items()}


def directory(collection: str) -> Path:
    """Raises ServerUnavailable."""
    found = cache_directory() / f"binlogs-{collection}"
    if not (found / "MANIFEST").exists():
        kind = "mysql" if collection.startswith("mysql") else "mariadb"
        raise ServerUnavailable(f"there are no saved binlogs of {collection}: run tools/binlogs.sh {kind}")
    return found


def ours(path: Path) -> Reading:
    with path.open("rb") as file:
        return read(files.events(file), path.name)


def agreement(path: Path, reading: Reading) -> dict[str, int]:
    """Raises AssertionError where another reader has another row in the place of one of ours."""
    found: dict[str, int] = {}
    for name, kind in _TOOLS.items():
        found[name] = _equal(name, printed(sql_programs(kind).binlog, str(path)), as_printed(reading.rows))
    with path.open("rb") as file:
        theirs, _ = given_by_file(_to_the_end(file))
    drops = any(kind in UNKNOWN_TO_IT for kind in reading.events)
    found["mysql-replication"] = _equal("mysql-replication", theirs, as_given(reading.rows), drops=drops)
    return {name: rows for name, rows in found.items() if rows}


def _equal(name: str, theirs: Sequence[Any], mine: Sequence[Any], *, drops: bool = False) -> int:
    """How many rows both have; `drops`: up to the first that the other one has passed over."""
    for number, (their, my) in enumerate(zip(theirs, mine, strict=False)):
        if their != my and drops:
            return number
        assert their == my, f"row {number} by {name}: {their}, and ours: {my}"
    return min(len(theirs), len(mine))


def _to_the_end(file: Any) -> list[bytes]:
    """Events up to where the file stops being one."""
    found: list[bytes] = []
    with contextlib.suppress(CorruptedLog, UnsupportedChange):
        found.extend(files.events(file))
    return found


def _write(collection: str) -> None:
    lines = ["# Written by `python -m tests.conformance.binlogs.saved`, which see.\n"]
    root = directory(collection)
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name in ("MANIFEST", "SUMS"):
            continue
        reading = ours(path)
        agree = ", ".join(f"{tool} = {rows}" for tool, rows in agreement(path, reading).items())
        lines.append(
            f'\n["{path.relative_to(root)}"]\n'
            f"transactions = {reading.transactions}\nrows = {len(reading.rows)}\nstatements = {reading.statements}\n"
            f"refused = '''{reading.refused}'''\nagree = {{{agree}}}\n"
        )
    (HERE / f"{collection}.toml").write_text("".join(lines))


if __name__ == "__main__":
    for each in COLLECTIONS:
        _write(each)
