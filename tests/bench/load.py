"""The rows that benchmarks use: text that does not repeat itself, and a vector of random numbers."""

from __future__ import annotations

import random
import time
from array import array

from tests.servers.model import SqlDatabase, SqlServer
from tests.system.schema import create_tables

DATASETS = 8
BROKER_JAVA = (
    *("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
    *("-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"),
)
"""As Kafka's own script starts a broker. The tests' brokers have half the memory, and collect garbage all the time when
records come as fast as here."""
WARM_UP = 5
"""Rounds that are not counted: a broker spends more on compiling itself than on its work for half a million records."""
WORDS = [
    "".join(random.Random(n).choices("abcdefghijklmnopqrstuvwxyz", k=random.Random(n).randint(3, 9)))
    for n in range(4000)
]


def text(rng: random.Random, chars: int = 500) -> str:
    words: list[str] = []
    size = 0
    while size < chars:
        words.append(rng.choice(WORDS))
        size += len(words[-1]) + 1
    return " ".join(words)


def yardstick() -> str:
    """How fast this machine is just now, in something that depends on nothing else: rates measured where it says the
    same can be compared."""
    best = 0.0
    for _ in range(5):
        began, n = time.perf_counter(), 0
        for i in range(1_000_000):
            n += i
        best = max(best, 1 / (time.perf_counter() - began))
    return f"this machine, just now: {best:.1f} million additions a second in a loop of Python"


def prepare(server: SqlServer, name: str) -> SqlDatabase:
    """A database with the tables and eight datasets, and no documents yet."""
    server.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    database = SqlDatabase(server, name)
    create_tables(database)
    database.execute("INSERT INTO vec_dataset (dataset_id) VALUES " + ",".join(f"('d{i}')" for i in range(DATASETS)))
    return database


def insert(database: SqlDatabase, rows: int, dims: int = 384, transaction: int = 500) -> None:
    """That many documents of about 2.1 KB (384-d), in transactions of that many rows."""
    rng = random.Random(7)
    # Vectors that can be searched (random bytes are mostly no numbers), drawn from a pool: making one takes long.
    pool = [array("f", [rng.gauss(0, 1) for _ in range(dims)]).tobytes() for _ in range(500)]
    connection = database.connect(autocommit=False)
    with connection, connection.cursor() as cursor:
        for start in range(0, rows, transaction):
            cursor.executemany(
                "INSERT INTO shadow_vec_docs (dataset_id, id, content, meta, embedding, embedding_model, scn) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [
                    (f"d{n % DATASETS}", f"document/{n}", text(rng), '{"path": "a/b.md"}', pool[n % len(pool)], "m", n)
                    for n in range(start, min(start + transaction, rows))
                ],
            )
            connection.commit()
