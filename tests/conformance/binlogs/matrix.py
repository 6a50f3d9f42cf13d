"""What each reader makes of each kind of event, on live servers. `python -m tests.conformance.binlogs.matrix` runs it
all and writes docs/conformance.md."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from connector.source.binlog.events import HARMLESS, type_name
from connector.source.binlog.events import EventType as T
from tests.conformance.binlogs.live import Verdict, by_library, by_ours, by_tool, head
from tests.conformance.binlogs.reading import Reading
from tests.conformance.binlogs.saved import COLLECTIONS, expectations
from tests.integration.test_binlog_live import _COLUMNS
from tests.servers.fix_sql import fresh_database
from tests.servers.local_sql import local_sql_server
from tests.servers.model import Options, SqlKind, SqlServer

PAGE = Path(__file__).parents[3] / "docs/conformance.md"

_KINDS: tuple[SqlKind, ...] = ("mariadb", "mysql")
_TABLE = "CREATE TABLE a (id INT PRIMARY KEY, x LONGTEXT, n INT)"
_DOCUMENTS = [f"({number}, REPEAT('text {number} é ', {number % 60}), {number * 7})" for number in range(300)]
_SOME_ROWS = (
    f"INSERT INTO a VALUES {', '.join(_DOCUMENTS)}",
    "UPDATE a SET x = CONCAT(x, '!') WHERE id % 2",
    "UPDATE a SET id = id + 1000 WHERE id % 5 = 0",
    "DELETE FROM a WHERE id % 3 = 0",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is done in one session, and which reader falls short in it, why; all others have every row of ours.

    options: of a server of its own. refused: words of the error at which ours stops, and has to.
    """

    name: str
    statements: Sequence[str]
    before: Sequence[str] = (_TABLE,)
    kinds: tuple[SqlKind, ...] = _KINDS
    options: Options | None = None
    refused: str = ""
    library: str = ""
    tool: str = ""


def _of_columns(name: str, only: Callable[[str], bool], library: str = "", tool: str = "") -> Scene:
    columns = {column: spec for column, spec in _COLUMNS.items() if only(column)}
    kinds = ", ".join(f"{column} {kind}" for column, (kind, _, _) in columns.items())
    statements = ["SET sql_mode = '', time_zone = '+00:00'"]
    for at in range(max(len(values) for _, _, values in columns.values())):
        given = {column: values[at] for column, (_, _, values) in columns.items() if at < len(values)}
        statements.append(f"INSERT INTO a (k, {', '.join(given)}) VALUES ({at}, {', '.join(given.values())})")
    statements += ["INSERT INTO a (k) VALUES (100)", "UPDATE a SET k = k + 1000", "DELETE FROM a"]
    table = f"CREATE TABLE a (k INT PRIMARY KEY, {kinds})"
    return Scene(name.format(len(columns)), statements, before=(table,), library=library, tool=tool)


# Columns that one of the others cannot read: in scenes of their own.
_WIDE, _TIMES, _GEOMETRY, _LATIN1 = {"u2", "u16", "u32"}, {"ti1", "ti3", "ti4", "ti6"}, {"g"}, {"l1", "el"}
_APART = _WIDE | _TIMES | _GEOMETRY | _LATIN1
_DROPS, _MISSING = "passes over what is compressed", "gives NULL for what is missing"


SCENES = [
    Scene("insert, update, delete", _SOME_ROWS),
    Scene(
        "a transaction of several statements, with savepoints",
        ["BEGIN", *_SOME_ROWS[:2], "SAVEPOINT s", _SOME_ROWS[3], "ROLLBACK TO s", *_SOME_ROWS[2:], "COMMIT"],
    ),
    Scene("a transaction that is rolled back", ["BEGIN", *_SOME_ROWS, "ROLLBACK"]),
    Scene(
        "REPLACE, INSERT ... ON DUPLICATE KEY UPDATE",
        [
            *_SOME_ROWS[:1],
            "REPLACE INTO a SELECT id, 'r', 1 FROM a WHERE id % 2",
            "INSERT INTO a SELECT id, 'd', 2 FROM a b ON DUPLICATE KEY UPDATE n = a.n + 1",
        ],
    ),
    Scene(
        "XA PREPARE and XA COMMIT", ["XA START 'x'", *_SOME_ROWS[:2], "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'"]
    ),
    Scene(
        "ALTER between rows",
        [
            _SOME_ROWS[0],
            "ALTER TABLE a ADD COLUMN m INT FIRST, DROP COLUMN n",
            "UPDATE a SET m = 5",
            "ALTER TABLE a MODIFY x TEXT CHARACTER SET latin1",
            "UPDATE a SET x = 'é' WHERE id < 9",
        ],
    ),
    Scene("rows over 16 MiB", ["INSERT INTO a VALUES (1, REPEAT('0123456789abcdef', 1200000), 1)", "DELETE FROM a"]),
    Scene("rotation in the middle", [_SOME_ROWS[0], "FLUSH BINARY LOGS", _SOME_ROWS[1]]),
    _of_columns("{} columns of other types", lambda column: column not in _APART),
    _of_columns("TIME with a fraction", _TIMES.__contains__, library="wrong where it is negative"),
    _of_columns("GEOMETRY", _GEOMETRY.__contains__, tool="does not print the type"),
    _of_columns("latin1", _LATIN1.__contains__, library="loses members, stops at bytes that Windows-1252 lacks"),
    _of_columns("ucs2, utf16, utf32", _WIDE.__contains__, library="stops at utf32"),
    Scene("binlog_checksum=NONE", _SOME_ROWS, options={"binlog_checksum": "NONE"}),
    Scene("log_bin_compress=ON", _SOME_ROWS, kinds=("mariadb",), options={"log_bin_compress": "ON"}, library=_DROPS),
    Scene(
        "binlog_transaction_compression=ON",
        ["SET binlog_transaction_compression = ON", "BEGIN", *_SOME_ROWS, "COMMIT"],
        kinds=("mysql",),
        library=_DROPS,
    ),
    Scene("tagged GTIDs", ["SET gtid_next = 'AUTOMATIC:app'", *_SOME_ROWS], kinds=("mysql",)),
    Scene(
        "JSON",
        ["""INSERT INTO a VALUES (1, '{"a": [1, 2.5, null, "é"]}')""", "UPDATE a SET j = JSON_SET(j, '$.b', 2)"],
        before=("CREATE TABLE a (id INT PRIMARY KEY, j JSON)",),
    ),
    Scene(
        "VECTOR",
        ["INSERT INTO a VALUES (1, TO_VECTOR('[1,2.5]'), 'x'), (2, NULL, 'y')"],
        before=("CREATE TABLE a (id INT PRIMARY KEY, v VECTOR(2), t TEXT)",),
        kinds=("mysql",),
        library="stops at the table map",
    ),
    Scene(
        "columns COMPRESSED",
        ["INSERT INTO a VALUES (1, REPEAT('é', 5000), REPEAT('x', 200)), (2, NULL, NULL)"],
        before=("CREATE TABLE a (id INT PRIMARY KEY, t TEXT COMPRESSED, v VARCHAR(300) COMPRESSED)",),
        kinds=("mariadb",),
        library="stops at the table map",
        tool="prints the compressed bytes",
    ),
    Scene(
        "UUID, INET6",
        ["INSERT INTO a VALUES (1, '123e4567-e89b-12d3-a456-426655440000', '::1')"],
        before=("CREATE TABLE a (id INT PRIMARY KEY, u UUID, i INET6)",),
        kinds=("mariadb",),
    ),
    Scene(
        "binlog_row_image=MINIMAL",
        ["INSERT INTO a VALUES (1, 'x', 1)", "SET binlog_row_image = MINIMAL", "UPDATE a SET n = 2"],
        refused="without their column",
        library=_MISSING,
        tool="prints the columns that are there",
    ),
    Scene(
        "binlog_row_value_options=PARTIAL_JSON",
        [
            """INSERT INTO a VALUES (1, '{"a": "long enough", "b": 1}')""",
            "SET binlog_row_value_options = PARTIAL_JSON",
            "UPDATE a SET j = JSON_SET(j, '$.b', 2)",
        ],
        before=("CREATE TABLE a (id INT PRIMARY KEY, j JSON)",),
        kinds=("mysql",),
        refused="in part",
        library="stops",
        tool="prints the function that was applied",
    ),
    Scene(
        "binlog_format=STATEMENT",
        ["SET binlog_format = STATEMENT", "INSERT INTO a VALUES (1, 'x', 1)"],
        refused="logged as text",
    ),
]


@dataclass(frozen=True, slots=True)
class Result:
    scene: Scene
    kind: SqlKind
    ours: Reading
    library: Verdict
    tool: Verdict


def run(scene: Scene, server: SqlServer) -> Result:
    with fresh_database(server) as database:
        database.execute(*scene.before)
        start = head(server)
        database.execute(*scene.statements)
        mine = by_ours(database, start, head(server))
        return Result(scene, server.kind, mine, by_library(database, start, mine), by_tool(database, start, mine))


def results(version: Callable[[str], object]) -> Iterator[Result]:
    """Every scene on servers of its own; `version` is told what each server is."""
    for kind in _KINDS:
        with local_sql_server(kind) as shared:
            name = "MariaDB" if kind == "mariadb" else "MySQL"
            version(f"{name} {str(shared.query('SELECT VERSION()')[0][0]).split('-')[0]}")
            for scene in SCENES:
                if kind not in scene.kinds:
                    continue
                if scene.options is None:
                    yield run(scene, shared)
                    continue
                with local_sql_server(kind, scene.options) as own:
                    yield run(scene, own)


def shortcomings(result: Result) -> list[str]:
    """What is not as the scene says: empty, or a defect in one of the readers."""
    scene, mine = result.scene, result.ours
    found: list[str] = []
    if (scene.refused not in mine.refused) or (mine.refused and not scene.refused):
        found.append(f"ours: {mine.refused or 'was not refused'}")
    for reader, verdict, reason in (
        ("mysql-replication", result.library, scene.library),
        ("the server's program", result.tool, scene.tool),
    ):
        if not reason and (verdict.equal != len(mine.rows) or verdict.other or verdict.stopped):
            found.append(f"{reader}: {verdict}")
    return found


def page(found: Sequence[Result], versions: str) -> str:
    rows = sum(len(result.ours.rows) for result in found)
    compared = sum(max(result.library.equal, result.tool.equal) for result in found)
    lines = [
        "# Conformance of the binlog reader",
        "",
        "Written by `python -m tests.conformance.binlogs.matrix` from a run on this project's test servers;",
        "`tests/conformance/test_binlog_matrix.py` runs the same scenes and fails where one turns out otherwise.",
        "",
        f"{versions}. {rows:,} rows decoded, {compared:,} of them by at least one other reader too, value for value.",
        "",
        "## Kinds of events on live servers",
        "",
        "*equal*: that many rows are there, in the same order, each value the same. mysql-replication and the programs",
        "show less than is stored (a FLOAT of six digits, an invalid date as None); values are compared in their form.",
        "",
        "| What is done | Server | Events | Ours | mysql-replication | mariadb-binlog, mysqlbinlog |",
        "|---|---|---|---|---|---|",
    ]
    for result in found:
        scene, mine = result.scene, result.ours
        kinds = sorted({type_name(kind) for kind in mine.events if kind not in _EVERYWHERE})
        own = f"{len(mine.rows):,} rows" + (", then refuses, by name" if scene.refused else "")
        cells = [scene.name, "MariaDB" if result.kind == "mariadb" else "MySQL", ", ".join(kinds), own]
        cells += [_said(result.library, mine, scene.library), _said(result.tool, mine, scene.tool)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Binlog files that others made", "", *_saved()]
    return "\n".join(lines) + "\n"


_EVERYWHERE = {
    T.FORMAT_DESCRIPTION,
    T.ROTATE,
    T.HEARTBEAT,
    T.HEARTBEAT_V2,
    T.STOP,
    T.QUERY,
    T.XID,
    T.TABLE_MAP,
    *HARMLESS,
}


def _said(verdict: Verdict, mine: Reading, reason: str) -> str:
    if verdict.equal == len(mine.rows) and not verdict.other and not verdict.stopped:
        return f"{verdict.equal:,} equal"
    return f"{verdict.equal:,} equal; {reason}"


def _saved() -> Iterator[str]:
    yield "What each file must give is in `tests/conformance/binlogs/*.toml`; the same rows by the others:"
    yield ""
    readers = ("mysql-replication", "mariadb-binlog", "mysqlbinlog")
    yield f"| Collection | Files | Read to the end | Refused, by name | Rows | {' | '.join(readers)} |"
    yield "|---|---|---|---|---|---|---|---|"
    for collection in COLLECTIONS:
        files = expectations(collection).values()
        agree = (f"{sum(file.agree.get(reader, 0) for file in files):,} equal" for reader in readers)
        refused = sum(bool(file.refused) for file in files)
        rows = sum(file.rows for file in files)
        yield f"| {collection} | {len(files)} | {len(files) - refused} | {refused} | {rows:,} | {' | '.join(agree)} |"


def main() -> int:
    versions: list[str] = []
    found: list[Result] = []
    for result in results(versions.append):
        found.append(result)
        for line in shortcomings(result):
            print(f"{result.kind}, {result.scene.name}: {line}", file=sys.stderr)
    PAGE.write_text(page(found, ", ".join(versions)))
    return 1 if any(map(shortcomings, found)) else 0


if __name__ == "__main__":
    sys.exit(main())
