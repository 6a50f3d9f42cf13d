"""From encoded events to committed documents, vectors and full text: rate, processor time, memory, size of the file.

    python -m tests.bench.bench_apply [rows]

Events of 2.1 KB (384-d) and of 6.7 KB (1536-d) in eight datasets are written to a file first, by another process, and
read back in batches as the broker's client would hand them over; decoding is part of what is measured. Then everything
is applied a second time (all of it known already), and a third time as updates.
"""

from __future__ import annotations

import multiprocessing
import random
import struct
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import psutil

from connector.broker import Record
from connector.model import CommitOrder, DocChange, DocKey, Document, Lane, Op, SourceInfo
from connector.replica import cycles, schema
from connector.replica.ahead import Ahead
from connector.replica.apply import Applier
from connector.replica.connection import file_bytes, open_writer
from connector.replica.decode import Batches
from connector.wire import TransactionInfo, encode_value
from tests.bench.load import DATASETS, text, yardstick

LANE = Lane("bench.app.shadow_vec_docs", 0)
SOURCE = SourceInfo("mysql", "bench", 1, False, "app", "shadow_vec_docs", 1, "uuid:7", "binlog.000001", 4, 1)
BATCH = 4000
POOL = 1000  # vectors that rows draw from; making one of random numbers takes longer than applying ten


def write_events(path: Path, rows: int, dims: int, version: int) -> None:
    """Length-prefixed events; `path` with `.payload` added holds the bytes of the columns."""
    rng = random.Random(version)
    pool = [array("f", [rng.gauss(0, 1) for _ in range(dims)]).tobytes() for _ in range(POOL)]
    payload = 0
    with path.open("wb") as out:
        for n in range(rows):
            order = CommitOrder(1, version, n * 2300, 1)
            row = Document(
                text(rng),
                '{"path": "a/b.md"}',
                pool[n % POOL],
                "m",
                n,
                False,
                "2026-01-01 00:00:00",
                "2026-01-01 00:00:00",
            )
            payload += len(row.content or "") + len(row.meta or "") + 4 * dims + 2 * 19 + 20
            change = DocChange(Op.CREATE, DocKey(f"d{n % DATASETS}", f"document/{n}"), n, row, order, SOURCE)
            value = encode_value(change, TransactionInfo(f"uuid:{n}", 1, True), 1)
            out.write(struct.pack("<I", len(value)) + value)
    path.with_name(f"{path.name}.payload").write_text(str(payload))


def records(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for offset in range(sys.maxsize):
            head = file.read(4)
            if not head:
                return
            yield Record(*LANE, offset, None, file.read(struct.unpack("<I", head)[0]), 0)


def apply(path: Path, events: Path, rows: int, label: str, result: str) -> None:
    """In a process of its own, so that its memory is its own."""
    connection = open_writer(path)
    schema.prepare(connection, path)
    with connection:
        connection.execute(
            "INSERT OR IGNORE INTO partition_state VALUES ('id', ?, 0, 1, 0, NULL, '[]', '')", (LANE.topic,)
        )
    applier = Applier(connection, path, ["*"], {}, {LANE.topic: "shadow_vec_docs"})
    pending = Batches(frozenset([LANE.topic]), BATCH)
    source = records(events)

    def consume(max_records: int, _timeout_s: float) -> list[Record]:
        return list(islice(source, max_records))

    ahead = Ahead(consume, pending, BATCH)
    cpu, began, done = time.process_time(), time.perf_counter(), 0
    with closing(ahead), cycles.put_off():  # as the replica's own loop does
        while batch := ahead.next(0.0):
            applied = applier.apply(batch.changes, batch.tombstones, batch.offsets, ahead.begin)
            ahead.join()
            done += getattr(applied, result)
    wall = time.perf_counter() - began
    cpu = time.process_time() - cpu
    assert done == rows, (done, rows)
    peak = max(psutil.Process().memory_info().rss, 0) / 2**20
    connection.close()
    payload = int(events.with_name(f"{events.name}.payload").read_text())
    print(
        f"{label:28} {rows / wall:8,.0f} docs/s  {cpu / rows * 1e6:5.1f} us CPU  {peak:4.0f} MB  "
        f"file {file_bytes(path) / payload:.2f} x payload",
        flush=True,
    )


def apart(function: object, *args: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)  # type: ignore[arg-type]
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{getattr(function, '__name__', function)} failed")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(yardstick())
    for dims in (384, 1536):
        with tempfile.TemporaryDirectory() as directory:
            path, first, second = (Path(directory) / name for name in ("replica.db", "first", "second"))
            apart(write_events, first, rows, dims, 1)
            apart(write_events, second, rows, dims, 2)
            apart(apply, path, first, rows, f"{dims}-d, new", "upserted")
            apart(apply, path, first, rows, f"{dims}-d, known already", "skipped")
            apart(apply, path, second, rows, f"{dims}-d, updates", "upserted")


if __name__ == "__main__":
    main()
