"""Makes the captured binlogs in `data/` anew: `python -m tests.unit.binlog.capture`, with the servers installed."""

from __future__ import annotations

from pathlib import Path

from tests.servers.local_sql import local_sql_server
from tests.servers.model import SqlKind
from tests.unit.binlog.listing import DATA, SERVERS, listing


def capture(kind: SqlKind) -> None:
    with local_sql_server(kind, {"server_id": 7}) as server:
        server.query("CREATE DATABASE app CHARACTER SET utf8mb4")
        server.query("RESET MASTER" if kind == "mariadb" else "RESET BINARY LOGS AND GTIDS")
        connection = server.connect(database="app")
        with connection.cursor() as cursor:
            for statement in (DATA / f"{kind}.sql").read_text().splitlines():
                cursor.execute(statement)
        connection.close()
        server.query("FLUSH LOGS" if kind == "mariadb" else "FLUSH BINARY LOGS")
        name = server.query("SHOW BINARY LOGS")[0][0]
        written = Path(server.process.directory) / "data" / name
        (DATA / f"{kind}.binlog").write_bytes(written.read_bytes())
    (DATA / f"{kind}.txt").write_text(listing(DATA / f"{kind}.binlog"))


if __name__ == "__main__":
    for server_kind in SERVERS:
        capture(server_kind)  # type: ignore[arg-type]
