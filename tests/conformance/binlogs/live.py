"""One stretch of a live server's binlog by three readers: ours, mysql-replication, and the program of that server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from connector.source.binlog.connection import dump_from_position
from tests.conformance.binlogs import library, printed
from tests.conformance.binlogs.reading import Everything, Reading, read
from tests.servers.model import SqlDatabase, SqlServer
from tests.servers.programs import sql_programs

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """equal: rows that another reader has too, in the same places, each equal to ours. stopped: what ended it.
    other: it had another row, or none, in the place of one of ours."""

    equal: int
    stopped: str = ""
    other: str = ""


def head(server: SqlServer) -> Place:
    show = "SHOW MASTER STATUS" if server.kind == "mariadb" else "SHOW BINARY LOG STATUS"
    file, position, *_ = server.query(show)[0]
    return file, position


def by_ours(database: SqlDatabase, start: Place, end: Place) -> Reading:
    follows = Everything(lambda db, _table: db == database.name)
    connection = database.server.connect()
    stream = dump_from_position(connection, server_id=4713, file=start[0], position=start[1], heartbeat_s=1)
    with closing(stream):
        return read(iter(lambda: stream.read_event(20), None), start[0], follows, until=end)


def by_library(database: SqlDatabase, start: Place, mine: Reading) -> Verdict:
    server = database.server
    access = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    reader = BinLogStreamReader(
        connection_settings=access,
        server_id=4714,
        log_file=start[0],
        log_pos=start[1],
        resume_stream=True,
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent],
        only_schemas=[database.name],
        enable_logging=False,
    )
    theirs: list[library.Given] = []
    stopped = ""
    try:
        for event in reader:
            theirs += library.given(event)
    except Exception as error:
        stopped = f"{type(error).__name__}: {error}"
    finally:
        reader.close()
    return _verdict(theirs, library.as_given(mine.rows), stopped)


def by_tool(database: SqlDatabase, start: Place, mine: Reading) -> Verdict:
    server = database.server
    where = [f"--host={server.host}", f"--port={server.port}", f"--user={server.user}", f"--password={server.password}"]
    arguments = ["--read-from-remote-server", *where, f"--start-position={start[1]}", "--to-last-log", start[0]]
    program = sql_programs(server.kind).binlog
    theirs = [row for row in printed.printed(program, *arguments) if row.table.startswith(f"{database.name}.")]
    return _verdict(theirs, printed.as_printed(mine.rows), "")


def _verdict(theirs: list[Any], mine: list[Any], stopped: str) -> Verdict:
    for number, (their, my) in enumerate(zip(theirs, mine, strict=False)):
        if their != my:
            return Verdict(number, stopped, _difference(their, my))
    equal = min(len(theirs), len(mine))
    other = f"{len(theirs)} rows, and ours {len(mine)}" if len(theirs) != len(mine) else ""
    return Verdict(equal, stopped, other)


def _difference(their: Any, my: Any) -> str:
    """The first cell that is not the same, shortened."""
    for image in ("before", "after"):
        them, us = _in_order(getattr(their, image)), _in_order(getattr(my, image))
        for column, (one, other) in enumerate(zip(them, us, strict=False), 1):
            if one != other:
                return f"column {column} {image} is {one!r:.200}, and ours {other!r:.200}"
    return f"{their!r:.200}, and ours {my!r:.200}"


def _in_order(cells: Any) -> Sequence[Any]:
    return list(cells.values()) if isinstance(cells, dict) else cells or ()
