"""A random workload of everything an application can do to its documents, in concurrent sessions.

Deterministic in what each session tries (by seed), not in how the sessions interleave: that is the server's doing.
"""

from __future__ import annotations

import json
import random
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pymysql

from tests.servers.model import SqlServer

DATASETS = [
    "plain",
    "with space",
    "dots.and/slashes",
    "ünïcode",
    "emoji 🦆🐘",
    "quote'\"`",
    "percent%20",
    "a" * 191,
    "back\\slash",
    "trailing.",
    "-dash",
    "日本語",
]
DIMS = 8
RETRY = {1205, 1213, 1020, 1452}  # lock wait, deadlock, changed since read, dataset deleted meanwhile


def embedding(rng: random.Random, dims: int = DIMS) -> bytes:
    return struct.pack(f"<{dims}f", *(rng.uniform(-1, 1) for _ in range(dims)))


@dataclass(slots=True)
class Tally:
    """Rows changed by committed transactions, by what was done."""

    done: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, rows: int) -> None:
        with self.lock:
            self.done[what] = self.done.get(what, 0) + rows

    @property
    def total(self) -> int:
        with self.lock:
            return sum(self.done.values())


class Session:
    """One connection doing random transactions."""

    def __init__(self, server: SqlServer, database: str, seed: int, tally: Tally, *, id_only: bool = False) -> None:
        self.rng = random.Random(seed)
        self.tally = tally
        self.id_only = id_only  # the table's primary key is (id): ids are unique over all datasets
        self.connection = server.connect(database=database, autocommit=False)
        self.number = 0
        self.pending: dict[str, int] = {}

    def run(self, goal: Callable[[], bool]) -> None:
        """Until goal() is true."""
        try:
            while not goal():
                self.transaction()
        finally:
            self.connection.close()

    def dataset(self) -> str:
        return self.rng.choice(DATASETS)

    def id(self) -> str:
        kind = self.rng.choice(["doc-", "päge/", "x y #", "🦆", "bulk-", "renamed-"])
        return kind + str(self.rng.randrange(20))

    def execute(self, sql: str, *args: Any) -> int:
        with self.connection.cursor() as cursor:
            return cursor.execute(sql, args)

    def transaction(self) -> None:
        self.pending = {}
        try:
            for _ in range(self.rng.choice([1, 1, 1, 2, 3, 8])):
                self.step()
            if self.rng.random() < 0.08:
                self.connection.rollback()
                return
            self.connection.commit()
        except pymysql.err.MySQLError as error:
            if error.args[0] not in RETRY and not isinstance(error, pymysql.err.IntegrityError):
                raise
            self.connection.rollback()
            return
        for what, rows in self.pending.items():
            self.tally.add(what, rows)

    def did(self, what: str, rows: int) -> None:
        self.pending[what] = self.pending.get(what, 0) + rows

    def values(self, dataset: str, id: str) -> list[Any]:
        rng = self.rng
        self.number += 1
        vector = rng.choice([embedding(rng)] * 8 + [b"", embedding(rng, 4), b"1234567"])
        words = " ".join(rng.choice(["binlog", "vector", "duck", "ocean", "café", "東京", "O'Brien"]) for _ in range(6))
        return [
            dataset,
            id,
            rng.choice([f"{words} {self.number}"] * 9 + [None]),
            rng.choice([json.dumps({"n": self.number, "t": "ä"}), None, ""]),
            vector,
            "test-model",
            self.number,
            0,
        ]

    COLUMNS = "dataset_id, id, content, meta, embedding, embedding_model, scn, archived"

    def step(self) -> None:
        weights = {
            self.upsert: 40,
            self.insert_many: 6,
            self.update_some: 15,
            self.delete_one: 12,
            self.delete_many: 2,
            self.replace: 6,
            self.archive: 6,
            self.change_id: 4,
            self.change_dataset: 4,
            self.savepoint: 3,
            self.dataset_row: 2,
            self.delete_dataset: 0.15,
            self.truncate: 0.01,
        }
        action = self.rng.choices(list(weights), list(weights.values()))[0]
        action()

    def name(self, dataset: str, id: str) -> str:
        return f"{DATASETS.index(dataset)}:{id}" if self.id_only else id

    def pick(self) -> tuple[str, str]:
        dataset = self.dataset()
        return dataset, self.name(dataset, self.id())

    def upsert(self) -> None:
        rows = self.execute(
            f"INSERT INTO shadow_vec_docs ({self.COLUMNS}) VALUES (%s,%s,%s,%s,%s,%s,%s,%s) ON DUPLICATE KEY UPDATE "
            "content=VALUES(content), meta=VALUES(meta), embedding=VALUES(embedding), scn=VALUES(scn), "
            "archived=VALUES(archived)",
            *self.values(*self.pick()),
        )
        self.did("upsert", min(rows, 1))

    def insert_many(self) -> None:
        dataset, count = self.dataset(), self.rng.randrange(2, 30)
        rows = [self.values(dataset, self.name(dataset, f"bulk-{self.rng.randrange(200)}")) for _ in range(count)]
        marks = ",".join(["(%s,%s,%s,%s,%s,%s,%s,%s)"] * count)
        changed = self.execute(
            f"INSERT IGNORE INTO shadow_vec_docs ({self.COLUMNS}) VALUES {marks}", *[v for row in rows for v in row]
        )
        self.did("insert many", changed)

    def update_some(self) -> None:
        dataset, _ = self.pick()
        rows = self.execute(
            "UPDATE shadow_vec_docs SET content = CONCAT(COALESCE(content,''), ' +'), scn = scn + 1 "
            "WHERE dataset_id = %s AND id LIKE %s LIMIT 5",
            dataset,
            f"%{self.rng.randrange(10)}",
        )
        self.did("update", rows)

    def delete_one(self) -> None:
        self.did("delete", self.execute("DELETE FROM shadow_vec_docs WHERE dataset_id = %s AND id = %s", *self.pick()))

    def delete_many(self) -> None:
        dataset, _ = self.pick()
        like = f"%bulk-{self.rng.randrange(4)}%"
        rows = self.execute("DELETE FROM shadow_vec_docs WHERE dataset_id = %s AND id LIKE %s", dataset, like)
        self.did("delete many", rows)

    def replace(self) -> None:
        self.execute(
            f"REPLACE INTO shadow_vec_docs ({self.COLUMNS}) VALUES (%s,%s,%s,%s,%s,%s,%s,%s)",
            *self.values(*self.pick()),
        )
        self.did("replace", 1)

    def archive(self) -> None:
        rows = self.execute(
            "UPDATE shadow_vec_docs SET archived = 1 - archived, scn = scn + 1 WHERE dataset_id = %s AND id = %s",
            *self.pick(),
        )
        self.did("archive", rows)

    def change_id(self) -> None:
        dataset, id = self.pick()
        new = self.name(dataset, f"renamed-{self.rng.randrange(20)}")
        rows = self.execute("UPDATE shadow_vec_docs SET id = %s WHERE dataset_id = %s AND id = %s", new, dataset, id)
        self.did("change id", rows)

    def change_dataset(self) -> None:
        dataset, id = self.pick()
        rows = self.execute(
            "UPDATE shadow_vec_docs SET dataset_id = %s WHERE dataset_id = %s AND id = %s", self.dataset(), dataset, id
        )
        self.did("change dataset", rows)

    def savepoint(self) -> None:
        kept = dict(self.pending)
        self.execute("SAVEPOINT s")
        self.upsert()
        self.delete_one()
        if self.rng.random() < 0.7:
            self.execute("ROLLBACK TO SAVEPOINT s")
            self.pending = kept
        else:
            self.execute("RELEASE SAVEPOINT s")

    def dataset_row(self) -> None:
        self.number += 1
        rows = self.execute(
            "INSERT INTO vec_dataset (dataset_id, description) VALUES (%s, %s) "
            "ON DUPLICATE KEY UPDATE description = VALUES(description)",
            self.dataset(),
            f"description {self.number} 🦆",
        )
        self.did("dataset", min(rows, 1))

    def delete_dataset(self) -> None:
        dataset = self.dataset()
        rows = self.execute("DELETE FROM vec_dataset WHERE dataset_id = %s", dataset)
        self.did("delete dataset", rows)
        if self.rng.random() < 0.7:
            self.execute("INSERT IGNORE INTO vec_dataset (dataset_id, description) VALUES (%s, 'again')", dataset)

    def truncate(self) -> None:
        self.execute("TRUNCATE TABLE shadow_vec_docs")  # commits what came before it in this transaction
        self.did("truncate", 1)


def create_datasets(server: SqlServer, database: str) -> None:
    connection = server.connect(database=database)
    with connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT IGNORE INTO vec_dataset (dataset_id, description) VALUES (%s, %s)",
            [(name, f"dataset {number}") for number, name in enumerate(DATASETS)],
        )


def run_sessions(
    server: SqlServer,
    database: str,
    *,
    changes: int,
    sessions: int,
    seed: int,
    id_only: bool = False,
    rows_per_s: float = float("inf"),
    keep_on: Callable[[], bool] = lambda: False,
    kind: type[Session] = Session,
) -> Tally:
    """Runs until at least that many rows were changed by committed transactions, no faster than said, and as long as
    `keep_on` says. Raises what any session raised."""
    tally = Tally()
    begin = time.monotonic()
    errors: list[BaseException] = []

    def enough(total: int) -> bool:
        ahead_s = total / rows_per_s - (time.monotonic() - begin)
        if ahead_s > 0:
            time.sleep(ahead_s)
        return (total >= changes and not keep_on()) or bool(errors)

    def work(number: int) -> None:
        try:
            session = kind(server, database, seed * 1000 + number, tally, id_only=id_only)
            session.run(lambda: enough(tally.total))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return tally
