"""Memory of capture, as a process of its own, where the log asks most of it: a transaction of a million rows, and rows
of 16 MB.

    python -m tests.bench.bench_memory [rows] [mariadb|mysql]

What is shown is the most that the process ever had resident (VmHWM), libraries included.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from connector.broker.connect import open_broker
from connector.model import Lane
from connector.topics import table_topics
from tests.bench.bench_capture import settings
from tests.bench.load import DATASETS, prepare, yardstick
from tests.servers.local import LocalProvider
from tests.servers.model import KafkaServer, SqlDatabase, SqlServer
from tests.system.processes import COMMAND, Service, environment, write_config

LARGE, LARGE_BYTES = 100, 16_000_000
PARTITIONS = 8
_PATIENCE_S = 900


def nothing(_database: SqlDatabase, _rows: int) -> None:
    pass


def one_transaction(database: SqlDatabase, rows: int) -> None:
    """Made by the server from its own rows, doubling: 0.5 KB of text each."""
    connection = database.connect(autocommit=False)
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d0', '0', REPEAT('text ', 100))")
        made = 1
        while made < rows:
            more = min(made, rows - made)
            cursor.execute(
                "INSERT INTO shadow_vec_docs (dataset_id, id, content) "
                f"SELECT CONCAT('d', CAST(id AS UNSIGNED) % 8), CAST(id AS UNSIGNED) + {made}, content "
                f"FROM shadow_vec_docs WHERE CAST(id AS UNSIGNED) < {more}"
            )
            made += more
        connection.commit()


def large_rows(database: SqlDatabase, rows: int) -> None:
    for n in range(rows):
        database.execute(
            "INSERT INTO shadow_vec_docs (dataset_id, id, content) "
            f"VALUES ('d{n % DATASETS}', '{n}', REPEAT('x', {LARGE_BYTES}))"
        )


def most_resident(service: Service) -> float:
    """MB, once the process has ended by itself; it is asked until then."""
    process, most = service.process, 0.0
    assert process is not None
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None:
        assert time.monotonic() < deadline, service.tail()
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        most = max([most, *(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.02)
    assert process.returncode == 0, service.tail()
    return most


def measure(
    server: SqlServer,
    kafka: KafkaServer,
    what: str,
    write: Callable[[SqlDatabase, int], None],
    rows: int,
    directory: Path,
) -> None:
    """One line. write: commits that many rows."""
    name = write.__name__
    database = prepare(server, name)
    sections = settings(database, kafka, name).model_dump(mode="json", exclude_unset=True)
    del sections["source"]["password"]
    sections["topics"]["max_message_bytes"] = 2 * LARGE_BYTES
    config = write_config(directory / f"{name}.yaml", sections)
    env = environment(VECSYNC_SOURCE__PASSWORD=server.password)
    arguments = ("capture", "run", "--until-current")
    service = Service(*arguments, config=config, env=env, log=directory / f"{name}.log")
    service.start()
    most_resident(service)  # a position to go on from
    write(database, rows)
    began = time.monotonic()
    service.start()
    most = most_resident(service)
    took = time.monotonic() - began
    admin = open_broker(settings(database, kafka, name)).admin()
    topic = table_topics(name, database.name, "shadow_vec_docs").data
    found = sum(admin.end_offsets([Lane(topic, n) for n in range(PARTITIONS)]).values())
    admin.close()
    assert found == rows, (found, rows)
    print(f"{what:46} {most:5.0f} MB   ({took:.1f} s)", flush=True)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    kind = sys.argv[2] if len(sys.argv) > 2 else "mysql"
    options = {"max_allowed_packet": 64 * 2**20, "max_binlog_size": 2**30}
    provider = LocalProvider()
    with (
        provider.sql(kind, options) as server,  # type: ignore[arg-type]
        provider.kafka(options={"message.max.bytes": 3 * LARGE_BYTES}) as kafka,
        tempfile.TemporaryDirectory() as name,
    ):
        print(yardstick())
        print(f"{kind}: the most memory that `{Path(COMMAND[0]).name} capture run --until-current` had")
        for what, write, count in (
            ("nothing to read", nothing, 0),
            (f"one transaction of {rows:,} rows of 0.5 KB", one_transaction, rows),
            (f"{LARGE} rows of {LARGE_BYTES // 10**6} MB", large_rows, LARGE),
        ):
            measure(server, kafka, what, write, count, Path(name))


if __name__ == "__main__":
    main()
