"""Speed of searches: text, vector and hybrid over real chunks of files in one dataset, beside vec0 and FTS5 alone.

    python -m tests.bench.bench_search FOLDER... [--documents 100000] [--keep FILE]

The files below the folders (the running Python's standard library and packages unless some are named) are cut as
`vecsync ingest` does and go through the applier into a replica. Vectors are of the first 400 characters of each chunk,
by `hashing`: searching them takes as long as any others of 256 dimensions. Every one of `QUESTIONS` is asked once to
warm up, then three times. CPU is the median of a search's own time, which a busy machine does not lengthen.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import psutil

from connector import embed
from connector.ingest import Chunk, files
from connector.model import CommitOrder, DocChange, DocKey, Document, Lane, Op, SourceInfo
from connector.replica import connection, schema
from connector.replica.apply import Applier
from connector.search import open_reader

TOPIC = "bench.app.shadow_vec_docs"
SOURCE = SourceInfo("mysql", "bench", 0, False, "app", "shadow_vec_docs", 1, None, None, 0, 0)
BATCH = 2000
EMBEDDED_CHARS = 400

QUESTIONS = [
    "how do I remove a file from disk",
    "what is the best way to open a network socket and listen",
    "parse command line arguments",
    "convert a string to an integer",
    "thread safe queue with a maximum size",
    "read a csv file line by line",
    "the time zone of a datetime object",
    "how to compress data with gzip",
    "broadcasting rules of arrays",
    "why does the test fail when the database is locked",
    "send an email with an attachment",
    "where is the configuration of the logger set",
    "run a subprocess and read its output",
    "decode bytes that are not valid utf-8",
    "what happens when a coroutine is cancelled",
    "sort a list of dictionaries by a key",
    "compare two files and show what differs",
    "certificate verification failed",
    "random numbers with the same seed",
    "how are weak references collected by the garbage collector",
]


def chunks(folders: list[Path]) -> Iterator[Chunk]:
    for folder in folders:
        for unit in files(folder).units:
            try:
                yield from unit.load(1200)
            except (OSError, ValueError) as error:
                print(f"left out: {unit.path}: {error}", file=sys.stderr)


def fill(path: Path, folders: list[Path], documents: int) -> int:
    writer = connection.open_writer(path)
    schema.prepare(writer, path)
    applier = Applier(writer, path, ["*"], {}, {TOPIC: "shadow_vec_docs"})
    embedder = embed.load("hashing")
    wanted = islice(chunks(folders), documents)
    done = 0
    while batch := list(islice(wanted, BATCH)):
        vectors = embedder.embed([chunk.content[:EMBEDDED_CHARS] for chunk in batch])
        changes = []
        for chunk, vector in zip(batch, vectors, strict=True):
            done += 1
            after = Document(chunk.content, None, vector, embedder.name, done, False)
            order = CommitOrder(1, 1, done, 1)
            changes.append((Lane(TOPIC, 0), DocChange(Op.CREATE, DocKey("d", str(done)), done, after, order, SOURCE)))
        applier.apply(changes, [], {})
    writer.close()
    return done


def timed(name: str, ask: Callable[[str], object]) -> None:
    for question in QUESTIONS:
        ask(question)
    times, worked = [], []
    for question in QUESTIONS * 3:
        began, worked_before = time.perf_counter(), time.thread_time()
        ask(question)
        times.append((time.perf_counter() - began) * 1000)
        worked.append((time.thread_time() - worked_before) * 1000)
    print(f"{name:<34}{median(times):>9.1f}{sorted(times)[int(len(times) * 0.99)]:>9.1f}{median(worked):>9.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = sysconfig.get_paths()
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(paths["stdlib"]), Path(paths["purelib"])])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="use this replica, and make it if it does not exist")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path: Path = chosen.keep or Path(directory) / "replica.db"
        if not path.exists():
            began = time.perf_counter()
            done = fill(path, chosen.folders, chosen.documents)
            print(f"{done} documents cut, embedded and applied in {time.perf_counter() - began:.0f} s")
        embedder = embed.load("hashing")
        print(f"{'way':<34}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}")
        with open_reader(path) as replica:
            timed("text", lambda question: replica.search(question, mode="text"))
            timed("vector", lambda question: replica.search(question, mode="vector"))
            timed("hybrid", lambda question: replica.search(question))
            timed("hybrid, its dataset named", lambda question: replica.search(question, datasets=["d"]))
        raw = connection.open_reader(path)
        table = raw.execute("SELECT name FROM replica_vectors").get
        nearest = f"SELECT rowid FROM {table} WHERE embedding MATCH ? AND k = 10 AND collection = 1 AND archived = 0"
        timed("vec0 alone", lambda question: raw.execute(nearest, embedder.embed([question])).fetchall())
        best = "SELECT rowid FROM document_text WHERE document_text MATCH ? ORDER BY rank LIMIT 10"
        joined = {question: " OR ".join(question.replace("-", " ").split()) for question in QUESTIONS}
        timed("FTS5 alone, every word scored", lambda question: raw.execute(best, (joined[question],)).fetchall())
        raw.close()
        print(f"{psutil.Process().memory_info().rss / 2**20:.0f} MiB resident")
    return 0


if __name__ == "__main__":
    sys.exit(main())
