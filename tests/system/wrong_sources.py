"""Sources that are set wrongly, each in one way, and what `vecsync source check` prints about them.

`python -m tests.system.wrong_sources` looks at them all and writes docs/reference/source-check.md.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from connector.settings import Settings, SourceSettings
from connector.upstream.findings import Finding
from connector.upstream.install import install
from connector.upstream.preflight import look
from tests.servers.local_sql import local_sql_server
from tests.servers.model import Options, SqlKind, SqlServer
from tests.system.site import SiteHere

PAGE = Path(__file__).parents[2] / "docs/reference/source-check.md"
_DATABASE = "app"
_BOTH: tuple[SqlKind, ...] = ("mysql", "mariadb")
_NAMES: Mapping[SqlKind, str] = {"mysql": "MySQL", "mariadb": "MariaDB"}

# One server of each kind serves all scenes but those that say otherwise. What it is set to from the start counts only
# once it is told to be a replica; the annotations that MariaDB writes unless told otherwise are a scene of their own.
COMMON: Mapping[SqlKind, Options] = {
    "mysql": {"log_replica_updates": "OFF", "replica_preserve_commit_order": "OFF", "replica_parallel_workers": 4},
    "mariadb": {"log_slave_updates": "OFF", "binlog_annotate_row_events": "OFF"},
}


@dataclass(frozen=True, slots=True)
class Scene:
    """wrong: statements that make the source wrong, in its database; those of `only` too, by kind of server. after:
    statements that make right what no printed statement does. options: of a server of its own. by_hand: codes that
    what is printed does not mend: it needs a restart, a decision or another setting of ours."""

    name: str
    kinds: tuple[SqlKind, ...] = _BOTH
    wrong: Sequence[str] = ()
    only: Mapping[SqlKind, Sequence[str]] = field(default_factory=dict)
    after: Mapping[SqlKind, Sequence[str]] = field(default_factory=dict)
    options: Mapping[SqlKind, Options] | None = None
    installed: bool = True
    user: str = ""
    settings: Mapping[str, int | str] = field(default_factory=dict)
    exit: int = 4
    by_hand: frozenset[str] = frozenset()


_NO_BINLOG: Options = {"log_bin": None, "skip_log_bin": "", "gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"}
_DATASETS = "CREATE TABLE vec_dataset (dataset_id VARCHAR(191){} PRIMARY KEY, description TEXT, source_uri TEXT)"
_DOCUMENTS = (
    "CREATE TABLE shadow_vec_docs (dataset_id VARCHAR(191){0} NOT NULL, id VARCHAR(191){0} NOT NULL, content TEXT,"
    " meta TEXT, embedding BLOB, embedding_model TEXT, scn BIGINT, archived TINYINT, PRIMARY KEY (dataset_id, id){1})"
)
_REFERS = ", FOREIGN KEY (dataset_id) REFERENCES vec_dataset (dataset_id) ON DELETE CASCADE"
_ANY_CASE = " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"

SCENES = (
    Scene("A source that is set up right", exit=0),
    Scene(
        "No binlog",
        kinds=("mysql",),
        options={"mysql": _NO_BINLOG},
        by_hand=frozenset({"log_bin"}),
    ),
    Scene("Statements in the binlog instead of rows", wrong=["SET GLOBAL binlog_format = 'STATEMENT'"]),
    Scene("Only the columns that changed", wrong=["SET GLOBAL binlog_row_image = 'MINIMAL'"]),
    Scene(
        "Rows without the names of their columns",
        only={
            "mysql": ["SET GLOBAL binlog_row_metadata = 'MINIMAL'"],
            "mariadb": ["SET GLOBAL binlog_row_metadata = 'NO_LOG'"],
        },
    ),
    Scene("JSON columns in part", kinds=("mysql",), wrong=["SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'"]),
    Scene(
        "No GTIDs",
        kinds=("mysql",),
        wrong=[
            *(f"SET GLOBAL gtid_mode = {mode}" for mode in ("ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF")),
            "SET GLOBAL enforce_gtid_consistency = OFF",
        ],
    ),
    Scene("Binlogs that are soon gone", wrong=["SET GLOBAL binlog_expire_logs_seconds = 3600"], exit=0),
    Scene(
        "A binlog that leaves the database out",
        kinds=("mariadb",),
        options={"mariadb": {"binlog_ignore_db": _DATABASE, **COMMON["mariadb"]}},
        by_hand=frozenset({"binlog_filter"}),
    ),
    Scene("No checksums", wrong=["SET GLOBAL binlog_checksum = NONE"], exit=0),
    Scene("Statements beside rows", kinds=("mariadb",), wrong=["SET GLOBAL binlog_annotate_row_events = ON"], exit=0),
    Scene(
        "Compressed events, and a reader that passes over them",
        only={
            "mysql": ["SET GLOBAL binlog_transaction_compression = ON"],
            "mariadb": ["SET GLOBAL log_bin_compress = ON"],
        },
        settings={"reader": "mysql-replication"},
    ),
    Scene("A server without an id", kinds=("mysql",), wrong=["SET GLOBAL server_id = 0"]),
    Scene(
        "A server id that is taken",
        wrong=["SET GLOBAL server_id = 7"],
        settings={"server_id": 7},
        by_hand=frozenset({"reader_server_id"}),
    ),
    Scene(
        "A replica that does not log what it receives",
        only={
            "mysql": ["CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'x'"],
            "mariadb": ["CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'x'"],
        },
        after={"mysql": ["STOP REPLICA", "RESET REPLICA ALL"], "mariadb": ["STOP SLAVE", "RESET SLAVE ALL"]},
        by_hand=frozenset({"log_replica_updates"}),
    ),
    Scene(
        "An account that lacks privileges",
        wrong=[
            "CREATE USER 'vecsync_capture'@'%' IDENTIFIED BY 'vecsync-tests'",
            f"GRANT INSERT, TRIGGER ON {_DATABASE}.* TO 'vecsync_capture'@'%'",
        ],
        after={kind: ["DROP USER 'vecsync_capture'@'%'"] for kind in _BOTH},
        user="vecsync_capture",
    ),
    Scene("No tables", kinds=("mysql",), installed=False, by_hand=frozenset({"table_missing"})),
    Scene(
        "A table that cannot be followed",
        kinds=("mysql",),
        installed=False,
        wrong=[
            _DATASETS.format(""),
            "CREATE TABLE shadow_vec_docs (dataset_id VARCHAR(191) COLLATE utf8mb4_bin, id BINARY(16), content BLOB,"
            " meta BLOB, embedding TEXT, scn VARCHAR(9), archived VARCHAR(9), created_at BIGINT, owner INT,"
            " PRIMARY KEY (dataset_id, id)) ENGINE = MyISAM",
        ],
        by_hand=frozenset({"column_missing", "column_type", "extra_columns", "no_triggers", "no_cascade"}),
    ),
    Scene(
        "A table without its key, triggers and foreign key",
        kinds=("mysql",),
        installed=False,
        wrong=[
            _DATASETS.format(" COLLATE utf8mb4_bin"),
            _DOCUMENTS.format(" COLLATE utf8mb4_bin", "").replace(", PRIMARY KEY (dataset_id, id)", ""),
        ],
        by_hand=frozenset({"no_triggers", "no_cascade"}),
    ),
    Scene(
        "A foreign key that renames documents",
        kinds=("mysql",),
        installed=False,
        wrong=[
            _DATASETS.format(" COLLATE utf8mb4_bin"),
            _DOCUMENTS.format(" COLLATE utf8mb4_bin", f"{_REFERS} ON UPDATE CASCADE"),
        ],
        exit=0,
        by_hand=frozenset({"no_triggers", "renames"}),
    ),
    Scene(
        "Ids that differ only by case",
        installed=False,
        wrong=[
            _DATASETS.format(_ANY_CASE),
            _DOCUMENTS.format(_ANY_CASE, _REFERS),
            "INSERT INTO vec_dataset (dataset_id) VALUES ('rootA')",
            "INSERT INTO shadow_vec_docs (dataset_id, id) VALUES ('rootA', '1'), ('roota', '2')",
        ],
        by_hand=frozenset({"collation", "twins", "no_triggers"}),
    ),
    Scene(
        "Columns that a reader does not read exactly",
        kinds=("mysql",),
        wrong=[
            "ALTER TABLE shadow_vec_docs MODIFY meta JSON, MODIFY embedding VECTOR(384),"
            " MODIFY content TEXT CHARACTER SET latin1"
        ],
        settings={"reader": "mysql-replication"},
        by_hand=frozenset({"mysql_replication"}),
    ),
)


@dataclass(frozen=True, slots=True)
class Look:
    """printed: by the command, without what differs from one machine to the next. left: codes of what is still found
    after every printed statement was run."""

    printed: str
    exit: int
    left: frozenset[str]


@contextmanager
def server_of(kind: SqlKind, scene: Scene | None = None) -> Iterator[SqlServer]:
    """The one that serves most scenes, or that of a scene with options of its own."""
    options = COMMON[kind] if scene is None or scene.options is None else scene.options[kind]
    with local_sql_server(kind, options) as server:
        yield server


def look_at(scene: Scene, server: SqlServer, directory: Path) -> Look:
    """Makes the source wrong, checks it, runs what is printed, looks again, and makes it right."""
    kind = server.kind
    url, secret = f"mysql://{scene.user or server.user}@{server.host}:{server.port}/{_DATABASE}", server.password
    server.query(f"DROP DATABASE IF EXISTS {_DATABASE}")
    server.query(f"CREATE DATABASE {_DATABASE} CHARACTER SET utf8mb4")
    if scene.installed:
        install(SourceSettings.model_validate({"url": server.url(_DATABASE), "password": secret}))
    try:
        for statement in (*scene.wrong, *scene.only.get(kind, ())):
            server.query(statement, database=_DATABASE)
        section = {"kind": "mysql", "url": url, **scene.settings}
        directory.mkdir()
        done = SiteHere(directory, {"source": section}, secret=secret).run("source", "check", code=scene.exit)
        settings = Settings(source=SourceSettings.model_validate(section | {"password": secret}))
        for finding in look(settings):
            _mend(finding, server)
        left = frozenset(finding.code for finding in look(settings))
    finally:
        for statement in scene.after.get(kind, ()):
            server.query(statement)
    printed = (done.stdout + done.stderr).replace(f"{server.host}:{server.port}", "127.0.0.1:3306")
    return Look(printed.rstrip("\n"), done.returncode, left)


def _mend(finding: Finding, server: SqlServer) -> None:
    lines = [line for line in finding.mend_sql.splitlines() if not line.startswith("--")]
    for statement in "\n".join(lines).split(";"):
        if statement.strip() and not statement.strip().startswith("SELECT"):
            server.query(statement, database=_DATABASE)


def section(scene: Scene, kind: SqlKind, look: Look) -> str:
    """What the page says of a scene on one server."""
    prompt = "$ vecsync source check\n"
    after = f"\n$ echo $?\n{look.exit}" if look.exit else ""
    return f"**{_NAMES[kind]}**\n\n```console\n{prompt}{look.printed}{after}\n```\n"


def sections(page: str) -> Iterator[tuple[str, str]]:
    """(heading, text) of a page that was written."""
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        yield heading, text


_HEAD = """# What `vecsync source check` finds

<!-- Made by `python -m tests.system.wrong_sources`; changes belong into the program. -->

Real output about servers that were set wrongly on purpose, each in one way; only addresses were replaced. A finding is
its severity and code, what was found and what that could lose, and what to run. Capture makes the same check when it
starts. An `error` keeps it from starting (exit 4); a `warning` works today and may not tomorrow; `info` loses nothing.
What a session sets for itself cannot be seen from here: capture looks for it in every event, and stops there
([exit 7](../operations.md#exit-7)).

The checks were made by an account that may see everything. One with the [least privileges](../guide.md) may not see
triggers, and is told so. Lines that begin with `--` are no SQL.
"""


def page(found: Mapping[tuple[str, SqlKind], Look]) -> str:
    """What was not looked at is left out."""
    parts = [_HEAD]
    for scene in SCENES:
        parts.append(f"## {scene.name}\n")
        parts += [section(scene, kind, found[scene.name, kind]) for kind in scene.kinds if (scene.name, kind) in found]
    return "\n".join(parts)


def main() -> None:
    found: dict[tuple[str, SqlKind], Look] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        common = {kind: ending.enter_context(server_of(kind)) for kind in _BOTH}
        for number, scene in enumerate(SCENES):
            for kind in scene.kinds:
                directory = Path(name, f"{number}-{kind}")
                if scene.options is None:
                    found[scene.name, kind] = look_at(scene, common[kind], directory)
                    continue
                with server_of(kind, scene) as server:
                    found[scene.name, kind] = look_at(scene, server, directory)
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
